"""What is computed (recipes: hashed into every key) and how it is run (Resources: never hashed)."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

from datasets_io.fingerprint import BEFORE, added, fingerprint
from datasets_io.nearest import did_you_mean
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing
from trainables.views.view_spec import ViewSpec


class ObjectiveConfig(Protocol):
    """A method's configuration: a frozen dataclass of trainables/objectives, hashed with the recipe.

    needs_text: whether it reads reports; views: names of the views that its batches must have.
    """

    needs_text: ClassVar[bool]
    views: ClassVar[tuple[str, ...]]

    # Any: the types of both, BuildContext and Objective, are made of what is built on recipes.
    def build(self, context: Any) -> Any:
        """The objective's module (objectives.base.Objective) for what the context tells it (BuildContext)."""
        ...


IMAGE_SIZE = 224


@dataclass(frozen=True)
class BackboneSpec:
    """An image network by its timm name, `demo_cnn`, or `transformers`. `options` go to timm.create_model by keyword.

    `transformers` is a Hugging Face image network: its options are `config`, the JSON of its configuration, and
    `pooling` (trainables/networks/hugging_face_images.py). preprocessing: how the network was trained to be fed; None:
    squares of image_size, cropped and normalised as the data set's EvalSpec says, in proportion at another size.
    image_size need not be named beside it: 224, the default, gives way. Raises ValueError for another that differs from
    the preprocessing's, and for a side below 1.
    """

    name: str
    image_size: int = IMAGE_SIZE
    options: tuple[tuple[str, Any], ...] = ()
    preprocessing: Preprocessing | None = added(None)

    def __post_init__(self) -> None:
        # Of another type check_study says it, with the row.
        if isinstance(self.image_size, int) and self.image_size < 1:
            raise ValueError(f"BackboneSpec.image_size is {self.image_size}: the side of a picture is at least 1 pixel")
        own = self.preprocessing
        if own is not None and self.image_size == IMAGE_SIZE:  # not named, or the same
            object.__setattr__(self, "image_size", own.size)
        if own is not None and own.size != self.image_size:
            raise ValueError(
                f"BackboneSpec.image_size is {self.image_size} and preprocessing.size {own.size}, but a "
                "network sees one size; Preprocessing.at_size gives the same preprocessing at another"
            )

    @property
    def channels(self) -> int:
        """Of the images that the network takes: 1 or 3."""
        return 3 if self.preprocessing is None else self.preprocessing.channels


@dataclass(frozen=True)
class OptimizerSpec:
    """AdamW or Adam and its values. `exclude_norm_bias` spares one-dimensional parameters the weight decay.

    name: `adamw` or `adam`. weight_decay: decoupled from the gradient in AdamW, added to it in Adam.
    """

    name: str
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float = 0.0
    exclude_norm_bias: bool = False


@dataclass(frozen=True)
class RandomInit:
    """The baseline row without any pretraining: the backbone's own initialisation."""

    backbone: BackboneSpec
    version: int = 1


@dataclass(frozen=True)
class ImageNetInit:
    """ImageNet weights: from timm under the backbone's name, or from a local file.

    `by_order` maps a file's tensors onto the network's in their order, for files whose names differ.
    `file_sha256` pins a local file's content, so that another file is another encoder.
    """

    backbone: BackboneSpec
    weights_file: str | None = None
    file_sha256: str | None = None
    by_order: bool = False
    version: int = 1


@dataclass(frozen=True)
class EncoderSource:
    """An encoder made elsewhere: a row without pretraining. trainables/encoder_source.py makes these.

    sha256 is of the weights file, so that a row is known by the file's content; where it lies is not hashed. Without a
    path the weights are timm's under the backbone's name, and sha256, where it is given, is of their tensors.
    prefix: what stands before the network's names in the file; None finds it.
    """

    backbone: BackboneSpec
    sha256: str | None = None
    path: str | None = field(default=None, metadata={"hashed": False})
    prefix: str | None = None
    version: int = 1

    def __post_init__(self) -> None:
        # The path is not hashed, so without a hash of the content two files would be one encoder.
        if self.path is not None and self.sha256 is None:
            raise ValueError(f"EncoderSource of {self.path} needs the sha256 of the file: use from_file or from_folder")


@dataclass(frozen=True)
class StandInInit:
    """The demo's replacement for ImageNet weights: supervised on rendered textures and shapes."""

    backbone: BackboneSpec
    optimizer: OptimizerSpec
    num_images: int = 1024
    num_epochs: int = 3
    batch_size: int = 64
    version: int = 1


