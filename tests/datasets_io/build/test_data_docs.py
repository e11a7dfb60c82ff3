"""Is what docs/data.md says true: its commands, its trees' csv, and its worked example of a new source?"""

import csv
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.__main__ import app
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
        flags = typer.main.get_command(app).make_context(module, arguments).params  # parses, and runs nothing
        kind = get_source(flags["source"]).options
        for option in flags["option"] or ():
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
def brax(monkeypatch) -> types.ModuleType:
    """The documented file, and the entry, as if they had been added."""
    _, code, entry = [block for kind, block in BLOCKS if kind == "python"]  # the first is a study
    module = types.ModuleType("datasets_io.sources.brax")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "docs/data.md", "exec"), module.__dict__)
    names = {"Source": Source, "brax": module}
    exec("entries = {" + entry.partition("\n")[2] + "}", names)
    for name, source in names["entries"].items():
        monkeypatch.setitem(registry.SOURCES, name, source)
    return module


def write_brax(raw: Path, module: types.ModuleType, images: int = 60) -> None:
    """Two images of each patient and study; of each four images the codes of an edema are 1, 0, -1 and blank."""
    generator = np.random.default_rng(0)
    (raw / "images").mkdir(parents=True)
    others = ["PngPath", "PatientID", "AccessionNumber", "PatientSex", "PatientAge", "ViewPosition"]
    with open(raw / "master_spreadsheet_update.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*others, *module.COLUMNS])
        for number in range(images):
            path = f"images/id_{number // 2}-{number}.png"
            Image.fromarray(generator.integers(0, 256, (24, 20), dtype=np.uint8)).save(raw / path)
            age = "85 or more" if number % 2 else "45"
            codes = [("1.0", "0.0", "-1.0", "")[number % 4] if column == "Edema" else "" for column in module.COLUMNS]
            writer.writerow([path + "_x" * (number == 0), f"id_{number // 2}", 7, "F", age, "PA", *codes])


def test_the_worked_example_is_a_source(brax, tmp_path):
    raw = tmp_path / "brax"
    with pytest.raises(ArchiveError, match="not a folder"):
        list(brax.read_records(raw, brax.BraxOptions()))
    write_brax(raw, brax)
    files, spec = Files(str(tmp_path / "storage")), BuildSpec("brax", 16)
    manifest = build(spec, raw, files)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (60, 60, 0)
    assert sum(split["patients"] for split in counts["splits"].values()) == 30
    assert sum(split["studies"] for split in counts["splits"].values()) == 30, "a number repeats over patients"
    assert all(counts["splits"][split]["images"] for split in ("train", "val", "test"))
    assert counts["findings"]["edema"] == {"positive": 15, "negative": 15, "uncertain": 15, "blank": 15}
    assert (tmp_path / "storage" / data_folder(spec, raw) / "manifest.json").is_file()
    first, second, *_ = brax.read_records(raw, brax.BraxOptions())
    assert (first.path, first.sex, first.age, second.age) == ("images/id_0-0.png", "F", 45, 85)
    table = raw / "master_spreadsheet_update.csv"
    table.write_text(table.read_text().replace("images/id_4-9.png", "images/id_4-9.dcm"))
    with pytest.raises(ArchiveError, match=r"line 11: PngPath is 'images/id_4-9\.dcm'"):
        list(brax.read_records(raw, brax.BraxOptions()))
