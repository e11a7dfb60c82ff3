"""Which status may an item have: an encoder, a cell, or a training-free number."""

from enum import StrEnum


class Status(StrEnum):
    """The values are those of results.csv, of the page's data and of the events of jobs (trainables/events.py)."""

    DONE = "done"
    """Its result.json is there, and what was checked of it is whole."""

    FAILED = "failed"
    """A failed.json says why, and there is no result."""

    MISSING = "missing"
    """There is neither: it was not computed yet."""

    DAMAGED = "damaged"
    """A result.json is there, and it or a file that it names is not what was written: it counts as not computed."""

    RUNNING = "running"
    """Of an encoder's events only: it is being pretrained."""
