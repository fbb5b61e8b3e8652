"""The registry of named sources.

A new source is a module of this package with a `SOURCE`, and an entry in `SOURCES`.
"""

from collections.abc import Mapping

from rewardgap.data.sources import (
    agreement,
    hamiltonian,
    persona,
    rewardbench,
    rewardbench_2,
    rewardmath,
    rm_bench,
    scored,
    ultrafeedback,
    winners,
)
from rewardgap.data.spec import Source

SOURCES: Mapping[str, Source] = {
    "agreement": agreement.SOURCE,
    "hamiltonian": hamiltonian.SOURCE,
    "persona": persona.SOURCE,
    "rewardbench-2": rewardbench_2.SOURCE,
    "rewardbench-code": rewardbench.CODE,
    "rewardbench-math": rewardbench.MATH,
    "rewardmath": rewardmath.SOURCE,
    "rm-bench": rm_bench.SOURCE,
    "scored": scored.SOURCE,
    "ultrafeedback": ultrafeedback.SOURCE,
    "winners": winners.SOURCE,
}