@dataclass(frozen=True)
class PretrainRecipe:
    """One pretraining. Batch sizes are global: the share of a worker is derived, never configured.

    `initial` names the row whose weights the image network starts from (`imagenet` in the paper).
    The learning rate follows a cosine to zero over num_epochs by step (`constant`: none).
    views: (name, specification) of each view that the method reads. text: a TextConfig, or None for a
    method without reports. patience: epochs without a lower validation loss before it stops; None: never.
    `gradient_cache_chunk`: images of the global batch that pass the network together, where not all of them fit.
    `gradient_cache_version`: of the code that then computes gradients, 1 without it; not to be set.
    `shuffle_window` images are read ahead and shuffled together; with a smaller corpus that is a full shuffle.
    Raises ValueError for an unknown schedule and for a batch of fewer than two images.
    """

    backbone: BackboneSpec
    objective: ObjectiveConfig
    optimizer: OptimizerSpec
    text: Any | None  # Any: text towers are networks, which are built on recipes and not the other way round
    views: tuple[tuple[str, ViewSpec], ...]
    initial: str = "imagenet"
    num_epochs: int = 50
    global_batch_size: int = 256
    schedule: str = "cosine"
    warmup_steps: int = 0
    patience: int | None = 5
    require_impression: bool = True
    shuffle_window: int = 16_384
    gradient_cache_chunk: int | None = None
    version: int = 1
    gradient_cache_version: int = field(init=False, default=1, metadata={BEFORE: 1})

    def __post_init__(self) -> None:
        if self.gradient_cache_chunk is not None:  # 2: in half precision gradients of the loss are no longer rounded
            object.__setattr__(self, "gradient_cache_version", 2)
        if self.schedule not in ("cosine", "constant"):
            hint = did_you_mean(self.schedule, ("cosine", "constant"))
            raise ValueError(f"schedule is {self.schedule!r}; allowed: 'cosine', 'constant'{hint}")
        # Contrastive losses need a negative, batch norm and variances a second row.
        if self.global_batch_size < 2:
            raise ValueError(f"global_batch_size is {self.global_batch_size}; every objective needs at least 2 images")

    @property
    def objective_needs_text(self) -> bool:
        """Whether the method reads reports; images without one take no part in it."""
        return self.objective.needs_text


InitialRecipe = RandomInit | ImageNetInit | EncoderSource | StandInInit
EncoderRecipe = InitialRecipe | PretrainRecipe


@dataclass(frozen=True)
class LabelPolicy:
    """What the raw codes mean in training, and in validation that is carved from the training patients.

    On a source's own val and test splits uncertain and blank labels are left out, or, with evaluation `policy`, they
    mean what they mean in training: for archives whose test labels were read from reports too, as those of MIMIC-CXR,
    where a finding that is not mentioned is blank and next to nothing is 0.

    uncertain: `ones`, `zeros` or `ignore`. blank: `zeros` or `ignore`. evaluation: `known` or `policy`. Raises
    ValueError for another value.
    """

    uncertain: str = "ones"
    blank: str = "zeros"
    evaluation: str = added("known")

    def __post_init__(self) -> None:
        if self.uncertain not in ("ones", "zeros", "ignore"):
            hint = did_you_mean(self.uncertain, ("ones", "zeros", "ignore"))
            raise ValueError(f"uncertain is {self.uncertain!r}; allowed: 'ones', 'zeros', 'ignore'{hint}")
        if self.blank not in ("zeros", "ignore"):
            hint = did_you_mean(self.blank, ("zeros", "ignore"))
            raise ValueError(f"blank is {self.blank!r}; allowed: 'zeros', 'ignore'{hint}")
        if self.evaluation not in ("known", "policy"):
            hint = did_you_mean(self.evaluation, ("known", "policy"))
            raise ValueError(f"evaluation is {self.evaluation!r}; allowed: 'known', 'policy'{hint}")


@dataclass(frozen=True)
class SplitRecipe:
    """Which of a source's splits play which part.

    val: `val`, or `carved` = carve_percent of the training patients. test: `test` or `val`.
    With val and test both `val` the best epoch is picked on the images that are reported
    (the paper's CheXpert protocol); every report says so.
    also_test: a second split whose images are predicted and reported, and choose nothing; None: no other.
    Raises ValueError where the second split is the first one or picks the epoch.
    """

    val: str = "val"
    test: str = "test"
    carve_percent: int = 10
    also_test: str | None = added(None)

    def __post_init__(self) -> None:
        if self.also_test is not None and self.also_test in (self.test, self.val, "train"):
            raise ValueError(
                f"also_test is {self.also_test!r}, beside val={self.val!r} and test={self.test!r}: it must be a split "
                "that neither trains, nor picks the epoch, nor is reported already"
            )

    @property
    def selects_on_test(self) -> bool:
        """Whether the epoch is picked on the images that are reported."""
        return self.val == self.test


