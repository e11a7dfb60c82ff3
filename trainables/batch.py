"""What one pretraining step sees: views of the images and the tokens of their reports."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# Names of views: what CLIP pairs with the report, and the two that self-supervised objectives compare.
MULTI_MODAL, SSL_1, SSL_2 = "multi_modal", "ssl_1", "ssl_2"


@dataclass(frozen=True)
class Pictures:
    """What views of a batch are rendered from, for objectives that want other workers' images rendered.

    pixels: (B, H, W) uint8, this worker's. render: name of a view, (b, H, W) uint8, (b,) int64 rows of the global batch
    on the CPU -> (b, 3, H, W), what the workers whose rows they are have in their views.
    """

    pixels: Tensor
    render: Callable[[str, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """One worker's share of a step. B = images on this worker, T = tokens of the longest report.

    views: name -> (B, 3, H, W) float, normalised; input_ids, attention_mask: (B, T) int64, or None
    where no part of the method reads reports. text_lengths: (B,) int64 on the CPU, up to the last token that is no
    padding, so that nobody asks the device for them; None where it is asked. pictures: None where no worker needs
    another's; where they are there, views that only they are for are not.
    """

    views: dict[str, Tensor]
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    text_lengths: Tensor | None = None
    pictures: Pictures | None = None

    def on_device(self) -> list[Tensor]:
        """Its tensors that are where the network is."""
        pixels = None if self.pictures is None else self.pictures.pixels
        rest = (self.input_ids, self.attention_mask, pixels)
        return [*self.views.values(), *(tensor for tensor in rest if tensor is not None)]
