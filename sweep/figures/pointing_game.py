"""Does the highest point of a Grad-CAM map lie in the radiologists' box (Zhang et al., 2018)?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from datasets_io.fingerprint import derive_seed
from datasets_io.sources.parts.nih_boxes import BOX_LIST, Box
from sweep.figures.drawing import CannotDraw, Drawing, finished, new_figure, style
from sweep.figures.grad_cam_panels import models_of, shares, test_part
from sweep.figures.style import FOREGROUND, short_name
from sweep.figures.view import View
from sweep.studies.study import Dataset
from trainables.evaluation.cell_model import CellModel
from trainables.evaluation.dataset import Part
from trainables.evaluation.grad_cam import NoMap, enlarged, grad_cam
from trainables.recipe import DownstreamRecipe
from trainables.training.devices import own_device

VERSION = 3  # of this file, grad_cam_panels.py, models.py and trainables.evaluation.grad_cam
NAME, TITLE = "pointing_game", "Pointing game on NIH's boxes"
MOST_ON_CPU = 128  # boxes: a ResNet-50 explains about ten a second on two cores
BATCH = 32
InView = tuple[float, float, float, float]  # left, top, width, height of a box, in shares of the view
Target = tuple[int, int, InView]  # row of the test part, place of the finding, box


@dataclass(frozen=True)
class Pointing:
    """hits of n boxes, of one network; chance: the mean share of the view that lies in a box, in [0, 1]."""

    hits: int
    n: int
    chance: float

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's (1927) 95% interval of the accuracy: low and high, in [0, 1]."""
        z, p = 1.959963984540054, self.hits / self.n  # z: the normal 97.5th percentile
        centre = (p + z * z / (2 * self.n)) / (1 + z * z / self.n)
        half = z * math.sqrt(p * (1 - p) / self.n + z * z / (4 * self.n**2)) / (1 + z * z / self.n)
        return centre - half, centre + half


@dataclass(frozen=True)
class PointingGame:
    """What the figure shows. by_row: encoder row -> its network's hits; used of listed boxes of test images.

    unexplained: what a caption says of networks without a map.
    """

    by_row: Mapping[str, Pointing]
    used: int
    listed: int
    unexplained: str = ""

    @property
    def chance(self) -> float:
        """What a random point reaches, in [0, 1]: of the first network; all have the same boxes."""
        return next(iter(self.by_row.values())).chance


def name_of(dataset: Dataset) -> str:
    """The figure's name, and that of its file: of another use of NIH's archive with the use's own name."""
    return NAME if dataset.name is None else f"{NAME}_{dataset.instance}"


def title_of(dataset: Dataset) -> str:
    """The figure's title."""
    return TITLE if dataset.name is None else f"{TITLE}, {dataset.display}"


def game_of(view: View, dataset: Dataset, boxes: tuple[Box, ...]) -> PointingGame:
    """Explain the boxed findings of test images by each network, and count the hits.

    Raises CannotDraw where there are no boxes, no network or no box of a test image.
    """
    if not boxes:
        raise CannotDraw(
            f"{BOX_LIST} is not at hand: it is read from the raw archive of {dataset.display}, given with "
            f"--raw {dataset.instance}=DIR."
        )
    models = models_of(view, dataset)
    if not models:
        raise CannotDraw(f"No network on {dataset.display} is stored: neither a finished linear probe nor a tuned one.")
    recipe = dataset.recipe
    found: dict[str, Pointing] = {}
    parts = {name: test_part(view, dataset, model.spec) for name, model in models.items()}
    seen = {name: targets(*part, boxes, recipe) for name, part in parts.items()}
    # Networks may see different parts of an image: only boxes that reach into what each of them sees.
    usable = [place for place in range(len(boxes)) if all(place in own for own in seen.values())]
    if not usable:
        raise CannotDraw(f"None of the {len(boxes)} boxes is of a test image of {dataset.display}.")
    device = own_device()
    listed = len(usable)
    if device.type == "cpu" and listed > MOST_ON_CPU:
        # A sample that is the same each time, in the list's order.
        chosen = np.random.default_rng(derive_seed(0, "pointing_game")).permutation(listed)[:MOST_ON_CPU]
        usable = [usable[i] for i in sorted(chosen)]
    reasons = []
    for name, model in models.items():
        try:
            places = [seen[name][place] for place in usable]
            found[name] = hits_of(model, parts[name][0], places, recipe, device)
        except NoMap as reason:
            reasons.append(f" Not shown: {name} ({reason}).")
    if not found:
        raise CannotDraw("".join(reasons).strip())
    return PointingGame(found, len(usable), listed, "".join(reasons))


