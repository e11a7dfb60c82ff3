"""Which pictures of different splits are nearly the same, although no patient is in two splits?

A picture's hash holds the signs of the 16 x 16 lowest frequencies of its cosine transform (as pHash by Zauner, 2010,
but with 256 bits: radiographs of the same view position are alike, and hashes of 64 bits take one for another). Two
pictures are near-duplicates where at most MAX_DISTANCE bits differ. On 1,400 real radiographs, a JPEG of quality 50,
a quarter of the resolution, noise or another gamma moved 0 to 19 bits, and no two of different patients were nearer
than 41; a crop by 2% of the side, or histogram equalisation, moves more and is not found.

The search is exact: of 16 bands of 16 bits at least one is equal where at most 15 bits differ. So only pictures with
an equal band are compared, for 377,110 pictures some ten million pairs instead of 3e9.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datasets_io.schema import SPLITS

FREQUENCIES = 16
WORDS = FREQUENCIES * FREQUENCIES // 64  # of 64 bits
BANDS = 16
MAX_DISTANCE = BANDS - 1  # 15 bits that differ touch at most 15 of 16 bands, so one is equal
CHUNK_PAIRS = 1 << 21  # compared at a time: 2 x 2 Mi x WORDS x 8 bytes = 128 MiB of hashes
MAX_PAIRS = 1_000_000  # more of them say nothing more


@dataclass(frozen=True)
class NearPairs:
    """rows: (n, 2) of near-duplicates in two splits, sorted, each pair once; distance: (n,) bits that differ.

    complete is False where the search ended at MAX_PAIRS.
    """

    rows: np.ndarray
    distance: np.ndarray
    complete: bool


@lru_cache(maxsize=4)
def _cosines(size: int) -> np.ndarray:
    """(FREQUENCIES, size) float32: rows of the type-II cosine transform."""
    places = np.arange(size)
    angles = np.pi / (2 * size) * (2 * places[None] + 1) * np.arange(FREQUENCIES)[:, None]
    return np.cos(angles).astype(np.float32)


def picture_hashes(pixels: np.ndarray) -> np.ndarray:
    """(n, S, S) uint8 -> (n, WORDS) uint64; about 0.1 ms a picture of 224 x 224."""
    cosines = _cosines(pixels.shape[-1])
    # The transform of rows and columns, of which only the lowest frequencies are computed: (n, 16, 16).
    lowest = np.stack([cosines @ (picture.astype(np.float32) @ cosines.T) for picture in pixels])
    # One diagonal of frequencies a band: low ones, which most radiographs share, stand beside high ones.
    shifted = np.stack([np.roll(lowest[:, u], u, axis=-1) for u in range(FREQUENCIES)], axis=-1)
    return np.packbits(shifted.reshape(len(pixels), -1) > 0, axis=-1).view(np.uint64)


def near_pairs(hashes: np.ndarray, splits: np.ndarray, max_pairs: int = MAX_PAIRS) -> NearPairs:
    """Near-duplicates between splits; pairs within one split are not searched.

    hashes: (N, WORDS) uint64; splits: (N,) int codes. Ends when more than max_pairs are found.
    """
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), BANDS)
    found = np.empty(0, np.int64)
    for band in bands.T:
        for first, second in _equal_pairs(band, splits):
            near = _distance(hashes[first], hashes[second]) <= MAX_DISTANCE
            pairs = np.stack([first[near], second[near]], axis=1)
            # A pair as one number, smaller row first: those that share several bands are then found once.
            codes = pairs.min(axis=1) * len(hashes) + pairs.max(axis=1)
            found = np.union1d(found, codes)
            if len(found) > max_pairs:
                return _result(hashes, found[:max_pairs], False)
    return _result(hashes, found, True)


def count_near_pairs(near: NearPairs, splits: np.ndarray) -> dict[str, object]:
    """{"pairs": {"train-val": n, ...}, "images": {split: images with a near-duplicate elsewhere}, "complete"}.

    splits: (N,) places in SPLITS, the same as near_pairs was given.
    """
    names = {code: split for code, split in enumerate(SPLITS)}
    sides = np.sort(splits[near.rows], axis=1)
    pairs = {
        f"{names[a]}-{names[b]}": int(((sides[:, 0] == a) & (sides[:, 1] == b)).sum())
        for a in names
        for b in names
        if a < b
    }
    members = np.unique(near.rows)
    images = {split: int((splits[members] == code).sum()) for code, split in names.items()}
    return {"pairs": pairs, "images": images, "complete": near.complete, "max_distance": MAX_DISTANCE}


def hash_text(words: np.ndarray) -> str:
    """One picture's hash, (WORDS,) uint64, as 64 hex digits."""
    return words.tobytes().hex()


def hashes_from_text(texts: list[str]) -> np.ndarray:
    """(n, WORDS) uint64 from n texts of hash_text. Raises ValueError for anything else."""
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint64).reshape(-1, WORDS)


def _equal_pairs(band: np.ndarray, splits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of (first, second) rows with the same value of the band in two splits."""
    codes, sizes = np.unique(splits, return_counts=True)
    by_size = codes[np.argsort(sizes, kind="stable")]
    # The smaller split asks, the sorted larger ones answer: each pair of splits is visited once.
    for place, small in enumerate(by_size):
        queries = np.flatnonzero(splits == small)
        others = np.flatnonzero(np.isin(splits, by_size[place + 1 :]))
        others = others[np.argsort(band[others], kind="stable")]
        values = band[others]
        starts = np.searchsorted(values, band[queries], "left")
        counts = np.searchsorted(values, band[queries], "right") - starts
        ends = np.cumsum(counts)  # pairs of the queries up to and with this one
        first = 0
        while first < len(queries):
            taken = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, taken + CHUNK_PAIRS, "right")))
            # Each query as often as it has partners, and beside it the number of the partner, 0 to counts - 1.
            repeated = np.repeat(np.arange(first, last), counts[first:last])
            offset = np.arange(len(repeated)) - (ends[repeated] - counts[repeated] - taken)
            yield queries[repeated], others[starts[repeated] + offset]
            first = last


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a ^ b).sum(axis=1, dtype=np.int64)


def _result(hashes: np.ndarray, codes: np.ndarray, complete: bool) -> NearPairs:
    rows = np.stack(np.divmod(codes, len(hashes)), axis=1)  # without hashes there is no code, and nothing is divided
    return NearPairs(rows, _distance(hashes[rows[:, 0]], hashes[rows[:, 1]]), complete)
