"""How are a module's own tests run against a mutant of it? In a forked process, so that libraries are imported once.

A child imports the project anew with the mutant in the module's place: default values and names that other modules
took over are those of the mutant. cosmic-ray's own runner starts an interpreter for each mutant, ten seconds with
torch, and writes the mutant over the file.
"""

import faulthandler
import gc
import importlib
import importlib.util
import os
import re
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import groupby
from pathlib import Path

import hypothesis

from benchmarks.mutation.mutant_code import ROOT

# What the tests import beside the project. Nothing breaks where one is missing here: each child is slower then.
LIBRARIES = (
    "pytest", "numpy", "scipy.stats", "scipy.special", "pandas", "pyarrow.parquet", "sklearn.metrics",
    "sklearn.neighbors", "torch", "torchvision.transforms.v2", "timm", "transformers", "numba", "PIL.Image", "pydicom",
    "torchmetrics.functional.classification", "pytorch_metric_learning.losses", "open_clip.loss", "matplotlib.figure",
    "rich.console", "hypothesis.strategies", "filelock", "imagecodecs", "torch.utils.data", "torch._dynamo",
    "transformers.models.bert.modeling_bert", "cv2", "stamina",
)  # fmt: skip
# unraisableexception collects garbage twice, over all that the libraries made: most of a child's time.
PLUGINS = ("cacheprovider", "faulthandler", "threadexception", "unraisableexception")
WALL_SECONDS = 1800  # of a mutant that waits for something for ever
SPARE_BYTES = 6 << 30  # of address space, for a mutant that asks for terabytes
SPARE_CPU_SECONDS = 10
NOT_RUN = 99  # of a child that could not run its tests: no exit code of pytest's


@dataclass(frozen=True)
class Task:
    """Tests to be run with a source in a module's place; source None: the module as it is. module: path from ROOT."""

    module: str
    tests: tuple[str, ...]
    source: str | None = None
    cpu_seconds: int = 120


@dataclass(frozen=True)
class Outcome:
    """passed: whether no test noticed. said: the end of what pytest printed."""

    passed: bool
    cpu_seconds: float
    said: str

    @property
    def failed_tests(self) -> tuple[str, ...]:
        """Ids of the tests that failed, as pytest's summary names them; none where their file could not be imported."""
        return tuple(re.findall(r"^FAILED (\S+::.+?)(?: - .*)?$", self.said, re.MULTILINE))


class InPlace(MetaPathFinder):
    """Finds one module of the project in another file."""

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As sys.meta_path asks for it."""
        return importlib.util.spec_from_file_location(name, self.path) if name == self.name else None


def import_libraries() -> None:
    """Import what children share. Settings make hypothesis draw the same examples in each child, and shrink none."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    gc.freeze()  # children do not look through the libraries for garbage, which would copy their memory, too


def run(tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, Outcome]]:
    """(index of the task, outcome) as they end, so many at once. Call import_libraries before.

    Raises RuntimeError where tests could not be run at all, as in a checkout that is taken away meanwhile: nothing
    noticed the mutant then.
    """
    running: dict[int, int] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        left = iter(range(len(tasks)))
        while True:
            while len(running) < processes and (index := next(left, None)) is not None:
                sys.stdout.flush()
                pid = os.fork()
                if pid == 0:
                    _child(tasks[index], Path(folder, str(index)))
                running[pid] = index
            if not running:
                return
            pid, status, used = os.wait4(-1, 0)
            if (index := running.pop(pid, -1)) < 0:
                continue  # a child of another part of the program
            output, code = Path(folder, str(index), "said"), os.waitstatus_to_exitcode(status)
            said = output.read_text(errors="replace")[-3000:] if output.exists() else "it printed nothing"
            if code == NOT_RUN:
                raise RuntimeError(f"the tests of {tasks[index].module} could not be run: {said}")
            yield index, Outcome(code == 0, used.ru_utime + used.ru_stime, said)


def _child(task: Task, folder: Path) -> None:
    """Never returns: the exit code is pytest's, minus a signal's where a limit was reached, or NOT_RUN."""
    code = NOT_RUN
    try:
        folder.mkdir()
        output = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(ROOT)
        _limit(task.cpu_seconds)
        name, path = task.module.removesuffix(".py").replace("/", "."), folder / Path(task.module).name
        if task.source is not None:
            # A file of its own: numba keeps machine code by a file's path and time, and must not find the original's.
            path.write_text(task.source, encoding="utf-8")
            sys.meta_path.insert(0, InPlace(name, path))
        import pytest

        off = [part for plugin in PLUGINS for part in ("-p", f"no:{plugin}")]
        flags = ["-x", "--tb=line", "--no-header", "-W", "ignore", f"--basetemp={folder / 'tmp'}"]
        flags += ["-o", "python_files=test_*.py"]  # else pytest itself imports a module whose name ends with _test
        # File by file, since importing the next one's tests costs more than the first one's need to notice a mutant.
        ended = next((code for part in by_file(task.tests) if (code := int(pytest.main([*flags, *off, *part])))), 0)
        # Where the tests are gone, pytest ends as it does at a mutant that cannot be imported.
        code = ended if all(_file(test).is_file() for test in (*task.tests, task.module)) else NOT_RUN
        if task.source is not None and ended == 0 and getattr(sys.modules.get(name), "__file__", "") != str(path):
            print(f"they do not import the mutant of {name}")
            code = NOT_RUN
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        os._exit(code)


def by_file(tests: Sequence[str]) -> list[list[str]]:
    """What pytest is given, cut where the next file begins. Tests of one file stand side by side."""
    return [list(part) for _, part in groupby(tests, _file)]


def _file(test: str) -> Path:
    """Of what pytest is given: a path, path::name or --deselect=path::name below ROOT."""
    return ROOT / test.removeprefix("--deselect=").split("::")[0]


def _limit(cpu_seconds: int) -> None:
    """A mutant that never ends is ended, and one that fills the memory gets a MemoryError."""
    faulthandler.dump_traceback_later(WALL_SECONDS, exit=True, file=sys.__stderr__)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
