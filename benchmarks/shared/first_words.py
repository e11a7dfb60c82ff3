"""How soon after the command does a run say its first word, and show its first bar? Then it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

BAR = re.compile(rb"[^:]+: \d[\d,]* of \d|[^:]+: \d+%")
BARE = (
    "import torch\nimport ray\nray.init(address='local', include_dashboard=True, log_to_driver=False)\nray.shutdown()"
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class FirstWords:
    """Seconds since the command was given, on a pipe."""

    line: float
    bar: float


def first_words(arguments: Sequence[str]) -> FirstWords:
    """Of python -m sweep.run. Raises ArithmeticError where it ends without a bar."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "sweep.run", *arguments]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = bar = None
        for text in process.stdout:
            line = line or time.perf_counter() - began
            if BAR.match(text):
                bar = time.perf_counter() - began
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    if line is None or bar is None:
        raise ArithmeticError(f"{' '.join(command)} ended with {process.returncode}, without a bar")
    return FirstWords(line, bar)


def bare_start(code: str = BARE) -> float:
    """Seconds of a process that does nothing but import torch and start and stop Ray."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True)
    return time.perf_counter() - began
