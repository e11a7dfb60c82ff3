"""Does doctor find what is wrong, say what mends it, and leave nothing behind? Every fault here is a real one."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io.storage.disk import Disk
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.doctor.__main__ import app
from sweep.doctor.access import check_dashboard_port, check_head, check_token, outside_address
from sweep.doctor.check import FAIL, OK, WARN, guarded
from sweep.doctor.cluster_file import check_cluster_file
from sweep.doctor.machine import check_open_files, check_packages, check_python, check_shared_memory, requirements
from sweep.doctor.needs import Needs, backbone_bytes, needs_of, nominal_counts
from sweep.doctor.places import _how_to_reach, check_disk, check_storage
from sweep.doctor.trees import check_raw, check_study_data
from sweep.store.store import Store
from sweep.studies import demo, paper
from sweep.studies.cell import EncoderRun
from sweep.studies.plan import make_plan
from trainables.networks.backbones import build_backbone

ROOT = Path(__file__).resolve().parents[3]


def doctor(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "RAY_ADDRESS": None})


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, Path]:
    spec = SyntheticSpec(
        image_size=48,
        corpus_train=24,
        corpus_val=8,
        chexpert_train=24,
        chexpert_valid=12,
        nih_train_val=24,
        nih_test=12,
    )
    return write_archives(spec, tmp_path_factory.mktemp("raw"))


# -- the command -----------------------------------------------------------------------------------


def test_a_good_machine_passes_and_the_storage_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    storage = tmp_path / "not" / "there"
    done = doctor("--storage", str(storage), "--json")
    checks = json.loads(done.stdout)
    assert done.exit_code == 0, [check for check in checks if check["status"] == FAIL]
    assert {
        "python",
        "packages",
        "granted",
        "device",
        "shared memory",
        "token",
        "dashboard port",
        "storage",
        "clock",
        "disk of the storage",
        "data mimic_cxr",
    } <= {check["name"] for check in checks}
    assert all(bool(check["mend"]) == (check["status"] != OK) for check in checks)
    assert not (tmp_path / "not").exists()


def test_what_fails_is_told_with_its_mend_in_colours_only_where_wanted(tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["--study", "paper", "--storage", str(tmp_path / "file" / "below"), "cluster.yaml"]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.doctor", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 3 and done.stderr == "", done.stderr
    said = " ".join(done.stdout.split())  # where a line is broken depends on how long the folder's name is
    assert "add --raw" in said or "give --raw" in said
    assert "mend: mkdir -p" in said and "still to be filled in" in said
    assert "checks fail" in said and "\x1b[" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "papr"], "unknown study 'papr'"),
        (["--raw", "chexpert=/nowhere"], "folder /nowhere does not exist"),
        (["no.yaml"], "cluster file no.yaml does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message):
    done = doctor(*arguments)
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


def test_help_teaches():
    done = doctor("--help")
    for text in ("--storage", "--raw", "--study", "--json", "cluster.yaml", "fixes", "Exit codes"):
        assert text in done.output


def test_an_examination_that_breaks_is_a_finding():
    checks = guarded("broken", lambda: [1 / 0])
    assert [check.status for check in checks] == [FAIL] and "ZeroDivisionError" in checks[0].found


# -- the machine -----------------------------------------------------------------------------------


def test_versions_are_held_against_what_the_project_asks_for():
    good, *bad = check_packages(requirements())
    assert not bad and good.status == OK and "torch" in good.found
    _, *bad = check_packages(["numpy>=99", "no-such-package-of-ours>=1", "rich>=13"])
    assert [check.status for check in bad] == [FAIL, FAIL]
    assert "numpy is" in bad[0].found and "not installed" in bad[1].found
    assert all("pip install --constraint constraints.txt" in check.mend for check in bad)


def test_python_shared_memory_and_open_files_have_floors(tmp_path):
    assert check_python((3, 10)).status == FAIL and check_python().status == OK
    assert check_shared_memory(str(tmp_path), needed=1 << 60).status == WARN
    assert check_shared_memory(str(tmp_path), needed=1).status == OK
    assert "ulimit" in check_open_files(limit=256).mend and check_open_files(limit=65536).status == OK


# -- storage and disks -----------------------------------------------------------------------------


def test_a_storage_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").write_text("")
    (check,) = check_storage(str(tmp_path / "file"))
    assert check.status == FAIL and "mkdir" in check.mend
    assert [check.status for check in check_storage("ftp://somewhere/else")] == [FAIL]


def test_a_storage_behind_a_link_to_nowhere_fails(tmp_path):
    """As sweep.run refuses it: the disk is not mounted, and the folder would be made on the one beneath."""
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (check,) = check_storage(str(tmp_path / "link"))
    assert check.status == FAIL and "link is a link to a place that is not there" in check.found
    assert not (tmp_path / "disk").exists()


@pytest.mark.parametrize("password", ["pass/word", "pass%2Fword"])
def test_the_command_that_shows_why_a_bucket_cannot_be_used_has_no_password(password):
    """A password with a slash was cut in two there, and of its first half nobody knew what it was."""
    mend = _how_to_reach(f"s3://KEY:{password}@bucket/folder?region=a@b")
    assert mend.startswith("aws sts get-caller-identity && aws s3 ls s3://bucket  (")


def test_a_storage_in_use_keeps_what_it_has(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "kept.json").write_text("{}")
    assert {check.status for check in check_storage(str(tmp_path))} == {OK}
    assert [path.name for path in tmp_path.rglob("*")] == ["cells", "kept.json"]


@pytest.mark.parametrize(("refuses", "status"), [(True, OK), (False, WARN)])
def test_a_storage_without_hard_links_is_named(tmp_path, monkeypatch, refuses, status):
    class WithoutLinks(Disk):
        def link(self, path, target):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

        def rename_new(self, path, target):
            if not refuses:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            super().rename_new(path, target)

    for module in ("datasets_io.storage.files", "sweep.doctor.places"):
        monkeypatch.setattr(f"{module}.DISK", WithoutLinks())
    storage, links, _ = check_storage(str(tmp_path))
    assert storage.status == OK
    assert links.name == "hard links" and links.status == status and "without them" in links.found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_the_plan_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "cache"))
    of_storage, of_cache, _ = check_disk(str(tmp_path), Needs(storage=1 << 60, cache=1 << 60, purpose="13 encoders"))
    assert (of_storage.status, of_cache.status) == (FAIL, FAIL) and "13 encoders" in of_storage.found
    of_storage, of_cache, _ = check_disk(str(tmp_path), Needs(storage=1, cache=1, purpose=""))
    assert (of_storage.status, of_cache.status) == (OK, OK)


def test_a_cache_that_cannot_be_made_fails(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RADSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    _, of_cache, _ = check_disk(str(tmp_path), Needs(storage=1, cache=1, purpose=""))
    assert of_cache.status == FAIL and "cannot be made" in of_cache.found and "RADSWEEP_CACHE" in of_cache.mend


def test_bytes_needed_are_those_of_the_weights_pixels_and_predictions():
    study = demo()
    spec = study.rows[0].recipe.backbone
    state = build_backbone(spec, seed=0).state_dict()
    assert backbone_bytes(spec) == sum(4 * tensor.numel() for tensor in state.values())
    none = needs_of(study, (), (), {"chexpert": {"train": 100}}, built={"chexpert"})
    assert (none.storage, none.cache) == (0, 0)
    pixels = needs_of(study, (), (), {"chexpert": {"train": 100}}, built=set())
    size = study.datasets[0].build.image_size
    assert 100 * size**2 <= pixels.storage <= 1.1 * 100 * size**2
    one = needs_of(study, (EncoderRun("random", 0, study.rows[0].recipe),), (), {}, built=set())
    assert one.storage == 5 * backbone_bytes(spec)  # itself, and one checkpoint of four copies
    cells = make_plan(study, dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {}).cells[:2]
    counts = {"chexpert": {"val": 1000}}
    more = needs_of(study, (), cells, counts, built={"chexpert"}).storage
    assert more - needs_of(study, (), cells, {}, built=set()).storage == 2 * 1000 * 14 * 5
    large = needs_of(study, (), (), {"nih_cxr14": {"train": 100_000}}, built={"nih_cxr14"})
    assert (large.storage, large.cache) == (0, 100_000 * size**2)


def test_archives_that_nobody_has_counted_need_what_was_published_of_them():
    counts = nominal_counts(paper())
    assert {label: sum(splits.values()) for label, splits in counts.items()}["mimic_cxr"] == 377_110
    needed = needs_of(paper(), (), (), counts, built=set())
    assert 39e9 < needed.storage < 40e9, "as the plan says"


# -- access ----------------------------------------------------------------------------------------


def test_the_token_must_be_there_on_a_cluster_and_be_the_owners_alone(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "auth_token"
    assert check_token(on_cluster=True, path=path).status == FAIL
    assert check_token(on_cluster=False, path=path).status == OK
    path.write_text("secret")
    path.chmod(0o644)
    check = check_token(on_cluster=True, path=path)
    assert check.status == FAIL and check.mend == f"chmod 600 {path}" and "secret" not in check.found
    assert check_token(on_cluster=False, path=path).status == WARN
    path.chmod(0o600)
    assert check_token(on_cluster=True, path=path).status == OK
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert check_token(on_cluster=False, path=path).status == FAIL


def test_a_dashboard_that_answers_others_is_found():
    address = outside_address()
    if address is None or address.startswith("127."):
        pytest.skip("this machine has no address but loopback: nothing can answer others")
    with closing(socket.create_server(("0.0.0.0", 0))) as server:
        port = server.getsockname()[1]
        check = check_dashboard_port(port)
        assert check.status == FAIL and "--dashboard-host=127.0.0.1" in check.mend
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert "this machine only" in check_dashboard_port(server.getsockname()[1]).found


def test_a_head_that_does_not_answer_is_found():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert [check.status for check in check_head(address)] == [OK]
    assert [check.status for check in check_head(address)] == [FAIL]
    assert check_head(None) == check_head("auto") == []
    assert [check.status for check in check_head("somewhere")] == [FAIL]


# -- the cluster file ------------------------------------------------------------------------------


def statuses(path: Path) -> dict[str, str]:
    return {check.name: check.status for check in check_cluster_file(path)}


@pytest.mark.parametrize(
    ("old", "new", "failing"),
    [
        ("upscaling_speed", "upscaling_sped", "cluster file"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "cluster security"),
        ("RAY_AUTH_MODE=token ray start", "ray start", "cluster security"),
        ("s3://hospital/radsweep", "s3://my-bucket/radsweep", "cluster fields"),
    ],
)
def test_a_cluster_file_is_held_against_the_schema_and_the_promises(tmp_path, old, new, failing):
    text = (ROOT / "cluster.yaml").read_text().replace("my-bucket", "hospital")
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    good = statuses(path)
    assert {good[name] for name in ("cluster file", "cluster fields", "cluster security")} == {OK}
    assert old in text
    path.write_text(text.replace(old, new))
    bad = statuses(path)
    assert [name for name, status in bad.items() if status == FAIL and good.get(name) == OK] == [failing]


def test_a_file_that_is_no_yaml_fails(tmp_path):
    (tmp_path / "cluster.yaml").write_text("provider: [aws")
    assert statuses(tmp_path / "cluster.yaml") == {"cluster file": FAIL}


def test_the_other_cluster_files_are_read_too():
    assert statuses(ROOT / "docs/clusters/on-prem.yaml")["cluster file"] == OK
    kubernetes = statuses(ROOT / "docs/clusters/kuberay-rayjob.yaml")
    assert "cluster security" not in kubernetes and kubernetes["cluster fields"] == FAIL


# -- data trees ------------------------------------------------------------------------------------


def test_archives_are_counted_and_held_against_the_whole_ones(archives):
    (check,), counts = check_raw({"chexpert": archives["chexpert"]}, demo().builds())
    assert check.status == WARN and "224,316" in check.found and "train 24, val 12" in check.found
    assert counts == {"chexpert": {"train": 24, "val": 12}}


def test_a_half_copied_archive_fails(archives, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(archives["nih_cxr14"], half)
    for picture in sorted(half.rglob("*.png"))[::2]:
        picture.unlink()
    (check,), counts = check_raw({"nih_cxr14": half}, demo().builds())
    assert check.status == FAIL and "finish copying" in check.found and counts == {}


def test_a_study_says_which_data_it_lacks_and_what_it_will_make(tmp_path, archives):
    store = Store(str(tmp_path))
    checks, counts, built = check_study_data(demo(), store, {})
    assert {check.status for check in checks} == {OK} and built == set() and counts == demo().synthetic.image_counts()
    checks, _, _ = check_study_data(demo(), store, {"chexpert": archives["chexpert"]})
    assert {check.name: check.status for check in checks} == {"data mimic_cxr": FAIL, "data nih_cxr14": FAIL}
