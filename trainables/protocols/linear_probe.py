"""LP: a linear head on a frozen backbone."""

from trainables.protocols.base import Phase, Protocol

PROTOCOL = Protocol("LP", "linear probing", phases=(Phase("head"),), label_percents=(100,))
