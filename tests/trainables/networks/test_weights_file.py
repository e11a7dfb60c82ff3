"""Is a file of weights read as what it is, and does no code that it names run?"""

import argparse
import collections
import datetime
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables.networks import weights_file
from trainables.networks.weights_file import file_sha256, kind_of, read_tensors, read_weights

TENSOR = torch.arange(3.0)
GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden"
NEWER_AND_OLDER = pytest.mark.parametrize("newer", [True, False])


def saved(path, content, newer=True):
    torch.save(content, path, _use_new_zipfile_serialization=newer)
    return path


BESIDE = {
    "arguments": argparse.Namespace(lr=1e-3, output_dir=pathlib.Path("/out")),
    "numpy number": np.float64(0.9),
    "numpy integer": np.int64(3),
    "numpy array": np.arange(3),
    "numpy type": np.dtype("float32"),
    "random state": np.random.RandomState(0).get_state(),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(seconds=3),
    "defaultdict": collections.defaultdict(int, {"a": 1}),
    "deque": collections.deque([1, 2]),
    "namespace": types.SimpleNamespace(a=1),
    "set": {1, 2},
}


@NEWER_AND_OLDER
@pytest.mark.parametrize("kind", BESIDE)
def test_what_scripts_save_beside_the_weights_does_not_hinder(tmp_path, kind, newer):
    path = saved(tmp_path / "w.pth", {"model": {"w": TENSOR}, "beside": BESIDE[kind], "epoch": 3}, newer)
    found = read_tensors(path)
    assert list(found) == ["model.w"] and torch.equal(found["model.w"], TENSOR)


@pytest.mark.parametrize("name", ["lightning_omegaconf.ckpt", "lightning_omegaconf_older.ckpt"])
def test_lightnings_checkpoint_with_omegaconf_and_attributes_is_read(name):
    """Saved by both libraries, neither of which is needed, or imported, to read it.

    {"state_dict": {"net.w": TENSOR}, "hyper_parameters": AttributeDict(model=OmegaConf.create({"a": [1.5]}), lr=1e-3),
    "configuration": OmegaConf.create({"model": {"name": "resnet", "layers": [1, 2]}})}, in both of torch's forms.
    """
    found = read_tensors(GOLDEN / name)
    assert list(found) == ["state_dict.net.w"] and torch.equal(found["state_dict.net.w"], TENSOR)
    assert not {"omegaconf", "pytorch_lightning"} & sys.modules.keys()


def test_nothing_of_a_file_is_imported_or_called(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(argparse.Namespace, "__setstate__", lambda *_: called.append("state"), raising=False)
    monkeypatch.setattr(argparse.Namespace, "__init__", lambda *_, **__: called.append("init"))
    path = saved(tmp_path / "w.pth", {"w": TENSOR, "args": argparse.Namespace.__new__(argparse.Namespace)})
    assert list(read_tensors(path)) == ["w"] and not called


class Hostile:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@NEWER_AND_OLDER
@pytest.mark.parametrize("function", ["os.system", "builtins.exec", "builtins.eval", "io.open"])
def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path, function, newer):
    module, name = function.rsplit(".", 1)
    ran = tmp_path / "ran"
    arguments = {"os.system": (f"touch {ran}",), "io.open": (str(ran), "w")}
    call = Hostile(getattr(__import__(module), name), *arguments.get(function, (f"open({str(ran)!r}, 'w')",)))
    path = saved(tmp_path / "w.pth", {"w": TENSOR, "x": call}, newer)
    with pytest.raises(ValueError, match=r"can run commands and which no weights need; nothing of it was run"):
        read_tensors(path)
    assert not ran.exists()


def test_a_stand_in_hands_nothing_on(tmp_path):
    """What is called within the arguments of a harmless name is refused like anything else."""
    inside = argparse.Namespace(a=Hostile(__import__("os").system, f"touch {tmp_path / 'ran'}"))
    with pytest.raises(ValueError, match="can run commands"):
        read_tensors(saved(tmp_path / "w.pth", {"w": TENSOR, "args": inside}))
    assert not (tmp_path / "ran").exists()


@NEWER_AND_OLDER
def test_a_whole_network_is_refused_with_what_to_run(tmp_path, newer):
    path = saved(tmp_path / "w.pth", torch.nn.Sequential(torch.nn.Linear(2, 2)), newer)
    with pytest.raises(ValueError, match=r"whole pickled network[\s\S]*weights_only=False\)\.state_dict\(\)"):
        read_tensors(path)


