"""How many images will an archive have, split by split, before it is there? From what was published of it. Pure."""

from collections.abc import Mapping

from datasets_io.sources.registry import SourceOptions, get_source

# In proportion to what sources without an official split cut patients by (sources/splits.py), and to what is cut of
# the images for training where a split for validation was not published.
ALL_OF_IT, TRAINING = (("train", 7), ("val", 1), ("test", 2)), (("train", 7), ("val", 1))
# What the folders of SIIM-ACR's first release hold (open-mmlab/mmsegmentation, its page of the data set): other options
# cut the same images otherwise, so these are not what a manifest is compared with.
OF_FOLDERS = {"siim_pneumothorax": {"train+val": 10_675, "test": 1_372}}


def nominal_splits(name: str, options: SourceOptions) -> dict[str, int] | None:
    """Split -> images of a whole copy; None of a source of which nothing was published, as one's own images.

    name, options: of a source. Exact where the splits were published, else the expected numbers of a cut by patients.
    """
    source = get_source(name)
    if not source.published:
        return None
    chosen = str(getattr(options, "split", "official"))
    splits = {key: count for key, count in source.published.items() if {*key.split("+")} <= {*source.splits}}
    if chosen == "folders":
        splits = OF_FOLDERS[name]
    elif chosen != "official" or not splits:  # cut anew, or cut by lists of somebody's own
        splits = {"+".join(split for split, _ in ALL_OF_IT): source.published["images"]}
    found: dict[str, int] = {}
    for key, count in splits.items():
        found |= _cut(key, count)
    return {split: found.get(split, 0) for split in ("train", "val", "test")}


def is_exact(name: str, options: SourceOptions) -> bool:
    """Whether each split is as it was published, and none is an expectation."""
    published = get_source(name).published
    nominal = nominal_splits(name, options)
    return nominal is not None and all(published.get(split, 0) == count for split, count in nominal.items())


def _cut(key: str, count: int) -> Mapping[str, int]:
    """Images of each of the splits that were published as one, as `train+val`; the first has what rounding leaves."""
    names = key.split("+")
    parts = [(split, weight) for split, weight in (ALL_OF_IT if "test" in names else TRAINING) if split in names]
    total = sum(weight for _, weight in parts)
    others = {split: round(count * weight / total) for split, weight in parts[1:]}
    return {parts[0][0]: count - sum(others.values()), **others}
