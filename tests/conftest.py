"""What every test may ask for."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

LONGEST = (  # begun first, so that two processes end together
    "test_driver_faults.py", "test_run.py", "test_canary.py", "test_ray_benchmarks_quick.py", "test_demo_quick.py",
    "test_tune.py",
)  # fmt: skip

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: a thread each, for what these start as well
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background job, and in all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_sigint() -> None:
    """Ctrl-C is answered as Python does, whatever handler an earlier test of this process left, as Ray Tune does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--by-hand", action="store_true", help="faults by the hundred, for hours: see docs/guarantees.md")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """times(few, many): how often a fault is injected; many with --by-hand."""
    return lambda few, many: many if request.config.getoption("--by-hand") else few


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real radiographs, reports and hostile files, kept outside the project for their licences."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("RADSWEEP_TEST_DATA", default))
    if not (root / "real_cxr").is_dir():
        pytest.skip(f"needs the real test data: set RADSWEEP_TEST_DATA (looked in {root})")
    return root
