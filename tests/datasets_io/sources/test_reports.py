"""Sections of a report."""

import csv
import hashlib
import re
import tarfile
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from datasets_io.sources.reading.reports import one_line, section_kind, sections_of

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
        HEAD + " IMPRESSION:\n \n Pneumothorax.\n \n NOTIFICATION:  Dr. ___ at 3 pm.\n",
        None,
        "Pneumothorax.",
    ),
    "recommendation ends it": (HEAD + " IMPRESSION:\n \n Nodule.\n \n RECOMMENDATION(S):  CT.\n", None, "Nodule."),
    "de-identified words stay": (HEAD + " IMPRESSION:\n \n As on ___, no change.\n", None, "As on ___, no change."),
    "addendum after": (HEAD + " IMPRESSION:\n \n Normal.\n \n ADDENDUM:  Reviewed by ___.\n", None, "Normal."),
    "addendum before": (" ADDENDUM\n \n Wet read.\n" + HEAD + " IMPRESSION:\n \n Normal.\n", None, "Normal."),
    "words in lower case are no heading": (
        HEAD + " IMPRESSION:\n \n Seen again: nodule.\n note: stable.\n",
        None,
        "Seen again: nodule. note: stable.",
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


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("IMPRESSION", "impression"),
        ("IMPESSION", "impression"),
        ("WET READ IMPRESSION", "impression"),
        ("FINDINDGS", "findings"),
        ("PORTABLE AP", "findings"),
        ("RIBS", "findings"),
        ("CLINICAL HISTORY", "clinical history"),
        ("REASON FOR EXAM", "reason for exam"),
        ("COMPARISON STUDY", "comparison"),
        ("SIGNED BY", "signed by"),
    ],
)
def test_headings_get_the_section_of_their_synonym(heading, kind):
    assert section_kind(heading) == kind


def as_mimic(sections: dict[str, str]) -> str:
    """Sections as MIMIC-CXR writes them: an indented heading, an empty line, wrapped text."""
    wrapped = {name: re.sub(r"(.{40,70}) ", r"\1\n ", text) for name, text in sections.items()}
    return "      FINAL REPORT\n" + "".join(f" {name}:\n \n {text}\n \n" for name, text in wrapped.items())


@pytest.fixture(scope="module")
def indiana(shared_data) -> dict[str, dict[str, str]]:
    """Number of a real report -> its sections, of Indiana University's 2,801."""
    reports = {}
    with tarfile.open(shared_data / "real_cxr" / "iu_reports_verbatim.tgz") as archive:
        for member in archive:
            if member.name.endswith(".xml"):
                tree = ElementTree.parse(archive.extractfile(member))
                sections = {node.get("Label"): one_line(node.text) or "" for node in tree.iter("AbstractText")}
                reports[Path(member.name).stem] = sections
    assert len(reports) == 2801
    return reports


def test_real_reports_come_back_whole(indiana):
    """In MIMIC's form, every section that radiologists wrote is found again."""
    for number, sections in indiana.items():
        expected = one_line(sections.get("FINDINGS")), one_line(sections.get("IMPRESSION"))
        assert sections_of(as_mimic(sections)) == expected, number


def in_form(form: str, sections: dict[str, str]) -> str:
    """A real report as MIMIC-CXR might hold it, in one of the odd forms that its parser has rules for.

    "capitals_at_line_start" is the plain form: the wrapped text has capitals and a colon there, so a heading.
    """
    names = {
        "conclusion": "CONCLUSION",
        "misspelt": "IMPRESSOIN",
        "ndication": "NDICATION",
        "findings_and_impression": "FINDINGS/IMPRESSION",
        "blanks_in_heading": "IMPRESSION ",
        "findings_and_or_impression": "FINDINGS AND/OR IMPRESSION",
        "lower_case": "Impression",
    }
    after = {
        "recommendation": "RECOMMENDATION(S)",
        "notification": "NOTIFICATION",
        "addendum": "ADDENDUM",
        "empty_after": "IMPRESSION",
    }
    before = {"draft_before": " IMPRESSION:  Preliminary.\n \n", "wet_read": " WET READ: ___ 4:12 PM\n  Normal.\n \n"}
    gap = "  " if form == "inline" else "\n \n "

    def section(heading: str, text: str, gap: str = gap) -> str:
        return f" {heading}:{gap}{textwrap.fill(text, 75, break_on_hyphens=False).replace(chr(10), chr(10) + ' ')}\n \n"

    if form == "no_headings":
        return "\n".join(sections.values()) + "\n"
    text = 33 * " " + "FINAL REPORT\n" + before.get(form, "") + section("INDICATION", sections["INDICATION"])
    if "findings_and" not in form:
        text += section("CHEST, PA AND LATERAL" if form == "view_heading" else "FINDINGS", sections["FINDINGS"])
    text += section(names.get(form, "IMPRESSION"), sections["IMPRESSION"], "" if form == "no_space" else gap)
    if form in after:
        text += f" {after[form]}:  " + ("" if form == "empty_after" else "Discussed with Dr. ___ by phone.") + "\n"
    return text.replace("\n", "\r\n") if form == "crlf" else text


def hand_checked() -> list[dict[str, str]]:
    """Made by reading each report: number of words, the first and the last ones, SHA-256 of the impression.

    The reports may not be passed on (CC BY-NC-ND), so that is all of them that stands here.
    """
    with open(Path(__file__).with_name("iu_reports_expected.csv")) as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("row", hand_checked(), ids=lambda row: f"{row['report']}-{row['form']}")
def test_the_parser_agrees_with_a_table_made_by_hand(row, indiana):
    sections = sections_of(in_form(row["form"], indiana[row["report"]]))
    for name, text in zip(("findings", "impression"), sections, strict=True):
        words = (text or "").split()
        assert len(words) == int(row[f"{name}_words"]), text
        assert (text or "").startswith(row[f"{name}_first"]) and (text or "").endswith(row[f"{name}_last"])
    digest = hashlib.sha256((sections[1] or "").encode()).hexdigest()[:16] if sections[1] else ""
    assert digest == row["impression_sha256"]


def test_the_table_covers_the_odd_forms():
    forms = [row["form"] for row in hand_checked()]
    assert len(forms) >= 40 and len(set(forms)) >= 18
    assert sum(row["impression_words"] == "0" for row in hand_checked()) >= 5
