"""Which progress bars does a sweep have: encoders and cells, fed by its progress events."""

from rich.markup import escape

from sweep.cli.display import Display
from sweep.monitoring.progress import ProgressSnapshot
from sweep.store.status_names import Status
from sweep.studies.plan import Pending


class RunBars:
    """The progress of the running work as two bars: pretraining by steps, cells by count."""

    def __init__(self, display: Display, pending: Pending, num_cells: int, num_done: int):
        """pending: what this pass does; num_cells: of the whole plan, of which num_done were done before."""
        self.display = display
        self.names = {run.key: str(run) for run in pending.encoders}
        self.cell_names = {cell.key: str(cell) for cell in pending.cells}
        self.share = {run.key: 0.0 for run in pending.encoders}
        self.landed: set[str] = set()
        self.num_cells, self.done, self.failed = num_cells, num_done, 0
        self.current = ""

    def start(self) -> None:
        """Show the bars of what is to do, as far as earlier commands came."""
        if self.share:
            self.display.bar("encoders", 0, 100, "%")
        if self.cell_names:
            self.display.bar("cells", self.done, self.num_cells, "cells")

    def show(self, progress: ProgressSnapshot) -> None:
        """Move the bars, and name what failed above them. Raises KeyboardInterrupt if the command was interrupted."""
        for event in progress.encoders:
            name = self.names.get(event.key, event.key)
            if event.status == Status.FAILED:
                self.display.say(f"[red]encoder {name} failed:[/red] {escape(str(event.error))}")
            elif event.status == Status.RUNNING and event.error is not None:
                self.display.say(f"encoder {name}: {escape(event.error)}")
            if event.status in (Status.DONE, Status.FAILED):
                self.landed.add(event.key)
                self.share[event.key] = 1.0
            elif event.total_steps:
                self.share[event.key] = event.step / event.total_steps
                loss = "" if event.val_loss is None else f", val loss {event.val_loss:.3f}"
                self.current = f"{name}{loss}"
        for outcome in progress.cells:
            if outcome.status == Status.FAILED:
                self.failed += 1
                name = self.cell_names.get(outcome.key, outcome.key)
                self.display.say(f"[red]cell {name} failed:[/red] {escape(str(outcome.error))}")
            elif outcome.status == Status.DONE:
                self.done += 1
        if self.share:
            # One bar for all encoders, in percent: each counts the same, whatever its number of steps.
            note = f"{len(self.landed)}/{len(self.share)} landed; {self.current}".rstrip("; ")
            done = int(100 * sum(self.share.values()) / len(self.share))
            self.display.bar("encoders", done, 100, "%", note)
        if self.cell_names:
            note = f"{self.failed} failed" if self.failed else ""
            self.display.bar("cells", self.done, self.num_cells, "cells", note)
