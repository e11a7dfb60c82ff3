"""Where do model cards import `build_backbone` from? Those exported by 0.1.0 name this module, and newer ones do too.

Kept for them (docs/compatibility.md): a card lies beside its weights, on a disk or a hub, and is read for years.
"""

from trainables.networks.backbones import build_backbone

__all__ = ["build_backbone"]
