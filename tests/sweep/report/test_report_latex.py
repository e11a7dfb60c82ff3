"""Does the LaTeX of every table compile, with booktabs and nothing else, on the pages of a plain article?"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_study import plan_of, results_of, small, without
from test_latex_table import CASES

from sweep.report.tables.finding_table import finding_tables, narrowed, paper_columns
from sweep.report.tables.latex_text import latex, width_of
from sweep.report.tables.main_table import table1
from sweep.statistics.summaries import study_summaries

ENGINE = next((name for name in ("pdflatex", "lualatex", "xelatex", "tectonic") if shutil.which(name)), None)
needs_latex = pytest.mark.skipif(
    ENGINE is None, reason="needs a LaTeX: apt-get install texlive-latex-base texlive-latex-recommended"
)
ROOT = Path(__file__).resolve().parents[3]
PAPERS = ("letterpaper", "a4paper")


def every_table() -> list[str]:
    base = small(show_published=True)
    rows = tuple(
        replace(row, display=r"50% of [CLIP] & {x}_1 #2 ~^\ <$>") if row.name == "clip" else row for row in base.rows
    )
    study = replace(base, rows=rows)
    plan = plan_of(study)
    results = results_of(study, plan)
    results[0] = without(results[0], "failed")
    means = study_summaries(study, plan, results)
    whole = finding_tables(means, published=True)
    small_ones = [narrowed(table, paper_columns(means.layout)[:2]) for table in whole]
    tables = [table1(means, published=True, notes=("50% & more_",)), *whole, *small_ones]
    return [table.latex() for table in tables]


def test_rows_have_the_columns_that_the_tabular_declares():
    for text in every_table()[1:]:
        width = len(re.search(r"\\begin\{tabular\}\{@\{\}([lrc]+)@\{\}\}", text)[1])
        body = re.sub(r"\\[&%$#_{}]", "", text.split(r"\toprule")[1].split(r"\bottomrule")[0])
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 3 and {line.count("&") + 1 for line in rows} == {width}
        assert re.search(r"[^\x00-\x7f]", text) is None


def compiled(texts: Sequence[str], folder: Path, paper: str = "letterpaper", packages: str = "booktabs") -> str:
    """What LaTeX says of a document with these tables; its pages are in tables.pdf."""
    document = [
        rf"\documentclass[10pt,{paper}]{{article}}",
        rf"\usepackage{{{packages}}}",
        r"\begin{document}",
        # Without text between them floats only wait, and LaTeX holds 52 of them.
        *(f"{text}\\clearpage" for text in texts),
        r"\end{document}",
    ]
    return compiled_document("\n".join(document), folder)


def compiled_document(document: str, folder: Path) -> str:
    """What LaTeX says of it."""
    (folder / "tables.tex").write_text(document)
    flags = ["--keep-logs"] if ENGINE == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [ENGINE, *flags, "tables.tex"], cwd=folder, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "tables.pdf").stat().st_size > 1000
    return (folder / "tables.log").read_text(errors="replace")


def does_not_fit(log: str) -> list[str]:
    """Lines about boxes that are too wide or too high, and about floats that are higher than a page."""
    return re.findall(r"(?m)^(?:Overfull \\[hv]box|LaTeX Warning: Float too large).*", log)


@needs_latex
@pytest.mark.parametrize("paper", PAPERS)
def test_it_compiles(tmp_path: Path, paper: str):
    assert does_not_fit(compiled(every_table(), tmp_path, paper)) == []


@needs_latex
@pytest.mark.parametrize("case", CASES)
def test_every_table_of_the_whole_study_fits_a_page(tmp_path: Path, case: str):
    texts = CASES[case]()
    for paper in PAPERS:
        assert does_not_fit(compiled(texts, tmp_path, paper)) == []


@needs_latex
def test_a_table_that_is_too_wide_or_too_high_is_noticed(tmp_path: Path):
    wide = [text.replace(r"\fontsize{8}{9.5}\selectfont", r"\large") for text in every_table()[:1]]
    assert any("hbox" in line for line in does_not_fit(compiled(wide, tmp_path)))
    high = [text.replace(r"\smallskip", r"\vspace{400pt}", 1) for text in every_table()[:1]]
    assert any("Float too large" in line for line in does_not_fit(compiled(high, tmp_path)))


@needs_latex
def test_parts_of_a_table_have_one_number_with_and_without_the_package_caption(tmp_path: Path):
    text = CASES["published"]()[0]
    for packages in ("booktabs", "booktabs,caption,hyperref"):
        log = compiled([text, text.replace("paper-table1", "again")], tmp_path, packages=packages)
        assert does_not_fit(log) == [] and "destination with the same" not in log
        numbers = re.findall(r"\\newlabel\{tab:(\S+?)\}\{\{(\d+)\}", (tmp_path / "tables.aux").read_text())
        assert {number for label, number in numbers if label.startswith("paper")} == {"1"}, numbers
        assert {number for label, number in numbers if label.startswith("again")} == {"2"}, numbers


@needs_latex
@pytest.mark.skipif(ENGINE != "pdflatex", reason="the other engines have other fonts than the table of widths is of")
def test_widths_are_bounds_and_near_what_latex_measures(tmp_path: Path):
    texts = [
        "".join(map(chr, range(33, 127))),
        "Enlarged cardiomediastinum",
        "SimCLR-ConVIRT",
        "70.00 ± 2.48 (± 10.55)",
    ]
    texts += ["oeboocpoobeo" * 3, "é ñ Ł ß × ± β ≥ ½ 胸", "Prev.", "FT (100%)", *map(chr, range(33, 127))]
    lines = [
        rf"\sbox0{{{style}{latex(text)}}}\typeout{{W=\the\wd0}}" for text in texts for style in ("", r"\bfseries ")
    ]
    log = compiled(["\n".join([r"\fontsize{8}{9.5}\selectfont", *lines, "x"])], tmp_path)
    widths = [float(found) / 8 for found in re.findall(r"W=([\d.]+)pt", log)]
    assert len(widths) == len(lines)
    for i, text in enumerate(texts):
        roman, bold = widths[2 * i : 2 * i + 2]
        assert roman <= width_of(text) + 1e-3 and bold <= width_of(text, bold=True) + 1e-3, (text, roman, bold)
        if len(text) > 4:
            assert width_of(text) < 1.12 * roman, (text, roman, width_of(text))


@needs_latex
def test_the_documents_of_the_docs_compile_and_fit(tmp_path: Path):
    examples = re.findall(r"```latex\n(.*?)```", (ROOT / "docs" / "latex.md").read_text(), re.DOTALL)
    folder = tmp_path / "results" / "reports" / "demo"
    folder.mkdir(parents=True)
    for number, text in zip((1, 2), every_table(), strict=False):
        (folder / f"table{number}.tex").write_text(text)
    assert len(examples) == 2
    for example in examples:
        log = compiled_document(example, tmp_path)
        log = compiled_document(example, tmp_path)  # the second time knows the numbers of the first
        assert does_not_fit(log) == [] and "undefined references" not in log
