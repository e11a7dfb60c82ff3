"""How is a grey picture of up to 16 bits shrunk, antialiased, in one pass over its pixels? Compiled by numba.

The filter is Pillow's BILINEAR: a triangle that is as wide as the scale factor, normalised at the edges. Weights are
integers that sum to 2^16, so every sum is exact: the same picture stored inverted, shifted or signed gives the same
bytes, whatever the machine. Against Pillow in float32 the result differs by less than half a grey level of 255.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from datasets_io.compiled import compiled

WEIGHT_BITS = 16  # 65,535 x 2^16 is the largest sum of a column: it fits 32 bits
MAX_TAPS = 128  # rounding moves a weight by 2^-17 at most, 128 of them a sum by 0.25 of 255 grey levels


class Taps(NamedTuple):
    """Which source pixels make a target pixel. first, counts: (size,) int64; weights: (size, taps) uint32.

    Rows of weights are filled up with zeros to a multiple of 8, which the processor multiplies at a time.
    """

    first: np.ndarray
    counts: np.ndarray
    weights: np.ndarray


def fits(rows: int, columns: int, size: int | tuple[int, int]) -> bool:
    """Whether shrink_sums is exact enough for this picture; others are thinner than a radiograph or shrunk 64 times."""
    # A target pixel takes 2 x length / size source pixels, and at most 2 more by where the triangle begins and ends.
    return all(length * 2 <= (MAX_TAPS - 2) * size for length, size in zip((rows, columns), pair(size), strict=True))


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a size; a single number is the side of a square."""
    return (size, size) if isinstance(size, int) else size


@lru_cache(maxsize=64)
def taps(length: int, size: int) -> Taps:
    """The triangle filter from `length` pixels to `size`, as Pillow centres and cuts it."""
    # Source pixels a target pixel; a picture that grows keeps the triangle of one pixel's half width.
    scale = length / size
    support = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum(0, (centre - support + 0.5).astype(np.int64))
    counts = np.minimum(length, (centre + support + 0.5).astype(np.int64)) - first
    places = first[:, None] + np.arange((counts.max() + 7) // 8 * 8)  # (size, taps), taps rounded up to 8s
    exact = np.clip(1 - np.abs(places + 0.5 - centre[:, None]) / support, 0, None)
    exact[places >= (first + counts)[:, None]] = 0
    exact *= 2**WEIGHT_BITS / exact.sum(axis=1, keepdims=True)
    weights = np.floor(exact).astype(np.int64)
    missing = 2**WEIGHT_BITS - weights.sum(axis=1)
    # argsort of argsort gives ranks; weights - exact is minus the remainder, so the largest has rank 0.
    rank = np.argsort(np.argsort(weights - exact, axis=1, kind="stable"), axis=1)
    weights += rank < missing[:, None]  # the largest remainders first, so that every row sums to 2^16
    return Taps(first, counts, weights.astype(np.uint32))


def shrink_sums(
    stored: np.ndarray, size: int | tuple[int, int], *, signed: bool, bits: int
) -> tuple[np.ndarray, int, int]:
    """(rows, columns) -> int64 weighted sums of this size, and the smallest and largest value of the whole picture.

    stored: uint8 or uint16, C-contiguous and native; the lowest `bits` of every value count, in two's complement
    where `signed`. Values are shifted by 2^(bits - 1) where signed, sums are 2^32 times a value.
    """
    stored = stored.view()
    stored.flags.writeable = False  # one compiled version serves arrays in memory and mapped files
    # Two's complement with its highest bit flipped is the value plus 2^(bits - 1): unsigned, in the same order.
    flip, mask = (1 << (bits - 1) if signed else 0), (1 << bits) - 1
    rows, columns = (taps(length, side) for length, side in zip(stored.shape, pair(size), strict=True))
    kind = stored.dtype.type
    if not signed:  # values are stored as they are, unless something else is kept in the bits above
        sums, lowest, highest = _shrink(stored, None, None, *rows, columns.first, columns.weights)
        if highest <= mask:
            return sums, lowest, highest
    return _shrink(stored, kind(flip), kind(mask), *rows, columns.first, columns.weights)


# numba compiles for the types that it is called with. Scalar: of the picture's type, or None where all bits count.
Scalar = Any


@compiled
def _value(stored: Scalar, flip: Scalar, mask: Scalar) -> Scalar:
    if mask is None:  # known when this is compiled
        return stored
    return (stored ^ flip) & mask


@compiled
def _shrink(
    stored: np.ndarray,
    flip: Scalar,
    mask: Scalar,
    row_first: np.ndarray,
    row_count: np.ndarray,
    row_weights: np.ndarray,
    column_first: np.ndarray,
    column_weights: np.ndarray,
) -> tuple[np.ndarray, int, int]:
    # Rows first, into one line of uint32 (65,535 x 2^16 fits), then columns of that line, into uint64: the picture is
    # read once, in the order in which it lies in memory. The compiler turns the plain inner loops into vector code.
    columns, tall, wide = stored.shape[1], len(row_first), len(column_first)
    sums = np.empty((tall, wide), np.int64)
    line = np.empty(columns + column_weights.shape[1], np.uint32)  # beyond the columns 0, for weights of 0
    lowest = np.full(columns, _value(stored[0, 0], flip, mask), stored.dtype)
    highest = lowest.copy()
    seen = 0
    for top in range(tall):
        line[:] = 0
        first, count = row_first[top], row_count[top]
        for i in range(seen, first + count):  # first, row after row: memory brings them into the cache at its best
            a = stored[i]
            for j in range(columns):
                value = _value(a[j], flip, mask)
                lowest[j] = min(lowest[j], value)
                highest[j] = max(highest[j], value)
        seen = max(seen, first + count)
        for i in range(0, count - count % 4, 4):  # by four: a quarter of the loads and stores
            a, b, c, d = stored[first + i], stored[first + i + 1], stored[first + i + 2], stored[first + i + 3]
            u, v, w, x = row_weights[top, i], row_weights[top, i + 1], row_weights[top, i + 2], row_weights[top, i + 3]
            for j in range(columns):
                line[j] += (
                    np.uint32(_value(a[j], flip, mask)) * u
                    + np.uint32(_value(b[j], flip, mask)) * v
                    + np.uint32(_value(c[j], flip, mask)) * w
                    + np.uint32(_value(d[j], flip, mask)) * x
                )
        for i in range(count - count % 4, count):
            a, u = stored[first + i], row_weights[top, i]
            for j in range(columns):
                line[j] += np.uint32(_value(a[j], flip, mask)) * u
        for left in range(wide):
            part, weights, total = line[column_first[left] :], column_weights[left], np.uint64(0)
            for i in range(len(weights)):
                total += np.uint64(part[i]) * np.uint64(weights[i])
            sums[top, left] = total
    return sums, int(lowest.min()), int(highest.max())
