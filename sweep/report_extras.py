"""What of a report takes long: statistics from predictions and figures, made once for the same results and kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from datasets_io.fingerprint import canonical_json
from sweep.analysis import FILES, Analysis, analyse
from sweep.figures.draw import drawing_beside
from sweep.figures.drawing import Drawing, not_drawn
from sweep.figures.view import View
from sweep.report_data import ReportData
from sweep.report_files import ReportFolder

INDEX, FIGURES = "extras.json", "figures"
QUICK = "Left out, since the report was made with --quick."
QUICK_STATISTICS = "Left out with --quick: intervals over patients, AUPRC, calibration and subgroups."


@dataclass(frozen=True)
class Extras:
    """statistics: file name -> CSV text; notes: what they lack; drawings: name -> figure."""

    statistics: Mapping[str, str]
    notes: tuple[str, ...]
    drawings: Mapping[str, Drawing]
    made_from: str | None = None

    def contents(self) -> dict[str, str | bytes]:
        """The files to be written."""
        pictures = [drawing for drawing in self.drawings.values() if drawing.missing is None]
        contents: dict[str, str | bytes] = dict(self.statistics)
        contents |= {f"{FIGURES}/{drawing.name}.svg": drawing.svg for drawing in pictures}
        contents |= {f"{FIGURES}/{drawing.name}.png": drawing.png for drawing in pictures}
        return contents | ({INDEX: self._index()} if self.made_from else {})

    def _index(self) -> str:
        figures = [
            {"name": d.name, "title": d.title, "caption": d.caption, "missing": d.missing, "numbers": d.numbers}
            for d in self.drawings.values()
        ]
        value = {
            "made_from": self.made_from, "statistics": list(self.statistics), "notes": list(self.notes),
            "figures": figures,
        }
        return json.dumps(value, indent=1)


def extras_of(data: ReportData, folder: ReportFolder, quick: bool) -> Extras:
    """Statistics and figures. quick: without those that read predictions or take long."""
    if quick:
        found = analyse(data.study, data.plan, data.results, None)
        filled = {name: text for name, text in found.csv_files().items() if text.count("\n") > 1}
        return Extras(filled, (QUICK_STATISTICS,), {})
    made_from = _made_from(data)
    kept = _kept(folder, made_from)
    if kept is not None:
        return kept
    view = View(data.study, data.plan, data.results, data.store, data.data_folders, data.raw)
    with drawing_beside(view) as drawings:
        found = _analysis(data)
        return Extras(found.csv_files(), found.notes, drawings(), None if found.unusable else made_from)


def describe(name: str) -> str:
    """The first sentence about a file of statistics."""
    text = " ".join((FILES[name][0].__doc__ or "").split())
    return text.split(". ")[0].rstrip(".") + "."


def _analysis(data: ReportData) -> Analysis:
    return analyse(data.study, data.plan, data.results, data.store, data.data_folders)


def _made_from(data: ReportData) -> str:
    """Changes with every result, with the study's words, with the archives at hand, and with this code."""
    study, code = data.study, hashlib.sha256()
    for path in sorted(_sources(), key=str):
        code.update(path.read_bytes())
    value = [
        [[r.key, r.status, None if r.macro_auroc is None else r.macro_auroc] for r in data.results],
        [[e.key, e.status] for e in data.encoders],
        [study.name, study.interval, [[row.name, row.display, row.group] for row in study.rows]],
        sorted(data.raw), sorted(data.data_folders.items()), code.hexdigest(),
    ]
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _sources() -> list:
    package = files("sweep")
    folders = (package, package / FIGURES)
    return [path for folder in folders for path in folder.iterdir() if path.name.endswith(".py")]


def _kept(folder: ReportFolder, made_from: str) -> Extras | None:
    """What an earlier report has, where it was made from the same and is whole."""
    index = folder.read(INDEX)
    try:
        value = json.loads(index) if index else {}
    except ValueError:  # damaged: all is drawn again
        return None
    if value.get("made_from") != made_from:
        return None
    statistics = {name: folder.read(name) for name in value["statistics"]}
    drawings = {figure["name"]: _drawing(figure, folder) for figure in value["figures"]}
    if None in statistics.values() or None in drawings.values():
        return None
    texts = {name: text.decode() for name, text in statistics.items()}
    return Extras(texts, tuple(value["notes"]), drawings, made_from)


def _drawing(figure: Mapping, folder: ReportFolder) -> Drawing | None:
    if figure["missing"] is not None:
        return not_drawn(figure["name"], figure["title"], figure["missing"])
    svg, png = (folder.read(f"{FIGURES}/{figure['name']}.{ending}") for ending in ("svg", "png"))
    if svg is None or png is None:
        return None
    return Drawing(
        figure["name"], figure["title"], figure["caption"], svg.decode(), png, figure["numbers"], None
    )
