"""Does a colour mean one method in every figure, for readers of any colour vision, also on a white page?"""

import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from made_up_study import plan_of, results_of, small, view_of
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

from sweep.figures import curves, forest, ranks
from sweep.figures.heat_map import luminance
from sweep.figures.pretraining_curves import part_style
from sweep.figures.style import (
    BASELINE_GREYS,
    BASELINE_MARKERS,
    DARK,
    LIGHT,
    MARKERS,
    METHOD_COLORS,
    ORANGE,
    SKY,
    baseline_style,
    method_styles,
)
from sweep.report.page import page
from sweep.studies import demo
from sweep.studies.plan import make_plan, parse_only
from trainables.registry import PAPER_METHODS

# Machado, Oliveira and Fernandes (2009), without one kind of cone; on linear red, green and blue.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color: str, vision: str) -> tuple[float, float, float]:
    """CIE L*a*b* under D65 of a colour as it is seen."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    xyz = XYZ @ np.clip(VISION[vision] @ np.array(linear), 0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The difference of two colours, after Sharma, Wu and Dalal (2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * math.sqrt(mean**7 / (mean**7 + 25**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = 0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = 1 - 0.17 * math.cos(math.radians(hue - 30)) + 0.24 * math.cos(math.radians(2 * hue))
    weight += 0.32 * math.cos(math.radians(3 * hue + 6)) - 0.20 * math.cos(math.radians(4 * hue - 63))
    of_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2))
    of_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    of_hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * weight)
    around = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7))
    around *= math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    return math.sqrt(of_light**2 + of_chroma**2 + of_hue**2 + around * of_chroma * of_hue)


def smallest(one: str, other: str) -> float:
    return min(ciede2000(lab(one, vision), lab(other, vision)) for vision in VISION)


@pytest.mark.parametrize(
    ("one", "other", "published"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_difference_is_that_of_the_published_pairs(one, other, published):
    assert ciede2000(one, other) == pytest.approx(published, abs=5e-5)


def test_methods_are_told_apart_by_readers_of_any_colour_vision():
    assert len(METHOD_COLORS) == len(PAPER_METHODS)
    assert min(smallest(a, b) for a, b in combinations(METHOD_COLORS, 2)) > 11
    assert min(smallest(a, b) for a in METHOD_COLORS for b in BASELINE_GREYS) > 8
    assert all(1.05 / (luminance(to_rgb(color)) + 0.05) >= 3 for color in (*METHOD_COLORS, *BASELINE_GREYS))


def test_methods_of_one_panel_are_told_apart_easily(tmp_path):
    view = view_of(demo(), tmp_path)
    for title, rows in curves.panels_of(view):
        colors = [view.styles[row.name].color for row in rows]
        assert min(smallest(a, b) for a, b in combinations(colors, 2)) > 17, title


def test_baselines_differ_in_marker_or_dashes_and_the_page_draws_each_mark():
    styles = [baseline_style(number) for number in range(12)]
    assert len({(style.marker, str(style.line)) for style in styles}) == 12
    assert len({style.marker for style in styles[: len(BASELINE_MARKERS)]}) == len(BASELINE_MARKERS)
    script = (Path(page.__file__).parent / "curves.js").read_text()
    known = script.partition("const MARKS = {")[2].partition("};")[0]
    for marker in (*MARKERS, *BASELINE_MARKERS):
        assert re.search(rf'(?:^|[\s"]){re.escape(marker)}"?: ', known), marker


def test_what_is_no_method_has_no_methods_colour():
    assert not {c.lower() for c in (DARK, LIGHT, SKY, ORANGE)} & {c.lower() for c in METHOD_COLORS}


def colors_drawn(view, draw, monkeypatch) -> set[str]:
    """Every colour that a figure draws lines and markers in, but greys."""
    found: set[str] = set()
    for name in ("plot", "errorbar"):
        really = getattr(Axes, name)

        def noted(axis, *values, really=really, **how):
            if "color" in how:
                found.add(to_hex(how["color"]))
            return really(axis, *values, **how)

        monkeypatch.setattr(Axes, name, noted)
    draw(view)
    monkeypatch.undo()
    return {color for color in found if max(to_rgb(color)) - min(to_rgb(color)) > 0.06}


def test_every_figure_of_methods_has_their_colours(tmp_path, monkeypatch):
    view = view_of(small(), tmp_path)
    wanted = {"#0062ff", "#c48900", "#3a9bd6"}  # CLIP, SimCLR, SimCLR-CLIP
    for draw in (curves.draw, forest.draw, ranks.draw):
        assert colors_drawn(view, draw, monkeypatch) == wanted, draw.__module__


def test_a_method_has_one_style_in_every_study_and_part(tmp_path):
    whole, few = view_of(demo(), tmp_path).styles, view_of(small(), tmp_path).styles
    assert all(few[name] == whole[name] for name in few)
    assert len({(how.color, how.marker, how.line) for how in whole.values()}) == len(whole)
    study = small()
    plan = make_plan(study, {b.label: "made up" for b in study.data_builds()}, parse_only(["method=simclr"]))
    part = view_of(study, tmp_path)
    part = replace(part, snapshot=replace(part.snapshot, plan=plan, results=results_of(study, plan)))
    assert part.styles["simclr"] == whole["simclr"] and plan_of(study) != plan


def test_a_studys_own_rows_take_the_colours_that_are_left():
    own = method_styles(["mine", "clip", "yours"])
    assert own["clip"] == method_styles(PAPER_METHODS)["clip"]
    assert len({how.color for how in own.values()}) == 3
    many = method_styles(f"row {i}" for i in range(70))
    assert len({(how.color, how.marker) for how in many.values()}) == 70


def test_a_part_of_a_loss_has_the_colour_of_its_method():
    styles = method_styles(PAPER_METHODS)
    assert part_style("simclr", 3).color == styles["simclr"].color
    assert part_style("vicreg_variance", 0).color == styles["vicreg"].color
    assert part_style("own", 0).color == DARK
