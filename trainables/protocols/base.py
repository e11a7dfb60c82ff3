"""What a protocol is: phases of training that start from an encoder or from another protocol's best epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """trains: `head` (the backbone is frozen) or `all`."""

    trains: str


@dataclass(frozen=True)
class Protocol:
    """How an encoder is evaluated.

    `starts_from` names the protocol whose finished cell of the same encoder, dataset and seed is this one's
    first phases: it is computed once and serves both. `label_percents` is what the paper's table has.
    version: raised when its results change; `identity_of` makes it part of its cells' keys, and of those that go on
    from it.
    """

    name: str
    title: str
    phases: tuple[Phase, ...]
    label_percents: tuple[int, ...]
    starts_from: str | None = None
    version: int = 1

    @property
    def last_phase(self) -> Phase:
        """The phase that a cell of this protocol trains itself; those before it are cells of `starts_from`."""
        return self.phases[-1]

    @property
    def seeds_together(self) -> bool:
        """Heads on a frozen backbone share its features, so all seeds of an encoder are one job."""
        return self.last_phase.trains == "head"
