"""What does a terminal show: lines, progress bars and tables; on a pipe, plain lines."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.errors import MarkupError
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from datasets_io.interrupts import INTERRUPTS
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines

PLAIN_EVERY_SECONDS = 10.0
UNCHANGED_EVERY_SECONDS = 60.0  # a line that says what the last one said: so that silence is not taken for a stop
TOLD_FROM_SECONDS = 3.0  # how long something without a bar has been waited for
PIPE_WIDTH = 140
FIRST_COLUMN = 24  # characters that a table's first column keeps where a terminal is narrow; its rows wrap there


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
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            _SaidColumn(Column(ratio=1)),  # the one that gives way where a line is too long
            console=self.console,
        )
        self.bars: dict[str, TaskID] = {}
        self.tables: Callable[[], tuple[TableRows, ...]] = tuple
        self.printed: dict[str, float] = {}  # bar -> when a pipe was last told of it; infinity once it is full
        self.said: dict[str, str] = {}  # bar -> what it was told then, but for the time that is left
        self.tables_drawn = -1e9  # time.monotonic() of the last drawing: long ago
        self.drawn: Group = Group(self.progress)
        self.now, self.now_since = "", 0.0  # what is waited for, without a bar, and from when on
        self.last: list[str] = []  # lines for the very end

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
            self.now = ""
            self.live.refresh()
            self.live.__exit__(kind, error, trace)
            self.live = None
            for text in self.last:
                self.say(text)

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
            self.console.file.flush()  # a pipe is read as the work goes on

    def say_last(self, text: str) -> None:
        """As `say`, but on a terminal at the very end, below bars and tables, where it is seen."""
        if self.live is None:
            self.say(text)
        else:
            self.last.append(text)

    def doing(self, text: str) -> None:
        """Say what is waited for: on a terminal beside the bars, until it is something else, or nothing ("")."""
        self.now, self.now_since = printable_lines(without_secrets(text)), time.monotonic()
        if self.live is not None:
            self.live.refresh()
        elif text:
            self.say(escape(text))

    def say_table(self, table: TableRows) -> None:
        """Print a table, above the bars."""
        for part in fitting(table, self.console):
            self.console.print(rich_table(part))

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
            self._print_bar(name, f"{how_far(done, total, unit)}, {note}", done == total)

    def _print_bar(self, name: str, moved: str, full: bool) -> None:
        """On a pipe, where a line is due. moved: what it says but for the time that is left."""
        now = time.monotonic()
        every = PLAIN_EVERY_SECONDS if moved != self.said.get(name) else UNCHANGED_EVERY_SECONDS
        due = now - self.printed.get(name, -1e9) >= every
        if (due or full) and self.printed.get(name) != float("inf"):
            self.printed[name], self.said[name] = float("inf") if full else now, moved
            self.say(f"{name}: {escape(said_of(self.progress.tasks[list(self.bars).index(name)]))}")

    def _render(self) -> Group:
        if (
            time.monotonic() - self.tables_drawn > 1.0
        ):  # bars move four times a second; a table costs a pass over results
            self.tables_drawn = time.monotonic()
            parts = (part for table in self.tables() for part in fitting(table, self.console))
            self.drawn = Group(*(rich_table(part) for part in parts))
        waited = time.monotonic() - self.now_since
        told = f" {waited:.0f} s" if waited >= TOLD_FROM_SECONDS else ""
        doing = (Text(f"{self.now} ...{told}"),) if self.now else ()
        return Group(self.progress, *doing, self.drawn)

    def hide_full_bars(self) -> None:
        """On a terminal, take away those of earlier work."""
        for task in self.progress.tasks:
            if task.finished:
                self.progress.update(task.id, visible=False)


class _SaidColumn(ProgressColumn):
    """What a pipe is told of a bar, cut where the terminal ends."""

    def render(self, task: Task) -> Text:
        return Text(said_of(task), no_wrap=True, overflow="ellipsis")


def said_of(task: Task) -> str:
    """`60%, about 12 min left, 3 of 5 encoders done`. left: what is said of the time; None: as the bar moved so far."""
    left = task.fields["left"]
    if left is None:
        seconds = task.time_remaining
        left = f"{duration_text(seconds)} left" if seconds and not task.finished else ""
    moved = how_far(int(task.completed), int(task.total or 0), task.fields["unit"])
    return ", ".join(part for part in (moved, left, task.fields["note"]) if part)


def how_far(done: int, total: int, unit: str) -> str:
    """`60%` where the unit is %, else `3 of 5 images`."""
    return f"{done}%" if unit == "%" else f"{done:,} of {total:,} {unit}".rstrip()


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


def fitting(table: TableRows, console: Console) -> tuple[TableRows, ...]:
    """The table, or several below each other with its first column, none wider than the console: no number wraps."""
    widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
    parts: list[list[int]] = [[]]
    for i in range(1, len(widths)):
        # Two blanks stand between columns, and one at each edge.
        taken = 2 + min(widths[0], FIRST_COLUMN) + sum(2 + widths[j] for j in (*parts[-1], i))
        if taken > console.width and parts[-1]:
            parts.append([])
        parts[-1].append(i)
    if len(parts) == 1:
        return (table,)

    def chosen(row: tuple[str, ...], part: list[int]) -> tuple[str, ...]:
        return (row[0], *(row[i] for i in part))

    return tuple(
        TableRows(
            table.title if part is parts[0] else "",
            chosen(table.header, part),
            tuple(chosen(row, part) for row in table.rows),
        )
        for part in parts
    )


def rich_table(table: TableRows) -> Table:
    """A table for rich: the first column to the left, the others to the right. Its texts are shown as they are."""
    shown = Table(
        title=_as_is(table.title) or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for i, name in enumerate(table.header):
        shown.add_column(_as_is(name), justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(_as_is, row))
    return shown


def _as_is(text: str) -> str:
    """A name of a study or an archive: its brackets are no markup, and its control characters are written out."""
    return escape(printable_lines(without_secrets(text)))
