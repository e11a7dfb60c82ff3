"""LP: a linear head on a frozen backbone."""

from trainables.protocols.base import Phase, Protocol

# 2: a head comes out in the same bits alone and beside those of other seeds.
PROTOCOL = Protocol("LP", "linear probing", phases=(Phase("head"),), label_percents=(100,), version=2)
