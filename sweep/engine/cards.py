"""How much memory has the smallest GPU of the cluster, to which any cell may come? [ray]"""

from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.engine.machine_memory import memory_of_cards

PATIENCE_SECONDS = 60.0  # for hosts that answer late: what the others say stands then


@ray.remote(num_cpus=0, max_retries=0)
def _memory_of_cards() -> list[int]:
    return memory_of_cards()


def smallest_card() -> int | None:
    """Bytes of the smallest GPU of the hosts that are there; None where none is, or none says."""
    asked = [
        _memory_of_cards.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes_with_gpus(ray.nodes())
    ]
    if not asked:
        return None
    answers, _ = ray.wait(asked, num_returns=len(asked), timeout=PATIENCE_SECONDS)
    return min((size for answer in answers for size in _or_none(answer)), default=None)


def nodes_with_gpus(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of the living nodes that have one. nodes: as ray.nodes gives them."""
    return [node["NodeID"] for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) > 0]


def _or_none(answer: "ray.ObjectRef[list[int]]") -> list[int]:
    try:
        return ray.get(answer)
    except ray.exceptions.RayError:  # its host has gone since
        return []
