"""Does a JPEG scan hold the picture that its header promises: no block less, no byte more? (ITU-T T.81, Annexes F-H)

The Huffman codes are followed without computing pixels. What was never copied is zeros, and zeros are valid codes, but
of another number of blocks than there should be. It takes about as long as decoding, so it is for files that have a run
of zeros in their scans, or several scans.
"""

import numpy as np

from datasets_io.compiled import compiled
from datasets_io.pixels.jpeg_markers import LOSSLESS, PROGRESSIVE, Frame, Scan

HUFFMAN = (0xC0, 0xC1, 0xC2, 0xC3)  # frames that are coded by Huffman codes, not hierarchical; others are arithmetic
_FITS, _SHORT, _LONG, _NO_CODE = range(4)
_SEQUENTIAL, _DC_FIRST, _DC_REFINED, _AC_FIRST, _AC_REFINED, _DIFFERENCES = range(6)
_ENTRIES = 1 << 16  # of a table: what each 16 bits begin with, as length x 256 + symbol; 0 for no code


def holds_its_picture(frame: Frame, scans: list[Scan], data: np.ndarray, slack: int) -> bool:
    """Whether every scan has as many blocks as the frame. data: the stream, uint8; slack: bytes more that are allowed.

    frame: of one of HUFFMAN. False also for what no decoder reads.
    """
    across, down = (max(getattr(c, side) for c in frame.components) for side in ("across", "down"))
    unit = 1 if frame.kind in LOSSLESS else 8  # samples of a block's side
    mcus = _ceil(frame.columns, unit * across), _ceil(frame.rows, unit * down)
    # Which coefficients of each block are not 0 so far: refining scans have a bit more for each of them.
    padded = mcus if frame.kind in PROGRESSIVE else (0, 0)
    seen = [np.zeros((padded[1] * c.down, padded[0] * c.across), np.uint64) for c in frame.components]
    for scan in scans:
        kind = _kind(frame, scan)
        places = [place for place, *_ in scan.components]
        if len(places) > 1:
            size = mcus
            shapes = [(frame.components[place].across, frame.components[place].down) for place in places]
        else:  # a scan of one colour has its blocks one by one, without those that fill up the last units
            component = frame.components[places[0]]
            size = (
                _ceil(_ceil(frame.columns * component.across, across), unit),
                _ceil(_ceil(frame.rows * component.down, down), unit),
            )
            shapes = [(1, 1)]
        tables = _tables(scan, kind)
        if tables is None or (not 0 <= scan.first <= scan.last <= 63 and kind != _DIFFERENCES):
            return False
        edges = np.concatenate([[scan.start], scan.restarts + 2, [scan.stop + 2]])  # behind each: a marker
        blocks = size[0] * size[1]
        per_part = scan.interval or blocks
        if len(edges) - 1 != _ceil(blocks, per_part):
            return False
        counts = np.array([size[0], blocks, per_part, scan.first, scan.last, slack])
        status = _walk(np.array(shapes), tables, kind, counts, data, edges, seen[places[0]])
        if status != _FITS:
            return False
    return True


