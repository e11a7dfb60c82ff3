"""The two laws of the tree: imports point up it, and Ray is imported only where a file says so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "datasets_io": {"datasets_io"},
    "trainables": {"datasets_io", "trainables"},
    "sweep": {"datasets_io", "trainables", "sweep"},
}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, int]]:
    """(top-level name, level) of each import anywhere in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(((node.module or "").split(".")[0], node.level))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up_the_tree(path: Path):
    package = path.relative_to(ROOT).parts[0]
    for name, level in imports(path):
        assert level == 0, f"{path.name} has a relative import"
        if name in ALLOWED:
            assert name in ALLOWED[package], f"{package} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_is_imported_only_where_the_first_line_says_so(path: Path):
    first_line = path.read_text().split("\n", 1)[0]
    if any(name == "ray" for name, _ in imports(path)):
        assert first_line.rstrip('"').endswith("[ray]"), f"{path} imports ray without saying [ray] in its first line"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_line_says_what_the_file_answers(path: Path):
    assert not path.read_text().strip() or path.read_text().startswith('"""')


def test_nothing_from_storage_is_unpickled():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name in ("pickle", "cloudpickle", "dill", "joblib") for alias in node.names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                called = f"{getattr(node.func.value, 'id', '')}.{node.func.attr}"
                if called == "torch.load":
                    assert keywords.get("weights_only") is True, path
                assert keywords.get("allow_pickle") is not True and keywords.get("trust_remote_code") is not True, path
