"""Searches: which values, how they enter a study, what is remembered, what Optuna and ASHA know after a stop."""

import json
import math
import runpy
from dataclasses import replace

import pytest
from ray.tune.schedulers import TrialScheduler

from sweep.store.store import Store
from sweep.studies import demo, load_study, paper
from sweep.studies.plan import make_plan
from sweep.studies.tunable import JOINT_WEIGHT, TEMPERATURE, search_row, space_of, tuned, values_of, with_values
from sweep.tune.asha_state import EarlierTrial, TrialRecorder, make_scheduler, make_searcher
from sweep.tune.outputs import search_figure, study_file, trials_csv
from sweep.tune.rungs import rungs_of
from sweep.tune.trial import COMPLETE, METRIC, TIME, Search, trial_resources
from sweep.tune.trial_store import TrialState, TrialStore, trial_id
from trainables.objectives.joint import JointSettings
from trainables.recipe import Resources
from trainables.registry import METHODS, objective_config

FINGERPRINTS = dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x")


def a_search(method: str = "clip", num_epochs: int = 9) -> Search:
    run = next(run for run in make_plan(demo(), FINGERPRINTS, {}).encoders if run.row == method)
    run = replace(run, recipe=replace(run.recipe, num_epochs=num_epochs))
    return Search(run, "data/x", None, (), rungs_of(num_epochs), "unused", Resources())


@pytest.fixture
def trial_store(tmp_path) -> TrialStore:
    return TrialStore(Store(str(tmp_path)), "demo", "tune-clip-abc")


def values(temperature: float) -> dict[str, float]:
    return {"clip.temperature": temperature}


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_what_is_set_is_what_is_read_back_for_every_method(method):
    objective = objective_config(method, {}, JointSettings())
    space = space_of(objective)
    assert all(space[name].holds(value) for name, value in values_of(objective).items())
    wanted = {name: 0.5 * (r.low + r.high) for name, r in space.items()}
    changed = with_values(objective, wanted)
    assert values_of(changed) == wanted
    assert with_values(changed, values_of(objective)) == objective
    assert ("c" in space) == ("+" in method)


def test_temperatures_are_searched_by_their_logarithm_and_c_is_not():
    space = space_of(search_row(demo(), "clip+simclr").recipe.objective)
    assert space == {"clip.temperature": TEMPERATURE, "simclr.temperature": TEMPERATURE, "c": JOINT_WEIGHT}
    assert TEMPERATURE.log and not JOINT_WEIGHT.log


def test_the_ranges_hold_the_papers_values_and_their_own_ends():
    assert (TEMPERATURE.low, TEMPERATURE.high, JOINT_WEIGHT.low, JOINT_WEIGHT.high) == (0.01, 1.0, 0.05, 2.0)
    for one in (TEMPERATURE, JOINT_WEIGHT):
        assert one.holds(one.low) and one.holds(one.high)
        assert not one.holds(one.low - 1e-9) and not one.holds(one.high + 1e-9)


def test_what_is_not_set_stays():
    objective = objective_config("clip+simclr", {}, JointSettings())
    before = values_of(objective)
    assert values_of(with_values(objective, {"clip.temperature": 0.2})) == before | {"clip.temperature": 0.2}
    assert (
        values_of(with_values(objective, {"c": 0.5})) == before | {"c": 0.5} and with_values(objective, {}) == objective
    )


@pytest.mark.parametrize(
    ("method", "message"),
    [("clap", "pretrains no method 'clap'"), ("imagenet", "pretrains no method"), ("vicreg", "nothing to tune")],
)
def test_what_cannot_be_tuned_is_refused_with_a_sentence(method, message):
    with pytest.raises(ValueError, match=message):
        search_row(demo(), method)


def test_a_tuned_study_differs_in_one_row_and_says_so():
    before = paper()
    after = tuned(before, "clip+vicreg", {"clip.temperature": 0.2, "c": 0.5})
    changed = [row.name for a, row in zip(before.rows, after.rows, strict=True) if a != row]
    assert changed == ["clip+vicreg"] and after.name == "paper-tuned"
    assert "clip.temperature = 0.2" in after.deviations[-1] and "no test image" in after.deviations[-1]
    assert tuned(after, "clip", values(0.1)).name == "paper-tuned"
    with pytest.raises(ValueError, match=r"no value simclr\.temperature"):
        tuned(before, "clip", {"simclr.temperature": 0.2})
    with pytest.raises(ValueError, match=r"no value temperatur, x to set; .*; did you mean 'clip\.temperature'"):
        tuned(before, "clip", {"x": 1.0, "temperatur": 0.2})


