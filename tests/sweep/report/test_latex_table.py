"""Do all tables fit the page of a plain article, by the widths of their characters, whatever a study is called?"""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from latex_width import height, tabular_widths, type_sizes
from paper_tables import EXTREME_NAMES, paper_tables, with_line_over_patients, with_second_uncertainty

from sweep.report.tables.latex_layout import (
    TEXT_HEIGHT,
    TEXT_WIDTH,
    LatexCell,
    LatexRow,
    LatexSection,
    LatexTable,
    evenly,
    short_names,
)
from sweep.report.tables.latex_table import caption_and_notes, latex_table
from sweep.report.tables.latex_text import breakable, latex, latex_label, width_of, wrap

SMALLEST = 8.0  # pt: what \footnotesize is in an article of 10 pt
LONG_SETS = ("CheXpert_valid & 'the one of the radiologists', frontal and lateral, " * 2, "N" * 120)
MANY = tuple(f"{name} {i}" for i in range(12) for name in EXTREME_NAMES)

CASES: dict[str, Callable[[], list[str]]] = {
    "paper": lambda: [table.latex() for table in paper_tables(False)],
    "published": lambda: [table.latex() for table in paper_tables(True)],
    "two uncertainties": lambda: [latex_table(with_second_uncertainty(t.for_latex())) for t in paper_tables(False)],
    "two uncertainties, published": lambda: [
        latex_table(with_second_uncertainty(t.for_latex())) for t in paper_tables(True)
    ],
    "a line over patients": lambda: [
        latex_table(with_line_over_patients(t.for_latex())) for p in (False, True) for t in paper_tables(p)
    ],
    "extreme names": lambda: [table.latex() for table in paper_tables(True, EXTREME_NAMES, LONG_SETS)],
    "many rows": lambda: [
        *(table.latex() for table in paper_tables(False, MANY)[:1]),
        latex_table(with_second_uncertainty(paper_tables(False, MANY)[-1].for_latex())),
    ],
    "long notes": lambda: [
        latex_table(replace(paper_tables(False)[0].for_latex(), footnotes=("A deviation_of " * 2000, "x" * 9000)))
    ],
}


@pytest.fixture(scope="module")
def texts() -> Callable[[str], list[str]]:
    made: dict[str, list[str]] = {}

    def of(case: str) -> list[str]:
        if case not in made:
            made[case] = CASES[case]()
        return made[case]

    return of


def environments(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


@pytest.mark.parametrize("case", CASES)
def test_no_table_is_wider_or_higher_than_a_page_and_none_is_set_too_small(texts, case: str):
    for text in texts(case):
        widths = tabular_widths(text)
        assert widths and max(widths) <= TEXT_WIDTH == 345, text[:1500]
        for environment in environments(text):
            assert height(environment) <= TEXT_HEIGHT == 550, environment
        assert min(type_sizes(text)) >= SMALLEST
        assert not re.search(r"resizebox|scalebox|\\hfuzz", text)


def test_a_line_is_used_before_columns_are_parted(texts):
    """Table 1 of the paper in one line a cell, as wide as the page; its own tables of findings in one block."""
    table1 = texts("paper")[0]
    assert re.search(r"& \d\d\.\d\d \$\\pm\$ \d\d?\.\d\d ", table1)
    assert max(tabular_widths(table1)) > TEXT_WIDTH - 50
    four = paper_tables(False)[3].for_latex()
    section = four.sections[0]
    rows = tuple(replace(row, cells=row.cells[:6]) for row in section.rows)
    text = latex_table(replace(four, sections=(replace(section, header=section.header[:6], rows=rows),)))
    assert text.count(r"\begin{tabular}") == 1


def test_every_value_and_name_is_in_the_text_once(texts):
    """Parting a table loses no cell and doubles none: 17 rows, 13 of them with LPFT, on two sets."""
    table = paper_tables(True)[0]
    values = [entry.text for section in table.sections for row in section.rows for entry in row.entries]
    text = texts("published")[0]
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and r"\enspace" not in line]
    cells = [cell.strip() for line in lines for cell in line.removesuffix(r"\\").split(" & ")[1:]]
    means = sorted(re.search(r"\d\d\.\d\d", cell)[0] for cell in cells if re.search(r"\d\d\.\d\d", cell))
    assert means == sorted(value.split(" ")[0] for value in values if value != "-")
    assert (
        text.count(r"\enspace published")
        == text.count(r"\enspace difference")
        == sum(any(entry.published for entry in row.entries) for section in table.sections for row in section.rows)
    )


def test_parts_have_one_number_and_each_says_which_it_is(texts):
    parts = environments(texts("published")[0])
    assert len(parts) > 1
    for i, part in enumerate(parts):
        assert f"Part {i + 1} of {len(parts)}." in part
        assert (r"\addtocounter{table}{-1}" in part) == (i > 0)
        assert "Study paper: macro AUROC in percent" in part
    labels = re.findall(r"\\label\{(.*?)\}", texts("published")[0])
    assert labels[:2] == ["tab:paper-table1", "tab:paper-table1-part2"] and len(set(labels)) == len(labels)


