"""What does a view cost the host over a long stream, against DataLoader, Pillow and torchvision on JPEG files?

python -m benchmarks.stream [--quick]. Core-milliseconds are the time that all processes of the program spend on
processors, Ray's own included, divided by the views delivered, from the start of a stream to its end; Ray and its
workers have started before. "on device": batches and view parameters are made, and a device would render. "on host":
OpenCV renders and normalises. The peer does the paper's multi-modal augmentation as its authors run it. "images":
no view at all, only pictures in batches, from the third epoch on, beside other loaders of the same pictures
(benchmarks.shared.stream_peers). "bytes": what workers of one node read in an epoch, over the pixels of the corpus.
One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.shared.common import report, row
from benchmarks.shared.own_ray import own_ray
from benchmarks.shared.process_tree import CoreSecondsSince
from benchmarks.shared.stream_peers import stream_peers
from benchmarks.shared.stream_reads import IMAGES_OF_ALL, column_bytes, read_per_epoch, rows_of_epochs
from benchmarks.shared.view_peers import pillow_peer
from benchmarks.views import least_work, made_up_images, one_core
from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import (
    CorpusBatch,
    CorpusIndex,
    StreamPlan,
    corpus_index,
    open_split,
    pixels_of,
    resident_batches,
    shards_of,
)
from datasets_io.corpus.stream import Sharing, streamed_batches
from datasets_io.storage.files import Files
from trainables.views.parameters import draw_for_step
from trainables.views.render import normalise, render
from trainables.views.view_spec import multi_modal_view

BATCH, JPEG_QUALITY, ROUNDS = 64, 95, 3
PEER = "DataLoader, Pillow, torchvision on JPEG"
LOOK_EVERY_SECONDS = 1.0  # at the processes of a stream; a look takes some 5 ms


@dataclass(frozen=True)
class Size:
    """images: distinct ones of the corpus. epochs, of device and host streams; peer: images that the peer reads.

    A stream costs some two core-seconds before its first view, so a short one would show its start.
    """

    image_size: int
    images: int
    device_epochs: int
    host_epochs: int
    peer: int
    read_epochs: int
    images_in_memory: int


WHOLE, QUICK = Size(224, 2048, 72, 16, 768, 40, IMAGES_OF_ALL), Size(32, 128, 2, 1, 64, 4, 50_000)
SKIPPED = 2  # epochs before what is timed, or counted, of images
WORKERS = (1, 2, 4)


@dataclass(frozen=True)
class Corpus:
    """The same pictures as shards of a storage and as JPEG files."""

    files: Files
    folder: str
    manifest: Manifest
    index: CorpusIndex
    jpegs: list[Path]


def make_corpus(root: Path, size: Size) -> Corpus:
    """The same pictures as shards, by the project's own ingest, and as JPEG files."""
    raw, base = root / "raw", made_up_images(64, size.image_size)
    (raw / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines, jpegs = ["path,patient_id,split"], []
    for number in range(size.images):
        image = Image.fromarray(np.roll(base[number % 64], rng.integers(0, size.image_size, 2), (0, 1)))
        path = raw / "images" / f"{number:05d}.png"
        image.save(path, compress_level=1)
        jpegs.append(path.with_suffix(".jpg"))
        image.save(jpegs[-1], quality=JPEG_QUALITY)
        lines.append(f"images/{path.name},p{number},train")
    (raw / "images.csv").write_text("\n".join(lines) + "\n")
    files, spec = Files(str(root / "storage")), BuildSpec("csv_images", size.image_size)
    manifest, folder = build(spec, raw, files), data_folder(spec, raw)
    return Corpus(files, folder, manifest, corpus_index(files, folder, manifest, "train", False), jpegs)


class JpegViews(Dataset):
    """One augmented image an item, read from its file, as the authors' data loader does."""

    def __init__(self, paths: list[Path], image_size: int):
        self.paths, self.peer = paths, pillow_peer(multi_modal_view(image_size))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as image:
            return self.peer([np.asarray(image)])[0]


def stored_blocks(corpus: Corpus) -> Iterator[np.ndarray]:
    """Every shard's (n, S, S), by the plainest way to read it: no checks."""
    for shard in shards_of(corpus.manifest, "train"):
        path = corpus.files.full(f"{corpus.folder}/{shard.path}")
        yield pixels_of(pq.read_table(path, columns=["pixels"])["pixels"], corpus.manifest.image_size)


def cost(stream: Iterator[int], views: int) -> tuple[float, float]:
    """(core-milliseconds a view, views a second) of so many views of a stream of batches, given as their sizes.

    It is not asked for more: at its end a stream ends its processes, and what they used would be lost.
    """
    spent, started, counted, looks = CoreSecondsSince(), time.perf_counter(), 0, 1
    for size in stream:
        counted += size
        if counted >= views:
            break
        if time.perf_counter() - started >= looks * LOOK_EVERY_SECONDS:
            spent.look()
            looks += 1
    elapsed = time.perf_counter() - started
    if counted < views:
        raise ArithmeticError(f"the stream gave {counted} of {views} views")
    return 1e3 * spent.look() / counted, counted / elapsed


def delivered(batches: Iterator[CorpusBatch], image_size: int, on_host: bool) -> Iterator[int]:
    """Sizes of the batches, when all that the host does for one view of each image is done."""
    spec = multi_modal_view(image_size)
    for step, batch in enumerate(batches):
        pixels = torch.from_numpy(np.ascontiguousarray(batch.pixels))
        parameters = draw_for_step(spec, len(pixels), image_size, image_size, step)
        if on_host:
            normalise(render(parameters, pixels))
        yield len(pixels)


def sides(corpus: Corpus, size: Size) -> dict[str, tuple[Callable[[], Iterator[int]], int]]:
    """Name -> a function that starts a stream, and its views. A floor shuffles no further than a shard, without Ray."""
    s = size.image_size
    window = max(BATCH, size.images // 2)
    pixels = open_split(corpus.files, corpus.folder, corpus.manifest, "train").pixels
    names = itertools.count()

    def plan(epochs: int) -> StreamPlan:
        return StreamPlan(0, BATCH, epochs, window)

    def streamed(epochs: int) -> Iterator[CorpusBatch]:
        return streamed_batches(
            corpus.files, corpus.folder, corpus.manifest, corpus.index, plan(epochs), 0, f"benchmark{next(names)}"
        )

    def resident(epochs: int) -> Iterator[CorpusBatch]:
        return resident_batches(pixels, corpus.index, plan(epochs), 0)

    def floor(epochs: int, from_storage: bool, on_host: bool) -> Iterator[int]:
        least = least_work(multi_modal_view(s), pixels[:BATCH])
        for epoch in range(epochs):
            for block in stored_blocks(corpus) if from_storage else [pixels]:
                order = np.random.default_rng(epoch).permutation(len(block))
                for start in range(0, len(block), BATCH):
                    rows = block[order[start : start + BATCH]]
                    if on_host:
                        least()
                    yield len(rows)

    def peer(workers: int) -> Iterator[int]:
        loader = DataLoader(JpegViews(corpus.jpegs[: size.peer], s), BATCH, shuffle=True, num_workers=workers)
        return (len(views) for views in loader)

    cores = len(os.sched_getaffinity(0))
    on_device, on_host = (size.images * epochs for epochs in (size.device_epochs, size.host_epochs))
    return {
        "stream on device": (lambda: delivered(streamed(size.device_epochs), s, False), on_device),
        "stream on host": (lambda: delivered(streamed(size.host_epochs), s, True), on_host),
        "resident on device": (lambda: delivered(resident(size.device_epochs), s, False), on_device),
        "resident on host": (lambda: delivered(resident(size.host_epochs), s, True), on_host),
        "floor of stream on device": (lambda: floor(size.device_epochs, True, False), on_device),
        "floor of stream on host": (lambda: floor(size.host_epochs, True, True), on_host),
        "floor of resident on device": (lambda: floor(size.device_epochs, False, False), on_device),
        "floor of resident on host": (lambda: floor(size.host_epochs, False, True), on_host),
        "peer": (lambda: peer(0), size.peer),
        "peer on all cores": (lambda: peer(cores), size.peer),
    }


def measure(corpus: Corpus, size: Size, rounds: int) -> dict[str, tuple[float, float]]:
    """Side -> medians of (core-milliseconds a view, views a second); the sides run in turn."""
    streams = sides(corpus, size)
    start, _ = streams["stream on device"]
    sum(start())  # Ray's workers start and import
    found = {name: [] for name in streams}
    for _ in range(rounds):
        for name, (start, views) in streams.items():
            found[name].append(cost(start(), views))
    return {name: tuple(np.median(costs, axis=0).tolist()) for name, costs in found.items()}


def figures(found: dict[str, tuple[float, float]]) -> list[dict]:
    rows = []
    sources = {"stream": "shards read by pyarrow", "resident": "a mapped array"}
    renderings = {"device": "rows copied", "host": "rows copied, resized, looked up"}
    for (kind, source), (place, rendering) in itertools.product(sources.items(), renderings.items()):
        ours, floor = found[f"{kind} on {place}"], found[f"floor of {kind} on {place}"]
        limit_name = f"{source}, {rendering}"
        rows.append(
            row(
                "stream",
                f"{kind}_views_on_{place}",
                "core-ms/view",
                ours[0],
                peer=found["peer"][0],
                peer_name=PEER,
                limit=floor[0],
                limit_name=limit_name,
            )
        )
        rows.append(
            row(
                "stream",
                f"{kind}_views_on_{place}_rate",
                "images/s",
                ours[1],
                peer=found["peer on all cores"][1],
                peer_name=f"{PEER}, a worker a core",
                limit=floor[1],
                limit_name=limit_name,
                higher_is_better=True,
            )
        )
    return rows


def streamed(corpus: Corpus, size: Size, epochs: int, name: str, workers: int = 1) -> list[Iterator[CorpusBatch]]:
    """The batches of each of a node's workers."""
    window, sharing = max(BATCH, size.images // 2), Sharing(name, workers)
    return [
        streamed_batches(
            corpus.files,
            corpus.folder,
            corpus.manifest,
            corpus.index,
            StreamPlan(0, BATCH, epochs, window, rank, workers),
            0,
            name,
            sharing,
        )
        for rank in range(workers)
    ]


def cost_after_start(batches: Iterator[int], images: int, epochs: int) -> float:
    """Core-milliseconds an image of so many epochs, behind the first ones."""
    views = 0
    while views < SKIPPED * images:
        views += next(batches)
    return cost(batches, (SKIPPED + epochs) * images - views)[0]


def images(corpus: Corpus, size: Size, rounds: int, folder: Path) -> list[dict]:
    """Pictures in batches: ours, streamed and mapped, beside each peer. All sides run in turn."""
    pixels = open_split(corpus.files, corpus.folder, corpus.manifest, "train").pixels
    plan = StreamPlan(0, BATCH, SKIPPED + size.device_epochs, max(BATCH, size.images // 2))
    names = itertools.count()
    ours: dict[str, Callable[[], Iterator[CorpusBatch]]] = {
        "stream": lambda: streamed(corpus, size, plan.num_epochs, f"images{next(names)}")[0],
        "resident": lambda: resident_batches(pixels, corpus.index, plan, 0),
    }
    peers = stream_peers(np.asarray(pixels), folder, BATCH)
    found: dict[str, list[float]] = {name: [] for name in (*ours, *peers)}
    for _ in range(rounds):
        for name, make in ours.items():
            sizes = (len(batch.pixels) for batch in make())
            found[name].append(cost_after_start(sizes, size.images, size.device_epochs))
        for name, (peer, share) in peers.items():
            epochs = max(1, round(share * size.device_epochs))
            sizes = peer(SKIPPED + epochs)
            found[name].append(cost_after_start(sizes, size.images, epochs))
    medians = {name: float(np.median(costs)) for name, costs in found.items()}
    rows = []
    for kind in ours:
        for name in peers:
            figure = f"{kind}_images_beside_{name.split(',')[0].replace(' ', '_').replace('-', '_').lower()}"
            rows.append(row("stream", figure, "core-ms/image", medians[kind], peer=medians[name], peer_name=name))
    return rows


def reads(corpus: Corpus, size: Size) -> list[dict]:
    """Bytes that the workers of a node read, and what more epochs take of their memory."""
    paths = [corpus.files.full(f"{corpus.folder}/{s.path}") for s in shards_of(corpus.manifest, "train")]
    whole, rows = column_bytes(paths, "pixels"), []
    steps = size.images // BATCH
    for workers in WORKERS:
        # Behind the last epoch that is counted nothing must be read ahead that would not be later.
        streams = streamed(corpus, size, 2 * (SKIPPED + size.read_epochs), f"reads{workers}", workers)
        read = read_per_epoch(streams, steps, SKIPPED, size.read_epochs)
        for stream in streams:
            stream.close()
        figure = f"bytes_of_{workers}_workers_an_epoch_over_those_of_the_corpus"
        rows.append(row("stream", figure, "1", read / whole, limit=1.0, limit_name="each row group once"))
    few, many = (rows_of_epochs(size.images_in_memory, epochs, None) for epochs in (1, 4))
    limit = {"limit": few, "limit_name": "of 1 epoch"}
    rows.append(row("stream", f"order_of_4_epochs_of_{size.images_in_memory}", "MB", many, **limit))
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few small images, one round: checks that it works")
    quick = parser.parse_args(arguments).quick
    size = QUICK if quick else WHOLE
    with own_ray(), tempfile.TemporaryDirectory() as root, one_core():
        corpus, rounds = make_corpus(Path(root), size), 1 if quick else ROUNDS
        report(
            [*figures(measure(corpus, size, rounds)), *images(corpus, size, rounds, Path(root)), *reads(corpus, size)]
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
