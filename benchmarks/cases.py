"""What is measured against what. A new case is one entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.models import Made, Workshop, candidates, pairs
from rewardgap.data.chat_template import ChatTemplate

Rows = Callable[[Workshop, ChatTemplate, int], list[dict]]


@dataclass(frozen=True)
class Case:
    """A task of rewardgap and the peers that do the same.

    Attributes:
        ours: "module:function" of rewardgap's side.
        peers: by name, those of the peers.
        model: which form of the model is loaded; None where none is.
        rows: which rows are taken.
        size: name of the model's size.
        share: of the wanted number of rows that are taken.
        batch_size: pairs of an optimiser step, where more do not fit on a peer's side.
        precisions: whether the case is worth measuring in every precision.
        cuda: whether the case is meant for a GPU.
    """

    ours: str
    peers: Mapping[str, str]
    model: Callable[[Made], Path] | None = None
    rows: Rows | None = None
    size: str = "30m"
    share: float = 1.0
    batch_size: int | None = None
    precisions: bool = True
    cuda: bool = False


def _classifier(made: Made) -> Path:
    return made.classifier


def _causal(made: Made) -> Path:
    return made.causal


def _explicit(data: str, size: str, *, cuda: bool = False) -> Case:
    peers = {"TRL RewardTrainer": "benchmarks.trl_peer:explicit"}
    rows = partial(pairs, data)
    return Case("benchmarks.ours:explicit", peers, _classifier, rows, size, cuda=cuda)


def _implicit(data: str, size: str, *, batch_size: int | None = None) -> Case:
    rows = partial(pairs, data)
    peers = DPO | DPO_PRECOMPUTED
    return Case("benchmarks.ours:implicit", peers, _causal, rows, size, batch_size=batch_size)


DPO = {"TRL DPOTrainer": "benchmarks.trl_peer:dpo"}
DPO_PRECOMPUTED = {"TRL DPOTrainer, precomputed": "benchmarks.trl_peer:dpo_precomputed"}
LOOP = {"transformers, padded": "benchmarks.transformers_peer:score"}
SCORE = "benchmarks.ours:score"

CASES: dict[str, Case] = {
    "explicit-uf": _explicit("uf_test", "30m"),
    "explicit-math": _explicit("rewardmath_train", "30m"),
    "implicit-uf": _implicit("uf_test", "30m"),
    "implicit-math": _implicit("rewardmath_train", "30m"),
    "implicit-128k": _implicit("uf_test", "30m-128k", batch_size=4),
    "score-pairs": Case(SCORE, LOOP, _classifier, partial(pairs, "uf_test"), precisions=False),
    "score-16": Case(
        SCORE, LOOP, _classifier, partial(candidates, "uf_test"), share=0.25, precisions=False
    ),
    "help": Case(
        "benchmarks.commands:rewardgap_help",
        {"TRL": "benchmarks.commands:trl_help"},
        precisions=False,
    ),
    "explicit-1b": _explicit("uf_test", "1b", cuda=True),
    "implicit-1b": Case(
        "benchmarks.ours:implicit",
        DPO,
        _causal,
        partial(pairs, "uf_test"),
        "1b",
        batch_size=4,
        cuda=True,
    ),
    "score-16-1b": Case(
        SCORE,
        LOOP,
        _classifier,
        partial(candidates, "uf_test"),
        "1b",
        share=0.5,
        cuda=True,
    ),
}
