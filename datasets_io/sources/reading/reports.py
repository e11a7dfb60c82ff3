"""Which part of a report is its IMPRESSION, and which its FINDINGS?

The rules are those of the official section parser (MIT-LCP/mimic-cxr, txt/section_parser.py, Johnson et al.):
a heading is capitals and a colon at the start of an indented line; the synonyms and misspellings below; a
section that is empty does not count; the last one of a name wins. Differences: Windows line ends are accepted,
and there is no fallback: a report without an impression has none.
"""

import re
from collections.abc import Collection

IMPRESSION, FINDINGS = "impression", "findings"

# The text after a heading is searched for the next heading from its second line on.
_HEADING = re.compile(r"\n ([A-Z ()/,-]+):\s")

# Exact names first; counts in the archive: conclusion 1,802, findings and impression 87, the misspellings 1 to 8.
_IMPRESSION_NAMES = frozenset(
    (
        "impression",
        "conclusion",
        "findings and impression",
        "findings/impression",
        "findings/ impression",
        "ndication",
        "impresson",
        "imprression",
        "imoression",
        "impressoin",
        "imprssion",
        "impresion",
        "imperssion",
        "mpression",
        "impession",
    )
)
_FINDINGS_NAMES = frozenset(
    (
        "findings",
        "finding",
        "chest, two views",
        "reference findings",
        "findins",
        "findindgs",
        "findgings",
        "findngs",
        "findnings",
        "finidngs",
    )
)
# Names that are exactly these are other sections, although some hold a word of the lists below.
_OTHER_NAMES = frozenset(
    (
        "preamble",
        "comparison",
        "indication",
        "examination",
        "technique",
        "history",
        "comparisons",
        "clinical history",
        "reason for examination",
        "notification",
        "reason for exam",
        "clinical information",
        "exam",
        "clinical indication",
        "recommendation(s)",
        "type of examination",
        "reference exam",
        "patient history",
        "addendum",
        "comparison exam",
        "date",
        "comment",
        "wet read",
        "comparison film",
        "recommendations",
        "pfi",
        "recommendation",
        "wetread",
        "idication",
        "comparision",
        "comparsion",
        "comparrison",
        "comparisions",
    )
)
# A name that holds one of these words is that section, in this order of preference.
_MAIN_WORDS = (IMPRESSION, FINDINGS, "history", "comparison", "addendum")
# A heading that describes the picture stands for findings.
_VIEW_WORDS = (
    "chest",
    "portable",
    "pa and lateral",
    "lateral and pa",
    "ap and lateral",
    "lateral and ap",
    "frontal and",
    "two views",
    "frontal view",
    "pa view",
    "ap view",
    "one view",
    "lateral view",
    "bone window",
    "frontal upright",
    "frontal semi-upright",
    "ribs",
    "pa and lat",
)

# Studies whose layout the official parser handles by hand; its sectioned csv has no row, so no impression, for them.
_BY_HAND = """
50913680 59363654 59279892 59768032 57936451 50058765 53356173 53202765 50808053 51966317 50743547 56451190
59067458 59215320 55124749 54365831 59087630 58157373 56482935 58375018 54654948 55157853 51491012 50525523
57564132 59982525 53488209 54875119 50196495 56579911 52648681 59889364 53514462 59505494 53182247 51410602
56412866 54986978 59003148 57150433 56760320 59562049 52674888 55258338 59330497 52119491 58235663 50798377
54168089 53071062 56724958 54231141 53607029 52035334
"""
STUDIES_WITHOUT_SECTIONS = frozenset(_BY_HAND.split())


def one_line(text: str | None) -> str | None:
    """The text with every run of white space as one space; None where nothing is left."""
    return " ".join((text or "").split()) or None


def sections_of(report: str, others: Collection[str] = ()) -> tuple[str | None, str | None]:
    """(findings, impression) of a report, each on one line; None for a section that is absent or empty.

    others: names in small letters that are neither, though the rules may take them for one.
    """
    found: dict[str, str] = {}
    for name, text in split_sections(report):
        kind, line = section_kind(name), one_line(text)
        if kind in (FINDINGS, IMPRESSION) and line and one_line(name.lower()) not in others:
            found[kind] = line  # the last one wins
    return found.get(FINDINGS), found.get(IMPRESSION)


def split_sections(report: str) -> list[tuple[str, str]]:
    """(heading, text) of every section in order; the text before the first heading is left out."""
    text = report.replace("\r\n", "\n").replace("\r", "\n")
    sections = []
    heading = _HEADING.search(text)
    while heading:
        start = heading.end()
        following = _HEADING.search(text, max(text.find("\n", start), start))
        sections.append((heading[1], text[start : following.start() if following else len(text)]))
        heading = following
    return sections


def section_kind(heading: str) -> str:
    """'impression', 'findings' or another section's name, for a heading without its colon."""
    name = heading.lower().strip()
    if name in _IMPRESSION_NAMES:
        return IMPRESSION
    if name in _FINDINGS_NAMES:
        return FINDINGS
    if name in _OTHER_NAMES:
        return name
    # No exact name: "IMPRESSION AND RECOMMENDATION" is an impression, since that word comes first in the list.
    for word in _MAIN_WORDS:
        if word in name:
            return word
    return FINDINGS if any(words in name for words in _VIEW_WORDS) else name
