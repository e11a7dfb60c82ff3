"""Does a row that does not fit cost one sentence before any work, and with --skip-unfit its own cells only?"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from datasets_io.storage.artefacts import record_failure
from sweep.cli.exit_codes import EXIT_BAD_INPUT, EXIT_OK, EXIT_SOME_UNFIT
from sweep.engine.preflight import left_of
from sweep.run.__main__ import app as run_app
from sweep.status.__main__ import app as status_app
from sweep.store.snapshot import read_snapshot
from sweep.store.store import Store
from sweep.store.unfit import UNFIT, leave_out, take_back, unfit_reasons
from sweep.studies import demo, load_study
from sweep.studies.plan import make_plan, pending
from sweep.studies.preflight_checks import checks_of, with_starts, without_rows
from trainables.networks.backbones import build_backbone
from trainables.preflight.verdict import EncoderCheck, PretrainingCheck
from trainables.recipe import BackboneSpec, RandomInit

SMALL = str(Path(__file__).resolve().parents[1] / "small_study.py")
STUDY = """
from dataclasses import replace
from sweep.studies import BASELINE, EncoderRow, load_study
from trainables.encoder_source import from_file, from_folder
from trainables.recipe import BackboneSpec, EncoderSource, RandomInit

DEMO = BackboneSpec("demo_cnn", 32)


def study():
    base = load_study({small!r})
    own = {{{rows}}}
    rows = tuple(EncoderRow(name, name, BASELINE, recipe) for name, recipe in own.items())
    return replace(base, rows=base.rows[:2] + rows)
