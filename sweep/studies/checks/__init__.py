"""Can a study be carried out as it stands? All that can be told without data, weights or a machine, all at once."""

from sweep.studies.checks.columns import column_problems
from sweep.studies.checks.instances import instance_problems
from sweep.studies.checks.names import name_problems
from sweep.studies.checks.recipes import recipe_problems
from sweep.studies.checks.starts import start_problems
from sweep.studies.checks.values import value_problems
from sweep.studies.study import Study

MOST_LISTED = 12  # problems in one message: the rest mostly has the same cause


def check_study(study: Study) -> None:
    """Check what can be wrong before any data is read. Raises ValueError with what is allowed.

    One problem is one sentence; several are a list, so that a study file is mended in one go.
    """
    found = study_problems(study)
    if len(found) == 1:
        raise ValueError(found[0])
    if found:
        more = [f"and {len(found) - MOST_LISTED} more"] if len(found) > MOST_LISTED else []
        lines = [f"{number}. {text}" for number, text in enumerate(found[:MOST_LISTED], start=1)]
        raise ValueError("\n  ".join([f"study {study.name!r} has {len(found)} problems:", *lines, *more]))


def study_problems(study: Study) -> list[str]:
    """A sentence for each problem; empty for a study that can be carried out."""
    # What is of another type would break the checks of what it says.
    return value_problems(study) or [
        *name_problems(study),
        *instance_problems(study),
        *column_problems(study),
        *start_problems(study),
        *recipe_problems(study),
    ]
