"""Is a report one of a part of its study? Then it says so at its top and in every caption."""

from collections.abc import Sequence

from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout


def partial_note(layout: TableLayout, results: Sequence[CellResult]) -> str:
    """One or two sentences on what was not asked for and what is not finished; empty for a whole and finished study."""
    counts = {status: sum(result.status == status for result in results) for status in Status}
    done = counts.pop(Status.DONE)
    if done == len(results):
        return layout.part
    absent = ", ".join(f"{number:,} {status}" for status, number in counts.items() if number)
    unfinished = f"{done:,} of {len(results):,} cells are finished ({absent}): numbers may still change."
    return f"{layout.part} {unfinished}" if layout.part else f"Not the whole study: {unfinished}"


def captioned(caption: str, note: str) -> str:
    """A caption that begins with the note, where there is one."""
    return f"{note} {caption}" if note else caption
