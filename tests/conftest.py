"""What every test may ask for, and which tests share a process."""

import ast
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
# Files that make check leaves out. Begun in this order, so that the processes end together: first the study that others
# copy, then what shares one Ray, then what starts drivers (not at once: they would wait for that study), then training.
SLOW = (
    "test_run.py", "test_stream_quick.py", "test_ray_benchmarks_quick.py", "test_stream.py", "test_canary.py",
    "test_driver_faults.py", "test_tune.py", "test_demo_quick.py", "test_real_weights.py", "test_stored_before.py",
    "test_two_workers.py", "test_operator_mutants.py", "test_mutations.py", "test_precision.py", "test_figures.py",
    "test_resume.py", "test_no_waiting.py", "test_operators_quick.py",
    "test_build.py", "test_throughput.py", "test_actors.py", "test_ray_private.py", "test_training_free.py",
    "test_reading_commands.py", "test_reading_damaged_data.py", "test_picture_figures.py", "test_mutants.py",
    "test_s3.py", "test_report_page.py", "test_status.py", "test_all_quick.py", "test_ingest_quick.py",
    "test_schedule_quick.py", "test_encoder_source.py", "test_image_families.py", "test_own_encoders.py",
    "test_pixels_fuzz.py", "test_hangs.py", "test_pixels_torture.py", "test_layouts.py", "test_job_faults.py",
    "test_store_faults.py", "test_sinks.py", "test_worker.py", "test_distributed.py", "test_export.py",
    "test_doctor.py", "test_lease.py", "test_interrupts.py", "test_stuck_children.py",
    "test_closed_output.py", "test_one_source_twice.py", "test_text_export.py",
    "test_preflight_run.py", "test_preflight_processes.py", "test_preflight_quick.py", "test_open_corpus.py",
    "test_iam_policies.py",
    "test_store_machine.py", "test_gpu_imports.py", "test_scripts_quick.py", "test_radsweep.py",
    "test_completion.py", "test_imports_quick.py", "test_encoders.py", "test_frames.py", "test_wheel.py",
    "test_python_docs.py",
    "test_examples.py",
)  # fmt: skip

# Start of a test's id behind tests/ -> the group that shares a process. A file that is not named here is a group.
RAY, REPAIRED, CARD = "the tests of one Ray", "the repaired study", "the tests of one GPU"
GROUPS = {
    "benchmarks/test_ray_benchmarks_quick.py": RAY,
    "benchmarks/test_stream_quick.py::test_quick": RAY,
    "datasets_io/corpus/test_stream.py": RAY,
    "gpu/": CARD,
    "datasets_io/build/test_build.py::test_ray_makes_the_same_bytes": RAY,
    "datasets_io/build/test_build.py::test_an_installation_that_is_broken_on_ray_is_a_sentence": RAY,
    "datasets_io/test_ray_private.py": RAY,
    "examples/": RAY,
    "sweep/engine/test_actors.py": RAY,
    "sweep/engine/test_initial_encoders.py": RAY,
    "trainables/pretraining/test_open_corpus.py": RAY,
    "sweep/monitoring/test_throughput.py::test_prometheus_gets_them_from_rays_exporter": RAY,
    "trainables/pretraining/test_two_workers.py": "the runs of two workers",
    "trainables/test_mutations.py::test_a_mistake_over_two_workers": "the runs of two workers",
    # Files whose tests take minutes, cut.
    "chaos/test_driver_faults.py::test_a_killed_then": "a killed driver",
    "chaos/test_driver_faults.py::test_an_interrupt_that_a_library_swallows": "an interrupt that was lost",
    "chaos/test_driver_faults.py::test_a_damaged_encoder": REPAIRED,
    "sweep/run/test_run.py::test_a_lost_cell": REPAIRED,
    "trainables/networks/test_real_weights.py::test_pretraining": "pretraining from real weights",
}

gc.disable()  # until all is collected: what is imported stays

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: a thread each, for what these start as well
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Ignored signals stay ignored in all that is started: SIGINT in a shell's background job, SIGHUP below nohup.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def own_signals() -> None:
    """Signals are answered as Python does, whatever handler an earlier test of this process left, as Ray Tune does.

    A command that ran in this process leaves one that raises KeyboardInterrupt. A child that is forked and ended at
    once would have it too, and go on with the tests of this process in its place.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--by-hand", action="store_true", help="faults by the hundred, for hours: see docs/guarantees.md")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """times(few, many): how often a fault is injected; many with --by-hand."""
    return lambda few, many: many if request.config.getoption("--by-hand") else few


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of `pytest -m gpu` nothing but tests/gpu is imported: the other tests need packages that these do without.

    Nor of any other expression that holds for none of the others, such as `gpu and not slow`.
    """
    there = ROOT / "tests" / "gpu"
    if collection_path in (there, *there.parents) or there in collection_path.parents:
        return None
    try:
        asked = ast.parse(config.getoption("markexpr").strip(), mode="eval").body
    except SyntaxError:  # none at all, or one that pytest itself refuses
        return None
    return True if without_gpu(asked) is False else None


