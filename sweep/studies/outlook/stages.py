"""Which stages has a study, or what is left of it, and what do they come to: on machines, in bytes, in a chain?"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from datasets_io.build.spec import options_of
from datasets_io.sources.nominal import is_exact, nominal_splits
from datasets_io.sources.registry import get_source
from sweep.studies.builds import Build
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import Counts, Forecast
from sweep.studies.outlook.longest_chain import Chain, longest_chain, workers_on
from sweep.studies.outlook.machines import STANDARD, Machines, parse_machines
from sweep.studies.outlook.priced import Priced
from sweep.studies.outlook.sizes import cell_bytes, cell_step_bytes, data_bytes, encoder_bytes, pretraining_step_bytes
from sweep.studies.part import with_asked_rows
from sweep.studies.plan import NOT_BUILT, Only, Pending, Plan, group_seeds, make_plan
from sweep.studies.study import Study
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import PretrainRecipe

BUILT, NOMINAL, GIVEN, MADE_UP, UNKNOWN = "built", "nominal", "given", "made up", "unknown"
NO_COST = Forecast()
# Images that a core ingests a second, of docs/performance.md: uncompressed DICOM and JPEG of 3056 x 2544, PNG of 1018.
INGEST_RATES = {"DICOM": 429.0, "JPEG": 56.9, "PNG": 174.0}
FORMATS = {"chexpert": "JPEG", "chexlocalize": "JPEG"} | dict.fromkeys(
    ("nih_cxr14", "padchest", "open_i", "chexpert_plus", "shenzhen", "montgomery", "csv_images"), "PNG"
)


@dataclass(frozen=True)
class Archive:
    """One build. splits: (name, images), none where no size is known: then origin is `unknown`, stored_bytes None.

    origin: of the counts, `nominal` for what was published. exact: whether nominal splits are as they were published,
    and not the expected numbers of a cut by patients. same_as: label of the use of the same build that its bytes are
    counted with.
    """

    label: str
    source: str
    splits: tuple[tuple[str, int], ...]
    origin: str
    exact: bool
    stored_bytes: int | None
    same_as: str | None = None

    @property
    def images(self) -> int:
        """Of all splits."""
        return sum(count for _, count in self.splits)


@dataclass(frozen=True)
class Stage:
    """Work of one kind. jobs: that are started; items: archives, encoders or cells; images: decoded or passed.

    cost: of networks, over the items that can be priced, as images are; unpriced: the number of the others. core_hours:
    of ingest. images and core_hours are None where nothing of the stage can be priced.
    """

    name: str
    jobs: int
    items: int
    images: int | None
    cost: Forecast = NO_COST
    unpriced: int = 0
    core_hours: float | None = 0.0


@dataclass(frozen=True)
class OnMachines:
    """device_hours: of one card or core. hours: at least so many on all of them, as if work were packed perfectly.

    machines: with the rate that they are priced at. bound: what makes it so long: `GPUs`, `cores` or `longest chain`.
    bytes_per_second: that are read meanwhile, unless they are held in memory. All but machines are None where nothing
    that takes time can be priced.
    """

    machines: Machines
    device_hours: float | None
    hours: float | None
    bound: str | None
    chain: Chain | None
    bytes_per_second: float | None


@dataclass(frozen=True)
class Amount:
    """Bytes of one kind of thing; None where the size of none is known."""

    what: str
    bytes: int | None


@dataclass(frozen=True)
class Outlook:
    """A study, or what is left of it, before it is run.

    total: of all that can be priced. storage: what will be stored; memory: what a host and a card hold at once.
    missing: sentences about what could not be priced, and is in no sum.
    """

    study: str
    archives: tuple[Archive, ...]
    stages: tuple[Stage, ...]
    total: Forecast
    machines: tuple[OnMachines, ...]
    storage: tuple[Amount, ...]
    memory: tuple[Amount, ...]
    missing: tuple[str, ...]

    @property
    def nothing_known(self) -> bool:
        """Whether no stage that takes time can be priced: then a sum is nothing."""
        return _nothing_known(self.total, self.stages)


def _nothing_known(total: Forecast, stages: Iterable[Stage]) -> bool:
    return not total.seconds_at(1.0) and any(stage.unpriced for stage in stages)


def outlook(
    study: Study,
    counts: Counts | None = None,
    machines: Iterable[Machines | str] | None = None,
    only: Only | None = None,
    left: Plan | Pending | None = None,
    origins: Mapping[str, str] | None = None,
) -> Outlook:
    """What a study takes. counts: label of a build -> split -> images; of builds that it lacks, what the study's
    synthetic archives have, or else what was published.

    machines: as --machines names them; None: STANDARD. only: of `make_plan`; left: what of it is to be done, None: all.
    origins: label -> where its counts are from. Raises ValueError for machines that have no rate, and for a value of
    `only` that the study does not have.
    """
    chosen = [parse_machines(m) if isinstance(m, str) else m for m in (STANDARD if machines is None else machines)]
    if left is None:
        left = make_plan(study, {build.label: NOT_BUILT for build in study.data_builds()}, only or {})
    study = with_asked_rows(study, only or {})
    archives = list(_archives(study, left, *_with_made_up(study, counts or {}, origins or {})))
    priced = Priced({archive.label: dict(archive.splits) for archive in archives if archive.splits})
    stages = (*_ingest(archives), *_stages(study, left, priced))
    total = sum((stage.cost for stage in stages), Forecast())
    return Outlook(
        study.name,
        tuple(archives),
        stages,
        total,
        tuple(_on(one, study, left, total, stages, archives, priced) for one in chosen),
        tuple(_storage(study, archives, left, priced)),
        tuple(_memory(study, archives, left, workers_on((chosen or STANDARD)[0], study.resources), priced)),
        tuple(priced.missing),
    )


def _with_made_up(
    study: Study, counts: Counts, origins: Mapping[str, str]
) -> tuple[dict[str, Mapping[str, int]], dict[str, str]]:
    """Counts and origins with those of a study's synthetic archives, where no others are known."""
    made_up = study.synthetic.image_counts() if study.synthetic is not None else {}
    found = {build.label: made_up[build.source] for build in study.data_builds() if build.source in made_up}
    return found | dict(counts), dict.fromkeys(found, MADE_UP) | dict.fromkeys(counts, GIVEN) | dict(origins)


