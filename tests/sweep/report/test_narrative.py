"""Are the sentences of a report those that its numbers say, and are they left out where there are no numbers?"""

from dataclasses import replace

import pytest
from test_finding_table import LAYOUT, ROWS, SPREAD

from sweep.report.best_rows import best_rows
from sweep.report.narrative import narrative_of, verdict
from sweep.statistics.combined_test import ErrorPart
from sweep.statistics.comparisons import compare_methods, with_patients
from sweep.statistics.over_patients import OverPatients
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
# What the seeds of a row have besides the others', so that tests have a spread; of mean 0.
WOBBLE = {
    "imagenet": (0.0, 0.0, 0.0),
    "clip": (0.001, -0.002, 0.001),
    "vicreg": (-0.002, 0.001, 0.001),
    "simclr": (0.001, 0.001, -0.002),
    "clip+simclr": (0.002, -0.001, -0.001),
}
PATIENTS = 0.002  # standard error over patients of each difference


def results(levels=LEVELS):
    made = []
    for row, display, _ in ROWS:
        for (protocol, percent), level in zip(COLUMNS, levels[row], strict=True):
            for seed in LAYOUT.seeds:
                value = level + SPREAD[seed] + WOBBLE[row][seed]
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


def compared(found, layout=LAYOUT, se=PATIENTS):
    """se: None as without predictions."""
    comparisons = compare_methods(make_summaries(layout, found))
    if se is None:
        return comparisons
    tests = [(place, t.comparison) for place, column in comparisons.tested.items() for t in column]
    parts = {(*place, test.first, test.second): ErrorPart(se, 100) for place, test in tests}
    means = {
        ((row, "chexpert", *column), "macro_defined"): (level - 0.02, level + 0.01)
        for row, levels in LEVELS.items()
        for column, level in zip(COLUMNS, levels, strict=True)
    }
    return with_patients(comparisons, OverPatients(means, parts))


def text_of(found, layout=LAYOUT, se=PATIENTS) -> str:
    return "\n".join(sentence.text for sentence in narrative_of(compared(found, layout, se)))


@pytest.mark.parametrize(
    "sentence",
    [
        "Over 3 columns of Table 1 (CheXpert), the best mean rank is that of CLIP, 2.0 of 5; within the critical "
        "difference (3.5 ranks) lie 4 of the 4 other rows. Columns share test images and encoders, so ranks tell no "
        "rows apart. Seeds and patients together tell it in some column from 4 as the higher one and from 3 as the "
        "lower one.",
        "CheXpert: the highest mean macro AUROC (%) is that of CLIP under LP (80.00 ± 2.52 over seeds; 78.00 to 81.00 "
        "over patients; 1 other row cannot be told from it) and FT (1%) (82.00 ± 2.52 over seeds; 80.00 to 83.00 over "
        "patients; told from every other row); VICReg under FT (100%) (85.00 ± 2.86 over seeds; 83.00 to 86.00 over "
        "patients; 2 other rows cannot be told from it).",
        "12 of 12 means of these checkpoints are higher and 0 lower by more than seeds and patients together explain",
        "The largest difference is +22.00 points, CLIP under FT (1%) (told apart).",
        "+5.00 under LP (CLIP - VICReg, told apart), +16.00 under FT (1%) (CLIP - SimCLR, told apart) and -2.00 under "
        "FT (100%) (SimCLR-CLIP - VICReg, not told apart)",
        "the mean of a joint method is above that of the better of its two parts in 0 of 3 places, 0 of them told "
        "apart (median difference -1.00 points).",
        "fine-tuned with 1% of the labels, the mean of CLIP (82.00) reaches that of ImageNet Init. with 100% (80.00); "
        "columns are not tested against each other.",
        "Each method was pretrained once: intervals and tests do not cover the variance of pretraining. What is told "
        "apart are these checkpoints, not the methods.",
    ],
)
def test_sentences(sentence):
    assert sentence in text_of(results())


def test_no_claim_is_made_where_it_is_not_true():
    few = dict(LEVELS, clip=(0.80, 0.79, 0.81))
    assert "with fewer labels no mean reaches that of ImageNet Init. with 100% of them." in text_of(results(few))


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
    assert "no difference from ImageNet Init. is claimed, since none could be tested" in text
    assert "There is one seed: no interval over seeds and no test is possible." in text
    assert "No difference from another row was tested, so it is told from none of them." in text


