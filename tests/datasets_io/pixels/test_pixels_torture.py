"""146 real, odd and corrupt DICOM files: each accepted, refused for a policy, or rejected by what is wrong with it."""

import csv
import re
from pathlib import Path

import pytest

from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.pixels.worker import MEMORY_LIMIT, DecodeWorker

# Read without an error by the manifest's decoders, refused here for a stated policy.
POLICIES = ("more than one frame", "all pixels have the same value", "pixels are declared")
WRONG = {
    "derived/rsna_truncated_half.dcm": "the pixel data is cut short",
    "derived/rsna_header_only.dcm": "the pixel data is cut short",
    "derived/rsna_bitflips.dcm": r"the pixel data is damaged: it is no JPEG Baseline",
    "derived/mono1_last_row_missing.dcm": "the pixel data is shorter than rows x columns",
    "derived/mono1_trailing_garbage.dcm": "followed by bytes that are no DICOM",
    "derived/mono1_dim_bomb.dcm": "more than 36,000,000 pixels are declared",
    "derived/mono1_no_photometric.dcm": "the photometric interpretation is missing",
    "real/dtf__data_pydicom_MR_truncated.dcm": "the pixel data is shorter than rows x columns",
    "real/dtf__data_pydicom_OT-PAL-8-face.dcm": "the transfer syntax is missing",
    "real/dtf__data_pydicom_badVR.dcm": "NumberOfFrames is not a whole number",
    "real/dtf__data_pydicom_emri_small_jpeg_2k_lossless_too_short.dcm": "the pixel data is cut short",
    "real/dtf__data_pydicom_meta_missing_tsyntax.dcm": "the transfer syntax is missing",
    "real/dtf__data_pydicom_nested_priv_SQ.dcm": "rows or columns are missing",
    "real/dwv__tests_data_dwv-test_no-number-rows.dcm": "rows or columns are missing",
    "real/orthanc__Database_2026-05-26-oob-monochrome-46341.dcm": "pixels are declared",
    "real/orthanc__Database_2026-05-26-oob-monochrome-65535.dcm": "pixels are declared",
    "real/orthanc__Database_PrivateMDNTags.dcm": "the transfer syntax is missing",
    "real/orthanc__Database_TransferSyntaxes_1.2.840.10008.1.2.dcm": "the transfer syntax is missing",
    "real/pydicom__src_pydicom_data_test_files_JPEG2000-embedded-sequence-delimiter.dcm": "damaged: it is no JPEG 2000",
    "real/pydicomdata__data_store_data_liver_nonbyte_aligned_deflate.dcm": "more than one frame",
    "real/pydicomdata__data_store_data_liver_nonbyte_aligned_rle.dcm": "more than one frame",
    "real/pydicomdata__data_store_data_liver_rle.dcm": "more than one frame",
}
# The manifest's decoders read neither 12-bit lossy JPEG nor floating point pixels; here they are read.
READ_HERE = re.compile(r"real/(dtf__data_WG04_JPLY_\w+|pydicomdata__data_store_data_parametric_map_\w+)\.dcm")


def outcomes(root: Path, spec: PixelSpec) -> list[tuple[dict, str]]:
    """(manifest row, reason; empty where accepted) of every file, from the decoding process as in a build."""
    with open(root / "manifest.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = []
    with DecodeWorker(spec) as worker:
        for row in rows:
            try:
                worker.decode(root / row["file"])
                found.append((row, ""))
            except PixelError as error:
                found.append((row, error.reason))
        status = Path(f"/proc/{worker._child.pid}/status").read_text()
    assert int(re.search(r"VmPeak:\s+(\d+) kB", status)[1]) << 10 <= MEMORY_LIMIT == 2 << 30
    assert len(rows) == 146
    return found


@pytest.mark.parametrize("intensity", ["minmax", "voi", "jpg"])
def test_every_file_is_accepted_refused_by_policy_or_rejected_by_what_is_wrong(shared_data, intensity):
    for row, reason in outcomes(shared_data / "dicom_torture", PixelSpec(16, intensity)):
        name, decoded = row["file"], row["decode_codecs"] or row["decode_plain"]
        assert "crashed" not in reason and "longer" not in reason and "memory" not in reason, (name, reason)
        if intensity == "voi" and name.endswith("ww0.dcm"):
            assert "VOI window" in reason, reason
        elif decoded.startswith("OK"):
            assert not reason or any(policy in reason for policy in POLICIES), (name, reason)
        elif READ_HERE.fullmatch(name):
            assert not reason, (name, reason)
        elif decoded.startswith("NOPIX"):
            expected = WRONG.get(name, "there is no pixel data: not an image, or the file is cut short")
            assert expected in reason, (name, reason)
        elif decoded or row["kind"] != "derived":
            assert WRONG[name] in reason, (name, reason)
        else:  # derived, and the manifest says of no decoder what it made of it
            assert WRONG.get(name, "") in reason and bool(reason) == (name in WRONG), (name, reason)


def test_a_source_of_radiographs_refuses_other_modalities(shared_data):
    refused = set()
    for row, reason in outcomes(shared_data / "dicom_torture", PixelSpec(16, modalities=("CR", "DX"))):
        if "the modality" in reason:
            refused.add(row["file"])
            assert row["modality"] not in ("CR", "DX"), row["file"]
    assert "derived/mono1_ct_modality.dcm" in refused and len(refused) > 30
