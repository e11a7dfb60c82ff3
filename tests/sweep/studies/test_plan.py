"""The plan: every cell once, keys that move with all that decides a value, and what is left after any stop."""

import gc
from collections import Counter
from dataclasses import replace

import pytest

from datasets_io.build.spec import order_of
from sweep.studies import STUDIES, check_study, demo, load_study, paper
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import group_seeds, make_plan, parse_only, pending, starts_from
from trainables.recipe import PretrainRecipe

NETWORKS = [f"random-p0-s{seed}" for seed in range(5)]  # of the row without pretraining
FINGERPRINTS = {"mimic_cxr": "a" * 12, "chexpert": "b" * 12, "nih_cxr14": "c" * 12}


@pytest.fixture(scope="module")
def plan():
    return make_plan(demo(), FINGERPRINTS, {})


def test_the_papers_grid_is_650_cells_of_17_encoders(plan):
    """Twelve rows with an encoder each, and the row without pretraining with a network for each of five seeds."""
    assert len(plan.cells) == 650 and len({cell.key for cell in plan.cells}) == 650
    assert len(plan.encoders) == 17 and sum(isinstance(e.recipe, PretrainRecipe) for e in plan.encoders) == 11
    by_column = Counter((cell.protocol, cell.label_percent) for cell in plan.cells)
    assert by_column == {("LP", 100): 130, ("LPFT", 100): 130, ("FT", 1): 130, ("FT", 10): 130, ("FT", 100): 130}


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_is_whole(name):
    study = STUDIES[name]()
    check_study(study)
    assert len(make_plan(study, FINGERPRINTS, {}).cells) == (650 if name == "demo" else 810)


def test_keys_are_golden():
    """A key that moves makes every user compute everything again: then a version is raised, knowingly."""
    run = EncoderRun("random", 0, demo().rows[0].recipe)
    assert run.key == EncoderRun("random", 0, demo().rows[0].recipe).key
    assert len(run.key) == 12 and run.key != EncoderRun("random", 1, demo().rows[0].recipe).key


def test_a_change_upstream_moves_every_key_below_and_no_other(plan):
    other = make_plan(demo(), {**FINGERPRINTS, "mimic_cxr": "d" * 12}, {})
    for before, after in zip(plan.cells, other.cells, strict=True):
        pretrained = isinstance(before.encoder.recipe, PretrainRecipe)
        assert (before.key != after.key) == pretrained
    other = make_plan(demo(), {**FINGERPRINTS, "chexpert": "d" * 12}, {})
    for before, after in zip(plan.cells, other.cells, strict=True):
        assert (before.key != after.key) == (before.dataset == "chexpert")


def test_every_field_of_a_cell_is_in_its_key(plan):
    cell = plan.cells[0]
    changed = [
        replace(cell, dataset="other"),
        replace(cell, protocol="FT"),
        replace(cell, label_percent=1),
        replace(cell, seed=9),
        replace(cell, data_fingerprint="x"),
        replace(cell, recipe=replace(cell.recipe, num_epochs=99)),
        replace(cell, encoder=replace(cell.encoder, pretrain_seed=9)),
        replace(cell, encoder=replace(cell.encoder, network_seed=9)),
        replace(cell, encoder=replace(cell.encoder, network_seed=None)),
    ]
    assert len({c.key for c in [cell, *changed]}) == len(changed) + 1


def test_resources_are_in_no_key(plan):
    study = replace(demo(), resources=replace(demo().resources, cpus_per_cell=4, precision="bfloat16"))
    assert [c.key for c in make_plan(study, FINGERPRINTS, {}).cells] == [c.key for c in plan.cells]


def test_only_keeps_what_the_chosen_cells_start_from():
    only = parse_only(["method=clip", "protocol=LPFT", "seed=0,1", "dataset=chexpert"])
    plan = make_plan(demo(), FINGERPRINTS, only)
    assert Counter(cell.protocol for cell in plan.cells) == {"LP": 2, "LPFT": 2}
    assert [str(e) for e in plan.encoders] == ["imagenet-p0", "clip-p0"]  # it starts from the first


def test_only_takes_several_fields_in_one_word_and_values_of_one_field_in_several():
    assert parse_only(["seed=0,1,method=clip", "seed=2"]) == {"seed": ("0", "1", "2"), "method": ("clip",)}


