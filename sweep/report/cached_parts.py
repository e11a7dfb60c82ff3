"""What of a report takes long: statistics from predictions and figures, computed once for the same inputs and cached.

The cache is the folder of the report itself: its index names what each part was computed from, and the SHA-256 of every
file, so that a part is used again only where both still fit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from datasets_io.fingerprint import canonical_json
from datasets_io.untrusted import printable_lines
from sweep.figures.draw import OF_PREDICTIONS, drawing_in_background, figure_keys
from sweep.figures.drawing import Drawing, not_drawn
from sweep.figures.own_svg import own_svg
from sweep.figures.view import View
from sweep.statistics import analysis
from sweep.statistics.analysis import FILES, analyse
from sweep.statistics.comparisons import Comparisons, with_patients
from sweep.statistics.over_patients import over_patients_of
from sweep.statistics.row_types import SideBySideRow
from sweep.statistics.stored_rows import is_of_rows
from sweep.store.report_folder import ReportFolder
from sweep.store.snapshot import Snapshot

INDEX, FIGURES = "extras.json", "figures"
SIDE_BY_SIDE = "side_by_side.csv"
QUICK = "Left out, since the report was made with --quick."
QUICK_STATISTICS = "Left out with --quick: intervals over patients, AUPRC, calibration and subgroups."


@dataclass(frozen=True)
class CachedParts:
    """statistics: file name -> CSV text; notes: what they lack; drawings: name -> figure.

    statistics_key, figure_keys: a digest of what they were computed from and of the version that computed them; the
    next report uses again what has the same key. statistics_key is None where nothing is to be used again: after a
    quick report, and where predictions or the metadata of shards could not be read. A figure whose drawing failed is
    not used again either, whatever its key.
    """

    statistics: Mapping[str, str]
    notes: tuple[str, ...]
    drawings: Mapping[str, Drawing]
    statistics_key: str | None = None
    figure_keys: Mapping[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, str | bytes]:
        """The files to be written: name -> content, the index included where there is something to use again."""
        # A figure that could not be drawn has no files; the index keeps the reason.
        pictures = [drawing for drawing in self.drawings.values() if drawing.missing is None]
        contents: dict[str, str | bytes] = dict(self.statistics)
        contents |= {f"{FIGURES}/{drawing.name}.svg": drawing.svg for drawing in pictures}
        contents |= {f"{FIGURES}/{drawing.name}.png": drawing.png for drawing in pictures}
        return contents | ({INDEX: self._index(contents)} if self.statistics_key else {})

    def _index(self, contents: Mapping[str, str | bytes]) -> str:
        """The JSON of the index. files: name -> SHA-256, since a quick report writes some of these files too."""
        figures = [
            {
                "name": d.name,
                "title": d.title,
                "caption": d.caption,
                "missing": d.missing,
                "numbers": d.numbers,
                # What could not be read may be mended under the same key: a failed drawing is tried again.
                "key": None if d.failed else self.figure_keys.get(d.name),
            }
            for d in self.drawings.values()
        ]
        value = {
            "statistics_key": self.statistics_key,
            "statistics": list(self.statistics),
            "notes": list(self.notes),
            "figures": figures,
            "files": {name: _sha256(content) for name, content in contents.items()},
        }
        return json.dumps(value, indent=1)


def cached_parts_of(data: Snapshot, comparisons: Comparisons, folder: ReportFolder, quick: bool) -> CachedParts:
    """Statistics and figures, from the folder's earlier report where they fit. quick: without what takes long.

    That is: without figures and without the statistics that read predictions.
    """
    if quick:
        found = analyse(data.study, data.plan, data.results, None, comparisons=comparisons)
        filled = {name: text for name, text in found.csv_files().items() if text.count("\n") > 1}  # more than a header
        return CachedParts(filled, (QUICK_STATISTICS,), {})
    view = View(data, comparisons)
    # Statistics from predictions and figures of networks take minutes; each is computed only where its key is new.
    index, key, keys = _index_of(folder), statistics_key(data, comparisons), figure_keys(view)
    statistics, drawn = _cached_statistics(folder, index, key), _cached_drawings(folder, index, keys)
    # The figures of a large report are drawn in other processes meanwhile; drawings() waits for them.
    with drawing_in_background(view, kept=drawn) as drawings:
        if statistics is not None:
            return CachedParts(statistics, tuple(index["notes"]), drawings(_tested(view, statistics)), key, keys)
        found = analyse(data.study, data.plan, data.results, data.store, data.data_folders, comparisons=comparisons)
        # What cannot be read now may be mended under the same keys: without a key of their own these statistics are
        # not used again, nor are the figures that show them.
        files = found.csv_files()
        if found.unread:
            keys = {name: figure_key for name, figure_key in keys.items() if name not in OF_PREDICTIONS}
        return CachedParts(files, found.notes, drawings(_tested(view, files)), None if found.unread else key, keys)


def _tested(view: View, statistics: Mapping[str, str]) -> View:
    """The view with the tests over seeds and patients."""
    return replace(view, comparisons=with_patients(view.comparisons, over_patients_of(statistics)))


def describe(name: str) -> str:
    """What a file of statistics holds: the first sentence of the docstring of its rows' class."""
    kind = SideBySideRow if name == SIDE_BY_SIDE else FILES[name][0]
    text = " ".join((kind.__doc__ or "").split())
    return text.split(". ")[0].rstrip(".") + "."


