"""Sections of a report."""

import re
import tarfile
import xml.etree.ElementTree as ElementTree

import pytest

from datasets_io.reports import one_line, section_kind, sections_of

HEAD = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"

CASES = {
    "plain": (HEAD + " FINDINGS:\n \n Clear.\n \n IMPRESSION:\n \n No\n change.\n", "Clear.", "No change."),
    "inline": (HEAD + " IMPRESSION:  No change.\n", None, "No change."),
    "windows line ends": ((HEAD + " IMPRESSION:\n \n Normal.\n").replace("\n", "\r\n"), None, "Normal."),
    "conclusion": (HEAD + " CONCLUSION:\n \n Normal.\n", None, "Normal."),
    "misspelt": (HEAD + " IMPRESSOIN:\n \n Normal.\n", None, "Normal."),
    "ndication": (HEAD + " NDICATION:\n \n Normal.\n", None, "Normal."),
    "findings and impression": (HEAD + " FINDINGS AND IMPRESSION:\n \n Normal.\n", None, "Normal."),
    "findings and/or impression": (HEAD + " FINDINGS AND/OR IMPRESSION:\n \n Normal.\n", None, "Normal."),
    "last wins": (HEAD + " IMPRESSION:\n \n First.\n \n IMPRESSION:\n \n Second.\n", None, "Second."),
    "empty last is dropped": (HEAD + " IMPRESSION:\n \n First.\n \n IMPRESSION:\n \n \n", None, "First."),
    "empty": (HEAD + " FINDINGS:\n \n Clear.\n \n IMPRESSION:\n \n", "Clear.", None),
    "no impression": (HEAD + " FINDINGS:\n \n Clear.\n", "Clear.", None),
    "no heading": ("Lungs are clear.\n \n No acute process.\n", None, None),
    "nothing": ("", None, None),
    "notification ends it": (
        HEAD + " IMPRESSION:\n \n Pneumothorax.\n \n NOTIFICATION:  Dr. ___ at 3 pm.\n", None, "Pneumothorax.",
    ),
    "recommendation ends it": (
        HEAD + " IMPRESSION:\n \n Nodule.\n \n RECOMMENDATION(S):  CT.\n", None, "Nodule.",
    ),
    "de-identified words stay": (HEAD + " IMPRESSION:\n \n As on ___, no change.\n", None, "As on ___, no change."),
    "addendum after": (
        HEAD + " IMPRESSION:\n \n Normal.\n \n ADDENDUM:  Reviewed by ___.\n", None, "Normal.",
    ),
    "addendum before": (
        " ADDENDUM\n \n Wet read.\n" + HEAD + " IMPRESSION:\n \n Normal.\n", None, "Normal.",
    ),
    "words in lower case are no heading": (
        HEAD + " IMPRESSION:\n \n Seen again: nodule.\n note: stable.\n", None, "Seen again: nodule. note: stable.",
    ),
    "a heading not indented is none": (HEAD + "IMPRESSION:\n \n Normal.\n", None, None),
    "view heading is findings": (HEAD + " CHEST, TWO VIEWS:\n \n Clear.\n", "Clear.", None),
    "view heading, empty, before findings": (" CHEST, PA LATERAL:\n \n INDICATION:  Cough.\n", None, None),
    "comparison": (HEAD + " COMPARISON:  Chest of ___.\n \n IMPRESSION:  Same.\n", None, "Same."),
    "a heading below a heading is text": (HEAD + " IMPRESSION:\n COMPARISON: none\n", None, "COMPARISON: none"),
    "heading at the end of the file": (HEAD + " IMPRESSION:", None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_reports_are_read_by_the_official_rules(name):
    report, findings, impression = CASES[name]
    assert sections_of(report) == (findings, impression)


@pytest.mark.parametrize(("heading", "kind"), [
    ("IMPRESSION", "impression"), ("IMPESSION", "impression"), ("WET READ IMPRESSION", "impression"),
    ("FINDINDGS", "findings"), ("PORTABLE AP", "findings"), ("RIBS", "findings"),
    ("CLINICAL HISTORY", "clinical history"),
    ("REASON FOR EXAM", "reason for exam"), ("COMPARISON STUDY", "comparison"), ("SIGNED BY", "signed by"),
])
def test_headings_get_the_section_of_their_synonym(heading, kind):
    assert section_kind(heading) == kind


def as_mimic(sections: dict[str, str]) -> str:
    """Sections as MIMIC-CXR writes them: an indented heading, an empty line, wrapped text."""
    wrapped = {name: re.sub(r"(.{40,70}) ", r"\1\n ", text) for name, text in sections.items()}
    return "      FINAL REPORT\n" + "".join(f" {name}:\n \n {text}\n \n" for name, text in wrapped.items())


def test_real_reports_come_back_whole(shared_data):
    """2,801 reports of Indiana University in MIMIC's form: every section that radiologists wrote is found again."""
    checked = 0
    with tarfile.open(shared_data / "real_cxr" / "iu_reports_verbatim.tgz") as archive:
        for member in archive:
            if not member.name.endswith(".xml"):
                continue
            tree = ElementTree.parse(archive.extractfile(member))
            sections = {node.get("Label"): one_line(node.text) or "" for node in tree.iter("AbstractText")}
            report = as_mimic(sections)
            expected = one_line(sections.get("FINDINGS")), one_line(sections.get("IMPRESSION"))
            assert sections_of(report) == expected, member.name
            checked += 1
    assert checked == 2801
