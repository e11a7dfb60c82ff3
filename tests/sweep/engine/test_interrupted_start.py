"""Is a command that is interrupted in the middle of Ray's import an interrupted one, and not one with a traceback?"""

import subprocess
import sys

IMPORTED = """
import signal, sys
from importlib.abc import MetaPathFinder
from sweep.engine.driver import _cluster

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)

assert "ray" not in sys.modules
sys.meta_path.insert(0, Interrupt())
try:
    with _cluster(print, sys.argv[2]) as start:
        start()
except KeyboardInterrupt:
    print("interrupted in", sys.argv[1])
"""


def test_ray_that_is_half_imported_is_not_stopped(tmp_path):
    """Its import cannot be tried again: that is another error."""
    for module in ("sweep.engine.cluster", "ray", "ray._private.worker", "ray.widgets"):
        command = [sys.executable, "-c", IMPORTED, module, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.stdout.splitlines() == ["starting Ray on this machine", f"interrupted in {module}"], done.stderr
