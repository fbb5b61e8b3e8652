"""The registry of named sources.

A new source is a `Source` in a module of this package, and an entry in `SOURCES`. Options of the
same name mean the same:

- `path`: a local copy with the columns of the hub's data set, by default the hub's;
- `tokenizer`: the reference tokenizer of the length filter, or "none";
- `seed`: determines which prompts or pairs are drawn, in which order, and all that is random;
- `train`, `test`: numbers of training and test prompts or pairs.

A source raises a `UserError` if its data cannot be read, a row is broken or too few remain.
"""

from collections.abc import Mapping

from rewardgap.data.sources import (
    agreement,
    benchmarks,
    hamiltonian,
    layouts,
    persona,
    rewardmath,
    ultrafeedback,
)
from rewardgap.data.spec import Source

SOURCES: Mapping[str, Source] = {
    "agreement": agreement.SOURCE,
    "hamiltonian": hamiltonian.SOURCE,
    "persona": persona.SOURCE,
    "rewardbench-2": benchmarks.REWARDBENCH_2,
    "rewardbench-code": benchmarks.REWARDBENCH_CODE,
    "rewardbench-math": benchmarks.REWARDBENCH_MATH,
    "rewardmath": rewardmath.SOURCE,
    "rm-bench": benchmarks.RM_BENCH,
    "scored": layouts.SCORED,
    "ultrafeedback": ultrafeedback.SOURCE,
    "winners": layouts.WINNERS,
}
