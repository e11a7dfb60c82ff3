"""Is a file of statistics known for one of its class, and nothing else taken for one?"""

import math
from dataclasses import asdict

import pytest

from sweep.statistics.row_types import ComparisonRow, GroupSizeRow, IntervalRow, rows_csv
from sweep.statistics.stored_rows import is_of_rows

PAIR = ComparisonRow(
    *("nih", "FT", 10, "all pairs", "clip", "=1+1"),
    *(5, -1e-05, 0.1, 2.5, 0.03, None, None, None),
    *(None, None, 'no "patients", é', 3.5, ("seed 0", "seed 1")),
    patients_se=0.0,
    patients_freedom=math.inf,
)
INTERVAL = IntervalRow(
    *("nih", "FT", 10, "clip", "CLIP", "edema", 1, 5, None),
    *(1, None, 5, "t", None, "seeds"),
    *(None, None, None, 0.1, 0.9, "", 4.0, (), (), ()),
)
ROWS = {ComparisonRow: PAIR, IntervalRow: INTERVAL, GroupSizeRow: GroupSizeRow("nih", "sex", "F", 5, 3, True)}


@pytest.mark.parametrize("kind", ROWS)
def test_what_its_rows_give_is_one(kind):
    text = rows_csv(kind, [ROWS[kind]] * 2)
    assert is_of_rows(kind, text) and is_of_rows(kind, rows_csv(kind, []))
    assert ",inf," in text or kind is not ComparisonRow
    others = [other for other in ROWS if other is not kind]
    assert not any(is_of_rows(other, text) for other in others)


def changed(row, **values) -> str:
    """The row's file with these values as texts, whatever their kind."""
    kind = type(row)
    assert values.keys() <= asdict(row).keys()
    other = type("Other", (), asdict(row) | values)
    return rows_csv(kind, [other])


@pytest.mark.parametrize("name", ["label_percent", "n", "difference", "patients_se", "patients_freedom", "ci95_both"])
@pytest.mark.parametrize("value", ["x", "nan", "-inf", "1_0", " 1", "1e999", "9" * 5000, "--1"])
def test_a_number_is_one_of_its_kind(name, value):
    assert is_of_rows(ComparisonRow, changed(PAIR)) and not is_of_rows(ComparisonRow, changed(PAIR, **{name: value}))


@pytest.mark.parametrize(
    "values",
    [
        {"label_percent": ""},
        {"label_percent": "1.5"},
        {"difference": "inf"},
        {"difference": "0.10"},
        {"patients_se": "-0.1"},
        {"patients_se": "1e300"},
        {"patients_se": "inf"},
        {"patients_freedom": "0.0"},
        {"patients_note": "\x1b]0;other title\x07"},
        {"dataset": "nih\u202e"},
        {"left_out": "a\nb"},
        {"second": "x" * 200_000},
    ],
)
def test_a_value_that_no_row_has_is_refused(values):
    assert not is_of_rows(ComparisonRow, changed(PAIR, **values))


def test_a_truth_is_true_or_false():
    row = ROWS[GroupSizeRow]
    assert not is_of_rows(GroupSizeRow, changed(row, compared="1"))
    assert is_of_rows(GroupSizeRow, changed(row, compared=False))


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: "",
        lambda text: "method,dataset\nclip,x\n",
        lambda text: text.replace("dataset,", "data,", 1),
        lambda text: f"{text}clip,x\n",
        lambda text: f"{text}\n",
        lambda text: text[:-1],
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\ufeff{text}",
        lambda text: f'{text}"a',
        lambda text: text.replace("'=1+1", "=1+1"),
        lambda text: text.replace("nih", "\0"),
    ],
)
def test_a_file_of_another_form_is_refused(harm):
    text = rows_csv(ComparisonRow, [PAIR])
    assert harm(text) != text and not is_of_rows(ComparisonRow, harm(text))
