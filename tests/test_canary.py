"""What does not belong into a result is in none: 40 unique words, planted in raw archives, come out nowhere.

What may come out is what the schema names: the ids of the archive's csv files, view position, sex, age, labels, the
FINDINGS and IMPRESSION of a report, and the pictures. rejects.parquet alone also names refused files, as the csv does.
"""

import csv
import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image, PngImagePlugin

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.local_ray import TOKEN
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec

ROOT = Path(__file__).resolve().parents[1]
SIZES = SyntheticSpec(
    image_size=48, corpus_train=110, corpus_val=34, chexpert_train=60, chexpert_valid=40, nih_train_val=80, nih_test=40
)
STUDY = """
from dataclasses import replace
from sweep.studies import demo

def study():
    base = demo()
    short = {"clip": {"num_epochs": 1, "initial": "random"}, "random": {}}
    rows = tuple(
        replace(row, recipe=replace(row.recipe, **short[row.name])) for row in base.rows if row.name in short
    )
    datasets = tuple(
        replace(d, recipe=replace(d.recipe, num_epochs=1, linear_probe_epochs=1)) for d in base.datasets
    )
    return replace(base, name="canary", rows=rows, datasets=datasets, seeds=(0,))
"""
INGEST_ON_RAY = (
    "import sys; from datasets_io.build import corpus as build, shards; build.RAY_PAYS_BYTES = 0\n"
    "shards.RECORDS_PER_SHARD = 64\n"
    "from datasets_io.build.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
# Every token has one of these, plain or in UTF-16: one quick search tells files that have none.
MARKS = (b"kv7", "kv7".encode("utf-16-le"), b"27182", "27182".encode("utf-16-le"))
ELEMENTS = (
    "PatientName",
    "PatientAddress",
    "OtherPatientNames",
    "ReferringPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "StudyDescription",
    "SeriesDescription",
    "ImageComments",
    "RequestingPhysician",
    "PatientComments",
)


def word(number: int) -> str:
    """16 characters, as the shortest DICOM values hold, that nothing else has."""
    return f"ZQ{number:02d}X{zlib.crc32(b'canary %d' % number):08X}KV7"


class Tokens:
    """Hands out words and remembers what for."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def new(self, where: str, text: str | None = None) -> str:
        text = text or word(len(self.planted))
        assert text not in self.planted and any(mark in text.lower().encode() for mark in MARKS)
        self.planted[text] = where
        return text


def mark_header(path: Path, tokens: Tokens) -> None:
    """Names, dates, unique ids, private tags, a sequence, file meta and the preamble of one DICOM file."""
    dataset = pydicom.dcmread(path)
    for name in ELEMENTS:
        setattr(dataset, name, tokens.new(name))
    dataset.PatientID, dataset.AccessionNumber = tokens.new("PatientID"), tokens.new("AccessionNumber")
    dataset.AcquisitionDateTime = tokens.new("a date and time", "19370213041725.271828")
    dataset.StudyTime = tokens.new("a time", "094713.271829")
    dataset.StudyInstanceUID = tokens.new("a UID", "1.2.826.0.1.3680043.8.498.9371552048127182")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = tokens.new(
        "the image's UID", "1.2.826.0.1.3680043.8.498.5710928443627182"
    )
    block = dataset.private_block(0x0011, tokens.new("private creator"), create=True)
    block.add_new(0x01, "LO", tokens.new("private element"))
    request = pydicom.Dataset()
    request.RequestedProcedureDescription = tokens.new("an element in a sequence")
    dataset.RequestAttributesSequence = [request]
    dataset.file_meta.SourceApplicationEntityTitle = tokens.new("file meta")
    dataset.preamble = tokens.new("preamble").encode().ljust(128, b"\0")
    dataset.save_as(path)


def spoil(path: Path, tokens: Tokens, element: str) -> None:
    """A value that ends decoding, or that no view position has."""
    dataset = pydicom.dcmread(path)
    setattr(dataset, element, tokens.new(f"bad {element}"))
    dataset.save_as(path)


def mark_report(path: Path, tokens: Tokens) -> None:
    """Every part of a report but FINDINGS and IMPRESSION, which the schema names."""
    text = path.read_text()
    before = (
        f" {tokens.new('before all headings')}\n                FINAL REPORT\n EXAMINATION:  {tokens.new('exam')}\n"
        f" \n INDICATION:  {tokens.new('indication')}\n \n WET READ:  {tokens.new('wet read')}\n"
        f" \n COMPARISON:  {tokens.new('comparison')}\n \n"
    )
    after = f"\n \n NOTIFICATION:  Dr. {tokens.new('notification')}\n \n ADDENDUM:  {tokens.new('addendum')}\n"
    start = text.index(" FINDINGS:")
    path.write_text(before + text[start:].rstrip() + after)


def add_column(path: Path, tokens: Tokens) -> None:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as stream:
        header, *rows = csv.reader(stream)
    name, cell = tokens.new(f"a column's name in {path.name}"), tokens.new(f"a cell in {path.name}")
    out = io.StringIO()
    csv.writer(out).writerows([[*header, name], *([*row, cell] for row in rows)])
    with opener(path, "wt", newline="") as stream:
        stream.write(out.getvalue())


def plant(raw: dict[str, Path]) -> Tokens:
    tokens = Tokens()
    images = sorted(raw["mimic_cxr"].rglob("*.dcm"))
    mark_header(images[5], tokens)
    spoil(images[20], tokens, "PhotometricInterpretation")
    spoil(images[30], tokens, "ViewPosition")
    report = next(
        path
        for path in sorted(raw["mimic_cxr"].rglob("*.txt"))
        if " IMPRESSION:" in path.read_text() and " FINDINGS:" in path.read_text()
    )
    mark_report(report, tokens)
    for path in (
        raw["mimic_cxr"] / "mimic-cxr-2.0.0-metadata.csv.gz",
        raw["nih_cxr14"] / "Data_Entry_2017.csv",
        raw["chexpert"] / "train.csv",
    ):
        add_column(path, tokens)
    shutil.copy(images[0], images[0].with_name(f"{tokens.new('a file beside the listed ones')}.dcm"))
    png = sorted((raw["nih_cxr14"] / "images").iterdir())[3]
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", tokens.new("text in a PNG"))
    with Image.open(png) as image:
        image.load()
        image.save(png, pnginfo=text)
    jpg = sorted((raw["chexpert"] / "train").rglob("*.jpg"))[3]
    with Image.open(jpg) as image:
        image.load()
        exif = image.getexif()
        exif[270] = tokens.new("EXIF of a JPEG")
        image.save(jpg, exif=exif, quality=95)
    return tokens


def texts_of(path: Path) -> Iterator[bytes]:
    """The file's bytes, and what it holds compressed."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PAR1":
        table = pq.read_table(pa.BufferReader(data))
        yield repr([table[name].to_pylist() for name in table.column_names if name != "pixels"]).encode()


def found_in(folders: list[Path], tokens: Tokens) -> dict[str, set[str]]:
    """Token -> files that have it in content or name, whatever the case, also in UTF-16."""
    forms = {token: (token.lower().encode(), token.lower().encode("utf-16-le")) for token in tokens.planted}
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        for text in (str(path).encode(), *texts_of(path)):
            lowered = text.lower()
            if any(mark in lowered for mark in MARKS):
                for token, (plain, wide) in forms.items():
                    if plain in lowered or wide in lowered:
                        found.setdefault(token, set()).add(str(path))
    return found


def run(command: list[str], places: dict[str, Path], log: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment |= {name: str(path) for name, path in places.items()}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)
    log.write_text(done.stdout + done.stderr)
    assert done.returncode == 0, log.read_text()[-3000:]


@pytest.mark.timeout(900)
def test_no_planted_word_comes_out_of_ingest_sweep_or_report(tmp_path):
    raw = write_archives(SIZES, tmp_path / "raw")
    tokens = plant(raw)
    assert len(tokens.planted) == 40
    assert set(found_in([tmp_path / "raw"], tokens)) == set(tokens.planted), "the search must see what was planted"
    storage, logs = tmp_path / "storage", tmp_path / "logs"
    (tmp_path / "study.py").write_text(STUDY)
    for folder in (logs, tmp_path / "cache", tmp_path / "home"):
        folder.mkdir()
    ray_folder = Path(tempfile.mkdtemp(prefix="canary", dir="/tmp"))  # paths of Ray's sockets must be short
    places = {
        "RAY_TMPDIR": ray_folder,
        "TMPDIR": ray_folder,
        "HOME": tmp_path / "home",
        "XDG_CACHE_HOME": tmp_path / "cache",
    }
    try:
        arguments = ["mimic_cxr", "--raw", str(raw["mimic_cxr"]), "--storage", str(storage), "--image-size", "48"]
        run([sys.executable, "-c", INGEST_ON_RAY, *arguments], places, logs / "ingest")
        assert "1 x header" in (logs / "ingest").read_text() or "1 x decode" in (logs / "ingest").read_text()
        archives = [part for source, folder in raw.items() for part in ("--raw", f"{source}={folder}")]
        chosen = ["--only", "protocol=LP", "--only", "label_percent=100"]
        study = ["--study", str(tmp_path / "study.py"), "--storage", str(storage)]
        run([sys.executable, "-m", "sweep.run", *study, *archives, *chosen], places, logs / "sweep")
        searched = [storage, logs, ray_folder, tmp_path / "cache", tmp_path / "home"]
        for folder, pattern in ((storage, "results.csv"), (storage, "0*.parquet"), (ray_folder, "*.log")):
            assert list(folder.rglob(pattern)), f"there is no {pattern} to be searched"
        assert found_in(searched, tokens) == {}
        token = tmp_path / "home" / TOKEN
        assert stat.S_IMODE(token.stat().st_mode) == 0o600, "Ray's own would let others of this machine run anything"
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def test_a_set_of_ones_own_keeps_names_of_files_and_patients_out_with_a_salt(tmp_path):
    """Only rejects.parquet names a file: one that was refused, so that it can be mended."""
    tokens, raw = Tokens(), tmp_path / "raw"
    raw.mkdir()
    lines, names = ["path,patient_id,study_id,mass"], []
    for number in range(12):
        names.append(f"{tokens.new(f'file name {number}')}.png")
        picture = np.random.default_rng(number).integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(picture).save(raw / names[-1])
        lines.append(f"{names[-1]},{tokens.new(f'patient {number}')},{tokens.new(f'study {number}')},1")
    (raw / names[4]).write_bytes(b"\x89PNG broken")
    (raw / "images.csv").write_text("\n".join(lines))
    (tmp_path / "salt").write_bytes(os.urandom(32))
    spec = BuildSpec("csv_images", 16, options=CsvOptions(salt_file=str(tmp_path / "salt")))
    files = Files(str(tmp_path / "storage"))
    manifest = build(spec, raw, files, max_rejects=0.2)
    assert (manifest.counts["images"], manifest.counts["rejects"]) == (11, 1)
    rejects = tmp_path / "storage" / data_folder(spec, raw) / "rejects.parquet"
    assert found_in([tmp_path / "storage"], tokens) == {names[4].removesuffix(".png"): {str(rejects)}}
