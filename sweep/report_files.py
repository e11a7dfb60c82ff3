"""Where do a report's files go: below the storage they describe, or in a folder of the reader's choice."""

from dataclasses import dataclass

from datasets_io.files import Files
from sweep.store import Store


@dataclass(frozen=True)
class ReportFolder:
    """A folder that report files are written to; `folder` is relative to the root of `files`."""

    files: Files
    folder: str

    @classmethod
    def of_study(cls, store: Store, study: str) -> "ReportFolder":
        return cls(store.files, store.report_path(study, "").rstrip("/"))

    @classmethod
    def elsewhere(cls, uri: str) -> "ReportFolder":
        return cls(Files(uri), "")

    def read(self, name: str) -> bytes | None:
        """An earlier report's file; None where there is none."""
        path = f"{self.folder}/{name}".lstrip("/")
        return self.files.read(path) if self.files.exists(path) else None

    def write(self, name: str, content: str | bytes) -> str:
        """Write one file, replacing an older one; where it lies."""
        path = f"{self.folder}/{name}".lstrip("/")
        self.files.write(path, content.encode() if isinstance(content, str) else content)
        return self.files.full(path)
