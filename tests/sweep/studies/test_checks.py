"""Is a study checked whole: is each thing that cannot be carried out a sentence with what is allowed?"""

from dataclasses import dataclass, replace
from typing import get_args, get_type_hints

import pytest

from datasets_io.build.spec import BuildSpec
from sweep.studies import STUDIES, HeadSpec, MocoV2Config, check_study, demo
from sweep.studies.checks import MOST_LISTED, study_problems
from sweep.studies.checks.columns import LEAST_OF_RESOURCES, SPLITS
from sweep.studies.study import NEEDS_REPORTS, TRAINING_FREE, EncoderRow
from sweep.training_free.measures import KINDS
from trainables.recipe import BackboneSpec, OptimizerSpec, RandomInit, Resources, SplitRecipe

DEMO = demo()
ROWS = {row.name: row for row in DEMO.rows}
CHEXPERT = DEMO.datasets[0]


def rows_with(which: str, **changes) -> dict:
    """The demo's rows, one of them with other fields."""
    return {"rows": tuple(replace(row, **changes) if row.name == which else row for row in DEMO.rows)}


def recipe_with(which: str, **changes) -> dict:
    """The demo's rows, one of them with other values in its recipe."""
    return rows_with(which, recipe=replace(ROWS[which].recipe, **changes))


def started(**initial: str) -> dict:
    """The demo's rows, where some start from others. initial: row -> the row that it starts from."""
    changed = {name: replace(ROWS[name].recipe, initial=start) for name, start in initial.items()}
    return {"rows": tuple(replace(row, recipe=changed.get(row.name, row.recipe)) for row in DEMO.rows)}


def of_chexpert(**changes) -> dict:
    return {"datasets": (replace(CHEXPERT, recipe=replace(CHEXPERT.recipe, **changes)),)}


def options(value: object) -> dict:
    return rows_with("random", recipe=RandomInit(BackboneSpec("demo_cnn", 32, value)))