def draw(view: View, dataset: Dataset, boxes: tuple[Box, ...]) -> Drawing:
    """A line for each network: its accuracy with its interval, and that of a random point."""
    game = game_of(view, dataset, boxes)
    rows = [row for row in view.rows if row.name in game.by_row]
    with style():
        figure = new_figure(6.4, 0.9 + 0.36 * len(rows))
        axis = figure.subplots()
        for place, row in enumerate(rows):
            one = game.by_row[row.name]
            low, high = one.interval
            how = view.styles[row.name]
            axis.plot([100 * low, 100 * high], [place, place], color=how.color)
            axis.plot([100 * one.hits / one.n], [place], marker=how.marker, color=how.color)
        axis.axvline(100 * game.chance, color=FOREGROUND, linewidth=1, linestyle=(0, (4, 2)))
        axis.set_yticks(range(len(rows)), [short_name(row.display) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlim(0, 100)
        axis.set_xlabel("maps whose highest point lies in the box (%)")
        axis.grid(axis="y", visible=False)
        return finished(name_of(dataset), title_of(dataset), _caption(game) + game.unexplained, figure, _numbers(game))


def _numbers(game: PointingGame) -> dict[str, object]:
    accuracy = {
        name: {"hits": one.hits, "n": one.n, "accuracy": one.hits / one.n, "interval": one.interval}
        for name, one in game.by_row.items()
    }
    return {"accuracy": accuracy, "chance": game.chance}


def _caption(game: PointingGame) -> str:
    return (
        f"Pointing game on {game.used} of {game.listed} boxes of test images, with Wilson's 95% intervals. Dashed: "
        f"what a random point reaches, {100 * game.chance:.0f}%, the mean share of the view in a box. No tolerance is "
        "added around a box."
    )


def targets(
    test: Part, findings: tuple[str, ...], boxes: tuple[Box, ...], recipe: DownstreamRecipe
) -> dict[int, Target]:
    """(row, finding, box in the view), by its place in the list, of each box of a test image that is in the view."""
    rows = {image_id: row for row, image_id in enumerate(test.image_ids.tolist())}
    found = {}
    for place, box in enumerate(boxes):
        if box.image_id in rows and box.finding in findings:
            row = rows[box.image_id]
            left, top, width, height = test.box_in_view(recipe, row, shares(box))
            if left < 1 and top < 1 and left + width > 0 and top + height > 0:
                found[place] = row, findings.index(box.finding), (left, top, width, height)
    return found


def hits_of(
    model: CellModel, test: Part, usable: list[Target], recipe: DownstreamRecipe, device: torch.device
) -> Pointing:
    """How many of one or more boxes the network's maps point into. A map that is 0 everywhere is no hit.

    The network is moved to the device and stays there.
    """
    backbone, head = model.backbone.to(device), model.head.to(device)
    hits, areas = 0, []  # areas: share of the view that a box covers, what reaches beyond the view cut off
    for start in range(0, len(usable), BATCH):
        part = usable[start : start + BATCH]
        rows = np.array([row for row, _, _ in part])
        asked = torch.tensor([finding for _, finding, _ in part], device=device)
        maps, _ = grad_cam(backbone, head, test.images(recipe, rows, None, device), asked)
        large = enlarged(maps, test.view_size(recipe)).cpu().numpy()
        for heat, (_, _, box) in zip(large, part, strict=True):
            hits += is_hit(heat, box)
            left, top, width, height = box
            across = min(1.0, left + width) - max(0.0, left)
            areas.append(across * (min(1.0, top + height) - max(0.0, top)))
    return Pointing(hits, len(usable), float(np.mean(areas)))


def is_hit(heat: np.ndarray, box: InView) -> bool:
    """Whether the middle of the highest pixel of a map (S, S) lies in the box."""
    if not heat.max() > 0:
        return False
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    left, top, width, height = box
    across, down = (x + 0.5) / heat.shape[1], (y + 0.5) / heat.shape[0]
    return bool(left <= across <= left + width and top <= down <= top + height)
