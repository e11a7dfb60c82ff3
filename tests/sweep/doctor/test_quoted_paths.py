"""Do the commands that the doctor prints work as pasted where a path has a blank, and look as ever where none has?"""

import shlex
from pathlib import Path

import pytest

from sweep.doctor import machine
from sweep.doctor.access import check_token
from sweep.doctor.check import Check
from sweep.doctor.cluster_file import check_cluster_file
from sweep.doctor.places import _how_to_reach, _ray_disk, _room
from sweep.doctor.trees import _how_to_mend

ROOT = Path(__file__).parents[3]


def words(mend: str) -> list[str]:
    """Of the command, as a shell takes it; what follows two blanks is for the reader."""
    return shlex.split(mend.split("  (")[0])


def token(folder: Path) -> Check:
    path = folder / "auth_token"
    path.write_text("x")
    path.chmod(0o644)
    return check_token(True, path)


def cluster(folder: Path, old: str, new: str) -> list[Check]:
    path = folder / "cluster.yaml"
    text = (ROOT / "cluster.yaml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return [check for check in check_cluster_file(path) if check.mend]


@pytest.mark.parametrize("name", ["plain", "My Drive"])
def test_each_command_has_its_path_as_one_word(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    place = str(folder)
    assert words(token(folder).mend) == ["chmod", "600", f"{place}/auth_token"]
    assert words(_how_to_mend("mimic_cxr", folder))[-2] == words(_how_to_mend("csv_images", folder))[-1] == place
    probe = f"{place}/probe"
    assert words(_how_to_reach(place)) == ["mkdir", "-p", place, "&&", "touch", probe, "&&", "rm", probe]
    assert words(_room("disk", 0, 1, "results", folder).mend)[-3:] == ["df", "-h", place]
    monkeypatch.setattr("sweep.doctor.places.RAY_FULL", 0.0)
    assert words(_ray_disk(folder).mend) == ["rm", "-r", f"{place}/ray/session_2*"]
    monkeypatch.setattr(machine.sys, "executable", f"{place}/python")
    assert words(machine.install_command())[0] == f"{place}/python"
    bad = [*cluster(folder, "127.0.0.1", "0.0.0.0"), *cluster(folder, "cluster_name", "provider: [")]
    edits = [words(check.mend.removeprefix("mend its YAML: ")) for check in bad if "$EDITOR" in check.mend]
    assert len(edits) >= 3 and all(edit[-1] == f"{place}/cluster.yaml" for edit in edits)


def test_a_path_without_a_blank_is_not_quoted(tmp_path):
    assert token(tmp_path).mend == f"chmod 600 {tmp_path}/auth_token"
    assert _how_to_reach("/data/x") == "mkdir -p /data/x && touch /data/x/probe && rm /data/x/probe  " + (
        "(or take another --storage)"
    )
    assert "&& touch ~/x/probe &&" in _how_to_reach("~/x") and "touch ~/'a b/probe' &&" in _how_to_reach("~/a b")
    assert "s3 ls s3://bucket  (" in _how_to_reach("s3://bucket/folder")
