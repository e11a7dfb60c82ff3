"""Commands, kills, clocks and failing storages in any order: promises 1 to 7 after every step."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from store_machine import StoreMachine


def steps(examples: int, each: int, **more) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=each, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate], print_blob=False, **more,
    )  # fmt: skip


def test_two_thousand_steps():
    run_state_machine_as_test(StoreMachine, settings=steps(40, 50))
