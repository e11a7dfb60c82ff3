"""How often does a report tell equal methods apart? Simulated studies: one checkpoint, several seeds, one test set.

Printed by python -m benchmarks.statistics. Both rows have the same AUROC among all patients and over all seeds, so
whatever tells them apart is wrong; at most 5% of the studies may. Each figure stands beside what a paired t-test over
seeds alone says of the same studies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.shared.common import row
from sweep.report.narrative import TOLD, verdict
from sweep.statistics.combined_test import patient_part
from sweep.statistics.comparisons import AGAINST_REFERENCE, ALPHA, Tested, compare_methods, with_patients
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.placements import classes_of, macro_influence, place
from sweep.statistics.summaries import make_summaries
from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout
from trainables.evaluation.metrics import auroc_per_finding, macro

DATASET, COLUMN, FINDINGS = "chexpert", ("LP", 100), ("edema", "effusion", "mass")


@dataclass(frozen=True)
class Studies:
    """What simulated studies are like. All spreads are standard deviations of logits, whose classes lie 1.2 apart.

    num_patients: with one or two images each; prevalence: of each of the FINDINGS. num_methods: beside the reference.
    of_checkpoint: how far the images of one checkpoint lie from what the images themselves say: what patients do to a
    difference of two checkpoints. of_seed: the same of one seed's training. of_subset: how far the images of a class
    are moved together by one seed's label subset: what seeds do that no patient averages out.
    num_pretrainings: above 1, each has a checkpoint of its own, and of_pretraining moves its classes together.
    """

    name: str
    num_patients: int = 150
    prevalence: float = 0.25
    num_seeds: int = 5
    num_methods: int = 1
    of_checkpoint: float = 0.6
    of_seed: float = 0.1
    of_subset: float = 0.0
    num_pretrainings: int = 1
    of_pretraining: float = 0.0


CASES = (
    Studies("as_the_audit_had_it", num_patients=202),
    Studies("seeds_and_patients_alike", of_subset=0.25),
    Studies("seeds_alone", of_checkpoint=0.02, of_seed=0.02, of_subset=0.3),
    Studies("few_positives", num_patients=60, prevalence=0.08),
    Studies("two_seeds", num_seeds=2),
    Studies("six_methods", num_methods=6),
    Studies("five_pretrainings", num_pretrainings=5, of_pretraining=0.2, of_subset=0.15),
)


def false_positives(studies: Studies, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Shares of simulated studies with any wrong claim: of the report's words, and of t-tests over seeds.

    The t-tests are Holm-corrected over the rows of the column.
    """
    rng = np.random.default_rng(seed)
    words = t_tests = 0
    for _ in range(repeats):
        tests = [t.comparison for t in _compared(studies, rng) if t.family == AGAINST_REFERENCE]
        words += any(verdict(test) == TOLD for test in tests)
        t_tests += any(test.p_holm is not None and test.p_holm < ALPHA for test in tests)
    return words / repeats, t_tests / repeats


def _compared(studies: Studies, rng: np.random.Generator) -> Sequence[Tested]:
    """The tests of one simulated study, through the code that a report's words come from."""
    patients = np.repeat(np.arange(studies.num_patients), rng.integers(1, 3, studies.num_patients))
    shape = (len(patients), len(FINDINGS))
    labels = (rng.random((studies.num_patients, len(FINDINGS))) < studies.prevalence).astype(np.int8)[patients]
    of_images = 1.2 * labels + 0.6 * rng.normal(size=(studies.num_patients, len(FINDINGS)))[patients]
    of_images += 0.5 * rng.normal(size=shape)
    known, rows = np.ones(shape, bool), ["imagenet", *(f"method{i}" for i in range(studies.num_methods))]
    classes = classes_of(labels, known, patients)
    results: list[CellResult] = []
    influences: dict[str, list[np.ndarray]] = {}
    for name in rows:
        for (p, s), scores in _scores(studies, rng, labels, of_images):
            findings = auroc_per_finding(scores, labels, known, FINDINGS)
            result = CellResult(name, name, DATASET, *COLUMN, p, s, Status.DONE, f"{name}{p}{s}")
            results.append(replace(result, findings=tuple(findings), macro_auroc=macro(findings)))
            influences.setdefault(name, []).append(macro_influence(place(scores, classes), classes))
    parts = {}
    for name in rows[1:]:
        part = patient_part(np.mean(influences[name], axis=0) - np.mean(influences["imagenet"], axis=0))
        if part is not None:
            parts[DATASET, *COLUMN, name, "imagenet"] = part
    layout = TableLayout(
        tuple((name, name, "baseline" if name == "imagenet" else "joint") for name in rows),
        ((DATASET, DATASET),),
        (COLUMN,),
        tuple(range(studies.num_seeds)),
        tuple(range(studies.num_pretrainings)),
    )
    compared = with_patients(compare_methods(make_summaries(layout, results)), OverPatients({}, parts))
    return compared.tested[DATASET, *COLUMN]


def _scores(
    studies: Studies, rng: np.random.Generator, labels: np.ndarray, of_images: np.ndarray
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """(pretraining seed, seed) -> (N, F) scores of one method. A seed's label subset is one for all pretrainings."""
    subsets = studies.of_subset * rng.normal(size=(studies.num_seeds, labels.shape[1]))
    for p in range(studies.num_pretrainings):
        checkpoint = of_images + studies.of_checkpoint * rng.normal(size=labels.shape)
        checkpoint += studies.of_pretraining * rng.normal(size=labels.shape[1]) * labels
        for s in range(studies.num_seeds):
            yield (p, s), checkpoint + subsets[s] * labels + studies.of_seed * rng.normal(size=labels.shape)


def figures(repeats: int, cases: Sequence[Studies] = CASES) -> list[dict]:
    """The share of studies in which equal rows are told apart, in percent: by the words, then by the t-tests."""
    rows = []
    for studies in cases:
        words, t_tests = false_positives(studies, repeats)
        for who, share in (("words", words), ("paired_t_tests_over_seeds", t_tests)):
            name = f"equal_rows_told_apart_by_{who}_{studies.name}_{repeats}_studies"
            rows.append(row("statistics", name, "%", 100 * share))
    return rows
