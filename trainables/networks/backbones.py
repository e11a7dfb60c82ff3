"""Image networks without a head: by timm name, with random or ImageNet weights.

timm and transformers take two seconds to import, in each process of a sweep: only where a network of theirs is asked.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datasets_io.nearest import did_you_mean
from trainables.networks.image_outputs import Images
from trainables.networks.weights_choice import check_finite, fitted
from trainables.networks.weights_file import read_tensors, read_weights
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


def check_backbone(spec: BackboneSpec, images: Images | None = None) -> None:
    """Raise ValueError for a name that neither timm nor this file knows, and for a network that cannot be a backbone.

    images: what it is to take, where that is known; where not, its own size will do. Needs no weights.
    """
    images = images or images_of(spec)
    if spec.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import check_options

        check_options(dict(spec.options), images)
        return
    if spec.name in OWN_BACKBONES:
        return
    import timm

    if timm.is_model(spec.name):
        from trainables.networks.timm_images import measure

        measure(spec.name, tuple(sorted(spec.options)), images)
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

            return build_image_network(dict(spec.options), images_of(spec))
        from trainables.networks.timm_images import create

        return create(spec.name, dict(spec.options), images_of(spec))


def images_of(spec: BackboneSpec) -> Images:
    """What a backbone is given."""
    return Images(spec.channels, spec.image_size)


def feature_dim(backbone: nn.Module) -> int:
    """Width of a backbone's output. Raises AttributeError where it is unknown."""
    # timm's num_features is the width of the last map: MobileNetV3, VGG and others go on with wider layers. What
    # build_backbone gives was measured; a network that timm gives with its own weights says its head's input.
    for name in ("measured_width", "head_hidden_size"):
        width: Any = getattr(backbone, name, None)
        if width is not None:
            return int(width)
    own: Any = backbone.num_features  # nn.Module types every attribute as a tensor or a module
    return int(own)


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
    path = Path(init.weights_file)
    if not init.by_order:
        tensors = fitted(backbone, spec.name, read_tensors(path, init.file_sha256), init.weights_file)
        check_finite(tensors, init.weights_file)
        backbone.load_state_dict(tensors)
        return backbone
    # For files whose names come from another library: the same layers in the same order.
    tensors = _rename_by_order(backbone, read_weights(path, init.file_sha256))
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


def _rename_by_order(backbone: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a file's tensors the network's names, one after the other; the classifier at the end is left over."""
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    # The counters have no learned content, and files of other libraries lack them.
    values = [value for name, value in tensors.items() if not name.endswith("num_batches_tracked")]
    if len(values) < len(names):
        raise ValueError(f"by_order needs at least {len(names)} tensors, the file has {len(values)}")
    return dict(zip(names, values, strict=False))
