"""Where do a report's files go: below the storage they describe, or in a folder of the reader's choice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from datasets_io.storage.disk import WrongKind, in_the_way
from datasets_io.storage.files import Files, below
from datasets_io.storage.replace_together import finish_replacing, replace_together
from sweep.store.store import ReadStore
from sweep.studies.bad_input import BadInput

CODE = " " * 4  # begins a line of code in Markdown
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
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
        """A folder or URI of the reader's choice. Raises BadInput where no folder stands in its place."""
        files = Files(uri)
        if files.is_local and (trouble := in_the_way(files.given)) is not None:
            raise BadInput(f"--to {uri}: {trouble}; give a folder, which is made where it is not there")
        return cls(files)

    def check(self) -> None:
        """Raise the OSError of a folder that cannot be written, before hours of work are to be kept there.

        What a command was killed in as it replaced files of the folder is finished.
        """
        finish_replacing(self.files)
        self.files.write(PROBE, b"")
        self.files.remove(PROBE)

    def read(self, name: str) -> bytes | None:
        """An earlier report's file; None where there is none that can be read."""
        try:
            return self.files.read(name)
        except (FileNotFoundError, WrongKind):
            return None

    def write(self, contents: Mapping[str, str | bytes]) -> dict[str, str]:
        """Make files that belong together, replacing older ones, all or none; name -> full path or URI.

        Raises OSError: then all are as they were, or the next command makes all of them new. Other files stay.
        """
        replace_together(self.files, {name: _bytes(name, content) for name, content in contents.items()})
        return {name: self.files.full(name) for name in contents}


def without_html(markdown: str) -> str:
    """Markdown in which no `<` begins HTML: names in it may come from anywhere. Indented code stays as it is."""
    lines = markdown.split("\n")
    return "\n".join(line if line.startswith(CODE) else _TAG.sub("&lt;", line) for line in lines)


def _bytes(name: str, content: str | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    # A half of a character, which UTF-8 does not have, is written out.
    return (without_html(content) if name.endswith(".md") else content).encode(errors="backslashreplace")