"""
ONE_CHANNEL = 'RandomInit(BackboneSpec("resnet10t", 32, (("in_chans", 1),)))'


def study_file(folder: Path, rows: dict[str, str]) -> str:
    path = folder / "study.py"
    path.write_text(STUDY.format(small=SMALL, rows=", ".join(f"{name!r}: {text}" for name, text in rows.items())))
    return str(path)


def run(study: str, storage: Path, *more: str):
    environment = {"RAY_ADDRESS": None, "COLUMNS": "200", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}
    done = CliRunner(env=environment).invoke(run_app, ["--study", study, "--storage", str(storage), *more])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def misfits(folder: Path) -> dict[str, str]:
    """Row -> its recipe as a study file has it."""
    from transformers import ViTConfig, ViTModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=224, patch_size=32, **small)).save_pretrained(folder / "vit")
    tensors = build_backbone(BackboneSpec("demo_cnn", 32), seed=0).state_dict()
    save_file(tensors, folder / "whole.safetensors")
    for name, factor in (("nan", float("nan")), ("constant", 0.0)):
        save_file({key: tensor * factor for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    return {
        "vit": f'from_folder("{folder}/vit", 32, preprocessing="dataset")',
        "one_channel": ONE_CHANNEL,
        "missing": f'EncoderSource(DEMO, "0" * 64, "{folder}/none.safetensors")',
        "nan": f'from_file("{folder}/nan.safetensors", DEMO)',
        "prefix": f'from_file("{folder}/whole.safetensors", DEMO, prefix="encoder.")',
        "constant": f'from_file("{folder}/constant.safetensors", DEMO)',
        "unknown": 'RandomInit(BackboneSpec("resnt18", 32))',
    }


SENTENCES = {
    "vit": "does not take images of 32 x 32 pixels in 3 channels",
    "one_channel": "with the option ('in_chans', 3) of its BackboneSpec it does",
    "missing": "does not exist",
    "nan": "NaN of",
    "prefix": "has nothing under 'encoder.'",
    "constant": "the same features for different images",
    "unknown": "unknown backbone 'resnt18'",
}


def test_all_that_does_not_fit_is_named_together_and_tried_once(tmp_path):
    study, storage = study_file(tmp_path, {**misfits(tmp_path), "fits": "RandomInit(DEMO)"}), tmp_path / "storage"
    first = run(study, storage)
    assert first.exit_code == EXIT_BAD_INPUT and first.stderr.startswith("error: 7 rows do not fit:\n")
    # Nothing was built, and what was tried is not tried again.
    assert [path.name for path in storage.iterdir()] == ["preflight"]
    assert "trying encoders: 3 of 3 networks" in first.stdout
    kept = {path: path.stat().st_mtime_ns for path in (storage / "preflight").iterdir()}
    second, dry = run(study, storage), run(study, storage, "--dry-run")
    assert second.stderr == first.stderr and dry.exit_code == EXIT_BAD_INPUT
    assert "trying encoders" not in second.stdout + dry.stdout
    assert {path: path.stat().st_mtime_ns for path in (storage / "preflight").iterdir()} == kept
    for text in (first.stderr, dry.stderr):
        for row, sentence in SENTENCES.items():
            (line,) = [line for line in text.splitlines() if line.startswith(f"  row {row} ")]
            assert sentence in line
        assert "row fits" not in text and "--skip-unfit" in text
    assert "images to be read" in dry.stdout  # by the rows that fit
    retried = run(study, storage, "--retry-failed")
    assert retried.stderr == first.stderr and "trying encoders: 3 of 3 networks" in retried.stdout
    # Rows that were not asked for hold nothing up.
    only = run(study, tmp_path / "new", "--dry-run", "--only", "method=fits,method=random")
    assert only.exit_code == EXIT_OK and "trying encoders" not in only.stdout and "row " not in only.stdout
    one = run(study, storage, "--dry-run", "--only", "method=nan")
    assert one.exit_code == EXIT_BAD_INPUT and "error: row nan cannot be loaded: " in one.stderr
    assert not (tmp_path / "new").exists()


def test_the_other_rows_go_on_and_every_command_says_what_was_left_out(tmp_path, finished_study):
    storage, study = tmp_path / "storage", study_file(tmp_path, {"one_channel": ONE_CHANNEL})
    shutil.copytree(finished_study.storage, storage)
    part = ("--only", "method=random,method=one_channel,protocol=LP")
    assert run(study, storage, *part).exit_code == EXIT_BAD_INPUT
    for _ in range(2):
        done = run(study, storage, "--skip-unfit", *part)
        assert done.exit_code == EXIT_SOME_UNFIT, done.stdout
        assert "Nothing left to do" in done.stdout and "trying encoders" not in done.stdout
        sentence = "row one_channel cannot be "
        assert f"left out: {sentence}" in done.stdout and f"since it does not fit: {sentence}" in done.stdout
        assert "4 cells were left out" in done.stdout and "--retry-failed" not in done.stdout
    report = (storage / "reports" / "small" / "report.md").read_text()
    assert f"Left out, since it does not fit: {sentence}" in report
    about = json.loads(CliRunner().invoke(status_app, ["--study", study, "--storage", str(storage), "--json"]).stdout)
    # The cells of the row that is left out wait for nothing that comes.
    assert about["cells"]["left"] == 0 and about["cells"]["blocked"] == 20
    assert {failure["error"].split(":")[0] for failure in about["failures"]} == {UNFIT.split(":")[0]}
    # Without the flag it is refused as before: that it was left out once is no consent.
    again = run(study, storage, *part)
    assert again.exit_code == EXIT_BAD_INPUT and sentence in again.stderr


def planned(*names: str):
    base = demo()
    study = load_study(SMALL)
    rows = tuple(row for row in base.rows if row.name in names)
    study = replace(study, rows=rows)
    return study, make_plan(study, {build.label: "made up" for build in study.data_builds()}, {})


def test_what_was_left_out_is_tried_again_and_can_be_taken_back(tmp_path):
    _, plan = planned("random", "imagenet", "simclr")
    store = Store(str(tmp_path))
    left, out = left_of(plan, store)
    assert not out and len(left.cells) == len(plan.cells)
    unfit = with_starts(left, {"imagenet": "is odd"})
    assert unfit == {"imagenet": "is odd", "simclr": "starts from row imagenet, which does not fit"}
    kept = without_rows(left, unfit)
    assert {cell.encoder.row for cell in kept.cells} == {run.row for run in kept.encoders} == {"random"}
    leave_out(left, store, {row: f"row {row} {why}" for row, why in unfit.items()})
    _, failed = store.done_and_failed()
    assert failed == {store.folder(run) for run in plan.encoders if run.row != "random"}
    again, out = left_of(plan, store)
    assert again == left and out == {run.key for run in plan.encoders if run.row != "random"}
    take_back(plan, store, out)
    assert store.done_and_failed() == (set(), set())


def test_what_failed_otherwise_is_neither_tried_nor_taken_back(tmp_path):
    _, plan = planned("random", "imagenet", "simclr")
    store = Store(str(tmp_path))
    run_of = next(run for run in plan.encoders if run.row == "simclr")
    record_failure(store.files, store.folder(run_of), "a full disk", "")
    left, out = left_of(plan, store)
    assert not out and {run.row for run in left.encoders} == {"random", "imagenet"}
    assert {run.row for run in left_of(plan, store, retry_failed=True)[0].encoders} == {"random", "imagenet", "simclr"}
    assert unfit_reasons({"a": {"error": "a full disk"}, "b": {"error": UNFIT + "x"}, "c": {"error": UNFIT + "x"}}) == (
        "x",
    )


def test_each_network_is_tried_as_it_will_be_used():
    study, plan = planned("random", "imagenet", "simclr")
    left = pending(plan, (), ())
    checks = checks_of(study, left)
    assert list(checks) == ["random", "imagenet", "simclr"]
    (features,) = checks["random"]
    shown = tuple((d.source, d.recipe.eval_spec) for d in study.datasets)
    assert features == EncoderCheck(
        RandomInit(BackboneSpec("demo_cnn", 32)), shown, study.datasets[0].recipe.batch_size
    )
    assert checks["simclr"][0] == features  # one network, tried once
    step = checks["simclr"][1]
    assert isinstance(step, PretrainingCheck) and step.step_images == 32 and step.start == BackboneSpec("demo_cnn", 32)
    probes = replace(left, cells=tuple(cell for cell in left.cells if cell.protocol == "LP"))
    assert checks_of(study, probes)["random"][0].batch_size is None
    one = replace(left, cells=tuple(cell for cell in left.cells if cell.dataset == "chexpert"))
    assert len(checks_of(study, one)["random"][0].datasets) == 1
    # What is stored was checked as it was made: its network alone is left to be checked, and no pretraining.
    stored = replace(left, encoders=())
    assert checks_of(study, stored)["simclr"] == (features,)


@pytest.mark.parametrize("name", ["random", "simclr"])
def test_a_study_of_small_networks_starts_no_process(tmp_path, name):
    done = run(SMALL, tmp_path / "storage", "--dry-run", "--only", f"method={name}")
    assert done.exit_code == EXIT_OK and "trying encoders" not in done.stdout
    assert re.search(r"memory of a training step in float32: up to [1-9][\d.]* MB \(", done.stdout)


def test_snapshots_have_what_was_left_out(tmp_path):
    study = study_file(tmp_path, {"one_channel": ONE_CHANNEL})
    loaded = load_study(study)
    store = Store(str(tmp_path / "storage"))
    plan = make_plan(loaded, {build.label: "not built" for build in loaded.data_builds()}, {})
    leave_out(left_of(plan, store)[0], store, {"one_channel": "row one_channel is odd"})
    assert unfit_reasons(read_snapshot(study, str(tmp_path / "storage")).failures) == ("row one_channel is odd",)
