"""Is a verdict known by what decides it, and is nothing else kept?"""

import os
from dataclasses import replace

import pytest

from datasets_io.storage.files import Files, ReadFiles
from sweep.store import verdicts
from sweep.store.verdicts import read_verdict, verdict_path, write_verdict
from sweep.studies import demo
from trainables.networks.text import HuggingFaceText
from trainables.networks.text_config import LOCAL_FOLDER
from trainables.preflight.verdict import EncoderCheck, PretrainingCheck, Verdict
from trainables.recipe import BackboneSpec, EncoderSource, RandomInit
from trainables.views.evaluation_spec import EvalSpec

CHECK = EncoderCheck(RandomInit(BackboneSpec("resnet18", 32)), (("CheXpert", EvalSpec(32)),), 8)


def test_a_verdict_is_found_again_and_a_damaged_or_passing_one_is_not(tmp_path):
    files = Files(str(tmp_path))
    assert read_verdict(files, CHECK) is None
    write_verdict(files, CHECK, Verdict("does not fit", lasting=False))
    assert files.list() == []
    write_verdict(files, CHECK, Verdict("does not fit"))
    assert read_verdict(ReadFiles(str(tmp_path)), CHECK) == Verdict("does not fit")
    (path,) = files.list()
    other = replace(CHECK, batch_size=16)
    files.write(verdict_path(other), files.read(path))
    assert read_verdict(files, other) is None, "copied from another check"
    files.write(path, b'{"version": 1, "mis')
    assert read_verdict(files, CHECK) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(CHECK, recipe=RandomInit(BackboneSpec("resnet18", 64))),
        replace(CHECK, datasets=(("CheXpert", EvalSpec(64)),)),
        replace(CHECK, datasets=()),
        replace(CHECK, batch_size=None),
    ],
)
def test_whatever_decides_it_is_in_its_name(other):
    assert verdict_path(other) != verdict_path(CHECK) == verdict_path(replace(CHECK))


def test_another_version_of_a_library_is_another_verdict(monkeypatch):
    path = verdict_path(CHECK)
    monkeypatch.setattr(verdicts, "_versions", lambda: ("another",))
    assert verdict_path(CHECK) != path


def test_a_file_is_known_by_size_and_time_wherever_it_lies(tmp_path):
    first, second = tmp_path / "a.pth", tmp_path / "b" / "b.pth"

    def check(path):
        return replace(CHECK, recipe=EncoderSource(BackboneSpec("resnet18", 32), "0" * 64, str(path)))

    gone = verdict_path(check(first))
    first.write_bytes(b"1234")
    there = verdict_path(check(first))
    os.utime(first, ns=(1, 1))
    assert len({gone, there, verdict_path(check(first))}) == 3
    there = verdict_path(check(first))
    second.parent.mkdir()
    first.rename(second)
    assert verdict_path(check(second)) == there
    second.write_bytes(b"12345")
    os.utime(second, ns=(1, 1))
    assert verdict_path(check(second)) != there


def test_a_text_towers_folder_is_known_by_its_files(tmp_path):
    recipe = next(row.recipe for row in demo().rows if row.name == "clip")
    recipe = replace(recipe, text=HuggingFaceText(LOCAL_FOLDER, content="0" * 64, path=str(tmp_path)))
    check = PretrainingCheck(recipe, 48, None, 32)
    before = verdict_path(check)
    (tmp_path / "model.safetensors").write_bytes(b"1")
    assert verdict_path(check) != before
