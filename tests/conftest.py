"""Fixtures that several test files share: tiny models, made once a session."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from clusters import two_machines
from hypothesis import HealthCheck, settings
from processes import start_forks

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported: tests use no network

# Properties are of values: how long an example takes depends on what else the machine does.
settings.register_profile("values", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("values")


def pytest_collection_finish() -> None:
    """Leave what is imported out of garbage collection, of which every training asks for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model` by its arguments (architecture, pad, template, seed), saved on first use."""
    import torch
    from tiny import tiny_model

    torch.set_num_threads(1)  # threads cost tiny models more than they give

    @cache
    def make(*arguments: object) -> Path:
        return tiny_model(tmp_path_factory.mktemp("model"), *arguments)

    return make


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Starts processes that have torch and the package imported already; see `processes`."""
    return start_forks()


@pytest.fixture
def plain_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread for every process of Ray, as the results are compared bit by bit."""
    for name, value in {"USAGE_STATS_ENABLED": "0", "COLOR_PREFIX": "0"}.items():
        monkeypatch.setenv(f"RAY_{name}", value)
    tests = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(tests))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def cluster(plain_ray: None) -> Iterator[Any]:
    """Two machines of one processor each, as far as Ray can tell."""
    made = two_machines()
    yield made
    made.shutdown()


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
