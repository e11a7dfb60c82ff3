"""How long do timm's and lightly-train's own training scripts take, from files to weights, beside ours?

python -m benchmarks.scripts [--timm train.py] [--lightly PYTHON] [--quick]. --timm: the script of a checkout of
pytorch-image-models, which is in no package; --lightly: a Python of a throw-away environment that has lightly-train,
whose dependency pytorch-lightning radsweep does not install (SECURITY.md). RADSWEEP_TIMM_SCRIPT and
RADSWEEP_LIGHTLY_PYTHON name them too, for benchmarks.all. What is not named is left out, with a sentence.
Each side is a command of its own that begins with the same image files and ends with its weights: fine-tuning of a
ResNet-18 with validation after each epoch, and SimCLR. The peers decode the files in every epoch, in a process beside
the training's, and lightly-train has views and a head of its own; ours decodes them once, as its build does, and
prepares batches in a thread. Two numbers of epochs tell the rate from the start; the sides alternate, and the shorter
of each command's times counts. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.shared.common import report, row

FINE_TUNING, SIMCLR = "fine_tuning", "simclr"
CLASSES = ("negative", "positive")


@dataclass(frozen=True)
class Size:
    """Of one comparison. epochs: few and many, whose difference in time is the training's alone."""

    backbone: str
    side: int
    train: int
    val: int
    batch: int
    pretrain_batch: int
    epochs: tuple[int, int]
    rounds: int


FULL = Size("resnet18", 64, 512, 64, 16, 64, (1, 4), 2)
QUICK = Size("resnet18", 32, 16, 8, 8, 8, (1, 2), 1)
LIGHTLY = """
import sys, lightly_train
data, out, backbone, side, batch, epochs = sys.argv[1:]
lightly_train.pretrain(
    data=data, out=out, model=f"timm/{backbone}", method="simclr", epochs=int(epochs), batch_size=int(batch),
    num_workers=1, accelerator="cpu", devices=1, precision="32-true", overwrite=True,
    transform_args={"image_size": (int(side), int(side))},
)
"""


