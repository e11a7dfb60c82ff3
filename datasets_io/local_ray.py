"""May its owner alone read the token that guards a local Ray? Ray itself would make it readable by everyone here."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

TOKEN = Path(".ray") / "auth_token"  # in the home folder, where Ray looks


def ensure_token() -> None:
    """For whoever starts Ray on this machine: whoever knows the token can run anything as its owner.

    A token that is there is left as it is. Where the home folder takes none, this process has one of its own.
    """
    # Nothing is guarded by a token in another mode, and one that the environment names needs no file.
    wanted = os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    if not wanted or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    path, token = Path.home() / TOKEN, secrets.token_hex(32)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # its mode is 600
            file.write(token)
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)  # whole or not at all: another driver may start in the same moment
    # A home folder that is full, read-only or absent must not keep a run from starting.
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = token
