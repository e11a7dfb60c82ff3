"""Which progress bars does a sweep have: encoders, cells and all of the work, fed by its progress events."""

import time

from rich.markup import escape

from sweep.cli.display import Display, duration_text
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import Left, TimeLeft
from sweep.store.status_names import Status
from sweep.studies.plan import Pending

READ_SECONDS = 1.0  # between two looks at the time that is left


class RunBars:
    """The progress of the running work: pretraining by steps, cells by count, and when all of it will be done."""

    def __init__(self, display: Display, pending: Pending, num_cells: int, num_done: int, work: str = "all work"):
        """pending: what this pass does; num_cells: of the whole plan, of which num_done were done before.

        work: what the bar of the time left calls what is pending.
        """
        self.display = display
        self.names = {run.key: str(run) for run in pending.encoders}
        self.cell_names = {cell.key: str(cell) for cell in pending.cells}
        self.share = {run.key: 0.0 for run in pending.encoders}
        self.landed: set[str] = set()
        self.num_cells, self.done, self.failed = num_cells, num_done, 0
        self.current, self.work = "", work
        self.left, self.read_at = Left(None, 0.0), -1e9  # long ago

    def start(self) -> None:
        """Show the bars of what is to do, as far as earlier commands came, in place of those that are full."""
        self.display.hide_full_bars()
        if self.share:
            self.display.bar("pretraining", 0, 100, "%", f"0 of {len(self.share)} encoders done", left="")
        if self.cell_names:
            self.display.bar("cells", self.done, self.num_cells, "done", left="")

    def show(self, progress: ProgressSnapshot, time_left: TimeLeft) -> None:
        """Move the bars, and name what failed above them. Raises KeyboardInterrupt if the command was interrupted.

        time_left: has taken the progress already.
        """
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
                self.current = f"now {name}{loss}"
        for outcome in progress.cells:
            if outcome.status == Status.FAILED:
                self.failed += 1
                name = self.cell_names.get(outcome.key, outcome.key)
                self.display.say(f"[red]cell {name} failed:[/red] {escape(str(outcome.error))}")
            elif outcome.status == Status.DONE:
                self.done += 1
        if self.share:
            # One bar for all encoders, in percent: each counts the same, whatever its number of steps.
            current = self.current if len(self.landed) < len(self.share) else ""
            note = f"{len(self.landed)} of {len(self.share)} encoders done; {current}".rstrip("; ")
            done = int(100 * sum(self.share.values()) / len(self.share))
            self.display.bar("pretraining", done, 100, "%", note, left="")
        if self.cell_names:
            note = f"{self.failed} failed" if self.failed else ""
            self.display.bar("cells", self.done, self.num_cells, "done", note, left="")
        self._show_time(time_left)

    def _show_time(self, time_left: TimeLeft) -> None:
        if time.monotonic() - self.read_at > READ_SECONDS:
            self.read_at = time.monotonic()
            self.left = time_left.read(self.read_at)
        if self.left.seconds is not None:
            text = f"about {duration_text(self.left.seconds)} left" if self.left.share < 1 else ""
            self.display.bar(self.work, int(100 * self.left.share), 100, "%", left=text)