def test_the_full_study_adds_appendix_e_without_lpft():
    plan = make_plan(STUDIES["paper"](), FINGERPRINTS, {})
    assert len(plan.cells) == 810 and len([e for e in plan.encoders if e.corpus]) == 15
    large = [c for c in plan.cells if c.encoder.row in ("clip-1024", "simclr-1024", "clip-2048", "simclr-2048")]
    assert Counter((c.protocol, c.label_percent) for c in large) == {
        ("LP", 100): 40,
        ("FT", 1): 40,
        ("FT", 10): 40,
        ("FT", 100): 40,
    }
    assert {c.encoder.recipe.global_batch_size for c in large} == {1024, 2048}
    rates = {e.recipe.optimizer.learning_rate for e in plan.encoders if e.corpus}
    assert rates == {1e-4}, "the rate is not scaled with the batch"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("seed", "FIELD=VALUE"),
        ("0,seed=1", "FIELD=VALUE"),
        ("seed=0,,1", "FIELD=VALUE"),
        ("colour=red", "method, dataset"),
        ("seed=9", "it has 0, 1"),
        ("method=simcrl", "'simclr'"),
    ],
)
def test_only_refuses_with_what_is_allowed(value, message):
    with pytest.raises(ValueError, match=message):
        make_plan(demo(), FINGERPRINTS, parse_only([value]))


def test_what_is_done_is_never_pending(plan):
    done = {cell.key for cell in plan.cells[::2]} | {e.key for e in plan.encoders[:5]}
    left = pending(plan, done, set())
    assert not done & {item.key for item in (*left.cells, *left.encoders)}
    assert len(left.cells) == 325 and not left.blocked
    assert pending(plan, {i.key for i in (*plan.cells, *plan.encoders)}, set()).nothing


def test_a_failed_probe_blocks_its_own_lpft_and_nothing_else(plan):
    probe = next(cell for cell in plan.cells if cell.protocol == "LP")
    left = pending(plan, set(), {probe.key})
    assert [starts_from(plan.cells)[cell.key].key for cell in left.blocked] == [probe.key]
    assert left.failed_cells == (probe,) and len(left.cells) == 648


def test_a_failed_encoder_blocks_its_cells_and_its_descendants(plan):
    clip = next(e for e in plan.encoders if e.row == "clip")
    left = pending(plan, set(), {clip.key})
    assert {cell.encoder.row for cell in left.blocked} == {"clip"} and len(left.blocked) == 50
    stand_in = next(e for e in plan.encoders if e.row == "imagenet")
    left = pending(plan, set(), {stand_in.key})
    assert {cell.encoder.row for cell in left.cells} == {"random"} and [str(e) for e in left.encoders] == NETWORKS


def test_each_seed_of_a_row_without_pretraining_has_a_network_of_its_own(plan):
    """As the released code draws one: five seeds on one network would only vary the head and the order of images."""
    random = [cell for cell in plan.cells if cell.encoder.row == "random"]
    by_seed = {cell.seed: cell.encoder for cell in random}
    assert all(cell.encoder is by_seed[cell.seed] and cell.encoder.network_seed == cell.seed for cell in random)
    assert len({run.key for run in by_seed.values()}) == len({run.weights_seed for run in by_seed.values()}) == 5
    assert {cell.encoder.network_seed for cell in plan.cells if cell.encoder.row != "random"} == {None}
    assert str(random[0]) == "random-p0-chexpert-LPFT100-s0" and str(random[0].encoder) == "random-p0-s0"
    # A probe and what goes on from it have the same network, and both pretraining seeds have others.
    assert all(start.encoder.network_seed == start.seed for start in starts_from(random).values())
    two = make_plan(replace(demo(), pretrain_seeds=(0, 1)), FINGERPRINTS, {"method": ("random",)})
    assert len(two.encoders) == len({run.weights_seed for run in two.encoders}) == 10


def test_a_pretraining_that_starts_from_random_weights_starts_from_one_network_for_all_seeds():
    base = demo()
    rows = (base.rows[0], replace(base.rows[2], recipe=replace(base.rows[2].recipe, initial="random")))
    plan = make_plan(replace(base, rows=rows), FINGERPRINTS, {})
    (clip,) = {cell.encoder for cell in plan.cells if cell.encoder.row == "clip"}
    assert clip.parent is not None and str(clip.parent) == "random-p0"
    # The key, and so the weights, of a random network that was stored before each seed drew one.
    assert (clip.parent.key, clip.parent.weights_seed) == ("9fefc65119a4", 0)
    assert sorted(str(run) for run in plan.encoders) == ["clip-p0", "random-p0", *NETWORKS]


def test_seeds_of_a_probe_on_one_network_are_one_job_and_all_others_alone(plan):
    groups = group_seeds(plan.cells)
    assert sum(map(len, groups)) == 650
    assert Counter((g[0].protocol, len(g)) for g in groups) == {
        ("LP", 5): 24,
        ("LP", 1): 10,
        ("LPFT", 1): 130,
        ("FT", 1): 390,
    }


def test_studies_differ_in_recipe_values_only():
    a, b = paper(), STUDIES["strict"]()
    assert [row.name for row in a.rows] == [row.name for row in b.rows] and a.corpus == b.corpus
    assert not any(d.recipe.splits.selects_on_test for d in b.datasets)
    assert a.datasets[0].recipe.splits.selects_on_test


