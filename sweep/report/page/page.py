"""The report as one page: report.html holds its own style, script and data, and asks the network for nothing."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from datasets_io.fingerprint import plain
from sweep.figures.drawing import Drawing
from sweep.report.best_rows import best_rows
from sweep.report.cached_parts import QUICK, SIDE_BY_SIDE, CachedParts, describe
from sweep.report.label_subsets import images_text, subset_sizes
from sweep.report.narrative import ANSWER, CAUTION, DETAIL, Sentence
from sweep.report.page.cells import PageCells, logs_value, page_cells, recipes_value
from sweep.report.page.curves import curves_value
from sweep.report.page.statistics import TITLES, columns_value
from sweep.report.page.tables import page_tables
from sweep.report.partial import partial_note
from sweep.report.provenance import compute_hours_of, origin_of, software_lines
from sweep.report.side_by_side import CAPTION, blocks, recipe_notes, sentences, with_flag
from sweep.report.tables.finding_table import FindingTable
from sweep.report.tables.main_table import Table
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.row_types import SideBySideRow, rows_csv
from sweep.statistics.side_by_side import SideBySide
from sweep.store.snapshot import Snapshot
from sweep.studies.inputs import input_lines
from sweep.studies.layout import TableLayout
from sweep.studies.plan import NOT_BUILT
from sweep.studies.study import study_fingerprint

PAGE = files("sweep.report.page")
# In the order in which they are joined: copy.js has what the others call, start.js calls the others.
SCRIPTS = (
    "copy.js",
    "theme.js",
    "tabs.js",
    "tables.js",
    "grid.js",
    "cells.js",
    "statistics.js",
    "curves.js",
    "start.js",
)
LARGEST_SCALE = 1.5  # of a figure: the letters of one with a single panel would fill a wide screen
LARGEST_SVG = 1_500_000  # characters; a plot of many points is smaller, and quicker to show, as PNG


def report_page(
    data: Snapshot,
    comparisons: Comparisons,
    narrative: Sequence[Sentence],
    tables: Sequence[Table],
    per_finding: Sequence[FindingTable],
    all_methods: Sequence[FindingTable],
    extras: CachedParts,
    both: SideBySide | None = None,
) -> str:
    """The text of report.html. per_finding: tables with the paper's columns; all_methods: the same with every row.

    both: this study beside another one.

    Whatever comes from a study or a storage is escaped: names, errors and tracebacks are text and never markup.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: (PAGE / name).read_text()),
        autoescape=True,
        undefined=StrictUndefined,  # a name that the template misspells raises instead of printing nothing
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages = page_tables(tables, per_finding, all_methods)
    script = _script()
    cells = page_cells(data)
    files = dict(extras.statistics)
    if both is not None:
        files[SIDE_BY_SIDE] = rows_csv(SideBySideRow, both.rows)
    value = _page_value(data, comparisons, cells, files, {page.id: page.latex for page in pages})
    return environment.get_template("page.html").render(
        study=data.study,
        counts=Counter(result.status for result in data.results),
        total=len(data.results),
        best_rows=best_rows(comparisons),
        images=_images(data, comparisons.table1),
        part=partial_note(comparisons.summaries.layout, comparisons.summaries.results),
        subject="methods" if len(comparisons.summaries.layout.pretrain_seeds) > 1 else "checkpoints",
        lead=[s.text for s in narrative if s.kind == ANSWER and not s.dataset],
        details=_by_dataset([s for s in narrative if s.kind == DETAIL]),
        cautions=[s.text for s in narrative if s.kind == CAUTION],
        tables=pages,
        figures=[_figure(drawing) for drawing in extras.drawings.values()],
        figures_note="" if extras.drawings else QUICK,
        statistics=[(name, TITLES[name], describe(name)) for name in files],
        statistics_notes=extras.notes,
        **_of_run(data),
        again=data.origin.command("sweep.report", *with_flag(both)),
        both=None if both is None else _both(both),
        layout=comparisons.summaries.layout,
        # Markup is not escaped: style, script and data are ours, and _json has escaped what is not.
        style=Markup((PAGE / "style.css").read_text()),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_json(value),
        packed={name: Markup(text) for name, text in cells.packed.items()},
    )


def _of_run(data: Snapshot) -> dict[str, Any]:
    """What the parts on encoders, on what was left out and on what was run show."""
    return {
        "encoders": data.encoders,
        "broken": data.broken,
        "failed_items": _failed(data),
        "damaged_sources": data.damaged_sources,
        "not_built": NOT_BUILT,
        "sources": [(build.label, data.manifests.get(build.label)) for build in data.study.data_builds()],
        "origins": _origins(data),
        "inputs": input_lines(data.study),
        "compute": compute_hours_of(data),
        "fingerprint": study_fingerprint(data.study),
        "versions": [line.removeprefix("versions: ") for line in software_lines(data)],
        "origin": data.origin,
    }


