"""Do features tell from which data set an image comes: t-SNE maps and numbers, as the paper's Figures 2 and 5."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # the package has no types
from torch import nn

from datasets_io.granted import cores
from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.models import cell_network, first_encoder
from sweep.figures.style import DARK, LIGHT
from sweep.figures.view import View
from sweep.studies.study import Dataset, EncoderRow
from trainables.evaluation.cell_model import FROZEN, TUNED, load_backbone
from trainables.evaluation.dataset import backbone_input
from trainables.evaluation.encoder_features import ImageSample, image_features, two_samples
from trainables.training.devices import own_device
from trainables.views.backbone_input import BackboneInput

if TYPE_CHECKING:
    from sweep.figures.separation import Separation

VERSION = 5  # of this file, separation.py and models.py
MOST = 10_000  # images of a set, as in the paper
FIGURES = (
    ("feature_map_figure_2", "Features of two data sets, as the paper's Figure 2", ("clip", "simclr", "clip+simclr")),
    (
        "feature_map_figure_5",
        "Features of two data sets, as the paper's Figure 5",
        ("convirt", "mocov2", "convirt+mocov2"),
    ),
)
DISPLAYS = {"mimic_cxr": "MIMIC-CXR"}
CORPUS_COLOR, DATASET_COLOR = LIGHT, DARK
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Panel:
    """One map, of N images. row, dataset: whose network; kind: TUNED or FROZEN (`CellModel`).

    held_out: how many images of the corpus and of the downstream set are not of its training split.
    places: (N, 2) of the t-SNE, without unit; second: (N,) bool, the rows of the downstream set; numbers: of the
    features, not of the map. squashed: side of the squares that both sets were brought to first (two_samples).
    """

    row: str
    dataset: str
    kind: str
    places: np.ndarray
    second: np.ndarray
    numbers: "Separation"
    held_out: tuple[int, int]
    squashed: int | None = None


def draw(view: View, name: str, title: str, wanted: tuple[str, ...]) -> Drawing:
    """Rows are downstream sets, columns methods. name, title, wanted: one of FIGURES, wanted being its methods.

    Raises CannotDraw where no method, no shards or no finished encoder is there.
    """
    rows = [row for row in view.rows if row.name in wanted]
    if not rows:
        raise CannotDraw(f"This study has none of the methods {', '.join(wanted)}.")
    corpus = view.study.corpus_instance
    if corpus not in view.data_folders:
        raise CannotDraw(f"The storage has no shards of {corpus}, whose images are needed.")
    panels, absent = _panels(view, rows, corpus)
    if not panels:
        raise CannotDraw(f"No encoder of {', '.join(row.display for row in rows)} is finished yet.")
    with style():
        tall, wide = len(view.datasets), len(rows)
        figure = new_figure(3.05 * wide + 0.3, 3.15 * tall + 0.45)
        axes = figure.subplots(tall, wide, squeeze=False)
        for i, dataset in enumerate(view.datasets):
            for j, row in enumerate(rows):
                _scatter(axes[i, j], panels.get((row.name, dataset.instance)), f"{dataset.display}, {row.display}")
        _legend(figure, view)
        displays = {dataset.instance: dataset.display for dataset in view.datasets}
        shown = {
            f"{row} {dataset}": {
                **asdict(panel.numbers),
                "network": panel.kind,
                "images": len(panel.second),
                "held_out": list(panel.held_out),
            }
            for (row, dataset), panel in panels.items()
        }
        return finished(name, title, _caption(panels, absent, displays), figure, shown)


@dataclass(frozen=True)
class _MapInputs:
    """What a map is computed from: a network and a sample of either set."""

    row: str
    dataset: Dataset
    backbone: nn.Module
    kind: str
    first: ImageSample
    second: ImageSample
    squashed: int | None
    sees: BackboneInput


def _panels(view: View, rows: Sequence[EncoderRow], corpus: str) -> tuple[dict[tuple[str, str], Panel], list[str]]:
    """(row, dataset) -> its map, and the names of those whose encoder is not finished."""
    inputs: list[_MapInputs] = []
    absent = []
    for dataset in view.datasets:
        frontal = dataset.recipe.frontal_only
        samples: dict[BackboneInput, tuple[ImageSample, ImageSample, int | None]] = {}
        for row in rows:
            # Before any network is loaded: what is missing is said at once.
            folder = view.folder_of(row.recipe.backbone, dataset)
            found = _network(view, row, dataset)
            if found is None:
                absent.append(f"{row.display} on {dataset.display}")
                continue
            sees = backbone_input(row.recipe.backbone, dataset.recipe)
            if sees not in samples:  # networks that are fed alike share their samples
                samples[sees] = two_samples(view.store.files, view.data_folders[corpus], folder, MOST, frontal, sees)
            first, second, squashed = samples[sees]
            inputs.append(_MapInputs(row.name, dataset, *found, first, second, squashed, sees))
    # Each map is computed by one thread, matrix products too: shared out among threads they differ in their last bit
    # with what else is going on, and t-SNE makes another map of that.
    # The limit is one of libraries that are loaded by then. At the top of this file every report would load them.
    from sweep.figures.separation import separation, tsne

    compute = partial(_panel, separation=separation, tsne=tsne)
    with threadpool_limits(1):
        return {(panel.row, panel.dataset): panel for panel in _in_threads(compute, inputs)}, absent


def _in_threads(compute: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results in the items' order. Interrupted, it waits for those that are being computed, not for all."""
    threads = cores()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            return list(pool.map(compute, items))
        except BaseException:  # also Ctrl-C: leaving the block would wait for everything in the queue
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _network(view: View, row: EncoderRow, dataset: Dataset) -> tuple[nn.Module, str] | None:
    """The network that LPFT tuned where it is stored, as in the paper; else the encoder as it was pretrained.

    With its kind, TUNED or FROZEN; None where neither is finished.
    """
    model = cell_network(view, row, dataset, only_tuned=True)
    if model is not None:
        return model.backbone, TUNED
    run = first_encoder(view, row.name)
    done, _ = view.store.done_and_failed()
    if view.store.folder(run) not in done:
        return None
    return load_backbone(view.store.files, view.store.folder(run), row.recipe.backbone), FROZEN


