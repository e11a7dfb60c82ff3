"""The page in a real browser: it opens from disk, sorts, filters, copies LaTeX, follows the keyboard, asks nobody."""

import json
import re
from dataclasses import replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without
from test_report_latex import PAPERS, compiled, does_not_fit, needs_latex

from sweep.report.page import cells
from sweep.report.write import write_report
from sweep.store.report_folder import ReportFolder

pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
from page_browser import browser, one, set_scheme, set_width, shown
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The made-up study with one failed and one missing cell, open in a browser from its file."""
    folder = tmp_path_factory.mktemp("report")
    study = replace(small(), show_published=True)
    plan = plan_of(study)
    results = results_of(study, plan)
    results[0] = without(results[0], "failed")
    results[1] = without(results[1], "missing")
    failures = {str(plan.cells[0]): {"error": "ValueError: </script><b>", "traceback": "Traceback\n  <i>line</i>"}}
    write_report(data_of(folder, study, results, plan, failures), ReportFolder.elsewhere(str(folder)), quick=True)
    driver = browser(tmp_path_factory.mktemp("profile"))
    allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": allowed})
    yield driver, folder
    driver.quit()


@pytest.fixture
def opened(page):
    driver, folder = page
    driver.get("about:blank")
    driver.get(f"file://{folder}/report.html")
    return driver


def clipboard(driver) -> str:
    return driver.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, done);")


def test_it_opens_without_an_error_and_asks_nobody(page):
    driver, folder = page
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(f"file://{folder}/report.html")
    assert one(driver, "h1").text == "Which pretraining leads where, and how surely"
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("report.html") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("what", ["no cell is finished", "no row was asked for"])
def test_an_empty_report_opens_without_an_error(page, tmp_path, what):
    driver, _ = page
    study = small() if what == "no cell is finished" else replace(small(), rows=())
    plan = plan_of(study)
    empty = [without(result) for result in results_of(study, plan)]
    write_report(data_of(tmp_path, study, empty, plan), ReportFolder.elsewhere(str(tmp_path)), quick=True)
    driver.get_log("browser")
    driver.get(f"file://{tmp_path}/report.html")
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert "No cell of this study is finished" in one(driver, "#answer").text
    wanted = f"of {len(empty)}" if empty else "No row"
    assert wanted in one(driver, "#cells-grid .pager").text


def test_statistics_say_what_never_varies_once(opened):
    shown_file = one(opened, "#statistics-file")
    opened.execute_script(
        "arguments[0].value = 'comparisons.csv'; arguments[0].dispatchEvent(new Event('change'))", shown_file
    )
    one(opened, "#statistics-more").click()
    assert "In every row:" in one(opened, "#statistics-text").text
    heads = shown(opened, "#statistics-grid thead button")
    assert "Evaluation" in heads and not any("percent" in head for head in heads)
    one(opened, "#statistics-filter").send_keys("simclr-clip")
    assert "without filter" in one(opened, "#statistics-grid .pager").text


def test_a_column_sorts_down_up_and_back(opened):
    methods, values = "#panel-table1 .block:first-child .row > tr:first-child > th", "#panel-table1 .block:first-child "
    original = shown(opened, methods)
    head = one(opened, "#panel-table1 .block:first-child thead th:nth-child(2) button")
    cells = f"{values} .row > tr:first-child > td:nth-child(2)"

    def numbers():
        return [float(text.split(" ")[0]) for text in shown(opened, cells) if text[0] != "-"]

    head.click()
    assert numbers() == sorted(numbers(), reverse=True) and shown(opened, methods) != original
    assert one(opened, "#panel-table1 thead th:nth-child(2)").get_attribute("aria-sort") == "descending"
    head.click()
    assert numbers() == sorted(numbers())
    head.click()
    assert shown(opened, methods) == original


def test_the_filter_keeps_rows_that_have_the_word(opened):
    one(opened, "#panel-table1 .filter").send_keys("simclr")
    assert set(shown(opened, "#panel-table1 .row > tr:first-child > th")) == {"SimCLR", "SimCLR-CLIP"}
    assert set(shown(opened, "#panel-table1 .group th")) == {"Self-supervised", "Joint"}
    one(opened, "#panel-table1 .filter").send_keys("xyz")
    assert shown(opened, "#panel-table1 .row") == [] and shown(opened, "#panel-table1 .none") != []


def test_an_untouched_table_is_copied_as_its_file_is(page, opened):
    _, folder = page
    one(opened, "#panel-table1 .latex").click()
    assert clipboard(opened) == (folder / "table1.tex").read_text()
    one(opened, "#tab-table2").click()
    one(opened, "#panel-table2 .latex").click()
    assert clipboard(opened) == (folder / "table2.tex").read_text()


def test_a_touched_table_is_copied_as_it_is_shown(opened):
    one(opened, "#panel-table1 .filter").send_keys("clip")
    one(opened, "#panel-table1 thead th button").click()
    one(opened, "#panel-table1 .latex").click()
    text = clipboard(opened)
    names = re.findall(r"(?m)^([\w-]+) & .*\\\\$", text)
    assert names[:3] == ["Method", "CLIP", "SimCLR-CLIP"] and "Random" not in text
    assert text.count(r"\begin{tabular}") == 1
    one(opened, "#panel-table1 .filter").clear()
    one(opened, "#panel-table1 .filter").send_keys(" ")
    one(opened, "#panel-table1 .latex").click()
    text = clipboard(opened)
    assert r"\textbf{" in text and r"$\pm$" in text and re.search(r"[^\x00-\x7f]", text) is None


@needs_latex
def test_what_is_copied_of_a_sorted_table_and_of_a_page_of_cells_fits_a_page(opened, tmp_path):
    texts = []
    for panel, sort in (("table1", 1), ("table2", 1), ("table4", 2)):
        one(opened, f"#tab-{panel}").click()
        one(opened, f"#panel-{panel} thead th:nth-child({sort}) button").click()
        one(opened, f"#panel-{panel} .latex").click()
        texts.append(clipboard(opened))
    one(opened, "#cells-latex").click()
    texts.append(clipboard(opened))
    assert len(set(texts)) == 4 and all(text.count(r"\begin{tabular}") == 1 for text in texts)
    for paper in PAPERS:
        assert does_not_fit(compiled(texts, tmp_path, paper, "booktabs,graphicx")) == []


def test_cells_are_filtered_paged_and_opened_by_keyboard(opened):
    assert "1 to 50 of 150" in one(opened, "#cells-grid .pager").text
    one(opened, "#cells-grid .pager button:nth-child(2)").click()
    assert "51 to 100 of 150" in one(opened, "#cells-grid .pager").text
    one(opened, "#cells-filter").send_keys("clip+simclr ft10-")
    assert "1 to 6 of 6 (150 without filter)" in one(opened, "#cells-grid .pager").text
    one(opened, "#cells-grid tbody button").send_keys(Keys.ENTER)
    text = one(opened, "#detail").text
    for part in (
        "SimCLR-CLIP",
        "State",
        "done",
        "ab" * 32,
        "sweep.run",
        "--redo",
        "Edema",
        "undefined",
        "train bce",
        "3 of 3",
    ):
        assert part in text
    one(opened, "#detail .command .copy").click()
    assert re.search(r"--redo [0-9a-f]{12}$", clipboard(opened))
    one(opened, "#detail").send_keys(Keys.ESCAPE)
    assert not one(opened, "#detail").is_displayed()


def dialogs(driver) -> list[list[str]]:
    """What the first cells' dialogs say, and a page that is sorted and filtered, as text."""
    found = []
    for number in range(12):
        driver.execute_script("document.querySelectorAll('#cells-grid button.open')[arguments[0]].click()", number)
        wait_until(lambda: driver.execute_script("return document.querySelector('#detail').open"))
        found.append(one(driver, "#detail").text.splitlines())
        driver.execute_script("document.querySelector('#detail').close()")
    driver.execute_script("document.querySelectorAll('#cells-grid thead button')[4].click()")
    one(driver, "#cells-filter").send_keys("nih LP100")
    return [*found, one(driver, "#cells-grid").text.splitlines()]


