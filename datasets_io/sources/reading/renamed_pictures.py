"""Do pictures lie in an archive under the names of its DICOM files, in whose pixels its boxes and masks are?

They were decoded once, and boxes of copies with smaller sides lay elsewhere than where they were drawn; now each is a
reject. A corpus of before that must not be taken for one of today.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets_io.pixels.decode import is_picture
from datasets_io.sources.reading.archive import is_below
from datasets_io.untrusted import open_regular

REFUSED = "pictures under the names of DICOM files are refused"  # a correction, see registry.Source
SAMPLED = 64  # files that are opened, since a key is often asked for


def refused_pictures(raw: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """The correction, where any of SAMPLED files below `raw`, evenly spaced, is a PNG or JPEG; else none."""
    step = max(1, len(paths) // SAMPLED)
    return (REFUSED,) if any(_is_picture(raw, path) for path in paths[::step]) else ()


def _is_picture(raw: Path, path: str) -> bool:
    if not is_below(raw, raw / path):
        return False
    try:
        with open_regular(raw / path) as stream:
            return is_picture(stream.read(16))
    except OSError:  # absent or not to be read: no corpus has it
        return False
