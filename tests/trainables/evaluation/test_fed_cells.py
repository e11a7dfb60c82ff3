"""Do cells of an encoder with a preprocessing of its own read a store as that says, from training to prediction?"""

import csv
import io
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load
from timm.data import create_transform

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import pictures_of, read_manifest
from datasets_io.storage.artefacts import open_artefacts
from datasets_io.storage.files import Files
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget, run_job
from trainables.evaluation.cell_model import load_backbone
from trainables.evaluation.dataset import backbone_input, load_parts
from trainables.evaluation.features import mean_of_crops
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.protocols import fine_tune, linear_probe
from trainables.recipe import BackboneSpec, DownstreamRecipe, RandomInit
from trainables.training.precision import Compute
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing, torchxrayvision

SIZE = 64
SPEC = BuildSpec("csv_images", 80, shape="aspect")
OF_TIMM = {"input_size": (3, SIZE, SIZE), "crop_pct": 0.875, "interpolation": "bicubic", "mean": (0.53, 0.5, 0.48)}
OWN = Preprocessing(SIZE, "shortest", 73, "bicubic", mean=(0.53, 0.5, 0.48))
PLAIN = DownstreamRecipe(1, 16, "val_loss", EvalSpec(32, resize=40, flip_p=0.5), frontal_only=False)
TEN_CROPS = replace(PLAIN, eval_spec=EvalSpec(32, flip_p=0.5, ten_crop=True, test_resize=36))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """60 pictures of several shapes, stored in their own ratio."""
    raw, generator = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    with open(raw / "images.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "patient_id", "label_mass", "split"])
        for number in range(60):
            sides = generator.integers(80, 160, 2)
            smooth = Image.fromarray(generator.integers(0, 256, (9, 9), dtype=np.uint8)).resize(tuple(map(int, sides)))
            smooth.save(raw / f"{number}.png")
            writer.writerow([f"{number}.png", f"p{number}", number % 2, ("train", "val", "test")[number // 2 % 3]])
    files = Files(str(tmp_path_factory.mktemp("storage")))
    build(SPEC, raw, files)
    build(replace(SPEC, shape="square"), raw, files)
    return files, data_folder(SPEC, raw), data_folder(replace(SPEC, shape="square"), raw)


def evaluate(built, name, recipe, own, protocol):
    """The finished cell of a small random network that is fed so, and the network."""
    files, folder, _ = built
    options = (("in_chans", 1),) if own.channels == 1 else ()
    backbone = BackboneSpec("resnet10t", SIZE, options, own)
    encoder = EncoderJob(name, name, f"encoders/{name}", RandomInit(backbone), 0)
    run_initial(encoder, files.uri, lambda progress: None)
    outcomes = []
    target = SeedTarget(name, name, 0, f"cells/{name}")
    job = DownstreamJob(protocol, 100, recipe, backbone, f"encoders/{name}", folder, (target,))
    run_job(job, files.uri, Compute(torch.device("cpu")), outcomes.append)
    assert [outcome.status for outcome in outcomes] == ["done"], outcomes
    return open_artefacts(files, f"cells/{name}"), load_backbone(files, f"encoders/{name}", backbone)


def predictions(cell) -> np.ndarray:
    """(N,) logits of the only finding."""
    table = pq.read_table(io.BytesIO(cell.read("predictions.parquet")))
    (name,) = (name for name in table.column_names if name.startswith("logit_"))
    return np.array(table[name].to_pylist())


def stored_pictures(built):
    """(image ids, pictures) of the test split as they are stored."""
    files, folder, _ = built
    manifest = read_manifest(files, folder)
    sees = BackboneInput(PLAIN.eval_spec, SIZE, OWN)
    ids = load_parts(files, folder, manifest, PLAIN, sees).test.image_ids.tolist()
    (shard,) = [shard for shard in manifest.shards if shard.split == "test"]
    table = pq.read_table(files.full(f"{folder}/{shard.path}"))
    assert table["image_id"].to_pylist() == ids
    return list(pictures_of(table, manifest))


def test_predictions_are_those_of_the_librarys_own_transform(built):
    cell, network = evaluate(built, "timm", PLAIN, OWN, linear_probe.PROTOCOL)
    transform = create_transform(**OF_TIMM, std=OWN.std)
    images = torch.stack([transform(Image.fromarray(one).convert("RGB")) for one in stored_pictures(built)])
    head = load(cell.read("head.safetensors"))
    with torch.no_grad():
        expected = network(images) @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(predictions(cell), expected[:, 0].numpy(), atol=1e-5)


def test_ten_crops_are_of_the_encoders_own_geometry(built):
    cell, network = evaluate(built, "crops", TEN_CROPS, OWN, linear_probe.PROTOCOL)
    # 64 x 36 / 32 = 72: the shorter side to 72, the central square of it, ten crops of 64.
    transform = create_transform(**{**OF_TIMM, "input_size": (3, 72, 72), "crop_pct": 1.0}, std=OWN.std)
    head, found = load(cell.read("head.safetensors")), []
    for picture in stored_pictures(built):
        image = transform(Image.fromarray(picture).convert("RGB"))
        crops = torch.stack(
            [
                one[:, y : y + SIZE, x : x + SIZE]
                for one in (image, image.flip(-1))
                for y, x in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))
            ]
        )
        with torch.no_grad():
            logits = network(crops) @ head["weight"].T + head["bias"]
        found.append(float(mean_of_crops(logits[None])[0, 0]))
    np.testing.assert_allclose(predictions(cell), found, atol=1e-5)


@pytest.mark.parametrize("protocol", [linear_probe.PROTOCOL, fine_tune.PROTOCOL], ids=["LP", "FT"])
def test_one_channel_and_another_range_go_through_all_protocols(built, protocol):
    cell, _ = evaluate(built, f"xrv-{protocol.name}", PLAIN, torchxrayvision(SIZE), protocol)
    assert np.isfinite(predictions(cell)).all()


def test_squashed_squares_are_refused_where_the_ratio_is_needed(built):
    files, _, squares = built
    manifest = read_manifest(files, squares)
    with pytest.raises(ValueError, match="holds squashed squares, and the encoder's geometry is 'shortest'"):
        load_parts(files, squares, manifest, PLAIN, BackboneInput(PLAIN.eval_spec, SIZE, OWN))
    squash = BackboneInput(PLAIN.eval_spec, SIZE, replace(OWN, geometry="squash"))
    parts = load_parts(files, squares, manifest, PLAIN, squash)
    assert parts.test.images(PLAIN, slice(0, 3), None, torch.device("cpu")).shape == (3, 3, SIZE, SIZE)


def test_a_row_without_preprocessing_sees_a_square_of_its_own_size(built):
    files, folder, _ = built
    sees = backbone_input(BackboneSpec("demo_cnn", 48), PLAIN)
    parts = load_parts(files, folder, read_manifest(files, folder), PLAIN, sees)
    images = parts.test.images(PLAIN, slice(0, 3), None, torch.device("cpu"))
    assert images.shape == (3, 3, 48, 48) and parts.test.pixels.shape[1:] == (60, 60)  # 40 x 48 / 32
    assert parts.test.take(np.array([1, 2])).images(PLAIN, slice(0, 2), None, torch.device("cpu")).equal(images[1:])
