"""Does `import sweep` hand on what it promises, lazily, and known to editors and types?"""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sweep

HEAVY = {"torch", "ray", "pandas", "numpy", "timm", "transformers", "scipy", "pyarrow", "typer"}
STUDYLESS = {"torch", "ray", "pandas", "timm"}  # of what takes no study


def in_a_child(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_import_itself_loads_nothing():
    loaded = set(in_a_child("import sys, sweep; dir(sweep); print(*sys.modules)").split())
    assert "sweep" in loaded and not loaded & HEAVY
    assert {name for name in loaded if name.startswith("sweep.")} == set()


@pytest.mark.parametrize(
    ("name", "without"), [("evaluate", {"torch", "ray", "pandas", "timm"}), ("results", {"ray", "pandas"})]
)
def test_a_name_loads_what_it_needs(name, without):
    """torch is needed by methods, of which a study consists; pandas once there is something to put into a frame."""
    loaded = set(in_a_child(f"import sys, sweep; sweep.{name}; print(*sys.modules)").split())
    assert not loaded & without


def test_every_name_is_there_documented_and_typed():
    for name in sweep.__all__:
        value = getattr(sweep, name)
        assert name in dir(sweep) and inspect.getdoc(value), name
        if inspect.isfunction(value):
            assert "return" in value.__annotations__, name
            assert all(p.annotation is not p.empty for p in inspect.signature(value).parameters.values()), name
    assert sorted(sweep.__all__, key=lambda name: (name[0].islower(), name)) == sweep.__all__


def test_dir_shows_what_is_promised_and_subpackages_alone():
    code = "import sweep.studies; shown = dir(sweep); print(*(name for name in shown if not name.startswith('__')))"
    assert set(in_a_child(code).split()) == {*sweep.__all__, "studies"}
    assert {"__version__", "__all__", "__doc__", "__file__"} <= set(dir(sweep))


def test_hints_can_be_asked_for_and_load_pandas_only_then():
    asked = (
        "import sys, sweep\n"
        "from typing import get_type_hints\n"
        "all_of_it = [getattr(sweep, name) for name in sweep.__all__]\n"
        "print('pandas' in sys.modules)\n"
        "for one in all_of_it: print(get_type_hints(one).get('return'))\n"
    )
    early, *hints = in_a_child(asked).splitlines()
    assert early == "False" and len(hints) == len(sweep.__all__)
    assert [name for name, hint in zip(sweep.__all__, hints, strict=True) if "DataFrame" in hint] == [
        "compare", "evaluate", "findings", "results"
    ]  # fmt: skip


def test_the_version_is_the_commands_and_loads_nothing():
    said = subprocess.run([sys.executable, "-m", "sweep.radsweep", "--version"], capture_output=True, text=True)
    code = "import sys, sweep; print(sweep.__version__, *sys.modules)"
    found, *loaded = in_a_child(code).split()
    assert said.stdout == f"radsweep {found}\n" and not set(loaded) & HEAVY
    assert "__version__" in dir(sweep)


def test_the_version_of_a_copy_that_is_not_installed():
    code = (
        "import importlib.metadata as m, sweep\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
        "print(sweep.__version__)"
    )
    assert in_a_child(code) == "0+unknown\n"


def test_what_is_typed_is_what_is_promised():
    (block,) = [node for node in ast.parse(Path(sweep.__file__).read_text()).body if isinstance(node, ast.If)]
    typed = {alias.name for node in block.body for alias in node.names}
    assert typed == set(sweep.__all__)


def test_a_name_that_is_not_there_is_refused_and_submodules_are_imported_as_ever():
    with pytest.raises(AttributeError, match=r"no attribute 'evalute'; it has .*evaluate"):
        _ = sweep.evalute
    assert in_a_child("from sweep import search_space; print(search_space.tuned)").startswith("<function tuned")
    assert importlib.import_module("sweep.studies").Study
