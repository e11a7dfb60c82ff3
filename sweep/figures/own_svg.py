"""Is an SVG file made of nothing but what our figures are made of, so that a browser that opens it runs nothing?

What is dangerous in SVG has no end (scripts under any prefix, events, animations of a link, entities, stylesheets), so
all is named that matplotlib writes for a figure here, with the form of each value; a figure that has more is drawn
anew. tests/sweep/figures draws every kind and holds the list to it.
"""

import re

ELEMENTS = {
    *("svg", "title", "metadata", "rdf:RDF", "cc:Work", "dc:type", "dc:format", "defs", "style"),
    *("g", "path", "clipPath", "rect", "use", "image"),
}
_PLAIN = r"(?:(?!url\((?!#))[\w\s#%.,;:()+-])*"  # numbers, CSS and transforms: no quote, slash, escape or foreign url()
_VALUES = {
    "xmlns": r"http://www\.w3\.org/2000/svg",
    "xmlns:xlink": r"http://www\.w3\.org/1999/xlink",
    "xmlns:dc": r"http://purl\.org/dc/elements/1\.1/",
    "xmlns:cc": r"http://creativecommons\.org/ns#",
    "xmlns:rdf": r"http://www\.w3\.org/1999/02/22-rdf-syntax-ns#",
    "rdf:resource": r"http://purl\.org/dc/dcmitype/StillImage",
    "xlink:href": r"#[\w.-]+|data:image/png;base64,[A-Za-z0-9+/=\s]*",
    "id": r"[\w.-]+",
    "role": "img",
    "aria-label": r"[^<]*",
    "type": "text/css",
    **dict.fromkeys(("version", "viewBox", "width", "height", "x", "y", "d", "transform"), _PLAIN),
    **dict.fromkeys(("style", "clip-path", "opacity"), _PLAIN),
}
_FORMS = {name: re.compile(form, re.IGNORECASE) for name, form in _VALUES.items()}
_STYLE_SHEET = re.compile(r"\*\{[a-z:; -]*\}")
_ATTRIBUTE = re.compile(r"""\s+([\w:-]+)=(?:"([^"<]*)"|'([^'<]*)')""")
_TOKEN = re.compile(
    r"<!--[^<>-]*(?:-[^<>-]+)*+-->"
    r"""|<(?P<name>[\w:]+)(?P<attributes>(?:\s+[\w:-]+=(?:"[^"<]*"|'[^'<]*'))*+)\s*+(?P<alone>/?)>"""
    r"|</(?P<end>[\w:]+)>"
    r"|(?P<text>[^<]++)"
)
# Control characters, which XML has none of, and entities but for XML's five and white space.
_FOREIGN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|&(?!(?:amp|lt|gt|quot|apos|#9|#10|#13);)")


def own_svg(content: bytes) -> str | None:
    """The text of a figure of ours; None where it has anything that no figure of ours has."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if not text.startswith("<svg ") or _FOREIGN.search(text):
        return None
    opened: list[str] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or not _is_own(token, opened):
            return None
        place = token.end()
    return None if opened else text


def _is_own(token: re.Match[str], opened: list[str]) -> bool:
    """Whether a piece of the text is one of ours. opened: the elements that it stands in, which it may change."""
    name, end, text = token["name"], token["end"], token["text"]
    if name is not None:
        if "style" in opened or name not in ELEMENTS:
            return False
        if not token["alone"]:
            opened.append(name)
        return all(map(_is_own_attribute, _ATTRIBUTE.finditer(token["attributes"])))
    if end is not None:
        return bool(opened) and opened.pop() == end
    return text is None or opened[-1:] != ["style"] or _STYLE_SHEET.fullmatch(text) is not None


def _is_own_attribute(found: re.Match[str]) -> bool:
    name, value = found[1], found[2] if found[2] is not None else found[3]
    return name in _FORMS and _FORMS[name].fullmatch(value) is not None
