"""When did a storage last gain something that work goes on from? A batch script asks before it wants more time."""

import sys

from datasets_io.storage.artefacts import FAILED, RESULT
from datasets_io.storage.files import ReadFiles

FOLDERS = ("data", "encoders", "cells")  # of a storage, as sweep.store.store calls them
ENDINGS = (RESULT, FAILED, "checkpoint.pt", ".parquet")


def last_progress(uri: str) -> str:
    """Seconds since 1970 of the newest result, failure, checkpoint or shard, as text; "" where there is none.

    For comparison with what it was before, by the storage's own clock.
    """
    files = ReadFiles(uri)
    entries = [entry for kind in FOLDERS for entry in files.entries(kind)]
    return max((f"{e.modified or 0:.3f}" for e in entries if e.path.endswith(ENDINGS)), key=float, default="")


if __name__ == "__main__":
    print(last_progress(sys.argv[1]))
