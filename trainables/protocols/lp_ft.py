"""LPFT: linear probing, then fine-tuning from its best epoch (Kumar et al., 2022)."""

from trainables.protocols import fine_tune, linear_probe
from trainables.protocols.base import Protocol

PROTOCOL = Protocol(
    "LPFT",
    "fine-tuning after linear probing",
    phases=linear_probe.PROTOCOL.phases + fine_tune.PROTOCOL.phases,
    label_percents=(100,),
    starts_from=linear_probe.PROTOCOL.name,
)
