"""What does a terminal show: lines, progress bars and tables; on a pipe, plain lines."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.errors import MarkupError
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from datasets_io.interrupts import INTERRUPTS
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines

PLAIN_EVERY_SECONDS = 10.0
UNCHANGED_EVERY_SECONDS = 60.0  # a line that says what the last one said: so that silence is not taken for a stop
PIPE_WIDTH = 140


@dataclass(frozen=True)
class TableRows:
    """A table as strings: title, header, rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Display:
    """One for a whole command; used with `with`, bars and tables stay in place on a terminal.

    tables: gives the tables as they stand when asked.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PIPE_WIDTH)  # a pipe has no edge to fit
        self.live: Live | None = None
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            _LeftColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
        )
        self.bars: dict[str, TaskID] = {}
        self.tables: Callable[[], tuple[TableRows, ...]] = tuple
        self.printed: dict[str, float] = {}  # bar -> when a pipe was last told of it; infinity once it is full
        self.said: dict[str, str] = {}  # bar -> what it was told then, but for the time that is left
        self.tables_drawn = -1e9  # time.monotonic() of the last drawing: long ago
        self.drawn: Group = Group(self.progress)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.tables_drawn = -1e9  # long ago: what stays on the screen has the last table
            self.live.refresh()
            self.live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Print a line, above the bars, without secrets and without what a terminal would obey.

        text: with rich's markup; escape() what may hold brackets.
        """
        text = printable_lines(without_secrets(text))
        try:
            Text.from_markup(text)
        except MarkupError:  # somebody's path or name has brackets: to be shown as it is
            text = escape(text)
        self.console.print(text, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            sys.stdout.flush()  # a pipe is read as the work goes on

    def say_table(self, table: TableRows) -> None:
        """Print a table, above the bars."""
        self.console.print(rich_table(table))

    def bar(self, name: str, done: int, total: int, unit: str = "", note: str = "", left: str | None = None) -> None:
        """Set a bar; on a pipe a line at the beginning, every ten seconds where it moved, and at the end.

        left: what is said of the time; None: as the bar moved so far. Raises KeyboardInterrupt if the command was
        interrupted.
        """
        INTERRUPTS.raise_if_received()
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total, unit=unit, note=note, left=left)
        self.progress.update(self.bars[name], completed=done, total=total, note=note, left=left)
        if self.live is None:
            how_far = f"{done}%" if unit == "%" else f"{done:,} of {total:,} {unit}".rstrip()
            self._print_bar(name, how_far, left, note, done == total)

    def _print_bar(self, name: str, how_far: str, left: str | None, note: str, full: bool) -> None:
        """On a pipe, where a line is due."""
        now, text = time.monotonic(), f"{how_far}, {note}"
        every = PLAIN_EVERY_SECONDS if text != self.said.get(name) else UNCHANGED_EVERY_SECONDS
        due = now - self.printed.get(name, -1e9) >= every
        if (due or full) and self.printed.get(name) != float("inf"):
            self.printed[name], self.said[name] = float("inf") if full else now, text
            if left is None:
                seconds = self.progress.tasks[list(self.bars).index(name)].time_remaining
                left = f"{duration_text(seconds)} left" if seconds and not full else ""
            self.say(f"{name}: {', '.join(part for part in (how_far, left, note) if part)}")

    def _render(self) -> Group:
        if (
            time.monotonic() - self.tables_drawn > 1.0
        ):  # bars move four times a second; a table costs a pass over results
            self.tables_drawn = time.monotonic()
            self.drawn = Group(self.progress, *(rich_table(table) for table in self.tables()))
        return self.drawn


class _LeftColumn(TimeRemainingColumn):
    """What is said of the time that is left, or rich's own estimate."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text(left, style="progress.remaining") if left is not None else Text("left ") + super().render(task)


def duration_text(seconds: float | None) -> str:
    """`12 s`, `3 min 20 s`, `14 min`, `4 h 20 min`, `2 d 3 h`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 595:
        minutes, tens = divmod(round(seconds / 10), 6)
        return f"{minutes} min {tens}0 s" if tens else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def rich_table(table: TableRows) -> Table:
    """A table for rich: the first column to the left, the others to the right. Its texts are shown as they are."""
    shown = Table(
        title=_as_is(table.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for i, name in enumerate(table.header):
        shown.add_column(_as_is(name), justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(_as_is, row))
    return shown


def _as_is(text: str) -> str:
    """A name of a study or an archive: its brackets are no markup, and its control characters are written out."""
    return escape(printable_lines(without_secrets(text)))
