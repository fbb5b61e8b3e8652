"""How every kind's reward is read from hidden states, and its gradient in the last layer.

The forecast works with *scores*: the reward itself, or for the generative kind the log-odds
ln π(Yes) − ln π(No), which rank responses as P(Yes) does once Yes and No take all the probability
and which, unlike it, are linear in the output embedding.

A new kind is a class in this folder and a line in `READOUTS`.
"""

from rewardgap.dynamics.readouts.answer import AnswerReadout
from rewardgap.dynamics.readouts.head import HeadReadout, MeanReadout
from rewardgap.dynamics.readouts.readout import Readout
from rewardgap.dynamics.readouts.tokens import RatioReadout, TokensReadout
from rewardgap.errors import UserError

__all__ = ["READOUTS", "Readout", "find_readout"]

READOUTS: dict[str, type[Readout]] = {
    "explicit": HeadReadout,
    "explicit-mean": MeanReadout,
    "implicit": RatioReadout,
    "implicit-no-reference": TokensReadout,
    "generative": AnswerReadout,
}


def find_readout(kind: str) -> type[Readout]:
    """The read-out of a kind.

    Raises:
        UserError: the kind has none; the message lists those that do.
    """
    if kind not in READOUTS:
        raise UserError(
            f"kind {kind!r} has no forecast; the kinds that do are {', '.join(READOUTS)}"
        )
    return READOUTS[kind]
