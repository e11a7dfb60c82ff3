"""Small made-up archives in the official layouts of the sources with boxes and masks: whole, with defects, half copied.

Defects are those that the real archives are known for. Half of the images are absent of a half copied archive, whose
lists are whole, as after a copy that stopped.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from datasets_io.sources import chexpert, vindr_cxr
from datasets_io.sources.regions import counts_text, runs_of

STATES = ("whole", "defects", "half")
ROWS, COLUMNS = 64, 48  # of a made-up image's file
Write = Callable[[Path, int], object]  # writes an image of this number


def touch(path: Path, number: int) -> None:
    """An empty file, for tests that read no image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)


def write_dicom(path: Path, number: int) -> None:
    """The picture of this number as a plain DICOM file of 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = picture(number).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def write_png(path: Path, array: np.ndarray, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).convert(mode).save(path)


def copied(state: str, number: int) -> bool:
    return state != "half" or number % 2 == 0


def vindr_id(part: str, number: int) -> str:
    return f"{part.encode().hex():0<28}{number:04x}"


def vindr(raw: Path, state: str, write: Write = touch) -> None:
    """20 training images of three readers, 10 of the test. Image n: n % 4 readers saw an ILD, and boxed it."""
    for part, images, readers in (("train", 20, ("R8", "R9", "R10")), ("test", 10, ("",))):
        columns = list(vindr_cxr.COLUMNS)
        columns[-2] = "Other disease" if part == "test" else "Other diseases"
        labels, boxes = [], []
        for number in range(images):
            image = vindr_id(part, number)
            if copied(state, number):
                write(raw / part / f"{image}.dicom", number)
            for place, reader in enumerate(readers):
                saw = place < number % 4
                marks = [int(column == ("ILD" if saw else "No finding")) for column in columns]
                labels.append([image, *([reader] if reader else []), *marks])
                # With defects boxes reach over the border, as some of the real ones do.
                corners = [4.0, 8.0, 90.0 if state == "defects" else 28.0, 40.0] if saw else [""] * 4
                name = "ILD" if saw else "No finding"
                boxes.append([image, *([reader] if reader else []), name, *corners])
        who = ["rad_id"] if part == "train" else []
        if state == "defects" and part == "train":
            del labels[-1], boxes[-1]  # one reader of the last image, whose file was cut at a line's end
        # Some copies have the csv files beside the images.
        folder = raw / (part if state == "defects" else "annotations")
        write_table(folder / f"image_labels_{part}.csv", ["image_id", *who, *columns], labels)
        header = ["image_id", *who, "class_name", "x_min", "y_min", "x_max", "y_max"]
        write_table(folder / f"annotations_{part}.csv", header, boxes)


def vinbigdata(raw: Path, state: str, write: Write = touch) -> None:
    """Kaggle's copy: rows are boxes. Image n: n % 4 readers boxed a nodule, the first of them twice."""
    rows = []
    for number in range(20):
        image = vindr_id("train", number)
        if copied(state, number):
            write(raw / "train" / f"{image}.dicom", number)
        for place, reader in enumerate(("R8", "R9", "R10")):
            saw = place < number % 4
            row = (
                [image, "Nodule/Mass", 8, reader, 4, 8, 28, 40] if saw else [image, "No finding", 14, reader, *[""] * 4]
            )
            rows += [row] * (2 if saw and place == 0 else 1)
    header = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    write_table(raw / "train.csv", header, rows)


def rsna_id(number: int) -> str:
    return f"0a1b2c3d-0000-4000-8000-{number:012x}"


