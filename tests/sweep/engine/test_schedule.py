"""The policy: worker groups come first, cells get the rest, a failure costs what needs it, machines come and go."""

from dataclasses import replace

import pytest

from sweep.engine import schedule
from sweep.engine.schedule import (
    ClusterResources,
    ReadyTasks,
    ScheduledJob,
    capacity,
    gpu_share,
    groups_in_order,
    groups_wanted,
    longest_first,
    places,
    pretraining_share,
    seeds_at_once,
    shape_of,
)
from sweep.monitoring.time_left import Places
from sweep.studies import demo, paper
from sweep.studies.forecast import forecast
from sweep.studies.plan import make_plan, starts_from
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
    # Of a card of 80 GiB they are 7%, and of one of 8 GiB 69%.
    assert [gpu_share(Resources(), chexpert(p), 80 << 30) for p in (1, 10, 100)] == [0.25, 0.5, 1.0]
    assert gpu_share(Resources(), chexpert(1), 8 << 30) == 1.0


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
    ready = ReadyTasks(tasks(), coming={"e2": 0, "e1": 1})
    assert [ready.claim_early(), ready.claim_early(), ready.claim_early()] == [3, 0, None]
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


# -- the arithmetic of the policy ------------------------------------------------------------------


def test_workers_of_a_group_are_as_many_as_gpus_up_to_four_and_at_least_one():
    assert [shape_of(Resources(), ClusterResources(gpus, 16), 0).workers for gpus in (1, 3, 4, 9)] == [1, 3, 4, 4]
    assert shape_of(Resources(), ClusterResources(0.5, 16), 0).workers == 1
    halves = shape_of(Resources(gpus_per_worker=0.5, cpus_per_worker=3), ClusterResources(1, 16), 1)
    assert halves.workers == 2 and halves.per_worker == 0.5 and halves.worker_bundle == {"CPU": 3.0, "GPU": 0.5}
    assert shape_of(Resources(pretrain_workers=2), ClusterResources(8, 16), 1).workers == 2
    assert shape_of(Resources(), ClusterResources(0, 64), 1).workers == 1


def test_a_group_on_cores_takes_those_of_its_workers():
    shape = shape_of(Resources(cpus_per_worker=2, pretrain_workers=2), ClusterResources(0, 17), 1)
    assert shape.per_worker == 2.0 and shape.worker_bundle == {"CPU": 0.001}
    # 8 workers of 2 cores fit on 17: half of the 4 groups, since cells come as soon as encoders land.
    assert groups_wanted(shape, ClusterResources(0, 17), 9) == 2
    assert groups_wanted(shape, ClusterResources(0, 1), 9) == 1, "one group runs, however small the machine"
    with pytest.raises(ValueError, match="needs 2 workers"):
        shape_of(Resources(cpus_per_worker=2, pretrain_workers=2), ClusterResources(0, 3), 1)
    assert shape_of(Resources(cpus_per_worker=2, pretrain_workers=2), ClusterResources(0, 4), 1).workers == 2


def test_cells_on_cores_are_a_little_smaller_than_their_cores():
    shape = shape_of(Resources(cpus_per_cell=2), ClusterResources(0, 8), 1)
    assert shape.cell_cpus == pytest.approx(2 * 0.98) and shape.cpus_per_cell == 2
    assert capacity(shape, ClusterResources(0, 9), 3) == 4.0 and capacity(shape, ClusterResources(0, 1), 0) == 1.0
    crowded = shape_of(Resources(max_concurrent_cells=16), ClusterResources(0, 8), 1)
    assert crowded.cell_cpus == pytest.approx(0.5 * 0.98) and crowded.most_cells == 16


