"""Which parts of a text are secrets (passwords in URIs, tokens of the environment), and how is it shown without them?

A storage may be given as s3://KEY:SECRET@bucket/folder, a server as http://user:password@host. Whatever is printed,
written to a storage or shown in a report goes through `without_secrets` where it becomes text.
"""

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "***"
SHORTEST = 6  # a shorter value of the environment, such as `true`, would be found in words
# What stands before an @ in a URI: without a slash, or user:password, where the password may have one. A number after
# the colon is a port, and an @ behind it is of a path.
_USER = re.compile(r"\b([a-zA-Z][\w+.-]*)://([^\s/'\"<>]+|[^\s/@:'\"<>\[]+:(?!\d{1,5}/)[^\s@'\"<>]+)@")
# The same where a URI was taken for a path, which leaves one slash of two: with a colon, as `host:/folder@x` is none.
_USER_IN_PATH = re.compile(r"\b([a-zA-Z][\w+.-]*):/([^\s/@:'\"<>\[]+:(?!\d{1,5}/)[^\s@'\"<>]+)@")
_NO_SECRET = ("file", "ssh", "git+ssh", "sftp", "hdfs", "abfs", "abfss", "wasb", "wasbs")  # a name alone: a container's
_OPTION = re.compile(
    r"([?&;](?:[\w.-]*(?:secret|token|password|passwd|credential|signature|(?:access|account|api)_?key)[\w.-]*|sig)=)"
    r"[^&;\s'\"<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+|\bx-api-key['\"]?\s*[:=]\s*['\"]?))[^\s'\"]+",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(^|_)([A-Z]*SECRET|TOKEN|[A-Z]*PASSWORD|PASSWD|PASS|PASSPHRASE|PAT|CREDENTIALS?|API_?KEY|CONNECTION_STRING|"
    r"(ACCESS|ACCOUNT|STORAGE|PRIVATE)_KEY|JWT|COOKIES?)(_|$)|_(PWD|PW)$|^(SSHPASS|REDISCLI_AUTH)$"
)
_KEY = re.compile(r"[\w+/=.-]{12,}")  # of a variable with another name that ends in _KEY, as KAGGLE_KEY
_PLACES = ("_PATH", "_FILE", "_DIR", "_HOST", "_URL", "_MODE")  # of variables that say where a secret lies
_given: set[str] = set()  # passwords of URIs that this process was given, for libraries that name them elsewhere


def without_secrets(text: str) -> str:
    """The text with *** for what is secret in it; any other text as it is."""
    text = _USER_IN_PATH.sub(rf"\g<1>:/{HIDDEN}@", _USER.sub(_hidden_user, text))
    text = _HEADER.sub(rf"\g<1>{HIDDEN}", _OPTION.sub(rf"\g<1>{HIDDEN}", text))
    for secret in sorted({*_given, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def remember_secrets(uri: str) -> None:
    """Take note of a URI's password, so that it is found alone, as libraries decode it, and as they encode it."""
    _given.update(_of_uri(uri))


def _hidden_user(found: re.Match[str]) -> str:
    scheme, user = found[1], found[2]
    if scheme.lower() == "file" or (scheme.lower() in _NO_SECRET and ":" not in user):
        return found[0]
    return f"{scheme}://{HIDDEN}@"


def _of_uri(uri: str) -> Iterable[str]:
    if (found := _USER.search(uri)) and _hidden_user(found) != found[0]:
        user, colon, password = found[2].partition(":")
        secret = password if colon else user
        for value in (secret, unquote(secret), quote(secret, safe=""), quote(unquote(secret), safe="")):
            if len(value) >= SHORTEST:
                yield value


def _of_environment() -> Iterable[str]:
    for name, value in os.environ.items():
        if "://" in value:
            for uri in value.split(","):  # some list several servers
                yield from _of_uri(uri)
        elif name.upper().endswith("_PROXY"):  # which may leave it out
            yield from _of_uri(f"http://{value}")
        named = _NAME.search(name.upper()) or (name.upper().endswith("_KEY") and _KEY.fullmatch(value))
        if named and len(value) >= SHORTEST and not _is_no_secret(name.upper(), value):
            yield value


def _is_no_secret(name: str, value: str) -> bool:
    """A place, though the name does not say so, or a number, such as a limit of tokens."""
    if name.endswith(_PLACES) or (value.isdecimal() and "PASS" not in name):
        return True
    return value.startswith("/") and os.path.exists(value)
