"""A finished encoder as files that timm and transformers load: `python -m sweep.export ENCODER --storage URI ...`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import timm
import typer
from torch import Tensor

from datasets_io.artefacts import Artefacts, CorruptArtefact
from sweep.cell import EncoderRun
from sweep.console import EXIT_BAD_INPUT, not_writable, storage_trouble
from sweep.damage import RUN_AGAIN_READING, Damage, data_name
from sweep.locate import BadInput, gather
from sweep.model_card import model_card
from sweep.report_data import ReportData
from trainables.backbones import HUGGING_FACE, OWN_BACKBONES, build_backbone
from trainables.checkpoint import weights_from_bytes, weights_to_bytes
from trainables.recipe import BackboneSpec
from trainables.views import IMAGENET_MEAN, IMAGENET_STD

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TEXT_FILES = ("objective.safetensors", "tokenizer.json")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Export:
    """What was written. loads_in: the libraries that load it by themselves."""

    folder: Path
    files: tuple[str, ...]
    loads_in: tuple[str, ...]


def find_encoder(data: ReportData, name: str) -> EncoderRun:
    """By row (`clip`, its first pretraining seed), by name (`clip-p0`) or by key. Raises BadInput."""
    runs = sorted(data.plan.encoders, key=lambda run: run.pretrain_seed)
    for run in runs:
        if name in (run.row, str(run), run.key, f"{run}-{run.key}"):
            return run
    known = ", ".join(dict.fromkeys(run.row for run in data.plan.encoders))
    raise BadInput(f"study {data.study.name!r} has no encoder {name!r}; it has {known}")


def export_encoder(data: ReportData, run: EncoderRun, folder: Path) -> Export:
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
            "num_classes": 0, "input_size": [3, size, size], "pool_size": None, "crop_pct": 1.0,
            "interpolation": "bilinear", "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD),
            **{name: network.pretrained_cfg.get(name) for name in ("first_conv", "classifier")},
        },
    }


def _text_tower(artefacts: Artefacts) -> dict[str, bytes]:
    """Heads, text tower and tokenizer of a pretraining, as they are stored: for zero-shot use."""
    return {name: artefacts.read(name) for name in TEXT_FILES if name in artefacts.result["files"]}


def _left_out_of(data: ReportData, run: EncoderRun) -> list[Damage]:
    """Damage in the data and in the cells of one encoder."""
    names = {str(cell) for cell in data.plan.cells if cell.encoder.key == run.key}
    names |= {data_name(source) for source in data.damaged_sources}
    return [found for name, found in data.damage.items() if name in names]


@app.command(epilog="The storage is only read. Exit codes: 0 exported; 2 bad input, an encoder that is unfinished or "
             "damaged, or a folder that cannot be written.")
def main(
    encoder: Annotated[str, typer.Argument(help="A row of the study (clip), or one of its encoders (clip-p0).")],
    storage: Annotated[str, typer.Option(help="The storage URI that sweep.run was given.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    study: Annotated[str, typer.Option(help="A study's name, or a Python file that defines study().")] = "demo",
    raw: Annotated[list[str] | None, typer.Option(help="SOURCE=DIR, as sweep.run was given.")] = None,
) -> None:
    """Write an encoder as safetensors with a model card that has its numbers."""
    try:
        data = gather(study, storage, raw or [])
        run = find_encoder(data, encoder)
        made = export_encoder(data, run, to.expanduser())
    except BadInput as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except OSError as error:
        if not not_writable(error):
            raise
        typer.echo(f"error: {storage_trouble(error, str(to))}; give a --to that can be written", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    for found in _left_out_of(data, run):
        typer.echo(f"damaged, and left out of the model card: {found.line}", err=True)
    loads = f"; {' and '.join(made.loads_in)} load it" if made.loads_in else ""
    typer.echo(f"{made.folder}: {', '.join(made.files)}{loads}")


if __name__ == "__main__":
    app()
