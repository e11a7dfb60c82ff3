"""Does docs/paper-forensics.md say what the published values say? Each figure is recomputed and looked up there."""

import re
from pathlib import Path
from statistics import mean

import pytest

from sweep.report.published_values import COLUMNS, MEANS, PER_FINDING, PER_FINDING_COLUMNS, PER_FINDING_ROWS
from sweep.statistics.inference import half_width

DOCUMENT = re.sub(r"\s+", " ", (Path(__file__).parents[1] / "docs" / "paper-forensics.md").read_text(encoding="utf-8"))
CHEXPERT_TABLES, ONE_POSITIVE = (2, 4, 6), ("Lung Lesion", "Pleural Other")
NEGATIVES = 201

# Studies labelled (positive, uncertain) in CheXpert's training set: Irvin et al. (AAAI 2019), Table 1.
CHEXPERT_STUDIES = {
    "No Finding": (16627, 0),
    "Enlarged Cardiomediastinum": (9020, 10148),
    "Cardiomegaly": (23002, 6597),
    "Lung Lesion": (6856, 1071),
    "Lung Opacity": (92669, 4341),
    "Edema": (48905, 11571),
    "Consolidation": (12730, 23976),
    "Pneumonia": (4576, 15658),
    "Atelectasis": (29333, 29377),
    "Pneumothorax": (17313, 2663),
    "Pleural Effusion": (75696, 9419),
    "Pleural Other": (2441, 1771),
    "Fracture": (7270, 484),
}
NUM_STUDIES, NUM_IMAGES = 187_641, 224_316

# Positives in the 22,433 images of arnoweng/CheXNet's test list.
NIH_TEST_IMAGES = 22_433
NIH_TEST_POSITIVES = {
    "Atelectasis": 2420,
    "Cardiomegaly": 582,
    "Effusion": 2754,
    "Infiltration": 3938,
    "Mass": 1133,
    "Nodule": 1335,
    "Pneumonia": 242,
    "Pneumothorax": 1089,
    "Consolidation": 957,
    "Edema": 413,
    "Emphysema": 509,
    "Fibrosis": 362,
    "Pleural Thickening": 734,
    "Hernia": 42,
}


def says(text):
    assert re.sub(r"\s+", " ", text) in DOCUMENT, f"docs/paper-forensics.md does not say: {text}"


def fits(value, negatives):
    """Whether a printed percentage is k / negatives, to 0.01 (printed values are sometimes cut, not rounded)."""
    return abs(100 * round(value * negatives / 100) / negatives - value) <= 0.01 + 1e-9


def printed(rows):
    return [
        value
        for table in CHEXPERT_TABLES
        for name, (values, _) in PER_FINDING[table].items()
        if name in rows
        for value in values
    ]


def column_mean(table, row, leave_out=()):
    place = PER_FINDING_ROWS.index(row)
    return mean(values[place] for name, (values, _) in PER_FINDING[table].items() if name not in leave_out)


def table_1(table, row):
    dataset, percent = PER_FINDING_COLUMNS[table]
    return MEANS[1][dataset][row][COLUMNS[1].index(("FT", percent))]


def differences():
    """Column mean of Tables 2 to 7 minus Table 1, and Table 1's half-width."""
    return [
        (column_mean(table, row) - table_1(table, row)[0], table_1(table, row)[1])
        for table in PER_FINDING
        for row in PER_FINDING_ROWS
    ]


def test_two_rows_are_the_rank_of_one_image_among_202():
    values = printed(ONE_POSITIVE)
    unexplained = [value for value in values if not fits(value, NEGATIVES)]
    assert unexplained == [32.80]
    says(f"within 0.01 of a multiple of 100/201 | {len(values) - 1} of {len(values)}")
    says(f"66/201 = {100 * 66 / 201:.2f}, printed as 32.83 in Table 6")
    assert PER_FINDING[6]["Lung Lesion"][0][PER_FINDING_ROWS.index("simclr")] == 32.83


def test_no_other_number_of_negatives_and_no_other_row_fits():
    values = printed(ONE_POSITIVE)
    others = max(sum(fits(v, n) for v in values) for n in range(150, 251) if n != NEGATIVES)
    says(f"from 150 to 250 explains at most | {others} of {len(values)}")
    rest = printed({name for table in CHEXPERT_TABLES for name in PER_FINDING[table]} - set(ONE_POSITIVE))
    by_chance = len(rest) * 0.02 / (100 / NEGATIVES)
    says(f"{sum(fits(v, NEGATIVES) for v in rest)} of {len(rest)}, where chance gives about {by_chance:.0f}")


def test_the_values_are_one_seed_and_no_mean_of_five():
    says(f"(1/5)^23, about {0.2**23:.0e}")


def test_column_means_are_not_table_1():
    gaps = [abs(difference) for difference, _ in differences()]
    assert min(gaps) > 0.01
    says(f"in {len(gaps)} of 24 columns, by {min(gaps):.2f} to {max(gaps):.2f} points")
    says(f"In {sum(abs(d) > ci95 for d, ci95 in differences())} of 24 the difference is larger")


