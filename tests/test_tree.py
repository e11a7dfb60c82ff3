"""The rules of the tree: who may import whom, where Ray is imported, and how long files and functions are."""

import ast
import re
import statistics
from functools import cache
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


def test_parquet_is_read_only_behind_the_check_of_its_footer():
    """A file's maker may have named types in it that run code while Arrow opens it."""
    reading = {"read_table", "read_metadata", "read_schema", "read_parquet", "ParquetFile", "ParquetDataset"}
    for path in FILES:
        if path != ROOT / "datasets_io/corpus/shard_file.py":
            calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            found = {function.attr for function in calls if isinstance(function, ast.Attribute)}
            assert not found & reading, f"{path}: use open_shard, open_stored or read_stored"


# -- subpackages: who may import whom --------------------------------------------------------------------------

# Subpackage -> the subpackages of its package that it may import. A module at the top of a package counts as one. What
# is above is imported by what is below, never the other way: a reader of `store` need not know that there is a report.
# The tables of CONTRIBUTING.md say the same.
LAW: dict[str, dict[str, set[str]]] = {
    "datasets_io": {
        "untrusted": set(),
        "schema": {"untrusted"},
        "fingerprint": set(),
        "granted": set(),
        "nearest": set(),
        "compiled": set(),
        "interrupts": set(),
        "threads": set(),
        "read_ahead": set(),
        "closed_output": set(),
        "command_line": {"closed_output", "storage"},
        "local_ray": {"granted"},
        "ray_private": set(),
        "uri_secrets": set(),
        "storage": {"untrusted", "uri_secrets"},
        "ray_state": {"storage"},
        "pixels": {"schema", "compiled", "interrupts"},
        "sources": {"untrusted", "schema", "fingerprint", "nearest", "threads", "pixels"},
        "corpus": {"untrusted", "schema", "fingerprint", "granted", "storage"},
        "build": {
            "untrusted",
            "schema",
            "fingerprint",
            "granted",
            "nearest",
            "interrupts",
            "threads",
            "closed_output",
            "command_line",
            "local_ray",
            "storage",
            "sources",
            "pixels",
            "corpus",
        },
        "synthetic": {"untrusted", "schema", "fingerprint", "sources"},
    },
    "trainables": {
        "batch": set(),
        "events": set(),
        "tensorboard": set(),
        "transfer": set(),
        "views": {"transfer"},
        "protocols": set(),
        "node_beats": set(),
        "process": {"events", "node_beats"},
        "recipe": {"views"},
        "training": {"batch", "recipe"},
        "networks": {"recipe", "training"},
        "backbones": {"networks"},
        "encoder_specs": {"recipe", "views", "networks"},
        "encoder_source": {"recipe", "views", "networks", "encoder_specs"},
        "objectives": {"batch", "transfer", "networks", "training"},
        "registry": {"recipe", "objectives"},
        "evaluation": {
            "events",
            "transfer",
            "process",
            "protocols",
            "recipe",
            "views",
            "training",
            "networks",
            "objectives",
        },
        "pretraining": {
            "batch",
            "events",
            "transfer",
            "recipe",
            "views",
            "training",
            "networks",
            "encoder_source",
            "objectives",
        },
        "preflight": {
            "batch",
            "recipe",
            "views",
            "training",
            "networks",
            "encoder_source",
            "objectives",
            "pretraining",
        },
    },
    "sweep": {
        "cli": set(),
        "studies": set(),
        "search_space": {"studies"},
        "store": {"studies"},
        "statistics": {"studies", "store"},
        "training_free": {"cli", "studies", "store"},
        "monitoring": {"cli", "studies", "store"},
        "doctor": {"cli", "studies", "store"},
        "figures": {"studies", "store", "statistics", "training_free"},
        "engine": {"cli", "studies", "store", "monitoring"},
        "report": {"cli", "studies", "store", "statistics", "figures"},
        "run": {"cli", "studies", "store", "training_free", "monitoring", "engine", "report"},
        "status": {"cli", "studies", "store", "engine", "report"},
        "tune": {"cli", "studies", "store", "engine", "figures"},
        "export": {"cli", "studies", "store", "statistics"},
        "list": {"cli", "studies"},
        "api": {"studies", "store", "statistics", "export"},
        "radsweep": {"run", "report", "status", "doctor", "tune", "export", "list", "training_free"},
    },
}
# What `import sweep` itself hands on, name by name: no other file of the package imports from there.
FACES = {"sweep": {"api"}}
MOST_FILES = 20  # of a folder: more cannot be taken in at a glance


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_edges() -> dict[str, set[str]]:
    """Module -> the modules of the three packages that it imports anywhere, also inside functions and for types only.

    A package stands for its own __init__.py.
    """
    modules = {module_of(path): path for path in FILES}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name if name in modules else node.module for name in below}
        edges[module] = {name for name in named if name.split(".")[0] in ALLOWED} - {module}
        unknown = edges[module] - modules.keys()
        assert not unknown, f"{module} imports {', '.join(sorted(unknown))}, which there is not"
    return edges


