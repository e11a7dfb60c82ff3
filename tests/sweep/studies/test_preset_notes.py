"""Does a study made from a preset say of itself what is true of it?"""

from dataclasses import replace
from pathlib import Path

import pytest

from sweep.studies import demo, load_study, paper, released, strict
from sweep.studies.preset_notes import (
    CARVED,
    DEMO,
    DEMO_NETWORK,
    HOLDS,
    LARGE_BATCH,
    NIH_BY_HASH,
    PICKED_ON_TEST,
    STAND_IN,
    WEAKER,
    notes_of_row,
)
from sweep.studies.presets import STUDIES
from sweep.studies.study import EncoderRow
from trainables.recipe import BackboneSpec, ImageNetInit, RandomInit, SplitRecipe

EXAMPLES = Path(__file__).parents[3] / "examples"
HEAD = "from dataclasses import replace\nfrom sweep.studies import demo, paper\n\n\ndef study():\n    return "


def loaded(folder: Path, expression: str):
    (folder / "own.py").write_text(HEAD + expression + "\n")
    return load_study(str(folder / "own.py"))


@pytest.mark.parametrize("make", [demo, paper, released, strict])
def test_a_preset_says_what_is_true_of_it(make):
    study = make()
    assert study.deviations and all(HOLDS[text](study) for text in study.deviations)
    assert load_study(study.name) == study


def test_a_derived_study_has_no_title_of_the_preset(tmp_path):
    study = loaded(tmp_path, 'replace(demo(), name="mine", seeds=(0, 1))')
    assert study.title == "derived from demo" and study.deviations == (DEMO, STAND_IN)


def test_what_a_study_says_itself_stays(tmp_path):
    study = loaded(tmp_path, 'replace(demo(), name="mine", title="Two resolutions", deviations=("Ours alone.",))')
    assert (study.title, study.deviations) == ("Two resolutions", ("Ours alone.",))


def test_a_note_that_is_no_longer_true_goes(tmp_path):
    rows = "rows=tuple(r for r in demo().rows if r.name == 'random')"
    assert loaded(tmp_path, f'replace(demo(), name="mine", {rows})').deviations == (DEMO,)
    study = loaded(tmp_path, 'replace(paper(), name="mine", datasets=paper().datasets[1:])')
    assert study.deviations == (NIH_BY_HASH, LARGE_BATCH)
    study = loaded(tmp_path, 'replace(paper(), name="mine", datasets=paper().datasets[:1], rows=paper().rows[:3])')
    assert study.deviations == (PICKED_ON_TEST,)


def kept(study) -> tuple[str, ...]:
    return load_study(replace(study, name="mine")).deviations


def test_a_note_goes_where_it_is_untrue_of_a_part():
    """The demo's at another size, beside another network, or with many epochs: its network is no evidence there too."""
    assert load_study(str(EXAMPLES / "resolution.py")).deviations == (DEMO_NETWORK,)
    vit = EncoderRow("vit", "ViT", "baseline", RandomInit(BackboneSpec("vit_tiny_patch16_224", 224)))
    assert kept(replace(demo(), rows=(*demo().rows, vit))) == (DEMO_NETWORK, STAND_IN)
    assert kept(replace(demo(), hidden_rows=(vit,))) == (DEMO_NETWORK, STAND_IN)
    longer = tuple(
        replace(row, recipe=replace(row.recipe, num_epochs=13)) if row.name == "simclr" else row for row in demo().rows
    )
    assert kept(replace(demo(), rows=longer)) == (DEMO_NETWORK, STAND_IN)
    trained = tuple(replace(d, recipe=replace(d.recipe, num_epochs=13)) for d in demo().datasets)
    assert kept(replace(demo(), datasets=trained)) == (DEMO_NETWORK, STAND_IN)
    real = EncoderRow("real", "ImageNet", "baseline", ImageNetInit(BackboneSpec("resnet18", 32)))
    assert kept(replace(demo(), rows=(*demo().rows, real))) == (DEMO_NETWORK,)
    assert kept(replace(demo(), rows=(vit, real))) == ()


def test_a_note_of_an_archive_is_of_all_its_uses():
    paper_chexpert, paper_nih = paper().datasets
    strict_chexpert, strict_nih = strict().datasets
    both = tuple(replace(d, name="second", display="Second") for d in (strict_chexpert, strict_nih))
    assert kept(replace(paper(), datasets=(paper_chexpert, paper_nih, both[0]))) == (NIH_BY_HASH, LARGE_BATCH)
    assert kept(replace(paper(), datasets=(paper_chexpert, paper_nih, both[1]))) == (PICKED_ON_TEST, LARGE_BATCH)
    # Carved, and reported on valid.csv alone.
    on_valid = replace(strict_chexpert, recipe=replace(strict_chexpert.recipe, splits=SplitRecipe("carved", "val")))
    assert CARVED not in kept(replace(strict(), datasets=(on_valid, strict_nih)))
    chunked = tuple(
        replace(row, recipe=replace(row.recipe, gradient_cache_chunk=128)) if row.name == "clip-1024" else row
        for row in paper().rows
    )
    assert LARGE_BATCH not in kept(replace(paper(), rows=chunked))


def test_of_a_row_a_note_is_said_where_it_is_true_of_it_and_of_its_start():
    vit = EncoderRow("vit", "ViT", "baseline", RandomInit(BackboneSpec("vit_tiny_patch16_224", 224)))
    study = replace(demo(), rows=(*demo().rows, vit), deviations=(*demo().deviations, "Ours alone."))
    ours = ("Ours alone.",)
    assert notes_of_row(study, "vit") == ((), ours)
    assert notes_of_row(study, "random") == ((DEMO,), ours)
    assert notes_of_row(study, "imagenet") == notes_of_row(study, "simclr") == ((DEMO, STAND_IN), ours)
    assert notes_of_row(replace(study, rows=demo().rows, hidden_rows=(vit,)), "vit") == ((), ours)
    mixed = load_study(replace(demo(), name="mine", rows=(*demo().rows, vit)))
    assert notes_of_row(mixed, "vit")[0] == () and notes_of_row(mixed, "random")[0] == (DEMO_NETWORK,)
    assert LARGE_BATCH in notes_of_row(paper(), "clip-1024")[0]
    assert LARGE_BATCH not in notes_of_row(paper(), "clip")[0]


def test_each_note_can_be_untrue():
    plain = RandomInit(BackboneSpec("resnet50.tv_in1k", 224))
    own = replace(demo(), rows=(EncoderRow("random", "Random", "baseline", plain),), datasets=())
    assert [text for text, holds in HOLDS.items() if holds(own)] == []
    assert {text for make in STUDIES.values() for text in make().deviations} | set(WEAKER.values()) == set(HOLDS)
    assert CARVED in HOLDS