def _origins(data: Snapshot) -> dict[str, str]:
    """Label of a build -> what it was made of, of those whose manifest is whole."""
    builds = (build for build in data.study.data_builds() if build.label in data.manifests)
    return {build.label: origin_of(build, data.manifests[build.label]) for build in builds}


def _both(both: SideBySide) -> dict[str, Any]:
    """What the section of two studies shows."""
    return {
        "sentences": sentences(both),
        "differences": recipe_notes(both),
        "blocks": [block for block in blocks(both) if block.rows],
        "caption": CAPTION,
        "file": SIDE_BY_SIDE,
    }


def _images(data: Snapshot, layout: TableLayout) -> dict[tuple[str, str], str]:
    """(display name of a dataset, title of a column) -> how many images its cells train on, `2 images`."""
    displays = dict(layout.datasets)
    return {
        (displays[name], layout.column_title(*column)): images_text(size)
        for (name, column), size in subset_sizes(data).items()
        if name in displays
    }


def _by_dataset(narrative: Sequence[Sentence]) -> list[tuple[str, list[str]]]:
    """(display name, its sentences, each without the name that begins it), in order."""
    found: dict[str, list[str]] = {}
    for sentence in narrative:
        text = sentence.text.removeprefix(f"{sentence.dataset}: ")
        found.setdefault(sentence.dataset, []).append(text[0].upper() + text[1:])
    return list(found.items())


def _script() -> str:
    """All scripts in the scope of one function, so that none of their names is global."""
    parts = [(PAGE / name).read_text() for name in SCRIPTS]
    return "\n".join(["(() => {", '"use strict";', *parts, "})();"])


def _page_value(
    data: Snapshot, comparisons: Comparisons, cells: PageCells, statistics: Mapping[str, str], latex: Mapping[str, str]
) -> dict[str, Any]:
    """What the scripts read, as JSON in the page. statistics: file name -> CSV text; latex: id of a table -> LaTeX."""
    return {
        "study": data.study.name,
        "cells": cells.inline,
        "recipes": recipes_value(data),
        "encoders": {
            "rows": [[e.name, e.row, e.status, e.key, e.folder] for e in data.encoders],
            "logs": logs_value([encoder.history for encoder in data.encoders]),
        },
        "encoderFailures": {e.name: data.failures[e.name] for e in data.encoders if e.name in data.failures},
        "redo": data.origin.command("sweep.run", "--redo"),
        "storage": data.store.files.full(""),
        "logFolder": data.logs,
        "resources": plain(data.study.resources),
        "statistics": dict(statistics),
        "statisticsShown": columns_value(),
        "latex": dict(latex),
        "curves": curves_value(comparisons, data.study),
    }


def _json(value: Any) -> Markup:
    """JSON for a script element: `</script>` within a text would end it, so every < is written as an escape."""
    # ensure_ascii escapes U+2028 and U+2029 too, which older browsers took for line ends. NaN is not JSON: it raises.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _failed(data: Snapshot) -> list[tuple[str, int, str]]:
    """(error, number of items, first item) of each reason, the most frequent first."""
    items: dict[str, list[str]] = {}
    for name, failure in data.failures.items():
        items.setdefault(failure["error"], []).append(name)
    return sorted(((error, len(names), names[0]) for error, names in items.items()), key=lambda row: -row[1])


def _largest(drawing: Drawing) -> Markup:
    """How wide it is shown at most, by the width of the vector picture; nothing where that does not say."""
    found = re.search(r'<svg [^>]*\bwidth="(\d{1,6})(?:\.\d+)?pt"', drawing.svg[:5000])
    if found is None:
        return Markup("")
    return Markup(' style="max-width: {}px"').format(round(LARGEST_SCALE * int(found[1]) * 4 / 3))  # 4 pixels: 3 points


def _figure(drawing: Drawing) -> dict[str, Any]:
    """What the template shows: the vector picture where it is small, else the raster one.

    As an image, not as an element: the file may come from a storage, and no script in an image runs.
    """
    picture: Markup | None = None
    if drawing.missing is None:
        small = len(drawing.svg) <= LARGEST_SVG
        kind, content = ("svg+xml", drawing.svg.encode()) if small else ("png", drawing.png)
        source = base64.b64encode(content).decode()
        picture = Markup('<img alt="{}"{} src="data:image/{};base64,{}">').format(
            drawing.title, _largest(drawing), kind, source
        )
    return {
        "name": drawing.name,
        "title": drawing.title,
        "caption": drawing.caption,
        "picture": picture,
        "missing": drawing.missing,
    }
