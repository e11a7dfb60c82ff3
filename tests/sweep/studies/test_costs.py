"""Does each encoder and cell cost its part of the forecast?"""

from dataclasses import replace

import pytest

from sweep.studies import demo
from sweep.studies.costs import ALONE, INITIAL, PRETRAINING, TOGETHER, costs_of
from sweep.studies.forecast import forecast
from sweep.studies.plan import make_plan

COUNTS = demo().synthetic.image_counts()
PLAN = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {})


def test_costs_add_up_to_the_forecast():
    costs, whole = costs_of(PLAN.encoders, PLAN.cells, COUNTS), forecast(PLAN.encoders, PLAN.cells, COUNTS)
    assert costs.keys() == {item.key for item in PLAN.items}

    def total(name: str) -> float:
        return sum(getattr(cost, name) for cost in costs.values())

    assert total("images") == pytest.approx(whole.forward_passes + whole.training_passes)
    assert total("flops") == pytest.approx(whole.flops + whole.text_flops)
    assert total("steps") == pytest.approx(whole.steps) and total("views") == pytest.approx(whole.views)


def test_seeds_that_one_job_computes_are_parts_of_it():
    costs = costs_of(PLAN.encoders, PLAN.cells, COUNTS)
    probes = {costs[cell.key] for cell in PLAN.cells if cell.protocol == "LP"}
    assert {cost.work for cost in probes} == {TOGETHER}
    # The untrained rows are drawn anew for each seed, so that no two of their probes share a network.
    assert {cost.pieces for cost in probes} == {1.0, 0.2}
    tuned = {costs[cell.key] for cell in PLAN.cells if cell.protocol != "LP"}
    assert {(cost.work, cost.pieces) for cost in tuned} == {(ALONE, 1.0)}
    assert {costs[run.key].work for run in PLAN.encoders} == {PRETRAINING, INITIAL}


def test_steps_are_counted_as_the_loops_take_them():
    costs = costs_of(PLAN.encoders, PLAN.cells, COUNTS)
    cell = next(cell for cell in PLAN.cells if (cell.protocol, cell.label_percent) == ("FT", 10))
    images = COUNTS[cell.dataset]["train"] * cell.label_percent // 100
    if cell.recipe.splits.val == "carved":
        images = round(COUNTS[cell.dataset]["train"] * (1 - cell.recipe.splits.carve_percent / 100)) // 10
    assert costs[cell.key].steps == cell.recipe.num_epochs * -(-images // cell.recipe.batch_size)


def test_what_reads_data_that_is_not_counted_is_left_out_and_a_share_is_asked_for():
    some = {label: sizes for label, sizes in COUNTS.items() if label != "nih_cxr14"}
    costs = costs_of(PLAN.encoders, PLAN.cells, some, share=lambda item: 4.0 if item in PLAN.encoders else 0.25)
    assert all((cell.key in costs) == (cell.dataset != "nih_cxr14") for cell in PLAN.cells)
    assert {cost.share for cost in costs.values() if cost.work == PRETRAINING} == {4.0}
    assert {cost.share for cost in costs.values() if cost.work in (ALONE, TOGETHER)} == {0.25}


def test_a_network_that_cannot_be_built_is_left_out_and_the_others_are_not():
    broken = replace(PLAN.cells[0].encoder.recipe.backbone, name="timm:no_such_network")
    encoder = replace(PLAN.cells[0].encoder, recipe=replace(PLAN.cells[0].encoder.recipe, backbone=broken))
    cells = [replace(PLAN.cells[0], encoder=encoder), PLAN.cells[1]]
    assert costs_of((), cells, COUNTS).keys() == {PLAN.cells[1].key}
