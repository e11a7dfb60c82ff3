"""What of a storage has the names of a study's items and other keys, so that nothing of it is used?"""

from collections.abc import Collection, Iterable

from datasets_io.storage.artefacts import RESULT
from datasets_io.storage.stored_sizes import StoredSizes
from sweep.store.store import ReadStore, name_of
from sweep.studies.cell import Item


def stored_under_names(items: Iterable[Item], sizes: StoredSizes) -> set[str]:
    """Folders of all that has finished under the names of these items, whatever its key."""
    names = set(map(str, items))
    return {name for name in sizes.folders if name_of(name) in names and sizes.get(f"{name}/{RESULT}") is not None}


def other_keys_note(items: Iterable[Item], stored: Collection[str]) -> str | None:
    """A sentence, where items that are not stored have namesakes that are; else None.

    stored: folders of what has finished, of whatever study, or of what has these names.
    """
    open_names = {name_of(folder) for folder in map(ReadStore.folder, items) if folder not in stored}
    count = len({name_of(folder) for folder in stored} & open_names)
    if not count:
        return None
    return (
        f"{count} finished under the same names have other keys (another recipe, other data, or a version of radsweep "
        "that computes other numbers: CHANGELOG.md): they stay as they are and are not used"
    )
