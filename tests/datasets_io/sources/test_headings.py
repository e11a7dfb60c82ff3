"""Sections of reports of one's own, in the forms in which headings stand; those of MIMIC-CXR are left as they are."""

import time

import pytest

from datasets_io.sources.reading.headings import sections_in_any_form
from datasets_io.sources.reading.reports import sections_of

FORMS = {
    "at the start of the text, inline": "FINDINGS: Clear lungs.\nIMPRESSION: No acute disease.",
    "mixed case, on lines of their own": "Findings:\nClear lungs.\n\nImpression:\nNo acute disease.",
    "behind a sentence": "FINDINGS: Clear lungs. IMPRESSION: No acute disease.",
    "behind a sentence, mixed case": "History: Cough. Findings: Clear lungs. Impression: No acute disease.",
    "lower case": "findings: Clear lungs.\nimpression: No acute disease.",
    "without a colon": "FINDINGS\nClear lungs.\nIMPRESSION\nNo acute disease.",
    "without a colon, mixed case": "Findings\r\n\r\nClear lungs.\r\nImpression\r\nNo acute disease.",
    "blanks before the colon": "FINDINGS : Clear lungs.\nIMPRESSION : No acute disease.",
    "dashes": "FINDINGS - Clear lungs.\nIMPRESSION - No acute disease.",
    "old Mac": "FINDINGS: Clear lungs.\rIMPRESSION: No acute disease.",
    "written-out line breaks": "FINDINGS: Clear lungs.\\n\\nIMPRESSION:\\nNo acute disease.",
    "written-out Windows line breaks": "FINDINGS:\\r\\nClear lungs.\\r\\nIMPRESSION:\\r\\nNo acute disease.",
    "spreadsheet": "FINDINGS: Clear lungs._x000D_\nIMPRESSION: No acute disease.",
    "HTML": "<html><b>FINDINGS:</b> Clear&nbsp;lungs.<br/><b>IMPRESSION:</b><br>No acute disease.<p>Signed by: A B",
    "markdown": "**FINDINGS:** Clear lungs.\n\n**IMPRESSION:** No acute disease.\n",
    "other sections about": "EXAM: CHEST\nFINDINGS: Clear lungs.\nIMPRESSION: No acute disease.\nDictated by: Dr. ___",
    "capitals end it": "FINDINGS: Clear lungs.\nIMPRESSION: No acute disease.\nATTENDING STATEMENT: I agree.",
    "a later impression wins": "IMPRESSION: Old.\nADDENDUM:\nFINDINGS: Clear lungs.\nIMPRESSION: No acute disease.",
    "conclusion": "FINDINGS: Clear lungs.\nConclusion: No acute disease.",
}


@pytest.mark.parametrize("form", FORMS)
def test_headings_are_found_in_the_usual_forms(form):
    assert sections_in_any_form(FORMS[form]) == ("Clear lungs.", "No acute disease.")


@pytest.mark.parametrize(
    ("report", "findings", "impression"),
    [
        ("The overall impression is good. Findings are stable.", None, None),
        ("CLINICAL IMPRESSION: cough", None, None),
        ("Seen again. My impression: as before.", None, None),
        ("INDICATION: no impression: none. Findings: x", "x", None),
        ("FINDINGS:\nLUNGS: Clear.\nHEART: Normal.\nIMPRESSION: Fine.", "LUNGS: Clear. HEART: Normal.", "Fine."),
        ("FINDINGS/IMPRESSION: Fine.", None, "Fine."),
        ("IMPRESSION: a nodule of <5 mm, p < 0.05", None, "a nodule of <5 mm, p < 0.05"),
        ("IMPRESSION:\n1. One.\n2. Two.\nnote: stable", None, "1. One. 2. Two. note: stable"),
        ("IMPRESSION:", None, None),
        ("", None, None),
        (" \n", None, None),
    ],
)
def test_what_is_no_heading_stays_text(report, findings, impression):
    assert sections_in_any_form(report) == (findings, impression)


@pytest.mark.parametrize(
    "report",
    [
        "x\n FINDINGS: f.\n IMPRESSION: i.",
        " FINDINGS:\n \n Clear. IMPRESSION: none.\n \n IMPRESSION:\n \n Finding: 1.\n COMMENT: no.\n",
        "FINAL REPORT\n FINDINGS:\n a\n Impression: b\n IMPRESSION:\n c\n",
    ],
)
def test_what_the_rules_of_mimic_cxr_find_stands(report):
    assert sections_in_any_form(report) == sections_of(report) and sections_of(report)[1]


@pytest.mark.parametrize(
    ("report", "impression"),
    [
        ("x\n IMPRESSION: Normal chest.\n CLINICAL IMPRESSION: ?pneumonia\n", "Normal chest."),
        ("x\n IMPRESSION: Normal chest.\n END OF IMPRESSION: Dr. ___\n", "Normal chest."),
        ("x\n CLINICAL  IMPRESSION: ?pneumonia\n", None),
        ("x\n CLINICAL IMPRESSION: ?pneumonia\n Impression: Normal chest.\n", "Normal chest."),
    ],
)
def test_a_clinical_impression_in_the_form_of_mimic_cxr_is_none(report, impression):
    assert sections_in_any_form(report)[1] == impression
    assert sections_of(report)[1] not in (None, impression), "the archive's own parser takes it for one"


@pytest.mark.parametrize(
    "text",
    [". " * 60_000, "." + " " * 120_000, "\n" * 120_000, "A " * 60_000, "<b " * 40_000, "FINDINGS" + " " * 240_000],
)
def test_no_text_takes_long(text):
    start = time.process_time()
    sections_in_any_form(text)
    assert time.process_time() - start < 2
