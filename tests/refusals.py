"""Data that `load` refuses, and the one line that it says."""

from typing import Any

import datasets
import pytest

from rewardgap.data.load import load
from rewardgap.errors import UserError


def refused(spec: str | list[str], **arguments: Any) -> str:
    """The message about data that cannot be loaded."""
    with pytest.raises(UserError) as caught:
        load(spec, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def refused_by_the_hub(spec: str, monkeypatch: pytest.MonkeyPatch, says: str) -> str:
    """The message about data of a hub whose first line is what it says."""

    def load_dataset(name: str, split: str) -> None:
        raise ConnectionError(f"{says}\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return refused(spec)
