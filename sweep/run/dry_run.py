"""What --dry-run prints: the plan, what is done, what is damaged, what is left, and what it will cost."""

from collections.abc import Mapping

from rich.markup import escape

from datasets_io.build.spec import options_of
from datasets_io.corpus.manifest import Manifest
from datasets_io.sources.registry import get_source
from sweep.cli.display import Display
from sweep.cli.exit_codes import EXIT_BAD_INPUT, EXIT_OK, EXIT_SOME_UNFIT
from sweep.engine.preflight import preflight
from sweep.store.damage import Damage
from sweep.store.other_keys import other_keys_note, stored_under_names
from sweep.store.results import ResultReader, encoder_details
from sweep.store.shard_checks import open_sources
from sweep.store.shards import DataPlan, built_folders
from sweep.store.snapshot import fingerprints_of
from sweep.store.store import ReadStore
from sweep.store.unfit import unfit_keys
from sweep.studies.forecast import FLOPS_PER_SECOND, Forecast, forecast
from sweep.studies.inputs import input_lines
from sweep.studies.plan import Pending, Plan, make_plan, pending
from sweep.studies.preflight_checks import without_rows
from sweep.studies.study import Study

MOST_DAMAGE_LINES = 10  # sweep.status --json has them all


def print_plan(
    study: Study,
    plans: dict[str, DataPlan],
    store: ReadStore,
    only: dict[str, tuple[str, ...]],
    display: Display,
    skip_unfit: bool = False,
) -> int:
    """Print the plan; write nothing. only: field of a cell -> its values.

    Returns the exit code: 0; 2, or with skip_unfit 4, where rows do not fit, which are left out of the forecast.
    """
    store = ReadStore(store.uri)  # a Store would put what is damaged into quarantine
    sources = open_sources(store, built_folders(plans))
    built = sources.manifests
    plan = make_plan(study, fingerprints_of(study, built), only)
    left, damaged = _left(study, plan, store)
    display.say(f"study {study.name}: {escape(study.title)}")
    counts = {}
    for label, data in plans.items():
        counts[label] = _counts(label, data, built, study)
        display.say(escape(_data_line(label, data, counts[label])))
        for sentence in data.beside:
            display.say(f"    note: {escape(sentence)}")
    for names, line in input_lines(study):
        display.say(f"  images of {escape(names)}: {escape(line)}")
    for line in (*_plan_lines(plan, left), *_damage_lines((*sources.damage, *damaged))):
        display.say(line)
    if note := other_keys_note(plan.items, stored_under_names(plan.items, store.sizes())):
        display.say(f"  note: {note}")
    found = preflight(study, left, store, display, keep=False)
    left = without_rows(left, found.unfit)
    for line in (*_cost_lines(forecast(left.encoders, left.cells, counts)), *found.memory_lines()):
        display.say(line)
    for warning in found.warnings:
        display.say(f"  warning: {escape(warning)}")
    if not found.unfit:
        return EXIT_OK
    display.say(f"[red]error:[/red] {escape(found.refusal)}")
    return EXIT_SOME_UNFIT if skip_unfit else EXIT_BAD_INPUT


def _left(study: Study, plan: Plan, store: ReadStore) -> tuple[Pending, tuple[Damage, ...]]:
    """What sweep.run would compute, and what of it has a damaged result, which counts as open as it does there."""
    sizes = store.sizes()
    done, failed = store.states(plan.items, sizes)
    reader = ResultReader(study, plan, store)
    reader.collect(sizes)
    damage = (*encoder_details(plan, store, sizes)[1], *reader.damage.values())
    damaged = {found.folder for found in damage}
    done -= damaged
    # Also where no open cell needs it; one that was damaged before lies in quarantine.
    quarantined = store.quarantined()
    again = {run.key for run in plan.encoders if store.folder(run) in damaged or f"{run}-{run.key}" in quarantined}
    keys_done, keys_failed = ({item.key for item in plan.items if store.folder(item) in f} for f in (done, failed))
    unfit = unfit_keys((item for item in plan.items if item.key in keys_failed), store)  # to be tried again
    return pending(plan, keys_done, keys_failed - unfit, again), damage


def _damage_lines(damage: tuple[Damage, ...]) -> list[str]:
    lines = [f"  damaged: {found.line}" for found in damage[:MOST_DAMAGE_LINES]]
    more = len(damage) - MOST_DAMAGE_LINES
    return [*lines, f"  and {more} more that are damaged: sweep.status --json has them all"] if more > 0 else lines


def _counts(label: str, data: DataPlan, built: Mapping[str, Manifest], study: Study) -> dict[str, int]:
    if label in built:
        return built[label].split_sizes
    if data.raw is None:
        assert study.synthetic is not None, "without shards and without an archive plan_data would have refused it"
        return study.synthetic.image_counts()[data.spec.source]
    # What the archive lists: no image is opened, so some may still be rejected when it is built.
    counts = {"train": 0, "val": 0, "test": 0}
    for record in get_source(data.spec.source).read_records(data.raw, options_of(data.spec)):
        counts[record.split] += 1
    return counts


def _data_line(label: str, data: DataPlan, counts: dict[str, int]) -> str:
    numbers = ", ".join(f"{split} {number:,}" for split, number in counts.items())
    if data.built:
        return f"  {label}: built ({data.folder}): {numbers}"
    return f"  {label}: to be built from {data.raw or 'synthetic archives, still to be written'}: {numbers} listed"


def _plan_lines(plan: Plan, left: Pending) -> list[str]:
    encoders_done = len(plan.encoders) - len(left.encoders) - len(left.failed_encoders)
    cells_done = len(plan.cells) - len(left.cells) - len(left.blocked) - len(left.failed_cells)
    lines = [
        f"  encoder runs: {len(plan.encoders)} in all, {encoders_done} done, {len(left.encoders)} left",
        f"  cells: {len(plan.cells)} in all, {cells_done} done, {len(left.cells)} left",
    ]
    if left.failed_encoders or left.failed_cells:
        lines.append(
            f"  failed before: {len(left.failed_encoders)} encoder runs, {len(left.failed_cells)} cells, "
            f"{len(left.blocked)} cells blocked by them; --retry-failed tries them again"
        )
    return lines


def _cost_lines(cost: Forecast) -> list[str]:
    hours = ", ".join(f"{cost.hours(device):,.2f} h on one {device}" for device in FLOPS_PER_SECOND)
    return [
        f"  images to be read: {cost.images_read:,}; backbone passes: {cost.forward_passes:,} forward, "
        f"{cost.training_passes:,} forward and backward",
        f"  forecast ({cost.flops:.2e} FLOP in image networks, {cost.text_flops:.2e} in text towers): {hours}",
    ]
