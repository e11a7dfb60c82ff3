"""Which files is an encoder exported as: safetensors under a library's names, its configuration, a model card."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from datasets_io.nearest import did_you_mean
from datasets_io.storage.artefacts import Artefacts, CorruptArtefact
from datasets_io.storage.disk import in_the_way
from sweep.export.feeding import feedings
from sweep.export.library_network import library_spec, library_tensors
from sweep.export.model_card import model_card
from sweep.export.preprocessing_files import timm_fields, transformers_fields
from sweep.store.damage import Damage, data_name, mend_of
from sweep.store.report_folder import without_html
from sweep.store.snapshot import OpenedStudy, Snapshot
from sweep.studies.bad_input import BadInput
from sweep.studies.cell import EncoderRun
from trainables.evaluation.cell_model import BACKBONE
from trainables.evaluation.exported_text import export_text
from trainables.evaluation.image_text import image_text_part
from trainables.networks.backbones import HUGGING_FACE, OWN_BACKBONES, build_backbone
from trainables.recipe import BackboneSpec, PretrainRecipe
from trainables.training.checkpoint import fill, read_weights, weights_to_bytes
from trainables.views.preprocessing import Preprocessing

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PROCESSOR = "preprocessor_config.json"
HEADS = "objective.safetensors"
UNFINISHED = ".unfinished"  # what an export is until it is whole


@dataclass(frozen=True)
class Export:
    """What was written: a folder and the names of its files. loads_in: the libraries that load it by themselves."""

    folder: Path
    files: tuple[str, ...]
    loads_in: tuple[str, ...]


def find_encoder(data: Snapshot | OpenedStudy, name: str) -> EncoderRun:
    """By row (`clip`, its first pretraining seed), by name (`clip-p0`) or by key. Raises BadInput."""
    # By seed, so that a row's name alone means its first pretraining, or the network of its first seed.
    runs = sorted(data.plan.encoders, key=lambda run: (run.pretrain_seed, run.network_seed or 0))
    for run in runs:
        if name in (run.row, str(run), run.key, f"{run}-{run.key}"):
            return run
    for run in runs:  # `random-p0`, where each downstream seed has drawn a network
        if name == f"{run.row}-p{run.pretrain_seed}":
            return run
    known = dict.fromkeys(run.row for run in data.plan.encoders)
    hint = did_you_mean(name, (*known, *map(str, runs)))
    raise BadInput(f"study {data.study.name!r} has no encoder {name!r}; it has {', '.join(known)}{hint}")


def export_encoder(data: Snapshot, run: EncoderRun, folder: Path) -> Export:
    """Write weights, configuration and model card.

    Raises BadInput for an encoder that is unfinished or damaged, and for a folder in use; then nothing is written. And
    OSError for a folder that cannot be written.
    """
    # All that can be refused is refused before the folder is made.
    done, _ = data.store.done_and_failed()
    if data.store.folder(run) not in done:
        raise BadInput(f"encoder {run} is not finished in {data.store.shown}")
    if (trouble := in_the_way(folder)) is not None:
        raise BadInput(f"--to {folder}: {trouble}; give a new folder")
    if folder.exists() and any(file.name != UNFINISHED for file in folder.iterdir()):
        raise BadInput(f"{folder} is not empty: give a new folder, so that nothing in it is replaced")
    if str(run) in data.damage:
        raise BadInput(f"encoder {run} is damaged: {data.damage[str(run)].sentence}")
    spec: BackboneSpec = run.recipe.backbone
    try:
        artefacts = data.store.open(run)
        tensors = read_weights(artefacts, BACKBONE)
        fill(build_backbone(spec, seed=0), tensors, f"{artefacts.folder}/{BACKBONE}")
        text = _text_tower(artefacts, run)
    except CorruptArtefact as error:
        raise BadInput(f"encoder {run} is damaged: {error.what}: {mend_of(error)}") from error
    except ValueError as error:
        raise BadInput(f"the text tower of encoder {run} cannot be exported: {error}") from error
    own = next(iter(feedings(data.study, spec))).way
    library = library_spec(spec)
    config, loads_in = _formats(library, own)
    contents = {WEIGHTS: weights_to_bytes(library_tensors(spec, tensors))}
    if config is not None:
        contents[CONFIG] = _as_json(config)
    # Of a timm network transformers reads timm's fields in config.json; one's own networks have neither.
    if library.name == HUGGING_FACE and (processor := transformers_fields(own)) is not None:
        contents[PROCESSOR] = _as_json(processor)
    contents |= text
    card = model_card(data, run, spec, artefacts, loads_in, tuple(contents))
    contents[CARD] = without_html(card).encode()
    _make_folder(folder, contents)
    return Export(folder, tuple(contents), loads_in)


def _make_folder(folder: Path, contents: dict[str, bytes]) -> None:
    """A folder with these files, whole or not at all: weights beside another model's card would load.

    Not by `Files`: what is exported is for others, readable as the user's umask says.
    """
    unfinished, stays = _unfinished(folder)
    shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
    unfinished.mkdir(parents=True)
    try:
        for name, content in contents.items():
            with (unfinished / name).open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        if stays:
            for name in contents:
                (unfinished / name).rename(folder / name)
        else:
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(folder: Path) -> tuple[Path, bool]:
    """Where the files are written first; and whether the folder stays, since none can replace it.

    So it is where another file system is mounted, such as a container's volume, or behind a link to a folder. Then
    they are written in it, as renames lead to no other file system.
    """
    if folder.is_dir() and (folder.is_mount() or folder.is_symlink()):  # `.` is taken for a mount, and stays too
        return folder / UNFINISHED, True
    place = folder.absolute()
    return place.with_name(f".{place.name}{UNFINISHED}"), False


def _as_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _formats(library: BackboneSpec, own: Preprocessing) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """A library's config.json for its network (library_spec), and the libraries that load it."""
    if library.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import whole_image_config

        return whole_image_config(dict(library.options)["config"]), ("transformers",)
    if library.name in OWN_BACKBONES:
        return None, ()
    return _timm_config(library, own), ("timm", "transformers")


