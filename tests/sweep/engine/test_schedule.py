"""The policy: worker groups come first, cells get the rest, a failure costs what needs it, machines come and go."""

from dataclasses import replace

import pytest

from sweep.engine.schedule import (
    ClusterResources,
    ReadyTasks,
    ScheduledJob,
    capacity,
    gpu_share,
    groups_in_order,
    groups_wanted,
    shape_of,
)
from sweep.studies import demo, paper
from sweep.studies.plan import make_plan
from trainables.recipe import Resources

COUNTS = {name: {"train": 1000, "val": 100, "test": 100} for name in ("mimic_cxr", "chexpert", "nih_cxr14")}


def test_worker_groups_take_what_fits_and_cells_the_rest():
    machines = ClusterResources(18, 72)
    shape = shape_of(Resources(), machines, 15)
    assert shape.workers == 4 and shape.worker_bundle == {"CPU": 1.0, "GPU": 1.0}
    assert [groups_wanted(shape, machines, left) for left in (15, 3, 0)] == [4, 3, 0]
    assert [capacity(shape, machines, groups) for groups in (4, 3, 0)] == [2.0, 6.0, 18.0]


def test_work_follows_machines_that_come_and_go():
    shape = shape_of(Resources(), ClusterResources(32, 128), 15)
    for gpus, groups, beside in ((0, 0, 0), (4, 1, 0), (6, 1, 2), (32, 8, 0)):
        now = ClusterResources(gpus, 4 * gpus)
        assert groups_wanted(shape, now, 15) == groups
        assert capacity(shape, now, groups) == beside


def test_cores_are_shared_by_pretraining_and_cells():
    machines = ClusterResources(0, 8)
    shape = shape_of(Resources(), machines, 11)
    assert groups_wanted(shape, machines, 11) == 4 and capacity(shape, machines, 4) == 8
    for cores in (1, 2, 8, 32):  # on a host of any size: its cells, a pretraining for every two cores, and no cell more
        free = cores - cores * shape.cell_cpus
        assert max(1, cores // 2) * shape.worker_bundle["CPU"] + 0.01 <= free < shape.cell_cpus
    small = shape_of(Resources(max_concurrent_cells=2), ClusterResources(0, 1), 1)
    assert groups_wanted(small, ClusterResources(0, 1), 1) == 1 and capacity(small, ClusterResources(0, 1), 1) == 2
    assert 2 * small.cell_cpus + small.worker_bundle["CPU"] <= 1
    few = shape_of(Resources(max_concurrent_cells=2), ClusterResources(0, 3), 1)
    assert few.cell_cpus < 1, "three hosts of one core: a cell must fit on one"


def test_a_worker_group_that_can_never_fit_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"needs 8 workers .* 16 CPU and 4 GPU; lower Resources.pretrain_workers"):
        shape_of(Resources(pretrain_workers=8), ClusterResources(4, 16), 1)
    assert shape_of(Resources(pretrain_workers=8), ClusterResources(4, 16), 0).workers == 8, "no pretraining, no matter"


def test_gpus_may_be_left_alone():
    shape = shape_of(Resources(gpus_per_worker=0, gpus_per_cell=0), ClusterResources(4, 16), 1)
    assert not shape.on_gpus and "GPU" not in shape.worker_bundle


def test_small_cells_share_a_gpu_and_large_batches_do_not():
    study = paper()
    plan = make_plan(study, dict.fromkeys(COUNTS, "x"), {})
    cells = {(c.dataset, c.protocol, c.label_percent): c for c in plan.cells}
    nih, chexpert = (lambda p, n=name: cells[n, "FT", p] for name in ("nih_cxr14", "chexpert"))
    assert [gpu_share(Resources(), nih(p)) for p in (1, 10, 100)] == [0.25, 0.5, 1.0]
    # 64 images of 224 x 224 x 1200 bytes and 2 GiB are 5.9 GB of 17 GB: half a GPU at least.
    assert [gpu_share(Resources(), chexpert(p)) for p in (1, 10, 100)] == [0.5, 0.5, 1.0]
    assert gpu_share(Resources(gpus_per_cell=0.3), nih(100)) == 0.3


