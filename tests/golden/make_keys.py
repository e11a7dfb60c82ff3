"""Write keys.json anew from the presets of today: `PYTHONPATH=. python tests/golden/make_keys.py`.

Only where keys are to move, since a version was raised: the commit says which move, and why. The cells that are named
in the file are kept, with their new keys.
"""

import hashlib
import json
from pathlib import Path

from datasets_io.build import identity_of
from datasets_io.fingerprint import fingerprint
from sweep.studies import STUDIES, study_fingerprint
from sweep.studies.plan import make_plan

PATH = Path(__file__).parent / "keys.json"
FINGERPRINTS = {"mimic_cxr": "a" * 12, "chexpert": "b" * 12, "nih_cxr14": "c" * 12}


def main() -> None:
    golden = json.loads(PATH.read_text())
    for name, before in golden.items():
        study = STUDIES[name]()
        plan = make_plan(study, FINGERPRINTS, {})
        keys = {str(cell): cell.key for cell in plan.cells}
        lines = "\n".join(f"{cell}-{cell.key}" for cell in plan.cells)
        now = {
            "study": study_fingerprint(study),
            "encoders": {str(run): run.key for run in plan.encoders},
            "cells": len(keys),
            "sha256_of_cells": hashlib.sha256(lines.encode()).hexdigest(),
            "some_cells": {cell: keys[cell] for cell in before["some_cells"]},
            "corpora": {spec.source: fingerprint(identity_of(spec)) for spec in study.builds()},
        }
        golden[name] = now | ({"synthetic": fingerprint(study.synthetic)} if study.synthetic else {})
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
