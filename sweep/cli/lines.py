"""How does a command without bars print a line whose text may come from a storage, or hold a secret?"""

import typer

from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines


def echo(text: str, err: bool = False) -> None:
    """Print it, without secrets and without what a terminal would obey. err: on stderr."""
    typer.echo(printable_lines(without_secrets(text)), err=err)
