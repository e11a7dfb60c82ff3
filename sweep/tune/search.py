"""What does sweep.tune do: the search's key, its first encoder, its trials, and what it writes. [ray]

Ray and torch are imported within the functions that need them: bad input is refused in a second, before they load.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.markup import escape

from datasets_io.command_line import no_uri
from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED, ClusterLost, cluster_lost_message
from sweep.cli.lines import echo
from sweep.tune.rungs import rungs_of

if TYPE_CHECKING:
    from ray.tune import Tuner

    from datasets_io.corpus.manifest import Manifest
    from sweep.cli.display import Display
    from sweep.engine.schedule import ClusterResources
    from sweep.store.store import Store
    from sweep.studies.cell import EncoderRun
    from sweep.studies.study import EncoderRow, Study
    from sweep.tune.trial import Search
    from sweep.tune.trial_store import TrialStore

VERSION = 2  # raise it when what a trial computes or what it is judged by changes
NO_LIMIT = 10**6  # trials at once, as far as GPUs go, where a trial takes none


def tune_method(study_name: str, method: str, storage: str, raw: list[str], trials: int, out: Path | None) -> int:
    """Search until `trials` in all have ended, and write the table, the figure and the tuned study.

    study_name, storage, raw: as for sweep.run; out: the file of the tuned study. Returns the exit code. Raises
    ValueError for bad input and for a search that another command makes, and ClusterLost.
    """
    from datasets_io.ray_state import ray_folder
    from sweep.cli.display import Display
    from sweep.engine.ingest import build_data, check_data
    from sweep.store.cleanup import clean_up
    from sweep.store.lease import Lease
    from sweep.store.shards import manifests, parse_raw, plan_data
    from sweep.store.store import Store
    from sweep.studies.presets import load_study
    from sweep.studies.tunable import search_row, space_of

    study, store = load_study(study_name), Store(storage)
    ray_folder(store.uri)  # refuses a place that is not this user's alone
    if out is not None and (trouble := no_uri("--out", out)) is not None:
        raise ValueError(trouble)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ValueError(f"--out {out} cannot be written: give a file, in a folder that is there")
    row = search_row(study, method)
    plans = plan_data(study, parse_raw(raw, study), store)
    check_data(study, plans, store)
    with Display() as display:
        told = f"tunes [bold]{method}[/bold] of study {study.name}; storage: {escape(store.shown)}"
        display.say(f"[bold]radsweep[/bold] {told}")
        _try_encoders(study, method, store, display)
        folders = build_data(study, plans, store, partial(display.bar, unit="images"), display.say)
        search, name = _search(study, method, folders, manifests(folders, store), store)
        from sweep.tune.trial_store import TrialStore

        trial_store = TrialStore(store, study.name, name, list(space_of(row.recipe.objective)))
        if len(trial_store.ended()) < trials:
            with Lease(store.files) as lease:  # the record of the trials has one writer
                while held := lease.claim({name})[1]:
                    if not lease.runs(held[name]):
                        continue
                    raise ValueError(f"{held[name]} makes this search already; wait for its end, then go on with it")
                _run_trials(search, trial_store, trials, display)
        clean_up(store.files)
        return _write(study_name, row, trial_store, out, display)


def _try_encoders(study: "Study", method: str, store: "Store", display: "Display") -> None:
    """Raises ValueError where the method's encoder, or the one that it starts from, does not fit."""
    from sweep.engine.preflight import left_of, preflight
    from sweep.store.snapshot import fingerprints_of
    from sweep.studies.plan import make_plan

    left, _ = left_of(make_plan(study, fingerprints_of(study, {}), {"method": (method,)}), store)
    found = preflight(study, left, store, display, keep=True)
    if found.unfit:
        raise ValueError("; ".join(found.unfit.values()))
    for warning in found.warnings:
        echo(f"warning: {warning}")


def _search(
    study: "Study", method: str, folders: Mapping[str, str], built: Mapping[str, "Manifest"], store: "Store"
) -> tuple["Search", str]:
    """The search and its name in the storage: another recipe, probe or data is another search."""
    from datasets_io.fingerprint import fingerprint
    from sweep.store.snapshot import fingerprints_of
    from sweep.store.store import Store
    from sweep.studies.plan import make_plan
    from sweep.studies.tunable import space_of
    from sweep.tune.trial import Search

    plan = make_plan(study, fingerprints_of(study, built), {})
    run = next(run for run in plan.encoders if run.row == method)
    assert run.corpus is not None, run  # search_row has refused a row that is not pretrained
    _make_initial(run.parent, store)
    labels = [study.build_read(run.recipe.backbone, dataset).label for dataset in study.datasets]
    recipes = [dataset.recipe for dataset in study.datasets]
    datasets = tuple((recipe, folders[label]) for recipe, label in zip(recipes, labels, strict=True))
    search = Search(
        run,
        folders[run.corpus],
        Store.folder(run.parent) if run.parent else None,
        datasets,
        rungs_of(run.recipe.num_epochs),
        store.uri,
        study.resources,
    )
    shards = [built[label].fingerprint for label in labels]
    space = [[name, r.low, r.high, r.log] for name, r in space_of(run.recipe.objective).items()]
    # Not the number of trials: a larger --trials goes on with the same search.
    key = fingerprint([VERSION, run.key, recipes, shards, space])
    return search, f"tune-{method}-{key}"