def without_gpu(asked: ast.expr) -> bool | None:
    """Whether an expression of marks holds for a test without the mark `gpu`; None where its other marks decide."""
    if isinstance(asked, ast.BoolOp):
        deciding = isinstance(asked.op, ast.Or)  # one value of it decides: True of `or`, False of `and`
        values = [without_gpu(value) for value in asked.values]
        if deciding in values:
            return deciding
        return None if None in values else not deciding
    if isinstance(asked, ast.UnaryOp):
        value = without_gpu(asked.operand)
        return None if value is None else not value
    return False if isinstance(asked, ast.Name) and asked.id == "gpu" else None


def place(item: pytest.Item) -> int:
    """Where its file stands in SLOW, or behind all; what wants a repaired study comes with the last that does."""
    name = "test_driver_faults.py" if group_of(item.nodeid) == REPAIRED else item.path.name
    return SLOW.index(name) if name in SLOW else len(SLOW)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow ones first."""
    items.sort(key=place)
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What was imported until now is never searched for garbage: it holds a million objects."""
    with suppress(ImportError):  # tests/gpu runs without it
        import hypothesis  # noqa: F401  # which asks who holds a generator, as pytest ends, and is told of nobody frozen

    gc.freeze()
    gc.enable()


def group_of(nodeid: str) -> str:
    """What shares a process: the tests of a file, or those of a group that GROUPS names."""
    return next(
        (group for start, group in GROUPS.items() if nodeid.startswith(f"tests/{start}")), nodeid.split("::")[0]
    )


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, whose own groups of marks pytest 9.2 does not show it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class LoadGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return LoadGroups(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real radiographs, reports and hostile files, kept outside the project for their licences."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("RADSWEEP_TEST_DATA", default))
    if not (root / "real_cxr").is_dir():
        pytest.skip(f"needs the real test data: set RADSWEEP_TEST_DATA (looked in {root})")
    return root


@pytest.fixture(scope="module")
def local_ray() -> None:
    """The one Ray of this process: its start costs ten core-seconds. Tests that ask for it are in the group RAY."""
    import ray

    from sweep.engine.cluster import start_ray

    if ray.is_initialized():  # by another file of the group
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        start_ray()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End Ray with the last test that wants it: idle it would take a tenth of a core from all others."""
    if group_of(item.nodeid) == RAY and (nextitem is None or group_of(nextitem.nodeid) != RAY):
        from sweep.engine.cluster import stop_ray

        stop_ray()


SMALL_STUDY, TINY_STUDY = "tests/sweep/small_study.py", "tests/chaos/tiny_study.py"


def run_study(study: str, storage: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command on a study's file, as a user on a wide terminal without colours sees it."""
    kept = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.run", "--study", study, "--storage", str(storage), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=kept | environment)


def folder_of_all_processes(factory: pytest.TempPathFactory, name: str) -> Path:
    """For what is made once, under a lock, by the first process that wants it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@dataclass(frozen=True)
class FinishedStudy:
    """The storage and the TensorBoard logs of a whole small study, and what the command that ran it said."""

    storage: str
    logs: str
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """tests/sweep/small_study.py, run once for all processes. Copy its storage before anything is done to it."""
    folder = folder_of_all_processes(tmp_path_factory, "finished-study")
    made = folder / "finished.json"
    with FileLock(folder / "lock"):
        if not made.exists():
            storage, logs = str(folder / "storage"), str(folder / "logs")
            done = run_study(SMALL_STUDY, Path(storage), "--tensorboard", logs)
            finished = FinishedStudy(storage, logs, done.returncode, done.stdout, done.stderr)
            made.write_text(json.dumps(asdict(finished)))
    return FinishedStudy(**json.loads(made.read_text()))


@dataclass(frozen=True)
class RepairedStudy:
    """A finished study that lost two cells and a bit of one's encoder, after the command ran in a hostile place.

    before: what stood in its folder of cells then -> when it was written.
    """

    storage: Path
    before: dict[Path, int]
    command: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def finished_tiny_study(finished_study: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of tests/chaos/tiny_study.py, a part of the small study: only its report is made here, once."""
    folder = folder_of_all_processes(tmp_path_factory, "finished-tiny-study")
    storage = folder / "storage"
    with FileLock(folder / "lock"):
        if not (folder / "made").exists():
            shutil.copytree(finished_study.storage, storage)
            done = run_study(TINY_STUDY, storage)
            assert done.returncode == 0 and "Nothing left to do" in done.stdout, (
                done.stdout[-3000:] + done.stderr[-3000:]
            )
            (folder / "made").touch()
    return storage


@pytest.fixture(scope="session")
def repaired_study(finished_study: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> RepairedStudy:
    """The place: LANG=C, umask 077, a home that cannot be written."""
    folder = tmp_path_factory.mktemp("repaired")
    storage = folder / "storage"
    shutil.copytree(finished_study.storage, storage)
    weights = next(storage.glob("encoders/imagenet*/backbone*"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 3] ^= 1
    weights.write_bytes(data)
    for lost in ("simclr-p0-chexpert-LPFT100-s1-*", "imagenet-p0-chexpert-FT100-s0-*"):
        (cell,) = (storage / "cells").glob(lost)
        shutil.rmtree(cell)
    before = {path: path.stat().st_mtime_ns for path in (storage / "cells").rglob("*") if path.is_file()}
    old = os.umask(0o077)
    try:
        place = {"HOME": "/proc/nowhere", "LANG": "C", "LC_ALL": "C", "RADSWEEP_CACHE": str(folder / "cache")}
        command = run_study(SMALL_STUDY, storage, **place)
    finally:
        os.umask(old)
    return RepairedStudy(storage, before, command)
