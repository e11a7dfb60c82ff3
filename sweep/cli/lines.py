"""How does a command without bars print a line whose text may come from a storage, or hold a secret?"""

import typer

from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines


def echo(text: str, err: bool = False) -> None:
    """Print it, without secrets and without what a terminal would obey. err: on stderr."""
    typer.echo(printable_lines(without_secrets(text)), err=err)


def bytes_text(count: float) -> str:
    """`18.9 GB`, in powers of 1000."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 999.5 * size else f"{count / size:.0f} {unit}"
    return f"{count:.0f} B"
