"""How long does a report take, how large is its page, and how does a browser open it?

python -m benchmarks.report [--cells 100000] [--to DIR]. The browser is Chromium with chromium-driver, by selenium;
without them the page is written and not opened.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sweep.report.write import write_report
from sweep.store.records import CellDetail, CellResult
from sweep.store.report_folder import ReportFolder
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import make_plan
from trainables.evaluation.metrics import FindingAuroc, macro

FINDINGS = tuple(f"finding_{number}" for number in range(14))
HISTORY = tuple({"epoch": e, "score": 0.7, "train_bce": 0.4, "val_auroc": 0.7, "val_loss": 0.5} for e in range(5))


def made_up(num_cells: int, folder: str) -> Snapshot:
    """The demo with as many seeds as make num_cells cells, each with 14 findings and a log of five epochs."""
    base = demo()
    per_seed = len(base.rows) * len(base.datasets) * 5
    study = replace(base, seeds=tuple(range(-(-num_cells // per_seed))))
    plan = make_plan(study, {build.label: "made up" for build in study.data_builds()}, {})
    random = np.random.default_rng(0)
    displays = {row.name: row.display for row in study.rows}
    results, details = [], {}
    for cell in plan.cells:
        values = random.uniform(0.5, 0.95, len(FINDINGS)).tolist()
        findings = tuple(FindingAuroc(name, value, 30, 200) for name, value in zip(FINDINGS, values, strict=True))
        results.append(
            CellResult(
                cell.encoder.row,
                displays[cell.encoder.row],
                cell.dataset,
                cell.protocol,
                cell.label_percent,
                cell.encoder.pretrain_seed,
                cell.seed,
                "done",
                cell.key,
                findings,
                macro(findings),
            )
        )
        sha256 = f"{cell.seed:064x}"
        details[cell.key] = CellDetail(sha256, 446, 4, 1.5, "cpu", HISTORY, ())
    return Snapshot(study, plan, results, {}, Store(folder), Origin("demo", folder), (), details)


def opened(page: Path) -> dict[str, Any] | None:
    """A page in a browser with an empty profile; None where there is none.

    first_paint, cells_shown, sorted, dialog: seconds until the first contents are painted, until the list of cells
    stands, until it is sorted by its AUROC, until the dialog of the last cell is open. heap: megabytes of its scripts.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        return None
    if chromium is None or driver is None:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={profile}")
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            browser.set_page_load_timeout(300)
            browser.set_script_timeout(300)
            return _seen(browser, page)
        finally:
            browser.quit()


WATCH = """
const done = arguments[0], grid = document.querySelector("#cells-grid");
const now = () => performance.now(), wait = (is) => new Promise((go) => {
  const look = () => (is() ? go(now()) : setTimeout(look, 5)); look(); });
(async () => {
  const shown = await wait(() => grid.querySelector("button.open"));
  const [auroc] = [...grid.querySelectorAll("thead button")].filter((b) => b.textContent.startsWith("Macro"));
  const sorting = now(); auroc.click();
  const sorted = now() - sorting;
  const opening = now(); grid.querySelector("button.open").click();
  const dialog = (await wait(() => document.querySelector("#detail").open)) - opening;
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  done(JSON.stringify({ first_paint: paint ? paint.startTime / 1e3 : null, cells_shown: shown / 1e3,
    sorted: sorted / 1e3, dialog: dialog / 1e3, rows: grid.querySelector(".pager span").textContent,
    heap: performance.memory.usedJSHeapSize / 1e6 }));
})();
"""


def _seen(browser: Any, page: Path) -> dict[str, Any]:
    browser.get(page.resolve().as_uri())
    return dict(json.loads(browser.execute_async_script(WATCH)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000, help="rows of results.csv")
    parser.add_argument("--to", help="keep the report in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = made_up(arguments.cells, folder)
        started = time.perf_counter()
        paths = write_report(data, ReportFolder.elsewhere(arguments.to or f"{folder}/report"), quick=True)
        seconds = time.perf_counter() - started
        megabytes = Path(paths["report.html"]).stat().st_size / 1e6
        seen = opened(Path(paths["report.html"]))
    print(
        f"{len(data.results):,} cells, {len(data.results) * len(FINDINGS):,} finding rows: {seconds:.1f} s; "
        f"report.html {megabytes:.1f} MB"
    )
    if seen is not None:
        print(
            f"in a browser: first paint after {seen['first_paint']:.2f} s, the list of cells ({seen['rows']}) after "
            f"{seen['cells_shown']:.2f} s, sorted in {seen['sorted']:.2f} s, a cell's dialog {seen['dialog']:.2f} s, "
            f"heap {seen['heap']:.0f} MB"
        )


if __name__ == "__main__":
    main()