def _ceil(length: int, unit: int) -> int:
    """How many units cover a length."""
    return -(-length // unit)


def zeros_are_flat(frame: Frame, scans: list[Scan]) -> bool:
    """Whether a long run of zero bits can be sound: black areas are one, where the shortest code ends a block."""
    if frame.kind in PROGRESSIVE:
        return True  # refining scans have bare bits
    if frame.kind in LOSSLESS:
        return any(_first_symbol(scan.tables.get((0, dc), b"")) == 0 for scan in scans for _, dc, _ in scan.components)
    return any(_first_symbol(scan.tables.get((1, ac), b"")) == 0 for scan in scans for _, _, ac in scan.components)


def _first_symbol(table: bytes) -> int:
    """What the code of zeros alone means: the first symbol of a table; -1 where there is none."""
    return table[16] if len(table) > 16 else -1


def _kind(frame: Frame, scan: Scan) -> int:
    if frame.kind in LOSSLESS:
        return _DIFFERENCES
    if frame.kind not in PROGRESSIVE:
        return _SEQUENTIAL
    if scan.first == 0:
        return _DC_REFINED if scan.high else _DC_FIRST
    return _AC_REFINED if scan.high else _AC_FIRST


def _tables(scan: Scan, kind: int) -> np.ndarray | None:
    """(components, DC and AC, _ENTRIES) uint16; None where the stream lacks one."""
    made = np.zeros((len(scan.components), 2, _ENTRIES), np.uint16)
    for row, (_, dc, ac) in enumerate(scan.components):
        for group, number in ((0, dc), (1, ac)):
            needed = kind == _SEQUENTIAL or (group == 0) == (kind in (_DC_FIRST, _DIFFERENCES))
            if needed and kind != _DC_REFINED and not _fill(made[row, group], scan.tables.get((group, number), b"")):
                return None
    return made


def _fill(entries: np.ndarray, table: bytes) -> bool:
    """Codes of T.81, Annex C: by length, counting upwards. False for a table that has none, or too many."""
    code, at = 0, 16
    for length in range(1, 17):
        for _ in range(table[length - 1] if len(table) > 16 else 0):
            width = 1 << (16 - length)
            if at >= len(table) or code + width > _ENTRIES:
                return False
            entries[code : code + width] = length << 8 | table[at]
            code, at = code + width, at + 1
    return at > 16


@compiled
def _peek(data: np.ndarray, state: np.ndarray) -> int:
    """The next 16 bits, with ones behind the end. state: place, end, bits that are held, how many of them."""
    while state[3] < 16:
        byte = 0xFF
        if state[0] < state[1]:
            byte = data[state[0]]
            state[0] += 2 if byte == 0xFF else 1  # a zero is stuffed behind FF
        else:
            state[4] += 8
        state[2] = ((state[2] << 8) | byte) & 0xFFFFFFFF
        state[3] += 8
    return (state[2] >> (state[3] - 16)) & 0xFFFF


@compiled
def _symbol(data: np.ndarray, state: np.ndarray, tables: np.ndarray, row: int, group: int) -> int:
    """The next symbol, by one of the tables; -1 where the bits are no code."""
    entry = tables[row, group, _peek(data, state)]
    state[3] -= entry >> 8
    return int(entry & 0xFF) if entry else -1


@compiled
def _bits(data: np.ndarray, state: np.ndarray, count: int) -> int:
    """The next `count` bits, at most 16."""
    found = _peek(data, state) >> (16 - count)
    state[3] -= count
    return found


@compiled
def _walk(
    shapes: np.ndarray,
    tables: np.ndarray,
    kind: int,
    counts: np.ndarray,
    data: np.ndarray,
    edges: np.ndarray,
    seen: np.ndarray,
) -> int:
    """_FITS, or what is wrong with a scan.

    shapes: blocks across and down that each colour has in a unit. counts: units in a row, in all and between restart
    markers, first and last coefficient, bytes more that are allowed. edges: where each part begins, behind a marker.
    """
    wide, total, per_part, first, last, slack = counts
    done = 0
    for part in range(len(edges) - 1):
        state = np.array([edges[part], edges[part + 1] - 2, 0, 0, 0])
        run = np.zeros(1, np.int64)  # blocks without more coefficients that are still to come
        for number in range(done, min(done + per_part, total)):
            for row in range(len(shapes)):
                for _ in range(shapes[row, 0] * shapes[row, 1]):
                    if kind == 0:
                        good = _whole_block(data, state, tables, row)
                    elif kind == 1 or kind == 5:
                        good = _difference(data, state, tables, row, kind)
                    elif kind == 2:
                        good = _bits(data, state, 1) >= 0
                    elif kind == 3:
                        good = _ac_first(data, state, tables, seen, number, wide, first, last, run)
                    else:
                        good = _ac_refined(data, state, tables, seen, number, wide, first, last, run)
                    if not good:
                        return 3
            if state[4] > state[3]:  # bits from behind the end are used
                return 1
        done += per_part
        left = 8 * (state[1] - state[0]) + state[3] - state[4]
        if run[0] or left >= 8 * (1 + slack):
            return 2
    return 0


@compiled
def _whole_block(data: np.ndarray, state: np.ndarray, tables: np.ndarray, row: int) -> bool:
    """A DC difference, then runs of zeros and coefficients (T.81, F.2.2)."""
    size = _symbol(data, state, tables, row, 0)
    if size < 0 or size > 16:
        return False
    _bits(data, state, size)
    place = 1
    while place < 64:
        symbol = _symbol(data, state, tables, row, 1)
        if symbol < 0:
            return False
        run, size = symbol >> 4, symbol & 15
        if size == 0 and run < 15:
            return True
        place += run + 1
        _bits(data, state, size)
    return place == 64


@compiled
def _difference(data: np.ndarray, state: np.ndarray, tables: np.ndarray, row: int, kind: int) -> bool:
    size = _symbol(data, state, tables, row, 0)
    if size < 0 or size > 16:
        return False
    if size < 16 or kind == 1:  # a difference of 32,768 has no more bits (H.1.2.2)
        _bits(data, state, size)
    return True


@compiled
def _ac_first(
    data: np.ndarray,
    state: np.ndarray,
    tables: np.ndarray,
    seen: np.ndarray,
    number: int,
    wide: int,
    first: int,
    last: int,
    run: np.ndarray,
) -> bool:
    """A block of the first scan of some coefficients (T.81, G.1.2.2)."""
    if run[0]:
        run[0] -= 1
        return True
    flags, place = seen[number // wide, number % wide], first
    while place <= last:
        symbol = _symbol(data, state, tables, 0, 1)
        if symbol < 0:
            return False
        zeros, size = symbol >> 4, symbol & 15
        if size:
            place += zeros
            if place > last:
                return False
            flags |= np.uint64(1) << np.uint64(place)
            _bits(data, state, size)
        elif zeros < 15:
            run[0] = (1 << zeros) + _bits(data, state, zeros) - 1
            break
        else:
            place += 15
        place += 1
    seen[number // wide, number % wide] = flags
    return True


@compiled
def _ac_refined(
    data: np.ndarray,
    state: np.ndarray,
    tables: np.ndarray,
    seen: np.ndarray,
    number: int,
    wide: int,
    first: int,
    last: int,
    run: np.ndarray,
) -> bool:
    """A block of a scan that adds a bit to coefficients (T.81, G.1.2.3): one for each that is not 0, and new ones."""
    flags, place = seen[number // wide, number % wide], first
    one = np.uint64(1)
    while run[0] == 0 and place <= last:
        symbol = _symbol(data, state, tables, 0, 1)
        if symbol < 0:
            return False
        zeros, size = symbol >> 4, symbol & 15
        if size > 1:
            return False
        if size:
            _bits(data, state, 1)
        elif zeros < 15:
            run[0] = (1 << zeros) + _bits(data, state, zeros)
            break
        while place <= last:
            if (flags >> np.uint64(place)) & one:
                _bits(data, state, 1)
            elif zeros == 0:
                break
            else:
                zeros -= 1
            place += 1
        if size:
            if place > last:
                return False
            flags |= one << np.uint64(place)
        place += 1
    if run[0]:
        rest = (flags >> np.uint64(place)) << np.uint64(place) if place < 64 else np.uint64(0)
        rest = (rest << np.uint64(63 - last)) >> np.uint64(63 - last)
        while rest:  # a bit for each coefficient that is not 0
            _bits(data, state, 1)
            rest &= rest - one
        run[0] -= 1
    seen[number // wide, number % wide] = flags
    return True