def _archives(study: Study, left: Plan | Pending, counts: Counts, origins: Mapping[str, str]) -> Iterator[Archive]:
    """Those that are read by what is left."""
    needed = {run.corpus for run in left.encoders} | {cell.shards for cell in left.cells}
    first: dict[tuple[object, str], str] = {}
    for build in study.data_builds():
        if build.label in needed:
            # Equal specs of a published archive are one build; of one's own images two uses may be two archives.
            own = build.instance if get_source(build.source).findings_in is not None else ""
            label = first.setdefault((build.spec, own), build.label)
            yield _archive(build, counts, origins, None if label == build.label else label)


def _archive(build: Build, counts: Counts, origins: Mapping[str, str], same_as: str | None) -> Archive:
    options, known, label = options_of(build.spec), counts.get(build.label), build.label
    splits = tuple((nominal_splits(build.source, options) or {} if known is None else known).items())
    origin = NOMINAL if known is None else origins.get(label, GIVEN)
    exact = known is not None or is_exact(build.source, options)
    if not splits:
        return Archive(label, build.source, (), UNKNOWN, exact, None, same_as)
    stored = data_bytes(build.spec, sum(count for _, count in splits)) if same_as is None else 0
    return Archive(label, build.source, splits, origin, exact, stored, same_as)


def _ingest(archives: Iterable[Archive]) -> Iterator[Stage]:
    """Of each archive that is not built."""
    for archive in archives:
        if archive.origin != BUILT and archive.same_as is None:
            name, rate = f"ingest {archive.label}", INGEST_RATES[FORMATS.get(archive.source, "DICOM")]
            if not archive.splits:
                yield Stage(name, 1, 1, None, unpriced=1, core_hours=None)
                continue
            # Pictures that are made up are no larger than they are stored: their ingest takes seconds.
            hours = 0.0 if archive.origin == MADE_UP else archive.images / rate / 3600
            yield Stage(name, 1, 1, archive.images, core_hours=hours)