def test_probes_that_others_start_from_and_long_cells_come_first():
    study = demo()
    plan = make_plan(study, dict.fromkeys(COUNTS, "x"), {})
    groups = [group for group, _ in groups_in_order(plan.cells, plan.cells, COUNTS)]
    order = [(group[0].protocol, group[0].label_percent) for group in groups]
    assert sum(map(len, groups)) == len(plan.cells)
    assert order.index(("LP", 100)) < order.index(("LPFT", 100))
    assert order.index(("FT", 100)) < order.index(("FT", 10)) < order.index(("FT", 1))
    last_probe = max(i for i, kind in enumerate(order) if kind == ("LP", 100))
    assert last_probe < order.index(("FT", 1))


def tasks() -> list[ScheduledJob]:
    """A probe of one encoder, two cells that start from it, and one of another encoder."""
    return [
        ScheduledJob(("e1",), ("lp",), 1.0, 3.0),
        ScheduledJob(("e1", "lp"), ("lpft-0",), 1.0, 2.0),
        ScheduledJob(("e1", "lp"), ("lpft-1",), 0.5, 2.0),
        ScheduledJob(("e2",), ("ft",), 0.25, 1.0),
    ]


def test_nothing_starts_before_all_that_it_needs():
    ready = ReadyTasks(tasks())
    assert ready.claim(10) is None and ready.waiting == 4
    ready.landed("e1")
    assert ready.claim(10) == 0 and ready.claim(10) is None
    ready.landed("lp")
    assert [ready.claim(10), ready.claim(10), ready.claim(10)] == [1, 2, None] and ready.waiting == 1


def test_a_dead_probe_blocks_what_starts_from_it_and_nothing_else():
    ready = ReadyTasks(tasks())
    ready.landed("e1")
    assert ready.claim(10) == 0
    ready.lost("lp")
    ready.landed("e2")
    assert ready.claim(10) == 3 and ready.waiting == 0


def test_a_dead_encoder_takes_all_of_its_cells_along_and_no_others():
    ready = ReadyTasks(tasks())
    ready.lost("e1")
    assert ready.waiting == 1
    ready.landed("lp")
    ready.landed("e2")
    assert [ready.claim(10), ready.claim(10)] == [3, None]


def test_a_process_may_wait_for_the_encoder_that_comes_next_but_not_for_a_probe():
    ready = ReadyTasks(tasks())
    coming = {"e2": 0, "e1": 1}
    assert [ready.claim_early(coming), ready.claim_early(coming), ready.claim_early(coming)] == [3, 0, None]
    ready.landed("e2")
    ready.landed("e1")
    assert ready.claim(10) is None, "what was handed out early is not handed out again"
    ready.landed("lp")
    assert [ready.claim(10), ready.claim(10), ready.waiting] == [1, 2, 0]


def test_a_small_cell_goes_where_a_large_one_does_not_fit():
    ready = ReadyTasks(tasks(), landed=("e1", "lp", "e2"))
    claimed = [ready.claim(0.3), ready.claim(0.3), ready.claim(0.6), ready.claim(1.0), ready.claim(1.0)]
    assert claimed == [3, None, 2, 0, 1]


def test_seeds_change_no_order_within_a_kind():
    study = replace(demo(), seeds=(3, 1))
    plan = make_plan(study, dict.fromkeys(COUNTS, "x"), {})
    first = groups_in_order(plan.cells, plan.cells, COUNTS)
    again = groups_in_order(tuple(reversed(plan.cells)), plan.cells, COUNTS)
    assert [{c.key for c in group} for group, _ in first] == [{c.key for c in group} for group, _ in again]