NAMES = {
    "two rows": ({"rows": (*DEMO.rows, replace(ROWS["clip"], display="x"))}, "has 2 rows named 'clip'"),
    "a hidden row": ({"hidden_rows": (ROWS["clip"],)}, "has 2 rows named 'clip'"),
    "two heads": (rows_with("clip", display="SimCLR"), "has 2 rows displayed as 'SimCLR'"),
    "two heads but for blanks": (rows_with("clip", display=" SimCLR "), "has 2 rows displayed as 'SimCLR'"),
    "no head": (rows_with("clip", display=" "), "has rows without a display name"),
    "two lines": (rows_with("clip", display="a\x1b[1m"), "with characters that cannot be printed"),
    "a title": ({"title": "a \x1b]0;title\x07"}, "the study's title 'a .*has characters that cannot be printed"),
    "a turned title": ({"title": "a \u202etxt.exe"}, "the study's title 'a .*has characters that cannot be printed"),
    "a deviation": (
        {"deviations": ("fine", "a\x1b[1m")},
        "the study's deviation 'a.*has characters that cannot be printed",
    ),
    "two datasets": (
        {"datasets": (CHEXPERT, replace(DEMO.datasets[1], display="CheXpert"))},
        "has 2 datasets displayed as 'CheXpert'",
    ),
    "capitals": (
        rows_with("clip", name="SimCLR"),
        "rows 'SimCLR' and 'simclr' differ in how letters are written alone",
    ),
    "an encoder": (
        {"rows": (*DEMO.rows, EncoderRow("clip-p0", "x", "baseline", ROWS["random"].recipe))},
        "of row 'clip'",
    ),
    "a drawn one": (
        {"rows": (*DEMO.rows, EncoderRow("random-p0-s1", "x", "baseline", ROWS["random"].recipe))},
        "row name 'random-p0-s1' is that of an encoder of row 'random'",
    ),
    "a path": (
        rows_with("clip", name="../../mine"),
        "row name '../../mine' cannot be a part of a path; allowed: letters",
    ),
    "a hidden path": ({"hidden_rows": (replace(ROWS["clip"], name="a/b"),)}, "row name 'a/b' cannot be a part of"),
}
STUDY_NAMES = ["../../mine", "a/b", "a\\b", "..", ".", "", " ", "-x", ".tmp-x", "mine\n", "my study", "a=b", "a,b"]
COLUMNS = {
    "a protocol": ({"protocols": ("LP", "lpft")}, "has no protocol 'lpft'; known: LPFT, LP, FT; did you mean 'LPFT'?"),
    "a protocol twice": ({"protocols": ("LP", "LP")}, "protocols has 'LP' twice"),
    "no protocols": ({"protocols": ()}, "study 'demo' has no protocols: there would be nothing to compute"),
    "no rows": ({"rows": ()}, "has no rows"),
    "no datasets": ({"datasets": ()}, "has no datasets"),
    "no seeds": ({"seeds": ()}, "has no seeds"),
    "no pretrain_seeds": ({"pretrain_seeds": ()}, "has no pretrain_seeds"),
    "a seed twice": ({"seeds": (0, 0, 1)}, "seeds has 0 twice"),
    "a seed thrice": ({"pretrain_seeds": (1, 1, 1)}, "pretrain_seeds has 1 3 times"),
    "a negative seed": ({"seeds": (0, -1)}, r"seeds has -1; allowed: whole numbers from 0 to 2\^63 - 1"),
    "a large seed": ({"pretrain_seeds": (2**63,)}, "pretrain_seeds has 9223372036854775808; allowed"),
    "a truth value": ({"seeds": (True,)}, r"seeds\[0\] is True; it must be a whole number"),
    "a float": ({"pretrain_seeds": (0.0,)}, r"pretrain_seeds\[0\] is 0.0; it must be a whole number"),
    "LPFT alone": (rows_with("clip", protocols=("LPFT",)), "row 'clip': protocol LPFT starts from LP: add LP to its"),
    "a row's protocol": (rows_with("clip", protocols=("lp",)), "row 'clip' has no protocol 'lp'.*did you mean 'LP'"),
    "a row's, twice": (rows_with("clip", protocols=("LP", "LP")), "row 'clip': protocols has 'LP' twice"),
    "a row without": (rows_with("clip", protocols=()), "row 'clip' has no protocols: give at least one, or None"),
    "not the study's": (
        {"protocols": ("LP",), **rows_with("clip", protocols=("LP", "FT"))},
        "row 'clip' has protocol FT, which study 'demo' has not",
    ),
    "interval": ({"interval": "T"}, "has interval 'T'; allowed: t, z; did you mean 't'?"),
    "training-free": ({"training_free": ("zeroshot",)}, "kind 'zeroshot'; known: knn, .*; did you mean 'zero_shot'"),
    "training-free, twice": ({"training_free": ("knn", "knn")}, "training_free has 'knn' twice"),
    "no text tower": (
        {"training_free": ("zero_shot",), "rows": (ROWS["random"], ROWS["imagenet"], ROWS["simclr"])},
        "'zero_shot', which needs a row that was pretrained on reports",
    ),
    "subset": (of_chexpert(subset="images"), "recipe.subset is 'images'; allowed: image, .*did you mean 'image'"),
    "val": (of_chexpert(splits=SplitRecipe(val="valid")), "splits.val is 'valid'; allowed: val, carved; did you mean"),
    "test": (of_chexpert(splits=SplitRecipe(test="train")), "splits.test is 'train'; allowed: test, val$"),
    "optimiser": (of_chexpert(optimizer=OptimizerSpec("sgd", 0.1, (0.9, 0.99))), "optimizer: unknown optimiser 'sgd'"),
    "checkpoints": (
        {"resources": Resources(checkpoint_every_seconds=-5)},
        "study 'demo': resources.checkpoint_every_seconds is -5; allowed: 0 or more",
    ),
    "workers": ({"resources": Resources(pretrain_workers=0)}, "resources.pretrain_workers is 0; allowed: 1 or more"),
    "precision": ({"resources": Resources(precision="bf16")}, "precision is 'bf16'.*did you mean 'bfloat16'"),
}
RECIPES = {
    "itself": (started(simclr="simclr"), "row 'simclr' starts from itself: `initial` must name another row"),
    "a circle": (started(simclr="vicreg", vicreg="simclr"), "rows simclr -> vicreg -> simclr start from each other"),
    "a tail": (started(clip="simclr", simclr="vicreg", vicreg="simclr"), "rows simclr -> vicreg -> simclr start"),
    "a start": (started(simclr="imagnet"), "simclr starts from 'imagnet', .*did you mean 'imagenet'"),
    "a network": (
        recipe_with("simclr", backbone=BackboneSpec("resnet18", 32)),
        "row 'simclr' has the backbone resnet18 and starts from row 'imagenet', whose backbone is demo_cnn",
    ),
    "text": (recipe_with("clip", text=None), "row 'clip': the method reads reports, and recipe.text is None"),
    "a text too many": (
        recipe_with("mocov2", text=ROWS["clip"].recipe.text),
        "row 'mocov2': the method reads no reports, and recipe.text is a TinyText: give None",
    ),
    "a name for a text": (
        recipe_with("clip", text="bert-base-uncased"),
        "row 'clip': recipe.text is 'bert-base-uncased'; it must be a TinyText or HuggingFaceText",
    ),
    "a view": (
        recipe_with("simclr", views=()),
        "row 'simclr': the method needs views 'ssl_1', 'ssl_2', and recipe.views has none",
    ),
    "a view twice": (
        recipe_with("clip", views=ROWS["clip"].recipe.views + ROWS["clip"].recipe.views[:1]),
        "recipe.views has 'multi_modal' 2 times",
    ),
    "splits": (
        recipe_with("mocov2", objective=MocoV2Config(key_bn_splits=7)),
        "row 'mocov2': key_bn_splits 7 does not",
    ),
    "a joint method's splits": (
        recipe_with(
            "clip+mocov2",
            objective=replace(ROWS["clip+mocov2"].recipe.objective, image_image=MocoV2Config(key_bn_splits=7)),
        ),
        r"row 'clip\+mocov2': key_bn_splits 7 does not fit",
    ),
    "queue": (
        recipe_with("mocov2", objective=MocoV2Config(queue_size=16)),
        "row 'mocov2': queue_size 16 is smaller than",
    ),
    "chunk": (recipe_with("simclr", gradient_cache_chunk=7), "row 'simclr': gradient_cache_chunk is 7"),
    "epochs": (recipe_with("simclr", num_epochs=0), "recipe.num_epochs is 0; allowed: 1 or more"),
    "optimiser": (
        recipe_with("simclr", optimizer=OptimizerSpec("adm", 0.1, (0.9, 0.99))),
        "row 'simclr': unknown optimiser 'adm'; allowed: adam, adamw; did you mean 'adam'",
    ),
    "group": (rows_with("imagenet", group="Basline"), "row 'imagenet' is in group 'Basline'; did you mean 'baseline'"),
}


