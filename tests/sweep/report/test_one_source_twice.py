"""Two uses of one source from the archive to the report: each column shows its own numbers, and says of what."""

import csv
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from csv_archives import write_archive
from trained_storage import Trained, small_study, train

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.csv_images import CsvOptions
from sweep.report.write import write_report
from sweep.store.report_folder import ReportFolder
from sweep.store.results import ResultReader
from sweep.store.same_images import check_same_images
from sweep.store.shard_checks import open_sources
from sweep.store.shards import manifests
from sweep.store.snapshot import OpenedStudy, Origin
from sweep.studies import Dataset, EncoderRow, Study, check_study
from trainables.recipe import BackboneSpec, LabelPolicy, RandomInit
from trainables.views.preprocessing import Preprocessing

SMALL = small_study(protocols=("LP",))


def report_of(made: Trained) -> dict[str, str]:
    """The files of a report of what was trained, without figures; their text by name."""
    origin, sources = Origin("study.py", made.store.uri), open_sources(made.store, made.data_folders)
    reader = ResultReader(made.study, made.plan, made.store)
    results = reader.collect()
    data = OpenedStudy(made.study, made.plan, made.store, origin, sources).snapshot(results, reader.details)
    paths = write_report(data, ReportFolder.of_study(made.store, made.study.name), quick=True)
    return {name: Path(path).read_text() for name, path in paths.items()}


def table_of(files: dict[str, str]) -> dict[tuple[str, str], float]:
    """(dataset, row) -> mean of LP, in percent, as table1.csv has it."""
    lines = csv.DictReader(io.StringIO(files["table1.csv"]))
    return {(line["dataset"], line["method"]): float(line["LP mean"]) for line in lines}


def means_of(made: Trained, dataset: str) -> list[float | None]:
    return [result.macro_auroc for result in made.results() if result.dataset == dataset]


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> Trained:
    """U-Ones beside U-Zeros, of one synthetic CheXpert."""
    ones = SMALL.datasets[0]
    zeros = replace(ones.recipe, label_policy=LabelPolicy(uncertain="zeros"))
    five = replace(ones.recipe, findings=("edema", "pleural_effusion", "atelectasis"))
    study = replace(
        SMALL,
        name="policies",
        rows=SMALL.rows[:1],
        datasets=(
            ones,
            replace(ones, name="chexpert-zeros", display="CheXpert, U-Zeros", recipe=zeros),
            replace(ones, name="three", display="CheXpert, three findings", recipe=five),
        ),
    )
    check_study(study)
    return train(study, tmp_path_factory.mktemp("policies"))


def test_two_label_policies_give_two_right_columns(policies, tmp_path):
    found = {name: means_of(policies, name) for name in ("chexpert", "chexpert-zeros", "three")}
    assert len({tuple(values) for values in found.values()}) == 3, "three different columns"
    # Each is what a study has that uses the source once, with that policy.
    for name, dataset in zip(found, policies.study.datasets, strict=True):
        alone = replace(policies.study, datasets=(replace(dataset, name=None),))
        assert means_of(train(alone, tmp_path / name, policies.raw), "chexpert") == found[name], name
    assert len(set(policies.data_folders.values())) == 2, "all three read one build, beside the corpus's"


def test_the_report_keeps_the_policies_apart(policies):
    files = report_of(policies)
    printed = table_of(files)
    for dataset in ("chexpert", "chexpert-zeros", "three"):
        values = means_of(policies, dataset)
        assert printed[dataset, "imagenet"] == pytest.approx(100 * sum(values) / len(values), abs=0.006), dataset
    value = json.loads(files["study.json"])
    assert set(value["datasets"]) == {"chexpert", "chexpert-zeros", "three"} == set(value["sources"])
    assert set(value["sources"].values()) == {"chexpert"}
    assert value["datasets"]["chexpert-zeros"]["label_policy"]["uncertain"] == "zeros"
    assert value["data"]["chexpert-zeros"]["fingerprint"] == value["data"]["chexpert"]["fingerprint"]
    digest = hashlib.sha256((policies.raw["chexpert"] / "train.csv").read_bytes()).hexdigest()
    assert value["data"]["three"]["index_files"]["train.csv"] == digest
    assert (
        f"- chexpert-zeros: fingerprint {value['data']['chexpert']['fingerprint']}; source chexpert"
        in files["report.md"]
    )
    for text in ("report.md", "report.html", "table1.md"):
        assert all(d.display in files[text] for d in policies.study.datasets), text


