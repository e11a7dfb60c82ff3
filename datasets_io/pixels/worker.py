"""How a hostile file can cost at most one row: files are decoded in a child process with time and memory limits.

Protocol, over the child's stdin and stdout: the parent sends one JSON line a file, the child answers with one
JSON line and, for a picture, its bytes. The child's alarms are the kernel's: they end the process even
inside a native codec. The parent then starts a new child and calls the file a reject. What counts is the time of the
processor, so that a busy machine rejects what an idle one rejects; a file that is waited for has ten times as long.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
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
END_SECONDS = 2.0  # that a killed child may take to go


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

        Raises RuntimeError where no child can be started, and after `end`.
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
        size = 0 if "reason" in answer else math.prod(self._spec.stored(answer["rows"], answer["columns"]))
        data = stdout.read(size)
        if len(data) != size:
            raise EOFError
        return answer, data

    def _start(self) -> subprocess.Popen[bytes]:
        """A child that is ready for files. Raises RuntimeError where it does not say so."""
        package_root = str(Path(__file__).resolve().parents[2])
        # Children are what runs at once: threads of theirs would only get into each other's way.
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
        own = self._spec
        spec = [own.image_size, own.intensity, list(own.modalities), own.shape, own.dicom_only]
        limits = [self._time_limit, self._memory_limit]
        child = subprocess.Popen(
            [sys.executable, "-m", "datasets_io.pixels.worker", json.dumps([spec, limits])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs quote headers there
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then ends the child.
            env={**os.environ, **threads, "PYTHONPATH": path},
            start_new_session=True,
        )
        self._child = child
        if self._ended:  # meanwhile, when there was no child to end
            child.kill()
        if _pipes(child)[1].readline() != READY:
            self.close()
            raise RuntimeError(
                "the decoding process did not start; try `python -m datasets_io.pixels.worker --help`, and give the"
                f" machine more than {self._memory_limit >> 20} MiB of memory a worker"
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


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The child's stdin and stdout, which Popen types as optional."""
    assert child.stdin is not None and child.stdout is not None  # both are PIPE
    return child.stdin, child.stdout


def serve(spec: PixelSpec, time_limit: float) -> None:
    """The child's loop: until stdin ends. time_limit: seconds of processor time for each file."""
    # Answers go to a copy of stdout; 1 itself becomes stderr, which the parent throws away.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not get into the protocol
    warnings.simplefilter("ignore")
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        # ITIMER_PROF counts this process's processor time and sends SIGPROF, ITIMER_REAL the clock's and SIGALRM.
        # Neither has a handler: a Python one would only run when the codec returns.
        signal.setitimer(signal.ITIMER_PROF, time_limit)
        signal.setitimer(signal.ITIMER_REAL, WAITING * time_limit)
        try:
            decoded = decode_file(Path(json.loads(line)), spec)
            answer = {name: value for name, value in vars(decoded).items() if name != "pixels"}
            data = decoded.pixels.tobytes()
        except PixelError as error:
            answer, data = {"stage": error.stage, "reason": error.reason}, b""
        except MemoryError:
            answer, data = {"stage": "decode", "reason": "decoding needs more memory than its limit"}, b""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer).encode() + b"\n" + data)
        answers.flush()


def main(arguments: str) -> None:
    """The child: [[image_size, intensity, modalities, shape, dicom_only], [time limit, memory limit]] as JSON."""
    (image_size, intensity, modalities, shape, dicom_only), (time_limit, memory_limit) = json.loads(arguments)
    end_with_parent()  # also while a file keeps it from the end of its stdin
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's picture
    serve(PixelSpec(image_size, intensity, tuple(modalities), shape, dicom_only), time_limit)


if __name__ == "__main__":
    main(sys.argv[1])
