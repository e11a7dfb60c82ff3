"""Does --dry-run plan a study whose archives are not there, and is what it prints what the README shows?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io.build.spec import identity_of
from datasets_io.corpus.manifest import MANIFEST, Manifest, corpus_fingerprint
from datasets_io.storage.artefacts import record_failure
from sweep.cli.display import Display
from sweep.cli.lines import bytes_text
from sweep.run.__main__ import app
from sweep.run.machines_at_hand import at_hand, card_of, measured_rates
from sweep.run.outlook_tables import hours_text, lines, tables
from sweep.store.records import CellDetail, EncoderDetail
from sweep.store.snapshot import fingerprints_of
from sweep.store.status_names import Status
from sweep.store.store import Store
from sweep.studies import demo, load_study, paper
from sweep.studies.costs import Cost
from sweep.studies.outlook import Machines, outlook
from sweep.studies.plan import make_plan

ROOT = Path(__file__).resolve().parents[3]
OWN = (
    "from dataclasses import replace\nfrom sweep.studies import demo\n\n\ndef study():\n"
    "    return replace(demo(), name='own', synthetic=None)\n"
)
PUBLISHED = {
    "mimic_cxr": {"train": 368_960, "val": 2_991, "test": 5_159},
    "chexpert": {"train": 223_414, "val": 234, "test": 668},
    "nih_cxr14": {"train": 75_708, "val": 10_816, "test": 25_596},
}


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def dry_run(study, storage, *more):
    arguments = ["--study", str(study), "--storage", str(storage), "--dry-run", *more]
    done = CliRunner(env={"RAY_ADDRESS": None, "COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def planned(study, storage, *more) -> dict:
    done = dry_run(study, storage, "--json", "--machines", "8xA100", *more)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def with_manifests(storage: Path) -> None:
    """A storage with a build of each archive, of the published numbers of images and without shards."""
    store = Store(str(storage))
    for spec in demo().builds():
        splits = {
            name: {"images": n, "studies": n, "patients": n, "with_impression": n, "without_impression": 0}
            for name, n in PUBLISHED[spec.source].items()
        }
        images = sum(PUBLISHED[spec.source].values())
        counts = {"records": images, "images": images, "rejects": 0, "splits": splits}
        key = "a" * 12
        manifest = Manifest(
            spec.source, 1, key, identity_of(spec), (), True, 32, {}, counts, (), {}, (), corpus_fingerprint(key, ())
        )
        store.files.write(f"data/{spec.source}-{key}/{MANIFEST}", manifest.to_json().encode())


def test_the_plan_without_archives_is_that_with_archives_of_their_counts(study, tmp_path):
    with_manifests(tmp_path / "built")
    without, built = planned(study, tmp_path / "none"), planned(study, tmp_path / "built")
    assert not (tmp_path / "none").exists()
    assert {a["origin"] for a in without["archives"]} == {"nominal"}
    assert {a["origin"] for a in built["archives"]} == {"built"}
    for name in ("total", "machines", "storage", "memory", "encoders", "cells", "missing", "unfit"):
        assert without[name] == built[name], name
    ingest = [stage for stage in without["stages"] if stage["name"].startswith("ingest ")]
    assert without["stages"] == ingest + built["stages"] and len(ingest) == 3
    assert without["total"]["training_passes"] > 1e7 and without["cells"] == {"all": 650, "left": 650}


def test_it_says_what_stands_in_and_what_is_needed_to_run(study, tmp_path):
    done = dry_run(study, tmp_path / "none")
    assert done.exit_code == 0
    text = done.stdout
    for archive in PUBLISHED:
        assert f"{archive}: neither built nor named: what was published of it stands in (nominal)" in text
        assert f"--raw {archive}=DIR" in text
    assert "368,960" in text and "8xH100" in text and "V100" not in text and "longest chain: imagenet-p0 -> " in text


def test_a_part_is_named_as_one(study, tmp_path):
    text = dry_run(study, tmp_path / "none", "--only", "method=clip,seed=0").stdout
    assert "Part of study own: 10 of 650 cells were asked for, without 12 of 13 rows, 4 of 5 seeds." in text
    assert "cells: 10 in all, 0 done, 10 left" in text and "  images of imagenet, clip: as the data set says" in text


def test_an_archive_of_ones_own_that_is_not_named_is_said_to_be_missing(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import replace\nfrom datasets_io.build.spec import BuildSpec\n"
        "from sweep.studies import Dataset, demo\n\n\ndef study():\n    base = demo()\n"
        "    mine = Dataset('Mine', BuildSpec('csv_images', 32), base.datasets[0].recipe)\n"
        "    return replace(base, name='mine', synthetic=None, datasets=(base.datasets[1], mine))\n"
    )
    done = dry_run(path, tmp_path / "none")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("not counted: csv_images: nothing was published of its size") == 1
    (row,) = (line for line in done.stdout.splitlines() if line.strip().startswith("LP csv_images"))
    assert row.split()[-3:] == ["unknown"] * 3
    (row,) = (line for line in done.stdout.splitlines() if line.strip().startswith("LP nih_cxr14"))
    assert "unknown" not in row


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--dry-run", "--machines", "8xB200"], "no rate is known of 'B200'; allowed: A100, H100, CPU"),
        (["--machines", "8xA100"], "--machines is of a plan: give --dry-run too"),
        (["--json"], "--json is of a plan: give --dry-run too"),
        (["--dry-run", "--redo", "abc"], "--redo computes one cell again, of which there is no plan"),
        (["--chaos", "--dry-run"], "in folders of its own: leave out --dry-run"),
        (["--chaos", "--only", "seed=0", "--retry-failed"], "leave out --only, --retry-failed"),
    ],
)
def test_what_a_plan_is_told_in_vain_is_refused(study, tmp_path, more, said):
    done = CliRunner().invoke(app, ["--study", str(study), "--storage", str(tmp_path / "none"), *more])
    assert done.exit_code == 2 and said in done.stderr and not (tmp_path / "none").exists()


def test_a_plan_that_tries_failures_again_counts_them(study, tmp_path):
    storage = tmp_path / "results"
    store = Store(str(storage))
    own = load_study(str(study))
    run_of = make_plan(own, fingerprints_of(own, {}), {}).encoders[0]
    record_failure(store.files, store.folder(run_of), "a full disk", "")
    plans = [dry_run(study, storage, *more).stdout for more in ((), ("--retry-failed",))]
    assert "failed before: 1 encoder runs" in plans[0] and "failed before" not in plans[1]


def test_rows_that_are_left_out_hold_nothing_up(tmp_path, shared_data):
    """A batch of 1,024 is larger than this corpus: only where its row is asked for does that matter."""
    real = shared_data / "real_cxr"
    raws = [f"mimic_cxr={real}/MIMIC-CXR", f"chexpert={real}/CheXpert-v1.0-small", f"nih_cxr14={real}/NIH-ChestX-ray14"]
    path = tmp_path / "large.py"
    path.write_text(
        "from dataclasses import replace\nfrom sweep.studies import demo\n\n\ndef study():\n    base = demo()\n"
        "    (row,) = (row for row in base.rows if row.name == 'simclr')\n"
        "    large = replace(row, name='large', display='Large', protocols=('LP', 'FT'), "
        "recipe=replace(row.recipe, global_batch_size=1024))\n"
        "    small = replace(row, recipe=replace(row.recipe, global_batch_size=8))\n"
        "    first = [row for row in base.rows if row.name in ('random', 'imagenet')]\n"
        "    return replace(base, rows=(*first, small, large))\n"
    )
    given = [word for raw in raws for word in ("--raw", raw)]
    refused = dry_run(path, tmp_path / "none", *given)
    assert refused.exit_code == 2 and "large: global_batch_size 1024 is larger than the corpus" in refused.output
    for only in ("method=simclr", "protocol=LPFT"):
        done = dry_run(path, tmp_path / "none", *given, "--only", only)
        assert done.exit_code == 0 and "larger than the corpus" not in done.output, done.output


def plain(made) -> str:
    """What a pipe is told of an outlook."""
    display = Display()
    with display.console.capture() as captured:
        for table in tables(made):
            display.say_table(table)
        for line in lines(made):
            display.say(f"  {line}")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def test_the_readmes_plan_is_what_is_printed():
    shown = (ROOT / "README.md").read_text().split("--dry-run --machines 8xA100 --machines 2x8xH100")[1]
    shown = shown.split("```text\n")[1].split("\n```")[0]
    assert shown == plain(outlook(paper(), machines=["8xA100", "2x8xH100"])).strip("\n")


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0, "0"), (1e-5, "under 1 s"), (1 / 300, "12 s"), (0.25, "15 min"), (3.04, "3.0 h"), (150, "150 h")],
)
def test_hours_are_said_in_the_unit_that_fits(hours, said):
    assert hours_text(hours) == said


def test_years_and_bytes():
    assert hours_text(308_183) == "35 years" and hours_text(17_000) == "17,000 h"
    assert [bytes_text(n) for n in (0, 999, 18_921_871_360, 999_700_000)] == ["0 B", "999 B", "18.9 GB", "1000 MB"]


def test_results_of_this_storage_tell_a_rate():
    def encoder(key, **more):
        return EncoderDetail(key, key, "clip", f"encoders/{key}", Status.DONE, **more)

    card = {"device": "cuda: NVIDIA A100-SXM4-80GB", "seconds": 10.0, "workers": 4}
    cell = CellDetail(None, None, None, 9.0, "cpu", (), (), core_seconds=2.0)
    costs = {key: Cost("pretraining", flops=8e14) for key in "abc"} | {
        f"c{i}": Cost("one seed", flops=4e10) for i in "123"
    }
    found = measured_rates(costs, [encoder(key, **card) for key in "abc"], {f"c{i}": cell for i in "123"})
    assert found == {"A100": (2e13, 3), "CPU": (2e10, 3)}, "a core by its own time, a card by all that worked"
    assert measured_rates(costs, [encoder("a", **card), encoder("none", **card)], {"c1": cell}) == {}, "too few"


def test_the_machine_at_hand_is_priced_where_its_rate_is_known(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    here, why_not = at_hand({})
    assert here is not None and here.card == "CPU" and here.count >= 1 and why_not == ""
    here, _ = at_hand({"CPU": (3e10, 40)})
    assert here is not None and here.rate == 3e10 and "measured: 40 results" in here.note
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert at_hand({})[0] is None and "name it with --machines" in at_hand({})[1]


def test_a_card_is_known_by_its_name(monkeypatch, tmp_path):
    assert [
        card_of(name) for name in ("cuda: NVIDIA A100-SXM4-80GB", "NVIDIA H100 PCIe", "NVIDIA A10G", "Tesla T4")
    ] == ["A100", "H100", "A10G", "Tesla-T4"]
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'Tesla T4\\nTesla T4\\n'\n")
    program.chmod(0o755)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    here, why_not = at_hand({})
    assert here is None and "2 x Tesla-T4, whose rate is not known" in why_not
    here, _ = at_hand({"Tesla-T4": (9e12, 5)})
    assert here is not None and here.name == "2xTesla-T4" and here.flops_per_second == 9e12 and here.on_gpus
    made = outlook(replace(demo(), synthetic=None), machines=[here, Machines(1, 8, "A100")])
    assert "rate of one Tesla-T4: 9e+12 FLOP a second, measured: 5 results of this storage" in " ".join(lines(made))


def test_what_a_csv_leaves_unclear_is_said_before_it_is_built(tmp_path):
    (tmp_path / "mine").mkdir()
    rows = [f"{i}.png,p{i},{split},PAX,{i % 2}" for i, split in enumerate(40 * ["train"] + 8 * ["val"] + 8 * ["test"])]
    (tmp_path / "mine" / "images.csv").write_text("\n".join(["path,patient_id,split,view_position,mass", *rows]))
    for name in (*range(56), "other"):
        (tmp_path / "mine" / f"{name}.png").touch()
    more = ("--raw", f"csv_images={tmp_path / 'mine'}", "--only", "method=random")
    done = dry_run(ROOT / "examples" / "own_data.py", tmp_path / "storage", *more)
    assert done.exit_code == 0, done.output
    assert "note: 56 of 56 rows have a view_position that is not understood" in done.output
    assert "note: files among its images that no row of images.csv names, left out: 1" in done.output


def test_of_images_nobody_has_counted_nothing_is_said_to_take_no_time():
    _, stages, machines = tables(outlook(load_study(str(ROOT / "examples" / "own_data.py"))))
    assert stages.rows[-1][-1] == "unknown"
    assert [row[1:4] for row in machines.rows] == [("unknown",) * 3] * len(machines.rows) != []


def test_what_is_built_and_not_read_is_said_to_be(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "from dataclasses import replace\nfrom sweep.studies import demo\n\n\ndef study():\n    base = demo()\n"
        "    return replace(base, name='plain', rows=tuple(r for r in base.rows if r.name == 'random'))\n"
    )
    lines = dry_run(path, tmp_path / "none").stdout.splitlines()
    built = [line for line in lines if ": to be built from" in line]
    assert [line.endswith("no encoder or cell of this plan reads it, no table counts it") for line in built] == [
        "mimic_cxr:" in line for line in built
    ]
    assert len(built) == 3 and not any(line.startswith(" mimic_cxr ") for line in lines)
