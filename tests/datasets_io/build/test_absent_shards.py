"""A shard of a complete corpus that is not there, or not in full, is named by each build, also without --verify."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec, data_folder
from datasets_io.build import shards as shards_module
from datasets_io.build.__main__ import main
from datasets_io.storage.files import Files
from sweep.store.damage import data_damage
from sweep.store.shard_checks import damaged_shards, whole_manifest

pytestmark = pytest.mark.usefixtures("kept_decoders")


@pytest.fixture
def built(make_csv_archive, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[list[str], Files, str]]:
    """A function that builds a corpus of several shards: its command, the storage and the folder."""

    def build(shape: str) -> tuple[list[str], Files, str]:
        monkeypatch.setattr(shards_module, "RECORDS_PER_SHARD", 8)
        raw = make_csv_archive(40)
        command = ["csv_images", "--raw", str(raw), "--storage", str(tmp_path / "s"), "--image-size", "16"]
        command += ["--shape", shape]
        assert main(command) == 0 and main(command) == 0
        capsys.readouterr()
        return command, Files(str(tmp_path / "s")), data_folder(BuildSpec("csv_images", 16, shape=shape), raw)

    return build


@pytest.mark.parametrize("shape", ["square", "aspect"])
@pytest.mark.parametrize("damage", ["missing", "empty", "both"])
def test_it_is_named_in_the_sentence_of_sweep_run(damage, shape, built, capsys):
    command, files, folder = built(shape)
    if damage != "missing":
        files.write(f"{folder}/train/00000.parquet", b"")
    if damage != "empty":
        files.remove(f"{folder}/train/00001.parquet")
    faults = damaged_shards(files, folder, whole_manifest(files, folder).shards, False, set())
    wanted = data_damage("csv_images", folder, faults).sentence.replace("sweep.run again", "the same command again")
    assert len(faults) == (2 if damage == "both" else 1)
    assert main(command) == 3
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == wanted and "40 records = 40 images" in said.out
    assert main([*command, "--verify"]) == 3
    files.move(folder, "elsewhere")
    assert main(command) == 0, "what the sentence says to do"


def test_a_square_shard_that_was_cut_is_noticed_by_its_size(built, capsys):
    command, files, folder = built("square")
    path = f"{folder}/train/00000.parquet"
    data = files.read(path)
    files.write(path, data[: 8 * 16 * 16 - 1])
    assert main(command) == 3
    assert f"{path} is damaged (it is no whole Parquet file of this project): remove {folder} and" in (
        capsys.readouterr().err
    )


def test_shards_that_lie_on_another_disk_behind_a_link_are_there(built, tmp_path):
    command, files, folder = built("square")
    split = Path(files.full(f"{folder}/train"))
    split.rename(tmp_path / "disk")
    split.symlink_to(tmp_path / "disk")
    assert main(command) == 0
    next((tmp_path / "disk").iterdir()).unlink()
    assert main(command) == 3
