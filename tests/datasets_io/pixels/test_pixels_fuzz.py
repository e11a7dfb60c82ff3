"""Headers and bytes that nobody would write, drawn by hypothesis: each a picture or a reject."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datasets_io.pixels.grey import STAGES, PixelError, PixelSpec
from datasets_io.pixels.worker import DecodeWorker

SPEC = PixelSpec(16)
FILE_NAME = "canary-name.dcm"


@pytest.fixture(scope="module")
def mutant_worker():
    with DecodeWorker(SPEC) as worker:
        yield worker


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=40),
    cut=st.booleans(),
)
def test_mutants_of_a_dicom_are_pictures_or_rejects(tmp_path, write_dicom, mutant_worker, changes, cut):
    path = tmp_path / "seed.dcm"
    if not path.exists():
        write_dicom(path, np.arange(900, dtype=np.uint16).reshape(30, 30), {"ViewPosition": "AP", "RescaleSlope": "1"})
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    mutant = tmp_path / "mutant.dcm"
    mutant.write_bytes(bytes(data[: changes[0][0] % len(data)] if cut else data))
    try:
        assert mutant_worker.decode(mutant).pixels.shape == (16, 16)
    except PixelError as error:
        assert error.stage in STAGES


whole = st.one_of(st.integers(0, 65535), st.sampled_from([0, 1, 2, 3, 7, 8, 12, 16, 30, 32, 64, 65535]))
numbers = st.one_of(st.none(), whole)
decimals = st.one_of(
    st.none(), st.floats(-1e9, 1e9).map(lambda value: f"{value:.8g}"), st.sampled_from(["0", "-1", "1e30"])
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            (
                "Rows",
                "Columns",
                "BitsStored",
                "HighBit",
                "PixelRepresentation",
                "SamplesPerPixel",
                "PlanarConfiguration",
            ),
            numbers,
        ),
        **dict.fromkeys(("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"), decimals),
        "BitsAllocated": whole,  # without it pydicom does not write the pixels
        "NumberOfFrames": st.one_of(st.none(), st.integers(-2, 3)),
        "PhotometricInterpretation": st.sampled_from(
            [None, "", "MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "HSV", "X"]
        ),
        "Modality": st.sampled_from([None, "", "DX", "CT", "CANARY"]),
        "VOILUTFunction": st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID", "CANARY"]),
    },
)


@pytest.mark.parametrize("intensity", ["minmax", "voi", "jpg"])
@pytest.mark.filterwarnings("ignore")  # pydicom has an opinion on many of these headers
def test_any_header_over_any_pixels_is_a_picture_or_a_reject(tmp_path, write_dicom, intensity):
    with DecodeWorker(PixelSpec(16, intensity, ("CR", "DX"))) as worker:
        outcomes = set()

        @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(header=HEADERS, kind=st.sampled_from(["u1", "i1", "<u2", "<i2", "<u4", "<f4"]))
        @example(header={"RescaleSlope": "2.7850836e-163"}, kind="u1")
        def check(header, kind):
            picture = np.arange(30 * 30).reshape(30, 30).astype(kind)
            path = write_dicom(tmp_path / FILE_NAME, picture, header)
            try:
                decoded = worker.decode(path)
                assert decoded.pixels.shape == (16, 16) and decoded.pixels.dtype == np.uint8
                assert decoded.pixels.min() < decoded.pixels.max()
                outcomes.add("a picture")
            except PixelError as error:
                assert error.stage in STAGES and "crashed" not in error.reason and "longer" not in error.reason
                assert "canary" not in error.reason.lower(), "a reason must not quote the file"
                outcomes.add(error.reason)

        check()
    assert "a picture" in outcomes and len(outcomes) >= 4
