"""Which network of a library is an encoder for a reader: timm's own also where transformers' wrapper holds it?"""

from typing import Any

from torch import Tensor

from trainables.networks.backbones import HUGGING_FACE, images_of
from trainables.networks.image_outputs import OutputForm
from trainables.recipe import BackboneSpec


def library_spec(spec: BackboneSpec) -> BackboneSpec:
    """The backbone as its library has it: of a folder of timm's the timm network, of any other itself."""
    if spec.name != HUGGING_FACE:
        return spec
    from trainables.networks.hugging_face_images import timm_network

    found = timm_network(dict(spec.options)["config"])
    if found is None:
        return spec
    name, options = found
    # JSON has lists where timm has pairs; as tuples they can be hashed.
    values = ((key, tuple(value) if isinstance(value, list) else value) for key, value in options.items())
    return BackboneSpec(name, spec.image_size, tuple(values), spec.preprocessing)


def library_tensors(spec: BackboneSpec, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A stored backbone's tensors under the names that its library has for them."""
    if spec.name != HUGGING_FACE:
        return tensors
    # The backbone holds the transformers model as `model`, and the wrapper timm's network as `timm_model`.
    before = "model." if library_spec(spec).name == HUGGING_FACE else "model.timm_model."
    return {name.removeprefix(before): value for name, value in tensors.items()}


def timm_features(spec: BackboneSpec) -> str:
    """Code for the features of `images` by a timm `model`: its own pooled ones, or as the backbone pools."""
    if spec.name != HUGGING_FACE:
        return "model(images)"
    from trainables.networks.hugging_face_images import measured_form

    options: dict[str, Any] = dict(spec.options)
    pooling = options.get("pooling", "auto")
    form = measured_form(options["config"], pooling, images_of(spec))
    if pooling == "auto" and form.pooled:
        return "model(images)"
    return f"model.forward_features(images){_pooled(form, pooling)}"


def _pooled(form: OutputForm, pooling: str) -> str:
    """As OutputForm.features, written out."""
    if form.places != "tokens":
        return f".mean(dim={(2, 3) if form.places == 'map' else (1, 2)})"
    if pooling == "mean":
        return f"[:, {form.prefix}:{form.tokens - form.suffix}].mean(dim=1)"
    return "[:, 0]"
