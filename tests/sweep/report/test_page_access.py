"""Can everybody read the page: contrast and names by axe-core, keys alone, any width, without scripts, on paper?"""

import json
import re
from dataclasses import replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without

pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
from page_browser import axe_source, browser, every, one, set_scheme, set_width, shown
from selenium.webdriver.common.keys import Keys

from sweep.report.page.statistics import TITLES
from sweep.report.write import write_report
from sweep.statistics.summaries import study_summaries
from sweep.store.report_folder import ReportFolder
from tests.sweep.saved_study import make, save_all, save_shards

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN_AXE = """
const [tags, done] = arguments;
axe.run(document, { runOnly: tags, resultTypes: ["violations"] }).then(
  (found) => done(found.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => [n.html, n.failureSummary])])),
  (error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A whole report with predictions, figures, subgroups, a failed cell and another study beside it; in a browser."""
    folder = tmp_path_factory.mktemp("access")
    study = replace(small(), protocols=("LP", "FT"), seeds=(0, 1, 2))
    saved = make(folder / "here", study=study, hernias=30)
    save_all(saved, without=saved.plan.cells[:1])
    saved.store.files.write(
        f"{saved.store.folder(saved.plan.cells[0])}/failed.json", b'{"error": "e", "traceback": ""}'
    )
    shards = save_shards(saved, ["M", "F"] * 80, [30, 50] * 80, ["PA"] * 160)
    data = data_of(folder / "here", saved.study, saved.results(), saved.plan)
    labels = [build.label for build in study.data_builds() if build.instance == "chexpert"]
    data = replace(data, data_folders=dict.fromkeys(labels, shards))
    other = make(folder / "there", study=replace(study, name="other", rows=study.rows[:4]), hernias=30)
    save_all(other)
    beside = data_of(folder / "there", other.study, other.results(), other.plan)
    write_report(data, ReportFolder.elsewhere(str(folder / "report")), beside=beside)
    driver = browser(tmp_path_factory.mktemp("profile"))
    yield driver, f"file://{folder}/report/report.html", data
    driver.quit()


@pytest.fixture
def opened(page):
    driver, address, _ = page
    set_width(driver, 1280)
    driver.get("about:blank")
    driver.get(address)
    return driver


def show_statistics(driver, name: str) -> None:
    driver.execute_script(
        "const s = document.querySelector('#statistics-file'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('change'))",
        name,
    )


def violations(driver) -> list:
    return driver.execute_async_script(RUN_AXE, WCAG)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(opened, scheme):
    """With every table and file of statistics, a picked point of a curve, and the dialogs of a cell and an encoder."""
    source = axe_source()
    set_scheme(opened, scheme)
    opened.execute_script(source)
    found = {"page": violations(opened)}
    for tab in every(opened, "#tables [role=tab]")[1:]:
        opened.execute_script("arguments[0].click()", tab)
        found[tab.text] = violations(opened)
    for option in every(opened, "#statistics-file option"):
        show_statistics(opened, option.get_attribute("value"))
        found[option.text] = violations(opened)
    opened.execute_script("document.querySelector('#statistics-more').click()")
    found["all columns"] = violations(opened)
    one(opened, "#curves .plot").send_keys(Keys.ARROW_RIGHT)
    found["curves"] = violations(opened)
    for button in ("#cells-grid button.open", "[data-encoder]"):
        opened.execute_script("arguments[0].click()", one(opened, button))
        found[button] = violations(opened)
        opened.execute_script("document.querySelector('#detail').close()")
    set_scheme(opened, "light")
    assert {name: value for name, value in found.items() if value} == {}
    assert len(found) > 15


def test_axe_would_find_a_missing_name_and_a_low_contrast(opened):
    source = axe_source()
    opened.execute_script(source)
    opened.execute_script(
        "document.querySelector('#answer-title').style.color = '#bbb';"
        "document.querySelector('#statistics-filter').parentElement.replaceWith(document.querySelector('#statistics-filter'))"
    )
    assert {"color-contrast", "label"} <= {rule for rule, _ in violations(opened)}


