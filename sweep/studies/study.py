"""What is a study: rows, datasets, seeds and protocols in one frozen value that checks/ can check."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from datasets_io.build.spec import BuildSpec
from datasets_io.fingerprint import added, fingerprint
from datasets_io.sources.registry import get_source
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies.builds import Build, build_of
from sweep.studies.inherited import inherited
from sweep.studies.needed_form import needed_form
from trainables.recipe import BackboneSpec, DownstreamRecipe, PretrainRecipe, Resources

BASELINE = "baseline"  # the group of rows that others are compared with
TRAINING_FREE = ("knn", "zero_shot", "retrieval")  # columns without training (sweep/training_free/measures.py)
NEEDS_REPORTS = ("zero_shot", "retrieval")  # those of them that ask a text tower
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
    """One column block of the table: one use of a source, its shards and the recipe of its cells.

    name: of this use, where a study uses the source several times; None: the source's name.
    """

    display: str
    build: BuildSpec
    recipe: DownstreamRecipe
    name: str | None = added(None)

    @property
    def source(self) -> str:
        """Name of the source that reads its archive: what the images are of."""
        return self.build.source

    @property
    def instance(self) -> str:
        """The dataset's name in cells, files, tables, --only and --raw."""
        return self.source if self.name is None else self.name


@dataclass(frozen=True)
class Study:
    """A whole configuration. `deviations` are printed with every report; `synthetic` is what stands in for data.

    corpus: what encoders are pretrained on; datasets: what they are evaluated on. seeds: of cells; pretrain_seeds: of
    encoders, the whole table is computed for each. protocols: names of trainables/registry.py, in the table's order.
    resources: how it is run, which enters no key. show_published: print the paper's numbers beside these.
    hidden_rows: encoders that others start from without being rows themselves. interval: `t` or `z`, of the
    intervals over seeds. training_free: further columns, any of `knn`, `zero_shot` and `retrieval`
    (sweep/training_free/measures.py). corpus_name: of this use of the corpus's source, as `Dataset.name`.
    A pretraining without a preprocessing has that of the row it starts from.
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
    corpus_name: str | None = None

    def __post_init__(self) -> None:
        # Part of what the study says, so that whoever reads a row, its key or its recipe sees one thing.
        hidden = inherited(self.hidden_rows, self.rows)
        object.__setattr__(self, "rows", inherited(self.rows, hidden))
        object.__setattr__(self, "hidden_rows", hidden)

    @property
    def corpus_instance(self) -> str:
        """The corpus's name in files, reports and --raw."""
        return self.corpus.source if self.corpus_name is None else self.corpus_name

    @property
    def instances(self) -> dict[str, str]:
        """Name of each use of a source -> the source: the corpus, then the datasets."""
        return {self.corpus_instance: self.corpus.source, **{d.instance: d.source for d in self.datasets}}

    def in_distribution(self, dataset: Dataset) -> bool:
        """Whether its images are of the archive that encoders are pretrained on, or of one that is made of the same."""
        if dataset.instance == self.corpus_instance:
            return True
        one, other = get_source(dataset.source), get_source(self.corpus.source)
        if one.findings_in is not None and one == other:
            return False  # an archive of somebody's own: two uses of the source may be any two
        return not {one.name, *one.shares_ids_with}.isdisjoint({other.name, *other.shares_ids_with})

    def display_of(self, dataset: Dataset) -> str:
        """Its name as reports print it: a result in distribution is never to be read as a transfer to other images."""
        return f"{dataset.display} (in distribution)" if self.in_distribution(dataset) else dataset.display

    def can_do_without(self, build: Build) -> bool:
        """Whether a build is that of a corpus on which nothing is pretrained or measured, and of no dataset."""
        return (
            build.instance == self.corpus_instance
            and build.instance not in {dataset.instance for dataset in self.datasets}
            and "retrieval" not in self.training_free
            and not any(isinstance(row.recipe, PretrainRecipe) for row in (*self.rows, *self.hidden_rows))
        )

    def builds(self) -> tuple[BuildSpec, ...]:
        """What is to be built of data: the corpus, ordered by hash, then the datasets."""
        # A pretraining shuffles within windows, which the archive's order would fill with the same few patients. A
        # dataset of the corpus's source is that build too; all others keep their order, and so their label subsets.
        return (replace(self.corpus, order="hash"), *(self._declared(dataset) for dataset in self.datasets))

    def build_read(self, backbone: BackboneSpec, dataset: Dataset) -> Build:
        """The build that the cells of a row and a dataset read. It depends on no other row, and no other dataset."""
        declared = self._declared(dataset)
        return build_of(dataset.instance, declared, needed_form(backbone, dataset.recipe.eval_spec, declared))

    def data_builds(self) -> tuple[Build, ...]:
        """Every build that the study reads, each label once: the corpus, then those of each dataset's rows."""
        corpus = Build(self.corpus_instance, self.corpus_instance, self.builds()[0])
        found = {corpus.label: corpus}
        for dataset in self.datasets:
            for row in self.rows:
                build = self.build_read(row.recipe.backbone, dataset)
                found.setdefault(build.label, build)
        return tuple(found.values())

    def any_build(self, dataset: Dataset, among: Collection[str]) -> str | None:
        """Label of one of a dataset's builds that is among these, None where none is: all hold the same images."""
        labels = (build.label for build in self.data_builds() if build.instance == dataset.instance)
        return next((label for label in labels if label in among), None)

    def _declared(self, dataset: Dataset) -> BuildSpec:
        return replace(dataset.build, order="hash") if dataset.source == self.corpus.source else dataset.build


# Fields of a Study that decide no number: what it is called, how it is run and shown. Its synthetic archives do, and
# are in the fingerprint of the data, which stands beside the study's.
NOT_IN_FINGERPRINT = ("name", "title", "resources", "deviations", "show_published", "synthetic", "corpus_name")


def study_fingerprint(study: Study) -> str:
    """Over all that decides a study's numbers but its data, 12 hex digits: printed in reports."""
    always = [study.corpus, list(study.datasets), list(study.rows), list(study.seeds), list(study.protocols)]
    # By name, and only where they differ from a Study's defaults: the printed fingerprint stays when a field joins.
    named = ("pretrain_seeds", "hidden_rows", "interval", "training_free")
    defaults = {field.name: field.default for field in fields(Study)}
    values = {name: getattr(study, name) for name in named}
    joined = {name: value for name, value in values.items() if value != defaults[name]}
    return fingerprint([*always, joined] if joined else always)
