"""Does a spreadsheet compute nothing of what names hold, and does what is written read back?"""

import csv
import io

import pyarrow.csv
import pytest

from sweep.statistics.over_patients import over_patients_of
from sweep.store.csv_files import csv_text, csv_value

FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "=1"]
TEXTS = ["a\rb", "a\nb", "a\r\nb", "a\r", "CLIP+SimCLR", "-", "+", "-0.5", "+3", "a=b", "'quoted'", "", "me@here"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_reads_back(text):
    ((header, *_), (cell, number)) = csv.reader(io.StringIO(csv_text([text, "n"], [[text, -0.5]]), newline=""))
    assert cell == header == f"'{text}" and number == "-0.5"
    assert csv_value(cell) == text


@pytest.mark.parametrize("text", TEXTS)
def test_any_other_text_is_written_as_it_is(text):
    assert next(csv.reader(io.StringIO(csv_text([text, "n"], []), newline="")))[0] == text == csv_value(text)


@pytest.mark.parametrize("name", ["a\rb", "a\r", "a\r\nb", "a\nb"])
def test_a_line_end_within_a_name_ends_no_row(tmp_path, name):
    text = csv_text(["method", "n"], [[name, 1], ["plain", 2]])
    assert text.endswith("plain,2\n"), "rows end as they did"
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["method", "n"], [name, "1"], ["plain", "2"]]
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert pyarrow.csv.read_csv(
        tmp_path / "a.csv", parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    ).to_pylist() == [{"method": name, "n": 1}, {"method": "plain", "n": 2}], "as a reader elsewhere has it"


def test_statistics_find_a_finding_by_its_name_again():
    header = ["method", "dataset", "protocol", "label_percent", "value", "patients_low", "patients_high"]
    text = csv_text(header, [["clip", "own", "LP", 100, "=1+1", 0.5, 0.75]])
    assert over_patients_of({"intervals.csv": text}).intervals == {(("clip", "own", "LP", 100), "=1+1"): (0.5, 0.75)}
