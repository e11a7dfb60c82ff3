"""What is a study: rows, datasets, seeds and protocols in one frozen value, checked before any data is seen."""

from dataclasses import dataclass, fields, replace
from typing import Any

from datasets_io.build.spec import BuildSpec
from datasets_io.fingerprint import fingerprint
from datasets_io.sources.registry import get_source
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies.inherited import inherited
from trainables.recipe import DownstreamRecipe, PretrainRecipe, Resources
from trainables.registry import PROTOCOLS

BASELINE = "baseline"  # the group of rows that others are compared with
INTERVALS = ("t", "z")  # Student's t with n - 1 degrees of freedom, or the normal distribution's 1.96


@dataclass(frozen=True)
class EncoderRow:
    """One row of the table. `group` is the paper's: baseline, image-text, image-image or joint.

    recipe: an EncoderRecipe (trainables/recipe.py). protocols: those that the row is evaluated by; None: all of the
    study's.
    """

    name: str
    display: str
    group: str
    recipe: Any
    protocols: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """One column block of the table: a source's shards and the recipe of its cells."""

    display: str
    build: BuildSpec
    recipe: DownstreamRecipe

    @property
    def source(self) -> str:
        """Name of its source, which is the dataset's name in cells and files."""
        return self.build.source


@dataclass(frozen=True)
class Study:
    """A whole configuration. `deviations` are printed with every report; `synthetic` is what stands in for data.

    corpus: what encoders are pretrained on; datasets: what they are evaluated on. seeds: of cells; pretrain_seeds: of
    encoders, the whole table is computed for each. protocols: names of trainables/registry.py, in the table's order.
    resources: how it is run, which enters no key. show_published: print the paper's numbers beside these.
    hidden_rows: encoders that others start from without being rows themselves. interval: `t` or `z`, of the
    intervals over seeds. training_free: further columns, any of `knn`, `zero_shot` and `retrieval`
    (sweep/training_free/measures.py). A pretraining without a preprocessing has that of the row it starts from.
    """

    name: str
    title: str
    corpus: BuildSpec
    datasets: tuple[Dataset, ...]
    rows: tuple[EncoderRow, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    pretrain_seeds: tuple[int, ...] = (0,)
    protocols: tuple[str, ...] = ("LPFT", "LP", "FT")
    hidden_rows: tuple[EncoderRow, ...] = ()
    synthetic: SyntheticSpec | None = None
    resources: Resources = Resources()
    deviations: tuple[str, ...] = ()
    show_published: bool = True
    interval: str = "t"
    training_free: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Part of what the study says, so that whoever reads a row, its key or its recipe sees one thing.
        hidden = inherited(self.hidden_rows, self.rows)
        object.__setattr__(self, "rows", inherited(self.rows, hidden))
        object.__setattr__(self, "hidden_rows", hidden)

    def builds(self) -> tuple[BuildSpec, ...]:
        """What is to be built of data: the corpus, ordered by hash, then the datasets."""
        # A pretraining shuffles within windows, which the archive's order would fill with the same few patients. A
        # dataset of the corpus's source is that build too; all others keep their order, and so their label subsets.
        specs = (self.corpus, *(dataset.build for dataset in self.datasets))
        return tuple(replace(spec, order="hash") if spec.source == self.corpus.source else spec for spec in specs)


def check_study(study: Study) -> None:
    """Check what can be wrong before any data is read. Raises ValueError with what is allowed."""
    names = {row.name for row in study.rows + study.hidden_rows}
    if study.interval not in INTERVALS:
        raise ValueError(f"study {study.name!r} has interval {study.interval!r}; allowed: {', '.join(INTERVALS)}")
    corpus = get_source(study.corpus.source)
    if study.corpus.shape != "square":
        raise ValueError(
            f"the corpus of study {study.name!r} has shape {study.corpus.shape!r}: encoders are pretrained on squares; "
            "leave BuildSpec.shape of the corpus out"
        )
    for protocol in study.protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"study {study.name!r} has no protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
        start = PROTOCOLS[protocol].starts_from  # LPFT begins with the head that LP has trained
        if start is not None and start not in study.protocols:
            raise ValueError(f"protocol {protocol} starts from {start}: add {start} to the study's protocols")
    for dataset in study.datasets:
        get_source(dataset.source)
    for row in study.rows:
        if not isinstance(row.recipe, PretrainRecipe):
            continue
        if row.recipe.initial not in names:
            raise ValueError(f"{row.name} starts from {row.recipe.initial!r}, which is no row of study {study.name!r}")
        if row.recipe.objective.needs_text and not corpus.has_reports:
            raise ValueError(
                f"method {row.name!r} reads reports, but corpus {corpus.name!r} has none; take a corpus with "
                "reports (mimic_cxr, or csv_images with a report column) or leave this method out"
            )


# Fields of a Study that decide no number: what it is called, how it is run and shown. Its synthetic archives do, and
# are in the fingerprint of the data, which stands beside the study's.
NOT_IN_FINGERPRINT = ("name", "title", "resources", "deviations", "show_published", "synthetic")


def study_fingerprint(study: Study) -> str:
    """Over all that decides a study's numbers but its data, 12 hex digits: printed in reports."""
    always = [study.corpus, list(study.datasets), list(study.rows), list(study.seeds), list(study.protocols)]
    # By name, and only where they differ from a Study's defaults: the printed fingerprint stays when a field joins.
    named = ("pretrain_seeds", "hidden_rows", "interval", "training_free")
    defaults = {field.name: field.default for field in fields(Study)}
    values = {name: getattr(study, name) for name in named}
    joined = {name: value for name, value in values.items() if value != defaults[name]}
    return fingerprint([*always, joined] if joined else always)
