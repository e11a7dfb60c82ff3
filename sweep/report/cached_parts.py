"""What of a report takes long: statistics from predictions and figures, made once for the same results and kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets_io.fingerprint import canonical_json
from sweep.figures.draw import drawing_in_background, figure_keys
from sweep.figures.drawing import Drawing, not_drawn
from sweep.figures.view import View
from sweep.statistics import analysis
from sweep.statistics.analysis import FILES, analyse
from sweep.statistics.comparisons import Comparisons
from sweep.store.report_folder import ReportFolder
from sweep.store.snapshot import Snapshot

INDEX, FIGURES = "extras.json", "figures"
QUICK = "Left out, since the report was made with --quick."
QUICK_STATISTICS = "Left out with --quick: intervals over patients, AUPRC, calibration and subgroups."


@dataclass(frozen=True)
class CachedParts:
    """statistics: file name -> CSV text; notes: what they lack; drawings: name -> figure.

    statistics_key, figure_keys: what they were made from and by which version; the next report keeps what still fits.
    None for a quick report, which keeps nothing.
    """

    statistics: Mapping[str, str]
    notes: tuple[str, ...]
    drawings: Mapping[str, Drawing]
    statistics_key: str | None = None
    figure_keys: Mapping[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, str | bytes]:
        """The files to be written."""
        pictures = [drawing for drawing in self.drawings.values() if drawing.missing is None]
        contents: dict[str, str | bytes] = dict(self.statistics)
        contents |= {f"{FIGURES}/{drawing.name}.svg": drawing.svg for drawing in pictures}
        contents |= {f"{FIGURES}/{drawing.name}.png": drawing.png for drawing in pictures}
        return contents | ({INDEX: self._index(contents)} if self.statistics_key else {})

    def _index(self, contents: Mapping[str, str | bytes]) -> str:
        """files: name -> SHA-256, since a quick report writes some of these files too."""
        figures = [
            {
                "name": d.name,
                "title": d.title,
                "caption": d.caption,
                "missing": d.missing,
                "numbers": d.numbers,
                "key": self.figure_keys.get(d.name),
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
    """Statistics and figures. quick: without those that read predictions or take long."""
    if quick:
        found = analyse(data.study, data.plan, data.results, None, comparisons=comparisons)
        filled = {name: text for name, text in found.csv_files().items() if text.count("\n") > 1}
        return CachedParts(filled, (QUICK_STATISTICS,), {})
    view = View(data, comparisons)
    index, key, keys = _index_of(folder), statistics_key(data, comparisons), figure_keys(view)
    statistics, kept = _kept_statistics(folder, index, key), _kept_drawings(folder, index, keys)
    with drawing_in_background(view, kept=kept) as drawings:
        if statistics is not None:
            return CachedParts(statistics, tuple(index["notes"]), drawings(), key, keys)
        found = analyse(data.study, data.plan, data.results, data.store, data.data_folders, comparisons=comparisons)
        # Predictions that cannot be read today may be computed again under the same keys: nothing of this is kept.
        return CachedParts(found.csv_files(), found.notes, drawings(), None if found.unusable else key, keys)


def describe(name: str) -> str:
    """The first sentence about a file of statistics."""
    text = " ".join((FILES[name][0].__doc__ or "").split())
    return text.split(". ")[0].rstrip(".") + "."


def statistics_key(data: Snapshot, comparisons: Comparisons) -> str:
    """Statistics made under the same key are the same: by the same version, from the same results and shards."""
    value = [analysis.VERSION, comparisons.summaries.digest, sorted(data.data_folders.items())]
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _index_of(folder: ReportFolder) -> Mapping[str, Any]:
    index = folder.read(INDEX)
    try:
        return json.loads(index) if index else {}
    except ValueError:  # damaged: all is made again
        return {}


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _whole(folder: ReportFolder, index: Mapping[str, Any], name: str) -> bytes | None:
    """A file of an earlier report as that report wrote it; None where it is gone or another was written there."""
    content = folder.read(name)
    return content if content is not None and index["files"].get(name) == _sha256(content) else None


def _kept_statistics(folder: ReportFolder, index: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """An earlier report's, where they were made under this key and are all there."""
    if index.get("statistics_key") != key:
        return None
    found = {name: _whole(folder, index, name) for name in index["statistics"]}
    return None if None in found.values() else {name: text.decode() for name, text in found.items()}


def _kept_drawings(folder: ReportFolder, index: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Drawing]:
    """An earlier report's figures that were drawn under these keys and are whole."""
    same = [f for f in index.get("figures", ()) if f["name"] in keys and f.get("key") == keys[f["name"]]]
    drawings = {figure["name"]: _drawing(figure, folder, index) for figure in same}
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}


def _drawing(figure: Mapping[str, Any], folder: ReportFolder, index: Mapping[str, Any]) -> Drawing | None:
    if figure["missing"] is not None:
        return not_drawn(figure["name"], figure["title"], figure["missing"])
    svg, png = (_whole(folder, index, f"{FIGURES}/{figure['name']}.{ending}") for ending in ("svg", "png"))
    if svg is None or png is None:
        return None
    return Drawing(figure["name"], figure["title"], figure["caption"], svg.decode(), png, figure["numbers"], None)
