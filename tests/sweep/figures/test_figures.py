"""Do figures show the numbers of the results, in the same bytes each time, and say why where they cannot?"""

import io
import multiprocessing
import os
import re
import signal
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.stats
from made_up_study import plan_of, pretend_pretrained, results_of, small, view_of, with_results, without
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from PIL import Image

from datasets_io.storage.artefacts import seal
from sweep.figures import curves, draw, feature_maps, forest, heat_map, pretraining_curves, ranks
from sweep.figures.draw import draw_all, drawing_in_background
from sweep.figures.drawing import inline_svg
from sweep.figures.own_svg import own_svg
from sweep.figures.style import HEAT, LINES, MARKERS, METHOD_COLORS, mark
from sweep.report.tables.finding_table import finding_tables
from sweep.statistics.combined_test import ErrorPart
from sweep.statistics.comparisons import with_patients
from sweep.statistics.inference import holm
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summary import summarise
from sweep.studies import demo
from trainables.tensorboard import add_epoch

PURE = ("label_efficiency", "forest", "critical_difference", "findings_ft_1", "findings_ft_10", "findings_ft_100")


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    return view_of(small(), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def drawings(view):
    return draw_all(view.study, view.plan, view.results, view.store)


def by_seed(view, row, dataset, column) -> dict[tuple[int, int], float]:
    return {(c.pretrain_seed, c.seed): c.macro_auroc for c in view.summaries.cells(row, dataset, column)}


def test_what_results_alone_can_show_is_drawn(drawings):
    assert [name for name in PURE if drawings[name].missing] == []
    for name in PURE:
        drawing = drawings[name]
        root = ElementTree.fromstring(drawing.svg)
        assert own_svg(drawing.svg.encode()) == drawing.svg, "it would be drawn anew for each report"
        assert root.tag.endswith("svg") and root.get("role") == "img" and drawing.caption and drawing.numbers
        width, height = Image.open(io.BytesIO(drawing.png)).size
        assert 900 < width < 3000 and 300 < height < 3000


def test_what_needs_more_says_so(drawings):
    assert "pretraining" in drawings["pretraining_losses"].missing.lower()
    assert drawings["pretraining_losses"].svg == "" and drawings["pretraining_losses"].png == b""


def test_bytes_are_the_same_each_time(view, drawings):
    again = forest.draw(view)
    assert again == drawings["forest"]


def test_processes_draw_the_same_bytes(view, drawings):
    with drawing_in_background(view, processes=2) as drawn:
        assert drawn(view) == drawings


@pytest.mark.parametrize("processes", [1, 2])
def test_the_forest_waits_for_the_tests_over_patients(view, drawings, processes):
    """Without them no marker is filled, however sure seeds alone are."""
    tests = [(place, t.comparison) for place, column in view.comparisons.tested.items() for t in column]
    parts = {(*place, test.first, test.second): ErrorPart(0.001, 50) for place, test in tests}
    tested = replace(view, comparisons=with_patients(view.comparisons, OverPatients({}, parts)))
    kept = {name: drawing for name, drawing in drawings.items() if name not in ("forest", "critical_difference")}
    with drawing_in_background(view, processes, kept) as drawn:
        found = drawn(tested)
    assert found == drawings | {"forest": forest.draw(tested)} and found["forest"].svg != drawings["forest"].svg
    before, after = (d["forest"].numbers["differences"]["chexpert"]["LP"]["clip"] for d in (drawings, found))
    assert before["p"] == after["p"] < after["p_both"] <= after["p_both_holm_table"] and before["p_both"] is None
    assert "over seeds alone, so none is told from zero" in drawings["forest"].caption
    assert "over seeds and test patients together" in found["forest"].caption


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_kept_is_not_drawn(view, drawings, processes):
    kept = {"forest": replace(drawings["forest"], caption="kept")}
    with drawing_in_background(view, processes, kept) as drawn:
        assert drawn(view) == drawings | kept
    with drawing_in_background(view, processes, drawings) as drawn:
        assert drawn(view) == drawings and not multiprocessing.active_children()


def test_figures_whose_process_was_killed_are_drawn_here(view, drawings, monkeypatch):
    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    fork = multiprocessing.get_context("fork")  # the patch reaches it
    monkeypatch.setattr(draw, "_open", killed)
    monkeypatch.setattr(draw.multiprocessing, "get_context", lambda method: fork)
    with drawing_in_background(view, processes=2) as drawn:
        assert drawn(view) == drawings


def test_an_interrupt_ends_processes_that_draw(view, monkeypatch):
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(draw, "_open", lambda *_: time.sleep(300))
    monkeypatch.setattr(draw.multiprocessing, "get_context", lambda method: fork)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), drawing_in_background(view, processes=2):
        raise KeyboardInterrupt
    while multiprocessing.active_children():  # the pool's own thread may be about to take note of their end
        assert time.monotonic() - began < 60
        time.sleep(0.05)


