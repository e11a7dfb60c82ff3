"""Are the training-free columns computed from what is stored, once, and only where a method can have them?"""

import io
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from trained_storage import small_study, train
from typer.testing import CliRunner

from datasets_io.corpus.read import open_split, read_manifest
from datasets_io.storage.artefacts import open_artefacts
from datasets_io.storage.files import Files
from sweep.cli.display import Display
from sweep.export import __main__ as export
from sweep.figures.draw import draw_all
from sweep.run.command import compute_columns
from sweep.store.snapshot import Origin, Snapshot
from sweep.studies.bad_input import BadInput
from sweep.training_free import __main__ as training_free
from sweep.training_free.measures import compute_all, items_of, rows_of, table_markdown
from trainables.batch import MULTI_MODAL, Batch
from trainables.evaluation.image_text import load_image_text
from trainables.evaluation.metrics import auroc_per_finding, macro
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation import prepare
from trainables.views.evaluation_spec import EvalSpec

KINDS = ("knn", "zero_shot", "retrieval")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Snapshot:
    study = replace(small_study(protocols=("LP",)), training_free=KINDS, seeds=(0,))
    made = train(study, tmp_path_factory.mktemp("free"))
    manifests = {source: read_manifest(made.store.files, folder) for source, folder in made.data_folders.items()}
    return Snapshot(
        study,
        made.plan,
        made.results(),
        manifests,
        made.store,
        Origin("small", made.store.uri),
        data_folders=made.data_folders,
    )


@pytest.fixture(scope="module")
def lines(data) -> list[str]:
    seen: list[str] = []
    compute_all(data, show=seen.append)
    return seen


def test_only_methods_that_read_reports_have_text_columns(data):
    items = [(item.kind, item.run.row, item.source) for item in items_of(data)]
    assert {row for kind, row, _ in items if kind == "knn"} == {"imagenet", "simclr", "clip+simclr"}
    assert {row for kind, row, _ in items if kind != "knn"} == {"clip+simclr"}
    assert ("retrieval", "clip+simclr", "mimic_cxr") in items and len(items) == 3 * 2 + 2 + 1
    with pytest.raises(BadInput, match="known: knn, zero_shot, retrieval"):
        items_of(data, ("knm",))


def test_a_sweep_writes_its_report_where_a_column_without_training_fails(data):
    shown = io.StringIO()
    display = Display(Console(file=shown))
    assert not compute_columns(replace(data, study=replace(data.study, training_free=("knm",))), display)
    assert shown.getvalue().startswith(
        "columns without training failed: BadInput: there is no training-free kind 'knm'"
    )


def test_everything_is_computed_once(data, lines):
    assert len(lines) == 9 and not [line for line in lines if "failed" in line]
    assert compute_all(data) == 0
    rows = rows_of(data)
    assert len(rows) == 3 * 2 + 2 + 6
    assert all(0 <= value <= 1 for *_, value, _, _ in rows)
    table = table_markdown(data)
    assert table.count("\n") == 2 + 3 and "| – | – |" in table and "image to text R@10" in table
    assert table_markdown(replace(data, study=replace(data.study, training_free=()))) == ""


def test_kept_predictions_give_the_kept_auroc(data, lines):
    for item in items_of(data, ("knn", "zero_shot")):
        artefacts = open_artefacts(data.store.files, item.folder)
        table = pq.read_table(io.BytesIO(artefacts.read("predictions.parquet"))).to_pandas()
        names = [name.removeprefix("label_") for name in table if name.startswith("label_")]
        labels = table[[f"label_{name}" for name in names]].to_numpy(dtype=float)
        kind = "probability" if item.kind == "knn" else "logit"
        scores = table[[f"{kind}_{name}" for name in names]].to_numpy()
        found = macro(auroc_per_finding(scores, np.nan_to_num(labels), ~np.isnan(labels)))
        assert found == pytest.approx(artefacts.result["macro_auroc"], abs=1e-12)


def test_the_loaded_space_is_the_one_that_was_trained(data):
    """The image-text loss of the rebuilt parts equals the training's own, on the same images and reports."""
    run = next(run for run in data.plan.encoders if run.row == "clip+simclr")
    encoder = data.store.open(run)
    model = load_image_text(encoder, run.recipe, torch.device("cpu"))
    files, folder = Files(data.store.uri), data.data_folders["mimic_cxr"]
    images = open_split(files, folder, read_manifest(files, folder), "val")
    rows = [i for i, text in enumerate(images.impressions) if text][:12]
    pixels, texts = images.pixels[rows], [images.impressions[i] for i in rows]
    spec = EvalSpec(size=run.recipe.backbone.image_size)
    ids, mask = model.tokenizer(texts)
    batch = Batch({MULTI_MODAL: prepare(spec, pixels, None, torch.device("cpu"))}, ids, mask)
    with torch.no_grad():
        expected = model.objective(model.backbone, batch)["clip"]
    logits = model.scale * model.images(BackboneInput(spec), pixels) @ model.texts(texts).T
    target = torch.arange(len(rows))
    cross = torch.nn.functional.cross_entropy
    assert float((cross(logits, target) + cross(logits.T, target)) / 2) == pytest.approx(float(expected), abs=1e-4)


def test_the_report_has_a_figure_of_them_where_the_study_asks(data, lines):
    drawings = draw_all(data.study, data.plan, data.results, data.store, data.data_folders)
    drawing = drawings["training_free"]
    assert drawing.missing is None and list(drawing.numbers) == ["knn", "zero_shot", "image_to_text", "text_to_image"]
    values = {(row[0], row[3], row[4]): row[5] for row in rows_of(data)}
    found = drawing.numbers["image_to_text"]["R@5"]
    assert found == {"clip+simclr": values["clip+simclr", "mimic_cxr", "image_to_text R@5"]}
    assert drawing.numbers["knn"]["CheXpert"]["simclr"] == next(
        row[5] for row in rows_of(data) if row[:4] == ("simclr", 0, "knn", "chexpert")
    )
    quiet = replace(data.study, training_free=())
    assert "training_free" not in draw_all(quiet, data.plan, data.results, data.store)


@pytest.mark.parametrize("command", [training_free.app, export.app])
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, command):
    arguments = ["--storage", str(tmp_path / "nowhere")]
    if command is export.app:
        arguments = ["clip", *arguments, "--to", str(tmp_path / "out")]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2 and "does not exist" in done.output and done.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_method_without_reports_is_refused(data):
    run = next(run for run in data.plan.encoders if run.row == "simclr")
    with pytest.raises(ValueError, match="reads no reports"):
        load_image_text(data.store.open(run), run.recipe, torch.device("cpu"))
