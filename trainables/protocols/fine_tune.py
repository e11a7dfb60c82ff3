"""FT: backbone and head trained together from the encoder."""

from trainables.protocols.base import Phase, Protocol

PROTOCOL = Protocol("FT", "fine-tuning", phases=(Phase("all"),), label_percents=(1, 10, 100))
