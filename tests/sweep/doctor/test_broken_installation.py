"""Does the doctor end with one sentence where a module cannot be imported, and no traceback?"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_module_that_cannot_be_imported_is_one_sentence(tmp_path):
    """As with python-gdcm in a working directory that has a folder `dl`."""
    (tmp_path / "pydicom.py").write_text("import sys\nsys.setdlopenflags(sys.nothing)\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sweep.doctor", "--storage", str(tmp_path / "storage")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert said.startswith("error: this installation does not work, whatever the archive: AttributeError: module 'sys'")
    assert f"{tmp_path}/pydicom.py, line 2. Install the pinned versions" in said