def _timm_config(library: BackboneSpec, own: Preprocessing) -> dict[str, Any]:
    """config.json as timm.models.save_for_hf writes it; transformers reads it as a TimmWrapperModel."""
    architecture = library.name.split(".")[0]  # resnet50.a1_in1k: what follows the point names timm's own weights
    options: dict[str, Any] = dict(library.options)
    network: Any = timm.create_model(architecture, num_classes=0, **options)  # timm has no class for them
    of_network = network.pretrained_cfg
    if of_network.get("fixed_input_size"):
        # Else timm builds some networks for 224 x 224, and stretches their positions in silence.
        options.setdefault("img_size", list(of_network["input_size"][-2:]))
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": network.num_features,
        "model_args": options,
        "pretrained_cfg": {
            "num_classes": 0,
            "pool_size": None,
            **timm_fields(own)[0],
            # Names of two of its layers: timm changes these for another number of channels or classes.
            **{name: of_network.get(name) for name in ("first_conv", "classifier")},
        },
    }


def _text_tower(artefacts: Artefacts, run: EncoderRun) -> dict[str, bytes]:
    """Heads of a pretraining, and of a method with reports its text tower and tokenizer: for zero-shot use."""
    if isinstance(run.recipe, PretrainRecipe) and image_text_part(run.recipe.objective) is not None:
        return export_text(artefacts, run.recipe)
    return {HEADS: artefacts.read(HEADS)} if HEADS in artefacts.result["files"] else {}


def damage_left_out(data: Snapshot, run: EncoderRun) -> list[Damage]:
    """Damage in the data and in the cells of one encoder, whose numbers the model card does not have."""
    names = {str(cell) for cell in data.plan.cells if cell.encoder.key == run.key}
    names |= {data_name(source) for source in data.damaged_sources}
    return [found for name, found in data.damage.items() if name in names]