def test_a_report_method_on_a_corpus_without_reports_is_refused():
    study = replace(demo(), corpus=replace(demo().corpus, source="nih_cxr14"))
    with pytest.raises(ValueError, match="reads reports, but corpus 'nih_cxr14' has none"):
        check_study(study)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_the_corpus_of_a_preset_is_ordered_by_hash_and_its_datasets_are_not(name):
    corpus, *datasets = STUDIES[name]().builds()
    assert order_of(corpus) == "hash" and {order_of(spec) for spec in datasets} == {"archive"}


def test_any_source_is_ordered_by_hash_where_a_study_pretrains_on_it():
    """Also where a study file asks for the archive's order, and for the dataset that is the same build."""
    study = demo()
    for order in (None, "archive"):
        corpus = replace(study.datasets[1].build, order=order)
        assert [(spec.source, order_of(spec)) for spec in replace(study, corpus=corpus).builds()] == [
            ("nih_cxr14", "hash"),
            ("chexpert", "archive"),
            ("nih_cxr14", "hash"),
        ]


def test_unknown_study_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="demo, paper, released, strict"):
        load_study("papr")
    (tmp_path / "mine.py").write_text("x = 1")
    with pytest.raises(ValueError, match="must define a function study"):
        load_study(str(tmp_path / "mine.py"))


def test_names_are_readable(plan):
    assert str(plan.cells[0]) == "random-p0-chexpert-LPFT100-s0"
    assert isinstance(plan.cells[0], Cell)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": "normal"}, "has interval 'normal'; allowed: t, z"),
        ({"protocols": ("LP", "KNN")}, "has no protocol 'KNN'; known: "),
        ({"protocols": ("FT", "LPFT")}, "protocol LPFT starts from LP: add LP"),
        ({"rows": demo().rows[:1] + demo().rows[2:3]}, "clip starts from 'imagenet', which is no row of study 'demo'"),
    ],
)
def test_a_study_that_cannot_be_planned_is_refused_with_what_is_allowed(changes, message):
    with pytest.raises(ValueError, match=message):
        check_study(replace(demo(), **changes))


def test_a_study_may_do_without_what_it_does_not_need():
    rows = demo().rows
    check_study(replace(demo(), interval="z", protocols=("FT",)))
    check_study(replace(demo(), rows=(rows[0], rows[2]), hidden_rows=(rows[1],)))
    images_only = tuple(row for row in rows if row.name in ("random", "imagenet", "simclr"))
    check_study(replace(demo(), rows=images_only, corpus=replace(demo().corpus, source="nih_cxr14")))
    plan = make_plan(replace(demo(), rows=(rows[0], rows[2]), hidden_rows=(rows[1],)), FINGERPRINTS, {})
    random = [f"random-p0-s{seed}" for seed in range(5)]
    assert [str(e) for e in plan.encoders] == [*random, "imagenet-p0", "clip-p0"] and len(plan.cells) == 100


def test_planning_leaves_pythons_collector_as_it_was():
    try:
        for turn in (gc.enable, gc.disable):
            turn()
            before = gc.isenabled()
            make_plan(demo(), FINGERPRINTS, {})
            assert gc.isenabled() == before
    finally:
        gc.enable()


def test_what_failed_or_is_damaged_is_told_apart_from_what_is_done(plan):
    first, clip = plan.cells[0], next(e for e in plan.encoders if e.row == "clip")
    done = {first.key, clip.key}
    left = pending(plan, done, {first.key, clip.key})
    assert left.failed_cells == () == left.failed_encoders, "a result counts more than an earlier failure"
    assert first.key not in {cell.key for cell in left.cells} and not left.blocked
    everything = {item.key for item in plan.items}
    again = pending(plan, everything - {clip.key}, set(), {clip.key})
    assert again.encoders == (clip,) and again.cells == () and again.items == [clip] and not again.nothing
    only_a_cell = pending(plan, everything - {first.key}, set())
    assert only_a_cell.cells == (first,) and only_a_cell.encoders == () and not only_a_cell.nothing


def test_an_encoder_knows_its_corpus_its_parent_and_its_network(plan):
    runs = {e.row: e for e in plan.encoders}
    assert [runs[row].needs_corpus for row in ("random", "imagenet", "clip")] == [False, False, True]
    assert runs["clip"].parent is runs["imagenet"] and runs["imagenet"].parent is None
    assert replace(runs["clip"], parent=None).key != runs["clip"].key
    other = replace(runs["clip"].recipe, backbone=replace(runs["clip"].recipe.backbone, image_size=64))
    assert runs["clip"].backbone_key == runs["random"].backbone_key != replace(runs["clip"], recipe=other).backbone_key
