"""Do README and docs say what is there: links, anchors, targets of make, Python, paths, modules, tests, versions?

Command lines have tests of their own: test_commands.py and datasets_io/build/test_data_docs.py.
"""

import ast
import dataclasses
import importlib
import importlib.util
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT)) for place in ("*.md", "docs/**/*.md", "examples/*.md") for path in ROOT.glob(place)
)
BLOCK = re.compile(r"^(```|~~~)(\w*)\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FOLDERS = ("datasets_io", "trainables", "sweep", "tests", "docs", "benchmarks", "examples", ".ci")
PACKAGES = ("datasets_io", "trainables", "sweep")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page: str) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", text_of(page))


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+?)\s*#*$", BLOCK.sub("", text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken(page: str, link: str) -> str | None:
    """What is wrong with a link of a page; None where it leads somewhere. Addresses are not asked."""
    if re.match(r"[a-z]+:", link):
        return None
    place, _, anchor = link.partition("#")
    target = (ROOT / page).parent / place if place else ROOT / page
    if not target.resolve().is_relative_to(ROOT) or not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors_of(target.read_text(encoding="utf-8")):
        return f"{link}: no heading has this anchor"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert not [why for link in LINK.findall(prose_of(page)) if (why := broken(page, link))]


def test_broken_links_and_anchors_are_noticed():
    assert broken("README.md", "docs/nothing.md") and broken("README.md", "../elsewhere.md")
    assert broken("README.md", "docs/data.md#no-such-heading") and broken("docs/data.md", "#no-such-heading")
    assert broken("README.md", "docs/data.md#adding-a-source") is None
    assert anchors_of("# A `b`, c: d\n```\n# no heading\n```\n") == {"a-b-c-d"}


@pytest.mark.parametrize("page", PAGES)
def test_targets_of_make_are_there(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.MULTILINE))
    shown = [block for _, kind, block in BLOCK.findall(text_of(page)) if kind == "bash"]
    named = re.findall(r"(?:^|\s)make ([a-z][\w-]*)", "\n".join([*shown, *SPAN.findall(prose_of(page))]))
    assert set(named) <= targets, f"{page} names {sorted(set(named) - targets)}; there are {sorted(targets)}"


def python_blocks() -> list[tuple[str, str]]:
    return [(page, block) for page in PAGES for _, kind, block in BLOCK.findall(text_of(page)) if kind == "python"]


@pytest.mark.parametrize(("page", "block"), python_blocks(), ids=lambda value: value if value in PAGES else "")
def test_python_compiles_and_imports_what_is_there(page, block):
    try:
        tree = ast.parse(block)
    except SyntaxError:
        tree = ast.parse(f"{{{textwrap.dedent(block)}}}")  # entries of a dict
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            module = importlib.import_module(node.module)
            assert not [name.name for name in node.names if not hasattr(module, name.name)], f"{page}: {node.module}"


def spans(pattern: str) -> Iterator[tuple[str, str]]:
    """(page, text) of each piece of code in a sentence that is all of the pattern."""
    for page in PAGES:
        yield from {(page, span) for span in SPAN.findall(prose_of(page)) if re.fullmatch(pattern, span)}


