"""Which files is an encoder exported as: safetensors under a library's names, its configuration, a model card."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from datasets_io.storage.artefacts import Artefacts, CorruptArtefact
from sweep.export.model_card import model_card
from sweep.store.damage import RUN_AGAIN_READING, Damage, data_name
from sweep.store.snapshot import Snapshot
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun
from trainables.networks.backbones import HUGGING_FACE, OWN_BACKBONES, build_backbone
from trainables.recipe import BackboneSpec
from trainables.training.checkpoint import weights_from_bytes, weights_to_bytes
from trainables.views.render import IMAGENET_MEAN, IMAGENET_STD

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TEXT_FILES = ("objective.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class Export:
    """What was written. loads_in: the libraries that load it by themselves."""

    folder: Path
    files: tuple[str, ...]
    loads_in: tuple[str, ...]


def find_encoder(data: Snapshot, name: str) -> EncoderRun:
    """By row (`clip`, its first pretraining seed), by name (`clip-p0`) or by key. Raises BadInput."""
    runs = sorted(data.plan.encoders, key=lambda run: run.pretrain_seed)
    for run in runs:
        if name in (run.row, str(run), run.key, f"{run}-{run.key}"):
            return run
    known = ", ".join(dict.fromkeys(run.row for run in data.plan.encoders))
    raise BadInput(f"study {data.study.name!r} has no encoder {name!r}; it has {known}")


def export_encoder(data: Snapshot, run: EncoderRun, folder: Path) -> Export:
    """Write weights, configuration and model card.

    Raises BadInput for an encoder that is unfinished or damaged, and for a folder in use; then nothing is written.
    """
    done, _ = data.store.done_and_failed()
    if data.store.folder(run) not in done:
        raise BadInput(f"encoder {run} is not finished in {data.store.uri}")
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty: give a new folder, so that nothing in it is replaced")
    if str(run) in data.damage:
        raise BadInput(f"encoder {run} is damaged: {data.damage[str(run)].sentence}")
    spec: BackboneSpec = run.recipe.backbone
    try:
        artefacts = data.store.open(run)
        tensors, text = weights_from_bytes(artefacts.read("backbone.safetensors")), _text_tower(artefacts)
    except CorruptArtefact as error:
        raise BadInput(f"encoder {run} is damaged: {error.what}: {RUN_AGAIN_READING}") from error
    build_backbone(spec, seed=0).load_state_dict(tensors)  # what is exported must be whole
    tensors, config, loads_in = _formats(spec, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    written = {WEIGHTS: weights_to_bytes(tensors)}
    if config is not None:
        written[CONFIG] = (json.dumps(config, indent=1, sort_keys=True) + "\n").encode()
    written |= text
    written[CARD] = model_card(data, run, spec, artefacts, loads_in, tuple(written)).encode()
    for name, content in written.items():
        (folder / name).write_bytes(content)
    return Export(folder, tuple(written), loads_in)


def _formats(spec: BackboneSpec, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any] | None, tuple]:
    """Tensors under the names a library has for them, its config.json, and the libraries."""
    if spec.name == HUGGING_FACE:
        config = json.loads(dict(spec.options)["config"])
        return {name.removeprefix("model."): value for name, value in tensors.items()}, config, ("transformers",)
    if spec.name in OWN_BACKBONES:
        return tensors, None, ()
    return tensors, _timm_config(spec), ("timm", "transformers")


def _timm_config(spec: BackboneSpec) -> dict[str, Any]:
    """As timm.save_for_hf writes it; transformers reads it as a TimmWrapperModel."""
    architecture = spec.name.split(".")[0]
    network = timm.create_model(architecture, num_classes=0, **dict(spec.options))
    size = spec.image_size
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": network.num_features,
        "model_args": dict(spec.options),
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [3, size, size],
            "pool_size": None,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            **{name: network.pretrained_cfg.get(name) for name in ("first_conv", "classifier")},
        },
    }


def _text_tower(artefacts: Artefacts) -> dict[str, bytes]:
    """Heads, text tower and tokenizer of a pretraining, as they are stored: for zero-shot use."""
    return {name: artefacts.read(name) for name in TEXT_FILES if name in artefacts.result["files"]}


def _left_out_of(data: Snapshot, run: EncoderRun) -> list[Damage]:
    """Damage in the data and in the cells of one encoder."""
    names = {str(cell) for cell in data.plan.cells if cell.encoder.key == run.key}
    names |= {data_name(source) for source in data.damaged_sources}
    return [found for name, found in data.damage.items() if name in names]
