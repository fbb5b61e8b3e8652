"""The registry of reward model kinds.

A new kind is one file beside this one and one line in the table. Kinds of other packages join by
`register_kind`, by an entry point of the group `rewardgap.kinds`, or under the name `module:Class`.
The table names classes without importing them, so that the command line lists kinds without torch.
"""

import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from rewardgap.errors import UserError

if TYPE_CHECKING:
    from rewardgap.models.kinds.reward_model import RewardModel

KINDS: "dict[str, str | type[RewardModel]]" = {
    "explicit": "rewardgap.models.kinds.explicit:Explicit",
    "explicit-mean": "rewardgap.models.kinds.explicit:ExplicitMean",
    "implicit": "rewardgap.models.kinds.implicit:Implicit",
    "implicit-no-reference": "rewardgap.models.kinds.implicit:ImplicitWithoutReference",
    "generative": "rewardgap.models.kinds.generative:Generative",
    "length": "rewardgap.models.kinds.baselines:Length",
    "constant": "rewardgap.models.kinds.baselines:Constant",
}
ENTRY_POINTS = "rewardgap.kinds"


def register_kind(name: str, kind: "str | type[RewardModel]") -> None:
    """Give a kind of another package a name, for this process.

    A "module:Class" is imported when it is first used.

    Raises:
        UserError: The name is taken by another class.
    """
    if KINDS.setdefault(name, kind) != kind:
        raise UserError(f"the kind {name!r} is taken by {KINDS[name]}; choose another name")


def find_kind(name: str) -> "type[RewardModel]":
    """Return the class of a kind: of the registry, of an installed package, or `module:Class`.

    Raises:
        UserError: There is no such kind; the message lists the registered ones.
    """
    refuse_unknown_kind(name)
    if name not in KINDS and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the command line does not search it, `python -m` does
    kind = KINDS.get(name, name)
    if not isinstance(kind, str):
        return kind
    from rewardgap.models.kinds.reward_model import RewardModel

    module, _, attribute = kind.partition(":")
    try:
        imported = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot import the kind {name!r}: {error}") from error
    if not (isinstance(imported, type) and issubclass(imported, RewardModel)):
        raise UserError(f"the kind {name!r} is no subclass of rewardgap's RewardModel")
    return imported


def refuse_unknown_kind(name: str) -> None:
    """Refuse a name that is no kind of the registry, of an installed package, or `module:Class`."""
    if name not in KINDS:
        # Only here, for reading the metadata of all installed packages takes time.
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_kind(name, entry.value)
    if name not in KINDS and ":" not in name:
        raise UserError(
            f"unknown kind {name!r}; the kinds are {', '.join(KINDS)}, and module:Class for a kind "
            "of your own"
        )