def _make_initial(parent: "EncoderRun | None", store: "Store") -> None:
    """The encoder that all trials start from. Raises ValueError where it is a pretraining that is not done."""
    from datasets_io.storage.artefacts import is_done
    from sweep.engine.jobs import encoder_job
    from trainables.pretraining.encoder_job import run_initial

    if parent is None or is_done(store.files, store.folder(parent)):
        return
    if parent.needs_corpus:
        raise ValueError(f"{parent.row} comes first: python -m sweep.run --only method={parent.row}")
    run_initial(encoder_job(parent, {}), store.uri, lambda _: None)
    if not is_done(store.files, store.folder(parent)):
        failure = store.failure(parent)
        raise ValueError(f"the initial encoder {parent} failed: {failure['error'] if failure else 'it left no error'}")


def _run_trials(search: "Search", trial_store: "TrialStore", trials: int, display: "Display") -> None:
    """Run trials on the cluster until `trials` in all have ended. Raises ClusterLost."""
    from datasets_io.ray_private import keep_keys_out_of_trials
    from datasets_io.ray_state import SEARCH_STATE, ray_state, remove_own_state, state_name
    from sweep.engine.cluster import resources_at_most, start_ray, stop_ray
    from sweep.engine.head_health import named_loss, watched_head
    from sweep.tune.trial import trial_resources

    # Tune's own loggers and console output are off, and its handler of SIGINT, which ends the trials without raising.
    os.environ.update(
        {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    )
    start_ray()
    # Another folder of Tune's logs each time: what a search remembers is in the store.
    name = state_name(SEARCH_STATE)

    def on_lost(error: ClusterLost) -> NoReturn:
        # In a thread, while the main one waits within Ray for ever: what the context managers would do is done here.
        remove_own_state(search.storage)
        display.__exit__(None, None, None)
        echo(cluster_lost_message(error, "sweep.tune"), err=True)
        os._exit(EXIT_SOME_FAILED)

    try:
        machines = resources_at_most()
        bundle = trial_resources(search.resources, machines.gpus)
        at_once, ended = _trials_at_once(machines, bundle), len(trial_store.ended())
        keep_keys_out_of_trials()
        display.say(f"{ended} trials have ended, {trials - ended} to do, {at_once} at once; {search.run.row}")
        with ray_state(search.storage, name), named_loss(), watched_head(on_lost):
            _tuner(search, trial_store, trials, at_once, bundle, name, display).fit()
    finally:
        stop_ray()
        remove_own_state(search.storage)


def _trials_at_once(machines: "ClusterResources", bundle: Mapping[str, float]) -> int:
    """How many trials the cluster holds; one where it is too small, which then waits for more of it."""
    by_gpus = int(machines.gpus / bundle["GPU"]) if "GPU" in bundle else NO_LIMIT
    return max(1, min(by_gpus, int(machines.cpus / bundle["CPU"])))


def _tuner(
    search: "Search",
    trial_store: "TrialStore",
    trials: int,
    at_once: int,
    bundle: Mapping[str, float],
    name: str,
    display: "Display",
) -> "Tuner":
    """Ray Tune's driver of the trials that are still to come. name: of its folder of logs, below the storage."""
    from ray import tune

    from datasets_io.ray_state import ray_folder
    from sweep.tune.asha_state import TrialRecorder, make_scheduler, make_searcher
    from sweep.tune.trial import run_trial

    return tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, search=search), dict(bundle)),
        tune_config=tune.TuneConfig(
            search_alg=make_searcher(search, trial_store),
            scheduler=make_scheduler(search, trial_store),
            num_samples=trials - len(trial_store.ended()),
            max_concurrent_trials=at_once,
            reuse_actors=True,  # a new process would import torch and read the images again
            trial_name_creator=lambda trial: f"{search.run.row}-{trial.trial_id}",
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=ray_folder(search.storage),
            verbose=0,
            callbacks=[TrialRecorder(search, trial_store, trials, display.say)],
            # max_failures counts attempts, Tune's counts retries.
            failure_config=tune.FailureConfig(max_failures=search.resources.max_failures - 1),
        ),
    )


def _write(study_name: str, row: "EncoderRow", trial_store: "TrialStore", out: Path | None, display: "Display") -> int:
    """The table, the figure and the tuned study. Exit code 3 where no trial came to its end."""
    from sweep.studies.tunable import space_of, values_of
    from sweep.tune.outputs import search_figure, study_file, trials_csv
    from sweep.tune.trial_store import TrialState

    space, before = space_of(row.recipe.objective), values_of(row.recipe.objective)
    trials, best = trial_store.in_order(), trial_store.best()
    drawing = search_figure(trials, space, before, best, row.name)
    table = trials_csv(trials, list(space))
    paths = trial_store.write_together({"trials.csv": table, "search.svg": drawing.svg, "search.png": drawing.png})
    for trial in (trial for trial in trials if trial.state == TrialState.FAILED):
        display.say(f"[red]trial {trial.number + 1} failed:[/red] {escape(str(trial.error))}")
    display.say(f"search: {', '.join(paths)}")
    if best is None:
        display.say("[red]No trial came to its end: there is nothing to write.[/red]")
        return EXIT_SOME_FAILED
    target = out or Path(f"{Path(study_name).stem}_{row.name.replace('+', '_')}_tuned.py")
    found = study_file(study_name, row.name, best.values, best.final, len(trial_store.ended()))
    # Elsewhere than in the storage: whole or not at all, and readable as the user's umask says.
    unfinished = target.with_name(f".{target.name}.unfinished")
    unfinished.write_text(found)
    unfinished.replace(target)
    listed = ", ".join(f"{name} = {value:.4g}" for name, value in sorted(best.values.items()))
    display.say(f"best of {len(trial_store.ended())}: {listed}; validation macro AUROC {best.final:.4f}")
    display.say(f"go on with: python -m sweep.run --study {escape(str(target))}")
    return EXIT_OK