def wait_until(is_so) -> None:
    WebDriverWait(None, 30).until(lambda _: is_so())


def test_many_cells_are_packed_and_show_the_same(page, tmp_path, monkeypatch):
    """As of 50,000 on: here of the made-up study's."""
    driver, folder = page
    driver.get("about:blank")
    driver.get(f"file://{folder}/report.html")
    plain = dialogs(driver)
    monkeypatch.setattr(cells, "MOST_IN_JSON", 3)
    monkeypatch.setattr(cells, "CHUNK", 5)
    study = replace(small(), show_published=True)
    plan = plan_of(study)
    results = results_of(study, plan)
    results[0], results[1] = without(results[0], "failed"), without(results[1], "missing")
    failures = {str(plan.cells[0]): {"error": "ValueError: </script><b>", "traceback": "Traceback\n  <i>line</i>"}}
    write_report(data_of(tmp_path, study, results, plan, failures), ReportFolder.elsewhere(str(tmp_path)), quick=True)
    text = (tmp_path / "report.html").read_text()
    assert 'id="cells-list"' in text and 'id="cells-2"' in text and plan.cells[5].key not in text
    driver.get_log("browser")
    driver.get(f"file://{tmp_path}/report.html")
    wait_until(lambda: driver.find_elements(By.CSS_SELECTOR, "#cells-grid button.open"))
    assert [[line.replace(str(tmp_path), str(folder)) for line in lines] for lines in dialogs(driver)] == plain
    driver.get("about:blank")
    driver.get(f"file://{tmp_path}/report.html#cell-{plan.cells[7].key}")
    wait_until(lambda: driver.execute_script("return document.querySelector('#detail').open"))
    assert plan.cells[7].key in one(driver, "#detail-body").text
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_an_old_browser_says_where_many_cells_are(page, tmp_path, monkeypatch):
    driver, _ = page
    monkeypatch.setattr(cells, "MOST_IN_JSON", 3)
    write_report(data_of(tmp_path), ReportFolder.elsewhere(str(tmp_path)), quick=True)
    old = {"source": "delete globalThis.DecompressionStream"}
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", old)
    driver.get(f"file://{tmp_path}/report.html")
    assert "too old to show so many cells; results.csv has them" in one(driver, "#cells-grid").text
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_failed_cell_says_why_and_its_markup_stays_text(opened):
    opened.execute_script(
        "const s = arguments[0]; s.value = '1'; s.dispatchEvent(new Event('input'))", one(opened, "#cells-status")
    )
    assert "1 to 1 of 1 " in one(opened, "#cells-grid .pager").text
    one(opened, "#cells-grid tbody button").click()
    assert "<i>line</i>" in one(opened, "#detail pre").text
    assert opened.find_elements(By.CSS_SELECTOR, "#detail i") == []
    assert "ValueError: </script><b>" in one(opened, "#left-out").text


