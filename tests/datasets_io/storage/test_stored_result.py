"""Is a sealed result with a value that no result has damage, and one of another version a result?"""

import hashlib
import json
import random

import pytest

from datasets_io.storage.artefacts import RESULT, CorruptArtefact, open_artefacts, publish, quarantine, seal
from datasets_io.storage.files import Files
from datasets_io.storage.stored_result import checked_json, checked_result

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
        (lambda v: v["files"].update(b={"path": "..", "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
        (lambda v: v["files"].update(b={"path": ".", "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
        (lambda v: v["files"].update(b={"path": "b" * 256, "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
        (lambda v: v["files"].update(b={"path": "é" * 128, "sha256": "0" * 64, "bytes": 1}), "files.b.path"),
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


ONE, OTHER = "cells/lp-s0-0123456789ab", "cells/lp-s1-ba9876543210"


@pytest.fixture
def copied(files) -> Files:
    """The whole folder of one cell stands in the place of another, as after a restore into a wrong folder."""
    publish(files, ONE, {"a.bin": b"a"}, {**CONTENT, "name": "lp-s0", "key": "0123456789ab"})
    for path in files.list(ONE):
        files.write(path.replace(ONE, OTHER), files.read(path))
    return files


def test_a_whole_result_of_another_item_is_damage(copied):
    assert open_artefacts(copied, ONE).result["key"] == "0123456789ab"
    with pytest.raises(CorruptArtefact, match="is of another folder: of 'lp-s0' with the key '0123456789ab'"):
        open_artefacts(copied, OTHER)
    target = quarantine(copied, OTHER)
    assert target is not None and copied.exists(f"{target}/why.json") and not copied.exists(OTHER)


def test_a_result_of_another_item_makes_way_for_the_own_one(copied):
    own = {**CONTENT, "name": "lp-s1", "key": "ba9876543210"}
    assert publish(copied, OTHER, {"a.bin": b"b"}, own)
    assert open_artefacts(copied, OTHER).read("a.bin") == b"b"
    moved = copied.list("quarantine")
    assert [path.rpartition("/")[2] for path in moved] == ["result.json", "why.json"], moved


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


def slowly(text: bytes):
    """By way of `json.loads`; None for what is refused."""
    try:
        return checked_result(json.loads(text))
    except (ValueError, RecursionError):
        return None


def typed(value):
    """With the type of each value, so that 1 is no 1.0 and -0.0 no 0.0, and NaN is itself."""
    if isinstance(value, dict):
        return [(name, typed(inner)) for name, inner in value.items()]
    return [typed(inner) for inner in value] if isinstance(value, list) else (type(value), repr(value))


ENTRY = b'"a": {"path": "a", "sha256": "' + b"0" * 64 + b'", "bytes": 1}'
TEXT = (
    b'{"files": {' + ENTRY + b'}, "findings": [{"finding": "edema", "auroc": 0.75, "n_pos": 3, "n_neg": 5}], "x": [1]}'
)
NUMBERS = (
    b"1",
    b"0",
    b"-0",
    b"-0.0",
    b"1.0",
    b"5e-324",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"true",
    b"null",
    b'"1"',
    b"01",
    b".5",
)
NAMES = (b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\xff", b"\xc3\xa4", b"\x01")
ODD = (
    *(TEXT.replace(old, new) for old in (b"0.75", b"3", b"[1]") for new in NUMBERS),
    *(TEXT.replace(b"[1]", b"9" * count) for count in (17, 400, 5000)),
    *(TEXT.replace(b"[1]", b"[" * deep + b"]" * deep) for deep in (100, 500)),
    TEXT.replace(b'"n_pos": 3', b'"n_pos": -3, "n_pos": 4'),
    TEXT.replace(b'"n_pos": 3', b'"n_pos": 3, "n_pos": -4'),
    TEXT.replace(b'"x": [1]', b'"macro_auroc": 0.5, "macro_auroc": 0.25, "x": 1, "x": 2'),
    TEXT.replace(ENTRY, ENTRY + b", " + ENTRY.replace(b"1}", b"2}")),
    *(TEXT.replace(b"edema", name) for name in NAMES),
    b"\xef\xbb\xbf" + TEXT,
    TEXT.decode().encode("utf-16"),
    TEXT + b" ",
    TEXT + b"}",
    b"null",
    b"[]",
    b"",
)  # fmt: skip


def test_the_quick_way_gives_what_the_slow_one_gives_or_leaves_it_to_that():
    by_both = 0
    for text in (TEXT, *ODD):
        quick = checked_json(text)
        if quick is not None:
            assert typed(quick) == typed(slowly(text)), text
            by_both += 1
    assert checked_json(TEXT) is not None and by_both > 20


def test_every_number_is_the_same_to_the_last_bit():
    draws = random.Random(0)
    for number in range(2000):
        digits = "".join(draws.choices("0123456789", k=draws.randint(1, 40)))
        auroc = repr(draws.random()) if number % 2 else f"0.{digits}"
        text = TEXT.replace(b"0.75", auroc.encode()).replace(b"[1]", f"[{digits[0]}.{digits}e-{number % 330}]".encode())
        assert typed(checked_json(text)) == typed(slowly(text)), text


ESC, OUT = "\x1b]0;pwn\x07<i>\u202e\x7fé", "\\x1b]0;pwn\\x07<i>\\u202e\\x7fé"


@pytest.mark.parametrize("name", ["device", "precision", "subset_sha256", "a_text_of_a_later_version"])
def test_text_is_as_a_terminal_may_show_it(files, name):
    resealed(files, lambda v: v.update({name: ESC}))
    assert open_artefacts(files, "cells/c").result[name] == OUT


def test_names_within_a_result_are_as_a_terminal_may_show_them(files):
    deep = json.loads("[" * 150 + "]" * 150)
    lists = {"software": {ESC: ESC}, "findings_without_positives_in_training": [ESC], "history": [{ESC: 1.0}]}
    by_name = {"studies": {ESC: [{**FINDING, "finding": ESC}]}, "also_test": {ESC: []}, "parents": {ESC: ESC}}
    resealed(files, lambda v: v.update(lists | by_name | {"what_a_later_version_adds": deep}))
    found = open_artefacts(files, "cells/c")
    assert {name: found.result[name] for name in lists | by_name} == {
        "software": {OUT: OUT},
        "findings_without_positives_in_training": [OUT],
        "history": [{OUT: 1.0}],
        "studies": {OUT: [{**FINDING, "finding": OUT}]},
        "also_test": {OUT: []},
        "parents": {OUT: OUT},
    }
    assert found.read("a.bin") == b"a"
