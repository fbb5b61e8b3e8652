"""What all tests of data need."""

import datasets
import pytest


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()
