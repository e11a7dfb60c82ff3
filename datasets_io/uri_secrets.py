"""What is secret in a URI that this program was given, whatever characters it has, and how may a text name it?

In a text of others an apostrophe ends a URI; of a storage, a server or a proxy the whole is known, and is divided here.
"""

import html
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

HIDDEN = "***"
SHORTEST = 6  # a shorter value, such as `true`, would be found in words
NO_SECRET = ("file", "ssh", "git+ssh", "sftp", "hdfs", "abfs", "abfss", "wasb", "wasbs")  # a name alone: a container's
WITHOUT_PORT = ("s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "wasb", "wasbs", "hf")  # a bucket has none
_URI = re.compile(r"([a-zA-Z][\w+.-]+):(//?)(.*)", re.DOTALL)  # one slash where it was taken for a path
_PORT = re.compile(r"\d{0,5}")
_SERVER = re.compile(r"@[^@/?#]*:\d+(/|$)")  # at the end of a URI whose password has slashes
_SECRET_OPTION = re.compile(
    r"secret|token|password|passwd|credential|signature|(access|account|api)_?key|^sig$", re.IGNORECASE
)
_UNRESERVED = "!$&'()*+,;="  # what clients of HTTP leave as it is in a password
_DECODINGS = 3


@lru_cache(maxsize=1000)
def hidden_parts(uri: str) -> Mapping[str, str]:
    """Text -> what is to be shown for it: user and password with their @, options with a secret, each secret alone.

    Empty for a URI without secrets, and for what is no URI.
    """
    found: dict[str, str] = {}
    if (divided := _URI.fullmatch(uri)) is None:
        return found
    scheme, slashes, rest = divided[1].lower(), divided[2], divided[3]
    user = _user(scheme, rest)
    name, colon, password = user.partition(":")
    if user and scheme != "file" and (colon or (slashes == "//" and scheme not in NO_SECRET)):
        if colon or len(user) >= SHORTEST:  # a short name alone would be found in words
            found |= {f"{form}@": f"{HIDDEN}@" for form in forms(user)}
        found |= secret_forms(password if colon else name)
        for piece in re.split(r"[/?#]", password)[1:]:  # libraries take what stands behind a slash for a path
            found |= secret_forms(piece)
    options = re.split(r"[?#]", rest[len(user) :], maxsplit=1)
    if len(options) == 2:
        # Once by what libraries divide by, and once by all that divides somewhere.
        for option in {*options[1].split("&"), *re.split(r"[&;?#]", options[1])}:
            name, _, value = option.partition("=")
            if value and is_secret_option(name):
                found |= {f"{name}={form}": f"{name}={HIDDEN}" for form in forms(value)} | secret_forms(value)
    return found


def is_secret_option(name: str) -> bool:
    """Whether the value of an option of a URI is a secret, also where the name is percent-encoded."""
    for _ in range(_DECODINGS):
        name = unquote(name)
    return _SECRET_OPTION.search(name) is not None


def secret_forms(secret: str) -> dict[str, str]:
    """As `hidden_parts`, of a secret alone."""
    return {form: HIDDEN for form in forms(secret) if len(form) >= SHORTEST}


@lru_cache(maxsize=1000)
def forms(secret: str) -> frozenset[str]:
    """How texts name it: as it is, as libraries decode and encode it, and as Python, JSON, HTML, a shell or rich do."""
    decoded = unquote(secret)
    found = {secret, decoded, quote(secret, safe=""), *(quote(decoded, safe=kept) for kept in ("", "/", _UNRESERVED))}
    for text in tuple(found):
        found |= {repr(text)[1:-1], repr(f'{text}"')[1:-2], json.dumps(text)[1:-1]}  # a longer text has other quotes
        found |= {html.escape(text), html.escape(text, quote=False), text.replace("'", "'\"'\"'")}
        found |= {text.replace("[", "\\[")}
    return frozenset(found)


def _user(scheme: str, rest: str) -> str:
    """What stands before the @. rest: all behind the scheme. Empty where there is none, as before an @ of a path."""
    head = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in head:
        return head.rpartition("@")[0]
    _, colon, port = head.partition(":")
    if not colon or head.startswith("["):
        return ""
    # A password with a slash: of what can be no port, or before what can be no path.
    path = rest.partition("?")[0]
    user = (path if "@" in path else rest).rpartition("@")[0]
    may_be_port = _PORT.fullmatch(port) and scheme not in WITHOUT_PORT
    return "" if may_be_port and not _SERVER.match(rest[len(user) :]) else user
