"""Where do a report's files go: below the storage they describe, or in a folder of the reader's choice."""

from dataclasses import dataclass

from datasets_io.storage.files import Files, below, file_in_the_way
from sweep.store.store import ReadStore
from sweep.studies.bad_input import BadInput

PROBE = ".can-be-written"  # a file that is written and removed at once


@dataclass(frozen=True)
class ReportFolder:
    """A folder that report files are written to. Nothing outside it can be: `files` has it as its root."""

    files: Files

    @classmethod
    def of_study(cls, store: ReadStore, study: str) -> "ReportFolder":
        """The folder reports/<study> of a storage."""
        return cls(Files(below(store.files.uri, store.report_path(study, "").rstrip("/"))))

    @classmethod
    def elsewhere(cls, uri: str) -> "ReportFolder":
        """A folder or URI of the reader's choice. Raises BadInput where a file stands in its place."""
        files = Files(uri)
        if files.is_local and (file := file_in_the_way(files.root)) is not None:
            raise BadInput(f"--to {uri}: {file} is a file; give a folder, which is made where it is not there")
        return cls(files)

    def check(self) -> None:
        """Raise the OSError of a folder that cannot be written, before hours of work are to be kept there."""
        self.files.write(PROBE, b"")
        self.files.remove(PROBE)

    def read(self, name: str) -> bytes | None:
        """An earlier report's file; None where there is none."""
        return self.files.read(name) if self.files.exists(name) else None

    def write(self, name: str, content: str | bytes) -> str:
        """Write one file, replacing an older one; its full path or URI."""
        self.files.write(name, content.encode() if isinstance(content, str) else content)
        return self.files.full(name)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        self.files.remove(name)
