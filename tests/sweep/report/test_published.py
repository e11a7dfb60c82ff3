"""Is the paper's data whole and as printed: spot values, shapes, and the repetitions the paper itself has."""

import re
from dataclasses import replace

import pytest

from sweep.report.numbering import notes_of
from sweep.report.published import published_findings, published_mean, published_notes, shown_sections
from sweep.report.published_values import COLUMNS, MEANS, PER_FINDING
from sweep.studies import STUDIES
from trainables.recipe import BackboneSpec, RandomInit
from trainables.registry import display_name
from trainables.views.preprocessing import Preprocessing


@pytest.mark.parametrize(
    ("place", "mean", "ci95", "table"),
    [
        (("chexpert", "random", "LPFT", 100), 77.35, 0.61, 1),
        (("chexpert", "clip+simclr", "FT", 100), 84.33, 0.79, 1),
        (("chexpert", "convirt+mocov2", "FT", 10), 83.45, 1.79, 1),
        (("nih_cxr14", "clip", "LP", 100), 83.80, 0.16, 1),
        (("nih_cxr14", "convirt+vicreg", "FT", 100), 83.20, 0.25, 1),
        (("chexpert", "clip", "FT", 10, 1024), 79.75, 2.36, 8),
        (("nih_cxr14", "simclr", "FT", 100, 2048), 83.45, 0.40, 9),
    ],
)
def test_spot_values(place, mean, ci95, table):
    value = published_mean(*place)
    assert (value.mean, value.ci95, value.table) == (mean, ci95, table)


@pytest.mark.parametrize(
    "place",
    [
        ("chexpert", "barlow", "LP", 100),
        ("padchest", "clip", "LP", 100),
        ("chexpert", "clip", "LP", 10),
        ("chexpert", "clip", "LPFT", 100, 1024),
        ("chexpert", "vicreg", "LP", 100, 2048),
        ("chexpert", "clip", "LP", 100, 512),
    ],
)
def test_what_the_paper_does_not_have_is_none(place):
    assert published_mean(*place) is None


def test_table_1_has_13_rows_on_both_datasets_and_8_and_9_have_4():
    for table, rows in ((1, 13), (8, 4), (9, 4)):
        for dataset in ("chexpert", "nih_cxr14"):
            assert len(MEANS[table][dataset]) == rows
            assert all(len(values) == len(COLUMNS[table]) for values in MEANS[table][dataset].values())


def test_baselines_of_tables_8_and_9_repeat_table_1():
    for dataset in ("chexpert", "nih_cxr14"):
        for row in ("random", "imagenet"):
            assert MEANS[8][dataset][row] == MEANS[9][dataset][row] == MEANS[1][dataset][row][1:]


def test_per_finding_tables_have_13_rows_on_chexpert_and_14_on_nih():
    assert [len(PER_FINDING[table]) for table in range(2, 8)] == [13, 14, 13, 14, 13, 14]
    assert published_findings("chexpert", 50) == ()


def test_per_finding_values_and_names():
    rows = {row.finding: row for row in published_findings("chexpert", 1)}
    assert rows["enlarged_cardiomediastinum"].printed_name == "Enlarged Cardiomeastinum"
    assert rows["pleural_other"].auroc == {"imagenet": 78.11, "clip": 95.52, "simclr": 68.65, "clip+simclr": 95.52}
    assert (rows["lung_lesion"].prevalence, rows["lung_opacity"].prevalence) == (3.53, 43.25)
    assert published_findings("nih_cxr14", 10)[-1].auroc["clip"] == 81.90


def test_every_value_is_a_percentage():
    means = [m for table in MEANS.values() for rows in table.values() for values in rows.values() for m, _ in values]
    aurocs = [value for table in PER_FINDING.values() for values, _ in table.values() for value in values]
    assert (len(means), len(aurocs)) == (2 * 13 * 5 + 4 * 4 * 4, 4 * (3 * 13 + 3 * 14))
    assert all(55 < value < 90 for value in means) and all(25 < value < 100 for value in aurocs)


def test_a_finding_has_one_prevalence_in_all_tables_of_a_dataset():
    """Tables 4 and 6 print those of Lung Lesion and Lung Opacity in each other's row."""
    for dataset in ("chexpert", "nih_cxr14"):
        tables = [{row.finding: row.prevalence for row in published_findings(dataset, n)} for n in (100, 10, 1)]
        assert tables[0] == tables[1] == tables[2]


def test_values_are_shown_where_the_test_images_are_the_papers():
    shown = {name: set(shown_sections(make())) for name, make in STUDIES.items()}
    both = {"chexpert", "nih_cxr14"}
    assert shown == {"demo": set(), "paper": both, "released": both, "strict": {"chexpert/macro_also_test_val"}}


