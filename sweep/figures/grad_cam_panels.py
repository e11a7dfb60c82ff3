"""Which regions raise a finding's logit: inputs, Grad-CAM maps, probabilities, as the paper's Figures 3 and 4."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from datasets_io.corpus.read import read_manifest
from datasets_io.fingerprint import derive_seed
from datasets_io.sources.parts.nih_boxes import Box
from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.models import cell_network
from sweep.figures.style import ORANGE, SKY, short_name
from sweep.figures.view import View
from sweep.statistics.value_names import in_words
from sweep.studies.study import Dataset
from trainables.evaluation.cell_model import FROZEN, TUNED, CellModel
from trainables.evaluation.dataset import Part, backbone_input, load_parts
from trainables.evaluation.grad_cam import NoMap, enlarged, grad_cam
from trainables.recipe import BackboneSpec, DownstreamRecipe

VERSION = 2  # of this file, models.py and trainables.evaluation.grad_cam
SHOWN = ("imagenet", "clip", "simclr", "clip+simclr")
# CheXpert's five of the competition, then those that NIH has boxes for.
PREFERRED = (
    "cardiomegaly",
    "pleural_effusion",
    "effusion",
    "atelectasis",
    "edema",
    "consolidation",
    "pneumothorax",
    "mass",
    "infiltration",
    "pneumonia",
    "nodule",
)
MOST_EXAMPLES = 4
BOX_COLOR, EDGE_COLOR = SKY, ORANGE
Explained = Mapping[str, tuple[Tensor, Tensor]]  # row name -> its maps (B, h, w) and logits (B,) of the examples


@dataclass(frozen=True)
class Example:
    """One image of the test part and the finding to explain: rows of its pixels and of the findings.

    box: left, top, width, height in shares of the whole image.
    """

    row: int
    finding: int
    present: bool
    box: tuple[float, float, float, float] | None = None


def name_of(dataset: Dataset) -> str:
    """`grad_cam_chexpert`: the figure's name, and that of its file."""
    return f"grad_cam_{dataset.instance}"


def title_of(dataset: Dataset) -> str:
    """The figure's title."""
    return f"Grad-CAM on {dataset.display}"


def draw(view: View, dataset: Dataset, boxes: tuple[Box, ...]) -> Drawing:
    """Rows are images of the test set with a finding, columns the input and networks.

    Raises CannotDraw where no network, no shards or no image with a finding is there.
    """
    models = models_of(view, dataset)
    if not models:
        raise CannotDraw(f"No network on {dataset.display} is stored: neither a finished linear probe nor a tuned one.")
    recipe = dataset.recipe
    parts = {name: test_part(view, dataset, model.spec) for name, model in models.items()}
    test, findings = next(iter(parts.values()))
    examples = choose(test, findings, boxes, derive_seed(0, "grad_cam", dataset.instance))
    if not examples:
        raise CannotDraw(f"No test image of {dataset.display} has a finding that is known to be present.")
    rows = np.array([example.row for example in examples])
    asked = torch.tensor([example.finding for example in examples])
    explained, unexplained = _explained(
        models, {name: part.images(recipe, rows, None, torch.device("cpu")) for name, (part, _) in parts.items()}, asked
    )
    views = {name: _View.of(parts[name][0], recipe, examples) for name in explained}
    with style():
        tall, wide = len(examples), len(explained) + 1
        figure = new_figure(1.62 * wide + 1.25, 1.86 * tall + 0.3)
        axes = figure.subplots(tall, wide, squeeze=False)
        for i, example in enumerate(examples):
            # The input as the first network sees it; each map lies on what its own network sees.
            _input(axes[i, 0], next(iter(views.values())), i, example, findings[example.finding])
            for j, (name, (maps, logits)) in enumerate(explained.items(), start=1):
                probability = float(torch.sigmoid(logits[i]))
                seen = views[name]
                _map(axes[i, j], seen, i, enlarged(maps[i : i + 1], seen.grey.shape[1])[0].numpy(), probability)
                if i == 0:
                    axes[i, j].set_title(_display(view, name), fontsize=9)
        axes[0, 0].set_title("input", fontsize=9)
        numbers = _numbers(examples, findings, test, explained)
        return finished(
            name_of(dataset), title_of(dataset), _caption(dataset, models, examples) + unexplained, figure, numbers
        )


def _explained(models: dict[str, CellModel], images: dict[str, Tensor], asked: Tensor) -> tuple[Explained, str]:
    """Maps and logits of the networks that have maps, and what a caption says of the others. images: of each network.

    Raises CannotDraw where none has.
    """
    explained, reasons = {}, []
    for name, model in models.items():
        try:
            explained[name] = grad_cam(model.backbone, model.head, images[name], asked)
        except NoMap as reason:
            reasons.append(f" Not shown: {name} ({reason}).")
    if not explained:
        raise CannotDraw("".join(reasons).strip())
    return explained, "".join(reasons)


def models_of(view: View, dataset: Dataset) -> dict[str, CellModel]:
    """Row name -> its network on this data set, of the rows that are shown and have one."""
    shown = [row for row in view.rows if row.name in SHOWN] or list(view.rows[:4])
    found = {row.name: cell_network(view, row, dataset) for row in shown}
    return {name: model for name, model in found.items() if model is not None}


