"""What will a study take, on machines of one's choice, before there is data?"""

from collections.abc import Mapping, Sequence
from numbers import Integral

from datasets_io.build.spec import options_of
from datasets_io.nearest import did_you_mean
from datasets_io.schema import SPLITS
from datasets_io.sources.nominal import nominal_splits
from sweep.api.arguments import in_words_of_python, listed
from sweep.studies.outlook import Machines, Outlook, outlook, parse_machines
from sweep.studies.plan import parse_only
from sweep.studies.presets import load_study
from sweep.studies.study import Study


def plan(
    study: str | Study = "demo",
    *,
    machines: Sequence[str | Machines] | None = None,
    counts: Mapping[str, Mapping[str, int]] | None = None,
    only: Sequence[str] = (),
) -> Outlook:
    """Stages, hours, bytes and the longest chain of a whole study, as `radsweep run --dry-run` prints them.

    study: a name, a Python file that defines study(), or the Study itself. machines: such as `8xA100` and `2x8xH100`;
    None: the same as the command's where there are none. counts: name of a data set -> split -> images; sets and
    splits that are not given are as they were published. only: as the flag, such as ["method=clip"]. What a storage
    already has is not looked at. What cannot be priced, of which nobody has said how many images it has, is None, and
    `missing` says why. Raises ValueError for what cannot be used.
    """
    priced = None if machines is None else listed("machines", machines, "8xA100", (str, Machines))
    part = listed("only", only, "method=clip")
    with in_words_of_python():
        for one in priced or ():
            if isinstance(one, Machines) and one.rate is None:
                parse_machines(one.name)
        planned = load_study(study)
        given = _checked(planned, {} if counts is None else counts)
        return outlook(planned, given, priced, parse_only(part), origins=dict.fromkeys(given, "given"))


def _checked(study: Study, counts: object) -> dict[str, dict[str, int]]:
    """By label of a build, of every split. Raises ValueError for a name, a split or a number that there is not."""
    made_up = study.synthetic.image_counts() if study.synthetic is not None else {}
    if not isinstance(counts, Mapping):
        raise ValueError(
            f"counts are {counts!r}: give them by data set and split, as {{'nih_cxr14': {{'train': 1000}}}}"
        )
    found = {}
    for name, splits in counts.items():
        builds = [build for build in study.data_builds() if name in (build.label, build.instance)]
        if not builds:
            known = dict.fromkeys(build.instance for build in study.data_builds())
            hint = did_you_mean(name, known)
            raise ValueError(f"counts name {name!r}; study {study.name!r} reads {', '.join(known)}{hint}")
        _check_splits(name, splits)
        for build in builds:
            usual = made_up.get(build.source) or nominal_splits(build.source, options_of(build.spec)) or {}
            found[build.label] = {split: int(splits.get(split, usual.get(split, 0))) for split in SPLITS}
    return found


def _check_splits(name: str, splits: object) -> None:
    if not isinstance(splits, Mapping):
        raise ValueError(f"counts of {name} are {splits!r}: give the images of each split, such as {{'train': 1000}}")
    for split, images in splits.items():
        if split not in SPLITS:
            raise ValueError(f"counts of {name} name the split {split!r}; allowed: {', '.join(SPLITS)}")
        if isinstance(images, bool) or not isinstance(images, Integral) or images < 0:
            raise ValueError(f"counts of {name}: {split} is {images!r}: give a whole number of images, 0 or more")
