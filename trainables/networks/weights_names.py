"""Names of a network's tensors in files of other code, and what they are called in timm's network.

Most are known to timm, which reads its families' original files with a function of each family's module. A few layouts
that it does not read are here, where the renaming is certain: nothing is computed, apart from what timm computes.
"""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn, zeros
from torch.overrides import TorchFunctionMode

# timm's names for the function of a family that reads its original files.
FILTERS = ("checkpoint_filter_fn", "_filter_torchvision_pretrained", "_filter_fn")
TABLE = "relative_position_bias_table"
# A torchvision ResNet as nn.Sequential(*children): what each number was (RadImageNet, MedKLIP, KAD's res_features).
RESNET_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
# mmpretrain's VisionTransformer, by its own converter to timm's names.
MMPRETRAIN_VIT = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^layers\.(\d+)\.ln([12])\.", r"blocks.\1.norm\2."),
    (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"blocks.\1.mlp.fc1."),
    (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"blocks.\1.mlp.fc2."),
    (r"^layers\.(\d+)\.", r"blocks.\1."),
    (r"^ln1\.", "norm."),
)


class _ResizedError(Exception):
    """A filter would make an embedding for another size out of the file's."""


class _NoResizing(TorchFunctionMode):
    """timm's filters fit an embedding of another size by interpolation: another network than the file's, in silence."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.interpolate:
            raise _ResizedError
        return func(*args, **(kwargs or {}))


def renamed(backbone: nn.Module, name: str, tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors under other names, each way that may fit: as known here, then as timm's family reads its files.

    name: timm's of the backbone. tensors: by the names below a prefix. A way that would resize an embedding is none.
    """
    known = _known_layouts(tensors)
    if known.keys() != tensors.keys():
        yield known
    read = _family_filter(name)
    if read is None:
        return
    # timm fits these to another window by a grid of its own, not by interpolate.
    tables = {one: value.shape for one, value in backbone.state_dict().items() if one.endswith(TABLE)}
    if any(one in known and known[one].shape != shape for one, shape in tables.items()):
        return
    try:
        # Some filters take names out of the dict that they are given, and one prints.
        with _NoResizing(), contextlib.redirect_stdout(io.StringIO()):
            found = read(dict(known), backbone)
    except Exception:  # a filter that expects another layout fails in ways of its own: this file is not of its kind
        return
    yield {one: value for one, value in found.items() if isinstance(value, Tensor)}


def _family_filter(name: str) -> Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None:
    """timm's function that reads the original files of the family of a network, or None."""
    import timm

    if not timm.is_model(name):
        return None
    module = sys.modules[timm.model_entrypoint(name.split(".")[0]).__module__]
    function = next((getattr(module, one) for one in FILTERS if hasattr(module, one)), None)
    if function is None:
        return None

    def read(tensors: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
        # As timm's own builders call it: deit3's layer scales have other names, and a few functions take no network.
        if module.__name__ == "timm.models.deit":
            return function(tensors, backbone, adapt_layer_scale=True)
        return function(tensors) if function.__code__.co_argcount == 1 else function(tensors, backbone)

    return read


def _known_layouts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layouts that timm does not read, in names that the network has or that timm reads."""
    if any(re.match(r"blocks\.\d+\.\d+\.", name) for name in tensors):
        # DINOv2 trains in chunks of blocks: blocks.<chunk>.<block>, and the block's number goes on over the chunks.
        tensors = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): value for name, value in tensors.items()}
    if "register_tokens" in tensors and "mask_token" not in tensors:
        # By its mask token timm knows DINOv2; some files were saved without it, and nothing else of it is read.
        tensors = {**tensors, "mask_token": zeros(1, tensors["register_tokens"].shape[-1])}
    if "class_embedding" in tensors or "attnpool.positional_embedding" in tensors:
        # OpenAI's image tower saved alone; timm knows it by its name in the whole CLIP.
        tensors = {f"visual.{name}": value for name, value in tensors.items()}
    if "patch_embed.projection.weight" in tensors and any(name.startswith("layers.0.ffn.") for name in tensors):
        for pattern, name in MMPRETRAIN_VIT:
            tensors = {re.sub(pattern, name, one): value for one, value in tensors.items()}
    if {"0.weight", "1.running_mean", "4.0.conv1.weight"} <= tensors.keys():
        children = {name: name.partition(".") for name in tensors}
        tensors = {
            f"{RESNET_CHILDREN.get(first, first)}.{rest}": tensors[name] for name, (first, _, rest) in children.items()
        }
    return tensors
