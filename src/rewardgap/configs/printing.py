"""Settings of commands that print a result, and of those that write one."""

from dataclasses import dataclass

from rewardgap.configs.paths import HomePaths


@dataclass(frozen=True, kw_only=True)
class PrintConfig(HomePaths):
    """What is printed; in Python a command returns its result, whatever is set here."""

    json: bool = False
    """print JSON instead of a table or sentences"""


@dataclass(frozen=True, kw_only=True)
class OverwriteConfig(HomePaths):
    """What to do with an earlier result."""

    overwrite: bool = False
    """replace a result that is there"""
