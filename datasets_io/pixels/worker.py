"""How a hostile file can cost at most one row: files are decoded in a child process with time and memory limits.

Protocol, over the child's stdin and stdout: the parent sends one JSON line a file, the child answers with one
JSON line and, for a picture, its bytes. The child's alarms are the kernel's: they end the process even
inside a native codec. The parent then starts a new child and calls the file a reject. What counts is the time of the
processor, so that a busy machine rejects what an idle one rejects; a file that is waited for has ten times as long.

Decoders are imported when a file needs them. Where that fails no file of the kind can be read: it is no file's fault.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from datasets_io.interrupts import end_with_parent
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import Decoded, PixelError, PixelSpec

TIME_LIMIT = 60  # seconds of the processor a file; the slowest codec needs about 2 s for a large radiograph
WAITING = 10  # times as long by the clock, for storage that is slow and machines that are shared
MEMORY_LIMIT = 2 << 30  # bytes of address space of the child
READY = b"ready\n"
# -P: a file or folder of the working directory, which may be anything, is no module of a child's.
PYTHON = (sys.executable, "-P")
END_SECONDS = 2.0  # that a killed child may take to go
IMPORTS = ("datasets_io.pixels.dicom", "datasets_io.pixels.jpeg_scan", "imagecodecs")  # late ones: all a file may need
TOO_MUCH = "decoding needs more memory than its limit"


class BrokenInstallation(ValueError, RuntimeError):
    """A module that all files of a kind need cannot be imported. A ValueError, which commands end with a sentence."""


def broken(failed: str) -> BrokenInstallation:
    """The error with the sentence, of one line. failed: as `what_failed` tells it."""
    one_line = " ".join(failed.split())
    return BrokenInstallation(
        f"this installation does not work, whatever the archive: {one_line}. Install the pinned versions again, and see"
        " whether a file or folder of the working directory, or of one on PYTHONPATH, has the name of a module"
    )


def what_failed(error: BaseException) -> str:
    """The error, and the file of the module whose import raised it."""
    modules = _modules(error)
    place = f", in {modules[-1].filename}, line {modules[-1].lineno}" if modules else ""
    return f"{type(error).__name__}: {error}{place}"


def _modules(error: BaseException) -> list[traceback.FrameSummary]:
    """Where modules were being imported when it was raised, the innermost last."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]


