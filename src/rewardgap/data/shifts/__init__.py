"""The registry of shifts.

A new shift is an entry in `SHIFTS` of a module of this package, or a new module in the table here.
It changes nothing at the rate 0, and the same text in the same way with the same seed.
"""

from collections.abc import Mapping

from rewardgap.data.shifts import (
    answers,
    code_changes,
    frames,
    letters,
    marking,
    sentences,
    spacing,
    words,
)
from rewardgap.data.shifts.shift import Shift

SHIFTS: Mapping[str, Shift] = {
    **letters.SHIFTS,
    **spacing.SHIFTS,
    **words.SHIFTS,
    **marking.SHIFTS,
    **frames.SHIFTS,
    **answers.SHIFTS,
    **code_changes.SHIFTS,
    **sentences.SHIFTS,
}
"""Every shift by its name."""
