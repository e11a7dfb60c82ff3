"""Which protocols are there, and what does a cell's key have of its own?"""

from trainables.protocols import fine_tune, linear_probe, lp_ft
from trainables.protocols.base import Protocol

PROTOCOLS: dict[str, Protocol] = {p.PROTOCOL.name: p.PROTOCOL for p in (lp_ft, linear_probe, fine_tune)}


def identity_of(protocol: str) -> str:
    """What a cell's key has of its protocol: its name, with a version above 1, and the same of what it starts from."""
    known = PROTOCOLS[protocol]
    own = protocol if known.version == 1 else f"{protocol} {known.version}"
    start = known.starts_from and identity_of(known.starts_from)
    return own if start == known.starts_from else f"{own} after {start}"