def _panel(
    given: _MapInputs, separation: Callable[..., "Separation"], tsne: Callable[[np.ndarray], np.ndarray]
) -> Panel:
    """Compute a map: features (N, D), their numbers, and their t-SNE, by the functions of separation.py."""
    device = own_device()
    parts = given.first, given.second
    features = np.concatenate([image_features(given.backbone, given.sees, part.pixels, device) for part in parts])
    is_second = np.repeat([False, True], [len(part) for part in parts])
    # Two sets may use one id for two people.
    patients = np.array([f"{part.source}/{patient}" for part in parts for patient in part.patient_ids])
    numbers = separation(features, is_second, patients)
    held_out = int(given.first.held_out.sum()), int(given.second.held_out.sum())
    network = given.row, given.dataset.instance, given.kind
    return Panel(*network, tsne(features), is_second, numbers, held_out, given.squashed)


def _scatter(axis: Axes, panel: Panel | None, title: str) -> None:
    axis.set_title(title)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#c9cdd3")
    if panel is None:
        axis.text(0.5, 0.5, "not finished", transform=axis.transAxes, ha="center", va="center")
        return
    size = float(np.clip(9_000 / len(panel.places), 1.2, 9))  # of a dot, in square points: many are drawn small
    order = np.random.default_rng(0).permutation(len(panel.places))  # neither set hides the other
    colors = np.where(panel.second, DATASET_COLOR, CORPUS_COLOR)
    x, y = panel.places[order].T
    # An image within the SVG: as paths, 20,000 dots would make a page of megabytes.
    axis.scatter(x, y, s=size, c=colors[order], linewidths=0, alpha=0.85, rasterized=True)
    auroc, mixing = asdict(panel.numbers).values()
    shown = ("–" if auroc is None else f"{100 * auroc:.0f}%", "–" if mixing is None else f"{mixing:.2f}")
    axis.set_xlabel("classifier AUROC {}   mixing {}".format(*shown), fontsize=8.5)


def _legend(figure: Figure, view: View) -> None:
    corpus = DISPLAYS.get(view.study.corpus_instance, view.study.corpus_instance)
    downstream = " or ".join(dataset.display for dataset in view.datasets)
    labels = {CORPUS_COLOR: f"{corpus} (pretraining)", DATASET_COLOR: f"{downstream} (evaluation)"}
    handles = [
        Line2D([], [], color=color, label=label, linestyle="none", marker="o", markersize=6)
        for color, label in labels.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _caption(panels: Mapping[tuple[str, str], Panel], absent: list[str], displays: Mapping[str, str]) -> str:
    """displays: name of each data set in sentences."""
    kinds = {panel.kind for panel in panels.values()}
    networks = {
        frozenset({TUNED}): "after LPFT with all labels, first seed",
        frozenset({FROZEN}): "as pretrained (the paper's are those after LPFT, which are not stored here)",
    }.get(frozenset(kinds), "after LPFT where that network is stored, else as pretrained")
    sizes = sorted({len(panel.second) // 2 for panel in panels.values()})
    held_out = "; ".join(
        f"{first:,} of the corpus, {second:,} of {displays[dataset]}"
        for dataset, (first, second) in {panel.dataset: panel.held_out for panel in panels.values()}.items()
    )
    text = (
        f"t-SNE of the features of {' and '.join(f'{size:,}' for size in sizes)} images of each set, drawn at random, "
        f"held-out ones first ({held_out}; the others are training images): networks {networks}. Distances "
        "and gaps in such a map are no evidence. The numbers are: classifier AUROC, of a linear classifier that tells "
        "the set, cross-validated by patient (50% cannot tell them); mixing, the share of the 15 nearest neighbours "
        "from the other set over that expected by chance (1 mixed, 0 apart)."
    )
    squashed: dict[int, list[str]] = {}
    for panel in panels.values():
        if panel.squashed is not None:
            squashed.setdefault(panel.squashed, []).append(f"{panel.row} on {displays[panel.dataset]}")
    for side, networks_squashed in squashed.items():
        text += (
            f" For {', '.join(networks_squashed)}, images of both sets were squashed first to squares of {side} pixels"
            ", as the corpus is stored, and not given as its cells give them: else the stored form would tell the sets."
        )
    return text + (f" Not finished: {', '.join(absent)}." if absent else "")