@dataclass(frozen=True)
class _View:
    """What one network sees of the examples: grey (B, S, S) in [0, 1], and their boxes in shares of it."""

    grey: np.ndarray
    boxes: tuple[tuple[float, float, float, float] | None, ...]

    @staticmethod
    def of(part: Part, recipe: DownstreamRecipe, examples: list[Example]) -> "_View":
        rows = np.array([example.row for example in examples])
        boxes = (e.box and part.box_in_view(recipe, e.row, e.box) for e in examples)
        return _View(part.shown(recipe, rows), tuple(boxes))


def test_part(view: View, dataset: Dataset, backbone: BackboneSpec) -> tuple[Part, tuple[str, ...]]:
    """The test images of a dataset, as a network gets them, and the names of its findings.

    Raises CannotDraw where its shards are not there.
    """
    folder = view.folder_of(backbone, dataset)
    manifest, sees = read_manifest(view.store.files, folder), backbone_input(backbone, dataset.recipe)
    parts = load_parts(view.store.files, folder, manifest, dataset.recipe, sees)
    return parts.test, parts.findings


def choose(test: Part, findings: tuple[str, ...], boxes: tuple[Box, ...], seed: int) -> list[Example]:
    """A random image for each of some findings that are present, boxed ones first, and one where a finding is absent.

    The choice does not depend on what a network predicts. Empty where no finding is present in any image.
    """
    order = np.random.default_rng(seed).permutation(len(test))
    place = {image_id: row for row, image_id in enumerate(test.image_ids.tolist())}
    boxed = {(place[box.image_id], box.finding): shares(box) for box in boxes if box.image_id in place}
    ranked = [name for name in PREFERRED if name in findings] + [name for name in findings if name not in PREFERRED]
    # Findings with a box first; the sort keeps the order among equals.
    ranked.sort(key=lambda name: not any(finding == name for _, finding in boxed))
    examples: list[Example] = []
    used: set[int] = set()
    for name in ranked:
        f = findings.index(name)
        here = [row for row in order if test.known[row, f] and test.targets[row, f] == 1 and row not in used]
        here = [row for row in here if (row, name) in boxed] + [row for row in here if (row, name) not in boxed]
        if here and name != "no_finding" and len(examples) < MOST_EXAMPLES:
            used.add(int(here[0]))
            examples.append(Example(int(here[0]), f, True, boxed.get((here[0], name))))
    if examples:
        # The image without a finding is explained for the first example's: what does a map show of what is not there?
        f = examples[0].finding
        absent = [row for row in order if test.known[row, f] and test.targets[row, f] == 0 and row not in used]
        examples += [Example(int(row), f, False) for row in absent[:1]]
    return examples


def shares(box: Box) -> tuple[float, float, float, float]:
    """left, top, width, height of a box in shares of the whole image."""
    return box.left, box.top, box.width, box.height


def _input(axis: Axes, seen: _View, i: int, example: Example, finding: str) -> None:
    axis.imshow(seen.grey[i], cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axis.set_ylabel(f"{in_words(finding)}\n{'present' if example.present else 'absent'}", fontsize=8.5)
    _bare(axis)
    _outline(axis, seen, i)


def _map(axis: Axes, seen: _View, i: int, heat: np.ndarray, probability: float) -> None:
    # The map's colour is blended in by its height, at most 62%, so that the image stays visible under the maximum.
    share = 0.62 * np.clip(heat, 0, 1)[..., None] ** 0.8
    picture = (1 - share) * np.repeat(seen.grey[i][..., None], 3, axis=2) + share * colormaps["inferno"](heat)[..., :3]
    axis.imshow(np.clip(picture, 0, 1), interpolation="bilinear")
    if heat.max() > 0:  # a map of zeros has no contour, which matplotlib warns of
        axis.contour(heat, levels=[0.5], colors=[EDGE_COLOR], linewidths=1.1)
    axis.set_xlabel(f"p = {probability:.2f}" + ("" if heat.max() > 0 else ", map 0"), fontsize=8.5, labelpad=2)
    _bare(axis)
    _outline(axis, seen, i)


def _outline(axis: Axes, seen: _View, i: int) -> None:
    box = seen.boxes[i]
    if box is not None:
        left, top, width, height = (value * seen.grey.shape[1] for value in box)
        axis.add_patch(
            Rectangle((left, top), width, height, fill=False, edgecolor=BOX_COLOR, linewidth=1.5, linestyle=(0, (4, 2)))
        )


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)


def _display(view: View, name: str) -> str:
    return short_name(next(row.display for row in view.rows if row.name == name))


def _numbers(examples: list[Example], findings: tuple[str, ...], test: Part, explained: Explained) -> dict[str, object]:
    return {
        "examples": [
            {
                "image_id": str(test.image_ids[example.row]),
                "finding": findings[example.finding],
                "present": example.present,
                "probability": {name: float(torch.sigmoid(logits[i])) for name, (_, logits) in explained.items()},
            }
            for i, example in enumerate(examples)
        ]
    }


def _caption(dataset: Dataset, models: dict[str, CellModel], examples: list[Example]) -> str:
    networks = {frozenset({TUNED}): "after LPFT", frozenset({FROZEN}): "with a linear probe on the frozen encoder"}.get(
        frozenset(model.kind for model in models.values()), "after LPFT where it is stored, else with a linear probe"
    )
    text = (
        f"Test images of {dataset.display} drawn at random among those with a finding, and one without; networks "
        f"{networks}, all labels, first seed. Brighter: what raises the finding's logit (Grad-CAM over the last map, "
        "each scaled to its own maximum); orange line: half of the maximum; p: predicted probability."
    )
    if any(example.box for example in examples):
        text += " Blue dashes: the radiologists' box."
    return text
