"""Does a disk that is asked for one file say what its listing says, and an object store by one listing?"""

import errno
import os
from pathlib import Path

import pytest

from datasets_io.storage import patience, stored_sizes
from datasets_io.storage.files import Files
from datasets_io.storage.stored_sizes import FolderSizes, ListedSizes, sizes_in


def storage(tmp_path) -> Files:
    """With all that a listing leaves out, follows once, or does not take for a file."""
    files, disk = Files(str(tmp_path / "storage")), tmp_path / "disk"
    for path in ("cells/a/result.json", "cells/a/x.bin", "cells/b/failed.json", "cells/on a line", "encoders/e/w"):
        files.write(path, b"12")
    Files(str(disk)).write("result.json", b"123")
    cells = Path(files.root, "cells")
    (cells / "empty").mkdir()
    (cells / "a/y.tmp-1-2-3").touch()
    (cells / "a/.nfs0001").touch()
    (cells / "a/folder.json").mkdir()
    os.mkfifo(cells / "a/pipe.json")
    (cells / "a/link.json").symlink_to("result.json")
    (cells / "a/x.json").symlink_to("y.json")
    (cells / "a/y.json").symlink_to("x.json")
    (cells / "elsewhere").symlink_to(disk)
    (cells / "a link within").symlink_to("a")
    (cells / "broken").symlink_to(tmp_path / "nowhere")
    (cells / "circle").symlink_to(".")
    return files


def test_a_disk_says_file_by_file_what_its_listing_says(tmp_path):
    files = storage(tmp_path)
    asked, listed = (
        files.sizes_of_folders(("cells", "encoders")),
        ListedSizes({**files.sizes("cells"), **files.sizes("encoders")}),
    )
    names = {name for folder in Path(files.root, "cells").iterdir() if folder.is_dir() for name in os.listdir(folder)}
    folders = [f"cells/{name}" for name in os.listdir(files.full("cells"))] + ["encoders/e", "encoders/none", "cells"]
    paths = [f"{folder}/{name}" for folder in folders for name in sorted({*names, "w", "none"} - {"a"})]
    paths = [path for path in paths if path != "cells/on a line"]  # of no folder: it is no file of an item
    assert {path: asked.get(path) for path in paths} == {path: listed.get(path) for path in paths}
    assert sum(asked.get(path) is not None for path in paths) == 6
    assert asked.get("cells/elsewhere/result.json") == 3 and asked.get("cells/a/link.json") == 2
    assert listed.folders - {"cells"} <= asked.folders and "cells/a link within" not in asked.folders


def test_it_is_asked_as_it_is_then_and_folders_as_they_were(tmp_path):
    files = storage(tmp_path)
    asked = files.sizes_of_folders(("cells",))
    files.remove("cells/a/x.bin")
    files.write("cells/b/result.json", b"12345")
    files.write("cells/later/result.json", b"1")
    assert asked.get("cells/a/x.bin") is None and asked.get("cells/b/result.json") == 5
    assert asked.get("cells/later/result.json") is None and asked.get("encoders/e/w") is None


def test_a_disk_that_is_away_is_waited_for(tmp_path, monkeypatch):
    files, real, away = storage(tmp_path), os.stat, [errno.ESTALE] * 2
    asked = files.sizes_of_folders(("cells",))

    def stat(path):
        if away:
            raise OSError(away.pop(), "away", path)
        return real(path)

    monkeypatch.setattr(stored_sizes.os, "stat", stat)
    assert asked.get("cells/a/x.bin") == 2 and not away
    away[:] = [errno.EACCES]
    with pytest.raises(PermissionError):
        away.append(errno.EACCES)
        asked.get("cells/a/x.bin")
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0)
    away[:] = [errno.EIO] * 9
    with pytest.raises(OSError, match="away"):
        asked.get("cells/a/x.bin")


def test_sizes_of_a_folder_are_its_own_and_of_whole_files(tmp_path):
    sizes = FolderSizes("cells/a", {"x.bin": 2, "y.tmp-1-2-3": 0, ".nfs0001": 0})
    names = ("x.bin", "y.tmp-1-2-3", ".nfs0001", "none")
    assert (
        sizes_in(sizes, "cells/a", names)
        == [2, None, None, None]
        == sizes_in(storage(tmp_path).sizes_of_folders(("cells",)), "cells/a", names)
    )
    assert sizes_in(sizes, "cells/b", ["x.bin"]) == [None]
    assert sizes.get("cells/a/x.bin") == 2 and sizes.get("cells/b/x.bin") is None
