"""Does sweep.embed give the features that a cell has of the same images, from files, arrays and tensors?"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_study import __file__ as STUDY
from torch import nn

import sweep
from datasets_io.corpus.read import read_manifest
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import ReadFiles
from sweep.api.frames import opened
from sweep.studies import load_study
from trainables.evaluation.dataset import backbone_input, load_parts
from trainables.evaluation.encoder_features import image_features
from trainables.training.checkpoint import weights_from_bytes


@pytest.fixture(scope="module")
def encoder(finished_study):
    return sweep.load_encoder(finished_study.storage, "simclr", STUDY)


@pytest.fixture(scope="module")
def part(finished_study):
    """The test images of the dataset chexpert as the cells of the row read them, and where their archive lies."""
    study, files = load_study(STUDY), ReadFiles(finished_study.storage)
    (folder,) = Path(finished_study.storage).glob("data/chexpert-*")
    dataset = study.datasets[0]
    row = next(row for row in study.rows if row.name == "simclr")
    manifest = read_manifest(files, f"data/{folder.name}")
    sees = backbone_input(row.recipe.backbone, dataset.recipe)
    return load_parts(files, f"data/{folder.name}", manifest, dataset.recipe, sees).test


def raw_paths(storage: str, image_ids) -> list[Path]:
    (raw,) = Path(storage).glob("raw/*/CheXpert*")
    records = get_source("chexpert").read_records(raw, get_source("chexpert").options())
    places = {record.image_id: raw / record.path for record in records}
    return [places[image_id] for image_id in image_ids]


def test_features_are_those_of_the_projects_own_path(encoder, part):
    expected = image_features(encoder.module, part.sees, part.pixels, torch.device("cpu"))
    assert np.array_equal(sweep.embed(encoder, np.asarray(part.pixels), device="cpu"), expected)


def test_a_probes_head_on_them_gives_the_stored_predictions(encoder, part, finished_study):
    found = opened(finished_study.storage, STUDY)
    place = dict(dataset="chexpert", protocol="LP", label_percent=100, seed=0)
    (cell,) = [c for c in found.plan.cells if c.encoder.row == "simclr" and vars(c).items() >= place.items()]
    head = weights_from_bytes(found.store.open(cell).read("head.safetensors"))
    features = sweep.embed(encoder, np.asarray(part.pixels), device="cpu")
    logits = features @ head["weight"].numpy().T + head["bias"].numpy()
    from sweep.store.predictions import read_predictions

    stored = read_predictions(found.store.open(cell))
    assert stored.images.image_ids.tolist() == part.image_ids.tolist()
    np.testing.assert_allclose(logits, stored.scores, atol=1e-5)


def test_files_of_the_archive_give_the_same_features(encoder, part, finished_study):
    paths = raw_paths(finished_study.storage, part.image_ids)
    expected = sweep.embed(encoder, np.asarray(part.pixels), device="cpu")
    assert np.array_equal(sweep.embed(encoder, paths, device="cpu"), expected)
    assert np.array_equal(sweep.embed(encoder, str(paths[0]), device="cpu"), sweep.embed(encoder, paths[:1]))


def test_arrays_and_tensors_are_taken_as_files_are(encoder, tmp_path):
    generator = np.random.default_rng(0)
    bytes_ = generator.integers(0, 256, (3, 70, 50), dtype=np.uint8)
    for number, picture in enumerate(bytes_):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    expected = sweep.embed(encoder, sorted(tmp_path.glob("*.png")))
    for images in (
        bytes_,
        list(bytes_),
        torch.from_numpy(bytes_),
        (torch.from_numpy(picture) for picture in bytes_),
        bytes_ / 255,
        torch.from_numpy(bytes_).double() / 255,
    ):
        assert np.array_equal(sweep.embed(encoder, images), expected)
    assert np.array_equal(sweep.embed(encoder, bytes_[0]), sweep.embed(encoder, bytes_[:1]))
    # 16 bits are stretched, as in an archive: the same picture in other units is the same.
    deep = bytes_[0].astype(np.uint16)
    assert np.array_equal(sweep.embed(encoder, deep), sweep.embed(encoder, 100 + 3 * deep))


@pytest.mark.parametrize("transparent", [False, True])
def test_a_picture_with_a_palette_is_what_its_file_is(transparent, encoder, tmp_path):
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (70, 50), dtype=np.uint8), mode="P")
    picture.putpalette(generator.integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "palette.png", **({"transparency": 7} if transparent else {}))
    expected = sweep.embed(encoder, tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as opened_again:
        assert opened_again.mode == "P"
        assert np.array_equal(sweep.embed(encoder, opened_again), expected)
        assert np.array_equal(sweep.embed(encoder, [opened_again]), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_file_is(orientation, encoder, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened_again:
        assert np.array_equal(sweep.embed(encoder, opened_again), sweep.embed(encoder, tmp_path / "turned.png"))


def test_batches_change_no_feature_beyond_rounding_and_keep_the_order(encoder, part):
    pixels = np.asarray(part.pixels)
    whole = sweep.embed(encoder, pixels, device="cpu")
    np.testing.assert_allclose(sweep.embed(encoder, pixels, batch_size=7, device="cpu"), whole, atol=1e-5)


def test_the_module_takes_what_preprocess_makes(encoder, part):
    tensors = encoder.preprocess(np.asarray(part.pixels[:4]))
    assert isinstance(encoder.module, nn.Module) and not encoder.module.training
    assert tensors.dtype == torch.float32 and tensors.shape == (4, 3, 32, 32)
    with torch.no_grad():
        assert np.array_equal(encoder.module(tensors).numpy(), sweep.embed(encoder, np.asarray(part.pixels[:4])))
    assert encoder.preprocessing.size == 32 and encoder.name == "simclr-p0" and len(encoder.key) == 12


def test_an_encoder_is_known_by_row_name_and_key(encoder, finished_study):
    for name in ("simclr-p0", encoder.key):
        assert sweep.load_encoder(finished_study.storage, name, STUDY).key == encoder.key
    other = sweep.load_encoder(finished_study.storage, "simclr", STUDY, dataset="nih_cxr14")
    assert other.sees.eval_spec == load_study(STUDY).datasets[1].recipe.eval_spec


def test_what_there_is_not_is_refused(encoder, finished_study, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'simclr'"):
        sweep.load_encoder(finished_study.storage, "simcrl", STUDY)
    with pytest.raises(ValueError, match=r"no dataset 'chexprt'.*did you mean 'chexpert'"):
        sweep.load_encoder(finished_study.storage, "simclr", STUDY, dataset="chexprt")
    storage = tmp_path / "storage"
    shutil.copytree(finished_study.storage, storage, ignore=shutil.ignore_patterns("cells", "reports", "raw"))
    (weights,) = storage.glob("encoders/simclr-p0-*/backbone*")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="encoder simclr-p0 is damaged"):
        sweep.load_encoder(storage, "simclr", STUDY)
    shutil.rmtree(weights.parent)
    with pytest.raises(ValueError, match="encoder simclr-p0 is not finished in"):
        sweep.load_encoder(storage, "simclr", STUDY)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), r"image 0 has shape \(3, 8, 8\): give grey pictures"),
        (np.full((1, 64, 64), 2.0), r"image 0 has values of 2.0 to 2.0: floats are to be in \[0, 1\]"),
        (np.full((1, 64, 64), np.nan), "floats are to be in"),
        (np.full((1, 64, 64), 7, np.uint16), "image 0 cannot be used: all pixels have the same value"),
        (np.zeros((1, 64, 64), complex), "give integers, or floats"),
        (["nowhere.png"], "nowhere.png cannot be read as an image: the file is absent"),
        ([], "there is no image to embed"),
        (np.zeros((64, 64, 3), np.uint8), r"shape \(64, 64, 3\), as one picture with channels has"),
        (np.zeros((64, 64, 1), np.uint8), r"shape \(64, 64, 1\), as one picture with channels has"),
        (torch.zeros(64, 64, 2), r"shape \(64, 64, 2\), as one picture with channels has"),
        ([np.zeros((64, 64, 1), np.uint8)], r"image 0 has shape \(64, 64, 1\): give grey pictures"),
        (Image.new("LA", (64, 64)), r"shape \(64, 64, 2\), as one picture with channels has"),
        (Image.new("RGB", (64, 64)), r"shape \(64, 64, 3\), as one picture with channels has"),
    ],
)
def test_what_is_no_image_is_refused(images, message, encoder):
    with pytest.raises(ValueError, match=message):
        sweep.embed(encoder, images)


def test_a_batch_has_an_image(encoder):
    with pytest.raises(ValueError, match="batch_size is 0: at least 1"):
        sweep.embed(encoder, np.zeros((1, 64, 64), np.uint8), batch_size=0)
