"""Small csv_images archives: blobs that are brighter where a finding is, in two hospitals' manners."""

from pathlib import Path

import cv2
import numpy as np

FINDINGS = ("edema", "mass")


def write_archive(folder: Path, images: int, seed: int, table: str = "images.csv", level: int = 60) -> Path:
    """So many images of 24 x 24, one a patient, 60-20-20 in train, val and test. level: grey value of the ground."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,patient_id,split,edema,mass"]
    for number in range(images):
        labels = rng.integers(0, 2, size=2)
        picture = rng.normal(level, 12, size=(24, 24))
        picture[4:12, 4:12] += 60 * labels[0]
        picture[14:20, 12:20] += 60 * labels[1]
        name = f"{Path(table).stem}-{number}.png"
        cv2.imwrite(str(folder / name), np.clip(picture, 0, 255).astype(np.uint8))
        split = ("train", "train", "train", "val", "test")[number % 5]
        lines.append(f"{name},p{number},{split},{labels[0]},{labels[1]}")
    (folder / table).write_text("\n".join(lines) + "\n")
    return folder
