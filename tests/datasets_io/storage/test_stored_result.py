"""Is a sealed result with a value that no result has damage, and one of another version a result?"""

import hashlib
import json

import pytest

from datasets_io.storage.artefacts import RESULT, CorruptArtefact, open_artefacts, publish, quarantine, seal
from datasets_io.storage.files import Files
from datasets_io.storage.stored_result import checked_result

FINDING = {"finding": "edema", "auroc": 0.75, "n_pos": 3, "n_neg": 5}
CONTENT = {
    "findings": [FINDING, {**FINDING, "finding": "hernia", "auroc": None, "n_pos": 0}],
    "macro_auroc": 0.75,
    "studies": {"max": [FINDING]},
    "also_test": {},
    "history": [{"epoch": 0, "train_bce": 0.5, "val_loss": None}],
    "seconds": 1,
    "best_epoch": 0,
    "device": "cpu",
    "precision": None,
    "what_a_later_version_adds": {"x": [1]},
}


@pytest.fixture
def files(tmp_path) -> Files:
    files = Files(str(tmp_path))
    publish(files, "cells/c", {"a.bin": b"a"}, CONTENT)
    return files


def resealed(files: Files, change) -> None:
    content = {name: value for name, value in json.loads(files.read(f"cells/c/{RESULT}")).items() if name != "sha256"}
    change(content)
    # By hand, since `seal` itself refuses some of these: infinity, say.
    text = json.dumps(content, indent=1, sort_keys=True).encode()
    sealed = {**content, "sha256": hashlib.sha256(text).hexdigest()}
    files.write(f"cells/c/{RESULT}", json.dumps(sealed, indent=1, sort_keys=True).encode())


def test_a_result_is_what_was_published(files):
    result = open_artefacts(files, "cells/c").result
    assert {name: result[name] for name in CONTENT} == CONTENT and set(result["files"]) == {"a.bin"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("files"), "files: Field required"),
        (lambda v: v["files"].update(b={"path": "../b", "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
        (lambda v: v["files"].update(b={"path": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
        (lambda v: v["files"].update(b={"path": "b", "sha256": "0", "bytes": 1}), "files.b.sha256"),
        (lambda v: v["files"].update(b={"path": "b", "sha256": "0" * 64, "bytes": -1}), "files.b.bytes"),
        (lambda v: v["findings"][0].pop("n_neg"), "findings.0.n_neg: Field required"),
        (lambda v: v["findings"][0].update(auroc=1e308), "findings.0.auroc"),
        (lambda v: v["findings"][0].update(n_pos=10**4000), "findings.0.n_pos"),
        (lambda v: v["findings"][0].update(n_pos=True), "findings.0.n_pos"),
        (lambda v: v["studies"]["max"][0].update(finding=3), "studies.max.0.finding"),
        (lambda v: v.update(macro_auroc="0.9"), "macro_auroc"),
        (lambda v: v.update(macro_auroc=7.5), "macro_auroc"),
        (lambda v: v.update(macro_auroc=float("nan")), "macro_auroc"),
        (lambda v: v.update(seconds=float("inf")), "seconds"),
        (lambda v: v.update(seconds="abc"), "seconds"),
        (lambda v: v["history"][0].update(train_bce=float("nan")), "history.0.train_bce"),
        (lambda v: v.update(history={"a": 1}), "history"),
        (lambda v: v.update(device=["x"]), "device"),
        (lambda v: v.update(best_epoch=-1), "best_epoch"),
        (lambda v: v.update(parents={"a": 3}), "parents.a"),
    ],
)  # fmt: skip
def test_a_value_that_no_result_has_is_damage_that_names_it(files, change, said):
    resealed(files, change)
    with pytest.raises(CorruptArtefact, match="a value that no result has") as error:
        open_artefacts(files, "cells/c")
    assert said in str(error.value) and len(str(error.value)) < 300 and "\n" not in str(error.value)
    assert quarantine(files, "cells/c") is not None and not files.exists("cells/c")


def test_fields_of_a_later_version_are_passed_over(files):
    resealed(files, lambda v: v["findings"][0].update(ci=0.1))
    assert open_artefacts(files, "cells/c").result["findings"][0] == FINDING


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"sha256":' * 50_000, b"", b"null", b"\xff\xfe", b"{}"])
def test_what_is_no_result_is_damage(files, text):
    files.write(f"cells/c/{RESULT}", text)
    with pytest.raises(CorruptArtefact):
        open_artefacts(files, "cells/c")


def test_deep_lists_in_the_place_of_the_seal_are_damage(files):
    text = b'{\n "a": ' + b"[" * 100_000 + b"\n}"
    digest = hashlib.sha256(text).hexdigest().encode()
    files.write(f"cells/c/{RESULT}", text.replace(b"{\n", b'{\n "sha256": "' + digest + b'",\n', 1))
    with pytest.raises(CorruptArtefact):
        open_artefacts(files, "cells/c")


def test_results_of_earlier_versions_lack_what_was_added_since():
    assert checked_result({"files": {}}) == {"files": {}}
    assert json.loads(seal({"files": {}}))["files"] == {}
