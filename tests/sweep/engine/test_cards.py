"""Is the smallest card that answers taken, and is what has none, or is not there, left out?"""

import subprocess
from types import SimpleNamespace

from sweep.engine.cards import nodes_with_gpus, smallest_card
from sweep.engine.machine_memory import memory_of_cards


def test_living_nodes_with_a_gpu_are_asked_and_no_others():
    nodes = [
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
        {"NodeID": "b", "Alive": True, "Resources": {"CPU": 8.0}},
        {"NodeID": "c", "Alive": False, "Resources": {"GPU": 4.0}},
        {"NodeID": "d", "Alive": True, "Resources": {"GPU": 0.0}},
    ]
    assert nodes_with_gpus(nodes) == ["a"]


def test_where_no_node_has_a_gpu_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "b", "Alive": True, "Resources": {"CPU": 8.0}}])
    assert smallest_card() is None


def test_the_memory_of_all_cards_is_the_drivers_answer(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of a task that was given none
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    answer = SimpleNamespace(returncode=0, stdout="81559\n15360\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: answer)
    assert memory_of_cards() == [81559 << 20, 15360 << 20]
    answer.returncode = 9
    assert memory_of_cards() == []
