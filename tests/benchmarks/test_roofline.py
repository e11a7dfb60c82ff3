"""Is the forecast's arithmetic that of its definitions, and does the roofline name what bounds a study?"""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.shared.page import roofline_table
from benchmarks.shared.roofline import MACHINES, roofline
from sweep.studies import demo, paper
from sweep.studies.forecast import FLOPS_PER_SECOND, TOKENS, Forecast, forecast, forward_flops, key_views, text_flops
from sweep.studies.outlook.machines import CARDS
from sweep.studies.plan import make_plan
from trainables.recipe import BackboneSpec

COUNTS = {source: {"train": 1000, "val": 100, "test": 200} for source in ("mimic_cxr", "chexpert", "nih_cxr14")}


def recipe(method: str):
    return next(row.recipe for row in paper().rows if row.name == method)


def test_a_resnet50_is_eight_gigaflops():
    assert forward_flops(BackboneSpec("resnet50", 224)) == pytest.approx(8.2e9, rel=0.02)


def test_text_counts_frozen_layers_forward_only():
    whole = 24 * 768**2 * TOKENS * 3 * 12
    assert text_flops(recipe("clip")) == whole
    assert text_flops(recipe("convirt")) == pytest.approx(whole * (6 + 6 / 3) / 12)
    assert text_flops(recipe("convirt+simclr")) == text_flops(recipe("convirt")) and text_flops(recipe("simclr")) == 0
    assert key_views(recipe("mocov2")) == key_views(recipe("clip+mocov2")) == 2 and key_views(recipe("clip")) == 0


def test_one_pretraining_is_its_epochs_times_its_views():
    plan = make_plan(demo(), dict.fromkeys(COUNTS, "counted"), {})
    run = next(encoder for encoder in plan.encoders if encoder.row == "simclr")
    cost, epochs = forecast((run,), (), COUNTS), run.recipe.num_epochs
    assert cost.training_passes == epochs * 1000 * 2 and cost.views == epochs * 1100 * 2
    assert cost.flops == forward_flops(run.recipe.backbone) * epochs * (3 * 2000 + 200)
    moco = next(encoder for encoder in plan.encoders if encoder.row == "mocov2")
    assert forecast((moco,), (), COUNTS).flops > cost.flops / run.recipe.num_epochs * moco.recipe.num_epochs


def test_the_slowest_part_bounds():
    cost = Forecast(images_read=10**6, forward_passes=0, training_passes=0, flops=3.6e17, views=10**6)
    machines = replace(MACHINES[0], gpus=2, cores=4, storage_bytes_per_second=1e6)
    gpus = roofline(cost, machines, view_ms=1.0, image_bytes=1000)
    assert gpus.bound == "GPUs" and gpus.hours == pytest.approx(3.6e17 / FLOPS_PER_SECOND[machines.device] / 2 / 3600)
    host = roofline(cost, machines, view_ms=50.0, image_bytes=1000)
    assert host.bound == "host" and host.hours == pytest.approx(10**6 * 0.05 / 4 / 3600) and host.cores > 4
    storage = roofline(cost, machines, view_ms=1.0, image_bytes=100_000)
    assert storage.bound == "storage" and storage.bytes_per_second > 1e6


def test_only_cards_that_are_supported_are_forecast_and_the_page_has_the_arithmetic_of_now():
    assert {machines.device for machines in MACHINES} <= set(CARDS.values())
    views = {"benchmark": "views", "figure": "multi_modal_224", "ours": 0.679, "peer": 5.22, "peer_name": "Pillow"}
    table = roofline_table([views, views | {"peer": 1.68, "peer_name": "Pillow, one channel"}])
    study, (header, *rows) = table[2], table[4:-2]
    page = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text().partition("## Roofline")[2]
    assert study in page and header in page and "V100" not in page.partition("The paper's own time")[0]

    def forecast_only(table: list[str]) -> list[list[str]]:
        """Without what was measured, the host's work a view, and the cores that it keeps busy."""
        cells = [row.strip("| ").split(" | ") for row in table if " threads | " in row]
        return [[row[0], row[2], *row[4:]] for row in cells]

    assert forecast_only(rows) == forecast_only(page.splitlines()) != []