def test_a_subset_of_findings_is_trained_evaluated_and_reported(policies):
    (three,) = {tuple(f.finding for f in r.findings) for r in policies.results() if r.dataset == "three"}
    assert three == ("edema", "pleural_effusion", "atelectasis")
    for result in (r for r in policies.results() if r.dataset == "three"):
        defined = [f.auroc for f in result.findings if f.auroc is not None]
        assert result.macro_auroc == pytest.approx(sum(defined) / len(defined))


def csv_study(corpus_name: str | None = "inside") -> Study:
    recipe = replace(SMALL.datasets[0].recipe, splits=SMALL.datasets[1].recipe.splits)
    outside = Dataset("Outside", BuildSpec("csv_images", 32, options=CsvOptions("outside.csv")), recipe, "outside")
    rows = tuple(row for row in SMALL.rows if row.name in ("imagenet", "simclr"))
    simclr = replace(rows[1], recipe=replace(rows[1].recipe, require_impression=False, global_batch_size=16))
    return replace(
        SMALL,
        name="csv",
        corpus=BuildSpec("csv_images", 32),
        corpus_name=corpus_name,
        datasets=(outside,),
        rows=(rows[0], simclr),
        synthetic=None,
    )


def test_a_csv_is_the_corpus_and_another_one_the_dataset(tmp_path):
    inside = write_archive(tmp_path / "inside", images=60, seed=0)
    outside = write_archive(tmp_path / "outside", images=50, seed=1, table="outside.csv", level=90)
    study = csv_study()
    check_study(study)
    made = train(study, tmp_path / "run", {"inside": inside, "outside": outside})
    files = report_of(made)
    value = json.loads(files["study.json"])
    assert value["corpus"] == {"name": "inside", "source": "csv_images"}
    assert value["sources"] == {"outside": "csv_images"}
    for name, folder, table in (("inside", inside, "images.csv"), ("outside", outside, "outside.csv")):
        data, digest = value["data"][name], hashlib.sha256((folder / table).read_bytes()).hexdigest()
        assert data["index_files"] == {table: digest} and data["build"]["options"] == {"table": table}
        made_of = f"source csv_images, table={table}; {table} sha256 {digest[:12]}"
        line = f"- {name}: fingerprint {data['fingerprint']}; {made_of}"
        assert line in files["report.md"] and f"{table} sha256 {digest[:12]}" in files["report.html"]
    # The encoder saw the corpus's images and the cells the dataset's.
    simclr = next(run for run in made.plan.encoders if run.row == "simclr")
    assert simclr.data_fingerprint == value["data"]["inside"]["fingerprint"]
    assert made.store.open(simclr).result["num_train_images"] == 36
    assert {cell.data_fingerprint for cell in made.plan.cells} == {value["data"]["outside"]["fingerprint"]}
    assert made.store.open(made.plan.cells[0]).result["num_train_images"] == 30
    assert {name for name, _ in table_of(files)} == {"outside"}


def test_rows_that_read_other_forms_of_one_set_have_the_same_images_and_labels(tmp_path):
    forms = {
        "square": BackboneSpec("demo_cnn", 32),
        "larger": BackboneSpec("demo_cnn", 48),
        "aspect": BackboneSpec("demo_cnn", 40, preprocessing=Preprocessing(40, "shortest")),
    }
    rows = tuple(EncoderRow(name, name.title(), "baseline", RandomInit(spec)) for name, spec in forms.items())
    study = replace(csv_study(), rows=rows, protocols=("FT",), seeds=(0,))
    archive = write_archive(tmp_path / "raw", images=50, seed=1, table="outside.csv")
    shutil.copy(archive / "outside.csv", archive / "images.csv")
    made = train(study, tmp_path / "run", {"csv_images": archive})
    assert list(made.data_folders) == ["inside", "outside", "outside (48)", "outside (aspect, 256)"]
    check_same_images(study, made.data_folders, manifests(made.data_folders, made.store), made.store.files)
    found = {(cell.encoder.row, cell.label_percent): made.store.open(cell) for cell in made.plan.cells}
    for percent in (1, 10, 100):
        assert len({found[name, percent].result["subset_sha256"] for name in forms}) == 1, percent
    ids = [pq.read_table(io.BytesIO(one.read("predictions.parquet")))["image_id"].to_pylist() for one in found.values()]
    assert all(one == ids[0] for one in ids) and len(ids[0]) == 10
    assert len({cell.data_fingerprint for cell in made.plan.cells}) == 3
    files = report_of(made)
    assert all(f"- {label}: fingerprint " in files["report.md"] for label in made.data_folders)
