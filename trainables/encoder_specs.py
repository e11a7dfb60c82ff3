"""Which network, at which size and fed how: what a timm name or the files beside an encoder's weights say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets_io.nearest import did_you_mean
from trainables.networks.backbones import OWN_BACKBONES
from trainables.networks.weights_folder import OPEN_CLIP_FILES, WEIGHT_FILES, json_object
from trainables.recipe import IMAGE_SIZE, BackboneSpec
from trainables.views.preprocessing import Preprocessing
from trainables.views.published import of_open_clip, of_timm, of_transformers, processor_of_model

DATASET = "dataset"  # in place of a preprocessing: as the data set's EvalSpec says


def spec_of(
    name: str, image_size: int | None, options: tuple[tuple[str, Any], ...], own: Preprocessing | str
) -> BackboneSpec:
    """A network with its preprocessing, or with that of the data set (DATASET). image_size: as of spec_of_timm."""
    if isinstance(own, str):
        if own != DATASET:
            raise ValueError(
                f"preprocessing is {own!r}; allowed: a Preprocessing, {DATASET!r} for the data set's, or None"
            )
        return BackboneSpec(name, IMAGE_SIZE if image_size is None else image_size, options)
    own = own if image_size is None else own.at_size(image_size)
    return BackboneSpec(name, own.size, options, own)


def spec_of_timm(
    name: str, image_size: int | None, own: Preprocessing | str, options: tuple[tuple[str, Any], ...] = ()
) -> BackboneSpec:
    """A network of timm's, built for the size and the channels of its preprocessing; DATASET for the data set's.

    image_size: another size than the preprocessing's, which is scaled in proportion; None: its own. options: further
    ones of timm.create_model.
    """
    config = {} if name in OWN_BACKBONES else timm_config(name)
    # Positions of such a network are made for one size when it is built; others take any.
    made_for = config["input_size"][1] if config.get("fixed_input_size") else None
    if isinstance(own, str) and image_size is None:
        image_size = made_for
    spec = spec_of(name, image_size, (), own)
    options += (("in_chans", 1),) if spec.channels == 1 else ()
    if made_for not in (None, spec.image_size):
        options += (("img_size", spec.image_size),)
    return replace(spec, options=options)


def fed_spec(spec: BackboneSpec, image_size: int | None, own: Preprocessing | str | None, path: Path) -> BackboneSpec:
    """A specification with a preprocessing: its own, else the one that is asked for, else published_beside(path).

    At the size that the specification names; 224, which is not told from no size at all, gives way to that of the
    preprocessing. own: as of spec_of. Raises ValueError for a size or a preprocessing that contradicts it.
    """
    if image_size not in (None, spec.image_size):
        raise ValueError(
            f"image_size is {image_size}, and that of the BackboneSpec {spec.image_size}: give one of them"
        )
    if spec.preprocessing is not None:
        if own not in (None, spec.preprocessing):
            raise ValueError("there is a preprocessing, and another one in the BackboneSpec: give one of them")
        return spec
    if own is None:
        own = published_beside(path) or DATASET
    named = spec.image_size if image_size is not None or spec.image_size != IMAGE_SIZE else None
    return replace(spec_of(spec.name, named, (), own), options=spec.options)


def timm_config(name: str) -> dict[str, Any]:
    """The pretrained_cfg of timm's weights of this name; empty where timm does not know it.

    Raises ValueError for weights that timm does not have of a network that it knows.
    """
    import timm

    if not timm.is_model(name):
        return {}
    try:
        config: Any = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # what follows the point names no weights of it
        network = name.partition(".")[0]
        known = timm.list_pretrained(f"{network}.*")
        raise ValueError(
            f"timm has no weights {name!r}; of {network} it has {', '.join(known) or 'none'}{did_you_mean(name, known)}"
        ) from error
    return {} if config is None else dict(config.to_dict())


def published_beside(path: Path) -> Preprocessing | None:
    """What the configuration in a weights file's folder says, where it is the one weights file that folder is about.

    open_clip_config.json, preprocessor_config.json, or timm's config.json; None where the file is another.
    """
    if path.name not in (*WEIGHT_FILES, *OPEN_CLIP_FILES):
        return None
    if (found := _json(path.with_name("open_clip_config.json"))) is not None:
        model = found.get("model_cfg", {}).get("vision_cfg", {})
        return of_open_clip(found.get("preprocess_cfg", {}), model.get("image_size"))
    config = _json(path.with_name("config.json")) or {}
    if (processor := _json(path.with_name("preprocessor_config.json"))) is not None:
        return of_transformers(processor, processor_of_model(config.get("model_type", "")))
    return of_timm_folder(config)


def of_timm_folder(config: dict[str, Any]) -> Preprocessing | None:
    """What the config.json of a folder of timm's says; None for another library's."""
    if "architecture" not in config and "pretrained_cfg" not in config:
        return None
    # Older ones have the fields of pretrained_cfg beside the network's name.
    return of_timm(config.get("pretrained_cfg") or config)


def preprocessing_of_folder(folder: Path, model_type: str | None) -> Preprocessing:
    """What a transformers folder says. Raises ValueError where it says nothing, or what cannot be done here."""
    file = _json(folder / "preprocessor_config.json")
    if file is None and (own := of_timm_folder(_json(folder / "config.json") or {})) is not None:
        return own
    if file is None:  # newer ones hold it with that of texts
        file = (_json(folder / "processor_config.json") or {}).get("image_processor")
    if file is not None and not isinstance(file, dict):
        raise ValueError(f"{folder}/processor_config.json has an image_processor that is no JSON object: copy it again")
    if file is None:
        raise ValueError(
            f"{folder} has no preprocessor_config.json, which says how its network was trained to be fed: give "
            f"preprocessing=Preprocessing(...), or preprocessing={DATASET!r} to feed it as the data set says"
        )
    try:
        return of_transformers(file, processor_of_model(model_type or ""))
    except ValueError as error:
        raise ValueError(f"{folder}/preprocessor_config.json: {error}") from error


def _json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file. Raises ValueError where it is no JSON object."""
    return json_object(path) if path.is_file() else None