def test_an_interrupt_leaves_maps_that_were_not_begun():
    begun = []

    def compute(item: int) -> None:
        begun.append(item)
        if item == 0:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        feature_maps._in_threads(compute, range(500))
    assert len(begun) < 100


def test_a_study_that_cannot_be_given_to_a_process_is_drawn_here(view, drawings):
    class Own(type(view.study)):
        pass

    study = Own(**{field.name: getattr(view.study, field.name) for field in fields(view.study)})
    own = replace(view, snapshot=replace(view.snapshot, study=study))
    with drawing_in_background(own, processes=2) as drawn:
        assert drawn(own) == drawings


def test_two_figures_of_a_page_share_no_id_and_reach_no_network(drawings):
    first, second = (set(re.findall(r'\bid="([^"]+)"', drawings[name].svg)) for name in PURE[:2])
    assert first and not first & second
    for name in PURE:
        svg = drawings[name].svg
        ids = set(re.findall(r'\bid="([^"]+)"', svg))
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used <= ids
        assert not re.search(r'href="(?!#|data:)', svg) and "<?xml" not in svg and "<!DOCTYPE" not in svg


def test_a_title_cannot_break_out_of_the_svg():
    text = inline_svg('<?xml version="1.0"?>\n<svg width="1"><g id="a"/></svg>', "a b", 'x" onload="y<z>')
    assert ElementTree.fromstring(text).get("aria-label") == 'x" onload="y<z>'


def test_curves_have_the_means_and_intervals_of_the_table(view, drawings):
    numbers = drawings["label_efficiency"].numbers["macro_auroc"]
    for row in view.rows:
        for percent in (1, 10, 100):
            expected = summarise(view.summaries.cells(row.name, "chexpert", ("FT", percent)), view.seeds)
            found = numbers["chexpert"][row.name][str(percent)]
            assert found == {"mean": expected.mean, "ci95": expected.ci95, "n": 3, "complete": True}


def test_the_forest_is_the_paired_t_test_with_holm(view, drawings):
    numbers = drawings["forest"].numbers
    assert numbers["reference"] == "imagenet"
    place = numbers["differences"]["nih_cxr14"]["FT 10%"]
    assert set(place) == {"clip", "simclr", "clip+simclr"} and numbers["corrected_over"] == 4
    p_values = {}
    for name in ("random", *place):  # Random Init. is not shown, but comparisons.csv has it: one family for both
        a, b = (by_seed(view, row, "nih_cxr14", ("FT", 10)) for row in (name, "imagenet"))
        seeds = sorted(a)
        test = scipy.stats.ttest_rel([a[s] for s in seeds], [b[s] for s in seeds])
        p_values[name] = float(test.pvalue)
        if name in place:
            one, interval = place[name], test.confidence_interval()
            assert one["p"] == pytest.approx(test.pvalue, rel=1e-9)
            assert one["difference"] - one["ci95"] == pytest.approx(interval.low, abs=1e-12)
            p_values[name] = one["p"]
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for name, one in place.items():
        assert one["p_holm"] == corrected[name]


def test_with_several_pretraining_seeds_these_are_the_pairs(tmp_path):
    several = view_of(small(pretrain_seeds=(0, 1, 2, 3)), tmp_path)
    one = several.comparisons.against_reference("chexpert", ("LP", 100))["clip"]
    pairs = []
    for p in range(4):
        a, b = (
            np.mean([v for k, v in by_seed(several, row, "chexpert", ("LP", 100)).items() if k[0] == p])
            for row in ("clip", "imagenet")
        )
        pairs.append(a - b)
    assert one.n == 4 and one.difference == pytest.approx(np.mean(pairs), abs=1e-12)
    assert one.p == pytest.approx(scipy.stats.ttest_1samp(pairs, 0).pvalue, rel=1e-9)


def test_missing_and_failed_seeds_are_marked_and_not_averaged_over(view, tmp_path):
    changed = []
    for result in view.results:
        gone = result.encoder == "clip" and result.seed == 1
        changed.append(without(result, "failed") if gone else result)
    drawing = curves.draw(with_results(view, changed))
    found = drawing.numbers["macro_auroc"]["chexpert"]["clip"]["100"]
    assert found["n"] == 2 and found["complete"] is False