def write_files(folder: Path, size: Size) -> None:
    """Grey PNG files, <split>/<class>/<number>.png, as both scripts want them."""
    rng = np.random.default_rng(0)
    for split, count in (("train", size.train), ("validation", size.val)):
        for number in range(count):
            place = folder / split / CLASSES[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 256, (size.side, size.side), dtype=np.uint8)
            image[: size.side // 2] //= 1 + number % 2
            cv2.imwrite(str(place / f"{number:04}.png"), image)


def read_files(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, S, S) uint8 and targets (N, 1) float32 of 1 and 0."""
    paths = sorted((folder / split).rglob("*.png"))
    pixels = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths])
    return pixels, np.array([[path.parent.name == CLASSES[1]] for path in paths], dtype=np.float32)


# -- our commands: imports are here, since the peers' rows need none of it ---------------------------------------------


def fine_tune_ours(folder: Path, out: Path, size: Size, epochs: int) -> None:
    """A cell's training and its validation after each epoch; the weights of the best one."""
    import torch

    from trainables.evaluation.dataset import Part
    from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
    from trainables.networks.backbones import build_backbone, feature_dim
    from trainables.protocols import fine_tune
    from trainables.recipe import BackboneSpec, DownstreamRecipe
    from trainables.training.checkpoint import weights_to_bytes
    from trainables.training.precision import Compute
    from trainables.views.evaluation_spec import paper_nih

    parts = []
    for split in ("train", "validation"):
        pixels, targets = read_files(folder, split)
        ids = np.array([str(number) for number in range(len(pixels))])
        parts.append(Part(pixels, targets, np.ones(targets.shape, bool), ids, ids, ids))
    recipe = DownstreamRecipe(epochs, size.batch, "val_auroc", paper_nih(size.side))
    backbone = build_backbone(BackboneSpec(size.backbone, size.side), seed=0)
    settings = TrainingSettings(recipe, fine_tune.PROTOCOL.last_phase, 0, epochs, recipe.optimizer)
    images = LabelledImages(parts[0], np.arange(len(parts[0])), parts[1])
    head = new_head(feature_dim(backbone), 1, 0)
    state = Supervised(backbone, head, images, settings, Compute(torch.device("cpu"))).run()
    (out / "backbone.safetensors").write_bytes(weights_to_bytes(state.best_tensors["backbone"]))


def simclr_ours(folder: Path, out: Path, size: Size, epochs: int) -> None:
    """A pretraining with its views, its checkpoint and its weights."""
    import torch

    from datasets_io.corpus.read import CorpusIndex, resident_batches
    from trainables.batch import SSL_1, SSL_2
    from trainables.objectives.simclr import SimClrConfig
    from trainables.pretraining.encoder_job import EncoderJob, run_pretraining
    from trainables.pretraining.task import Corpus
    from trainables.recipe import BackboneSpec, OptimizerSpec, PretrainRecipe, Resources
    from trainables.views.view_spec import ssl_view_1, ssl_view_2

    pixels, _ = read_files(folder, "train")
    index = CorpusIndex([len(pixels)], [("files", 0)], np.ones(len(pixels), bool), size.side, [""] * len(pixels))
    two = CorpusIndex([2], [("files", 0)], np.ones(2, bool), size.side, ["", ""])
    corpus = Corpus(index, lambda plan, start: resident_batches(pixels, index, plan, start), two, pixels[:2])
    recipe = PretrainRecipe(
        backbone=BackboneSpec(size.backbone, size.side),
        objective=SimClrConfig(),
        optimizer=OptimizerSpec("adamw", 1e-4, (0.9, 0.98), 1e-5),
        text=None,
        views=((SSL_1, ssl_view_1(size.side)), (SSL_2, ssl_view_2(size.side))),
        num_epochs=epochs,
        global_batch_size=size.pretrain_batch,
        patience=None,
    )
    job = EncoderJob("simclr", "key", "encoders/simclr", recipe, 0)
    run_pretraining(job, str(out), corpus, Resources(), torch.device("cpu"), lambda progress: None)


OURS = {FINE_TUNING: fine_tune_ours, SIMCLR: simclr_ours}

# -- both sides --------------------------------------------------------------------------------------------------------

Command = Callable[[Path, int], list[str]]


def our_command(kind: str, folder: Path, quick: bool) -> Command:
    flags = ["--quick"] if quick else []
    return lambda out, epochs: [
        *(sys.executable, "-m", "benchmarks.scripts", "--ours", kind, str(folder), str(out), str(epochs)),
        *flags,
    ]


def timm_command(script: str, folder: Path, size: Size) -> Command:
    """Its own augmentations and label smoothing off, Adam, one loading process, as the cell of the paper trains."""
    flags = f"--model {size.backbone} --img-size {size.side} --num-classes 2 --device cpu -b {size.batch} --opt adam"
    flags += " --lr 1e-4 --weight-decay 0 --warmup-epochs 0 --cooldown-epochs 0 --no-aug --smoothing 0 --workers 1"
    flags += " --no-prefetcher --checkpoint-hist 1 --log-interval 1000"
    return lambda out, epochs: [
        *(sys.executable, script, str(folder), *flags.split(), "--epochs", str(epochs), "--output", str(out))
    ]


def lightly_command(python: str, folder: Path, size: Size) -> Command:
    """SimCLR with its own views and head."""
    fixed = (size.backbone, str(size.side), str(size.pretrain_batch))
    return lambda out, epochs: [python, "-c", LIGHTLY, str(folder / "train"), str(out / "run"), *fixed, str(epochs)]


def seconds_of(command: list[str]) -> float:
    """Raises CalledProcessError, with the end of what it said on stderr."""
    # One thread for arithmetic on every side; lightly-train counts its users unless it is told not to.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command[:3])
    return seconds


def compared(kind: str, sides: dict[str, Command], size: Size, root: Path) -> list[dict]:
    """Rows of one comparison. sides: ours first, then the peer, by its name."""
    few, many = size.epochs
    images = (many - few) * size.train
    taken = {name: {epochs: float("inf") for epochs in size.epochs} for name in sides}
    for number, epochs in itertools.product(range(size.rounds), size.epochs):
        for place, (name, command) in enumerate(sides.items()):
            out = root / f"{kind}-{number}-{epochs}-{place}"
            out.mkdir()
            taken[name][epochs] = min(taken[name][epochs], seconds_of(command(out, epochs)))
    (_, our_times), (peer, peer_times) = taken.items()
    batch = size.batch if kind == FINE_TUNING else size.pretrain_batch
    name = f"{kind}_{size.backbone}_{size.side}px_batch_{batch}"
    rates = [images / max(1e-3, times[many] - times[few]) for times in (our_times, peer_times)]
    whole = f"{name}_{many}_epochs_of_{size.train}_files"
    return [
        row("scripts", name, "images/s", rates[0], peer=rates[1], peer_name=peer, higher_is_better=True),
        row("scripts", whole, "s", our_times[many], peer=peer_times[many], peer_name=peer),
    ]


def figures(timm: str | None, lightly: str | None, quick: bool) -> list[dict]:
    size, rows = QUICK if quick else FULL, []
    with tempfile.TemporaryDirectory(prefix="radsweep-scripts-") as place:
        root, folder = Path(place), Path(place, "files")
        write_files(folder, size)
        if timm is not None:
            peers = {
                "ours": our_command(FINE_TUNING, folder, quick),
                "timm's train.py": timm_command(timm, folder, size),
            }
            rows += compared(FINE_TUNING, peers, size, root)
        if lightly is not None:
            peers = {
                "ours": our_command(SIMCLR, folder, quick),
                "lightly-train": lightly_command(lightly, folder, size),
            }
            rows += compared(SIMCLR, peers, size, root)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts", description=__doc__)
    timm, lightly = (os.environ.get(name) for name in ("RADSWEEP_TIMM_SCRIPT", "RADSWEEP_LIGHTLY_PYTHON"))
    parser.add_argument("--timm", metavar="FILE", default=timm, help="train.py of pytorch-image-models")
    parser.add_argument("--lightly", metavar="PYTHON", default=lightly, help="a Python with lightly-train")
    parser.add_argument("--quick", action="store_true", help="few images: checks that it works")
    parser.add_argument("--ours", nargs=4, metavar=("KIND", "FILES", "OUT", "EPOCHS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.ours:
        kind, folder, out, epochs = chosen.ours
        OURS[kind](Path(folder), Path(out), QUICK if chosen.quick else FULL, int(epochs))
        return 0
    for flag, name in ((chosen.timm, "--timm"), (chosen.lightly, "--lightly")):
        if flag is None:
            print(f"{name} is not given: its rows are left out", file=sys.stderr)
    report(figures(chosen.timm, chosen.lightly, chosen.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
