"""Results that several test files share."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from grids import REWORDED, first_right, results_of, write_grid

from rewardgap.reporting.results import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return results whose outcome is known: implicit models lose 26 of 40 records reworded."""
    return results_of(write_grid(tmp_path_factory.mktemp("grid"), REWORDED, first_right))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without a window, where there is one."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with its driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