class DecodeWorker:
    """One child, started when the first file comes and again after a file has ended it. Use it in a `with`."""

    def __init__(self, spec: PixelSpec, time_limit: float = TIME_LIMIT, memory_limit: int = MEMORY_LIMIT):
        self._spec, self._time_limit, self._memory_limit = spec, time_limit, memory_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __enter__(self) -> "DecodeWorker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def decode(self, path: Path) -> Decoded:
        """As pixels.decode_file, and raises PixelError also for a hang, a crash or too much memory.

        Raises BrokenInstallation where no child can be started, or none that can import what the file needs, and
        RuntimeError after `end`.
        """
        if self._ended:
            raise RuntimeError("this decoding process was ended")
        child = self._child or self._start()
        try:
            answer, data = self._ask(child, path)
        except (BrokenPipeError, EOFError):
            raise self._death(child) from None
        except BaseException:
            self.close()  # the pipe is out of step, e.g. after Ctrl-C
            raise
        if "broken" in answer and not _can_import_all():
            raise broken(answer["broken"])
        if "reason" in answer:
            raise PixelError(answer["stage"], answer["reason"])
        pixels = np.frombuffer(data, np.uint8).reshape(self._spec.stored(answer["rows"], answer["columns"]))
        return Decoded(pixels, **answer)

    def close(self) -> None:
        """End the child, whatever it is at; the next file starts another.

        A child that waits within the kernel for a drive that is away cannot be ended: it goes when its call returns.
        """
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=END_SECONDS)

    def end(self) -> None:
        """For another thread than the one that decodes: end the child and start no other. Waits for nothing."""
        self._ended = True
        if (child := self._child) is not None:
            child.kill()

    def _ask(self, child: subprocess.Popen[bytes], path: Path) -> tuple[dict[str, Any], bytes]:
        """The child's answer for one file. Raises BrokenPipeError or EOFError where the child has ended."""
        stdin, stdout = _pipes(child)
        stdin.write(json.dumps(os.fspath(path)).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer = json.loads(line)
        size = 0 if "rows" not in answer else math.prod(self._spec.stored(answer["rows"], answer["columns"]))
        data = stdout.read(size)
        if len(data) != size:
            raise EOFError
        return answer, data

    def _start(self) -> subprocess.Popen[bytes]:
        """A child that is ready for files. Raises BrokenInstallation where it does not say so."""
        own = self._spec
        spec = [own.image_size, own.intensity, list(own.modalities), own.shape, own.dicom_only]
        limits = [self._time_limit, self._memory_limit]
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(
                [*PYTHON, "-m", "datasets_io.pixels.worker", json.dumps([spec, limits])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,  # until it is ready: see `serve`
                # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then ends the child.
                env=_environment(),
                start_new_session=True,
            )
            self._child = child
            if self._ended:  # meanwhile, when there was no child to end
                child.kill()
            if _pipes(child)[1].readline() != READY:
                self.close()
                if self._ended:
                    raise RuntimeError("this decoding process was ended")
                said.seek(0)
                last = said.read().decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
                raise broken(
                    f"the decoding process did not start ({last}); it may have {self._memory_limit >> 20} MiB of memory"
                )
        return child

    def _death(self, child: subprocess.Popen[bytes]) -> PixelError:
        """Why the child ended, by the signal that ended it: the alarms of `serve`, or something else."""
        code = child.wait()
        self._child = None
        if code == -signal.SIGPROF:
            return PixelError("decode", f"decoding took longer than {self._time_limit:g} s")
        if code == -signal.SIGALRM:
            return PixelError("read", f"reading and decoding took longer than {WAITING * self._time_limit:g} s")
        return PixelError("decode", "the codec crashed or ran out of memory")


def _environment() -> dict[str, str]:
    """Of a child, which finds this package wherever it is, and runs one thread: children are what runs at once."""
    package_root = str(Path(__file__).resolve().parents[2])
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([package_root, *filter(None, given)])  # an empty part is the working directory
    return {**os.environ, **threads, "PYTHONPATH": path}


def _can_import_all() -> bool:
    """Whether a child without limits can import IMPORTS: then it was the limit of memory that kept one from doing so.

    No message tells: a library that finds no room for its own says that it is not there.
    """
    command = [*PYTHON, "-c", "".join(f"import {name}\n" for name in IMPORTS)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=_environment(), start_new_session=True
    )
    return done.returncode == 0


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The child's stdin and stdout, which Popen types as optional."""
    assert child.stdin is not None and child.stdout is not None  # both are PIPE
    return child.stdin, child.stdout


def serve(spec: PixelSpec, time_limit: float) -> None:
    """The child's loop: until stdin ends. time_limit: seconds of processor time for each file."""
    # Answers go to a copy of stdout. What a codec prints must not get into the protocol, and it quotes headers.
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    warnings.simplefilter("ignore")
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        # ITIMER_PROF counts this process's processor time and sends SIGPROF, ITIMER_REAL the clock's and SIGALRM.
        # Neither has a handler: a Python one would only run when the codec returns.
        signal.setitimer(signal.ITIMER_PROF, time_limit)
        signal.setitimer(signal.ITIMER_REAL, WAITING * time_limit)
        answer, data = _answer(Path(json.loads(line)), spec)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer).encode() + b"\n" + data)
        answers.flush()


def _answer(path: Path, spec: PixelSpec) -> tuple[dict[str, Any], bytes]:
    """Of one file: its numbers and pixels, or why it is refused, and as `broken` what failed at import.

    Any other error ends the child.
    """
    failed: Exception | None = None
    try:
        decoded = decode_file(path, spec)
        data = decoded.pixels.tobytes()
    except PixelError as error:
        stage, reason = error.stage, error.reason
        failed = _failed_import() if stage == "decode" else None
    except MemoryError:
        stage, reason = "decode", TOO_MUCH
    except Exception as error:
        if not (isinstance(error, ImportError) or _modules(error)):
            raise
        stage, reason, failed = "decode", TOO_MUCH, error
    else:
        answer = {name: value for name, value in vars(decoded).items() if name != "pixels"}
        return answer, data
    refusal = {"stage": stage, "reason": reason}
    return refusal | ({"broken": what_failed(failed)} if failed is not None else {}), b""


def _failed_import() -> Exception | None:
    """Why a codec cannot be imported, all of whose errors become PixelErrors; None where all can."""
    try:
        import imagecodecs

        from datasets_io.pixels import jpeg_scan

        del imagecodecs, jpeg_scan
    except Exception as error:
        return error
    return None


def main(arguments: str) -> None:
    """The child: [[image_size, intensity, modalities, shape, dicom_only], [time limit, memory limit]] as JSON."""
    (image_size, intensity, modalities, shape, dicom_only), (time_limit, memory_limit) = json.loads(arguments)
    end_with_parent()  # also while a file keeps it from the end of its stdin
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    serve(PixelSpec(image_size, intensity, tuple(modalities), shape, dicom_only), time_limit)


if __name__ == "__main__":
    main(sys.argv[1])