def test_cells_may_be_on_cores_beside_pretraining_on_gpus_and_the_other_way_round():
    machines = ClusterResources(4, 16)
    cells_on_cores = shape_of(Resources(gpus_per_cell=0), machines, 1)
    assert not cells_on_cores.on_gpus and cells_on_cores.worker_bundle == {"CPU": 1.0, "GPU": 1.0}
    assert groups_wanted(cells_on_cores, machines, 5) == 1 and capacity(cells_on_cores, machines, 1) == 16.0
    groups_on_cores = shape_of(Resources(gpus_per_worker=0), machines, 1)
    assert groups_on_cores.on_gpus and groups_on_cores.worker_bundle == {"CPU": 0.001}
    assert groups_wanted(groups_on_cores, machines, 9) == 8 and capacity(groups_on_cores, machines, 8) == 4.0
    assert shape_of(Resources(), ClusterResources(0, 1), 0).on_gpus is False
    assert shape_of(Resources(), ClusterResources(1, 1), 0).cell_cpus == 1.0, "the whole core beside a GPU"


def test_places_are_what_encoders_and_cells_hold_parts_of():
    """GPUs where both are on them, cores where neither is, else as many items as fit."""
    machines = ClusterResources(8, 64)
    for resources, expected, share in (
        (Resources(), Places(8, 2, True), 4.0),
        (Resources(gpus_per_worker=0.5, pretrain_workers=3), Places(8, 5, True), 1.5),
        (Resources(gpus_per_cell=0), Places(2 + 64, 2, True), 1.0),
        (Resources(gpus_per_worker=0), Places(15 + 8, 15, True), 1.0),
    ):
        shape = shape_of(resources, machines, 15)
        assert (places(shape, machines, 15), pretraining_share(shape)) == (expected, share)
        assert places(shape, machines, 0).pretrainings == 1, "what is divided by, also where none is left"
    cores = ClusterResources(0, 16)
    shape = shape_of(Resources(), cores, 15)
    assert (places(shape, cores, 15), pretraining_share(shape)) == (Places(16, 8, False), 1.0)


def test_cells_never_get_fewer_than_no_gpus():
    shape = shape_of(Resources(), ClusterResources(8, 16), 1)
    assert capacity(shape, ClusterResources(2, 16), 1) == 0.0


def test_a_cells_memory_is_what_its_images_need():
    """64 x 224^2 x 1200 bytes and 2 GiB of 16 GiB are 0.35: half a GPU, and a quarter with 8 images."""
    plan = make_plan(paper(), dict.fromkeys(COUNTS, "x"), {})
    cell = next(c for c in plan.cells if (c.protocol, c.label_percent) == ("FT", 1))
    shares = {n: gpu_share(Resources(), replace(cell, recipe=replace(cell.recipe, batch_size=n))) for n in
              (1, 32, 36, 64, 106, 108, 512)}  # fmt: skip
    # (n x 60,211,200 + 2^31) / 2^34 is 0.2374, 0.2512, 0.4965 and 0.5035 at 32, 36, 106 and 108.
    assert shares == {1: 0.25, 32: 0.25, 36: 0.5, 64: 0.5, 106: 0.5, 108: 1.0, 512: 1.0}
    other = replace(cell, label_percent=5, recipe=replace(cell.recipe, batch_size=1))
    assert gpu_share(Resources(), other) == 1.0, "a percentage without an estimate has a GPU of its own"


def test_long_pretrainings_start_first_and_equal_ones_by_name():
    plan = make_plan(demo(), dict.fromkeys(COUNTS, "x"), {})
    encoders = [e for e in plan.encoders if e.corpus]
    longer = replace(encoders[3], recipe=replace(encoders[3].recipe, num_epochs=50))
    order = longest_first([*encoders[:3], longer], COUNTS)
    assert order[0] is longer
    twins = [replace(longer, row=name) for name in ("b", "a", "c")]
    assert [run.row for run in longest_first(twins, COUNTS)] == ["a", "b", "c"]