def test_the_written_file_is_a_study_that_sweep_run_takes(tmp_path):
    path = tmp_path / "demo_clip_tuned.py"
    path.write_text(study_file("demo", "clip", values(0.1 + 0.2), 0.75, 20))
    study = load_study(str(path))
    assert values_of(search_row(study, "clip").recipe.objective) == values(0.1 + 0.2)  # every digit
    again = tmp_path / "both.py"
    again.write_text(study_file(str(path), "simclr", {"simclr.temperature": 0.4}, 0.7, 5))
    both = load_study(str(again))
    assert values_of(search_row(both, "clip").recipe.objective) == values(0.1 + 0.2)
    assert values_of(search_row(both, "simclr").recipe.objective) == {"simclr.temperature": 0.4}
    assert "0.7500" in runpy.run_path(str(path))["__doc__"]


@pytest.mark.parametrize(
    ("num_epochs", "rungs"), [(1, ()), (3, (1,)), (8, (1, 3)), (50, (5, 15, 45)), (9, (1, 3)), (18, (2, 6))]
)
def test_rungs_are_three_times_as_far_each_time(num_epochs, rungs):
    assert rungs_of(num_epochs) == rungs


def test_a_trial_takes_one_gpu_where_there_are_some():
    assert trial_resources(Resources(), gpus=8) == {"CPU": 1.0, "GPU": 1.0}
    assert trial_resources(Resources(cpus_per_worker=2), gpus=0) == {"CPU": 2.0}
    assert trial_resources(Resources(gpus_per_worker=0.5), gpus=8) == {"CPU": 1.0, "GPU": 0.5}
    assert trial_resources(Resources(gpus_per_worker=0), gpus=8) == {"CPU": 1.0}, "they are to be left alone"


def test_the_encoder_of_a_trial_is_the_one_that_the_tuned_study_asks_for():
    plan = make_plan(tuned(demo(), "clip", values(0.3)), FINGERPRINTS, {})
    wanted = next(run for run in plan.encoders if run.row == "clip")
    run = next(run for run in make_plan(demo(), FINGERPRINTS, {}).encoders if run.row == "clip")
    assert Search(run, "d", None, (), (), "s", Resources()).job(values(0.3)).key == wanted.key != run.key


# -- what is remembered ----------------------------------------------------------------------------


def test_trials_are_found_again_as_they_were(trial_store):
    trial_store.begin(values(0.1), "encoders/a")
    trial_store.rung(values(0.1), 1, 0.6)
    trial_store.rung(values(0.1), 3, 0.7)
    trial_store.end(values(0.1), TrialState.DONE, value=0.8)
    trial_store.begin(values(0.2), "encoders/b")
    trial_store.rung(values(0.2), 1, 0.9)
    trial_store.end(values(0.2), TrialState.PRUNED)
    trial_store.begin(values(0.3), "encoders/c")
    trial_store.end(values(0.3), TrialState.FAILED, error="loss is not finite")
    trial_store.begin(values(0.4), "encoders/d")
    again = TrialStore(trial_store.store, "demo", "tune-clip-abc")
    assert again.in_order() == trial_store.in_order()
    assert [trial.state for trial in again.in_order()] == [
        TrialState.DONE,
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.BEGUN,
    ]
    assert len(again.ended()) == 3 and again.best().values == values(0.1)
    assert again.begin(values(0.4), "encoders/d").number == 3


def test_a_pruned_or_failed_trial_is_never_the_best(trial_store):
    trial_store.begin(values(0.2), "encoders/b")
    trial_store.rung(values(0.2), 1, 0.9)
    trial_store.end(values(0.2), TrialState.PRUNED)
    assert trial_store.best() is None


def test_ids_are_those_of_the_values_alone():
    assert trial_id({"a": 0.1, "b": 2.0}) == trial_id({"b": 2.0, "a": 0.1}) != trial_id({"a": 0.1, "b": 2.1})


# -- Optuna and ASHA -------------------------------------------------------------------------------


def test_a_new_search_begins_with_the_studys_own_values(trial_store):
    searcher = make_searcher(a_search(), trial_store)
    assert searcher.suggest("a") == values(0.07)
    second = searcher.suggest("b")["clip.temperature"]
    assert second != 0.07 and 0.01 <= second <= 1.0


def test_temperatures_are_proposed_evenly_over_the_decades(trial_store):
    searcher = make_searcher(a_search(), trial_store)
    logs = [math.log10(searcher.suggest(str(i))["clip.temperature"]) for i in range(201)][1:]
    assert 0.4 < sum(log < -1 for log in logs) / 200 < 0.6  # uniform in the value: 0.09


