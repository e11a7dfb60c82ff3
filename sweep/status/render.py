"""How is a status printed for people?"""

from collections import Counter

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from sweep.cli.display import rich_table
from sweep.status.eta import spoken
from sweep.status.status import Counts, Seen

MOST_DAMAGE_LINES = 8


def shown(seen: Seen) -> Group:
    """What a person sees."""
    head = f"[bold]{escape(seen.study)}[/bold] in {escape(seen.storage)}" if seen.study else escape(seen.storage)
    lines = [head, _count_line("encoders", seen.encoders), _count_line("cells   ", seen.cells), _pace_line(seen)]
    if seen.drivers:
        lines.append(f"drivers  {escape(', '.join(seen.drivers))}")
    elif seen.study and not seen.finished:
        lines.append("drivers  none: go on with the same sweep.run as before")
    if seen.running:
        more = f" and {len(seen.running) - 8} more" if len(seen.running) > 8 else ""
        lines.append(f"running: {escape(', '.join(seen.running[:8]))}{more}")
    for error, count in Counter(failure.error for failure in seen.failures).most_common():
        first = next(failure for failure in seen.failures if failure.error == error)
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"[red]failed[/red] {escape(first.name)}{others}: {escape(error)}")
    if seen.failures:
        lines.append("         tracebacks: failed.json in each folder; try them again with sweep.run --retry-failed")
    lines += [f"[red]damaged[/red] {escape(d.name)}: {escape(d.error)}" for d in seen.damaged[:MOST_DAMAGE_LINES]]
    if len(seen.damaged) > MOST_DAMAGE_LINES:
        lines.append(f"         and {len(seen.damaged) - MOST_DAMAGE_LINES} more that are damaged; --json has them all")
    lines += [f"note: {escape(note)}" for note in seen.notes]
    text = [Text.from_markup(line, overflow="fold") for line in lines if line]
    return Group(*text, *(rich_table(table) for table in seen.tables))


def _count_line(name: str, counts: Counts) -> str:
    parts = [f"{counts.done} of {counts.total} done" if counts.left is not None else f"{counts.done} done"]
    for what, number in (
        ("failed", counts.failed), ("running", counts.running), ("left", counts.left), ("blocked", counts.blocked)
    ):
        if number or (what == "left" and number is not None):
            parts.append(f"[red]{number} {what}[/red]" if what in ("failed", "blocked") else f"{number} {what}")
    return f"{name} {', '.join(parts)}"


def _pace_line(seen: Seen) -> str:
    if seen.pace.per_hour is None:
        return "pace     nothing has finished yet" if not seen.finished else ""
    text = f"pace     {seen.pace.per_hour:,.0f} an hour, {seen.pace.at_once:.1f} at once"
    if not seen.finished and seen.study:
        text += f", about {spoken(seen.pace.left)} left"
        if seen.pace.left is None:
            text += " until one of each kind has finished"
    return f"{text}; the last result came {spoken(seen.idle)} ago"
