"""What does not fit between a file and a network, in words that say what would."""

import math
from collections import Counter

from torch import Tensor, nn

POSITIONS = ("pos_embed", "positional_embedding", "visual.positional_embedding", "position_embedding")
PATCHES = ("patch_embed.proj.weight", "patch_embed.projection.weight", "conv1.weight", "visual.conv1.weight")
HUGGING_FACE_NAMES = ("embeddings.patch_embeddings.", "embeddings.patch_embedding.", "embedder.embedder.")


def misfit(backbone: nn.Module, name: str, tensors: dict[str, Tensor], missing: list[str], wrong: list[str]) -> str:
    """A sentence on what is missing and of another shape, with what fits where that can be told.

    name: the network's in timm; tensors: the file's, below the nearest prefix; missing, wrong: the network's names.
    """
    wanted = backbone.state_dict()
    shapes = [_shapes(one, tensors.get(one), wanted[one]) for one in wrong[:3]]
    hints = (
        _whole_parts(wanted, missing),
        _channels(name, wanted, tensors),
        _size(backbone, name, tensors),
        _other_library(tensors) if missing else "",
    )
    counts = [f"{len(missing)} of {len(wanted)} tensors missing (first: {missing[:3]})"] if missing else []
    counts += [f"{len(wrong)} of another shape (first: {shapes})"] if wrong else []
    return "; ".join([*filter(None, hints), ", ".join(counts)])


def _shapes(name: str, given: Tensor | None, wanted: Tensor) -> str:
    if given is None:
        return name
    if given.shape == wanted.shape:
        return f"{name} is {given.dtype} in the file: save weights that are not quantised"
    return f"{name} is {tuple(given.shape)} in the file, {tuple(wanted.shape)} in the network"


def _whole_parts(wanted: dict[str, Tensor], missing: list[str]) -> str:
    """Parts of the network of which the file has nothing, where it has others: a ResNet without its layer4."""
    of = Counter(name.split(".")[0] for name in wanted if not name.endswith("num_batches_tracked"))
    gone = Counter(name.split(".")[0] for name in missing)
    parts = [part for part in of if gone[part] == of[part] and of[part] > 1]
    if not parts or len(missing) == sum(of.values()):
        return ""
    return f"it has nothing of {', '.join(parts[:4])}, so it is of a shorter or another network"


def _channels(name: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> str:
    """Where the first convolution takes another number of channels."""
    first = next((one for one, value in wanted.items() if value.ndim == 4), None)
    given = tensors.get(first) if first is not None else None
    if first is None or given is None or given.ndim != 4 or given.shape[1] == wanted[first].shape[1]:
        return ""
    channels = given.shape[1]
    return (
        f"its first convolution takes {channels} channel{'' if channels == 1 else 's'}, the network's "
        f"{wanted[first].shape[1]}: give BackboneSpec({name!r}, image_size, (('in_chans', {channels}),)) and a "
        f"preprocessing with channels={channels}"
    )


def _size(backbone: nn.Module, name: str, tensors: dict[str, Tensor]) -> str:
    """Where patches or places are of another size: which image_size the file is for."""
    embed = getattr(backbone, "patch_embed", None)
    side = getattr(embed, "patch_size", None)
    if not isinstance(side, tuple):
        return _window(backbone, name, tensors)
    given = next((tensors[one] for one in PATCHES if one in tensors), None)
    if given is not None and given.ndim == 4 and given.shape[-1] != side[0]:
        return (
            f"its patches are of {given.shape[-1]} pixels, the network's of {side[0]}: give a network with patches so"
        )
    places = next((tensors[one] for one in POSITIONS if one in tensors), None)
    if places is None or places.ndim < 2:
        return _window(backbone, name, tensors)
    count, now = places.shape[-2], getattr(embed, "num_patches", None)
    # The class token and registers may have places of their own.
    extra = {0, 1, int(getattr(backbone, "num_prefix_tokens", 1))}
    if now is None or now in {count - one for one in extra}:
        return ""
    grids = [
        math.isqrt(count - one) for one in sorted(extra) if count > one and math.isqrt(count - one) ** 2 == count - one
    ]
    if not grids:
        return f"its position embedding has {count} places, the network's {now}"
    size = grids[0] * side[0]
    return (
        f"its position embedding is for images of {size} pixels ({grids[0]} x {grids[0]} patches), the network's for "
        f"{math.isqrt(now) * side[0]}: give BackboneSpec({name!r}, {size}, (('img_size', {size}),))"
    )


def _window(backbone: nn.Module, name: str, tensors: dict[str, Tensor]) -> str:
    """Of a Swin, whose tables of places tell the side of its windows."""
    for one, value in backbone.state_dict().items():
        if one.endswith("relative_position_bias_table") and one in tensors and tensors[one].shape != value.shape:
            theirs, ours = ((math.isqrt(each.shape[0]) + 1) // 2 for each in (tensors[one], value))
            if theirs != ours:
                return (
                    f"its windows are of {theirs} x {theirs} places, the network's of {ours} x {ours}: give a network "
                    f"with that window and its size, as in BackboneSpec({name!r}, size, (('img_size', size), "
                    f"('window_size', {theirs})))"
                )
    return ""


def _other_library(tensors: dict[str, Tensor]) -> str:
    if any(part in one for one in tensors for part in HUGGING_FACE_NAMES):
        return "its names are those of Hugging Face transformers: give its folder with from_folder"
    return ""
