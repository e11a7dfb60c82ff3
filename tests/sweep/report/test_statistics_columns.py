"""Does the page have every field of the statistics' files, each under one title, in a unit that fits it?"""

from dataclasses import fields

import pytest

from sweep.report.cached_parts import SIDE_BY_SIDE
from sweep.report.page.statistics import COLUMNS, TITLES, columns_value
from sweep.statistics.analysis import FILES
from sweep.statistics.row_types import SideBySideRow
from sweep.statistics.value_names import MEAN_NAMES, in_sentence, in_words

KINDS = {name: kind for name, (kind, _) in FILES.items()} | {SIDE_BY_SIDE: SideBySideRow}
IN_AUROC = {"percent", "points", "half", "mean", "range"}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_field_is_shown_at_first_or_with_all_columns(name):
    shown = [field for column in COLUMNS[name] for field in column.fields]
    assert set(shown) == {field.name for field in fields(KINDS[name])}
    titles = [column.title for column in COLUMNS[name]]
    assert len(set(titles)) == len(titles) and any(column.first for column in COLUMNS[name])


@pytest.mark.parametrize("name", list(KINDS))
def test_what_is_in_the_unit_of_auroc_is_shown_in_percent(name):
    types = {field.name: str(field.type) for field in fields(KINDS[name])}
    as_they_are = {"p", "number", "verdict"}
    for column in COLUMNS[name]:
        for field in column.fields:
            if "float" not in types[field]:
                assert column.kind not in IN_AUROC, (name, field)
            elif field in ("mean_rank", "critical_difference", "chi2", "t", "fewest_patients", "patients_freedom"):
                assert column.kind == "number", (name, field)
            elif field.startswith(("p_", "wilcoxon_p")) or field == "p":
                assert column.kind in ("p", "verdict"), (name, field)
            else:
                assert column.kind in IN_AUROC and column.kind not in as_they_are, (name, field)


def test_each_file_has_a_title_and_its_columns_are_in_the_page():
    assert set(TITLES) == set(COLUMNS) == set(KINDS)
    value = columns_value()
    assert value["columns"]["intervals.csv"][0] == ["Method", "text", ["display_name"], True]
    assert value["words"] == dict(MEAN_NAMES)


def test_findings_and_means_are_words():
    assert in_words("pleural_effusion") == "Pleural effusion" and in_sentence("lung_lesion") == "lung lesion"
    assert all("_" not in in_words(name) for name in ("macro_defined", "macro_10_positives", "macro_competition"))
    assert in_words("macro_10_positives") == "Mean of those with at least 10 positives"
