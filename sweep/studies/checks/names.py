"""Can each name be a part of a path, and tell what it names from everything else?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from sweep.studies.study import Study

# Letters of any alphabet and what the presets' names have: file systems, object stores, --only and shells take it as it
# is. A first letter or digit: `.` and `..` are folders, `.tmp-` marks unfinished files, what begins with `-` is a flag.
SAFE = re.compile(r"\w[\w.+-]*")
ALLOWED = "letters, digits and _, and after the first of them also + - ."
MOST_BYTES = 100  # of a name: a file system allows 255 for a folder, which adds dataset, column, seed and key


def name_problems(study: Study) -> Iterator[str]:
    """A sentence for each name that cannot be a part of a path, or that two things have."""
    rows = (*study.rows, *study.hidden_rows)
    yield from _unsafe("study", study.name)
    for row in rows:
        yield from _unsafe("row", row.name)
    yield from _same_names(study, [row.name for row in rows])
    yield from _encoders_of_others([row.name for row in rows])
    yield from _unprintable("title", (study.title,))
    yield from _unprintable("deviation", study.deviations)
    yield from _displays(study, "rows", (row.display for row in study.rows))
    yield from _displays(study, "datasets", (dataset.display for dataset in study.datasets))


def _unsafe(kind: str, name: str) -> Iterator[str]:
    # Folders of the storage are called by it: `../../mine` would be written beside the storage.
    if not SAFE.fullmatch(name):
        yield f"{kind} name {name!r} cannot be a part of a path; allowed: {ALLOWED}"
    elif (size := len(name.encode())) > MOST_BYTES:
        yield f"{kind} name {name[:20]!r}... has {size} bytes; allowed: {MOST_BYTES}, since folders are called by it"


def _unprintable(kind: str, texts: Iterable[str]) -> Iterator[str]:
    # They stand in report.md, which is read on a terminal.
    for text in texts:
        if not " ".join(text.split()).isprintable():
            yield f"the study's {kind} {text[:80]!r} has characters that cannot be printed"


def _same_names(study: Study, names: list[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"study {study.name!r} has {count} rows named {name!r}: give each, hidden ones included, its own name"
    spelt: dict[str, str] = {}
    for name in dict.fromkeys(names):
        other = spelt.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            yield (
                f"rows {other!r} and {name!r} differ in how letters are written alone, and are one folder on "
                "some file systems: rename one"
            )


def _encoders_of_others(names: list[str]) -> Iterator[str]:
    """`clip-p0` is the encoder of row clip and pretraining seed 0, for commands that take either."""
    for name in dict.fromkeys(names):
        found = re.fullmatch(r"(.+)-p\d+(-s\d+)?", name)
        if found and found[1] in names:
            yield f"row name {name!r} is that of an encoder of row {found[1]!r}: rename one of the rows"


def _displays(study: Study, what: str, displays: Iterable[str]) -> Iterator[str]:
    heads = [" ".join(display.split()) for display in displays]
    for head, count in Counter(heads).items():
        if not head:
            yield f"study {study.name!r} has {what} without a display name: it stands at the head of tables"
        elif count > 1:
            yield f"study {study.name!r} has {count} {what} displayed as {head!r}: no table could tell them apart"
        if not head.isprintable():
            yield f"study {study.name!r} has {what} displayed as {head!r}, with characters that cannot be printed"