def test_every_control_has_a_name_and_is_reached_by_keys(opened):
    controls = "button, input, select, summary, a[href], [tabindex='0']"
    wanted = [element for element in every(opened, controls) if element.is_displayed()]
    nameless = [element.get_attribute("outerHTML")[:120] for element in wanted if not element.accessible_name.strip()]
    assert nameless == []
    opened.execute_script(
        "document.querySelectorAll(arguments[0]).forEach((e, i) => { e.dataset.seen = i; })", controls
    )
    reached = set()
    for _ in range(3 * len(wanted)):
        active = opened.switch_to.active_element
        active.send_keys(Keys.TAB)
        seen = opened.switch_to.active_element.get_attribute("data-seen")
        if seen is None and reached:
            break
        reached.add(seen)
    # Of tabs the chosen one alone is reached by Tab, the others by arrow keys; what is disabled by none.
    due = {
        element.get_attribute("data-seen")
        for element in wanted
        if element.get_attribute("tabindex") != "-1" and element.is_enabled()
    }
    assert due - reached == set()


@pytest.mark.parametrize("name", list(TITLES))
def test_at_1280_pixels_the_first_columns_of_statistics_are_seen_whole(opened, name):
    names = [option.get_attribute("value") for option in every(opened, "#statistics-file option")]
    assert sorted(names) == sorted(TITLES)
    show_statistics(opened, name)
    inside, whole = opened.execute_script(
        "const s = document.querySelector('#statistics-grid .scroll'); return [s.clientWidth, s.scrollWidth]"
    )
    assert whole <= inside


def test_means_have_both_intervals_in_percent_and_in_words(opened):
    show_statistics(opened, "intervals.csv")
    heads = [head.rstrip(" ↕") for head in shown(opened, "#statistics-grid thead button")]
    assert heads == ["Method", "Dataset", "Evaluation", "AUROC of", "Mean, %", "95%, seeds", "95%, patients", "Seeds"]
    one(opened, "#statistics-filter").send_keys("clip lp")
    row = shown(opened, "#statistics-grid tbody tr:first-child > *")
    assert row[:4] == ["CLIP", "CheXpert", "LP", "Mean of defined findings"]
    assert re.fullmatch(r"\d\d\.\d\d", row[4]) and re.fullmatch(r"± \d+\.\d\d", row[5])
    assert re.fullmatch(r"\d\d\.\d\d to \d\d\.\d\d", row[6])
    text = one(opened, "#statistics").text
    assert not re.search(r"macro_|pleural_effusion|\bchexpert\b", text)
    one(opened, "#statistics-more").click()
    more = [head.rstrip(" ↕") for head in shown(opened, "#statistics-grid thead button")]
    assert len(more) > len(heads) and "SD, seeds" in more


def test_at_1280_pixels_the_key_of_a_cell_is_seen_whole(opened):
    box = "const b = document.querySelector('#cells-grid tbody td:last-child').getBoundingClientRect()"
    right, width, text = opened.execute_script(
        f"{box}; return [b.right, document.documentElement.clientWidth, "
        "document.querySelector('#cells-grid tbody td:last-child').textContent]"
    )
    assert right <= width and re.fullmatch(r"[0-9a-f]{12}", text)
    inside, whole = opened.execute_script(
        "const s = document.querySelector('#cells-grid .scroll'); return [s.clientWidth, s.scrollWidth]"
    )
    assert whole <= inside


def test_at_2560_pixels_the_answer_fills_the_page(opened):
    set_width(opened, 2560, 1400)
    right = opened.execute_script(
        "return Math.max(...[...document.querySelectorAll('.card')].map((c) => c.getBoundingClientRect().right))"
    )
    assert right > 2400


@pytest.mark.parametrize("width", [400, 1280, 2560])
def test_nothing_but_tables_and_figures_scrolls_sideways(opened, width):
    set_width(opened, width)
    root = "document.documentElement"
    assert opened.execute_script(f"return {root}.scrollWidth - {root}.clientWidth") <= 0


@pytest.mark.parametrize("width", [360, 400, 1280, 2560])
def test_the_numbers_of_an_answer_stay_within_its_card(opened, width):
    set_width(opened, width)
    beyond = opened.execute_script(
        "const right = (element) => element.getBoundingClientRect().right;"
        "return [...document.querySelectorAll('.card')].map((card) => right(card.querySelector('table'))"
        " - right(card) + parseFloat(getComputedStyle(card).paddingRight))"
    )
    assert len(beyond) == 2 and max(beyond) < 1.5, beyond  # the border is one pixel


