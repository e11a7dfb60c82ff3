"""Small made-up archives in the official layouts of PadChest, Open-I and CheXpert Plus, for tests."""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def write_png(path: Path, seed: int, depth: int = 8) -> None:
    """A picture of its own for each seed, 64 x 64, of 8 or 16 bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8))
    picture = np.kron(coarse, np.ones((8, 8), np.int64))
    Image.fromarray((picture * 257).astype(np.uint16) if depth == 16 else picture.astype(np.uint8)).save(path)


def cut(path: Path) -> None:
    """The file as an interrupted copy leaves it."""
    path.write_bytes(path.read_bytes()[:90])


def write_table(path: Path, columns: Sequence[str], rows: list[dict[str, str]]) -> None:
    """A csv, or csv.gz, with these columns; blank where a row has no value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,"
    "Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,"
    "PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,"
    "WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,"
    "ExposureInuAs_DICOM,ExposureTime,RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,"
    "Localizations,LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)
PADCHEST_COLUMNS = PADCHEST_HEADER.split(",")
PADCHEST_LABELS = (
    "['cardiomegaly', ' pleural effusion', '']",
    "['normal']",
    "['pericardial effusion', 'pseudonodule', 'breast mass', 'subcutaneous emphysema']",
    "['hydropneumothorax', 'COPD signs ']",
    "['unchanged', 'nodule']",
    "",
)


def padchest_row(number: int, **cells: str) -> dict[str, str]:
    """A row of the csv: two images a study, and of every study the first is PA, the second lateral."""
    study = number // 2
    row = {
        "": str(number),
        "ImageID": f"2168401113669640{number:05d}_00-{number:03d}.png",
        "ImageDir": str(number % 3),
        "StudyDate_DICOM": "20140101",
        "StudyID": f"study{study}",
        "PatientID": f"patient{study // 2}",
        "PatientBirth": "1950.0",
        "PatientSex_DICOM": "MFO"[study % 3],
        "ViewPosition_DICOM": "POSTEROANTERIOR",
        "Projection": "L" if number % 2 else "PA",
        "PhotometricInterpretation_DICOM": "MONOCHROME2",
        "Report": "sin hallazg patolog . cardiomegali .",
        "MethodLabel": "RNN_model" if number % 4 == 3 else "Physician",
        "Labels": PADCHEST_LABELS[number % len(PADCHEST_LABELS)],
    }
    return {**row, **cells}


def write_padchest(raw: Path, rows: list[dict[str, str]], layout: str = "images/{dir}/{image}") -> list[Path]:
    """The csv and a 16-bit PNG for every row. Returns the paths of the images."""
    write_table(raw / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", PADCHEST_COLUMNS, rows)
    paths = [raw / layout.format(dir=row["ImageDir"], image=row["ImageID"]) for row in rows]
    for number, path in enumerate(paths):
        write_png(path, number, depth=16)
    return paths


def open_i_xml(number: int, images: list[str], terms: list[str], findings: str = "", impression: str = "") -> str:
    """A report of Open-I with its elements, in their order."""
    sections = {"COMPARISON": "None.", "INDICATION": "XXXX cough", "FINDINGS": findings, "IMPRESSION": impression}
    texts = "".join(f'\n<AbstractText Label="{name}">{text}</AbstractText>' for name, text in sections.items())
    majors = "".join(f"\n<major>{term}</major>" for term in terms)
    nodes = "".join(
        f'\n<parentImage id="{image}"><figureId>F1</figureId><caption>Xray Chest PA and Lateral</caption>'
        f'<panel type="single"><url>/hadoop/{image}.jpg</url></panel></parentImage>'
        for image in images
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><meta type="rr"/><uId id="CXR{number}"/>'
        f"<MedlineCitation><Article><Abstract>{texts}</Abstract></Article></MedlineCitation>"
        f"<MeSH>{majors}\n<automatic>pneumonia</automatic></MeSH>{nodes}</eCitation>\n"
    )


OPEN_I_TERMS = (
    ["normal"],
    ["Cardiomegaly/borderline", "Pulmonary Atelectasis/base/left"],
    ["Pericardial Effusion", "Cystic Fibrosis", "Subcutaneous Emphysema", "Mass/breast"],
    ["Opacity/lung/upper lobe/right", "Thickening/pleura/apex", "Hydropneumothorax"],
    ["No Indexing"],
    ["Technical Quality of Image Unsatisfactory ", "Nodule/lung"],
)


def write_open_i(raw: Path, numbers: list[int], write_dicom=None) -> list[Path]:
    """Reports with two images each, as PNG, or as DICOM where `write_dicom` writes one. Returns the images' paths."""
    paths = []
    (raw / "ecgen-radiology").mkdir(parents=True)
    for number in numbers:
        images = [f"IM-{number:04d}-{view}001" for view in (1, 2)]
        # A few of the archive's ids have the number twice.
        ids = [f"CXR{number}_{f'{number}_' if number == numbers[-1] else ''}{image}" for image in images]
        text = open_i_xml(number, ids, OPEN_I_TERMS[number % 6], "" if number % 5 == 0 else "Clear.", f"Text {number}.")
        (raw / "ecgen-radiology" / f"{number}.xml").write_text(text)
        for place, (image, name) in enumerate(zip(images, ids, strict=True)):
            if write_dicom is None:
                paths.append(raw / "NLMCXR_png" / f"{name}.png")
                write_png(paths[-1], 10 * number + place)
                continue
            paths.append(raw / "NLMCXR_dcm" / str(number) / f"{number}_{image}.dcm")
            pixels = np.random.default_rng(number).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)
            write_dicom(paths[-1], pixels, {"Modality": "CR"})
    return paths


PLUS_HEADER = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,"
    "section_narrative,section_clinical_history,section_history,section_comparison,section_technique,"
    "section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,"
    "section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,recent_bmi,deceased,"
    "split"
)
PLUS_COLUMNS = PLUS_HEADER.split(",")


def plus_row(image: str, **cells: str) -> dict[str, str]:
    """A row of the csv for train/patient00001/study1/view1_frontal."""
    split, patient, _, view = image.split("/")
    row = {
        "path_to_image": f"{image}.jpg",
        "path_to_dcm": f"{image}.dcm",
        "frontal_lateral": "Lateral" if "lateral" in view else "Frontal",
        "ap_pa": "" if "lateral" in view else "AP",
        "deid_patient_id": patient,
        "report": "NARRATIVE:\nRadiographic examination of the chest.",
        "section_impression": f"1. No change, {patient}.",
        "age": "64.0",
        "sex": "Male",
        "split": split,
    }
    return {**row, **cells}


def write_plus(raw: Path, rows: list[dict[str, str]], labels: dict[str, dict], root: str = "PNG") -> list[Path]:
    """The csv, the labels of the impressions as JSON lines, and a PNG for each row. Returns the images' paths."""
    from datasets_io.sources.chexpert import COLUMNS

    write_table(raw / "df_chexpert_plus_240401.csv", PLUS_COLUMNS, rows)
    lines = [
        json.dumps({"path_to_image": row["path_to_image"], **dict.fromkeys(COLUMNS), **labels.get(image, {})})
        for row in rows
        for image in [row["path_to_image"].removesuffix(".jpg")]
    ]
    (raw / "chexbert_labels").mkdir(exist_ok=True)
    (raw / "chexbert_labels" / "impression_fixed.json").write_text("\n".join(lines) + "\n")
    paths = [raw / root / row["path_to_image"].replace(".jpg", ".png") for row in rows]
    for number, path in enumerate(paths):
        write_png(path, number)
    return paths
