"""What does an XML file of an archive say, when it may be nobody's friend?

A document type, and with it every entity of its own, is refused before it is read: no file is fetched, and nothing
grows when it is expanded. Sizes and depth are bounded.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from datasets_io.schema import ArchiveError
from datasets_io.untrusted import open_regular

MAX_BYTES = 1 << 20  # the longest report of Open-I has 8 KB
MAX_DEPTH = 64


class _Refused(Exception):
    """What the file has that it may not have."""


def read_xml(path: Path, inside: Path) -> Element:
    """The root of the file's tree. inside: the folder that no link may leave.

    Raises ArchiveError for a file that is no XML, too large, too deep, has a document type, or lies elsewhere.
    """
    if not path.resolve().is_relative_to(inside.resolve()):
        raise ArchiveError(f"{path} is a link out of {inside}: nothing outside of the archive is read")
    try:
        with open_regular(path) as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _Refused(f"has more than {MAX_BYTES:,} bytes")
        return _parse(data)
    except _Refused as error:
        raise ArchiveError(f"{path} {error}: it is no report of this archive, take it away") from error
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read ({error.strerror}): copy it again") from error
    # LookupError: the file names an encoding that Python does not have, or one that is no encoding of texts.
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ArchiveError(f"{path} is no whole XML file ({error}): unpack it again") from error


def _parse(data: bytes) -> Element:
    builder, depth = TreeBuilder(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused(f"has elements more than {MAX_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise _Refused("has a document type, which may define entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
    return builder.close()
