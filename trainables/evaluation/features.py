"""What does a network say of a data set's images, without gradients: features and logits?"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trainables.evaluation.dataset import Part
from trainables.recipe import DownstreamRecipe
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import CROPS

EVALUATION_BATCH = 256
CACHE_FRIENDLY_PIXELS = 1 << 20  # on a CPU a batch of more pixels costs page faults, not less time
# 256 images of 224 x 224 take some 2 GB of a GPU in half precision, and smaller ones no less work to keep it busy.
GPU_PIXELS, MOST_ON_GPU = EVALUATION_BATCH * 224 * 224, 4096


def evaluation_batch(part: Part, device: torch.device, crops: int = 1) -> int:
    """Images in a batch where no gradient is needed; in eval mode an image's result does not depend on it.

    crops: of each image that pass the network.
    """
    height, width = part.pixels.shape[1:]
    if device.type != "cpu":
        return max(8, min(MOST_ON_GPU, GPU_PIXELS // (crops * height * width)))
    # 2^20 pixels are 20 images of 224 x 224, or 256 of 64 x 64.
    return max(8, min(EVALUATION_BATCH, CACHE_FRIENDLY_PIXELS // (height * width)))


@torch.no_grad()
def features_of(
    backbone: nn.Module, recipe: DownstreamRecipe, part: Part, compute: Compute, flipped: bool = False
) -> Iterator[Tensor]:
    """Features of a part in batches of (b, D), in order, in eval mode and without augmentation.

    flipped: of the mirrored images. The backbone must lie on the device of `compute`, and stays in eval mode.
    """
    backbone.eval()
    size = evaluation_batch(part, compute.device)
    for start in range(0, len(part), size):
        rows = slice(start, min(start + size, len(part)))
        images = part.images(recipe, rows, np.full(rows.stop - start, flipped), compute.device)
        yield compute.features(backbone, images)


@torch.no_grad()
def test_logits(
    backbone: nn.Module, heads: Sequence[nn.Linear], recipe: DownstreamRecipe, part: Part, compute: Compute
) -> list[np.ndarray]:
    """(N, F) float32 logits of each head; with several crops an image that of the mean of their probabilities.

    Each image passes the backbone once, whatever the number of heads. Heads must lie on the device of `compute`.
    """
    # Not probabilities: in float32 they are exactly 1 from a logit of 17 on, and such images would tie in an AUROC.
    backbone.eval()
    for head in heads:
        head.eval()
    rows: list[list[Tensor]] = [[] for _ in heads]  # on the device, for which nobody waits before the last batch
    size = evaluation_batch(part, compute.device, CROPS if recipe.eval_spec.ten_crop else 1)
    for start in range(0, len(part), size):
        images = part.test_images(recipe, slice(start, start + size), compute.device)
        crops = images.shape[1] if images.ndim == 5 else 1
        features = compute.features(backbone, images.flatten(0, 1) if images.ndim == 5 else images)
        for head, found in zip(heads, rows, strict=True):
            logits = head(features).float()
            found.append(mean_of_crops(logits.view(-1, crops, logits.shape[-1])))
    return [torch.cat(found).cpu().numpy() for found in rows]


def check_finite(backbone: nn.Module, features: Tensor) -> None:
    """Raise FloatingPointError where features (N, D) of a network are no numbers, with what of it is to blame."""
    bad = ~torch.isfinite(features).all(dim=-1)
    if not bad.any():
        return
    tensors = backbone.state_dict().items()
    broken = [name for name, value in tensors if value.is_floating_point() and not torch.isfinite(value).all()]
    why = (
        f"its weights are not finite either: {len(broken)} of {len(tensors)} tensors, the first {broken[0]!r}"
        if broken
        else "its weights are finite, so it overflows on these images: check how they are fed, or take float32"
    )
    raise FloatingPointError(
        f"the encoder's features are NaN or infinite for {int(bad.sum())} of {bad.numel()} images; {why}"
    )


def mean_of_crops(logits: Tensor) -> Tensor:
    """(B, C, F) logits of an image's crops -> (B, F), the logit of the mean of their C probabilities."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    # The mean is of probabilities, not of logits: one extreme crop cannot outvote the nine others. With p their mean,
    # log(p / (1 - p)) = log(sum of sigmoid(z)) - log(sum of sigmoid(-z)), which neither rounds to 0 nor to 1.
    wide = logits.double()
    present, absent = (nn.functional.logsigmoid(side).logsumexp(dim=1) for side in (wide, -wide))
    return (present - absent).float()
