"""Which other study is a report set beside, and how is it named on the command line?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.studies.bad_input import BadInput

if TYPE_CHECKING:
    from sweep.store.snapshot import OpenedStudy, Snapshot

FORM = "STORAGE[:STUDY]"


def storage_and_study(text: str, study: str) -> tuple[str, str]:
    """Of `STORAGE` and `STORAGE:STUDY`, where STORAGE may be a URI; study: what is taken where none is named.

    Raises BadInput where either is empty.
    """
    # The colon of s3:// is no end of a storage.
    head, colon, tail = text.rpartition(":")
    storage, named = (text, study) if not colon or tail.startswith("//") else (head, tail)
    if not storage or not named:
        raise BadInput(f"--with {text!r} must be {FORM}: what sweep.run was given as --storage, and as --study")
    return storage, named


def open_other(text: str, here: "OpenedStudy", study: str, only: Sequence[str], thorough: bool) -> "Snapshot":
    """What the storage holds of the other study. here, study: the one that it is set beside, and how it was named.

    Raises BadInput, which names --with, also where both are one.
    """
    from sweep.store.snapshot import open_study  # here, so that --help needs no library that reads results

    storage, named = storage_and_study(text, study)
    try:
        found = open_study(named, storage, (), only, thorough)
    except BadInput as error:
        raise BadInput(f"--with {text}: {error}") from error
    if (found.study, found.store.uri) == (here.study, here.store.uri):
        raise BadInput(f"--with {text}: that is this study in this storage; name another of them, as {FORM}")
    return found.read()
