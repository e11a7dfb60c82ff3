"""Which jobs do the items of a plan give: one for each encoder, one for cells that are computed together."""

from collections.abc import Callable, Iterable

from sweep.engine.schedule import ScheduledJob, Shape, gpu_share, pretraining_share
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun, Item
from sweep.studies.plan import starts_from
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget
from trainables.pretraining.encoder_job import EncoderJob
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import Resources


def encoder_job(run: EncoderRun, data_folders: dict[str, str]) -> EncoderJob:
    """The job of an encoder run. data_folders: label of a build -> folder of its shards."""
    return EncoderJob(
        str(run),
        run.key,
        Store.folder(run),
        run.recipe,
        run.weights_seed,
        data_folders[run.corpus] if run.corpus else None,
        Store.folder(run.parent) if run.parent else None,
    )


def downstream_jobs(
    groups: list[tuple[tuple[Cell, ...], float]],
    all_cells: tuple[Cell, ...],
    data_folders: dict[str, str],
    resources: Resources,
    on_gpus: bool,
    card_bytes: int | None = None,
) -> tuple[tuple[DownstreamJob, ...], tuple[ScheduledJob, ...]]:
    """Jobs in the order in which they should start, and what each waits for and takes.

    groups: cells that are computed together, with their work in FLOP. data_folders: label of a build -> folder of its
    shards. card_bytes: as gpu_share takes it.
    """
    starts = starts_from(all_cells)
    # The networks of all seeds would be many gigabytes, and saliency maps are drawn from one: the first seed's.
    kept_seed = min((cell.seed for cell in all_cells), default=None) if resources.keep_tuned_weights else None
    jobs, tasks = [], []
    for group, work in groups:
        first = group[0]
        targets = tuple(
            SeedTarget(
                str(c),
                c.key,
                c.seed,
                Store.folder(c),
                Store.folder(starts[c.key]) if c.key in starts else None,
                keep_weights=c.key in starts and c.seed == kept_seed,
            )
            for c in group
        )
        job = DownstreamJob(
            PROTOCOLS[first.protocol],
            first.label_percent,
            first.recipe,
            first.encoder.recipe.backbone,
            Store.folder(first.encoder),
            data_folders[first.shards],
            targets,
        )
        # On cores a job is one of as many as fit, whatever it computes.
        own = tuple(t.starts_from_folder for t in targets if t.starts_from_folder is not None)
        trained = 1 if job.protocol.seeds_together else len(group)
        share = gpu_share(resources, first, card_bytes, trained) if on_gpus else 1.0
        may_lack = frozenset(own if len(group) > 1 else ())
        gives = tuple(target.folder for target in targets)
        jobs.append(job)
        tasks.append(ScheduledJob((job.encoder_folder, *own), gives, share, work, may_lack))
    return tuple(jobs), tuple(tasks)


def shares_of(shape: Shape, tasks: Iterable[ScheduledJob]) -> Callable[[Item], float]:
    """Which part of `Places.total` an encoder, or the job of a cell, holds as long as it runs.

    tasks: all jobs of cells; what they hold is what they were given, and is not reckoned a second time.
    """
    held = {folder: task.share for task in tasks for folder in task.gives}
    pretraining = pretraining_share(shape)
    return lambda item: held[Store.folder(item)] if isinstance(item, Cell) else pretraining
