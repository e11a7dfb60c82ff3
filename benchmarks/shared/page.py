"""How does docs/performance.md look: every figure as measured, and the roofline of the full study on paper?"""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import torch

from benchmarks.shared.roofline import MACHINES, Roofline, roofline
from sweep.studies import paper
from sweep.studies.forecast import FLOPS_PER_SECOND, TOKENS, Forecast, forecast
from sweep.studies.plan import make_plan

# Images of the paper's splits: MIMIC-CXR's 377,110 pairs (those without an impression included), CheXpert's
# 223,414 and 234, NIH-ChestX-ray14 cut 70-10-20 by patient.
COUNTS = {
    "mimic_cxr": {"train": 368_960, "val": 2_991, "test": 5_159},
    "chexpert": {"train": 191_027, "val": 202, "test": 202},
    "nih_cxr14": {"train": 78_468, "val": 11_219, "test": 22_433},
}
IMAGE_BYTES = 224 * 224
PAPER_DAYS = (
    "11 encoders x 1.5 to 2 days on 4 V100, 1,600 to 2,100 GPU-hours; 650 runs x about half a day, 7,800 GPU-hours"
)
HEAD = """# Performance

Every number on this page is printed by a benchmark, `python -m benchmarks.NAME`, and put here by
`python -m benchmarks.all --to FILE`. A benchmark runs both sides in turn in one process and prints medians: compare
within a line, not between machines. **speedup**: times better than the peer. **of limit**: share of the stated limit
that is reached, at most 1. All on CPU: no GPU was at hand, and nothing of what is meant for one was timed. What
one is to be expected to do stands, as arithmetic, in [GPUs](gpus.md#fine-tuning-as-a-captured-step), that of
[views, steps and checkpoints](gpus.md#pretraining) too.
"""


def this_machine() -> str:
    """Processor, cores, memory and the versions that matter."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "ray", "numpy"))
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {memory / 2**20:.0f} GiB, no GPU; "
        f"Python {platform.python_version()}, {versions}"
        if not torch.cuda.is_available()
        else f"{torch.cuda.get_device_name()}; Python {platform.python_version()}, {versions}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def figure_table(figures: Sequence[dict]) -> list[str]:
    lines = ["| figure | ours | unit | peer | speedup | limit | of limit |", "|---|--:|---|---|--:|---|--:|"]
    for figure in figures:
        peer, limit = (
            f"{number(figure[kind])}: {figure[f'{kind}_name']}" if figure[kind] is not None else ""
            for kind in ("peer", "limit")
        )
        if "allowed" in figure:  # of a check, which has no limit of another kind
            limit = f"{number(figure['allowed'])}: allowed{'' if figure['passed'] else '; NOT PASSED'}"
        cells = (
            figure["figure"],
            number(figure["ours"]),
            figure["unit"],
            peer,
            number(figure["speedup"]),
            limit,
            number(figure["of_limit"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def full_study() -> tuple[Forecast, Forecast]:
    """What the study named `paper` costs: with cached probes, and with every probe run as it stands."""
    study = paper()
    plan = make_plan(study, dict.fromkeys(COUNTS, "counted"), {})
    cached = forecast(plan.encoders, plan.cells, COUNTS)
    probes = [cell for cell in plan.cells if cell.protocol == "LP"]
    with_cache, without = forecast((), tuple(probes), COUNTS), 0.0
    for cell in probes:
        images = COUNTS[cell.dataset]
        passes = cell.recipe.num_epochs * sum(images[split] for split in ("train", "val"))
        without += passes * with_cache.flops / with_cache.forward_passes
    plain = Forecast(
        cached.images_read,
        cached.forward_passes,
        cached.training_passes,
        cached.flops - with_cache.flops + without,
        cached.text_flops * 128 / TOKENS,
        cached.views,
    )
    return cached, plain


def view_costs(figures: Sequence[dict]) -> dict[str, float]:
    """Core-milliseconds a view at 224 pixels, measured: ours on the host, and Pillow's."""
    found = {}
    for figure in figures:
        if figure["benchmark"] == "views" and figure["figure"] == "multi_modal_224" and figure["peer_name"]:
            found["our views on the host"] = figure["ours"]
            if figure["peer_name"].startswith("Pillow"):  # as the authors, and with one channel
                found[figure["peer_name"]] = figure["peer"]
    return found


def roofline_table(figures: Sequence[dict]) -> list[str]:
    cached, plain = full_study()
    plan = make_plan(paper(), dict.fromkeys(COUNTS, "counted"), {})
    num_rows = len({run.row for run in plan.encoders})
    rates = ", ".join(f"{device} {FLOPS_PER_SECOND[device]:.3g}" for device in (one.device for one in MACHINES))
    lines = [
        "## Roofline of the full study, on paper",
        "",
        f"The study `paper`, {num_rows} rows of encoders and its {len(plan.cells)} cells, every "
        "pretraining to its last epoch. "
        f"Image networks {cached.flops:.3g} FLOP, text {cached.text_flops:.3g} at {TOKENS} tokens a report; as it "
        f"stands, without cached probes and with texts padded to 128: {plain.flops:.3g} and {plain.text_flops:.3g}. "
        f"{cached.views:,} views are rendered, {cached.images_read:,} images of {IMAGE_BYTES:,} bytes read. "
        f"Sustained rates taken, FLOP a second: {rates}. `python -m sweep.run --study paper --dry-run` forecasts with "
        "the same arithmetic.",
        "",
        "| machines | host work a view | GPU-hours, plain -> ours | cores busy | storage, GB/s | hours | bound by |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    costs = view_costs(figures)
    for machines in MACHINES:
        for name, view_ms in costs.items():
            ours, usual = (roofline(cost, machines, view_ms, IMAGE_BYTES) for cost in (cached, plain))
            lines.append(_roofline_row(name, view_ms, ours, usual))
    if not costs:
        lines += ["", "The benchmark `views` has not run: without its figures there is no host work to lay beside."]
    lines += [
        "",
        f"The paper's own time: {PAPER_DAYS}. radsweep does not support a V100 ([GPUs](gpus.md#which-cards)).",
    ]
    return lines


def _roofline_row(name: str, view_ms: float, ours: Roofline, usual: Roofline) -> str:
    cells = (
        f"{ours.machines.name}, {ours.machines.cores} threads",
        f"{view_ms:.2f} ms: {name}",
        f"{usual.gpu_hours:,.0f} -> {ours.gpu_hours:,.0f}",
        f"{ours.cores:,.0f}",
        f"{ours.bytes_per_second / 1e9:.2f}",
        f"{ours.hours:,.1f}",
        ours.bound,
    )
    return f"| {' | '.join(cells)} |"


def page(figures: Sequence[dict]) -> str:
    """figures: the benchmarks' lines, each with the machine that it ran on."""
    lines = [HEAD]
    for machine in dict.fromkeys(figure["machine"] for figure in figures):
        lines += [f"Machine: {machine}.", ""]
    for benchmark, members in groupby(figures, key=lambda figure: figure["benchmark"]):
        lines += [f"## {benchmark}", "", *figure_table(list(members)), ""]
    return "\n".join([*lines, *roofline_table(figures)]) + "\n"
