"""What do the test patients do to each mean and each difference of a study: read from the statistics of a report."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sweep.statistics.combined_test import ErrorPart
from sweep.store.csv_files import csv_value
from sweep.store.records import Place

Pair = tuple[str, str, int, str, str]  # dataset, protocol, label_percent, first, second


@dataclass(frozen=True)
class OverPatients:
    """Empty without predictions. intervals: (place, a macro or a finding) -> low and high in [0, 1].

    parts: two rows of a column -> the patients' part of the error of their difference in macro AUROC. notes: why there
    is no interval, of each value that has none.
    """

    intervals: Mapping[tuple[Place, str], tuple[float, float]] = field(default_factory=dict)
    parts: Mapping[Pair, ErrorPart] = field(default_factory=dict)
    notes: Mapping[tuple[Place, str], str] = field(default_factory=dict)

    def why_none(self, places: Iterable[Place], value: str) -> tuple[str, ...]:
        """The distinct reasons why a value has no interval in some of these places, in their order."""
        return tuple(dict.fromkeys(self.notes[place, value] for place in places if (place, value) in self.notes))


def over_patients_of(files: Mapping[str, str]) -> OverPatients:
    """From the texts of intervals.csv and comparisons.csv, which a report keeps: these numbers take minutes to make."""
    intervals, notes = {}, {}
    for line in _lines(files, "intervals.csv"):
        place = line["method"], line["dataset"], line["protocol"], int(line["label_percent"])
        if line["patients_low"] and line["patients_high"]:
            intervals[place, line["value"]] = float(line["patients_low"]), float(line["patients_high"])
        elif line["patients_note"]:
            notes[place, line["value"]] = line["patients_note"]
    parts = {}
    for line in _lines(files, "comparisons.csv"):
        pair = line["dataset"], line["protocol"], int(line["label_percent"]), line["first"], line["second"]
        if line["patients_se"]:
            parts[pair] = ErrorPart(float(line["patients_se"]), float(line["patients_freedom"]))
    return OverPatients(intervals, parts, notes)


def _lines(files: Mapping[str, str], name: str) -> Iterator[dict[str, str]]:
    for line in csv.DictReader(io.StringIO(files.get(name, ""), newline="")):
        yield {column: csv_value(value) for column, value in line.items()}
