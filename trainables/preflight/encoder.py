"""Does an encoder load fully, and give finite, repeatable and different features of the images that cells show it?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainables.encoder_source import load_source
from trainables.networks.backbones import HUGGING_FACE, build_backbone, feature_dim, load_imagenet
from trainables.networks.weights_file import file_sha256
from trainables.preflight.hub import is_by_name
from trainables.preflight.memory import saved_for_backward, step_bytes
from trainables.preflight.verdict import EncoderCheck, Misfit, Verdict, first_line
from trainables.recipe import BackboneSpec, EncoderSource, ImageNetInit, InitialRecipe
from trainables.training.precision import Compute
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

TRAINING_IMAGES = 2
SAME = 1e-4  # of the largest feature: two passes of one image differ by rounding only


def check_encoder(check: EncoderCheck) -> Verdict:
    """Load it, and feed it blank and random images of each dataset. Raises Misfit."""
    backbone = load_weights(check.recipe)
    _check_parameters(backbone)
    shown = {dataset: evaluation_images(check.recipe.backbone, spec, 3) for dataset, spec in check.datasets}
    fed: list[Tensor] = []
    for dataset, images in shown.items():
        if any(torch.equal(images, others) for others in fed):
            continue  # most studies show all their datasets alike, and a pass of a large network takes seconds
        fed.append(images)
        with feeding(backbone, check.recipe.backbone, f"dataset {dataset}", images):
            _check_features(backbone, dataset, images)
    if check.batch_size is None or not shown:
        return Verdict()
    dataset = max(shown, key=lambda name: shown[name].shape[-1])
    images = shown[dataset][-TRAINING_IMAGES:]
    with feeding(backbone, check.recipe.backbone, f"fine-tuning on {dataset}", images):
        saved = _train_once(backbone, images.contiguous())
    return Verdict(
        step_bytes=step_bytes(backbone, saved, TRAINING_IMAGES, check.batch_size), step_images=check.batch_size
    )


def evaluation_images(backbone: BackboneSpec, spec: EvalSpec, count: int) -> Tensor:
    """(count, C, S, S): what evaluation makes of a black picture and of random ones, as they are stored for it."""
    sees = BackboneInput(spec, backbone.image_size, backbone.preprocessing)
    fit, side = sees.fit("square"), spec.at_size(sees.size).stored_size
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)
    pixels[0] = 0
    made = pixels if fit is None else np.stack([fit(picture) for picture in pixels])
    return sees.images(made, None, torch.device("cpu"))


def load_weights(recipe: InitialRecipe) -> nn.Module:
    """The network with the weights that it will have, or drawn where those come later. Raises Misfit."""
    # Whether weights that are had by name can be fetched depends on the moment; what a file holds does not.
    by_name = is_by_name(recipe)
    try:
        if isinstance(recipe, EncoderSource):
            return load_source(recipe)
        if isinstance(recipe, ImageNetInit):
            _check_pinned(recipe)
            return load_imagenet(recipe, seed=0)
        return build_backbone(recipe.backbone, seed=0)
    except MemoryError:
        raise
    except ValueError as error:  # ours say what is wrong and what to do
        raise Misfit(f"cannot be loaded: {error}", lasting=not by_name) from error
    except OSError as error:
        raise Misfit(f"cannot be loaded: {first_line(error)}", lasting=False) from error
    except Exception as error:
        raise Misfit(
            f"cannot be built as {_name(recipe.backbone)} with these options: {first_line(error)}", lasting=not by_name
        ) from error


def _check_pinned(recipe: ImageNetInit) -> None:
    """A local file must be known by its content, or the results of one would be kept as those of the next."""
    if recipe.weights_file is not None and recipe.file_sha256 is None:
        found = file_sha256(Path(recipe.weights_file))
        raise ValueError(
            f"{recipe.weights_file} is known by its path alone, where another file may lie tomorrow: add "
            f"file_sha256={found!r} to its ImageNetInit"
        )


@contextmanager
def feeding(backbone: nn.Module, spec: BackboneSpec, by: str, images: Tensor) -> Iterator[None]:
    """What a network raises within the block, as a Misfit that says what it takes.

    images: (B, C, S, S), what it is shown; by: who shows it them.
    """
    try:
        yield
    except (Misfit, MemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise Misfit(f"{_not_taken(backbone, spec, by, images)} ({first_line(error)})") from error


def _check_parameters(backbone: nn.Module) -> None:
    tensors = {n: t for n, t in (*backbone.named_parameters(), *backbone.named_buffers()) if t.is_floating_point()}
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise Misfit(
            f"has NaN or infinite weights in {len(broken)} of {len(tensors)} tensors (first: {broken[0]}): the file "
            "is of a training that diverged; take an earlier checkpoint"
        )


@torch.no_grad()
def _check_features(backbone: nn.Module, dataset: str, images: Tensor) -> None:
    """In eval mode, as cells compute them: of a black image and two random ones."""
    backbone.eval()
    compute = Compute(torch.device("cpu"))
    features = compute.features(backbone, images)
    width = feature_dim(backbone)
    if (
        isinstance(features, Tensor)
        and features.shape[:1] == (3,)
        and features.ndim == 2
        and features.shape[1] != width
    ):
        raise Misfit(
            f"gives vectors of {features.shape[1]} numbers, and its network says that they have {width}: probes would "
            "work and fine-tuning would not; take another pooling of it, or another network"
        )
    if not isinstance(features, Tensor) or features.shape != (3, width):
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise Misfit(
            f"gives {found} for 3 images on dataset {dataset}, where one vector of {width} for each is expected: "
            "give it a pooling (of timm global_pool, of Hugging Face pooling='mean')"
        )
    finite = torch.isfinite(features).all(dim=1)
    if not bool(finite.all()):
        kind = "a blank image" if bool(finite[1:].all()) else "random images"
        raise Misfit(f"gives NaN or infinite features of {kind} of dataset {dataset}: its weights cannot be used")
    largest = float(features.abs().max())
    if float((compute.features(backbone, images[1:]) - features[1:]).abs().max()) > SAME * largest:
        raise Misfit(
            "gives other features for the same image each time, in eval mode: something in it is drawn at random "
            "(masking, dropout); turn that off in its options"
        )
    if bool((features[1] == features[2]).all()):
        raise Misfit(
            f"gives the same features for different images of dataset {dataset}: its weights, its pooling or its "
            "preprocessing are not those that it was trained with"
        )


def _train_once(backbone: nn.Module, images: Tensor) -> int:
    """A forward and a backward pass in training mode; bytes that were saved between them."""
    backbone.train().requires_grad_(True)
    with saved_for_backward((*backbone.parameters(), images)) as saved:
        features = backbone(images)
    features.float().sum().backward()
    backbone.zero_grad(set_to_none=True)
    return saved.total


def _not_taken(backbone: nn.Module, spec: BackboneSpec, by: str, images: Tensor) -> str:
    """What the network takes, as far as it tells, beside what it is shown."""
    channels, side = channels_taken(backbone), size_taken(backbone)
    given, size = images.shape[1], images.shape[-1]
    if channels is not None and channels != given:
        return (
            f"takes images of {channels} channel{'s' * (channels > 1)}, and {by} shows it {given}: leave in_chans as "
            "it is, or say with BackboneSpec.preprocessing how it wants its images"
        )
    if side is not None and side != size:
        hint = f"show it images of {side} (BuildSpec(image_size={side}) and EvalSpec({side}))"
        if spec.name != HUGGING_FACE:
            hint += f', or give the network the size (options=(("img_size", {size}),) of its BackboneSpec)'
        return f"takes images of {side} x {side}, and {by} shows it {size} x {size}: {hint}"
    return f"does not take images of {size} x {size} with {given} channels, as {by} shows them"


def channels_taken(backbone: nn.Module) -> int | None:
    """Of the first convolution, which stands at a network's input; None without one."""
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def size_taken(backbone: nn.Module) -> int | None:
    """Side in pixels that the network says it is made for; None where it does not say."""
    config = getattr(getattr(backbone, "model", None), "config", None)
    found = getattr(getattr(backbone, "patch_embed", None), "img_size", None) or getattr(config, "image_size", None)
    if found is None:
        found = getattr(backbone, "default_cfg", {}).get("input_size")
    if isinstance(found, tuple | list) and found:
        found = found[-1]
    return found if isinstance(found, int) else None


def _name(spec: BackboneSpec) -> str:
    return f"{spec.name!r} at {spec.image_size}"
