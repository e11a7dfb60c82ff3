"""All tables of the whole preset `paper` with made-up results: nothing is trained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from made_up_study import number, plan_of, results_of, without

from datasets_io.sources import chexpert, nih_cxr14
from sweep.report.numbering import notes_of, numbered_layouts
from sweep.report.tables.finding_table import FindingTable, finding_tables, narrowed, paper_columns
from sweep.report.tables.latex_layout import LatexRow, LatexTable
from sweep.report.tables.main_table import Table, table1
from sweep.statistics.summaries import study_summaries
from sweep.store.records import CellResult
from sweep.studies.presets import paper
from sweep.studies.study import Study
from trainables.evaluation.metrics import FindingAuroc

FINDINGS = {"chexpert": chexpert.FINDINGS, "nih_cxr14": nih_cxr14.FINDINGS}
# Names as a user may write them: long, with and without places to break, special in LaTeX, not in ASCII.
EXTREME_NAMES = (
    "Stand-in Init. (rendered textures, not ImageNet, 1,024 of them)",
    "my_very_long_row_name_with_underscores_v2_final_FINAL_use_this_one",
    r"50% of [CLIP] & {x}_1 #2 ~^\ <$> | -- ``q'' \end{table}",
    "Étude λ-β, µ ≥ 3×10⁻⁶, naïve Łódź straße ﬁ 胸部X線 \u0416 \U0001f600",
    "W" * 70,
    "[R1] ± 2",
    "two  words\nand a line",
)


def paper_study(published: bool, names: Sequence[str] = ()) -> Study:
    """names: what the first rows are called instead; more names than rows are further rows."""
    base = replace(paper(), show_published=published)
    rows = [replace(row, display=name) for row, name in zip(base.rows, names, strict=False)]
    template = next(row for row in base.rows if row.name == "clip")
    own = [replace(template, name=f"own{i}", display=name) for i, name in enumerate(names[len(base.rows) :])]
    return replace(base, rows=(*rows, *base.rows[len(rows) :], *own))


def results_like_real_ones(study: Study) -> tuple[CellResult, ...]:
    """Each finding of the two sets, some failed and missing cells, seeds that lie far apart, one undefined finding."""
    results = []
    for i, cell in enumerate(results_of(study, plan_of(study))):
        spread = 0.2 if cell.label_percent == 1 else 0.03
        level = min(0.999, cell.macro_auroc - 0.1 + spread * number(cell.encoder, cell.seed, cell.label_percent))
        findings = tuple(
            FindingAuroc(
                name,
                None if name == "fracture" else min(0.999, level + spread * number(name, cell.seed)),
                3 if name == "hernia" else 1234 + cell.seed % 2 * (name == "edema"),
                20_000,
            )
            for name in FINDINGS[cell.dataset]
        )
        cell = replace(cell, findings=findings, macro_auroc=level)
        results.append(without(cell, "failed") if i % 97 == 5 else without(cell) if i % 211 == 7 else cell)
    return tuple(results)


@cache
def paper_tables(
    published: bool, names: tuple[str, ...] = (), sets: tuple[str, ...] = ()
) -> tuple[Table | FindingTable, ...]:
    """Tables 1 to 9, then the tables of findings with all methods. sets: what the datasets are called instead."""
    study = paper_study(published, names)
    named = [replace(dataset, display=name) for dataset, name in zip(study.datasets, sets, strict=False)]
    study = replace(study, datasets=(*named, *study.datasets[len(named) :]))
    plan, results = plan_of(study), results_like_real_ones(study)
    means = study_summaries(study, plan, results)
    notes = notes_of(study, results)
    macro = [table1(means, layout, published, notes, n) for n, layout in numbered_layouts(study, plan).items()]
    whole = finding_tables(means, published)
    return (*macro, *(narrowed(table, paper_columns(means.layout)) for table in whole), *whole)


def with_second_uncertainty(table: LatexTable) -> LatexTable:
    """The table with a second half-width in every cell that has one: `70.00 ± 2.48 (± 10.55)`."""

    def second(row: LatexRow) -> LatexRow:
        texts = [f"{cell.text} (± 10.55)" if "±" in cell.text else cell.text for cell in row.cells]
        cells = (replace(cell, text=text) for cell, text in zip(row.cells, texts, strict=True))
        return replace(row, cells=tuple(cells))

    return _with_rows(table, second)


def with_line_over_patients(table: LatexTable) -> LatexTable:
    """The table with an interval over patients below every row."""

    def below(row: LatexRow) -> LatexRow:
        texts = tuple("58.88 to 100.00" if "±" in cell.text else "" for cell in row.cells)
        return replace(row, references=(("over patients", texts), *row.references))

    return _with_rows(table, below)


def _with_rows(table: LatexTable, change: Callable[[LatexRow], LatexRow]) -> LatexTable:
    sections = (replace(section, rows=tuple(map(change, section.rows))) for section in table.sections)
    return replace(table, sections=tuple(sections))
