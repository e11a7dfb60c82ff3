"""Do pixels that are plain or in runs show that a part of the file was never copied? They have no checksum.

Such a part is zeros, from anywhere in a row to anywhere in a later one, or to the end. A black border is zeros too, but
its rows begin where those beside them do. So plain pixels look as if a part were missing where a row that is picture to
its end is followed by one that stops half way, and by nothing but zeros. It is counted and no reason to refuse a file:
the border of a picture that was turned by a twentieth of a degree looks the same. What stops in a row that is black
there, or exactly at the end of a row, cannot be told from a border: docs/ingest-fuzz.md has the counts.
"""

from itertools import pairwise

import numpy as np

from datasets_io.compiled import compiled
from datasets_io.pixels.grey import PixelError

SHARE = 0.9  # of a row's values that are not zero where it is picture
SMALLEST = 64  # rows and columns; what is smaller is drawn
GREYS = 8  # that a row of tissue has at least where it stops; fewer are drawn, or a few zeros of the picture's own
_PROBES = 4  # places of a row that are looked at first


def lacks_a_part(stored: np.ndarray) -> bool:
    """Whether rows of zeros begin, and end if they do, in the middle of rows. stored: (rows, columns) of the file."""
    rows, columns = stored.shape
    if min(rows, columns) < SMALLEST:
        return False
    probes = np.linspace(0, columns - 1, _PROBES).astype(int)
    for top, bottom in _blocks(stored, np.flatnonzero((stored[:, probes] == 0).all(axis=1))):
        begins = top >= 2 and _stops(stored[top - 2], stored[top - 1])
        ends = bottom == rows or (bottom + 1 < rows and _stops(stored[bottom + 1, ::-1], stored[bottom, ::-1]))
        if begins and ends:
            return True
    return _stops(stored[-2], stored[-1])


def _blocks(stored: np.ndarray, candidates: np.ndarray) -> list[tuple[int, int]]:
    """First row and the one behind the last of each run of rows that have nothing but zeros."""
    empty = np.array([row for row in candidates if not stored[row].any()], np.int64)
    if not len(empty):
        return []
    cuts = np.flatnonzero(np.diff(empty) > 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(empty, cuts)]


def _stops(before: np.ndarray, row: np.ndarray) -> bool:
    """Whether a row is zeros from its middle on, where the row before it is picture."""
    lit = np.flatnonzero(row)
    start = int(lit[-1]) + 1 if len(lit) else 0
    rest = before[start:]
    # A few zeros may be the picture's own; a row that stops before its begin does not stop in its middle.
    if start == 0 or len(rest) < len(row) // 64 or np.count_nonzero(rest) < SHARE * len(rest):
        return False
    return len(np.unique(rest)) >= GREYS


def check_segments(data: bytes, starts: list[int], samples: int) -> None:
    """Raise PixelError where an RLE segment does not have a byte for each sample (DICOM PS3.5, G.3).

    starts: of the segments, and the end. Zeros are pairs of bytes that make one, so that a part of them makes too few.
    """
    coded = np.frombuffer(data, np.uint8)
    for start, stop in pairwise(starts):
        if not _fits(coded[start:stop], samples):
            raise PixelError("decode", "an RLE segment has more or fewer bytes than the picture")


@compiled
def _fits(segment: np.ndarray, samples: int) -> bool:
    """Whether a PackBits segment makes so many bytes: to its end, but for one that makes its length even."""
    place, made = 0, 0
    while place < len(segment) and made < samples:
        count = int(segment[place])
        if count < 128:  # so many and one more as they are
            place, made = place + count + 2, made + count + 1
        elif count > 128:  # the next one, 257 - count times
            place, made = place + 2, made + 257 - count
        else:
            place += 1
    return made == samples and place <= len(segment) <= place + 1