def test_any_other_name_is_refused_with_what_to_run(tmp_path):
    path = saved(tmp_path / "w.pth", {"w": TENSOR, "parts": Hostile(collections.UserDict, {})})
    with pytest.raises(ValueError, match=r"asks for collections.UserDict[\s\S]*\['state_dict'\], 'weights.pth'"):
        read_tensors(path)


def test_a_scripted_network_is_refused_with_what_to_run(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(ValueError, match=r"TorchScript program[\s\S]*torch\.jit\.load"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".bin"])
def test_the_kind_is_known_by_content_and_not_by_ending(tmp_path, ending):
    save_file({"w": TENSOR}, tmp_path / f"s{ending}")
    saved(tmp_path / f"z{ending}", {"w": TENSOR})
    saved(tmp_path / f"p{ending}", {"w": TENSOR}, newer=False)
    for name, kind in (("s", "safetensors"), ("z", "zip"), ("p", "pickle")):
        path = tmp_path / f"{name}{ending}"
        assert kind_of(path) == kind and torch.equal(read_tensors(path)["w"], TENSOR)


NO_WEIGHTS = {
    b"": "is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n": "pointer of Git LFS.*git lfs pull",
    b"\n<!DOCTYPE html><html><body>Sign in": "web page.*download it again",
    b"<html>": "web page",
    b"\x89HDF\r\n\x1a\n": "HDF5, as Keras writes it",
    b"\x1f\x8b\x08": "is an archive: unpack it",
    b"import torch": "neither safetensors nor a file of torch.save",
    (1000).to_bytes(8, "little") + b"{": "damaged or cut short at 9 bytes",
    b"\x80\x02garbage": "no pickle that torch reads|damaged or cut short",
    pickle.dumps({"a": 1}, 4): "no pickle that torch reads|damaged or cut short|holds no tensors",
}


@pytest.mark.parametrize("content", NO_WEIGHTS)
def test_what_is_no_file_of_weights_is_refused_as_what_it_is(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=NO_WEIGHTS[content]):
        read_tensors(tmp_path / "w.pth")


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    save_file({"w": TENSOR}, tmp_path / "s")
    for name, path in (
        ("z", saved(tmp_path / "z", {"w": TENSOR})),
        ("p", saved(tmp_path / "p", {"w": TENSOR}, newer=False)),
        ("s", tmp_path / "s"),
    ):
        cut = tmp_path / f"{name}.pth"
        cut.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(ValueError, match=r"damaged or cut short at .* copy or download it again"):
            read_tensors(cut)


def test_a_folder_and_a_file_without_tensors_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        read_tensors(tmp_path / "none.pth")
    for content in ({"epoch": 3}, TENSOR, []):
        with pytest.raises(ValueError, match=r"holds no tensors.*state_dict"):
            read_tensors(saved(tmp_path / "w.pth", content))


def test_a_file_that_names_itself_without_end_is_refused(tmp_path):
    nested = {"w": TENSOR}
    for _ in range(30):
        nested = {"a": nested, "b": nested}
    with pytest.raises(ValueError, match=r"more than .* parts"):
        read_tensors(saved(tmp_path / "w.pth", nested))
    endless = {"w": TENSOR}
    endless["self"] = endless
    assert "w" in read_tensors(saved(tmp_path / "w.pth", endless))


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_changed_between_its_hash_and_its_reading_is_refused(tmp_path, monkeypatch, replaced):
    path, other = tmp_path / "w.safetensors", tmp_path / "other.safetensors"
    save_file({"w": TENSOR}, path)
    sha256 = file_sha256(path)

    def changing(read):
        save_file({"w": TENSOR + 1}, other)
        other.rename(path) if replaced else path.write_bytes(other.read_bytes())
        return load_file(read)

    monkeypatch.setattr(weights_file, "load_file", changing)
    with pytest.raises(ValueError, match=r"w\.safetensors was changed while it was read"):
        read_tensors(path, sha256)


def test_nested_names_are_dotted_and_wrappers_are_left_out_of_the_weights(tmp_path):
    content = {
        "state_dict": {"b": TENSOR, "a": TENSOR},
        "ema": [TENSOR],
        "epoch": 1,
        "optimizer": {"state": {0: TENSOR}},
    }
    path = saved(tmp_path / "w.pth", content)
    assert list(read_tensors(path)) == ["state_dict.b", "state_dict.a", "ema.0", "optimizer.state.0"]
    assert list(read_weights(path)) == ["b", "a"]
    with pytest.raises(ValueError, match=r"two tensors called 'a\.b'"):
        read_tensors(saved(path, {"a": {"b": TENSOR}, "a.b": TENSOR}))