def test_work_behind_a_probe_is_that_of_the_longest_cell_that_starts_from_it():
    plan = make_plan(demo(), dict.fromkeys(COUNTS, "x"), {})
    made = groups_in_order(plan.cells, plan.cells, COUNTS)
    works = {group[0].key: work for group, work in made}
    starts = starts_from(plan.cells)
    chains = []
    for group, work in made:
        keys = {cell.key for cell in group}
        chains.append(work + max((works[cell.key] for cell in plan.cells
                                  if cell.key in starts and starts[cell.key].key in keys), default=0.0))  # fmt: skip
    assert chains == sorted(chains, reverse=True) and len(set(chains)) > 3
    assert all(work == forecast((), group, COUNTS).flops for group, work in made)
    equal = [str(group[0]) for (group, _), chain in zip(made, chains, strict=True) if chain == chains[-1]]
    assert equal == sorted(equal) and len(equal) > 1, "by name where the work is equal"


def test_the_first_task_of_those_that_fit_is_claimed_and_a_full_machine_takes_none():
    ready = ReadyTasks(tasks(), landed=("e1", "lp", "e2"))
    assert ready.claim(0.0) is None and ready.waiting == 4
    assert ready.claim(0.75 + 0.25 - 1e-12) == 0, "sums of shares in floating point lose a little"
    assert ready.claim(1 - 1e-8) == 2 and ready.claim(10) == 1


def test_of_coming_encoders_the_task_of_the_first_is_handed_out():
    jobs = [ScheduledJob(("a", "b"), (), 1.0, 1.0), ScheduledJob(("b",), (), 1.0, 1.0), ScheduledJob(("c",), (), 1, 1)]
    ready = ReadyTasks(jobs, coming={"b": 2, "a": 1})
    assert [ready.claim_early(), ready.claim_early()] == [0, 1], "of two that are ready together the first"
    assert [ReadyTasks(jobs, coming={"b": 2, "c": 0}).claim_early() for _ in range(2)] == [2, 2]
    assert ReadyTasks(jobs, coming={"a": 0}).claim_early() is None
    later = ReadyTasks(jobs, coming={"b": 2, "a": 3, "c": 0})
    later.landed("a")
    assert [later.claim_early() for _ in range(4)] == [2, 0, 1, None], "what landed meanwhile is not waited for"


def test_what_lands_twice_or_unasked_changes_nothing():
    ready = ReadyTasks(tasks(), coming={"e1": 0})
    for name in ("e2", "e2", "nobody asked"):
        ready.landed(name)
    ready.lost("nobody asked")
    ready.lost("e2")
    assert ready.claim(10) == 3 and ready.claim(10) is None and ready.waiting == 3
    assert ready.claim_early() == 0
    ready.landed("e1")
    assert ready.waiting == 2, "a task that was handed out early is not ready a second time"


def test_of_tasks_of_several_shares_the_first_that_is_ready_is_claimed():
    jobs = [ScheduledJob((), (), share, 1.0) for share in (1.0, 0.5, 0.5, 1.0)]
    assert [ReadyTasks(jobs).claim(1.0), ReadyTasks(jobs).claim(0.5)] == [0, 1]
    ready = ReadyTasks([ScheduledJob((), (), share, 1.0) for share in (0.5, 1.0, 0.5, 0.5)])
    assert [ready.claim(1.0) for _ in range(5)] == [0, 1, 2, 3, None]


def test_what_is_lost_takes_along_what_waits_for_its_results_only():
    jobs = [
        ScheduledJob(("e",), ("x",), 1.0, 1.0),
        ScheduledJob(("x",), ("y",), 1.0, 1.0),
        ScheduledJob(("y",), (), 1.0, 1.0),
        ScheduledJob(("other",), (), 1.0, 1.0),
    ]
    ready = ReadyTasks(jobs)
    ready.lost("e")
    assert ready.waiting == 1
    ready.landed("other")
    assert ready.claim(1.0) == 3


