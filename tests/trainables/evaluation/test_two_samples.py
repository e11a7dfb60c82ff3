"""Do the two sets of a feature map differ in their images alone, and not in how each is stored?"""

import csv

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.storage.files import Files
from trainables.evaluation.encoder_features import two_samples
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing

WIDE, SQUARE = (90, 150), (120, 120)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """(archive's rows and columns, side, form) -> folder of a build of six images; and its files."""
    place = tmp_path_factory.mktemp("two")
    files, folders = Files(str(place / "storage")), {}
    for shape in (WIDE, SQUARE):
        raw = place / f"{shape[0]}x{shape[1]}"
        raw.mkdir()
        lines = [["path", "patient_id", "split", "nodule"]]
        for number in range(6):
            rows, columns = np.mgrid[: shape[0], : shape[1]]
            disc = np.hypot(rows - shape[0] / 2, columns - 20 * number - 20) < 12
            Image.fromarray((60 + 150 * disc).astype(np.uint8)).save(raw / f"{number}.png")
            lines.append([f"{number}.png", f"p{number}of{shape[0]}", ("train", "val", "test")[number % 3], number % 2])
        with (raw / "images.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
        for side, form in ((32, "square"), (64, "square"), (64, "aspect")):
            spec = BuildSpec("csv_images", side, shape=form)
            build(spec, raw, files)
            folders[shape, side, form] = data_folder(spec, raw)
    return files, folders


def samples(store, corpus, dataset, own, size=48):
    files, folders = store
    sees = BackboneInput(EvalSpec(32), size, own)
    return two_samples(files, folders[corpus], folders[dataset], 100, True, sees)


SHORTEST, SQUASH = Preprocessing(48, "shortest", 54), Preprocessing(48)


@pytest.mark.parametrize(
    ("corpus", "dataset", "own", "squashed"),
    [
        ((WIDE, 64, "square"), (WIDE, 64, "aspect"), SHORTEST, 64),  # the corpus has lost the ratio
        ((WIDE, 32, "square"), (WIDE, 64, "aspect"), SQUASH, 32),  # the corpus has fewer pixels
        ((WIDE, 32, "square"), (WIDE, 64, "square"), SQUASH, 32),
        ((SQUARE, 32, "square"), (SQUARE, 64, "aspect"), SHORTEST, 32),
        ((SQUARE, 64, "square"), (SQUARE, 64, "aspect"), SHORTEST, None),  # no ratio is lost
        ((WIDE, 64, "square"), (WIDE, 64, "aspect"), SQUASH, None),
        ((WIDE, 64, "square"), (WIDE, 64, "square"), None, None),
    ],
)
def test_the_same_pictures_stored_in_two_ways_are_given_alike(store, corpus, dataset, own, squashed):
    first, second, side = samples(store, corpus, dataset, own)
    assert side == squashed and first.pixels.shape == second.pixels.shape == (6, *first.pixels.shape[1:])
    assert first.image_ids.tolist() == second.image_ids.tolist()
    assert own is None or first.pixels.shape[1:] == (48, 48)
    difference = np.abs(first.pixels.astype(float) - second.pixels).mean()
    assert difference < 1.5, "the stored form tells the sets"
    assert np.abs(first.pixels[0].astype(float) - first.pixels[1]).mean() > 3  # other pictures are


def test_what_cells_get_is_given_where_the_corpus_has_it(store):
    _, second, side = samples(store, (SQUARE, 64, "square"), (SQUARE, 64, "aspect"), SHORTEST)
    fit = BackboneInput(EvalSpec(32), 48, SHORTEST).fit("aspect")
    files, folders = store
    whole, _, _ = two_samples(
        files, folders[SQUARE, 64, "square"], folders[SQUARE, 64, "square"], 100, True, BackboneInput(EvalSpec(64))
    )
    assert side is None and np.array_equal(second.pixels, np.stack([fit(image) for image in whole.pixels]))
