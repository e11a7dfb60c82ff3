"""What Prometheus sees of a sweep: gauges that Ray's exporter serves on each node, fed by its progress events. [ray]"""

from ray.util.metrics import Gauge

from sweep.monitoring.throughput import Throughput

HELP = {
    "encoders_total": "encoders of the plan",
    "encoders_done": "encoders finished",
    "encoders_failed": "encoders failed",
    "cells_total": "cells of the plan",
    "cells_done": "cells finished",
    "cells_failed": "cells failed",
    "images_per_second": "images through networks, over the last minutes",
    "seconds_left": "what is left, by what finished work has taken on these machines",
}


class SweepGauges:
    """Made after Ray has started; `export` sets what the throughput reads."""

    def __init__(self, study: str):
        self.tags = {"study": study}
        # Ray's exporter puts `ray_` before each name.
        self.gauges = {name: Gauge(f"radsweep_{name}", text, tag_keys=("study",)) for name, text in HELP.items()}
        self.share = Gauge("radsweep_encoder_share", "how far an encoder is, 0 to 1", tag_keys=("study", "encoder"))

    def export(self, throughput: Throughput, now: float) -> None:
        """Set every gauge. now: by the clock of the throughput, in seconds."""
        for name, value in throughput.read(now).items():
            self.gauges[name].set(value, self.tags)
        for encoder, share in throughput.shares().items():
            self.share.set(share, {**self.tags, "encoder": encoder})
