"""Can this version read a stored file? `schema_version` of result.json and manifest.json, and what is refused."""

from typing import Any

SCHEMA_VERSION = "schema_version"  # the name of the field; a file without it was written before it existed: version 1


class NewerSchema(Exception):
    """A stored file is whole, and of a newer version than this software reads; nothing is changed by that.

    No ValueError: what catches those takes a file for damaged, and this one is not.
    """


def check_schema(content: dict[str, Any], known: int, path: str) -> None:
    """Raise NewerSchema where a stored file has another schema_version than 1 to `known`."""
    version = content.get(SCHEMA_VERSION, 1)
    if type(version) is not int or not 1 <= version <= known:
        raise NewerSchema(
            f"{path} has {SCHEMA_VERSION} {version!r} and this radsweep reads up to {known}: it is whole, so go on "
            "with the version of radsweep that wrote it, or with another --storage"
        )
