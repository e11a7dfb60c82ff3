"""What was published of an archive, as plain counts: how many images has a whole copy, and where do some lack?

Keys: "images", "studies" and "patients" of the archive, "broken" for images that are missing or cannot be read in the
archive itself, and the images of each split under its name, or of several
that were published as one under their names with a plus ("train+val"). Where the splits come to more than `images`,
the one with the surplus was published apart, as CheXpert's test set: an archive may have it or not.
"""

from collections.abc import Mapping

KINDS = ("images", "studies", "patients", "broken")


def whole_sizes(published: Mapping[str, int]) -> tuple[int, ...]:
    """Images of a whole copy: one number, or two where a split was published apart; none without `images`."""
    if "images" not in published:
        return ()
    return tuple(dict.fromkeys((published["images"], max(published["images"], sum(_splits(published).values())))))


def whole_size(published: Mapping[str, int], listed: Mapping[str, int]) -> int:
    """That of whole_sizes which an archive should have. listed: split -> images that it lists."""
    sizes = whole_sizes(published)
    apart = [split for split, count in _splits(published).items() if count == sizes[-1] - sizes[0]]
    return sizes[-1] if any(count_of(split, listed) for split in apart) else sizes[0]


def split_gaps(published: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """'test 300 of 668' for each split that has another number of images than was published."""
    counts = {split: (count_of(split, found), count) for split, count in _splits(published).items()}
    return [f"{split} {is_:,} of {wanted:,}" for split, (is_, wanted) in counts.items() if is_ != wanted]


def count_of(split: str, counts: Mapping[str, int]) -> int:
    """Images of a split, or of several as 'train+val'."""
    return sum(counts.get(name, 0) for name in split.split("+"))


def _splits(published: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in published.items() if name not in KINDS}