@dataclass(frozen=True)
class WithoutBackbone:
    weights: str = "mine"


@dataclass
class Mutable:
    backbone: BackboneSpec


VALUES = {
    "a list": ({"seeds": [0, 1]}, r"seeds is \[0, 1\]; it must be a tuple, .*write seeds=\(0, 1\)"),
    "a number": ({"seeds": 3}, r"seeds is 3; it must be a tuple, .*write seeds=\(3,\)"),
    "a range": ({"seeds": range(3)}, r"seeds is range\(0, 3\); it must be a tuple.*tuple\(...\) makes one"),
    "a list of rows": ({"rows": list(DEMO.rows)}, "rows is a list; it must be a tuple, each item an EncoderRow"),
    "a text of rows": ({"rows": "clip"}, "rows is 'clip'; it must be a tuple"),
    "one dataset": ({"datasets": CHEXPERT}, r"datasets is a Dataset; .*: write datasets=\(...,\), with the comma$"),
    "a text of protocols": ({"protocols": "LP"}, r"protocols is 'LP'; .*write protocols=\('LP',\)"),
    "a text of a row's protocols": (rows_with("clip", protocols="LP"), r"row 'clip': protocols is 'LP'"),
    "a text of kinds": ({"training_free": "knn"}, r"training_free is 'knn'; it must be a tuple"),
    "no corpus": ({"corpus": None}, "corpus is None; it must be a BuildSpec"),
    "a number for a name": ({"name": 3}, "study 3: name is 3; it must be a text"),
    "None for rows' recipe": (rows_with("clip", recipe=None), "row 'clip': recipe is None; it must be a recipe"),
    "a class": (rows_with("random", recipe=RandomInit), "row 'random': recipe is <class .*; it must be a recipe"),
    "no backbone": (rows_with("random", recipe=WithoutBackbone()), "recipe is a WithoutBackbone without a backbone"),
    "a name for a backbone": (
        rows_with("random", recipe=RandomInit("demo_cnn")),
        "recipe.backbone is 'demo_cnn'|backbone",
    ),
    "a mutable recipe": (rows_with("random", recipe=Mutable(BackboneSpec("demo_cnn"))), "no identity"),
    "an objective": (recipe_with("simclr", objective=None), "recipe.objective is None; it must be an ObjectiveConfig"),
    "a class of objective": (recipe_with("mocov2", objective=MocoV2Config), r"make one of it, MocoV2Config\(...\)"),
    "a text for a number": (
        recipe_with("simclr", num_epochs="5"),
        "row 'simclr': recipe.num_epochs is '5'; it must be a wh",
    ),
    "nan": (
        recipe_with("simclr", optimizer=OptimizerSpec("adam", float("nan"), (0.9, 0.99))),
        "recipe.optimizer.learning_rate is nan; it must be a number",
    ),
    "three of two": (
        recipe_with("simclr", optimizer=OptimizerSpec("adam", 0.1, (0.9, 0.99, 1.0))),
        r"optimizer.betas is \(0.9, 0.99, 1.0\); it must be a tuple of 2 \(a number, a number\)",
    ),
    "a dict of options": (options({"a": 1}), r"options is .*write options=tuple\(options.items\(\)\)"),
    "a list in options": (options((("a", [1]),)), r"recipe.backbone.options\[0\]\[1\] is \[1\], .*write it as a tuple"),
    "a function in options": (options((("a", print),)), "which has no identity that a result could be stored under"),
    "a dataset's": (
        {"datasets": (replace(CHEXPERT, build=None),)},
        "dataset 'CheXpert': build is None; it must be a Build",
    ),
    "a dataset's recipe": (
        of_chexpert(batch_size=2.5),
        "dataset 'CheXpert': recipe.batch_size is 2.5; it must be a whole",
    ),
}


