"""What would bound a study on stated machines: FLOPs, host work or storage, and how many hours it takes at best."""

from dataclasses import dataclass

from sweep.studies.forecast import FLOPS_PER_SECOND, Forecast


@dataclass(frozen=True)
class Machines:
    """What is hired. cores: hardware threads beside the GPUs, as the named clouds' machines have them."""

    name: str
    device: str
    gpus: int
    cores: int
    storage_bytes_per_second: float


# AWS p4d.24xlarge, and eight p5.48xlarge; storage: NVMe drives, or a shared file system for eight nodes. None with the
# paper's own V100, which is not supported (docs/gpus.md).
MACHINES = (Machines("8 x A100", "A100", 8, 96, 2e9), Machines("64 x H100", "H100", 64, 1536, 2e10))


@dataclass(frozen=True)
class Roofline:
    """gpu_hours: of work; hours: on these machines at perfect packing, by what bounds them: GPUs, host or storage.

    cores: that views keep busy while GPUs work at their rate; bytes_per_second: that storage then gives.
    """

    machines: Machines
    gpu_hours: float
    cores: float
    bytes_per_second: float
    hours: float
    bound: str


def roofline(cost: Forecast, machines: Machines, view_ms: float, image_bytes: int) -> Roofline:
    """view_ms: core-milliseconds of host work a view; image_bytes: of one stored image."""
    gpu_seconds = (cost.flops + cost.text_flops) / FLOPS_PER_SECOND[machines.device]
    core_seconds, volume = cost.views * view_ms / 1e3, float(cost.images_read) * image_bytes
    times = {
        "GPUs": gpu_seconds / machines.gpus,
        "host": core_seconds / machines.cores,
        "storage": volume / machines.storage_bytes_per_second,
    }
    bound = max(times, key=lambda name: times[name])
    wall = times["GPUs"]
    return Roofline(machines, gpu_seconds / 3600, core_seconds / wall, volume / wall, times[bound] / 3600, bound)
