"""What may an item be called: one word for each status of an encoder, a cell or a training-free number."""

from enum import StrEnum


class Status(StrEnum):
    """The words are those of results.csv, of the page's data and of the events that jobs send."""

    DONE = "done"
    """Its result.json is there, and whole as far as was looked."""

    FAILED = "failed"
    """A failed.json says why, and there is no result."""

    MISSING = "missing"
    """There is neither: it was not computed yet."""

    DAMAGED = "damaged"
    """A result.json is there, and it or a file that it names is not what was written: it counts as not computed."""

    RUNNING = "running"
    """Of an encoder's events only: it is being pretrained."""