def test_a_search_that_goes_on_knows_all_and_first_takes_up_what_was_cut_off(trial_store):
    search = a_search()
    for place, temperature in enumerate((0.07, 0.5, 0.03)):
        trial_store.begin(values(temperature), f"encoders/{place}")
        trial_store.rung(values(temperature), 1, 0.5 + place / 10)
    trial_store.end(values(0.07), TrialState.DONE, value=0.9)
    trial_store.end(values(0.5), TrialState.PRUNED)
    searcher = make_searcher(search, trial_store)
    told = [(t.params, t.value) for t in searcher._ot_study.trials if t.state.is_finished()]
    assert told == [(values(0.07), 0.9), (values(0.5), 0.6)]
    assert searcher.suggest("a") == values(0.03)
    assert searcher.suggest("b") not in (values(0.07), values(0.5), values(0.03))


def test_a_search_that_goes_on_does_not_propose_the_same_values_again(trial_store):
    first = make_searcher(a_search(), trial_store)
    proposed = [first.suggest(str(i)) for i in range(4)]
    for trial in proposed:
        trial_store.begin(trial, "encoders/x")
        trial_store.end(trial, TrialState.DONE, value=0.5)
    second = make_searcher(a_search(), trial_store)
    assert all(second.suggest(str(i)) not in proposed for i in range(4))


def test_the_rungs_remember_earlier_trials(trial_store):
    search = a_search()
    for temperature, auroc in ((0.1, 0.8), (0.2, 0.81), (0.3, 0.82)):
        trial_store.begin(values(temperature), "encoders/x")
        trial_store.rung(values(temperature), 1, auroc)
        trial_store.end(values(temperature), TrialState.PRUNED)
    asha = make_scheduler(search, trial_store)
    for name, auroc, action in (("poor", 0.6, TrialScheduler.STOP), ("good", 0.9, TrialScheduler.CONTINUE)):
        asha.on_trial_add(None, EarlierTrial(name))
        assert asha.on_trial_result(None, EarlierTrial(name), {TIME: 1, METRIC: auroc}) == action
    fresh = make_scheduler(search, TrialStore(trial_store.store, "demo", "another"))
    fresh.on_trial_add(None, EarlierTrial("poor"))
    assert fresh.on_trial_result(None, EarlierTrial("poor"), {TIME: 1, METRIC: 0.6}) == TrialScheduler.CONTINUE


class Reported:
    """A trial as Tune hands it to callbacks."""

    def __init__(self, temperature: float):
        self.config = values(temperature)


def test_what_happens_is_written_down_and_told(trial_store):
    said: list[str] = []
    recorder = TrialRecorder(a_search(), trial_store, 3, said.append)
    good, late, bad = Reported(0.1), Reported(0.2), Reported(0.3)
    for trial in (good, late, bad):
        recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], good, {COMPLETE: False, TIME: 1, METRIC: 0.7})
    recorder.on_trial_result(0, [], late, {COMPLETE: False, TIME: 1, METRIC: 0.4})
    trial_store.store.files.write(f"{trial_store.of(late.config).folder}/checkpoint.pt", b"half")
    recorder.on_trial_complete(0, [], late)
    recorder.on_trial_result(0, [], good, {COMPLETE: True, TIME: 9, METRIC: 0.75})
    recorder.on_trial_complete(0, [], good)
    folder = trial_store.of(bad.config).folder
    trial_store.store.files.write(f"{folder}/failed.json", b'{"error": "TrainingDiverged: step 7"}')
    recorder.on_trial_error(0, [], bad)
    assert [(t.state, t.value, t.rungs) for t in trial_store.in_order()] == [
        (TrialState.DONE, 0.75, ((1, 0.7),)),
        (TrialState.PRUNED, None, ((1, 0.4),)),
        (TrialState.FAILED, None, ()),
    ]
    assert trial_store.store.files.list("encoders") == [f"{trial_store.of(bad.config).folder}/failed.json"]
    assert "ended early at epoch 1" in said[0] and "0.7500" in said[1] and "TrainingDiverged: step 7" in said[2]


# -- files -----------------------------------------------------------------------------------------


