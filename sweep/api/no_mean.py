"""Why is there no such mean over findings?"""

from collections.abc import Sequence

from sweep.statistics.patient_intervals import NO_SUCH_MEAN, PatientInterval
from sweep.statistics.summary import COMPETITION, FEW_POSITIVES, MACRO_10_POSITIVES, MACRO_COMPETITION, SYNONYMS
from trainables.evaluation.metrics import FindingAuroc


def no_such_mean(value: str, found: Sequence[FindingAuroc]) -> PatientInterval:
    """No interval, and in its note why a macro is of no finding. found: all that were evaluated."""
    if value == MACRO_COMPETITION:
        return PatientInterval(None, None, _no_competition(found), None)
    if value == MACRO_10_POSITIVES and any(one.auroc is not None for one in found):
        return PatientInterval(None, None, f"no finding with an AUROC has {FEW_POSITIVES} positives", None)
    return NO_SUCH_MEAN


def _no_competition(found: Sequence[FindingAuroc]) -> str:
    aurocs = {SYNONYMS.get(one.finding, one.finding): one.auroc for one in found}
    if absent := [name for name in COMPETITION if name not in aurocs]:
        return f"it is of {', '.join(COMPETITION)}, and no finding is called {' or '.join(absent)}"
    return f"no AUROC: {', '.join(name for name in COMPETITION if aurocs[name] is None)}"
