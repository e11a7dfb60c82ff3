"""Which parts of a text are secrets (passwords in URIs, tokens of the environment), and how is it shown without them?

A storage may be given as s3://KEY:SECRET@bucket/folder, a server as http://user:password@host. Whatever is printed,
written to a storage or shown in a report goes through `without_secrets` where it becomes text.
"""

import os
import re
from collections.abc import Iterable, Mapping

from datasets_io.uri_secrets import (
    HIDDEN,
    NO_SECRET,
    SHORTEST,
    WITHOUT_PORT,
    hidden_parts,
    is_secret_option,
    secret_forms,
)

# In a text of others a URI may stand between quotes or tags: a quote is of the URI where letters are on both sides.
_QUOTE = r"(?<=\w)['\"](?=\w)"
# What stands before an @ in a URI: without a slash, or user:password, where the password may have one. A number after
# the colon is a port, and an @ behind it is of a path; but a bucket has no port.
_PASSWORD = rf"(?:[^\s@'\"<>]|{_QUOTE})+"
_NAME_BEFORE = r"[^\s/@:'\"<>\[]+"
_USER = re.compile(rf"\b([a-zA-Z][\w+.-]*)://((?:[^\s/'\"<>]|{_QUOTE})+|{_NAME_BEFORE}:(?!\d{{1,5}}/){_PASSWORD})@")
_USER_OF_BUCKET = re.compile(rf"\b({'|'.join(WITHOUT_PORT)})://({_NAME_BEFORE}:{_PASSWORD})@", re.IGNORECASE)
# The same where a URI was taken for a path, which leaves one slash of two: with a colon, as `host:/folder@x` is none.
_USER_IN_PATH = re.compile(rf"\b([a-zA-Z][\w+.-]*):/({_NAME_BEFORE}:(?!\d{{1,5}}/){_PASSWORD})@")
_OPTION = re.compile(rf"([?&;#])([\w.%-]+)=(?:[^&;\s'\"<>]|{_QUOTE})+")
_HEADER = re.compile(
    r"((?:authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+|\bx-api-key['\"]?\s*[:=]\s*['\"]?))"
    rf"(?:[^\s'\"]|{_QUOTE})+",
    re.IGNORECASE,
)
_NAME = re.compile(  # words at the end of a part, also written together with what is before, as in GHTOKEN; some alone
    r"(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|(SECRET|ACCESS|ACCOUNT|STORAGE|PRIVATE)_?KEY|"
    r"(^|_)(PASS|PAT|CREDENTIALS?|CONNECTION_STRING|JWT|COOKIES?))(_|$)|_(PWD|PW)$|^(SSHPASS|REDISCLI_AUTH)$"
)
_KEY = re.compile(r"[\w+/=.-]{12,}")  # of a variable with another name that ends in _KEY, as KAGGLE_KEY
_PLACES = ("_PATH", "_FILE", "_DIR", "_HOST", "_URL", "_MODE")  # of variables that say where a secret lies
_WITHOUT_SCHEME = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")  # and proxies: variables that may leave it out
_NEXT_URI = re.compile(r",(?=[a-zA-Z][\w+.-]*://)")
_given: set[str] = set()  # URIs with secrets, which libraries name elsewhere, in other forms


def without_secrets(text: str) -> str:
    """The text with *** for what is secret in it; any other text as it is."""
    known = dict(_of_environment())
    for uri in tuple(_given):
        known |= hidden_parts(uri)
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, known[secret])
    for pattern in (_USER_OF_BUCKET, _USER):
        text = pattern.sub(_hidden_user, text)
    text = _USER_IN_PATH.sub(rf"\g<1>:/{HIDDEN}@", text)
    return _HEADER.sub(rf"\g<1>{HIDDEN}", _OPTION.sub(_hidden_option, text))


def remember_secrets(uri: str) -> None:
    """Take note of the secrets of a URI that this program was given, so that any text is shown without them.

    They are found alone too, as libraries decode and encode them, whatever characters they have.
    """
    if hidden_parts(uri):
        _given.add(uri)


def has_secrets(uri: str) -> bool:
    """Whether a URI has a password or an option that is secret, or a secret of the environment in it."""
    return bool(hidden_parts(uri)) or without_secrets(uri) != uri


def remember_arguments(words: Iterable[str]) -> None:
    """Of a command line, before anything of it is shown: its URIs, also those behind a name, as in `--storage=URI`."""
    for word in words:
        remember_secrets(word)
        remember_secrets(word.partition("=")[2])


def _hidden_user(found: re.Match[str]) -> str:
    scheme, user = found[1], found[2]
    if scheme.lower() == "file" or (scheme.lower() in NO_SECRET and ":" not in user):
        return found[0]
    return f"{scheme}://{HIDDEN}@"


def _hidden_option(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={HIDDEN}" if is_secret_option(found[2]) else found[0]


def _of_environment() -> Mapping[str, str]:
    known: dict[str, str] = {}
    for name, value in os.environ.items():
        for uri in _uris_in(name.upper(), value):
            known |= hidden_parts(uri)
        named = _NAME.search(name.upper()) or (name.upper().endswith("_KEY") and _KEY.fullmatch(value))
        if named and len(value) >= SHORTEST and not _is_no_secret(name.upper(), value):
            known |= secret_forms(value)
    return known


def _uris_in(name: str, value: str) -> Iterable[str]:
    """Of a variable of the environment. Some list several servers, or have a URI within another text."""
    if "://" in value:
        return (*_NEXT_URI.split(value), *(found[0] for found in _USER.finditer(value)))
    return (f"http://{value}",) if name.endswith("_PROXY") or name in _WITHOUT_SCHEME else ()


def _is_no_secret(name: str, value: str) -> bool:
    """A place, though the name does not say so, or a number, such as a limit of tokens."""
    if name.endswith(_PLACES) or (value.isdecimal() and "PASS" not in name):
        return True
    return value.startswith("/") and os.path.exists(value)
