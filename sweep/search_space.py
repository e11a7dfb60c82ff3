"""Where do study files written by sweep.tune of 0.1.0 import `tuned` from? Newer ones import it from sweep.studies.

Kept for them (docs/compatibility.md): such a file lies in a user's folder, and its study goes on under the same keys.
"""

from sweep.studies.tunable import tuned

__all__ = ["tuned"]