def test_undefined_findings_are_shown_without_a_number(view):
    findings, values, counts = heat_map.table(view, "chexpert", ("FT", 100))
    assert findings == ["edema", "pleural_effusion", "hernia"] and counts == [30, 4, 0]
    assert np.isnan(values[:, 2]).all() and np.isfinite(values[:, :2]).all()
    drawing = heat_map.draw(view, ("FT", 100))
    assert set(drawing.numbers["auroc"]["chexpert"]["clip"].values()) >= {None}


def test_the_heat_map_bolds_what_the_tables_of_findings_bold(view, monkeypatch):
    """More than the others by 0.0002 is the best; 0.3 with a seed missing does not compete."""
    values = {"random": 0.7, "imagenet": 0.70002, "clip": 0.7002, "simclr": 0.70021, "clip+simclr": 0.99}
    changed = []
    for result in view.results:
        findings = (replace(result.findings[0], auroc=values[result.encoder]), *result.findings[1:])
        one_less = (result.encoder, result.seed) == ("clip+simclr", 1)
        changed.append(without(result) if one_less else replace(result, findings=findings))
    shown = with_results(view, changed)
    blocks = heat_map.blocks_of(shown, ("FT", 100))
    tables = [t for t in finding_tables(shown.summaries) if t.label_percent == 100]
    assert len(blocks) == len(tables) == 2
    for block, table in zip(blocks, tables, strict=True):
        rows = {row.finding: [entry.best for entry in row.entries] for row in table.rows}
        assert [block.best[:, j].tolist() for j in range(3)] == [rows[finding] for finding in block.findings]
        best = dict(zip((row.name for row in shown.rows), block.best[:, 0].tolist(), strict=True))
        assert [name for name, is_best in best.items() if is_best] == ["clip", "simclr"]
        assert not block.best[:, 2].any()
    weights = []
    really = Axes.text
    monkeypatch.setattr(Axes, "text", lambda *a, **k: weights.append(k.get("fontweight")) or really(*a, **k))
    heat_map.draw(shown, ("FT", 100))
    assert weights.count("bold") == sum(int(block.best.sum()) for block in blocks)


@pytest.mark.parametrize("status", ["missing", "failed"])
def test_a_study_without_any_result_gives_sentences_and_no_number(tmp_path, status):
    study = small()
    plan = plan_of(study)
    empty = view_of(study, tmp_path, [without(result, status) for result in results_of(study, plan)])
    drawings = draw_all(empty.study, empty.plan, empty.results, empty.store)
    for drawing in drawings.values():
        assert drawing.missing and "failed:" not in drawing.missing, (drawing.name, drawing.missing)
        assert not drawing.numbers and not drawing.png


def test_one_class_everywhere_gives_a_sentence(tmp_path):
    study = small()
    results = []
    for result in results_of(study, plan_of(study)):
        findings = tuple(replace(finding, auroc=None, n_pos=0) for finding in result.findings)
        results.append(replace(result, findings=findings, macro_auroc=None))
    view = view_of(study, tmp_path, results)
    for name, drawing in draw_all(view.study, view.plan, view.results, view.store).items():
        assert drawing.missing and "Drawing failed" not in drawing.missing, name


def test_a_study_of_one_row_gives_what_it_can(tmp_path):
    view = view_of(small(rows=("imagenet",)), tmp_path)
    drawings = draw_all(view.study, view.plan, view.results, view.store)
    assert drawings["label_efficiency"].missing is None
    assert "nothing to set against it" in drawings["forest"].missing
    assert "at least 3 methods" in drawings["critical_difference"].missing


def test_the_diagram_has_the_ranks_of_the_statistics(view, drawings):
    numbers = drawings["critical_difference"].numbers
    means = [
        [view.summary(row.name, d.source, column).mean for row in view.rows]
        for d in view.datasets
        for column in view.columns
    ]
    expected = scipy.stats.rankdata(-np.array(means), axis=1).mean(axis=0)
    names = [row.name for row in view.rows]
    assert numbers["average_rank"] == pytest.approx(dict(zip(names, expected, strict=True)))
    assert len(numbers["blocks"]) == 10 and numbers["friedman_p"] == pytest.approx(
        scipy.stats.friedmanchisquare(*np.array(means).T).pvalue
    )
    # Demsar (2006), table 5a: q is 2.728 for 5 methods.
    assert numbers["critical_difference"] == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 10)), abs=1e-3)


