"""A shard is opened only if it can do no harm and is whole."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import open_split, read_table
from datasets_io.corpus.shard_file import check_schema, open_shard
from datasets_io.schema import shard_schema
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", image_size=16)
RAN: list[bytes] = []


class Payload(pa.ExtensionType):
    """As a hostile file's type: Arrow calls it while it opens the file."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "tests.payload")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, payload: bytes) -> "Payload":
        RAN.append(payload)
        return cls()


@pytest.fixture
def hostile() -> bytes:
    pa.register_extension_type(Payload())
    sink = pa.BufferOutputStream()
    array = pa.ExtensionArray.from_storage(Payload(), pa.array([b"x"], pa.binary()))
    pq.write_table(pa.table({"pixels": array}), sink)
    RAN.clear()
    yield sink.getvalue().to_pybytes()
    pa.unregister_extension_type("tests.payload")


def test_an_extension_type_is_refused_before_arrow_builds_it(hostile):
    with pytest.raises(ValueError, match="run code"), open_shard(pa.BufferReader(hostile), (), "train/00000.parquet"):
        pass
    assert RAN == []
    pq.ParquetFile(pa.BufferReader(hostile))
    assert RAN == [b"payload"], "the guard is needed: Arrow alone builds the type"


def test_another_schema_is_refused():
    schema = shard_schema(("mass",))
    check_schema(schema, ("mass",), "x")
    for wrong in (schema.append(pa.field("more", pa.binary())), schema.remove(0), shard_schema(("edema",))):
        with pytest.raises(ValueError, match="not a shard of this project"):
            check_schema(wrong, ("mass",), "x")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100, b"PAR1" + b"\xff\xff\xff\x7fPAR1", b"\0" * 4 + b"PAR1"])
def test_what_is_no_whole_file_is_named_damaged(data):
    with pytest.raises(CorruptArtefact, match="no whole Parquet file"), open_shard(pa.BufferReader(data), (), "x"):
        pass


def test_no_flipped_bit_of_a_shard_reaches_training(make_csv_archive, tmp_path):
    raw = make_csv_archive(40)
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, raw, files)
    folder = data_folder(SPEC, raw)
    path = f"{folder}/train/00000.parquet"
    whole = files.read(path)
    columns = ["image_id", "label_big_heart", "report_impression", "pixels"]
    expected = read_table(files, folder, manifest, "train", columns)
    generator = random.Random(0)
    streamed = 0
    for _ in range(200):
        data = bytearray(whole)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        files.write(path, bytes(data))
        with pytest.raises((CorruptArtefact, ValueError)):
            open_split(files, folder, manifest, "train")
        try:  # what the stream reads: no hash of the whole file, but checksums of pages
            streamed += read_table(files, folder, manifest, "train", columns).equals(expected)
        except (CorruptArtefact, ValueError):
            streamed += 1
    assert streamed == 200, "a flipped bit must be an error, or lie where it changes no value"


def test_text_that_is_no_utf_8_is_damage(make_csv_archive, tmp_path):
    """Arrow reads any bytes as text, and a conversion of them raises errors that no reader knows."""
    raw, files = make_csv_archive(60), Files(str(tmp_path / "storage"))
    manifest, folder = build(SPEC, raw, files), data_folder(SPEC, raw)
    path = tmp_path / "storage" / folder / "train" / "00000.parquet"
    table = pq.read_table(path)
    place, odd = table.schema.get_field_index("patient_id"), pa.array([b"\xff\xfe"] * len(table), pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(odd), odd.buffers())
    pq.write_table(
        table.set_column(place, table.schema.field(place), text), path, store_schema=False, write_page_checksum=True
    )
    with pytest.raises(
        CorruptArtefact, match=r"a shard of data/csv_images-.* is damaged .*UTF8.*build the corpus again"
    ):
        read_table(files, folder, manifest, "train", ["patient_id"])
    assert len(read_table(files, folder, manifest, "train", ["image_id"])) == len(table)