def _stages(study: Study, left: Plan | Pending, priced: Priced) -> Iterator[Stage]:
    """Of encoders, then of cells by protocol and dataset, in the order in which they can begin."""
    jobs: dict[str, list[tuple[int, Forecast | None]]] = defaultdict(list)
    for run in left.encoders:
        name = "pretraining" if isinstance(run.recipe, PretrainRecipe) else "initial weights"
        jobs[name].append((1, priced.encoder(run)))
    for group in group_seeds(left.cells):
        jobs[f"{group[0].protocol} {group[0].dataset}"].append((len(group), priced.cells(group)))
    first = sorted(study.protocols, key=lambda name: PROTOCOLS[name].starts_from is not None)
    cells = (f"{protocol} {dataset.instance}" for protocol in first for dataset in study.datasets)
    for name in ("initial weights", "pretraining", *cells):
        if name in jobs:
            total = sum((cost for _, cost in jobs[name] if cost is not None), Forecast())
            items = sum(size for size, _ in jobs[name])
            unpriced = sum(size for size, cost in jobs[name] if cost is None)
            passed = None if unpriced == items else total.forward_passes + total.training_passes
            yield Stage(name, len(jobs[name]), items, passed, total, unpriced)


def _on(
    machines: Machines,
    study: Study,
    left: Plan | Pending,
    total: Forecast,
    stages: Sequence[Stage],
    archives: Sequence[Archive],
    priced: Priced,
) -> OnMachines:
    machines = replace(machines, rate=machines.flops_per_second)
    device_hours = total.seconds_at(machines.flops_per_second) / 3600
    if _nothing_known(total, stages):
        return OnMachines(machines, None, None, None, None, None)
    chain = longest_chain(left.encoders, left.cells, machines, study.resources, priced)
    packed = device_hours / machines.count
    bound = "longest chain" if chain.hours > packed else "GPUs" if machines.on_gpus else "cores"
    hours = max(packed, chain.hours)
    sizes = [(archive.stored_bytes or 0) / archive.images for archive in archives if archive.images]
    read = total.images_read * max(sizes, default=0.0) / 3600 / hours if hours else 0.0
    return OnMachines(machines, device_hours, hours, bound, chain, read)


def _known_sum(sizes: Sequence[int | None]) -> int | None:
    """Of those that are known; None where there are some and none is."""
    known = [size for size in sizes if size is not None]
    return sum(known) if known or not sizes else None


def _storage(study: Study, archives: Sequence[Archive], left: Plan | Pending, priced: Priced) -> Iterator[Amount]:
    yield Amount("data", _known_sum([archive.stored_bytes for archive in archives]))
    encoders = [priced.bytes(("stored", r.recipe), r.row, partial(encoder_bytes, r)) for r in left.encoders]
    yield Amount("encoders", sum(encoders))
    yield Amount("cells", sum(_stored_cell(study, cell, priced) for cell in left.cells))


def _stored_cell(study: Study, cell: Cell, priced: Priced) -> int:
    splits, images = cell.recipe.splits, priced.counts.get(cell.shards, {})
    tested = images.get(splits.test, 0) + images.get(splits.also_test or "", 0)
    findings = len(cell.recipe.findings or get_source(study.instances[cell.dataset]).findings) or 1
    goes_on = PROTOCOLS[cell.protocol].starts_from is not None
    keeps = study.resources.keep_tuned_weights and goes_on and cell.seed == study.seeds[0]
    kind = ("cell", cell.encoder.backbone_key, tested, findings, keeps)
    return priced.bytes(kind, cell.encoder.row, partial(cell_bytes, cell, tested, findings, keeps))


def _memory(
    study: Study, archives: Sequence[Archive], left: Plan | Pending, workers: int, priced: Priced
) -> Iterator[Amount]:
    recipes: list[tuple[EncoderRun, PretrainRecipe]] = [
        (run, run.recipe) for run in left.encoders if isinstance(run.recipe, PretrainRecipe)
    ]
    if recipes:
        corpus = _known_sum([archive.stored_bytes for archive in archives if archive.label == study.corpus_instance])
        yield Amount("of a host: the corpus, where half of the memory holds it, else it is streamed", corpus)
        steps = [
            priced.bytes(("step", recipe), run.row, partial(pretraining_step_bytes, recipe, workers))
            for run, recipe in recipes
        ]
        yield Amount(f"of a card: a step of pretraining on {workers} of them, in float32", max(steps))
    tuned = [cell for cell in left.cells if PROTOCOLS[cell.protocol].last_phase.trains == "all"]
    kinds = {("tuned", cell.encoder.backbone_key, cell.recipe.batch_size): cell for cell in tuned}
    if kinds:
        steps = [priced.bytes(k, c.encoder.row, partial(cell_step_bytes, c)) for k, c in kinds.items()]
        yield Amount("of a card: a step of fine-tuning one seed, in float32", max(steps))