def test_one_downstream_seed_of_several_pretrainings_has_intervals_and_tests():
    """The report said that none is possible, below a table that had both."""
    found = [
        replace(r, pretrain_seed=p, macro_auroc=r.macro_auroc + WOBBLE[r.encoder][p])
        for p in (0, 1, 2)
        for r in results()
        if r.seed == 0
    ]
    text = text_of(found, replace(LAYOUT, seeds=(0,), pretrain_seeds=(0, 1, 2)))
    assert "12 of 12 means of methods are higher" in text and "There is one seed" not in text
    assert "There is one downstream seed: intervals and tests are over pretrainings" in text


def test_a_row_that_leads_every_column_on_the_same_patients_is_not_told_apart_by_its_rank():
    """Equal checkpoints rank alike in all columns of a test set: Nemenyi's test takes each column for a new sample."""
    levels = {row: (0.8 - 0.02 * i,) * 3 for i, row in enumerate(LEVELS)}
    columns = tuple((protocol, percent) for protocol in ("LP", "FT") for percent in (100, 10, 1))
    layout = replace(LAYOUT, columns=columns)
    found = [
        replace(r, protocol=protocol, label_percent=percent, key=f"{r.encoder}{protocol}{percent}{r.seed}")
        for protocol, percent in columns
        for r in results(levels)
        if r.protocol == "LP"
    ]
    comparisons = compared(found, layout, se=0.2)
    ranks = comparisons.ranks[0]
    assert ranks.mean_ranks[-1] - ranks.mean_ranks[0] > ranks.critical_difference  # the rank test tells them apart
    headline = narrative_of(comparisons)[0].text
    assert "tell it from none of them in any column." in headline
    assert "in some column from 3 as the higher one; from 1 it" in narrative_of(compared(found, layout))[0].text


def test_rows_that_share_the_best_rank_are_all_named():
    same = {row: (0.7,) * 3 for row in LEVELS}
    assert narrative_of(compared([replace(r, macro_auroc=0.7) for r in results(same)]))[0].text == (
        "Over 3 columns of Table 1 (CheXpert), the best mean rank is that of ImageNet Init., CLIP, VICReg, SimCLR and "
        "SimCLR-CLIP, 3.0 of 5: all rows share it."
    )
    two = [replace(r, macro_auroc=0.7 + 0.1 * (r.encoder in ("clip", "vicreg"))) for r in results(same)]
    headline = narrative_of(compared(two))[0].text
    assert "that of CLIP and VICReg, 1.5 of 5; within" in headline and headline.endswith(
        "Several rows share that rank."
    )


def test_what_fewer_labels_reach_is_not_said_before_they_are_there():
    """Without the cells the sentence said that no mean reaches it."""
    few = results(dict(LEVELS, clip=(0.80, 0.79, 0.81)))
    for gone in ("clip", "simclr"):
        found = [r for r in few if (r.encoder, r.label_percent, r.seed) != (gone, 1, 0)]
        assert "with fewer labels no mean" not in text_of(found)
    baselines = [r for r in few if r.encoder == "imagenet"]
    assert "with fewer labels" not in text_of(baselines, replace(LAYOUT, rows=LAYOUT.rows[:1]))


def test_finished_cells_without_an_auroc_are_not_called_unfinished():
    undefined = (FindingAuroc("edema", None, 0, 100),)
    text = text_of([replace(r, macro_auroc=None, findings=undefined) for r in results()])
    assert "is finished" not in text and "CheXpert: no finding has both classes in the test images" in text


def test_answers_have_the_lead_and_the_test_against_the_baseline():
    [(display, columns)] = best_rows(compared(results()))
    first = columns[0]
    assert (display, first.column, first.winner, first.next_row) == ("CheXpert", "LP", "CLIP", "SimCLR-CLIP")
    assert first.lead == pytest.approx(1.0) and first.difference == pytest.approx(10.0)
    assert (first.lead_verdict, first.verdict) == ("not told apart", "told apart")
    assert first.patients == pytest.approx((78.0, 81.0)) and first.separation == "1 other row cannot be told from it"
    assert best_rows(compared([])) == []


