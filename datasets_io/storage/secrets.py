"""Which parts of a text are secrets (passwords in URIs, tokens of the environment), and how is it shown without them?

A storage may be given as s3://KEY:SECRET@bucket/folder, a server as http://user:password@host. Whatever is printed,
written to a storage or shown in a report goes through `without_secrets` where it becomes text.
"""

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 6  # a shorter value of the environment, such as `true`, would be found in words
# What stands before an @ in a URI: without a slash, or user:password, where the password may have one. A number after
# the colon is a port, and an @ behind it is of a path.
_USER = re.compile(r"(?<=://)(?:[^\s/@'\"<>]+|[^\s/@:'\"<>]+:(?!\d{1,5}/)[^\s@'\"<>]+)@")
_OPTION = re.compile(
    r"([?&;](?:[\w.-]*(?:secret|token|password|passwd|credential|signature|access_?key|api_?key)[\w.-]*)=)[^&;\s'\"<>]+",
    re.IGNORECASE,
)
_NAME = re.compile(r"(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_|$)")
_PLACES = ("_PATH", "_FILE", "_DIR", "_HOST", "_URL", "_MODE")  # of variables that say where a secret lies
_given: set[str] = set()  # passwords of URIs that this process was given, for libraries that name them elsewhere


def without_secrets(text: str) -> str:
    """The text with *** for what is secret in it; any other text as it is."""
    text = _OPTION.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
    for secret in sorted({*_given, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def remember_secrets(uri: str) -> None:
    """Take note of a URI's password, so that it is found alone and as libraries decode it."""
    if found := _USER.search(uri):
        password = found[0].removesuffix("@").partition(":")[2]
        _given.update(value for value in (password, unquote(password)) if len(value) >= SHORTEST)


def _of_environment() -> Iterable[str]:
    for name, value in os.environ.items():
        if _NAME.search(name.upper()) and not name.upper().endswith(_PLACES) and len(value) >= SHORTEST:
            yield value
