"""From what are the cells of a job computed: each input is read once, and its hash is that of what was read."""

from functools import lru_cache

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import Artefacts, open_artefacts
from datasets_io.storage.files import Files


class Parents:
    """hashes: folder -> content hash, of the finished folders that were opened."""

    def __init__(self) -> None:
        self.hashes: dict[str, str] = {}

    def open(self, files: Files, folder: str) -> Artefacts:
        """A finished folder. Raises as `open_artefacts` does."""
        opened = open_artefacts(files, folder)
        self.hashes[folder] = opened.content_sha256
        return opened

    def of(self, storage: str, data_folder: str, *folders: str | None) -> dict[str, str]:
        """As a result names its parents: these folders, of which each was opened or is None, and the images."""
        named = {folder: self.hashes[folder] for folder in folders if folder is not None}
        return {**named, data_folder: manifest_of(storage, data_folder).fingerprint}


@lru_cache(maxsize=16)  # no fewer than the images that a process keeps, so that a result names what they were read by
def manifest_of(storage: str, data_folder: str) -> Manifest:
    """The manifest of a built data folder, read once in a process. Raises as `read_manifest` does."""
    return read_manifest(Files(storage), data_folder)
