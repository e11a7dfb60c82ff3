"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real radiographs, reports and hostile files, kept outside the project for their licences."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("RADSWEEP_TEST_DATA", default))
    if not (root / "real_cxr").is_dir():
        pytest.skip(f"needs the real test data: set RADSWEEP_TEST_DATA (looked in {root})")
    return root