def test_a_part_explains_the_letters_of_its_own_cells(texts):
    for case in ("paper", "published", "two uncertainties"):
        for text in texts(case):
            for part in environments(text):
                *tabulars, below = part.split(r"\end{tabular}")
                inside = set(re.findall(r"\$\^\{([a-z]+)\}\$", "".join(tabulars)))
                assert inside == set(re.findall(r"\$\^\{([a-z]+)\}\$ ", below)), part


def test_a_mark_that_no_cell_has_is_a_note_like_others():
    section = LatexSection("", "Row", ("A",), (LatexRow("x", (LatexCell("1.00", mark="a"),)),))
    text = latex_table(LatexTable("l", "t", "Study s: c.", (section,), ("[a] failed: seed 1", "[b] is kept", "plain")))
    assert "1.00$^{a}$" in text and "$^{a}$ failed: seed 1." in text and "is kept" in text and "plain" in text


def test_an_empty_table_has_its_caption_and_notes():
    empty = LatexTable("l", "t", "Study s: c. And more.", (LatexSection("", "Row", (), ()),), ("No number.",))
    text = latex_table(empty)
    assert r"{\raggedright Study s: c.}" in text and "And more." in text and "No number." in text
    assert "tabular" not in text


def test_the_caption_keeps_what_is_said_before_the_study():
    part = "Part of study s: 4 of 8 cells were asked for. "
    assert caption_and_notes(f"{part}Study s: AUROC, mean ± 95%. Bold: best.") == (
        f"{part}Study s: AUROC, mean ± 95%.",
        "Bold: best.",
    )
    assert caption_and_notes("One sentence.") == ("One sentence.", "")


def test_long_names_lose_their_parentheses_to_a_note_unless_they_would_be_alike():
    long = "Stand-in Init. (rendered textures, not ImageNet)"
    assert short_names([long, "CLIP (a)"]) == (
        ("Stand-in Init.", "CLIP (a)"),
        ("Stand-in Init.: rendered textures, not ImageNet.",),
    )
    other = "Stand-in Init. (other rendered textures, of a second kind)"
    assert short_names([long, other]) == ((long, other), ())
    assert short_names([long, "Stand-in Init."]) == ((long, "Stand-in Init."), ())


@pytest.mark.parametrize("limit", [3.0, 6.0, 10.0])
@pytest.mark.parametrize("name", [*EXTREME_NAMES, "Enlarged cardiomediastinum", "SimCLR-ConVIRT", ""])
def test_lines_are_within_the_limit_and_lose_nothing_but_spaces(name: str, limit: float):
    lines = wrap(name, limit)
    assert "".join(lines).replace(" ", "") == re.sub(r"\s", "", name)
    assert all(width_of(line) <= limit or len(line) == 1 for line in lines)


def test_lines_break_at_spaces_then_at_signs():
    assert wrap("SimCLR-ConVIRT", 6) == ("SimCLR-", "ConVIRT")
    assert wrap("Mean of defined findings", 8) == ("Mean of defined", "findings")
    assert wrap("a_b_c", 20) == ("a_b_c",)


def test_runs_are_few_and_even():
    def cut(limit: float) -> list[list[int]]:
        runs: list[list[int]] = [[]]
        for size in (3, 3, 3, 3, 3, 3):
            if runs[-1] and sum(runs[-1]) + size > limit:
                runs.append([])
            runs[-1].append(size)
        return runs

    assert evenly(cut, 12) == [[3, 3, 3], [3, 3, 3]]


def test_what_plain_latex_cannot_set_is_written_out_in_ascii():
    assert latex("é ñ Ł ß") == r"\'{e} \~{n} \L{} \ss{}"
    assert latex("e\u0301") == r"\'{e}"
    assert latex("β Ω Α ≥") == r"$\beta$ $\Omega$ {[}U+0391] $\geq$"
    assert latex("胸 \U0001f600 \u200b\x07") == "{[}U+80F8] {[}U+1F600] "
    assert latex("a--b ``q | x²") == r"a-{}-b {`}{`}q $|$ x$^{2}$"
    assert all(latex(name).isascii() for name in EXTREME_NAMES)


def test_a_long_word_of_a_paragraph_may_be_broken():
    assert breakable("short words -1.5") == "short words -1.5"
    assert r"\allowbreak{}" in breakable("x" * 60) and r"\_\allowbreak{}" in breakable("a_" * 30)


def test_a_label_is_of_ascii():
    assert latex_label("étude #1", "table1") == "tude1-table1" and latex_label("胸") == "study"


def test_a_caption_higher_than_a_page_leaves_the_notes_as_they_are():
    """There is no room beside it, so that a note would be cut for ever: a study may be called anything."""
    table = paper_tables(False)[0].for_latex()
    text = latex_table(replace(table, caption="name " * 4000, footnotes=("A note.",)))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") >= 2
