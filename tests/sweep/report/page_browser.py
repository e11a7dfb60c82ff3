"""A browser for tests of the page, and the accessibility checker that they run in it."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
By = pytest.importorskip("selenium.webdriver.common.by").By

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",
    "--window-size=1280,1000",
)
AXE = "4.10.3"  # as .ci/run fetches it
AXE_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"  # of its axe.min.js


def browser(profile: Path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.set_script_timeout(300)  # axe-core takes seconds a page, and on a busy machine many
    return made


def axe_source() -> str:
    """The text of axe.min.js, from the folder that RADSWEEP_AXE names; skips without it."""
    folder = os.environ.get("RADSWEEP_AXE")
    if not folder:
        pytest.skip(f"needs axe-core: npm pack axe-core@{AXE}, unpack it, and name its folder in RADSWEEP_AXE")
    content = (Path(folder) / "axe.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == AXE_SHA256, f"{folder} is not axe-core {AXE}"
    return content.decode()


def one(driver, selector: str):
    return driver.find_element(By.CSS_SELECTOR, selector)


def every(driver, selector: str) -> list:
    return driver.find_elements(By.CSS_SELECTOR, selector)


def shown(driver, selector: str) -> list[str]:
    return [element.text for element in every(driver, selector) if element.is_displayed()]


def set_width(driver, width: int, height: int = 900) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def set_scheme(driver, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