PATHS = sorted(spans(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*|[\w.-]+\.(?:toml|cff|txt|yaml|yml)"))
ELSEWHERE = {"test_list.txt", "train_val_list.txt", "train_list.txt", "val_list.txt"}  # files of archives


@pytest.mark.parametrize(("page", "path"), [item for item in PATHS if item[1] not in ELSEWHERE])
def test_paths_of_the_project_are_there(page, path):
    beside = (ROOT / page).parent / path
    assert (ROOT / path).exists() or beside.exists(), f"{page} names {path}, which is not there"


def found(dotted: str) -> Any:
    """The module or what a module has under a dotted name. Raises AttributeError, ModuleNotFoundError."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            value = getattr(value, name)
        return value
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize(("page", "dotted"), sorted(spans(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")))
def test_modules_and_their_names_are_there(page, dotted):
    assert found(dotted) is not None


def test_names_that_are_not_there_are_noticed():
    with pytest.raises(AttributeError):
        found("datasets_io.fingerprint.nothing")
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        found("datasets_io.nothing")


def promised_imports() -> list[tuple[str, str]]:
    """(module, name) of each import that docs/compatibility.md promises to study files and model cards."""
    text = prose_of("docs/compatibility.md")
    lists = re.findall(r"^- from `([\w.]+)`:(.*?)[;.]$", text, re.DOTALL | re.MULTILINE)
    cards = [(module, f"`{name}`") for name, module in re.findall(r"import `(\w+)` from `([\w.]+)`", text)]
    names = [(module, SPAN.findall(names)) for module, names in [*lists, *cards]]
    return [(module, name) for module, listed in names for name in listed if re.fullmatch(r"\w+", name)]


@pytest.mark.parametrize(("module", "name"), promised_imports())
def test_promised_imports_are_there(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_all_that_is_promised_is_looked_for():
    promised = promised_imports()
    assert {module for module, _ in promised} == {
        "sweep.studies",
        "sweep.search_space",
        "datasets_io.build",
        "trainables.encoder_source",
        "trainables.recipe",
        "trainables.backbones",
    }
    assert ("sweep.studies", "ViewSpec") in promised and ("trainables.recipe", "Resources") in promised


def hashed_and_public() -> dict[str, type]:
    modules = [importlib.import_module(name) for name in ("trainables.recipe", "sweep.studies", "datasets_io.build")]
    found = {name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)}
    return {name: kind for name, kind in found.items() if dataclasses.is_dataclass(kind)}


@pytest.mark.parametrize(("page", "name"), sorted(spans(r"[A-Z]\w+\.[a-z]\w+")))
def test_fields_are_there(page, name):
    kind, _, field = name.partition(".")
    known = hashed_and_public()
    if kind in known:
        assert field in {f.name for f in dataclasses.fields(known[kind])}, f"{page} names {name}"


def named_tests() -> list[str]:
    return sorted({name for _, name in spans(r"test_\w+(?:\.\.\.)?")})


def test_tests_that_are_named_are_there():
    """`test_abc_...` stands for one whose name begins so."""
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    for name in named_tests():
        start = name.removesuffix("...")
        assert any(test == name or (start != name and test.startswith(start)) for test in there), f"no test is {name}"
    assert len(named_tests()) > 30


def test_environment_variables_are_read_somewhere():
    sources = [path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [*sources, ROOT / "cluster.yaml", *ROOT.glob("docs/clusters/*.sbatch")]
    )
    named = {name for page in PAGES for name in re.findall(r"RADSWEEP_[A-Z_]+", text_of(page))}
    assert named and not {name for name in named if name not in code}


def test_the_version_is_one():
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    assert f"\nversion: {version}\n" in text_of("CITATION.cff")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert released and released[0] == version
    assert "\n## [Unreleased]\n" in text_of("CHANGELOG.md")


def public_names() -> list[tuple[str, str]]:
    """(module, name) of each name that docs/compatibility.md promises to study files."""
    section = text_of("docs/compatibility.md").partition("## Study files")[2].partition("\n## ")[0]
    bullets = re.findall(r"^- from `([\w.]+)`: (.*?)(?=^- |\n\n|\Z)", section, re.DOTALL | re.MULTILINE)
    return [(module, name) for module, names in bullets for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize(("module", "name"), public_names())
def test_what_study_files_may_import_is_there(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_promised_names_are_read_from_the_page():
    assert {("sweep.studies", "Study"), ("datasets_io.build", "BuildSpec"), ("trainables.recipe", "Resources")} <= set(
        public_names()
    )


def test_every_file_of_statistics_is_described():
    from sweep.statistics.analysis import FILES

    assert set(re.findall(r"`(\w+\.csv)`", text_of("docs/statistics.md"))) >= set(FILES)


def leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from leaves(part)


def test_the_site_has_every_page_and_asks_nobody():
    config = yaml.safe_load(text_of("mkdocs.yml"))
    shown = {f"docs/{page}" for page in leaves(config["nav"])}
    root_pages = {"docs/changelog.md", "docs/contributing.md", "docs/security.md"}
    assert shown == {page for page in PAGES if page.startswith("docs/")} | root_pages
    assert config["theme"]["font"] is False and config["strict"] is True
    plugins = {name for plugin in config["plugins"] for name in ([plugin] if isinstance(plugin, str) else plugin)}
    assert plugins == {"search", "mkdocstrings", "api-autonav"}
    assert not re.search(r"https?://", text_of("mkdocs.yml"))