def rsna(raw: Path, state: str, write: Write = touch) -> None:
    """30 images of ten NIH patients, the classes in turn; an image with an opacity has one or two boxes."""
    names = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
    labels, classes, mapping = [], [], []
    for number in range(30):
        image, kind = rsna_id(number), number % 3
        if copied(state, number):
            write(raw / "stage_2_train_images" / f"{image}.dcm", number)
        boxes = [[256.0, 512.0, 128.0, 64.0], [900.0, 0.0, 300.0, 512.0]][: 1 + number % 2] if kind == 2 else [[""] * 4]
        for box in boxes:  # both files have a row for each box
            labels.append([image, *box, int(kind == 2)])
            classes.append([image, names[kind]])
        name = f"{1 + number // 3:08d}_{number % 3:03d}.png"
        mapping.append({"subset_img_id": image, "img_id": name, "orig_labels": [], "subset_group": "train"})
    for number in range(3):
        write(raw / "stage_2_test_images" / f"{rsna_id(100 + number)}.dcm", number)
    write_table(raw / "stage_2_train_labels.csv", ["patientId", "x", "y", "width", "height", "Target"], labels)
    if state == "defects":  # without the mapping, which lies on another site, and without the classes
        return
    write_table(raw / "stage_2_detailed_class_info.csv", ["patientId", "class"], classes[::-1])
    (raw / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping))


def siim_id(number: int) -> str:
    return f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875161.{100000 + number}"


def siim(raw: Path, state: str, write: Write = touch) -> None:
    """20 images, of which each fourth has a mask, and the first of these has two rows; the last five are test."""
    rows: list[list[object]] = []
    for number in range(20):
        image = siim_id(number)
        if copied(state, number):
            folder = "dicom-images-test" if number >= 15 else "dicom-images-train"
            write(raw / folder / f"study{number}" / f"series{number}" / f"{image}.dcm", number)
        if number % 4:
            rows.append([image, "-1" if state == "defects" or number % 2 else " -1"])
        else:
            rows.append(
                [image, f"{' ' * (number % 8)}1025 3 1021 2"]
            )  # column 1, rows 1 to 3, then column 2, rows 1, 2
            if number == 0:
                rows.insert(0, [image, "0 2"])  # column 0, rows 0 and 1
    # The second name begins with a blank, as in the official file; some copies have mended it.
    write_table(raw / "train-rle.csv", ["ImageId", "EncodedPixels" if state == "defects" else " EncodedPixels"], rows)


def shenzhen(raw: Path, state: str, write: Write = touch) -> None:
    """12 images, the last six with tuberculosis; lung masks for the first four, one lesion."""
    spellings = ("male 45yrs", "Female, 30 yrs", "female20yrs", "male  11months", "Male 101yr", "unknown")
    for number in range(12):
        stem = f"CHNCXR_{number + 1:04d}_{number // 6}"
        if copied(state, number):
            write(raw / "CXR_png" / f"{stem}.png", number)
        (raw / "ClinicalReadings").mkdir(exist_ok=True, parents=True)
        reading = f"{spellings[number % 6]}\nnormal, since 3 years\n"
        (raw / "ClinicalReadings" / f"{stem}.txt").write_text(reading)
        mask = np.zeros((ROWS, COLUMNS), np.uint8)
        mask[8:40, 4:20] = 255
        if number < 4:
            write_png(raw / "masks" / f"{stem}_mask.png", mask)
        if number == 6:
            write_png(raw / "Annotations-2" / "masks" / f"{stem}_Small_Infiltrate_(non-linear)_2.png", mask)
    if state == "defects":
        for folder in ("CXR_png", "ClinicalReadings"):
            (raw / folder / "Thumbs.db").write_bytes(b"stray")
        write_png(raw / "masks" / "CHNCXR_0006_0_mask.png", np.zeros((ROWS, COLUMNS), np.uint8))
        write_png(raw / "masks" / "CHNCXR_0099_1_mask.png", np.full((ROWS, COLUMNS), 255, np.uint8))


