"""Which part of a report of one's own is its IMPRESSION, and which its FINDINGS, in whatever form headings stand?

The rules of MIMIC-CXR (datasets_io.sources.reading.reports) come first: where they find an impression, both sections
are as they say, and what was computed of them stays right; but a CLINICAL IMPRESSION, which is why the patient was
sent, and what stands behind END OF IMPRESSION are neither. Where they find none, a heading may stand

- at the start of the text or of a line, in capitals or not, with a colon or a dash: `Impression: No acute disease.`
- alone on its line, without a colon: `IMPRESSION`
- behind the end of a sentence, with a colon and a capital at its start: `Lungs are clear. IMPRESSION: Normal.`

Line breaks may be those of any system, of HTML (<br>, <p>), or written out as backslash and n.
"""

import html
import re
from collections.abc import Iterator

from datasets_io.sources.reading.reports import FINDINGS, IMPRESSION, one_line, section_kind, sections_of

_MAIN = {
    **dict.fromkeys(("impression", "impressions", "impression(s)", "conclusion", "conclusions", "opinion"), IMPRESSION),
    **dict.fromkeys(("impression and recommendation", "impression and recommendations"), IMPRESSION),
    **dict.fromkeys(("impression/recommendation", "impression/recommendations"), IMPRESSION),
    **dict.fromkeys(("findings and impression", "findings/impression", "findings / impression"), IMPRESSION),
    **dict.fromkeys(("finding", "findings", "finding(s)"), FINDINGS),
}
# Sections that end one of these, in capitals or not. Other names end one where they are in capitals at a line's start.
_OTHER = (
    "addendum",
    "attending",
    "attending physician",
    "attending radiologist",
    "clinical details",
    "clinical history",
    "clinical impression",
    "clinical indication",
    "clinical information",
    "comparison",
    "comparisons",
    "comparison study",
    "dictated by",
    "electronically signed by",
    "end of impression",
    "exam",
    "examination",
    "history",
    "indication",
    "indications",
    "notification",
    "procedure",
    "procedure comments",
    "radiologist",
    "reason for exam",
    "reason for examination",
    "recommendation",
    "recommendations",
    "recommendation(s)",
    "reported by",
    "resident",
    "signed by",
    "summary",
    "technique",
    "wet read",
)
# Names in capitals that stand inside of FINDINGS: structured reports go through the organs.
_PART = re.compile(
    r"\b(?:lungs?|airways?|pleurae?|pleural|heart|cardiac|cardiomediastinal|mediastinum|hila|hilum|bones?|osseous|"
    r"skeletal|soft tissues?|chest wall|diaphragm|abdomen|lines|tubes|devices|vessels|vascular|aorta|spine|thorax)\b"
)
_NAMES = sorted((*_MAIN, *_OTHER), key=len, reverse=True)  # the longest first: "findings and impression"


def _written(name: str) -> str:
    """A pattern of a name with any blanks in it. Never two runs of blanks in a row, which take time squared to fail."""
    return re.sub(r"(?:\\ )+", " +", re.sub(r"(?:\\ )*/(?:\\ )*", " */ *", re.escape(name)))


_NAME = "|".join(map(_written, _NAMES))
_MAIN_NAME = "|".join(map(_written, sorted(_MAIN, key=len, reverse=True)))
# What may stand before a name at the start of a line: blanks, bullets, the marks of markdown.
_BEFORE = r"[ \t>*_#•-]*"
_AT_LINE_START = re.compile(
    rf"{_BEFORE}(?P<name>(?i:{_NAME}))[ \t*_]*(?:[:：]|[ \t][-–—][ \t])[*_]*"
    rf"|{_BEFORE}(?P<alone>(?i:{_MAIN_NAME}))[ \t*_.]*(?=\n|$)"
    rf"|{_BEFORE}(?P<capitals>[A-Z][A-Z ()/,&-]{{1,59}}):"
)
_BEHIND_A_SENTENCE = re.compile(rf"[.;!?)\]][ \t]+(?P<name>(?=[A-Z])(?i:{_NAME})) *[:：]")
_BREAKS = re.compile(r"(?i)<\s*(?:br|/p|p|/div|div|/li|li|/tr|/h[1-6])\b[^<>]{0,99}>|_x000D_\n?")
_TAGS = re.compile(r"(?i)</?(?:b|strong|i|em|u|span|font|ul|ol|table|tbody|td|tr|html|body|h[1-6])\b[^<>]{0,99}>")


def sections_in_any_form(report: str) -> tuple[str | None, str | None]:
    """(findings, impression) of a report, each on one line; None for a section that is absent or empty."""
    findings, impression = sections_in_capitals(report)
    if impression or not report.strip():
        return findings, impression
    found: dict[str, str] = {}
    for kind, text in _sections(plain_lines(report)):
        if kind in (FINDINGS, IMPRESSION) and (line := one_line(text)):
            found[kind] = line  # the last one wins, as in MIMIC-CXR
    return findings or found.get(FINDINGS), found.get(IMPRESSION)


def sections_in_capitals(report: str) -> tuple[str | None, str | None]:
    """As sections_of, by whose rules each name with `impression` in it is one: here a clinical impression is none."""
    return sections_of(report, _OTHER)


def plain_lines(report: str) -> str:
    """The text with every line break as one newline, and without the tags of HTML."""
    text = report
    if "\n" not in text and "\r" not in text:  # written out, as JSON and SQL export them
        text = text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\r", "\n")
    if _BREAKS.search(text) or _TAGS.search(text):
        text = html.unescape(_TAGS.sub("", _BREAKS.sub("\n", text)))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\xa0", " ")
    return text.lstrip("\ufeff")


def _sections(text: str) -> Iterator[tuple[str, str]]:
    headings = _headings(text)
    for place, (_, start, kind) in enumerate(headings):
        end = headings[place + 1][0] if place + 1 < len(headings) else len(text)
        yield kind, text[start:end]


def _headings(text: str) -> list[tuple[int, int, str]]:
    """(where the text before it ends, where its own begins, kind of section) of every heading, in order."""
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    lines = (_AT_LINE_START.match(text, start) for start in starts)
    found = [(h.start(), h.end(), _kind(h)) for h in lines if h and not _is_part(h["capitals"])]
    # The end of the sentence before belongs to the section before.
    found += [(h.start() + 1, h.end(), _kind_of(h["name"])) for h in _BEHIND_A_SENTENCE.finditer(text)]
    return sorted(found)


def _is_part(name: str | None) -> bool:
    return name is not None and _PART.search(name.lower()) is not None and section_kind(name) != IMPRESSION


def _kind(heading: re.Match[str]) -> str:
    return section_kind(heading["capitals"]) if heading["capitals"] else _kind_of(heading["name"] or heading["alone"])


def _kind_of(name: str) -> str:
    name = re.sub(r"\s*/\s*", "/", one_line(name) or "").lower()
    return _MAIN.get(name, name)
