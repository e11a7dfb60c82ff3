"""Are the device's views the host's, do they wait for nothing, and how fast are they?"""

import itertools
from collections.abc import Iterator

import torch

from benchmarks.gpu.bench import Bench, check, figure
from benchmarks.views import KINDS, MAX_GREY_LEVELS, made_up_images, one_core
from trainables.views.parameters import draw_for_step
from trainables.views.render import normalise, render

# The same arithmetic on two devices: a pixel whose place is rounded the other way is a grey level of its neighbour.
SAME_PATH_GREY_LEVELS = 0.1


def section(bench: Bench) -> Iterator[dict]:
    """Largest of the images' mean differences in grey levels; syncs of a batch; milliseconds a view."""
    side, count = bench.size.side, bench.size.pretrain_batch
    pixels = torch.from_numpy(made_up_images(count, side))
    there = pixels.to(bench.device)
    for kind, make in KINDS.items():
        spec = make(side)
        p = draw_for_step(spec, count, side, side, 0)
        here = render(p, there, device_path=True).cpu()
        for name, other, allowed in (
            ("host", render(p, pixels, device_path=False), MAX_GREY_LEVELS),
            ("same_path_on_the_host", render(p, pixels, device_path=True), SAME_PATH_GREY_LEVELS),
        ):
            apart = 255 * (here - other).abs().mean(dim=(1, 2)).max().item()
            yield check(f"{kind}_views_from_{name}", "grey levels", apart, allowed)
        last = bench.device.type == "cuda"
        yield check(
            f"{kind}_views_syncs",
            "1",
            bench.syncs(lambda p=p, last=last: normalise(render(p, there, device_path=True), channels_last=last)),
            0,
        )
    yield from rates(bench, there)


def rates(bench: Bench, there: torch.Tensor) -> Iterator[dict]:
    """Of a view of the paired kind, its parameters drawn anew: on the device, and on one core of the host."""
    spec, steps = KINDS["multi_modal"](bench.size.side), itertools.count()
    count, side = len(there), bench.size.side
    host = there.cpu()

    def on_device() -> None:
        normalise(render(draw_for_step(spec, count, side, side, next(steps)), there, device_path=True))

    def on_host() -> None:
        normalise(render(draw_for_step(spec, count, side, side, next(steps)), host, device_path=False))

    here = bench.seconds(on_device, bench.size.steps) / count
    with one_core():
        peer = bench.seconds(on_host, bench.size.rounds, warm_ups=1) / count
    yield figure("view_on_the_device", "ms/view", 1e3 * here, peer=1e3 * peer, peer_name="one core of the host")
