"""Are the frames of a study the files of its report?"""

import shutil
import subprocess
import sys
import warnings

import pandas
import pytest

import sweep
from sweep.studies import load_study


def of_report(storage: str, name: str) -> pandas.DataFrame:
    return pandas.read_csv(f"{storage}/reports/small/{name}", dtype={"key": "str"})


def same(frame: pandas.DataFrame, expected: pandas.DataFrame) -> None:
    pandas.testing.assert_frame_equal(frame, expected.astype(frame.dtypes.to_dict()), check_exact=True)


@pytest.fixture(scope="module")
def study() -> str:
    from small_study import __file__ as path

    return path


def test_frames_are_the_files_of_the_report(finished_study, study):
    storage = finished_study.storage
    results, findings = sweep.results(storage, study), sweep.findings(storage, study)
    same(results, of_report(storage, "results.csv"))
    same(findings, of_report(storage, "findings.csv"))
    assert results.dtypes[["macro_auroc", "seed"]].astype(str).to_list() == ["float64", "Int64"]
    # 4 rows x 2 datasets x 5 columns x 2 seeds
    assert len(results) == 80 and set(results["status"]) == {"done"}


def test_frames_are_made_without_libraries_of_networks(finished_study, study):
    """torch is needed by methods, of which a study consists."""
    code = f"import sys, sweep; print(len(sweep.results({finished_study.storage!r}, {study!r})), *sys.modules)"
    child = [sys.executable, "-c", code]
    rows, *loaded = subprocess.run(child, capture_output=True, text=True, check=True).stdout.split()
    assert rows == "80" and not set(loaded) & {"transformers", "timm", "torchvision", "ray", "scipy", "sklearn"}


def test_the_study_itself_is_taken_and_a_part_of_it(finished_study, study):
    whole = sweep.results(finished_study.storage, load_study(study))
    part = sweep.results(finished_study.storage, study, only=["seed=0", "method=simclr"])
    chosen = whole[(whole["seed"] == 0) & (whole["method"] == "simclr")].reset_index(drop=True)
    pandas.testing.assert_frame_equal(part, chosen)


def test_cells_that_are_not_there_are_rows_without_a_number(finished_study, study, tmp_path):
    storage = tmp_path / "storage"
    shutil.copytree(finished_study.storage, storage)
    (lost,) = storage.glob("cells/simclr-p0-chexpert-LP100-s1-*")
    shutil.rmtree(lost)
    frame = sweep.results(storage, study)
    (row,) = frame[frame["status"] != "done"].to_dict("records")
    assert (row["method"], row["protocol"], row["seed"], row["status"]) == ("simclr", "LP", 1, "missing")
    assert pandas.isna(row["macro_auroc"]) and row["key"] not in set(sweep.findings(storage, study)["key"])


def test_a_storage_of_another_study_is_not_silently_empty(finished_study, study, tmp_path):
    with pytest.warns(UserWarning, match="has no cell of study demo, and 80 of others: is it the right study"):
        assert set(sweep.results(finished_study.storage)["status"]) == {"missing"}
    (tmp_path / "new").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(sweep.results(tmp_path / "new", study)["status"]) == {"missing"}


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (("nowhere",), {}, "storage nowhere does not exist: give what sweep.run was given as storage$"),
        (("",), {}, "^storage is empty; give a folder"),
        ((".",), {"raw": ["mimic_cxr"]}, r"^raw .* SOURCE=DIR; for example raw=\['mimic_cxr=/data/MIMIC-CXR'\]$"),
        ((".",), {"raw": ["mimic_cxr=nowhere"]}, "^raw mimic_cxr: folder nowhere does not exist"),
        ((".",), {"raw": [3]}, r"^raw is \[3\]: give a list of texts, such as raw=\['mimic_cxr="),
        ((".", "papr"), {}, "unknown study 'papr'.*did you mean 'paper'"),
        ((".",), {"only": ["sed=0"]}, "did you mean 'seed'"),
        ((".",), {"only": "seed=0"}, "^only is 'seed=0': give a list of texts, such as"),
        ((".",), {"only": [3]}, r"^only is \[3\]: give a list of texts"),
    ],
)
def test_what_cannot_be_used_is_a_value_error(arguments, more, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        sweep.results(*arguments, **more)
