"""How is a status printed for people?"""

from collections import Counter

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from datasets_io.storage.artefacts import NO_SEAL
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines
from sweep.cli.display import duration_text, rich_table
from sweep.status.status import Counts, StudyStatus

MOST_NAMES, MOST_DAMAGE_LINES = 8, 8


def render(status: StudyStatus) -> Group:
    """Lines of text, then the tables so far."""
    where = escape(status.storage)
    head = f"[bold]{escape(status.study)}[/bold] in {where}" if status.study else where
    lines = [head, _count_line("encoders", status.encoders), _count_line("cells   ", status.cells), _rate_line(status)]
    if status.drivers:
        lines.append(f"drivers  {escape(', '.join(status.drivers))}")
    elif status.study and not status.finished:
        lines.append("drivers  none: go on with the same sweep.run as before")
    if status.running:
        others = f" and {len(status.running) - MOST_NAMES} more" if len(status.running) > MOST_NAMES else ""
        lines.append(f"running: {escape(', '.join(status.running[:MOST_NAMES]))}{others}")
    # One line an error, with its count: a full disk fails a thousand cells in the same words.
    for error, count in Counter(failure.error for failure in status.failures).most_common():
        first = next(failure for failure in status.failures if failure.error == error)
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"[red]failed[/red] {escape(first.name)}{others}: {escape(error)}")
    if status.failures:
        lines.append("         tracebacks: failed.json in each folder; try them again with sweep.run --retry-failed")
    lines += _damage_lines(status)
    lines += [f"note: {escape(note)}" for note in status.notes]
    # Names and errors were escaped above: a `[` of theirs must not be taken for markup.
    text = [Text.from_markup(printable_lines(without_secrets(line)), overflow="fold") for line in lines if line]
    return Group(*text, *(rich_table(table) for table in status.tables))


def _damage_lines(status: StudyStatus) -> list[str]:
    unsealed = [one for one in status.damaged if NO_SEAL in one.error]  # a whole storage of them is one line
    lines = []
    if unsealed:
        others = f" and {len(unsealed) - 1} more" if len(unsealed) > 1 else ""
        lines.append(f"[red]damaged[/red] {escape(unsealed[0].name)}{others}: {escape(unsealed[0].error)}")
    damaged = [one for one in status.damaged if NO_SEAL not in one.error]
    lines += [f"[red]damaged[/red] {escape(d.name)}: {escape(d.error)}" for d in damaged[:MOST_DAMAGE_LINES]]
    if len(damaged) > MOST_DAMAGE_LINES:
        lines.append(f"         and {len(damaged) - MOST_DAMAGE_LINES} more that are damaged; --json has them all")
    return lines


def _count_line(name: str, counts: Counts) -> str:
    parts = [f"{counts.done} of {counts.total} done" if counts.left is not None else f"{counts.done} done"]
    for what, number in (
        ("failed", counts.failed),
        ("running", counts.running),
        ("left", counts.left),
        ("blocked", counts.blocked),
    ):
        if number or (what == "left" and number is not None):
            parts.append(f"[red]{number} {what}[/red]" if what in ("failed", "blocked") else f"{number} {what}")
    return f"{name} {', '.join(parts)}"


def _rate_line(status: StudyStatus) -> str:
    if status.pace.per_hour is None:
        return "pace     nothing has finished yet" if not status.finished else ""
    text = f"pace     {status.pace.per_hour:,.0f} an hour, {status.pace.at_once:.1f} at once"
    if not status.finished and status.study:
        text += f", about {duration_text(status.pace.left)} left"
        if status.pace.left is None:
            text += " until one of each kind has finished"
    return f"{text}; the last result came {duration_text(status.idle)} ago"
