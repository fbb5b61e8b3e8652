"""What most tests of training need."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def model(folders: Callable[..., Path]) -> Path:
    return folders("llama")
