"""Does the LaTeX of every table compile, with booktabs and nothing else, and is it well formed where no TeX is?"""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_study import plan_of, results_of, small, without

from sweep.report.finding_table import finding_tables, narrowed, paper_columns
from sweep.report.main_table import table1
from sweep.statistics.summaries import study_summaries

ENGINE = next((name for name in ("pdflatex", "lualatex", "xelatex", "tectonic") if shutil.which(name)), None)


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


@pytest.mark.skipif(ENGINE is None, reason="needs a TeX: apt-get install texlive-latex-recommended")
def test_it_compiles(tmp_path: Path):
    document = "\n".join(
        [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}", *every_table(), r"\end{document}"]
    )
    (tmp_path / "tables.tex").write_text(document)
    flags = [] if ENGINE == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([ENGINE, *flags, "tables.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 1000
