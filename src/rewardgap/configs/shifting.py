"""Settings of the commands shift and shift list."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rewardgap.configs.compute import BadRecords, Identical
from rewardgap.configs.printing import OverwriteConfig, PrintConfig

Side: TypeAlias = Literal["responses", "prompt", "chosen", "rejected"]
AutoSide: TypeAlias = Literal["auto", "responses", "prompt", "chosen", "rejected"]


@dataclass(frozen=True, kw_only=True)
class ShiftConfig(OverwriteConfig, PrintConfig):
    """Write data in other words, with the same ids and ranking, to test rewards on them.

    `rewardgap shift list` tells what every shift does. Instead of a file, data can be named as
    DATA?shift=NAME in every command.
    """

    name: str
    """which shift; all is every one that keeps the meaning or the ranking, a file for each"""
    data: str
    """data to shift: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the file to write, in our own layout; with all, the folder"""
    rate: float | None = None
    """share of the places that are changed, from 0 to 1; by default what the shift takes"""
    seed: int = 0
    """which places are drawn"""
    side: AutoSide = "auto"
    """texts that are changed; auto is the responses, or the prompt if the shift is of prompts"""
    identical_pairs: Identical = "refuse"
    """as in train: drop leaves out records that have a response both chosen and rejected"""
    bad_records: BadRecords = "refuse"
    """drop leaves out records that cannot be used and lists them in OUT.dropped.jsonl"""


@dataclass(frozen=True, kw_only=True)
class ShiftListConfig(PrintConfig):
    """List the shifts: what each does, what it keeps, and its rate."""
