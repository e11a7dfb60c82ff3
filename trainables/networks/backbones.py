"""Image networks without a head: by timm name, with random or ImageNet weights.

timm and transformers take two seconds to import, in each process of a sweep: only where a network of theirs is asked.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from datasets_io.nearest import did_you_mean
from trainables.recipe import BackboneSpec, ImageNetInit
from trainables.training.devices import seeded


class DemoCnn(nn.Module):
    """Four strided convolutions: small enough that a laptop's core trains hundreds of images a second.

    (B, 3, H, W) -> (B, 128): mean and maximum over the last map, since findings may be small.
    """

    num_features = 128

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 12, 24, 48, 64)
        blocks: list[nn.Module] = []
        for i in range(4):
            blocks += [
                nn.Conv2d(widths[i], widths[i + 1], 3, stride=2 if i < 3 else 1, padding=1, bias=False),
                nn.BatchNorm2d(widths[i + 1]),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*blocks)
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                # As ResNets do: torch's own default shrinks the maps layer by layer, and a linear probe of a random
                # network, whose batch norms have seen nothing yet, would start fine-tuning from absurd weights.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128)."""
        maps = self.layers(x)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


OWN_BACKBONES: dict[str, type[nn.Module]] = {"demo_cnn": DemoCnn}
HUGGING_FACE = "transformers"


def check_backbone(spec: BackboneSpec) -> None:
    """Raise ValueError for a name that neither timm nor this file knows. Needs no weights."""
    if spec.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import check_options

        check_options(dict(spec.options))
        return
    if spec.name in OWN_BACKBONES:
        return
    import timm

    if timm.is_model(spec.name):
        return
    similar = similar_names(spec.name)
    raise ValueError(f"unknown backbone {spec.name!r}; allowed: demo_cnn, transformers, or a timm model name{similar}")


def similar_names(name: str) -> str:
    """The end of a sentence that refuses a name: relatives of timm's, and the nearest of all known names."""
    import timm

    # timm's names begin with their family, as in `efficientnet_b0`: eight letters of it find the relatives.
    stem = name.split(".")[0]
    similar = ", ".join(timm.list_models(f"*{stem[:8]}*")[:5]) or "see timm.list_models()"
    return f"; similar: {similar}{did_you_mean(stem, (*OWN_BACKBONES, HUGGING_FACE, *timm.list_models()))}"


def build_backbone(spec: BackboneSpec, seed: int) -> nn.Module:
    """A backbone with its own initialisation drawn from `seed`; (B, 3, H, W) -> (B, feature_dim).

    Raises ValueError for an unknown name or options that fit no network. The generator of the caller is left as it was.
    """
    check_backbone(spec)
    with seeded(seed):
        if spec.name in OWN_BACKBONES:
            return OWN_BACKBONES[spec.name]()
        if spec.name == HUGGING_FACE:
            from trainables.networks.hugging_face_images import build_image_network

            return build_image_network(dict(spec.options))
        import timm

        return timm.create_model(spec.name, pretrained=False, num_classes=0, **dict(spec.options))


def feature_dim(backbone: nn.Module) -> int:
    """Width of a backbone's output. Raises AttributeError for a network without num_features, timm's name for it."""
    width: Any = backbone.num_features  # nn.Module types every attribute as a tensor or a module
    return int(width)


def load_imagenet(init: ImageNetInit, seed: int) -> nn.Module:
    """A backbone with ImageNet weights. Never falls back to a random one: raises ValueError instead."""
    spec = init.backbone
    if init.weights_file is None:
        import timm

        try:
            return timm.create_model(spec.name, pretrained=True, num_classes=0, **dict(spec.options))
        except Exception as error:
            raise ValueError(
                f"cannot get ImageNet weights for {spec.name!r} from timm ({type(error).__name__}: {error}); "
                "on a machine without a network set ImageNetInit.weights_file to a local .safetensors or .pth file"
            ) from error
    backbone = build_backbone(spec, seed)
    tensors = read_weights(Path(init.weights_file), init.file_sha256)
    # For files whose names come from another library: the same layers in the same order.
    if init.by_order:
        tensors = _rename_by_order(backbone, tensors)
    wanted = backbone.state_dict()
    missing = sorted(name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked"))
    wrong = sorted(name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape)
    if missing or wrong:
        raise ValueError(
            f"{init.weights_file} does not fit {spec.name!r}: {len(missing)} tensors missing "
            f"(first: {missing[:3]}), {len(wrong)} of another shape (first: {wrong[:3]})"
        )
    backbone.load_state_dict({name: tensors.get(name, wanted[name]) for name in wanted})
    return backbone


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a .safetensors or a .pth file (read with weights_only, so no code in it runs), on the CPU.

    Raises ValueError where there is no file, or its sha256 is another than the one given.
    """
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"weights file {path} is not the one the recipe names: its sha256 differs from {sha256}")
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    # Training scripts wrap the weights: {"state_dict": {...}, "epoch": ...}, or {"model": {...}}.
    for inner in ("state_dict", "model"):
        content = content.get(inner, content)
    return dict(content)


def _rename_by_order(backbone: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a file's tensors the network's names, one after the other; the classifier at the end is left over."""
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    # The counters have no learned content, and files of other libraries lack them.
    values = [value for name, value in tensors.items() if not name.endswith("num_batches_tracked")]
    if len(values) < len(names):
        raise ValueError(f"by_order needs at least {len(names)} tensors, the file has {len(values)}")
    return dict(zip(names, values, strict=False))