def statistics_key(data: Snapshot, comparisons: Comparisons) -> str:
    """SHA-256 of what decides the statistics: the version of the analysis, the results, the folders of the shards."""
    value = [analysis.VERSION, comparisons.summaries.digest, sorted(data.data_folders.items())]
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@with_config(ConfigDict(strict=True))
class _Figure(TypedDict):
    """Of the index."""

    name: str
    title: str
    caption: str
    missing: str | None
    numbers: dict[str, Any]
    key: str | None


@with_config(ConfigDict(strict=True))
class _Index(TypedDict):
    """As `CachedParts` writes it."""

    statistics_key: str
    statistics: list[str]
    notes: list[str]
    figures: list[_Figure]
    files: dict[str, str]


def _index_of(folder: ReportFolder) -> Mapping[str, Any]:
    """Nothing of one that is damaged, of an older form or of nobody's: everything is computed again."""
    index = folder.read(INDEX)
    try:
        found = TypeAdapter(_Index).validate_json(index) if index else None
    except ValidationError:
        return {}
    if found is None:
        return {}
    said = [{**one, **{name: _said(one, name) for name in ("title", "caption", "missing")}} for one in found["figures"]]
    return {**found, "notes": list(map(printable_lines, found["notes"])), "figures": said}


def _said(figure: _Figure, name: Literal["title", "caption", "missing"]) -> str | None:
    return None if (text := figure[name]) is None else printable_lines(text)


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _unchanged(folder: ReportFolder, index: Mapping[str, Any], name: str) -> bytes | None:
    """A file of an earlier report as that report wrote it; None where it is gone or was replaced."""
    content = folder.read(name)
    return content if content is not None and index["files"].get(name) == _sha256(content) else None


def _cached_statistics(folder: ReportFolder, index: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """Those of an earlier report, where they have this key, and every file is unchanged and of its rows' form."""
    if index.get("statistics_key") != key or set(index["statistics"]) != FILES.keys():
        return None
    found = {name: _statistics(folder, index, name) for name in FILES}
    texts = {name: text for name, text in found.items() if text is not None}
    return texts if len(texts) == len(found) else None


def _statistics(folder: ReportFolder, index: Mapping[str, Any], name: str) -> str | None:
    content = _unchanged(folder, index, name)
    try:
        text = None if content is None else content.decode()
    except UnicodeDecodeError:
        return None
    return text if text is not None and is_of_rows(FILES[name][0], text) else None


def _cached_drawings(folder: ReportFolder, index: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Drawing]:
    """The figures of an earlier report that have these keys and whose files are unchanged."""
    same = [f for f in index.get("figures", ()) if f["name"] in keys and f["key"] == keys[f["name"]]]
    drawings = {figure["name"]: _drawing(figure, folder, index) for figure in same}
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}


def _drawing(figure: Mapping[str, Any], folder: ReportFolder, index: Mapping[str, Any]) -> Drawing | None:
    if figure["missing"] is not None:
        return not_drawn(figure["name"], figure["title"], figure["missing"])
    svg, png = (_unchanged(folder, index, f"{FIGURES}/{figure['name']}.{ending}") for ending in ("svg", "png"))
    # A browser that opens the file by itself would run what is in it, and whoever wrote it could write its digest too.
    if svg is None or png is None or (text := own_svg(svg)) is None:
        return None
    return Drawing(figure["name"], figure["title"], figure["caption"], text, png, figure["numbers"], None)
