"""What Prometheus sees of a sweep: gauges that Ray's exporter serves on each node, fed by the board's news. [ray]"""

from ray.util.metrics import Gauge

from sweep.monitoring.throughput import Meter

HELP = {
    "encoders_total": "encoders of the plan",
    "encoders_done": "encoders finished",
    "encoders_failed": "encoders failed",
    "cells_total": "cells of the plan",
    "cells_done": "cells finished",
    "cells_failed": "cells failed",
    "images_per_second": "images through networks, over the last minutes",
    "seconds_left": "what is left in FLOP at the speed so far",
}


class SweepGauges:
    """Made after Ray has started; `export` sets what the meter reads."""

    def __init__(self, study: str):
        self.tags = {"study": study}
        self.gauges = {name: Gauge(f"radsweep_{name}", text, tag_keys=("study",)) for name, text in HELP.items()}
        self.share = Gauge("radsweep_encoder_share", "how far an encoder is, 0 to 1", tag_keys=("study", "encoder"))

    def export(self, meter: Meter, now: float) -> None:
        for name, value in meter.read(now).items():
            self.gauges[name].set(value, self.tags)
        for encoder, share in meter.shares().items():
            self.share.set(share, {**self.tags, "encoder": encoder})
