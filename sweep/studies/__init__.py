"""What is compared? A study file imports from here: `from sweep.studies import Study, demo`.

Names are loaded when they are asked for: whoever needs one small file of this package does not pay for torch, and a
command answers a signal before its libraries are loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.studies.presets import STUDIES, demo, load_study, paper, released, strict
    from sweep.studies.study import BASELINE, Dataset, EncoderRow, Study, check_study, study_fingerprint
    from sweep.studies.tunable import tuned

__all__ = [
    "BASELINE",
    "STUDIES",
    "Dataset",
    "EncoderRow",
    "Study",
    "check_study",
    "demo",
    "load_study",
    "paper",
    "released",
    "strict",
    "study_fingerprint",
    "tuned",
]
# Module -> the names that this package takes from it once they are asked for.
_HOMES = {
    "sweep.studies.presets": ("STUDIES", "demo", "load_study", "paper", "released", "strict"),
    "sweep.studies.study": ("BASELINE", "Dataset", "EncoderRow", "Study", "check_study", "study_fingerprint"),
    "sweep.studies.tunable": ("tuned",),
}


# Python calls it for a name that the module does not have (PEP 562).
def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
