"""How is the made-up corpus written in the layout of MIMIC-CXR: DICOM files, reports and five csv.gz?"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

from datasets_io.sources.mimic_cxr import COLUMNS
from datasets_io.sources.reading.archive import snake_case
from datasets_io.synthetic.plan import Counter, SyntheticSpec, csv_text, draw_ids, draw_studies, picture, stream
from datasets_io.synthetic.wording import write_report

SECOND_IMAGE_SHARE = 0.1  # of studies, which then share one report
MONOCHROME1_SHARE, RLE_SHARE = 0.4, 0.05
VIEWS = {"AP": "antero-posterior", "PA": "postero-anterior"}
CLASSES = {  # modality -> SOP class
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
}


@dataclass(frozen=True)
class Identity:
    """The ids of one image, and what its csv rows say of it."""

    subject: int
    study: int
    dicom: str
    split: str
    view: str
    date: str
    time: str

    @property
    def study_path(self) -> str:
        """The study's folder, relative to the archive: MIMIC groups subjects by their first two digits."""
        subject = str(self.subject)
        return f"files/p{subject[:2]}/p{subject}/s{self.study}"


def write_mimic(spec: SyntheticSpec, folder: Path, counter: Counter) -> None:
    """Train and validate patients in one tree, csv rows by subject, study and image id."""
    identities: list[Identity] = []
    labels: dict[tuple[int, int], list[str]] = {}
    drawn = {
        split: draw_studies("mimic_cxr", images, stream(spec, "mimic_cxr", split), SECOND_IMAGE_SHARE)
        for split, images in (("train", spec.corpus_train), ("validate", spec.corpus_val))
    }
    patients = {split: studies[-1].patient + 1 for split, studies in drawn.items()}
    # All ids are drawn before any split is written: a patient's number is unique over both.
    rng = stream(spec, "mimic_cxr", "ids")
    subjects = draw_ids(10_000_000, 20_000_000, sum(patients.values()), rng)
    study_ids = iter(draw_ids(50_000_000, 60_000_000, sum(map(len, drawn.values())), rng))
    for split, first in (("train", 0), ("validate", patients["train"])):
        rng = stream(spec, "mimic_cxr", split, "images")
        for study in drawn[split]:
            view = str(rng.choice(tuple(VIEWS), p=(0.6, 0.4)))
            date, time = f"21{rng.integers(10, 99)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}", _clock(rng)
            # The outer loop of one study id: it is taken once, and all images of the study share it.
            ids = [
                Identity(subjects[first + study.patient], study_id, _dicom_id(rng), split, view, date, time)
                for study_id in [next(study_ids)]
                for _ in range(study.images)
            ]
            report = write_report(study.signs, view, rng)
            place = folder / ids[0].study_path
            place.mkdir(parents=True)
            place.with_suffix(".txt").write_text(report.text)
            codes = (report.mentions.get(snake_case(column)) for column in COLUMNS)
            labels[ids[0].subject, ids[0].study] = ["" if code is None else f"{code:.1f}" for code in codes]
            for identity in ids:
                _write_dicom(place / f"{identity.dicom}.dcm", picture(spec, "mimic_cxr", study, rng), identity, rng)
                counter.add(f"writing {folder.name}")
            identities.extend(ids)
    _write_tables(spec, folder, identities, labels)


def _dicom_id(rng: np.random.Generator) -> str:
    return "-".join(f"{part:08x}" for part in rng.integers(0, 2**32, 5))


def _clock(rng: np.random.Generator) -> str:
    return f"{rng.integers(24):02d}{rng.integers(60):02d}{rng.integers(60):02d}.{rng.integers(1000):03d}"


def _write_dicom(path: Path, image: np.ndarray, identity: Identity, rng: np.random.Generator) -> None:
    """12 bits inverted (MONOCHROME1) or 8 bits (MONOCHROME2), a few run-length encoded."""
    inverted, encoded = rng.random() < MONOCHROME1_SHARE, rng.random() < RLE_SHARE
    bits = 12 if inverted else 8
    top = 2**bits - 1
    values = np.round(image * np.float32(top)).astype(np.uint16 if inverted else np.uint8)
    dataset = _header(identity, str(rng.choice(tuple(CLASSES), p=(0.8, 0.2))))
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated = 16 if inverted else 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = (top - values if inverted else values).tobytes()
    dataset["PixelData"].VR = "OW"  # else pydicom would have to guess between OB and OW
    if encoded:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _header(identity: Identity, modality: str) -> Dataset:
    """Everything but the pixels. Unique ids come from the image's id, so that they are the same every time."""
    study = generate_uid(entropy_srcs=[str(identity.study)])
    instance = generate_uid(entropy_srcs=[identity.dicom])
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(CLASSES[modality])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = identity.date, identity.time, modality
    dataset.Manufacturer = "made up, not a patient"
    dataset.PatientName, dataset.PatientID = "", str(identity.subject)
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", identity.view
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid(entropy_srcs=[instance])
    dataset.StudyID = str(identity.study)
    return dataset


def _write_tables(
    spec: SyntheticSpec, folder: Path, images: list[Identity], labels: dict[tuple[int, int], list[str]]
) -> None:
    by_study = sorted(images, key=lambda i: (i.subject, i.study, i.dicom))
    by_dicom = sorted(images, key=lambda i: i.dicom)
    studies = {(i.subject, i.study): f"{i.study_path}.txt" for i in by_study}
    size = spec.image_size
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        "cxr-record-list": (
            ("subject_id", "study_id", "dicom_id", "path"),
            [(i.subject, i.study, i.dicom, f"{i.study_path}/{i.dicom}.dcm") for i in by_study],
        ),
        "cxr-study-list": (("subject_id", "study_id", "path"), [(*ids, path) for ids, path in studies.items()]),
        "mimic-cxr-2.0.0-split": (
            ("dicom_id", "study_id", "subject_id", "split"),
            [(i.dicom, i.study, i.subject, i.split) for i in by_dicom],
        ),
        "mimic-cxr-2.0.0-metadata": (
            (
                "dicom_id",
                "subject_id",
                "study_id",
                "PerformedProcedureStepDescription",
                "ViewPosition",
                "Rows",
                "Columns",
                "StudyDate",
                "StudyTime",
                "ProcedureCodeSequence_CodeMeaning",
                "ViewCodeSequence_CodeMeaning",
                "PatientOrientationCodeSequence_CodeMeaning",
            ),
            [
                (
                    i.dicom,
                    i.subject,
                    i.study,
                    f"CHEST ({i.view})",
                    i.view,
                    size,
                    size,
                    i.date,
                    i.time,
                    f"CHEST ({i.view})",
                    VIEWS[i.view],
                    "Erect",
                )
                for i in by_dicom
            ],
        ),
        "mimic-cxr-2.0.0-chexpert": (("subject_id", "study_id", *COLUMNS), [(*ids, *labels[ids]) for ids in studies]),
    }
    for name, (header, rows) in tables.items():
        # A gzip header holds the time of writing, which would make every run's bytes different.
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(csv_text(header, rows).encode(), mtime=0))
