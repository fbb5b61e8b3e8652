"""The registry of reward model kinds.

A new kind is one file beside this one and one line in the table. The table names classes without
importing them, so that the command line can list kinds without loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from rewardgap.errors import UserError

if TYPE_CHECKING:
    from rewardgap.models.kinds.reward_model import RewardModel

KINDS: dict[str, str] = {
    "explicit": "rewardgap.models.kinds.explicit:Explicit",
    "explicit-mean": "rewardgap.models.kinds.explicit:ExplicitMean",
    "implicit": "rewardgap.models.kinds.implicit:Implicit",
    "implicit-no-reference": "rewardgap.models.kinds.implicit:ImplicitWithoutReference",
    "generative": "rewardgap.models.kinds.generative:Generative",
    "length": "rewardgap.models.kinds.baselines:Length",
    "constant": "rewardgap.models.kinds.baselines:Constant",
}


def find_kind(name: str) -> "type[RewardModel]":
    """The class of a registered kind.

    Raises:
        UserError: no such kind; the message lists the registered ones.
    """
    if name not in KINDS:
        raise UserError(f"unknown kind {name!r}; the kinds are {', '.join(KINDS)}")
    module, _, attribute = KINDS[name].partition(":")
    return cast("type[RewardModel]", getattr(import_module(module), attribute))
