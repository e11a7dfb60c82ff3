"""Does the simulation of the schedule run at a small size, keep its own rules, and notice a worse policy?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import schedule
from benchmarks.schedule import lower_bound, paper_durations, plan_of, simulate
from sweep.engine.schedule import ScheduledJob
from sweep.studies import paper

ROOT = Path(__file__).resolve().parents[2]


def test_quick_prints_every_figure_as_json():
    command = [sys.executable, "-m", "benchmarks.schedule", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    makespans = [row for row in rows if row["figure"] == "makespan"]
    assert {row["gpus"] for row in makespans} == {4, 16} and {row["cells"] for row in makespans} == {810}
    assert all(0.95 <= row["of_limit"] <= 1 for row in makespans)
    planning, choosing = rows[-2:]
    assert planning["figure"] == "planning" and planning["cells"] >= 10_000
    assert choosing["figure"] == "choosing_trials" and choosing["trials"] == 1_000


@pytest.mark.parametrize("gpus", [64, 512])
def test_the_policy_comes_near_the_bound_on_large_clusters(gpus):
    study = paper()
    outcome = simulate(study, plan_of(study), gpus, paper_durations())
    assert outcome.lower_bound <= outcome.makespan <= outcome.lower_bound / 0.95


def test_the_bound_counts_work_and_the_longest_chain():
    """Two tasks of 3 h and 1 h on half a GPU, one after the other, beside no encoder at all."""
    study = paper()
    empty = type(plan_of(study))((), ())
    tasks = [ScheduledJob((), ("a",), 0.5, 0.0), ScheduledJob(("a",), ("b",), 0.5, 0.0)]
    assert lower_bound(empty, tasks, [3.0, 1.0], paper_durations(), 4, 4.0, 1) == 4.0
    tasks.append(ScheduledJob((), ("c",), 1.0, 0.0))
    assert lower_bound(empty, tasks, [3.0, 1.0, 9.0], paper_durations(), 4, 4.0, 1) == 11.0


def test_starved_pretraining_would_be_seen(monkeypatch):
    """Mutation: one pretraining at a time, as cells that do not leave room would have it."""
    study = paper()
    monkeypatch.setattr(schedule, "groups_wanted", lambda shape, machines, left: min(1, left))
    outcome = simulate(study, plan_of(study), 64, paper_durations())
    assert outcome.lower_bound / outcome.makespan < 0.95