def test_arrow_keys_move_between_tabs(opened):
    tab = one(opened, "#tab-table1")
    tab.send_keys(Keys.ARROW_RIGHT)
    assert opened.switch_to.active_element.get_attribute("id") == "tab-table1b"
    assert one(opened, "#panel-table1b").is_displayed() and not one(opened, "#panel-table1").is_displayed()


def test_everything_is_reached_with_the_tab_key_alone(opened):
    seen = set()
    for _ in range(80):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        active = opened.switch_to.active_element
        seen.add(active.get_attribute("id") or active.get_attribute("class"))
        if "cells-filter" in seen:
            break
    assert {"theme", "tab-table1", "latex", "cells-filter"} <= seen


def background(driver) -> str:
    return driver.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_light_and_dark_follow_the_system_and_the_switch(opened):
    colours = {}
    for scheme in ("light", "dark"):
        set_scheme(opened, scheme)
        colours[scheme] = background(opened)
    assert colours["light"] != colours["dark"]
    one(opened, "#theme").click()
    assert one(opened, "#theme").text == "Light" and background(opened) == colours["light"]
    one(opened, "#theme").click()
    assert one(opened, "#theme").text == "Dark" and background(opened) == colours["dark"]
    one(opened, "#theme").click()


@pytest.mark.parametrize("width", [400, 1280, 2560])
def test_nothing_but_tables_and_figures_scrolls_sideways(opened, width):
    set_width(opened, width)
    root = "document.documentElement"
    overflow = opened.execute_script(f"return {root}.scrollWidth - {root}.clientWidth")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert overflow <= 0