def breaches(
    edges: dict[str, set[str]], law: dict[str, dict[str, set[str]]], faces: dict[str, set[str]] = FACES
) -> list[str]:
    """Each import that the law does not allow, and each subpackage that it does not know."""
    found = []
    for module, imported in edges.items():
        package, *rest = module.split(".")
        subpackage = rest[0] if rest else "__init__"  # whose imports all other modules of the package would get
        allowed = law[package].get(subpackage) if rest else faces.get(package, set())
        if allowed is None:
            found.append(f"{package}/{subpackage} is not in the law: say what it may import")
            continue
        for name in sorted(imported):
            other, *below = name.split(".")
            if name == package and rest and package in faces:
                found.append(f"{module} imports from {package} itself, which is for users: import where the name is")
            if other == package and below and below[0] != subpackage and below[0] not in allowed:
                found.append(f"{module} imports {name}: {package}/{subpackage} may not import {package}/{below[0]}")
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Some modules that import each other in a circle; empty where there is none."""
    left = {module: set(imported) for module, imported in edges.items()}
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    if not left:
        return []
    path = [min(left)]
    while path.count(path[-1]) == 1:
        path.append(min(left[path[-1]] & left.keys()))
    return path[path.index(path[-1]) :]


def test_subpackages_import_what_the_law_allows():
    found = breaches(file_edges(), LAW)
    assert not found, "\n".join(found)


def test_every_subpackage_of_the_law_is_there():
    found = {
        package: {module.split(".")[1] for module in map(module_of, FILES) if module.startswith(f"{package}.")}
        for package in LAW
    }
    assert {package: set(law) for package, law in LAW.items()} == found


def names_by_module(text: str) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Of a package that loads names when they are asked for: module -> names, as _HOMES and as TYPE_CHECKING say."""
    homes: dict[str, set[str]] = {}
    typed: dict[str, set[str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES":
            homes = {module: set(names) for module, names in ast.literal_eval(node.value).items()}
        elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            imported = [statement for statement in node.body if isinstance(statement, ast.ImportFrom)]
            typed = {str(node.module): {alias.name for alias in node.names} for node in imported}
    return homes, typed


LAZY = [path for path in FILES if re.search(r"\b(import_module|__import__)\b", path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", LAZY, ids=module_of)
def test_what_is_imported_by_a_string_is_imported_for_types_as_well(path: Path):
    """So file_edges sees it: import_module is called nowhere else, and for the modules of _HOMES only."""
    homes, typed = names_by_module(path.read_text(encoding="utf-8"))
    assert homes == typed != {}
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if "import" in ast.unparse(call.func)]
    assert ast.unparse(call) == "import_module(module)"


def test_a_name_that_is_loaded_but_not_typed_is_noticed():
    text = "if TYPE_CHECKING:\n    from a.b import c\n_HOMES = {'a.b': ('c',), 'a.d': ('e',)}\n"
    assert names_by_module(text) == ({"a.b": {"c"}, "a.d": {"e"}}, {"a.b": {"c"}})


def test_the_law_itself_has_no_circle():
    for package, law in LAW.items():
        assert circle(law) == [], package


def test_no_files_import_each_other_in_a_circle():
    assert circle(file_edges()) == []


def test_no_folder_is_crowded():
    folders = {path.parent for path in FILES}
    counts = {str(folder.relative_to(ROOT)): sum(path.is_file() for path in folder.iterdir()) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_a_breach_and_a_circle_are_noticed():
    law = {"sweep": {"store": set(), "report": {"store"}}}
    assert breaches({"sweep.report.page": {"sweep.store.lease"}, "sweep.store.lease": {"sweep.store.files"}}, law) == []
    (upward,) = breaches({"sweep.store.lease": {"sweep.report.page"}}, law)
    assert "sweep/store may not import sweep/report" in upward
    (unknown,) = breaches({"sweep.unknown.box": set()}, law)
    assert "unknown is not in the law" in unknown
    (at_the_top,) = breaches({"sweep": {"sweep.store.lease", "sweep.api.frames"}}, law)
    assert "sweep/__init__ may not import sweep/store" in at_the_top
    (by_the_face,) = breaches({"sweep.report.page": {"sweep"}}, law)
    assert "sweep.report.page imports from sweep itself" in by_the_face
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def table_of_contributing(text: str) -> dict[str, dict[str, set[str]]]:
    """Package -> subpackage -> what it may import, as the tables below the packages' headings say."""
    tables: dict[str, dict[str, set[str]]] = {}
    for package, section in re.findall(r"^### (\w+): .*?\n(.*?)(?=^#|\n\n[^|])", text, re.DOTALL | re.MULTILINE):
        rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
        tables[package] = {name: set(re.findall(r"\w+", imported)) for name, imported in rows}
    return tables


def test_contributing_shows_every_subpackage_and_what_it_may_import():
    assert table_of_contributing((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")) == LAW


# -- ignored findings ------------------------------------------------------------------------------------

# What of a finding is ignored, and what follows on the line: the reason, if it is not the comment on the line above.
IGNORE = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|ruff:|mypy:|pragma:)(?P<codes>: ?[A-Z]+\d+|\[[a-z, -]+\])?(?P<rest>.*)"
)


def without_reason(text: str) -> list[str]:
    """The lines of a source text that ignore a finding without naming it, or without saying why."""
    lines = text.splitlines()
    found = []
    for above, line in zip(["", *lines], lines, strict=False):
        ignore = IGNORE.search(line)
        if ignore and not (ignore["codes"] and (re.search(r"\w", ignore["rest"]) or above.lstrip().startswith("#"))):
            found.append(line)
    return found


def test_each_ignored_finding_is_named_and_has_its_reason():
    others = [path for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in (*FILES, *others) if path != Path(__file__)}
    found = {str(path.relative_to(ROOT)): without_reason(text) for path, text in texts.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_an_ignore_without_a_name_or_a_reason_is_noticed():
    bare = ["a = b  # noqa", "a = b  # type: ignore  # a reason", "a = b  # type: ignore[misc]", "a = b  # noqa: E731"]
    assert without_reason("\n".join(bare)) == bare
    assert (
        without_reason("a = b  # type: ignore[misc]  # why\n# why\nc = d  # noqa: E731\ne = f  # noqa: F401, why") == []
    )


# -- sizes ---------------------------------------------------------------------------------------------

MOST_LINES, MEDIAN_LINES = 400, 150  # of a file
MOST_LINES_OF_A_FUNCTION, MEDIAN_OF_A_FUNCTION = 60, 15  # from def to the last line, without decorators


def function_lengths(text: str) -> dict[str, int]:
    """ "line name" of each function of a source text, also of nested ones and methods -> its lines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return {f"{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes}


def too_long(lengths: dict[str, int], most: int) -> dict[str, int]:
    return {name: length for name, length in lengths.items() if length > most}


FILE_LENGTHS = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}


@cache
def all_function_lengths() -> dict[str, int]:
    return {
        f"{path.relative_to(ROOT)} {name}": length
        for path in FILES
        for name, length in function_lengths(path.read_text(encoding="utf-8")).items()
    }


def test_files_are_short():
    assert too_long(FILE_LENGTHS, MOST_LINES) == {}
    assert statistics.median(length for length in FILE_LENGTHS.values() if length) <= MEDIAN_LINES


def test_functions_are_short():
    assert too_long(all_function_lengths(), MOST_LINES_OF_A_FUNCTION) == {}
    assert statistics.median(all_function_lengths().values()) <= MEDIAN_OF_A_FUNCTION


def test_a_long_function_is_noticed():
    text = "class A:\n    def long(self):\n" + 60 * "        self.x = 1\n" + "    def short(self): ...\n"
    assert too_long(function_lengths(text), MOST_LINES_OF_A_FUNCTION) == {"2 long": 61}
