"""What of a storage has the names of a study's items and other keys, so that nothing of it is used?"""

from collections.abc import Collection, Iterable

from sweep.store.store import ReadStore, name_of
from sweep.studies.cell import Item


def other_keys_note(items: Iterable[Item], stored: Collection[str]) -> str | None:
    """A sentence, where items that are not stored have namesakes that are; else None.

    stored: folders of all that has finished, of whatever study.
    """
    open_names = {name_of(folder) for folder in map(ReadStore.folder, items) if folder not in stored}
    count = len({name_of(folder) for folder in stored} & open_names)
    if not count:
        return None
    return (
        f"{count} finished under the same names have other keys (another recipe, other data, or a version of radsweep "
        "that computes other numbers: CHANGELOG.md): they stay as they are and are not used"
    )