def test_notes_say_where_values_are_of_other_images_and_where_of_another_draw():
    (nih,) = published_notes(STUDIES["paper"]())
    assert nih.startswith("NIH-ChestX-Ray14: the paper's values are of another draw of a 70-10-20 split")
    chexpert, nih = published_notes(STUDIES["strict"]())
    assert "CheXpert: the paper's values are of other test images and are not shown here; they stand" in chexpert
    assert nih.endswith("are of other test images and are not shown here.")
    assert published_notes(STUDIES["demo"]()) == ()


def test_lateral_images_are_not_the_papers():
    study = STUDIES["paper"]()
    chexpert = study.datasets[0]
    lateral = replace(chexpert, recipe=replace(chexpert.recipe, frontal_only=False))
    assert "chexpert" not in shown_sections(replace(study, datasets=(lateral, study.datasets[1])))


# -- against the text of the paper, where it is at hand --------------------------------------------

NUMBER = r"(\d+\.\d\d)"
NAMES = {"Random Init.": "random", "ImageNet Init.": "imagenet"} | {
    display_name(name): name for name in MEANS[1]["chexpert"] if name not in ("random", "imagenet")
}


@pytest.fixture(scope="module")
def lines(shared_data):
    """Lines of the paper's text, table by table: number of the caption that follows -> the lines before it."""
    path = shared_data.parent / "paper.txt"
    if not path.is_file():
        pytest.skip(f"needs the text of the paper, {path}")
    tables, begun = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        caption = re.match(r"Table (\d):", line)
        begun.append(line)
        if caption:
            tables[int(caption[1])], begun = begun, []
    return tables


@pytest.mark.parametrize("table", [1, 8, 9])
def test_every_mean_and_interval_is_the_papers(lines, table):
    found, dataset = {}, None
    for line in lines[table]:
        if "AUROC)" in line and line.startswith("Methods"):
            dataset = "chexpert" if "CheXpert (" in line else "nih_cxr14"
        values = re.findall(rf"{NUMBER} ± {NUMBER}", line)
        if values and dataset is not None:
            name = re.sub(r"^\([ab]\)", "", line).strip().split("\t")[0]
            found.setdefault(dataset, {})[NAMES[name]] = tuple((float(mean), float(half)) for mean, half in values)
    assert found == MEANS[table]


@pytest.mark.parametrize("table", range(2, 8))
def test_every_finding_and_prevalence_is_the_papers(lines, table):
    found = {}
    for line in lines[table]:
        name, *values = line.split("\t")
        if len(values) == 5 and all(re.fullmatch(NUMBER, value) for value in values):
            *aurocs, prevalence = map(float, values)
            found[name] = (tuple(aurocs), prevalence)
    assert found == PER_FINDING[table] and list(found) == list(PER_FINDING[table])


@pytest.mark.parametrize("name", ["paper", "released", "strict", "demo"])
def test_notes_say_where_images_are_enlarged_before_the_crop_and_no_preset_does(name):
    """A study file's BuildSpec("chexpert") is of 224 pixels, of which the paper's crop takes the central 196."""
    study = STUDIES[name]()
    assert not any("enlarged" in note for note in notes_of(study, []))
    first = study.datasets[0]
    small = replace(first, build=replace(first.build, image_size=first.recipe.eval_spec.stored_size - 1))
    found = [note for note in notes_of(replace(study, datasets=(small, *study.datasets[1:])), []) if "enlarged" in note]
    assert len(found) == 1 and found[0].startswith(f"CheXpert: images are stored at {small.build.image_size} pixels")


def test_notes_name_the_rows_of_their_own_size_whose_images_are_enlarged():
    study = STUDIES["demo"]()
    first = study.datasets[0]
    large, whole = Preprocessing(2100, "shortest"), Preprocessing(1024, "shortest")
    rows = [replace(study.rows[0], name=name, display=name) for name in ("fitting", "large", "larger", "small")]
    specs = (
        BackboneSpec("resnet10t", 1024, (), whole),
        BackboneSpec("resnet10t", 2100, (), large),
        BackboneSpec("resnet10t", 2100, (), replace(large, geometry="squash")),
        BackboneSpec("demo_cnn", 24),
    )
    rows = [replace(row, recipe=RandomInit(spec)) for row, spec in zip(rows, specs, strict=True)]
    mixed = replace(study, rows=(*study.rows[:2], *rows), datasets=(first,))
    found = [note for note in notes_of(mixed, []) if "enlarged" in note]
    assert len(found) == 1 and found[0].startswith(
        "CheXpert: images of large, larger are stored at 2048 pixels and enlarged to 2100 before"
    )
    assert "BuildSpec" not in found[0]  # none has more
    # The declared size is too small for those rows alone that read it.
    tiny = replace(mixed, datasets=(replace(first, build=replace(first.build, image_size=28)),))
    found = [note for note in notes_of(tiny, []) if "enlarged to 32" in note]
    assert len(found) == 1 and "images of random, imagenet are stored at 28 pixels" in found[0]
    assert not [note for note in notes_of(replace(tiny, rows=(rows[0],)), []) if "enlarged" in note]
