"""Do stored pictures keep their ratio where a build says so, byte for byte as the decoder makes them?"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build import shards as shards_module
from datasets_io.build.__main__ import main
from datasets_io.build.shards import rows_of
from datasets_io.build.verify import verify
from datasets_io.corpus import read
from datasets_io.corpus.read import corpus_index, open_split, pictures_of, read_manifest
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec
from datasets_io.pixels.worker import DecodeWorker
from datasets_io.schema import stored_shape
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.studies import check_study, demo
from trainables.views.backbone_input import Fit
from trainables.views.geometry import fit
from trainables.views.preprocessing import Preprocessing

SPEC = BuildSpec("csv_images", image_size=32, shape="aspect")
SHAPES = ((40, 40), (64, 48), (41, 77), (20, 24), (30, 300), (90, 33))  # rows, columns


@pytest.mark.parametrize(
    ("file", "stored"),
    [
        ((40, 40), (32, 32)),
        ((64, 48), (43, 32)),  # 32 x 64 / 48 = 42.7
        ((48, 64), (32, 43)),
        ((20, 24), (20, 24)),  # smaller than asked: kept as it is
        ((24, 200), (24, 96)),  # longer than four times its width
        ((400, 90), (128, 32)),
        ((31, 31), (31, 31)),
    ],
)
def test_a_files_shape_decides_that_of_its_picture(file, stored):
    assert stored_shape(*file, 32, "aspect") == stored
    assert stored_shape(*file, 32, "square") == (32, 32)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A csv of radiograph-like pictures in several shapes, five of each."""
    raw = tmp_path_factory.mktemp("raw")
    generator = np.random.default_rng(0)
    with open(raw / "images.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "patient_id", "label_mass", "split"])
        for number in range(30):
            rows, columns = SHAPES[number % len(SHAPES)]
            grey = generator.integers(0, 256, (rows, columns), dtype=np.uint8)
            Image.fromarray(grey).save(raw / f"{number}.png")
            writer.writerow([f"{number}.png", f"p{number}", number % 2, "train"])
    return raw


@pytest.fixture(scope="module")
def built(archive, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "RECORDS_PER_SHARD", 16)
        patch.setattr(shards_module, "ROWS_PER_GROUP", 8)
        files = Files(str(tmp_path_factory.mktemp("storage")))
        manifest = build(SPEC, archive, files)
    return files, data_folder(SPEC, archive), manifest


def test_pictures_are_the_decoders_and_those_that_are_squeezed_are_counted(built, archive):
    files, folder, manifest = built
    assert manifest.shape == "aspect" and manifest.counts["squeezed"] == 5 and len(manifest.shards) == 2
    assert verify(files, folder, manifest) == []
    for shard in manifest.shards:
        table = pq.read_table(files.full(f"{folder}/{shard.path}"))
        for name, picture in zip(table["image_id"].to_pylist(), pictures_of(table, manifest), strict=True):
            grey = Image.open(archive / name)
            rows, columns = stored_shape(grey.height, grey.width, 32, "aspect")
            expected = np.asarray(grey.resize((columns, rows), Image.Resampling.BILINEAR))
            assert np.array_equal(picture, expected)
            assert np.array_equal(decode_file(archive / name, PixelSpec(32, shape="aspect")).pixels, expected)


def test_a_split_is_read_through_what_fits_it_to_a_network(built, archive, monkeypatch, tmp_path):
    files, folder, manifest = built
    with pytest.raises(ValueError, match="keeps the ratio of its pictures"):
        open_split(files, folder, manifest, "train")
    with pytest.raises(ValueError, match="pretrained on squares"):
        corpus_index(files, folder, manifest, "train", False)
    own = Preprocessing(28, "shortest", 30, "bicubic", rounding="down")
    images = open_split(files, folder, manifest, "train", Fit(own))
    for name, pixels, shape in zip(images.image_ids, images.pixels, images.shapes, strict=True):
        stored = decode_file(archive / name, PixelSpec(32, shape="aspect")).pixels
        assert np.array_equal(pixels, fit(own, stored))
        assert tuple(shape) == Image.open(archive / name).size[::-1]
    # A large one is kept on the node, by its geometry alone, and read by all processes.
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path))
    monkeypatch.setattr(read, "FITTED_LIMIT", 0)
    mapped = open_split(files, folder, manifest, "train", Fit(own)).pixels
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, images.pixels)
    open_split(files, folder, manifest, "train", Fit(replace(own, mean=(0.1,) * 3, channels=3)))
    assert len(list(tmp_path.glob("*.npy"))) == 1
    floats = open_split(files, folder, manifest, "train", Fit(replace(own, resampler="torch_floats"))).pixels
    # Pillow cuts off between its two passes what bytes cannot hold, of noise often; floats are cut off nowhere.
    assert floats.dtype == np.float32 and np.abs(np.clip(floats, 0, 1) - images.pixels / 255).mean() < 1 / 255
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_plain_dicom_file_is_shrunk_in_its_ratio(tmp_path):
    spec = SyntheticSpec(corpus_train=4, corpus_val=2, chexpert_train=4, chexpert_valid=2, nih_train_val=4, nih_test=2)
    write_archives(spec, tmp_path)
    path = next(iter(sorted(tmp_path.rglob("*.dcm"))))
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array
    dataset.PixelData, dataset.Rows = np.ascontiguousarray(values[: values.shape[0] // 2 + 9]).tobytes(), 41
    dataset.save_as(tmp_path / "cut.dcm")
    aspect = PixelSpec(32, shape="aspect")
    found = decode_file(tmp_path / "cut.dcm", aspect)
    assert found.pixels.shape == stored_shape(found.rows, found.columns, 32, "aspect") == (32, 50)
    kept = values[:41].astype(np.float32)
    exact = np.asarray(Image.fromarray(kept - kept.min()).resize((50, 32), Image.Resampling.BILINEAR))
    assert np.abs(found.pixels - exact * (255 / float(np.ptp(kept)))).max() <= 1
    with DecodeWorker(aspect) as worker:
        assert np.array_equal(worker.decode(tmp_path / "cut.dcm").pixels, found.pixels)


def test_synthetic_archives_and_the_command_build_it(archive, tmp_path, capsys):
    command = ["csv_images", "--raw", str(archive), "--storage", str(tmp_path), "--image-size", "32"]
    assert main([*command, "--shape", "aspect", "--verify"]) == 0
    assert "5 images are longer than 4 times their width" in capsys.readouterr().out
    square = data_folder(replace(SPEC, shape="square"), archive)
    assert square != data_folder(SPEC, archive) and main(command) == 0
    assert read_manifest(Files(str(tmp_path)), square).shape == "square"


def test_a_shard_of_large_pictures_has_fewer():
    assert rows_of(PixelSpec(256, shape="aspect")) == (1024, 256)
    assert rows_of(PixelSpec(2048, shape="square")) == (1024, 256)
    shard, group = rows_of(PixelSpec(2048, shape="aspect"))
    assert shard * 2048 * 2048 * 5 // 4 <= 256 << 20 and 0 < group <= shard < 60


def test_a_corpus_is_of_squares():
    study = demo()
    with pytest.raises(ValueError, match="pretrained on squares"):
        check_study(replace(study, corpus=replace(study.corpus, shape="aspect")))
