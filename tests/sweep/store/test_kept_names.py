"""Whether a file system that lists names in another case is refused in a sentence, and one that keeps them is not."""

import os

import pytest

from datasets_io.storage.files import Files
from sweep.store.kept_names import check_names
from sweep.studies.bad_input import BadInput


def test_names_in_another_case_are_refused_in_a_sentence(tmp_path, monkeypatch):
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [name.lower() for name in listdir(path)])
    with pytest.raises(BadInput, match=r"lists the file Name-\w+\.txt as name-\w+\.txt, and results are found by"):
        check_names(Files(str(tmp_path / "storage")))
    assert list((tmp_path / "storage").iterdir()) == []


def test_names_that_are_kept_are_right(tmp_path):
    check_names(Files(str(tmp_path / "storage")))
    assert list((tmp_path / "storage").iterdir()) == []
