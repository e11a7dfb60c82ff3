"""Which machines would a sweep run on here, and how fast has this storage seen them to be?"""

import os
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from datasets_io.granted import cores
from datasets_io.local_ray import named_cluster
from sweep.store.records import CellDetail, EncoderDetail
from sweep.studies.costs import Cost
from sweep.studies.outlook.machines import CARDS, CPU, Machines

FEW = 3  # results from which a rate is taken as measured


def at_hand(rates: Mapping[str, tuple[float, int]]) -> tuple[Machines | None, str]:
    """This machine, at the rate of its results where there are some; a sentence where nothing can be said of it.

    rates: of `measured_rates`.
    """
    if named_cluster():
        return None, "RAY_ADDRESS is set: what that cluster has is not asked here; name it with --machines"
    names = Counter(map(card_of, _cards()))
    card, count = names.most_common(1)[0] if names else (CPU, cores())
    if card in rates:
        rate, results = rates[card]
        return Machines(1, count, card, rate, f"measured: {results} results of this storage"), ""
    if card not in CARDS:
        return None, f"this machine has {count} x {card}, whose rate is not known before something has run on it"
    return Machines(1, count, card), ""


def measured_rates(
    costs: Mapping[str, Cost], encoders: Iterable[EncoderDetail], cells: Mapping[str, CellDetail]
) -> dict[str, tuple[float, int]]:
    """Card -> FLOP a second of one card or core, and the number of results that say so. costs: by key.

    A core's are of all results, by processor time; a card's of pretrainings, which have it to themselves.
    """
    flops: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    results: Counter[str] = Counter()

    def add(key: str, card: str, taken: float | None) -> None:
        if taken and key in costs and costs[key].flops:
            flops[card] += costs[key].flops
            seconds[card] += taken
            results[card] += 1

    for encoder in encoders:
        if encoder.device is not None and encoder.device != "cpu" and encoder.seconds is not None:
            add(encoder.key, card_of(encoder.device), encoder.seconds * encoder.workers)
    for key, cell in cells.items():
        if cell.device == "cpu":
            add(key, CPU, cell.core_seconds)
    return {card: (flops[card] / seconds[card], count) for card, count in results.items() if count >= FEW}


def card_of(device: str) -> str:
    """`cuda: NVIDIA A100-SXM4-80GB` -> A100; of a card that is not priced its whole name, without blanks."""
    name = device.partition(":")[2].strip() or device
    known = (card for card in CARDS if card in name.upper() and card != CPU)
    return next(known, "-".join(name.replace("NVIDIA", "").split()))


def _cards() -> list[str]:
    """Names of the GPUs that nvidia-smi tells of; empty where none answers, or none may be used."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0:
            return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return []
