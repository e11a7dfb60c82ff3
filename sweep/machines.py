"""What machines are there, and what could the autoscaler make of them? [ray]"""

import ray
from ray._private.state import state

from sweep.schedule import Machines

UNLIMITED = 1e9


def machines_now() -> Machines:
    total = ray.cluster_resources()
    return Machines(total.get("GPU", 0.0), total.get("CPU", 0.0))


def machines_at_most() -> Machines:
    """What the cluster has, or what its autoscaler may make of it: an empty one has its GPUs yet to come.

    Work is offered for all of it: only what waits for a machine makes the autoscaler start one.
    """
    now = machines_now()
    limit = {name: value for name, value in (state.get_max_resources_from_cluster_config() or {}).items()
             if value < UNLIMITED}
    return Machines(max(now.gpus, limit.get("GPU", 0.0)), max(now.cpus, limit.get("CPU", 0.0), 1.0))
