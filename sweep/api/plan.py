"""What will a study take, on machines of one's choice, before there is data?"""

from collections.abc import Mapping, Sequence

from sweep.studies.outlook import Machines, Outlook, outlook
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
    None: the same as the command's where there are none. counts: name of a data set -> split -> images; those that are
    not given are as they were published. only: as the flag, such as ["method=clip"]. What a storage already has is not
    looked at. Raises ValueError for what cannot be used.
    """
    if isinstance(machines, str) or isinstance(only, str):
        raise ValueError("machines and only are lists of texts, such as machines=['8xA100'], only=['method=clip']")
    return outlook(
        load_study(study),
        {name: dict(splits) for name, splits in (counts or {}).items()},
        machines,
        parse_only(tuple(only)),
        origins=dict.fromkeys(counts or {}, "given"),
    )