def montgomery(raw: Path, state: str, write: Write = touch) -> None:
    """8 images, the last four with tuberculosis, and both lungs of each."""
    for number in range(8):
        stem = f"MCUCXR_{number * 3 + 1:04d}_{number // 4}"
        if copied(state, number):
            write(raw / "CXR_png" / f"{stem}.png", number)
        (raw / "ClinicalReadings").mkdir(exist_ok=True, parents=True)
        text = f"Patient's Sex: {'FM'[number % 2]}\r\nPatient's Age: {20 + number:03d}Y\r\nnormal\r\n"
        (raw / "ClinicalReadings" / f"{stem}.txt").write_text(text)
        for side, left in (("left", 26), ("right", 4)):
            mask = np.zeros((ROWS, COLUMNS), np.uint8)
            mask[8:40, left : left + 16] = 255
            # Some of the masks are of one bit, some of eight.
            write_png(raw / "ManualMask" / f"{side}Mask" / f"{stem}.png", mask, "1" if number % 2 else "L")
    if state == "defects":
        (raw / "CXR_png" / "Thumbs.db").write_bytes(b"stray")
        (raw / "NLM-MontgomeryCXRSet-ReadMe.pdf").write_bytes(b"%PDF")
        for path in (raw / "ManualMask" / "rightMask").glob("*"):
            path.unlink()
        (raw / "ManualMask" / "rightMask").rmdir()


def coco(mask: np.ndarray) -> dict[str, object]:
    return {"size": list(mask.shape), "counts": counts_text(runs_of(mask))}


def chexlocalize(raw: Path, state: str, write: Write = touch) -> None:
    """6 val images and 9 of the test, of which the last one is a lateral; two of each three are in the JSON files."""
    opacity = np.zeros((ROWS, COLUMNS), bool)
    opacity[10:20, 5:9] = True
    for split, images in (("val", 6), ("test", 9)):
        rows: list[list[object]] = []
        masks = {}
        for number in range(images):
            view = "view2_lateral" if number == 8 else "view1_frontal"
            patient = f"patient{64541 + number if split == 'val' else 64741 + number}"
            if copied(state, number):
                write(raw / "CheXpert" / split / patient / "study1" / f"{view}.jpg", number)
            present = number % 3 == 0
            labels = [int(present) if column == "Lung Opacity" else 0 for column in chexpert.COLUMNS]
            if split == "val":  # as valid.csv has it
                side = ["Male", 60 + number, "Frontal", "AP"]
                rows.append([f"CheXpert-v1.0/valid/{patient}/study1/{view}.jpg", *side, *labels])
            else:
                rows.append([f"test/{patient}/study1/{view}.jpg", *labels])
            if number % 3 < 2:
                masks[f"{patient}_study1_{view}"] = {
                    "Airspace Opacity": coco(opacity if present else opacity & False),
                    "Edema": coco(opacity & False),
                }
        header = ["Path", *(["Sex", "Age", "Frontal/Lateral", "AP/PA"] if split == "val" else []), *chexpert.COLUMNS]
        if state == "defects":  # the earlier name of a column, in another order, and the image of another set
            header = [name.replace("Lung Opacity", "Airspace Opacity") for name in header]
            order = [0, *range(len(header) - 1, 0, -1)]
            header, rows = [header[i] for i in order], [[row[i] for i in order] for row in rows]
            masks[f"patient99999_study1_view1_{split}"] = {"Airspace Opacity": coco(opacity)}
        write_table(raw / "CheXpert" / f"{split}_labels.csv", header, rows)
        path = raw / "CheXlocalize" / f"gt_segmentations_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(masks))


# Name of a layout -> (source, what writes it, images that its lists name).
MADE_UP: dict[str, tuple[str, Callable[..., None], int]] = {
    "vindr_cxr": ("vindr_cxr", vindr, 30),
    "vinbigdata": ("vindr_cxr", vinbigdata, 20),
    "rsna_pneumonia": ("rsna_pneumonia", rsna, 30),
    "siim_pneumothorax": ("siim_pneumothorax", siim, 20),
    "shenzhen": ("shenzhen", shenzhen, 12),
    "montgomery": ("montgomery", montgomery, 8),
    "chexlocalize": ("chexlocalize", chexlocalize, 15),
}
