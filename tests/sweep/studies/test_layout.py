"""The table's layout: rows and columns in the study's order, their titles, and what captions say of seeds."""

from dataclasses import replace

import pytest

from sweep.studies import demo, paper
from sweep.studies.layout import (
    LARGE_BATCHES,
    PAPER_BATCH_SIZE,
    TableLayout,
    layout_of,
    method_of,
    reference_row,
    table1_layout,
    what_varies,
    with_rows,
)
from sweep.studies.plan import make_plan, parse_only
from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointConfig
from trainables.objectives.simclr import SimClrConfig

FINGERPRINTS = {"mimic_cxr": "a" * 12, "chexpert": "b" * 12, "nih_cxr14": "c" * 12}
EMPTY = TableLayout((), (), (), (0, 1), pretrain_seeds=(4,))


def test_columns_are_the_protocols_percentages_in_the_studys_order():
    layout = layout_of(demo(), make_plan(demo(), FINGERPRINTS, {}))
    assert layout.columns == (("LPFT", 100), ("LP", 100), ("FT", 1), ("FT", 10), ("FT", 100))
    assert layout.column_titles == ("LPFT", "LP", "FT (1%)", "FT (10%)", "FT (100%)")
    assert [name for name, _ in layout.datasets] == ["chexpert", "nih_cxr14"]
    assert (layout.seeds, layout.pretrain_seeds, layout.study, layout.interval) == ((0, 1, 2, 3, 4), (0,), "demo", "t")
    assert [row[0] for row in layout.rows[:3]] == ["random", "imagenet", "clip"] and len(layout.rows) == 13


def test_what_was_not_asked_for_is_not_shown_as_missing():
    only = parse_only(["method=simclr,clip", "dataset=nih_cxr14", "seed=3,1", "label_percent=1,10"])
    layout = layout_of(demo(), make_plan(demo(), FINGERPRINTS, only))
    assert [row[0] for row in layout.rows] == ["clip", "simclr"], "the study's order"
    assert layout.columns == (("FT", 1), ("FT", 10)) and layout.seeds == (1, 3)
    assert [name for name, _ in layout.datasets] == ["nih_cxr14"]


def test_rows_are_compared_with_the_papers_by_their_recipe():
    layout = layout_of(paper(), make_plan(paper(), FINGERPRINTS, {}))
    names = layout.paper_names(["random", "clip", "clip+simclr", "simclr-2048", "another"])
    assert names == {
        "random": ("random", 256),
        "clip": ("clip", 256),
        "clip+simclr": ("clip+simclr", 256),
        "simclr-2048": ("simclr", 2048),
        "another": ("another", 256),
    }


def test_a_method_is_known_by_its_configuration():
    assert method_of(ClipConfig(temperature=0.3)) == "clip"
    assert method_of(JointConfig(ClipConfig(), SimClrConfig())) == "clip+simclr"

    class Other(SimClrConfig):
        pass

    assert method_of(Other()) is None and method_of(object()) is None
    assert method_of(JointConfig(ClipConfig(), Other())) is None
    assert method_of(JointConfig(Other(), SimClrConfig())) is None, "a part that nobody knows makes the whole unknown"


def test_a_row_whose_objective_is_unknown_goes_by_its_own_name():
    study = paper()
    row = next(row for row in study.rows if row.name == "clip")

    class Mine(ClipConfig):
        pass

    mine = replace(row, name="mine", recipe=replace(row.recipe, objective=Mine(), global_batch_size=64))
    other = replace(study, rows=(*study.rows, mine))
    layout = layout_of(other, make_plan(other, FINGERPRINTS, {}))
    assert layout.paper_names(["mine"]) == {"mine": ("mine", 64)}


def test_a_layout_is_of_one_pretraining_and_t_intervals_unless_it_says_otherwise():
    plain = TableLayout((), (), (), (0,))
    assert (plain.pretrain_seeds, plain.interval, plain.study, plain.paper_rows) == ((0,), "t", "", ())


def test_captions_say_over_which_seeds_a_mean_is():
    one = what_varies(EMPTY)
    assert one.startswith("n = 2 downstream seeds (0, 1); every method was pretrained once (seed 4)")
    many = what_varies(replace(EMPTY, pretrain_seeds=(4, 6, 7)))
    assert many == "n = 3 pretraining seeds (4, 6, 7), each the mean over 2 downstream seeds (0, 1)"


@pytest.mark.parametrize(
    ("seeds", "named"),
    [
        (tuple(range(5, 35)), ", ".join(map(str, range(5, 35)))),
        (tuple(range(31)), "0 to 30"),
        ((7, *range(100, 7800), 9000, 9001), "7, 100 to 7799, 9000 to 9001"),
        (tuple(range(0, 14_000, 2)), f"{', '.join(map(str, range(0, 60, 2)))} and 6,970 more"),
    ],
)
def test_many_seeds_are_named_in_a_few_words(seeds, named):
    assert f"n = {len(seeds)} downstream seeds ({named});" in what_varies(replace(EMPTY, seeds=seeds))


def test_others_are_compared_with_imagenet_or_the_first_baseline():
    rows = [("clip", "image-text"), ("random", "baseline"), ("imagenet", "baseline")]
    assert reference_row(rows) == "imagenet" and reference_row(rows[:2]) == "random"
    assert reference_row(rows[:1]) is None and reference_row([("imagenet", "other")]) is None


ROWS = (("random", "Random", "baseline"), ("a", "random", "image-image"), ("b", "B", "image-image"))
PAPER = (("random", "random", 256), ("a", "simclr", 256), ("b", "simclr", 1024))
THREE = replace(EMPTY, rows=ROWS, paper_rows=PAPER)


def test_some_rows_of_a_layout_are_chosen_by_name_and_baselines_have_the_batch_that_they_are_shown_beside():
    found = with_rows(THREE, ("b", "random"), baseline_batch=1024)
    assert found == replace(THREE, rows=(ROWS[0], ROWS[2]), paper_rows=(("random", "random", 1024), PAPER[2]))
    assert with_rows(THREE, ["random", "a"]) == replace(THREE, rows=ROWS[:2], paper_rows=PAPER[:2])


def test_table_1_has_no_large_batches_unless_there_is_nothing_else():
    assert table1_layout(THREE) == with_rows(THREE, ("random", "a"))
    large = with_rows(THREE, ("random", "b"))
    assert table1_layout(large) is large, "baselines alone would be no comparison"
    assert table1_layout(with_rows(THREE, ("b",))).rows == (ROWS[2],)


def test_the_batches_are_those_of_the_papers_tables_1_8_and_9():
    assert (PAPER_BATCH_SIZE, *LARGE_BATCHES) == (256, 1024, 2048)
