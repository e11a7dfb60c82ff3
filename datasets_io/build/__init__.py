"""How does a raw archive become shards? `from datasets_io.build import BuildSpec, build`.

Names are loaded when they are asked for: whoever needs one small file of this package does not pay for torch, and a
command answers a signal before its libraries are loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets_io.build.checks import TooManyRejects, check_archive
    from datasets_io.build.corpus import Progress, build
    from datasets_io.build.inventory import data_folder, data_key
    from datasets_io.build.spec import BuildSpec, identity_of, options_of

__all__ = [
    "BuildSpec",
    "Progress",
    "TooManyRejects",
    "build",
    "check_archive",
    "data_folder",
    "data_key",
    "identity_of",
    "options_of",
]
_HOMES = {
    "datasets_io.build.checks": ("TooManyRejects", "check_archive"),
    "datasets_io.build.corpus": ("Progress", "build"),
    "datasets_io.build.inventory": ("data_folder", "data_key"),
    "datasets_io.build.spec": ("BuildSpec", "identity_of", "options_of"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
