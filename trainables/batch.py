"""What one pretraining step sees: views of the images and the tokens of their reports."""

from dataclasses import dataclass

from torch import Tensor

# Names of views: what CLIP pairs with the report, and the two that self-supervised objectives compare.
MULTI_MODAL, SSL_1, SSL_2 = "multi_modal", "ssl_1", "ssl_2"


@dataclass(frozen=True)
class Batch:
    """One worker's share of a step. B = images on this worker, T = tokens of the longest report.

    views: name -> (B, 3, H, W) float, normalised; input_ids, attention_mask: (B, T) int64, or None
    where no part of the method reads reports.
    """

    views: dict[str, Tensor]
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
