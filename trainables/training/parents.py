"""From what are the cells of a job computed: each input is read once, and its hash is that of what was read."""

from collections import OrderedDict
from functools import lru_cache

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import Artefacts, CorruptArtefact, open_artefacts
from datasets_io.storage.files import Files

MOST_OPENED = 16
# (storage, folder) -> as this process read it last, of object stores: a process computes many cells of one encoder, and
# to open its folder takes a request each time. The oldest goes first.
_opened: OrderedDict[tuple[str, str], Artefacts] = OrderedDict()


class Parents:
    """hashes: folder -> content hash, of the finished folders that something was read from."""

    def __init__(self) -> None:
        self.hashes: dict[str, str] = {}

    def read(self, files: Files, folder: str, name: str) -> bytes:
        """One file of a finished folder, whose bytes are checked. Raises as `open_artefacts` and its `read` do."""
        place = (files.uri, folder)
        if (opened := _opened.pop(place, None)) is not None:
            try:
                data = opened.read(name)
            except (CorruptArtefact, KeyError):
                opened = None  # perhaps it was computed again since, with other content: it is looked at anew
        if opened is None:
            opened = open_artefacts(files, folder)
            data = opened.read(name)
        if not files.is_local:
            _opened[place] = opened
            while len(_opened) > MOST_OPENED:
                _opened.popitem(last=False)
        self.hashes[folder] = opened.content_sha256
        return data

    def of(self, storage: str, data_folder: str, *folders: str | None) -> dict[str, str]:
        """As a result names its parents: these folders, of which each was read or is None, and the images."""
        named = {folder: self.hashes[folder] for folder in folders if folder is not None}
        return {**named, data_folder: manifest_of(storage, data_folder).fingerprint}


def forget_opened() -> None:
    """Have every folder looked at anew."""
    _opened.clear()


@lru_cache(maxsize=16)  # no fewer than the images that a process keeps, so that a result names what they were read by
def manifest_of(storage: str, data_folder: str) -> Manifest:
    """The manifest of a built data folder, read once in a process. Raises as `read_manifest` does."""
    return read_manifest(Files(storage), data_folder)
