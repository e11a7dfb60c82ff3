"""How many operators and exchanges does a step of pretraining cost a GPU's host, and how many bytes are exchanged?

python -m benchmarks.gpu.operators [--quick]. Counted, not timed: on torch's `meta` device, with a group of workers in
which nobody answers, so that no GPU is needed. An operator costs its host some 5 us at least, of which many are
launches. Of the device's views also the bytes that their operators read and write, for the least time that they can
take: a GPU's memory moves 1.5 to 3 TB a second. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.shared.common import report, row
from benchmarks.shared.pretended_gpu import GPU, NoWaiting, pretended_gpu
from benchmarks.views import KINDS, made_up_images
from trainables.networks import normalisation
from trainables.networks.backbones import build_backbone
from trainables.recipe import BackboneSpec
from trainables.views.parameters import draw_for_step
from trainables.views.render import normalise, render

WORKERS, SHARE, GROUPS = 4, 64, 8


@contextmanager
def exchanges() -> Iterator[list[int]]:
    """Bytes of what each exchange gives a worker."""
    found: list[int] = []
    names = [name for name in ("all_reduce", "all_gather_single", "all_gather_into_tensor") if hasattr(dist, name)]

    def counted(function: Callable) -> Callable:
        def exchange(tensor: Tensor, *more: object, **options: object) -> object:
            found.append(tensor.nbytes)
            return function(tensor, *more, **options)

        return exchange

    with patch.multiple(dist, **{name: counted(getattr(dist, name)) for name in names}):
        yield found


def forward_and_backward(
    kind: str, backbone: str, side: int, convert: Callable[[nn.Module], nn.Module]
) -> tuple[int, int]:
    """Operators and exchanges of one view of SHARE images."""
    fused: AbstractContextManager = nullcontext()
    if kind == "formula":
        fused = patch.object(normalisation, "has_fused_kernels", lambda x: False)
    with pretended_gpu(WORKERS), fused, exchanges() as sizes:
        network = convert(build_backbone(BackboneSpec(backbone, side), 0)).to(GPU).train()
        images = torch.empty(SHARE, 3, side, side, device=GPU)
        with NoWaiting(Counter(), strict=False) as mode:
            network(images).sum().backward()
            network.zero_grad(set_to_none=True)
            sizes.clear()
            mode.seen = Counter()
            network(images).sum().backward()
        return sum(mode.seen.values()), len(sizes)


def keys(by_group: bool, backbone: str, side: int) -> tuple[int, float]:
    """Operators of a key encoder with GROUPS groups, and gigabytes that its batch norms' copies read and write."""
    with pretended_gpu(), patch.object(normalisation, "FOLDED_BYTES", 0 if by_group else 1 << 60):
        network = normalisation.convert_to_split(build_backbone(BackboneSpec(backbone, side), 0), GROUPS)
        network = network.to(GPU).train()
        copied: list[int] = []
        for part in network.modules():
            if isinstance(part, normalisation.SplitBatchNorm):
                part.register_forward_pre_hook(lambda module, given: copied.append(given[0].nbytes))
        with torch.no_grad(), NoWaiting(Counter(), strict=False) as mode:
            network(torch.empty(SHARE, 3, side, side, device=GPU, dtype=torch.float32))
        return sum(mode.seen.values()), 0.0 if by_group else 4 * sum(copied) / 1e9


class BytesTouched(TorchDispatchMode):
    """operators: those that compute something; bytes: of the tensors that they are given and that they give."""

    def __init__(self) -> None:
        super().__init__()
        self.operators, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operator; another look at the same bytes, as a slice is, is none."""
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        out = func(*args, **(kwargs or {}))
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        known = {t.untyped_storage().data_ptr() for t in given}
        if func._schema.is_mutable or any(t.untyped_storage().data_ptr() not in known for t in made):
            self.operators += 1
            self.bytes += sum(t.nbytes for t in (*given, *made))
        return out


def views(kind: str, side: int) -> BytesTouched:
    """Of one batch of SHARE views, as a network of channels-last images gets them."""
    spec, pixels = KINDS[kind](side), torch.from_numpy(made_up_images(SHARE, side))
    parameters = draw_for_step(spec, SHARE, side, side, 0)
    with BytesTouched() as counted:
        normalise(render(parameters, pixels, device_path=True), channels_last=True)
    return counted


def figures(backbone: str, side: int) -> list[dict]:
    """Of one view of SHARE images a worker."""
    counts = {
        "plain": forward_and_backward("plain", backbone, side, lambda network: network),
        "formula": forward_and_backward("formula", backbone, side, normalisation.convert_to_global),
        "fused": forward_and_backward("fused", backbone, side, normalisation.convert_to_global),
    }
    folded, by_group = keys(False, backbone, side), keys(True, backbone, side)
    limit = {"limit": counts["plain"][0], "limit_name": "batch norm of one worker's rows"}
    formula = {"peer_name": "the formula, operator by operator"}
    name = f"{backbone}_{side}px"
    return [
        row(
            "operators",
            f"{name}_view_operators",
            "1",
            counts["fused"][0],
            peer=counts["formula"][0],
            **formula,
            **limit,
        ),
        row("operators", f"{name}_view_exchanges", "1", counts["fused"][1], peer=counts["formula"][1], **formula),
        row(
            "operators",
            f"{name}_keys_in_{GROUPS}_groups_operators",
            "1",
            by_group[0],
            peer=folded[0],
            peer_name="groups folded into channels",
        ),
        row("operators", f"{name}_keys_copied_when_folded", "GB", folded[1]),
        row(
            "operators",
            f"pictures_of_{WORKERS}_workers",
            "MB",
            WORKERS * SHARE * side * side / 1e6,
            peer=2 * WORKERS * SHARE * 3 * side * side * 4 / 1e6,
            peer_name="two views of them",
        ),
        *itertools.chain.from_iterable(
            (
                row("operators", f"{kind}_{side}px_views_operators", "1", counted.operators),
                row("operators", f"{kind}_{side}px_views_read_and_written", "GB", counted.bytes / 1e9),
            )
            for kind, counted in ((kind, views(kind, side)) for kind in KINDS)
        ),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.operators", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small network: checks that it works")
    quick = parser.parse_args(arguments).quick
    report(figures("demo_cnn", 32) if quick else figures("resnet50", 224))
    return 0


if __name__ == "__main__":
    sys.exit(main())
