"""Is what a report keeps about patients read back as it was written, place by place and pair by pair?"""

import csv
import io
import math

from sweep.statistics.combined_test import ErrorPart
from sweep.statistics.over_patients import OverPatients, over_patients_of

PLACE = ("clip", "nih", "FT", 10)


def text(rows: list[dict[str, object]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def interval(value: str, low: object, high: object, note: str = "", method: str = "clip") -> dict[str, object]:
    place = {"method": method, "dataset": "nih", "protocol": "FT", "label_percent": 10}
    return place | {"value": value, "patients_low": low, "patients_high": high, "patients_note": note}


def pair(second: str, se: object, freedom: object) -> dict[str, object]:
    place = {"dataset": "nih", "protocol": "FT", "label_percent": 10}
    return place | {"first": "clip", "second": second, "patients_se": se, "patients_freedom": freedom}


def test_an_interval_needs_both_ends_and_a_note_says_why_there_is_none():
    rows = [interval("edema", 0.1, 0.9), interval("mass", "", "", "few"), interval("hernia", "", ""),
            interval("edema", 0.0, 1.0, method="simclr"), interval("nodule", 0.5, "", "half of it"),
            interval("fibrosis", "", 0.5, "the other half")]  # fmt: skip
    found = over_patients_of({"intervals.csv": text(rows)})
    assert found.intervals == {(PLACE, "edema"): (0.1, 0.9), (("simclr", *PLACE[1:]), "edema"): (0.0, 1.0)}
    assert found.notes == {
        (PLACE, "mass"): "few", (PLACE, "nodule"): "half of it", (PLACE, "fibrosis"): "the other half"
    }  # fmt: skip
    assert found.parts == {}


def test_a_pairs_part_is_its_standard_error_and_its_degrees_of_freedom():
    rows = [pair("simclr", 0.01, 7.5), pair("imagenet", "", ""), pair("random", 0.0, math.inf)]
    found = over_patients_of({"comparisons.csv": text(rows)})
    assert found == OverPatients(parts={
        ("nih", "FT", 10, "clip", "simclr"): ErrorPart(0.01, 7.5),
        ("nih", "FT", 10, "clip", "random"): ErrorPart(0.0, math.inf),
    })  # fmt: skip


def test_without_files_nothing_is_known():
    assert over_patients_of({}) == OverPatients() == OverPatients({}, {}, {})


def test_the_reasons_of_several_places_are_said_once_each_in_their_order():
    others = [("clip", "nih", "FT", percent) for percent in (1, 10, 100)]
    notes = {(others[0], "edema"): "b", (others[1], "edema"): "a", (others[2], "edema"): "b", (others[2], "mass"): "c"}
    found = OverPatients(notes=notes)
    assert found.why_none(others, "edema") == ("b", "a") and found.why_none(others[1:], "edema") == ("a", "b")
    assert found.why_none(others, "mass") == ("c",) and found.why_none([], "edema") == ()
