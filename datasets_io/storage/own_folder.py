"""Where may this user keep what no other user of the machine may read or have made, outside of a storage?"""

import os
import tempfile
from pathlib import Path


def own_temporary_folder(purpose: str) -> Path | None:
    """A folder among the machine's temporary ones, made if it is not there; None where it is not this user's alone.

    None too where this machine has no temporary folder that can be written.

    Its name is known beforehand and all users write there: another may have made it, or a link, to read or to mislead.
    """
    try:
        place = Path(tempfile.gettempdir(), f"radsweep-{purpose}-{os.getuid()}")
        place.mkdir(mode=0o700, exist_ok=True)
        state = place.lstat()
    except OSError:
        return None
    mine = state.st_uid == os.getuid() and state.st_mode & 0o170777 == 0o040700  # a folder, and for no other user
    return place if mine else None
