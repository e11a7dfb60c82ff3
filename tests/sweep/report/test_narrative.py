"""Are the sentences of a report those that its numbers say, and are they left out where there are no numbers?"""

from dataclasses import replace

import pytest
from test_finding_table import LAYOUT, ROWS, SPREAD

from sweep.report.best_rows import best_rows
from sweep.report.narrative import narrative_of
from sweep.statistics.comparisons import compare_methods
from sweep.statistics.summaries import make_summaries
from sweep.store.records import CellResult
from trainables.evaluation.metrics import FindingAuroc

COLUMNS = (("LP", 100), ("FT", 1), ("FT", 100))
LEVELS = {
    "imagenet": (0.70, 0.60, 0.80),
    "clip": (0.80, 0.82, 0.81),
    "vicreg": (0.75, 0.65, 0.85),
    "simclr": (0.72, 0.66, 0.84),
    "clip+simclr": (0.79, 0.70, 0.83),
}
LAYOUT = replace(LAYOUT, datasets=(("chexpert", "CheXpert"),), columns=COLUMNS)
WOBBLE = (0.001, -0.002, 0.001)  # what a method's seeds have besides the baseline's, so that tests have a spread


def results(levels=LEVELS):
    made = []
    for row, display, _ in ROWS:
        for (protocol, percent), level in zip(COLUMNS, levels[row], strict=True):
            for seed in LAYOUT.seeds:
                value = level + SPREAD[seed] + (WOBBLE[seed] if row != "imagenet" else 0.0)
                finding = FindingAuroc("edema", value, 30, 70)
                made.append(
                    CellResult(
                        row,
                        display,
                        "chexpert",
                        protocol,
                        percent,
                        0,
                        seed,
                        "done",
                        f"{row}{protocol}{percent}{seed}",
                        (finding,),
                        value,
                    )
                )
    return made


def compared(found, layout=LAYOUT):
    return compare_methods(make_summaries(layout, found))


def text_of(found, layout=LAYOUT) -> str:
    return "\n".join(sentence.text for sentence in narrative_of(compared(found, layout)))


@pytest.mark.parametrize(
    "sentence",
    [
        "Over all 3 columns of CheXpert, CLIP ranks best: mean rank 2.0 of 5, before SimCLR-CLIP (2.3).",
        "CheXpert: the highest macro AUROC (%) is that of CLIP under LP (80.00 ± 2.52) and FT (1%) (82.00 ± 2.52); "
        "VICReg under FT (100%) (85.00 ± 2.52).",
        "12 of 12 means of methods are significantly higher and 0 significantly lower",
        "the largest difference is +22.00 points, CLIP under FT (1%).",
        "+5.00 under LP (CLIP - VICReg), +16.00 under FT (1%) (CLIP - SimCLR) and -2.00 under FT (100%) (SimCLR-CLIP - "
        "VICReg)",
        "a joint method is above the better of its two parts in 0 of 3 places (median difference -1.00 points).",
        "fine-tuned with 1% of the labels, CLIP (82.00) reaches ImageNet Init. with 100% (80.00).",
        "Each method was pretrained once: intervals and tests do not cover the variance of pretraining.",
    ],
)
def test_sentences(sentence):
    assert sentence in text_of(results())


def test_no_claim_is_made_where_it_is_not_true():
    few = dict(LEVELS, clip=(0.80, 0.79, 0.81))
    assert "with fewer labels no method reaches what ImageNet Init. has with 100% of them." in text_of(results(few))


def test_without_a_finished_cell_there_is_one_sentence():
    missing = [replace(r, status="missing", findings=(), macro_auroc=None) for r in results()]
    assert text_of(missing) == "No cell of this study is finished: there is no result to state yet."
    assert text_of([]) == text_of(missing)


def test_incomplete_columns_are_in_no_rank_and_no_comparison_of_methods():
    found = [r for r in results() if (r.encoder, r.protocol, r.seed) != ("clip", "LP", 2)]
    ranks = compared(found).ranks[0]
    assert ranks.num_blocks == 2 and dict(zip(ranks.methods, ranks.mean_ranks, strict=True))["clip"] == 2.5
    assert "under LP (CLIP - VICReg)" not in text_of(found)


def test_with_one_seed_nothing_is_tested():
    text = text_of([r for r in results() if r.seed == 0], replace(LAYOUT, seeds=(0,)))
    assert "no method shares two seeds with ImageNet Init. yet" in text
    assert "There is one seed: no interval and no test is possible." in text


def test_answers_have_the_lead_and_the_test_against_the_baseline():
    [(display, columns)] = best_rows(compared(results()))
    first = columns[0]
    assert (display, first.column, first.winner, first.next_row) == ("CheXpert", "LP", "CLIP", "SimCLR-CLIP")
    assert first.lead == pytest.approx(1.0) and first.difference == pytest.approx(10.0) and first.sure
    assert best_rows(compared([])) == []


def test_a_baseline_that_wins_is_not_compared_with_itself():
    [(_, columns)] = best_rows(compared(results(dict(LEVELS, imagenet=(0.9, 0.9, 0.9)))))
    assert {c.winner for c in columns} == {"ImageNet Init."} and {c.difference for c in columns} == {None}