def test_a_picked_point_says_the_numbers_of_the_table(page, opened):
    _, _, data = page
    means = study_summaries(data.study, data.plan, data.results)
    plot = one(opened, "#curves .plot")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert shown(opened, "#curves .tip")[0].startswith("Random Init.\nFT (1%): ")
    plot.send_keys(Keys.ARROW_RIGHT)
    for _ in range(5):
        plot.send_keys(Keys.ARROW_UP)
    [tip] = shown(opened, "#curves .tip")
    best = max(means.layout.rows, key=lambda row: means.of(row[0], "chexpert", ("FT", 10)).mean)
    summary = means.of(best[0], "chexpert", ("FT", 10))
    assert tip.splitlines()[0] == best[1]
    assert f"FT (10%): {100 * summary.mean:.2f}% ± {100 * summary.ci95:.2f} over seeds" in tip
    assert re.search(r"\d\d\.\d\d to \d\d\.\d\d over patients", tip) and "n = 3" in tip
    assert tip.splitlines()[1] in one(opened, "#curves-voice").get_attribute("textContent")
    plot.send_keys(Keys.ESCAPE)
    assert shown(opened, "#curves .tip") == []


def test_a_curve_is_pointed_at_and_methods_are_chosen_by_press_and_key(opened):
    marks = "#curves .plot g"
    count = len(every(opened, marks))
    assert count == 2 * 5  # two datasets, five rows
    opened.execute_script("document.querySelector('#curves').scrollIntoView()")
    x, y = opened.execute_script(
        "const marks = document.querySelectorAll('#curves .plot g')[2].querySelectorAll('path[transform]');"
        "const b = marks[1].getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]"
    )
    opened.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    assert "FT (10%)" in shown(opened, "#curves .tip")[0]
    opened.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
    first = one(opened, "#curves .switch")
    first.send_keys(Keys.ENTER)
    assert first.get_attribute("aria-pressed") == "false" and len(every(opened, marks)) == count - 2
    first.click()
    assert first.get_attribute("aria-pressed") == "true" and len(every(opened, marks)) == count


def test_names_of_a_study_are_text_in_the_curves(page, tmp_path):
    driver, _, _ = page
    hostile = '</script><img src=x onerror="document.title=1">'
    study = small()
    study = replace(study, rows=tuple(replace(row, display=f"{row.name} {hostile}") for row in study.rows))
    write_report(data_of(tmp_path, study), ReportFolder.elsewhere(str(tmp_path)), quick=True)
    driver.get_log("browser")
    driver.get(f"file://{tmp_path}/report.html")
    one(driver, "#curves .plot").send_keys(Keys.ARROW_RIGHT)
    assert hostile in shown(driver, "#curves .tip")[0] and driver.title != "1"
    assert every(driver, "#curves img") == []
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_without_scripts_and_on_paper_the_drawn_figure_stands(page, opened):
    driver, address, _ = page
    assert one(driver, "#curves").is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not one(driver, "#curves").is_displayed() and one(driver, "#figure-label_efficiency img").is_displayed()
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get("about:blank")
    driver.get(address)
    assert not one(driver, "#curves").is_displayed() and one(driver, "#figure-label_efficiency img").is_displayed()
    assert one(driver, "#side-by-side table").is_displayed()
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_study_without_a_mean_has_no_curves(page, tmp_path):
    driver, _, _ = page
    study = small()
    empty = [without(result) for result in results_of(study, plan_of(study))]
    write_report(data_of(tmp_path, study, empty), ReportFolder.elsewhere(str(tmp_path)), quick=True)
    driver.get(f"file://{tmp_path}/report.html")
    assert not one(driver, "#curves").is_displayed()


def test_the_whole_page_asks_nobody(page):
    driver, address, _ = page
    driver.get_log("performance")
    driver.get(address)
    one(driver, "#curves .plot").send_keys(Keys.ARROW_RIGHT)
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("report.html") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
