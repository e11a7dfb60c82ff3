"""Is what docs/data.md says true: its commands, its trees' csv, and its worked example of a new source?"""

import csv
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.__main__ import parser
from datasets_io.schema import ArchiveError
from datasets_io.sources import registry
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.sources.registry import SOURCES, Source, get_source
from datasets_io.storage.files import Files

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_every_source_and_every_option_is_described():
    for name, source in SOURCES.items():
        assert f"**{name}**" in TEXT
        for option in source.options.__dataclass_fields__:
            if option not in ("images",):
                assert option in TEXT, f"{name} has an option {option}"


def test_the_commands_are_accepted():
    lines = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
    assert len(lines) >= 4
    for line in lines:
        python, minus_m, module, *arguments = shlex.split(line)
        assert (python, minus_m, module) == ("python", "-m", "datasets_io.build")
        flags = parser().parse_args(arguments)
        kind = get_source(flags.source).options
        for option in flags.option:
            name, _, value = option.partition("=")
            kind(**{name: value})


def test_the_csv_of_a_set_of_ones_own_is_read(tmp_path):
    (table,) = [block for _, block in BLOCKS if block.startswith("path,patient_id")]
    (tmp_path / "images.csv").write_text(table)
    first, second = get_source("csv_images").read_records(tmp_path, CsvOptions())
    assert (first.labels, first.split, first.view_position) == ((1, -1), "train", "PA")
    assert first.report_impression == "Effusion, perhaps a nodule." and first.report_findings == "Small effusion."
    assert (second.labels, second.report_impression) == ((0, None), None)


@pytest.fixture
def vindr(monkeypatch) -> types.ModuleType:
    """The documented file, and the entry, as if they had been added."""
    _, code, entry = [block for kind, block in BLOCKS if kind == "python"]  # the first is a study
    module = types.ModuleType("datasets_io.sources.vindr_cxr")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "docs/data.md", "exec"), module.__dict__)
    names = {"Source": Source, "vindr_cxr": module}
    exec("entries = {" + entry.partition("\n")[2] + "}", names)
    for name, source in names["entries"].items():
        monkeypatch.setitem(registry.SOURCES, name, source)
    return module


def write_vindr(raw: Path, module: types.ModuleType, write_dicom, images: int = 30) -> None:
    (raw / "annotations").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for folder, readers in (("train", ("R8", "R9", "R10")), ("test", ("consensus",))):
        with open(raw / "annotations" / f"image_labels_{folder}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image_id", *(["rad_id"] if folder == "train" else []), *module.COLUMNS, "Other disease"])
            for number in range(images):
                image = f"{folder}{number:04x}"
                write_dicom(raw / folder / f"{image}.dicom", generator.integers(0, 4096, (24, 20), dtype=np.uint16))
                for place, reader in enumerate(readers):
                    marks = [int(place < number % 4) if column == "ILD" else 0 for column in module.COLUMNS]
                    writer.writerow([image, *([reader] if folder == "train" else []), *marks, 0])


def test_the_worked_example_is_a_source(vindr, tmp_path, write_dicom):
    raw = tmp_path / "vindr-cxr"
    with pytest.raises(ArchiveError, match="not a folder"):
        list(vindr.read_records(raw, vindr.VindrOptions()))
    write_vindr(raw, vindr, write_dicom)
    files, spec = Files(str(tmp_path / "storage")), BuildSpec("vindr_cxr", 16)
    manifest = build(spec, raw, files)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["splits"]["test"]["images"]) == (60, 60, 30)
    assert counts["splits"]["train"]["images"] + counts["splits"]["val"]["images"] == 30
    # Of 30 training images, number % 4 readers saw it: 8 none, 8 one, 14 two or three; the consensus saw 22 of 30.
    assert counts["findings"]["ild"] == {"positive": 14 + 22, "negative": 8 + 8, "uncertain": 8, "blank": 0}
    assert (tmp_path / "storage" / data_folder(spec, raw) / "manifest.json").is_file()
    table = raw / "annotations" / "image_labels_train.csv"
    table.write_text(table.read_text().replace("train0003,R8", "../../etc,R8"))
    with pytest.raises(ArchiveError, match="line 11: labels must be 0 or 1"):
        list(vindr.read_records(raw, vindr.VindrOptions()))
