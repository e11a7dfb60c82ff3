"""How long does it take to try the networks of a study of twenty rows before any work, and how soon is a word said?

python -m benchmarks.preflight [--quick]. Ten files of weights of timm's networks and ten folders of Hugging Face's, at
their usual sizes and with random numbers: each is loaded, fed, and trained for a step; then verdicts are read.
And a run of the demo until it shows its first bar, beside a process that only imports torch and starts Ray. One JSON
line for each figure on stdout, a table on stderr.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.shared.common import report, row
from benchmarks.shared.first_words import BARE, bare_start, first_words
from datasets_io.fingerprint import fingerprint
from sweep.cli.display import Display
from sweep.engine.preflight import Preflight, left_of, preflight
from sweep.store.store import Store
from sweep.store.verdicts import FOLDER
from sweep.studies import BASELINE, EncoderRow, Study, demo
from sweep.studies.plan import make_plan
from trainables.encoder_source import from_file, from_folder
from trainables.recipe import EncoderSource
from trainables.views.preprocessing import Preprocessing

LIMIT_SECONDS, STARTS = 60.0, 3
SIZE = 224
TIMM = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "regnety_032",
    "resnet18",
    "resnet50",
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_224",
    "vit_small_patch16_224",
)
# A name -> the kind, and what its usual size differs in from the values of transformers.
HUGGING_FACE: dict[str, tuple[str, dict[str, Any]]] = {
    "beit_base": ("beit", {}),
    "clip_base": ("clip_vision_model", {"patch_size": 16}),
    "convnext_tiny": ("convnext", {}),
    "deit_base": ("deit", {}),
    "dinov2_base": ("dinov2", {"image_size": SIZE, "patch_size": 14}),
    "dinov2_small": ("dinov2", {"hidden_size": 384, "num_attention_heads": 6, "image_size": SIZE, "patch_size": 14}),
    "resnet50": ("resnet", {}),
    "siglip_base": ("siglip_vision_model", {}),
    "swin_tiny": ("swin", {}),
    "vit_base": ("vit", {}),
}
FEW_TIMM = ("test_vit",)
FEW_HUGGING_FACE: dict[str, tuple[str, dict[str, Any]]] = {
    "small": (
        "vit",
        {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "patch_size": 32,
        },
    )
}


@dataclass(frozen=True)
class Tried:
    """One run of a study's preflight."""

    found: Preflight
    seconds: float


def sources(folder: Path, quick: bool) -> dict[str, EncoderSource]:
    """Rows with their weights written into a folder."""
    import timm
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    made: dict[str, EncoderSource] = {}
    for name in FEW_TIMM if quick else TIMM:
        path = folder / f"{name}.safetensors"
        save_file(timm.create_model(name, num_classes=0).state_dict(), path)
        made[name] = from_file(path, name)
    for name, (kind, values) in (FEW_HUGGING_FACE if quick else HUGGING_FACE).items():
        model = AutoModel.from_config(AutoConfig.for_model(kind, **values))
        model.save_pretrained(folder / f"hf_{name}")
        made[f"hf_{name}"] = from_folder(folder / f"hf_{name}", preprocessing=Preprocessing(SIZE))
    return made


def study_of(made: dict[str, EncoderSource]) -> Study:
    """The demo's datasets and protocols, fine-tuning among them, with these rows."""
    rows = tuple(EncoderRow(name, name, BASELINE, source) for name, source in made.items())
    return replace(demo(), name="preflight", rows=rows)


def tried(study: Study, store: Store) -> Tried:
    """As sweep.run does it."""
    plan = make_plan(study, {build.label: "made up" for build in study.data_builds()}, {})
    started = time.perf_counter()
    left, _ = left_of(plan, store)
    with Display(Console(file=io.StringIO())) as display:
        found = preflight(study, left, store, display, keep=True)
    return Tried(found, time.perf_counter() - started)


def figures(quick: bool) -> list[dict]:
    """Raises ArithmeticError where a row is refused, or where the second time finds something else."""
    with tempfile.TemporaryDirectory(prefix="radsweep-preflight-") as folder:
        made = sources(Path(folder), quick)
        study, store = study_of(made), Store(f"{folder}/storage")
        first, second = tried(study, store), tried(study, store)
        if first.found.unfit or first.found.warnings:
            raise ArithmeticError(f"{first.found.unfit or first.found.warnings}")
        kept = len(os.listdir(f"{folder}/storage/{FOLDER}"))
    if kept != len(made) or fingerprint(second.found.memory) != fingerprint(first.found.memory):
        raise ArithmeticError(f"{kept} of {len(made)} verdicts are kept, and the second time found other ones")
    return [
        row(
            "preflight",
            f"first_{len(made)}_rows",
            "s",
            first.seconds,
            peer=LIMIT_SECONDS,
            peer_name="the minute that it may take",
        ),
        row("preflight", f"second_{len(made)}_rows", "s", second.seconds),
        *_start(quick),
    ]


def _start(quick: bool) -> list[dict]:
    """The shortest of some starts; the two sides alternate."""
    ours, bare = [], []
    for _ in range(1 if quick else STARTS):
        with tempfile.TemporaryDirectory(prefix="radsweep-start-") as folder:
            ours.append(first_words(["--storage", f"{folder}/storage"]))
        bare.append(bare_start("import torch" if quick else BARE))
    peer = {"peer": min(bare), "peer_name": "import torch; ray.init()"}
    return [
        row("preflight", "start_first_line", "s", min(words.line for words in ours), **peer),
        row("preflight", "start_first_bar", "s", min(words.bar for words in ours), **peer),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preflight", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small networks: checks that it works")
    report(figures(parser.parse_args(arguments).quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