def test_the_table_and_the_figure_show_every_trial(trial_store):
    trial_store.begin(values(0.1), "encoders/a")
    trial_store.end(values(0.1), TrialState.DONE, value=0.8)
    trial_store.begin(values(0.2), "encoders/b")
    trial_store.rung(values(0.2), 1, 0.5)
    trial_store.end(values(0.2), TrialState.PRUNED)
    trial_store.begin(values(0.3), "encoders/c")
    trial_store.end(values(0.3), TrialState.FAILED, error="out of memory")
    rows = trials_csv(trial_store.in_order(), ["clip.temperature"]).splitlines()
    assert rows[0] == "number,clip.temperature,state,val_auroc,last_epoch_probed,last_val_auroc,encoder,error"
    assert rows[1:] == [
        "0,0.1,done,0.8,,0.8,encoders/a,",
        "1,0.2,pruned,,1,0.5,encoders/b,",
        "2,0.3,failed,,,,encoders/c,out of memory",
    ]
    arguments = (trial_store.in_order(), {"clip.temperature": TEMPERATURE}, values(0.07), trial_store.best(), "clip")
    drawing = search_figure(*arguments)
    assert [trial["val_auroc"] for trial in drawing.numbers["trials"]] == [0.8, 0.5]
    assert drawing.svg.startswith("<svg") and drawing.png[:4] == b"\x89PNG"
    assert search_figure(*arguments).svg == drawing.svg


def edited(data: bytes, **fields) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"{", lambda data: b"[]", lambda data: b"[" * 100_000, lambda data: edited(data, value=7.5),
        lambda data: edited(data, rungs=[[1]]), lambda data: edited(data, values={"lr": "x"}),
        lambda data: edited(data, number="3"), lambda data: edited(data, state="done"),
        lambda data: edited(data, values={"lr": 0.5}), lambda data: edited(data, folder="data"),
        lambda data: edited(data, folder="encoders/.."), lambda data: edited(data, folder="encoders/x/../.."),
        lambda data: edited(data, folder="../../x"), lambda data: edited(data, folder="encoders/"),
    ],
)  # fmt: skip
def test_a_damaged_trial_is_one_sentence(trial_store, change):
    trial = trial_store.begin({"lr": 0.1}, "encoders/x")
    path = trial_store.path(f"trials/{trial.id}.json")
    trial_store.store.files.write(path, change(trial_store.store.files.read(path)))
    with pytest.raises(ValueError, match=rf"{path} is damaged \(.+\): move it away, and its trial is begun anew"):
        TrialStore(trial_store.store, "demo", "tune-clip-abc")


def test_a_trial_of_other_values_than_are_searched_is_one_sentence(trial_store):
    """Its name is that of its values, whatever they are called; the table and the figure ask for the search's own."""
    trial = trial_store.begin({"temperature2": 0.1}, "encoders/x")
    path = trial_store.path(f"trials/{trial.id}.json")
    of_this_search = (trial_store.store, "demo", "tune-clip-abc")
    with pytest.raises(ValueError, match=rf"{path} is damaged \(it has values of temperature2, not of c, temp\)"):
        TrialStore(*of_this_search, ["c", "temp"])
    assert TrialStore(*of_this_search, ["temperature2"]).in_order() == [trial]


def test_a_trials_words_are_printable(trial_store):
    trial = trial_store.begin({"lr": 0.1}, "encoders/x")
    path = trial_store.path(f"trials/{trial.id}.json")
    words = {"folder": "encoders/\u202ex", "error": "two\nlines \x9b31m"}
    trial_store.store.files.write(path, edited(trial_store.store.files.read(path), **words))
    (found,) = TrialStore(trial_store.store, "demo", "tune-clip-abc").in_order()
    assert (found.folder, found.error) == ("encoders/\\u202ex", "two\nlines \\x9b31m")


def test_a_trial_that_ends_early_removes_its_own_folder_and_no_other_that_its_file_names(trial_store):
    files, search = trial_store.store.files, a_search()
    own = search.job(values(0.1)).folder
    for folder in (own, "encoders/another"):
        files.write(f"{folder}/checkpoint.pt", b"x")
    trial_store.begin(values(0.1), "encoders/another")
    recorder = TrialRecorder(search, trial_store, 1, lambda line: None)
    recorder.on_trial_complete(0, [], Reported(0.1))
    assert not files.list(own) and files.list("encoders/another") == ["encoders/another/checkpoint.pt"]


def test_files_of_others_and_fields_of_later_versions_stop_no_search(trial_store):
    trial = trial_store.begin({"lr": 0.1}, "encoders/x")
    path = trial_store.path(f"trials/{trial.id}.json")
    trial_store.store.files.write(path, edited(trial_store.store.files.read(path), later=1))
    trial_store.store.files.write(trial_store.path("trials/.DS_Store"), b"mine")
    assert TrialStore(trial_store.store, "demo", "tune-clip-abc").in_order() == [trial]