@pytest.mark.parametrize(
    ("table", "row", "label"),
    [(2, "clip+simclr", "SimCLR-CLIP"), (4, "clip", "CLIP"), (4, "clip+simclr", "SimCLR-CLIP"), (7, "clip", "CLIP")],
)
def test_examples_of_column_means(table, row, label):
    value, ci95 = table_1(table, row)
    says(f"| {label} | {column_mean(table, row):.2f} | {value:.2f} ± {ci95:.2f} |")


def test_thirteen_rows_and_no_support_devices():
    for table in CHEXPERT_TABLES:
        assert len(PER_FINDING[table]) == 13
        assert "Support Devices" not in PER_FINDING[table] and list(PER_FINDING[table])[-1] == "Fracture"


def test_one_image_moves_the_mean():
    values = PER_FINDING[2]["Lung Lesion"][0]
    says(f"Lung Lesion runs from {min(values):.2f} to {max(values):.2f}")
    says(f"by {(max(values) - min(values)) / 13:.2f} points")
    whole = [column_mean(2, row) for row in PER_FINDING_ROWS]
    without = [column_mean(2, row, ONE_POSITIVE) for row in PER_FINDING_ROWS]
    says("| 13 findings as printed | " + " | ".join(f"{value:.2f}" for value in whole) + " |")
    says("| 11 findings, without the two | " + " | ".join(f"{value:.2f}" for value in without) + " |")
    assert max(whole) == whole[3] and max(without) == without[0]
    says(f"ImageNet is first by {without[0] - sorted(without)[-2]:.2f} points")


def test_chexpert_prevalences_divide_studies_by_images():
    shares = {name: 100 * sum(counts) / NUM_IMAGES for name, counts in CHEXPERT_STUDIES.items()}
    agree = [abs(shares[name] - prevalence) <= 0.0051 for name, (_, prevalence) in PER_FINDING[2].items()]
    says(f"for {sum(agree)} of {len(agree)} findings to 0.01")
    positives = {name: 100 * counts[0] / NUM_IMAGES for name, counts in CHEXPERT_STUDIES.items()}
    agree = {name for name, (_, prevalence) in PER_FINDING[2].items() if abs(positives[name] - prevalence) <= 0.0051}
    assert agree == {"No Finding"}  # it has no uncertain label; so U-Ones is what the paper counted
    says(f"No Finding is then {100 * 16627 / NUM_STUDIES:.2f}%, not {shares['No Finding']:.2f}%")


def test_tables_4_and_6_swap_two_prevalences():
    for table in (4, 6):
        in_table_2 = {name: p for name, (_, p) in PER_FINDING[2].items()}
        swapped = {name for name, (_, p) in PER_FINDING[table].items() if in_table_2.get(name, p) != p}
        assert swapped == {"Lung Lesion", "Lung Opacity"}
        assert PER_FINDING[table]["Lung Lesion"][1] == PER_FINDING[2]["Lung Opacity"][1] == 43.25
        assert PER_FINDING[table]["Lung Opacity"][1] == PER_FINDING[2]["Lung Lesion"][1] == 3.53


def test_nih_prevalences_are_those_of_a_public_test_list():
    shares = {name: 100 * positives / NIH_TEST_IMAGES for name, positives in NIH_TEST_POSITIVES.items()}
    apart = {name for name, (_, p) in PER_FINDING[3].items() if abs(shares[name] - p) > 0.0051}
    assert apart == {"Infiltration"}
    says(f"for {len(shares) - len(apart)} of {len(shares)} findings to 0.01")
    says(f"Infiltration is {shares['Infiltration']:.2f} there and {PER_FINDING[3]['Infiltration'][1]:.2f} in the paper")
    sizes = (78_468, 11_219, 22_433)
    says(f"({' / '.join(f'{100 * size / sum(sizes):.1f}' for size in sizes)}%)")
    says(f"together {sum(sizes):,} images of {21_528 + 3_090 + 6_187:,} patients")
    assert sum(sizes) == 86_524 + 25_596


def test_linear_probing_intervals():
    for dataset, label in (("chexpert", "CheXpert"), ("nih_cxr14", "NIH")):
        widths = [values[COLUMNS[1].index(("LP", 100))][1] for values in MEANS[1][dataset].values()]
        says(f"{min(widths):.2f} to {max(widths):.2f} on {label}")
    five = [0.1, 0.2, 0.3, 0.4, 0.5]
    says(f"a factor of {half_width(five, 't') / half_width(five, 'z'):.4f}")


GROUPS = (("clip", "convirt"), ("mocov2", "simclr", "vicreg"))


@pytest.mark.parametrize("dataset", ["chexpert", "nih_cxr14"])
@pytest.mark.parametrize("column", COLUMNS[1][1:])
def test_group_means(dataset, column):
    rows, place = MEANS[1][dataset], COLUMNS[1].index(column)
    groups = (*GROUPS, tuple(row for row in rows if "+" in row))
    multi_modal, self_supervised, joint = (mean(rows[row][place][0] for row in group) for group in groups)
    label = {"chexpert": "CheXpert", "nih_cxr14": "NIH"}[dataset]
    label += " LP" if column[0] == "LP" else f" FT {column[1]}%"
    says(f"| {label} | {multi_modal:.2f} | {self_supervised:.2f} | {joint:.2f} |")
    assert joint < multi_modal
