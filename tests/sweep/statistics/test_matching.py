"""Are rows and datasets of two studies matched by what they are, and is said in what they differ?"""

from dataclasses import replace

from sweep.statistics.matching import Match, differences, matched_datasets, matched_rows
from sweep.studies import demo

ROWS = {row.name: row for row in demo().rows}


def renamed(name: str, new: str):
    return replace(ROWS[name], name=new)


def other_rate(row):
    return replace(row, recipe=replace(row.recipe, optimizer=replace(row.recipe.optimizer, learning_rate=0.5)))


def test_a_row_is_matched_by_its_recipe_whatever_it_is_called():
    here, there = [ROWS["clip"], ROWS["simclr"]], [renamed("simclr", "clip"), renamed("clip", "ours")]
    assert matched_rows(here, there) == (Match("clip", "ours", "same recipe"), Match("simclr", "clip", "same recipe"))


def test_of_other_recipes_the_name_and_then_the_method_decide():
    here = [ROWS["clip"], ROWS["simclr"], ROWS["random"], ROWS["vicreg"]]
    there = [other_rate(ROWS["clip"]), other_rate(renamed("simclr", "mine"))]
    assert matched_rows(here, there) == (Match("clip", "clip", "same name"), Match("simclr", "mine", "same method"))


def test_a_method_of_two_rows_and_another_batch_match_nothing():
    here = [ROWS["clip"]]
    two = [other_rate(renamed("clip", "a")), other_rate(other_rate(renamed("clip", "b")))]
    two[1] = replace(two[1], recipe=replace(two[1].recipe, num_epochs=99))
    assert matched_rows(here, two) == ()
    large = other_rate(renamed("clip", "a"))
    assert matched_rows(here, [replace(large, recipe=replace(large.recipe, global_batch_size=64))]) == ()


def test_baselines_are_matched_by_their_kind():
    here, there = [ROWS["random"], ROWS["imagenet"]], [renamed("imagenet", "textures"), renamed("random", "scratch")]
    there = [
        replace(row, recipe=replace(row.recipe, backbone=replace(ROWS["clip"].recipe.backbone, image_size=48)))
        for row in there
    ]
    found = matched_rows(here, there)
    assert [(m.here, m.there) for m in found] == [("random", "scratch"), ("imagenet", "textures")]


def test_datasets_are_matched_by_name_and_then_by_source():
    chexpert, nih = demo().datasets
    assert matched_datasets([chexpert, nih], [nih, chexpert]) == (
        Match("chexpert", "chexpert", "same name"),
        Match("nih_cxr14", "nih_cxr14", "same name"),
    )
    ones = replace(chexpert, name="ones")
    assert matched_datasets([chexpert], [ones]) == (Match("chexpert", "ones", "same source"),)
    assert matched_datasets([chexpert], [ones, replace(chexpert, name="zeros")]) == ()
    other = replace(nih, name="chexpert")
    assert matched_datasets([chexpert], [other]) == ()


def test_what_two_recipes_differ_in_is_named():
    a, b = ROWS["clip"].recipe, replace(other_rate(ROWS["clip"]).recipe, num_epochs=3)
    assert set(differences(a, b)) == {"num_epochs: 12 / 3", "optimizer.learning_rate: 0.002 / 0.5"}
    assert differences(a, a) == ()