def test_a_baseline_that_wins_is_not_compared_with_itself():
    [(_, columns)] = best_rows(compared(results(dict(LEVELS, imagenet=(0.9, 0.9, 0.9)))))
    assert {c.winner for c in columns} == {"ImageNet Init."} and {c.difference for c in columns} == {None}


def test_what_seeds_alone_tell_apart_is_not_claimed():
    """A paired t-test over seeds is significant everywhere; patients move each difference by as much as it is."""
    unsure, unknown = text_of(results(), se=0.2), text_of(results(), se=None)
    assert all(test.p_holm < 0.05 for test in compared(results()).against_reference("chexpert", COLUMNS[0]).values())
    assert "0 of 12 means of these checkpoints are higher and 0 lower" in unsure and "(not told apart)" in unsure
    assert "no difference from ImageNet Init. is claimed, since none could be tested" in unknown
    for text in (unsure, unknown):
        assert "told from every" not in text and ", told apart" not in text and "significant" not in text


def test_rows_with_the_same_number_in_every_seed_are_no_difference_however_rounding_falls():
    """Such a t was 1e16 and its p 1e-65: 0.1 + 0.2 is not 0.3."""
    levels = dict(LEVELS, simclr=LEVELS["imagenet"])
    found = [r for r in results(levels) if r.encoder != "simclr"]
    found += [
        replace(r, encoder="simclr", macro_auroc=r.macro_auroc + noise)
        for r in found
        for noise in [1.1e-16 * (1 + r.seed)]
        if r.encoder == "imagenet"
    ]
    tests = compared(found).against_reference("chexpert", COLUMNS[0])
    assert (tests["simclr"].t, tests["simclr"].p, tests["simclr"].p_both, tests["simclr"].wilcoxon_p) == (None,) * 4
    assert verdict(tests["simclr"]) == "no difference" and verdict(tests["clip"]) == "told apart"
    constant = [replace(r, macro_auroc=r.macro_auroc + 0.01) if r.encoder == "simclr" else r for r in found]
    assert verdict(compared(constant).against_reference("chexpert", COLUMNS[0])["simclr"]) == "not tested"


def test_with_several_pretrainings_of_each_the_sentences_are_about_methods():
    found = [
        replace(r, pretrain_seed=p, macro_auroc=r.macro_auroc + step * (r.encoder != "imagenet"))
        for p, step in ((0, 0.001), (1, -0.001), (2, 0.0005))
        for r in results()
    ]
    text = text_of(found, replace(LAYOUT, pretrain_seeds=(0, 1, 2)))
    assert "of 12 means of methods are higher" in text and "checkpoints" not in text


def test_rows_of_appendix_e_are_in_no_sentence_and_no_rank_and_lpft_stays():
    """In `paper` they are evaluated without LPFT: ranks over all rows had no column of it, and they led them."""
    columns = (("LPFT", 100), *COLUMNS)
    layout = replace(
        LAYOUT,
        columns=columns,
        rows=(*LAYOUT.rows, ("clip-1024", "CLIP 1,024", "image-text")),
        paper_rows=(*((row, row, 256) for row, _, _ in LAYOUT.rows), ("clip-1024", "clip", 1024)),
    )
    found = results()
    found += [replace(r, protocol="LPFT", key=f"{r.key}lpft") for r in found if r.protocol == "LP"]
    found += [
        replace(r, encoder="clip-1024", macro_auroc=r.macro_auroc + 0.1)
        for r in found
        if r.encoder == "clip" and r.protocol != "LPFT"
    ]
    comparisons = compared(found, layout)
    ranks = comparisons.ranks[0]
    assert ranks.num_blocks == 4 and set(ranks.methods) == set(LEVELS) and not ranks.methods_left_out
    assert "CLIP 1,024" not in text_of(found, layout)
    assert comparisons.pair("chexpert", COLUMNS[0], "clip", "clip-1024") is not None  # comparisons.csv has them
    assert {best.winner for best in best_rows(comparisons)[0][1]} == {"CLIP", "VICReg"}
