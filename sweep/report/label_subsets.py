"""How many images stand behind a share of the labels: for the tables' notes, the page and the cautions."""

from collections.abc import Mapping

from sweep.statistics.summaries import Column
from sweep.store.snapshot import Snapshot
from trainables.protocols.registry import PROTOCOLS

FEW_IMAGES = 50  # labelled images below which a caution names them
Sizes = Mapping[tuple[str, Column], tuple[int, int]]  # (dataset, column) -> fewest and most training images of a cell


def subset_sizes(data: Snapshot) -> Sizes:
    """Of the finished cells that say it; a column whose protocol has one share of the labels is left out."""
    found: dict[tuple[str, Column], tuple[int, int]] = {}
    for cell in data.plan.cells:
        detail = data.cells.get(cell.key)
        if detail is None or detail.num_train_images is None or len(PROTOCOLS[cell.protocol].label_percents) < 2:
            continue
        place, size = (cell.dataset, (cell.protocol, cell.label_percent)), detail.num_train_images
        fewest, most = found.get(place, (size, size))
        found[place] = min(fewest, size), max(most, size)
    return found


def images_text(sizes: tuple[int, int]) -> str:
    """`2 images`, `2 to 3 images`."""
    fewest, most = sizes
    return f"{fewest:,} image{'s' * (fewest != 1)}" if fewest == most else f"{fewest:,} to {most:,} images"


def subset_notes(data: Snapshot, sizes: Sizes) -> tuple[str, ...]:
    """`CheXpert: labelled images that cells train on: FT (1%) 4 images, FT (10%) 48 images.`, one for each dataset."""
    return tuple(f"{name}: labelled images that cells train on: {columns}." for name, columns in _texts(data, sizes))


def few_images(data: Snapshot, sizes: Sizes) -> list[str]:
    """A caution, if there is a column whose cells train on fewer images than FEW_IMAGES."""
    few = _texts(data, {place: size for place, size in sizes.items() if size[1] < FEW_IMAGES})
    columns = "; ".join(f"{name} {columns}" for name, columns in few)
    return [f"AUROCs move with the draw of the images where these are few: {columns}."] if few else []


def _texts(data: Snapshot, sizes: Sizes) -> list[tuple[str, str]]:
    """(display name of a dataset, `FT (1%) 4 images, FT (10%) 48 images`), of those that have a size."""
    found = []
    for dataset in data.study.datasets:
        columns = {column: size for (name, column), size in sizes.items() if name == dataset.instance}
        parts = [f"{protocol} ({share}%) {images_text(size)}" for (protocol, share), size in sorted(columns.items())]
        if parts:
            found.append((data.study.display_of(dataset), ", ".join(parts)))
    return found
