"""Near-duplicates: found where they are, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from datasets_io.build import near_duplicates
from datasets_io.build.near_duplicates import (
    MAX_DISTANCE,
    WORDS,
    count_near_pairs,
    hash_text,
    hashes_from_text,
    near_pairs,
    picture_hashes,
)
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec


def all_pairs(hashes: np.ndarray, splits: np.ndarray) -> set[tuple[int, int]]:
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=-1)
    rows = np.nonzero((distance <= MAX_DISTANCE) & (splits[:, None] != splits[None]))
    return {(int(a), int(b)) for a, b in zip(*rows, strict=True) if a < b}


def flipped(words: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    bits = np.unpackbits(words.view(np.uint8))
    bits[generator.choice(len(bits), count, replace=False)] ^= 1
    return np.packbits(bits).view(np.uint64)


@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_what_comparing_all_pairs_finds(seed):
    generator = np.random.default_rng(seed)
    seeds = generator.integers(0, 2**64, (12, WORDS), dtype=np.uint64)
    hashes = np.stack([flipped(seeds[n % 12], int(generator.integers(0, 20)), generator) for n in range(300)])
    splits = generator.integers(0, 3, 300)
    near = near_pairs(hashes, splits)
    expected = all_pairs(hashes, splits)
    assert near.complete and len(expected) > 500 and {tuple(row) for row in near.rows.tolist()} == expected
    for (a, b), distance in zip(near.rows, near.distance, strict=True):
        assert distance == np.bitwise_count(hashes[a] ^ hashes[b]).sum() <= MAX_DISTANCE
    counts = count_near_pairs(near, splits)
    assert sum(counts["pairs"].values()) == len(expected)
    assert sum(counts["images"].values()) == len({row for pair in expected for row in pair})
    cut = near_pairs(hashes, splits, max_pairs=100)
    assert len(cut.rows) == 100 and not cut.complete


def test_every_distance_up_to_the_largest_is_found_and_no_larger_one():
    """16 bands: the bits that differ may lie one in each of 15, and one band stays equal."""
    generator = np.random.default_rng(0)
    for count in range(MAX_DISTANCE + 3):
        first = generator.integers(0, 2**64, WORDS, dtype=np.uint64)
        other = first.copy()
        other.view(np.uint16)[:count] ^= 1 << np.uint16(3)
        near = near_pairs(np.stack([first, other]), np.array([0, 2]))
        assert len(near.rows) == (count <= MAX_DISTANCE), count


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_of_pairs_together_are_all_pairs(chunk, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK_PAIRS", chunk)
    generator = np.random.default_rng(8)
    seeds = generator.integers(0, 2**64, (3, WORDS), dtype=np.uint64)
    hashes = np.stack([flipped(seeds[n % 3], int(generator.integers(0, 12)), generator) for n in range(24)])
    splits = generator.integers(0, 3, 24)
    assert {tuple(row) for row in near_pairs(hashes, splits).rows.tolist()} == all_pairs(hashes, splits)


def test_pairs_and_images_by_hand():
    """Six alike: three of train, two of val, one of test; 15 bits differ from them in the seventh, 16 in the eighth."""
    hashes = np.zeros((8, WORDS), np.uint64)
    hashes[6, 0], hashes[7, 0] = 2**15 - 1, 2**16 - 1
    splits = np.array([0, 0, 0, 1, 1, 2, 2, 1])
    near = near_pairs(hashes, splits)
    # Of train 3 x 2 with val, 3 with test and 3 with the seventh; of val 2 with test, 3 with the seventh (one bit lies
    # between the last two).
    assert count_near_pairs(near, splits) == {
        "pairs": {"train-val": 6, "train-test": 6, "val-test": 5},
        "images": {"train": 3, "val": 3, "test": 2},
        "complete": True,
        "max_distance": 15,
    }
    whole, cut = (near_pairs(hashes, splits, max_pairs=count) for count in (17, 16))
    assert (whole.complete, len(whole.rows), cut.complete, len(cut.rows)) == (True, 17, False, 16)


def test_a_hash_is_the_signs_of_the_lowest_frequencies_along_their_diagonals():
    pictures = np.random.default_rng(9).integers(0, 3, (3, 40, 40), dtype=np.uint8)
    pictures[2] = 0
    for picture, found in zip(pictures, picture_hashes(pictures), strict=True):
        lowest = dctn(picture.astype(float), type=2)[:16, :16]
        assert (np.abs(lowest) > 1e-3).all() or not picture.any()
        bits = [lowest[u, (place - u) % 16] > 0 for place in range(16) for u in range(16)]
        assert found.tobytes() == np.packbits(bits).tobytes()


def test_nothing_and_one_split_have_no_pairs():
    assert len(near_pairs(np.empty((0, WORDS), np.uint64), np.empty(0, np.int64)).rows) == 0
    assert len(near_pairs(np.zeros((50, WORDS), np.uint64), np.zeros(50, np.int64)).rows) == 0
    hashes = np.random.default_rng(0).integers(0, 2**64, (3, WORDS), dtype=np.uint64)
    assert np.array_equal(hashes_from_text([hash_text(words) for words in hashes]), hashes)


def rendered_again(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What a second copy of a radiograph has usually gone through."""
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(stream, "JPEG", quality=50)
    side = pixels.shape[0]
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return {
        "jpeg": np.asarray(Image.open(stream)),
        "smaller": np.asarray(image.resize((side // 3, side // 3)).resize((side, side))),
        "noise": np.clip(pixels + noise, 0, 255).astype(np.uint8),
        "darker": np.rint(pixels * 0.7).astype(np.uint8),
    }


def test_copies_of_real_radiographs_are_found_and_other_patients_are_not(shared_data):
    raw = shared_data / "real_cxr" / "CheXpert-v1.0-small" / "train"
    paths = [sorted(patient.rglob("*.jpg"))[0] for patient in sorted(raw.iterdir())[:100]]
    pixels = np.stack([decode_file(path, PixelSpec(224)).pixels for path in paths])
    hashes = picture_hashes(pixels)
    assert len(near_pairs(hashes, np.arange(100) % 3).rows) == 0
    for name in ("jpeg", "smaller", "noise", "darker"):
        copies = picture_hashes(np.stack([rendered_again(picture)[name] for picture in pixels]))
        near = near_pairs(np.concatenate([hashes, copies]), np.repeat([0, 2], 100))
        found = {tuple(row) for row in near.rows.tolist()}
        assert found <= {(n, n + 100) for n in range(100)} and len(found) >= 98, (name, len(found))


def test_two_versions_of_one_radiograph_are_found_among_hundreds(shared_data):
    """Images of the NIH that the test data has at 300 pixels or more and, made by others, at 64."""
    folders = [shared_data / "real_cxr" / name / "images" for name in ("NIH-ChestX-ray14", "NIH-ChestX-ray14-thumb64")]
    paths = [sorted(folder.glob("*.png"))[:500] for folder in folders]
    hashes = [picture_hashes(np.stack([decode_file(p, PixelSpec(64)).pixels for p in some])) for some in paths]
    near = near_pairs(np.concatenate(hashes), np.repeat([0, 2], [len(some) for some in paths]))
    names = [path.name for some in paths for path in some]
    found = {(names[a], names[b]) for a, b in near.rows}
    common = {path.name for path in paths[0]} & {path.name for path in paths[1]}
    assert len(common) > 10 and found == {(name, name) for name in common}