def test_seeds_that_are_one_job_lose_only_the_one_whose_start_failed():
    starts = frozenset(("lp0", "lp1"))
    ready = ReadyTasks([ScheduledJob(("e", "lp0", "lp1"), ("x0", "x1"), 1.0, 1.0, may_lack=starts)])
    ready.landed("e")
    ready.lost("lp1")
    assert ready.claim(1.0) is None and ready.waiting == 1
    ready.landed("lp0")
    assert ready.claim(1.0) == 0
    ready = ReadyTasks([ScheduledJob(("e", "lp0", "lp1"), ("x0", "x1"), 1.0, 1.0, may_lack=starts)])
    ready.lost("e")
    assert ready.waiting == 0, "without the encoder there is nothing to train"


def test_seeds_of_a_fine_tuning_are_one_job_on_gpus_where_all_of_those_have_work():
    study = paper()
    plan = make_plan(study, {spec.source: "x" for spec in study.builds()}, {"method": ("clip",)})
    tuned = [cell for cell in plan.cells if cell.protocol != "LP"]
    on_cores, on_gpus = (shape_of(Resources(), ClusterResources(gpus, 64), 1) for gpus in (0, 8))
    few, many = ClusterResources(2, 64), ClusterResources(float(len(tuned) // 2), 1e4)
    assert seeds_at_once(Resources(), on_cores, ClusterResources(0, 64), plan.cells) == 1
    assert seeds_at_once(Resources(), on_gpus, few, plan.cells) == len(study.seeds)
    assert seeds_at_once(Resources(), on_gpus, many, plan.cells) == 2
    first = tuned[0]
    one_kind = [c for c in tuned if str(c).rpartition("-s")[0] == str(first).rpartition("-s")[0]]
    assert seeds_at_once(Resources(), on_gpus, ClusterResources(1, 4), one_kind) == len(study.seeds)
    assert seeds_at_once(Resources(), on_gpus, few, [c for c in plan.cells if c.protocol == "LP"]) == 1
    assert seeds_at_once(Resources(seeds_at_once=3), on_gpus, few, plan.cells) == 3
    alone, together = (groups_in_order(plan.cells, plan.cells, COUNTS, at_once) for at_once in (1, 3))
    sizes = sorted({len(group) for group, _ in together if group[0].protocol != "LP"})
    assert sizes == [2, 3] and {len(group) for group, _ in together if group[0].protocol == "LP"} == {5}
    assert sum(work for _, work in together) == pytest.approx(sum(work for _, work in alone))
    assert sorted(cell.key for group, _ in together for cell in group) == sorted(cell.key for cell in plan.cells)
    assert all(len({(c.encoder.key, c.dataset, c.label_percent) for c in group}) == 1 for group, _ in together)
    # 16 images of 224 x 224 a seed: 1 GB, beside 2 GB of the process, on a card of 16.
    cell = next(cell for cell in tuned if cell.label_percent == 1 and cell.recipe.batch_size == 16)
    assert [gpu_share(Resources(), cell, seeds=seeds) for seeds in (1, 2, 5, 12)] == [0.25, 0.25, 0.5, 1.0]


def test_beside_groups_on_parts_of_gpus_cells_get_what_is_left():
    shape = shape_of(Resources(gpus_per_worker=0.5, pretrain_workers=2), ClusterResources(4, 16), 1)
    assert capacity(shape, ClusterResources(4, 16), 3) == 1.0


def test_groups_on_cores_are_whole_and_a_cell_gets_at_least_the_machine():
    shape = shape_of(Resources(cpus_per_worker=2, pretrain_workers=2), ClusterResources(0, 18), 1)
    assert groups_wanted(shape, ClusterResources(0, 18), 9) == 2
    assert shape_of(Resources(cpus_per_cell=2), ClusterResources(0, 1), 0).cell_cpus == pytest.approx(0.98)


def test_what_is_stated_of_cells_on_gpus_is_what_it_was():
    assert schedule.GPU_SHARE == {1: 0.25, 10: 0.5}
    assert (schedule.BYTES_PER_PIXEL, schedule.FIXED_BYTES, schedule.GPU_BYTES) == (1200, 2 * 2**30, 16 * 2**30)
    assert (schedule.GROUP_CPU, schedule.BESIDE_CELL_CPU) == (0.001, 0.02)