GIVEN = {
    f"{kind}: {name}": case
    for kind, cases in {"name": NAMES, "column": COLUMNS, "recipe": RECIPES, "value": VALUES}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("changes", "message"), GIVEN.values(), ids=GIVEN)
def test_what_cannot_be_carried_out_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        check_study(replace(DEMO, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", STUDY_NAMES)
def test_a_name_of_a_study_or_a_row_is_a_part_of_a_path(name):
    for changes, kind in (({"name": name}, "study"), (rows_with("clip", name=name), "row")):
        with pytest.raises(
            ValueError, match=f"{kind} name .* cannot be a part of a path; allowed: letters, digits and _"
        ):
            check_study(replace(DEMO, **changes))


@pytest.mark.parametrize(
    "name", ["clip+simclr", "clip-1024", "mine_2", "resnet50.tv_in1k", "3", "_x", "größe", "胸片", "a" * 100, "A.b"]
)
def test_what_presets_and_people_call_things_is_a_name(name):
    check_study(
        replace(DEMO, name=name, rows=(*DEMO.rows, replace(ROWS["random"], name=("row_" + name)[:100], display="x")))
    )


def test_a_name_that_no_folder_can_have_is_refused():
    with pytest.raises(ValueError, match=r"study name 'aaaaaaaaaaaaaaaaaaaa'\.\.\. has 101 bytes; allowed: 100"):
        check_study(replace(DEMO, name="a" * 101))


def test_retrieval_needs_a_corpus_with_reports():
    study = replace(DEMO, training_free=("retrieval",), corpus=BuildSpec("nih_cxr14", 32))
    assert any(
        "'retrieval', which needs reports, and corpus 'nih_cxr14' has none" in text for text in study_problems(study)
    )


def test_all_problems_are_told_at_once():
    study = replace(DEMO, name="a/b", seeds=(), interval="q", protocols=("LP", "knn"))
    with pytest.raises(
        ValueError, match=r"study 'a/b' has 4 problems:\n  1. study name 'a/b' .*\n  2. .* has no seeds"
    ) as all_:
        check_study(study)
    assert str(all_.value).count("\n") == 4
    many = replace(DEMO, rows=tuple(replace(row, name=f"{row.name}/") for row in DEMO.rows))
    with pytest.raises(ValueError, match=r"\n  and \d+ more$") as first:
        check_study(many)  # the names, and the starts that are not there
    assert str(first.value).count("\n") == MOST_LISTED + 1


def test_the_workers_of_a_study_must_divide_its_batch():
    resources = Resources(pretrain_workers=3)
    found = study_problems(replace(DEMO, rows=(ROWS["imagenet"], ROWS["simclr"]), resources=resources))
    assert len(found) == 1 and "global_batch_size 32 / 3 workers = 10.6667 images a worker" in found[0]


def test_a_start_of_another_name_or_of_other_options_with_the_same_tensors_is_none_of_another_network():
    small = BackboneSpec("resnet18", 32)
    for start in (
        BackboneSpec("resnet18.tv_in1k", 64),  # what stands behind the dot names weights
        replace(small, options=(("zero_init_last", False),)),
    ):
        rows = (
            EncoderRow("imagenet", "x", "baseline", RandomInit(start)),
            *recipe_with("simclr", backbone=small)["rows"],
        )
        study = replace(DEMO, rows=tuple(row for row in rows if row.display == "x" or row.name == "simclr"))
        check_study(study)
    wider = replace(small, options=(("stem_type", "deep"),))
    rows = (EncoderRow("imagenet", "x", "baseline", RandomInit(wider)), study.rows[1])
    with pytest.raises(ValueError, match=r"'imagenet', whose backbone is resnet18 \{'stem_type': 'deep'\}"):
        check_study(replace(study, rows=rows))


def test_what_is_new_but_possible_goes_on():
    check_study(replace(DEMO, **rows_with("imagenet", group="my encoders")))
    check_study(replace(DEMO, training_free=("knn", "zero_shot", "retrieval")))
    check_study(replace(DEMO, **started(vicreg="simclr")))
    check_study(replace(DEMO, rows=(ROWS["random"],)))
    head = HeadSpec(dims=(8,))
    check_study(replace(DEMO, **recipe_with("simclr", objective=replace(ROWS["simclr"].recipe.objective, head=head))))


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_no_preset_has_a_problem(name):
    assert study_problems(STUDIES[name]()) == []


def test_the_words_of_the_checks_are_those_of_what_computes():
    assert tuple(KINDS) == TRAINING_FREE and set(NEEDS_REPORTS) < set(TRAINING_FREE)
    assert set(SPLITS) <= set(SplitRecipe.__dataclass_fields__)


def test_every_number_of_resources_has_a_least_value():
    numbers = {name for name, value in get_type_hints(Resources).items() if not {int, float}.isdisjoint(_kinds(value))}
    assert numbers == set(LEAST_OF_RESOURCES)


def _kinds(hint) -> tuple:
    return get_args(hint) or (hint,)
