"""Does a storage list what is written under the name that it was given? Items are found by their names alone."""

import os
import uuid
from contextlib import suppress

from datasets_io.storage.files import Files
from sweep.studies.bad_input import BadInput


def check_names(files: Files) -> None:
    """Raise BadInput where a file system lists names in another case: nothing there would ever count as done.

    Where case does not count but is kept, as on FAT, nothing is wrong. One small file is written and removed.
    """
    if not files.is_local:
        return
    name = f"Name-{uuid.uuid4().hex[:8]}.txt"
    files.write(name, b"")
    try:
        alike = [one for one in os.listdir(files.root) if one.casefold() == name.casefold()]
    finally:
        with suppress(OSError):
            files.remove(name)
    if alike and name not in alike:
        raise BadInput(
            f"--storage {files.shown}: its file system lists the file {name} as {alike[0]}, and results are found by "
            "their names: mount it so that names keep their case (lowntfs-3g without ignore_case), or take another"
        )
