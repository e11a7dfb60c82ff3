"""The sweep: plan, run, statistics and report of a study. Each command is `radsweep NAME`, or `python -m sweep.NAME`.

In Python, `import sweep` has what stands in __all__ (docs/python.md); a study file imports from sweep.studies. Names
are loaded when they are asked for, so that the import itself takes no time.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api.compare import compare
    from sweep.api.encoders import Encoder, embed, load_encoder
    from sweep.api.evaluate import evaluate
    from sweep.api.frames import findings, results
    from sweep.api.plan import plan

__all__ = ["Encoder", "compare", "embed", "evaluate", "findings", "load_encoder", "plan", "results"]
__version__: str  # of the installed package; read once it is asked for
# Module -> the names that this package takes from it once they are asked for.
_HOMES = {
    "sweep.api.compare": ("compare",),
    "sweep.api.encoders": ("Encoder", "embed", "load_encoder"),
    "sweep.api.evaluate": ("evaluate",),
    "sweep.api.frames": ("findings", "results"),
    "sweep.api.plan": ("plan",),
}


# Python calls it for a name that the module does not have (PEP 562).
def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    # Of what this file has for itself nothing; subpackages become names here as they are imported.
    there = {name for name, value in globals().items() if name.startswith("__") or isinstance(value, ModuleType)}
    return sorted({*there, *__all__, "__version__"})


def _version() -> str:
    """As `radsweep --version`; of a copy that is not installed `0+unknown`, which sorts before all others."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("radsweep")
    except PackageNotFoundError:
        return "0+unknown"