@dataclass(frozen=True)
class DownstreamRecipe:
    """How a frozen or tuned encoder is evaluated on one dataset.

    select_by: `val_auroc` (highest) or `val_loss` (lowest) picks the epoch. `frontal_only` drops lateral
    views. `lr_plateau_factor` divides the rate on each epoch without progress (released code, NIH only).
    `linear_probe_bn_eval` False lets batch-norm statistics adapt in a linear probe, as the released code does.
    subset: `image`, `patient` or `stratified` sampling of the labelled percentage.
    `linear_probe_optimizer` and `linear_probe_epochs`: of a linear probe, where it has its own.
    `budget_validation`: the epoch is picked on label_percent of the validation images too, drawn by the same sampler
    and seed: else an epoch on 1% of the labels is picked by all labels of validation, mostly many times as many.
    findings: those of the source's that are trained, evaluated and reported, in this order; None: all of them.
    Raises ValueError for an unknown select_by, and for findings that are no tuple, none or twice the same.
    """

    num_epochs: int
    batch_size: int
    select_by: str
    eval_spec: EvalSpec
    optimizer: OptimizerSpec = OptimizerSpec("adam", 1e-4, (0.9, 0.999))
    label_policy: LabelPolicy = LabelPolicy()
    splits: SplitRecipe = SplitRecipe()
    frontal_only: bool = True
    subset: str = "image"
    linear_probe_bn_eval: bool = True
    lr_plateau_factor: float | None = None
    linear_probe_optimizer: OptimizerSpec | None = None
    linear_probe_epochs: int | None = None
    # 2: label subsets of one seed lie within each other, AUROCs are of logits, a linear probe on cached features has
    # lr_plateau_factor too, and labels of carved validation mean what they mean in training.
    version: int = 2
    budget_validation: bool = added(False)
    findings: tuple[str, ...] | None = added(None)

    def __post_init__(self) -> None:
        if self.findings is not None and (
            not isinstance(self.findings, tuple) or not self.findings or len(set(self.findings)) < len(self.findings)
        ):
            raise ValueError(f"findings is {self.findings!r}; allowed: a tuple of one or more names, or None for all")
        if self.select_by not in ("val_auroc", "val_loss"):
            hint = did_you_mean(self.select_by, ("val_auroc", "val_loss"))
            raise ValueError(f"select_by is {self.select_by!r}; allowed: 'val_auroc', 'val_loss'{hint}")

    # Kept with the recipe: the cells of a dataset, a hundred thousand in a large study, share one recipe object.
    @cached_property
    def key(self) -> str:
        """The fingerprint of all its values, 12 hex digits, which is part of every cell's key."""
        return fingerprint(self)


@dataclass(frozen=True)
class Resources:
    """How the study is run: changes speed, never results, so it enters no key.

    None means: decide from what Ray sees. `resident_bytes`: the pixels of a corpus up to this size are read once, into
    a file of each node's cache that all its workers map: it takes the cache's disk, and is fast as long as the node's
    memory can hold it; None: half of that memory. A larger corpus, or one for which the disk has no room, is streamed
    in every epoch, in the same order.
    precision: `float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, on a GPU the half precision it has. It
    moves a result by its rounding, which fine-tuning amplifies to tenths of a point; each result keeps the name of its
    format, and a report that mixes them says so.
    checkpoint_every_seconds: how often a pretraining's state is stored, by a thread while it goes on;
    checkpoint_every_steps: after so many steps instead.
    deterministic: whether GPUs add in one order, so that the same cell gives the same bits on the same kind of card:
    slower there, and an error where a network needs an operation that has no such order. Without it two results of one
    cell count as equal within trainables/evaluation/agreement.py. A CPU always gives the same bits.
    compile: torch.compile of image networks; pays on GPUs after minutes of compiling. Of cells on GPUs alone.
    cuda_graphs: whether a GPU replays the captured step of a fine-tuning, instead of being told each of its operators
    every time. cudnn_benchmark: whether GPUs try cuDNN's algorithms for each size and take the fastest, which
    may be another one the next time. seeds_at_once: so many of a fine-tuning are trained side by side on one GPU, in
    one process over the same images, 16 at most; None: all. These three change nothing on a CPU.
    cell_time_limit_seconds: a cell that takes longer counts as hanging and is tried again; None: from its forecast.
    keep_tuned_weights: store the tuned network of the first seed of protocols that go on from another one (LPFT), for
    figures: one copy of the backbone for each encoder and dataset.
    """

    pretrain_workers: int | None = None
    gpus_per_worker: float | None = None
    gpus_per_cell: float | None = None
    cpus_per_worker: int = 1
    cpus_per_cell: int = 1
    max_concurrent_cells: int | None = None
    precision: str = "auto"
    deterministic: bool = False
    compile: bool = False
    cuda_graphs: bool = True
    cudnn_benchmark: bool = True
    seeds_at_once: int | None = None
    checkpoint_every_seconds: float = 300.0
    checkpoint_every_steps: int | None = None
    resident_bytes: int | None = None
    prefetch_batches: int = 2
    max_failures: int = 3
    keep_tuned_weights: bool = True
    cell_time_limit_seconds: float | None = None
