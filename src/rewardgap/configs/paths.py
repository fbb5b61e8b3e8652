"""Paths in configurations: `~` is the home folder, in every key."""

import os
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class HomePaths:
    """A configuration whose texts may begin with `~/`, in lists and mappings too."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, expand_home(getattr(self, field.name)))


def expand_home(value: Any) -> Any:
    """Return a value with the home folder in place of `~` at the beginning of its texts."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, list):
        return [expand_home(item) for item in value]
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    return value
