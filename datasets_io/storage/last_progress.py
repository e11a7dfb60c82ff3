"""When did a storage last gain something that work goes on from? A batch script asks before it wants more time."""

import sys

from datasets_io.storage.artefacts import FAILED, RESULT
from datasets_io.storage.files import ReadFiles
from datasets_io.storage.secrets import remember_secrets, without_secrets
from datasets_io.untrusted import sentence

FOLDERS = ("data", "encoders", "cells")  # of a storage, as sweep.store.store calls them
ENDINGS = (RESULT, FAILED, "checkpoint.pt", ".parquet")


def last_progress(uri: str) -> str:
    """Seconds since 1970 of the newest result, failure, checkpoint or shard, as text; "" where there is none.

    For comparison with what it was before, by the storage's own clock.
    """
    files = ReadFiles(uri)
    entries = [entry for kind in FOLDERS for entry in files.entries(kind)]
    return max((f"{e.modified or 0:.3f}" for e in entries if e.path.endswith(ENDINGS)), key=float, default="")


def main(uri: str) -> None:
    """Print it, or end with a sentence: the log of a batch job gets what stands on stderr."""
    try:
        print(last_progress(uri))
    except Exception as error:
        sys.exit(sentence(without_secrets(f"the last progress of {uri} is not known: {error}")))


if __name__ == "__main__":
    remember_secrets(sys.argv[1])
    main(sys.argv[1])
