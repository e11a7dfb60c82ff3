"""How fast are our views on one core, against Pillow as the paper's authors run it, torchvision v2 and kornia?

python -m benchmarks.views [--quick]. Every side draws its own parameters and gives normalised float32 tensors of
three channels from grey images in memory; the peers compute in three channels, as for photographs, and in one, which is
fair to them. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch

from benchmarks.shared.common import in_turn, report, row
from benchmarks.shared.view_peers import kornia_peer, pillow_peer, torchvision_peer, torchvisions_views
from trainables.views.parameters import draw_for_step
from trainables.views.render import normalise, render
from trainables.views.view_spec import ViewSpec, multi_modal_view, ssl_view_1, ssl_view_2

KINDS = {"multi_modal": multi_modal_view, "ssl_1": ssl_view_1, "ssl_2": ssl_view_2}
NUM_IMAGES, ROUNDS = 64, 7
MAX_GREY_LEVELS = 2.0


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def made_up_images(count: int, side: int) -> np.ndarray:
    """uint8 (count, side, side): soft shapes with grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [128 + 100 * np.sin(9 * x + i) * np.cos((4 + i % 5) * y - i) for i in range(count)]
    return np.clip(np.stack(waves) + 4 * rng.standard_normal((count, side, side)), 0, 255).astype(np.uint8)


def least_work(spec: ViewSpec, pixels: np.ndarray) -> Callable[[], None]:
    """What no view can do without, by the fastest calls known and into memory that is already there."""
    crops = draw_for_step(spec, len(pixels), *pixels.shape[1:], seed=0).crop.tolist()
    table, grey = np.linspace(0, 1, 256, dtype=np.float32), np.empty((spec.size, spec.size), np.float32)
    out = np.empty((len(pixels), 3, spec.size, spec.size), np.float32)

    def run() -> None:
        for image, three, (top, left, height, width) in zip(pixels, out, crops, strict=True):
            crop = image[top : top + height, left : left + width]
            resized = cv2.resize(crop, (spec.size, spec.size), interpolation=cv2.INTER_CUBIC)
            three[:] = cv2.LUT(resized, table, grey)

    return run


def speed(kind: str, spec: ViewSpec, pixels: np.ndarray, rounds: int) -> list[dict]:
    """Milliseconds a view. The peers of the device path are the same ones, all on the CPU."""
    stored, steps, count = torch.from_numpy(pixels), itertools.count(), len(pixels)

    def ours(device_path: bool) -> torch.Tensor:
        p = draw_for_step(spec, count, *pixels.shape[1:], next(steps))
        return normalise(render(p, stored, device_path=device_path))

    least = least_work(spec, pixels)
    peers = {
        "Pillow as the authors": pillow_peer(spec),
        "Pillow, one channel": pillow_peer(spec, 1),
        "torchvision v2": torchvision_peer(spec),
        "torchvision v2, one channel": torchvision_peer(spec, 1),
    }
    if (kornia := kornia_peer(spec)) is not None and (one := kornia_peer(spec, 1)) is not None:
        peers |= {"kornia": kornia, "kornia, one channel": one}
    sides = {"ours": lambda: ours(False), "device": lambda: ours(True), "limit": least}
    sides |= {name: lambda peer=peer: peer(pixels) for name, peer in peers.items()}
    ms = {name: 1e3 * seconds / count for name, seconds in in_turn(sides, rounds).items()}
    figure, limit_name = f"{kind}_{spec.size}", "one resize, one look-up, three channels written"
    rows = [
        row(
            "views",
            figure,
            "ms/view",
            ms["ours"],
            peer=ms[name],
            peer_name=name,
            limit=ms["limit"],
            limit_name=limit_name,
        )
        for name in peers
    ]
    device = row(
        "views",
        f"{figure}_device_path_on_cpu",
        "ms/view",
        ms["device"],
        peer=ms["torchvision v2, one channel"],
        peer_name="torchvision v2, one channel",
    )
    return [*rows, device]


def fidelity(kind: str, spec: ViewSpec, pixels: np.ndarray) -> list[dict]:
    """Largest of the images' mean differences. Raises ArithmeticError above two grey levels."""
    stored = torch.from_numpy(pixels)
    p = draw_for_step(spec, *pixels.shape, seed=0)
    cpu, device = (render(p, stored, device_path=path) for path in (False, True))
    sides = {
        "cpu_from_torchvision": (cpu, torchvisions_views(p, stored, torch.float32)),
        "cpu_from_8_bit_torchvision": (cpu, torchvisions_views(p, stored, torch.uint8)),
        "device_path_from_torchvision": (device, torchvisions_views(p, stored, torch.float32)),
        "device_path_from_cpu": (device, cpu),
    }
    rows = []
    for name, (ours, other) in sides.items():
        apart = 255 * (ours - other).abs().mean(dim=(1, 2)).max().item()
        if apart > MAX_GREY_LEVELS:
            raise ArithmeticError(f"{kind} {name}: {apart} grey levels apart; at most {MAX_GREY_LEVELS} are allowed")
        rows.append(row("views", f"{kind}_{spec.size}_{name}", "grey levels", apart))
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few small images, three rounds: checks that it works")
    quick = parser.parse_args(arguments).quick
    sizes, count, rounds = ((32,), 4, 3) if quick else ((48, 224), NUM_IMAGES, ROUNDS)
    if kornia_peer(ssl_view_1(32)) is None:
        print("kornia is not installed: its rows are left out (pip install kornia)", file=sys.stderr)
    rows = []
    with one_core():
        for size, (kind, make_spec) in itertools.product(sizes, KINDS.items()):
            pixels = made_up_images(count, size)
            rows += speed(kind, make_spec(size), pixels, rounds)
            rows += fidelity(kind, make_spec(size), pixels)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
