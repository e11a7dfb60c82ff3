"""Is a figure of ours known for one, and nothing that a browser would run or fetch?"""

import numpy as np
import pytest

from sweep.figures.drawing import finished, new_figure, style
from sweep.figures.own_svg import own_svg

SVG = "http://www.w3.org/2000/svg"
TITLE = 'A "title" of <Smith\'s> & co.,\nä and –'


@pytest.fixture(scope="module")
def svg() -> str:
    """With all that figures here are drawn with."""
    with style():
        figure = new_figure(4, 3)
        axis, other = figure.subplots(1, 2)
        axis.plot([0, 1], [0, 1], "o--", label="a -- b <&> c")
        axis.fill_between([0, 1], [0, 0], [1, 2], alpha=0.2)
        axis.errorbar([0, 1], [0, 1], yerr=0.1)
        axis.scatter([0, 1], [1, 0], c=["red", "blue"], alpha=0.5, rasterized=True)
        axis.text(0.5, 0.5, "–&<>'\"", rotation=30)
        axis.annotate("x", (0, 0), (1, 1), arrowprops={"arrowstyle": "->"})
        axis.legend()
        image = other.imshow(np.arange(16).reshape(4, 4), interpolation="bilinear")
        other.contour(np.arange(16).reshape(4, 4), levels=[0.5])
        figure.colorbar(image)
        return finished("a_figure", TITLE, "", figure, {}).svg


def test_a_figure_of_matplotlib_is_ours(svg):
    assert own_svg(svg.encode()) == svg and "<image" in svg and "&#10;" in svg


FOREIGN = [
    "<script>alert(1)</script>",
    f'<s:script xmlns:s="{SVG}">alert(1)</s:script>',
    '<script xlink:href="data:text/javascript,alert(1)"/>',
    '<a href="java&#x73;cript:alert(1)"><path d=""/></a>',
    '<a xlink:href="https://example.org/"/>',
    '<g onload="x()"/>',
    "<g OnLoad = 'x()'/>",
    "<g id=x onload=x()>",
    '<g\fonload="x()"/>',
    f'<g xmlns:svg="{SVG}"/>',
    f'<g xmlns:xlink="{SVG}"/>',
    '<g xmlns="http://www.w3.org/1999/xhtml"/>',
    "<foreignObject/>",
    "<iframe/>",
    '<animate attributeName="xlink:href" to="javascript:x()"/>',
    '<set attributeName="onclick" to="x()"/>',
    '<use xlink:href="https://example.org/x.svg#a"/>',
    '<use href="#a"/>',
    '<use xlink:href="data:image/svg+xml;base64,AAAA#a"/>',
    '<image xlink:href="data:image/svg+xml;base64,AAAA"/>',
    '<image xlink:href="figure.png"/>',
    '<image xlink:href="&#106;avascript:x()"/>',
    "<style>@import url(https://example.org/x.css);</style>",
    "<style>*{fill: url(x.svg#a)}</style>",
    "<style>*{fill: red}<!-- a -->@import 'x';</style>",
    "<style><g>@import 'x';</g></style>",
    '<g style="fill: url(https://example.org/a)"/>',
    '<g style="fill: URL(x)"/>',
    '<g style="fill: u\\72l(x)"/>',
    '<g style="fill: u/**/rl(x)"/>',
    "<g style=\"fill: image-set('x')\"/>",
    '<?xml-stylesheet href="data:text/xsl,x"?>',
    "<![CDATA[ x ]]>",
    '<!DOCTYPE svg [<!ENTITY a "b">]>',
    "&other;",
    "&#60;script>",
    "<!--> <script>x()</script> -->",
    "<!-- a -- b -->",
    "\0",
    "\x1b[31m",
    "<g>",
    "</g>",
    "<g",
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_anything_else_is_not(svg, foreign):
    assert own_svg(svg.replace("</svg>", f"{foreign}</svg>").encode()) is None


@pytest.mark.parametrize("before", ["<?xml version='1.0'?>", "<!-- a -->", "\ufeff", " ", "<script/>"])
def test_nothing_stands_before_it(svg, before):
    assert own_svg(f"{before}{svg}".encode()) is None


def test_it_is_in_utf_8_whole_and_of_one_element(svg):
    assert own_svg(svg.encode("utf-16")) is None and own_svg(svg.encode("latin-1", "replace") + b"\xff") is None
    assert own_svg(svg.encode()[:-20]) is None and own_svg(b"") is None and own_svg(b"<g></g>") is None


def test_a_long_file_takes_no_longer_than_its_length(svg):
    for piece in ("<!-- " + "-a" * 100_000, '<g id="' + "a" * 200_000, "<g " + 'id="a" ' * 50_000, "<" * 200_000):
        assert own_svg(svg.replace("</svg>", f"{piece}</svg>").encode()) is None
