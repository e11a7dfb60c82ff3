"""ConVIRT: CLIP's loss weighted towards image-to-text, a half-frozen text tower (Zhang et al., 2020)."""

from dataclasses import dataclass
from typing import ClassVar

from trainables.networks.heads import HeadSpec
from trainables.objectives.clip import ClipConfig


@dataclass(frozen=True)
class ConvirtConfig(ClipConfig):
    """Of the text tower the embeddings and the six layers nearest the input are fixed.

    lambda_i2t is 0.75 as in ConVIRT's own paper and the released code; 0.5 reads the text literally.
    """

    image_head: HeadSpec = HeadSpec(dims=(512, 512), norm="batch", act="relu")
    text_head: HeadSpec = HeadSpec(dims=(512, 512), norm="batch", act="relu")
    temperature: float = 0.1
    lambda_i2t: float = 0.75
    frozen_layers: int = 6
    freeze_embeddings: bool = True

    display: ClassVar[str] = "ConVIRT"
    loss_name: ClassVar[str] = "convirt"

    @staticmethod
    def released() -> "ConvirtConfig":
        """The released code's heads, without batch norm, and embeddings that are trained."""
        head = HeadSpec(dims=(512, 512), act="relu")
        return ConvirtConfig(image_head=head, text_head=head, freeze_embeddings=False)
