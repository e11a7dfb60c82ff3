"""A small MIMIC-CXR-JPG tree, whose reports may come later or lie elsewhere."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_mimic(raw: Path, count: int, reports: bool = True) -> Path:
    """`count` studies of one image and one patient each, in all three splits."""
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = ["dicom_id,study_id,subject_id,split"]
    for number in range(count):
        subject, study = 10_000_032 + number, 50_414_267 + number
        folder = raw / f"files/p10/p{subject}/s{study}"
        folder.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 256, (20, 24), dtype=np.uint8)).save(folder / f"d{number}.jpg")
        lines.append(f"d{number},{study},{subject},{('train', 'train', 'validate', 'test')[number % 4]}")
    (raw / "mimic-cxr-2.0.0-split.csv").write_text("\n".join(lines) + "\n")
    if reports:
        write_reports(raw, raw)
    return raw


def write_reports(raw: Path, target: Path) -> None:
    """A report of every study whose folder is below `raw`, beside it or below another folder."""
    for folder in raw.glob("files/p10/p*/s*"):
        if folder.is_dir():
            path = target / folder.relative_to(raw).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"x\n FINDINGS: f.\n IMPRESSION: normal {folder.name}.\n")