def test_a_column_that_lacks_seeds_is_no_block_and_is_counted(view):
    gone = [without(r) if (r.encoder, r.protocol, r.seed) == ("clip", "LP", 1) else r for r in view.results]
    drawing = ranks.draw(with_results(view, gone))
    assert len(drawing.numbers["blocks"]) == 8 and drawing.numbers["blocks_left_out"] == 2
    assert "2 columns lack a seed of some method and are left out." in drawing.caption
    gone = [result if result.dataset == "chexpert" else whole for result, whole in zip(gone, view.results, strict=True)]
    assert "1 column lacks a seed of some method and is left out." in ranks.draw(with_results(view, gone)).caption


def test_pretraining_curves_show_the_parts_and_their_gradients(tmp_path):
    view = view_of(small(), tmp_path)
    entry = {"train_clip": 3.0, "val_clip": 3.1, "val_loss": 3.1, "score": -3.1}
    parts = {"gradient_norm_clip": 2.0, "gradient_norm_simclr": 20.0, "train_simclr": 4.0, "val_simclr": None}
    plain, joint = [{"epoch": i, **entry} for i in range(3)], [{"epoch": i, **entry, **parts} for i in range(3)]
    pretend_pretrained(view, {"clip": plain, "clip+simclr": joint})
    shown = pretraining_curves.training_curves(view)
    assert [curve.row for curve in shown] == ["clip", "clip+simclr"]
    assert shown[1].parts("val_") == ["clip", "simclr"] and shown[1].parts("gradient_norm_") == ["clip", "simclr"]
    losses, norms = pretraining_curves.draw_losses(view), pretraining_curves.draw_norms(view)
    assert losses.numbers["clip"]["history"][2]["val_clip"] == 3.1
    assert all(own_svg(drawing.svg.encode()) == drawing.svg for drawing in (losses, norms))
    assert list(norms.numbers) == ["clip+simclr"] and norms.numbers["clip+simclr"]["best_epoch"] == 1


@pytest.mark.parametrize("history", [None, [], [{"val_loss": 3.0}]])
def test_a_sealed_pretraining_without_history_or_epochs_is_left_out_of_the_curves(tmp_path, history):
    """Fields of a result are checked where they are there; an earlier version, or another hand, may leave some."""
    view = view_of(small(), tmp_path)
    run = next(run for run in view.plan.encoders if run.row == "clip")
    fields = {} if history is None else {"history": history}
    view.store.files.write(f"{view.store.folder(run)}/result.json", seal({**fields, "files": {}}))
    found = [(curve.row, curve.line("val_loss")) for curve in pretraining_curves.training_curves(view)]
    assert found == ([("clip", ([], []))] if history else [])
    add_epoch(None, {"val_loss": 3.0})


def test_lines_of_a_panel_differ_in_grey_too(tmp_path):
    assert len(set(MARKERS)) == len(MARKERS) and len(set(LINES)) == len(LINES)
    assert len({mark(place) for place in range(len(METHOD_COLORS))}) == len(METHOD_COLORS), "of all methods together"
    for title, rows in curves.panels_of(view_of(demo(), tmp_path)):
        lines = [how for _, how in curves._lines(view_of(demo(), tmp_path), rows)]
        assert len(rows) <= curves.MOST_LINES and len({(how.marker, how.line) for how in lines}) == len(lines), title


def test_joint_methods_are_parted_by_their_first_part(tmp_path):
    panels = {title: [row.name for row in rows] for title, rows in curves.panels_of(view_of(demo(), tmp_path))}
    assert list(panels) == ["Image-text", "Image-image", "Joint, with CLIP", "Joint, with ConVIRT"]
    assert panels["Joint, with ConVIRT"] == ["convirt+mocov2", "convirt+simclr", "convirt+vicreg"]
    many = replace(demo(), rows=tuple(replace(row, group="own") for row in demo().rows))
    sizes = [(title, len(rows)) for title, rows in curves.panels_of(view_of(many, tmp_path))]
    assert sizes == [("Own (1 of 4)", 4), ("Own (2 of 4)", 4), ("Own (3 of 4)", 4), ("Own (4 of 4)", 1)]


def test_numbers_on_the_heat_map_stand_out():
    for share in np.linspace(0, 1, 101):
        color = HEAT(share)
        text, ground = (heat_map.luminance(c) for c in (to_rgb(heat_map.readable_on(color)), color))
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 4.5


def test_the_scale_falls_in_grey():
    greys = [heat_map.luminance(HEAT(share)) for share in np.linspace(0, 1, 50)]
    assert greys == sorted(greys, reverse=True) and len(set(greys)) == 50
