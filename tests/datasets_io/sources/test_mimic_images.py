"""Which images of MIMIC-CXR are read where both kinds, few or misnamed ones are there, and what is advised."""

import shutil

import pytest

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _key
from datasets_io.schema import ArchiveError, NoImages, Record
from datasets_io.sources import mimic_cxr
from datasets_io.sources.mimic_cxr import MimicOptions
from datasets_io.sources.parts import mimic_images
from datasets_io.storage.files import Files
from tests.datasets_io.small_mimic import write_mimic

SPEC = BuildSpec("mimic_cxr", 16)
FIRST = "files/p10/p10000032/s50414267"


@pytest.fixture
def raw(tmp_path):
    return write_mimic(tmp_path / "raw", 8)


def suffixes(raw, images: str = "auto") -> set[str]:
    records: list[Record] = list(mimic_cxr.read_records(raw, MimicOptions(images)))
    return {record.path.rpartition(".")[2] for record in records}


def test_the_kind_with_more_files_is_read_and_not_that_of_the_first_image(raw, tmp_path):
    before = data_key(SPEC, raw)
    (raw / FIRST / "d0.dcm").write_bytes(b"stray")
    assert suffixes(raw) == {"jpg"} and data_key(SPEC, raw) == before
    assert build(SPEC, raw, Files(str(tmp_path / "storage"))).counts["images"] == 8
    for path in list(raw.rglob("*.jpg")):
        shutil.copy(path, path.with_suffix(".dcm"))
    assert suffixes(raw) == {"dcm"}, "as before where both are whole"
    inventory = take_inventory(SPEC, raw)
    assert [path for kind in inventory.kinds for path in kind.absent] == []
    assert data_key(SPEC, raw) == _key(SPEC, inventory.index, None)


def test_few_images_are_found_beyond_those_that_are_looked_at(raw, monkeypatch):
    monkeypatch.setattr(mimic_images, "LOOKED_AT", 2)
    for number, path in enumerate(sorted(raw.rglob("*.jpg"))):
        if number != 3:
            path.unlink()
    assert suffixes(raw) == {"jpg"}


def test_a_kind_of_which_nothing_is_there_is_not_got_by_another_name(raw):
    advice = r"and 8 are jpg: build with --option images=jpg, or copy the dcm files there"
    with pytest.raises(NoImages, match=rf"is dcm \(e.g. {FIRST}/d0.dcm\), {advice}"):
        suffixes(raw, "dcm")
    with pytest.raises(ArchiveError, match=advice):
        build(BuildSpec("mimic_cxr", 16, options=MimicOptions(images="dcm")), raw, Files(str(raw.parent / "storage")))
    assert suffixes(raw, "jpg") == {"jpg"}


@pytest.mark.parametrize(
    ("ending", "advice"),
    [
        (".JPG", rf"{FIRST}/d0.JPG is there: rename such files as {FIRST}/d0.jpg"),
        (".jpeg", rf"{FIRST}/d0.jpeg is there: rename such files as {FIRST}/d0.jpg"),
        (".DCM", rf"{FIRST}/d0.DCM is there: rename such files as {FIRST}/d0.dcm"),
        (".png", rf"{FIRST}/d0.png is there, and .png is not read: copy the .dcm or .jpg files of the archive"),
    ],
)
def test_images_with_another_ending_are_named_and_not_said_to_be_missing(ending, advice, raw):
    for path in list(raw.rglob("*.jpg")):
        path.rename(path.with_suffix(ending))
    with pytest.raises(NoImages, match=rf"none of the 8 images .*or .jpg\): {advice}$"):
        suffixes(raw)


def test_images_one_folder_higher_are_named_and_absent_ones_are_to_be_copied(raw):
    for path in list(raw.rglob("*.jpg")):
        path.rename(path.parent.parent / path.name)
    place = "files/p10/p10000032/d0.jpg"
    with pytest.raises(NoImages, match=rf"{place} is there: move files to the folders that .*, as {FIRST}/d0.jpg$"):
        suffixes(raw)
    for path in list(raw.rglob("*.jpg")):
        path.unlink()
    with pytest.raises(NoImages, match=r"or .jpg\): copy files/ there$"):
        suffixes(raw)
