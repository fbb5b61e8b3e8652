"""rewardgap: train, score and compare language-model reward models of every kind.

    import rewardgap
    model = rewardgap.load("runs/explicit")
    model.score("What is two plus two?", ["Four.", "Five."])

The verbs of the command line are functions here; each takes its configuration and returns what it
wrote. Names are imported when they are first used, so that `import rewardgap` is quick.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardgap.configs import ScoreConfig, TrainConfig
    from rewardgap.errors import UserError
    from rewardgap.score import Scorer, load, score
    from rewardgap.train import train

__version__ = "0.1.0"
__all__ = ["ScoreConfig", "Scorer", "TrainConfig", "UserError", "load", "score", "train"]

_HOMES = {
    "ScoreConfig": "configs",
    "TrainConfig": "configs",
    "UserError": "errors",
    "Scorer": "score",
    "load": "score",
    "score": "score",
    "train": "train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    Names whose modules come along are bound too: to import `rewardgap.score`, for `load` say, puts
    the module in the place of the function.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(f"{__name__}.{_HOMES[name]}")
    for public, home in _HOMES.items():
        module = sys.modules.get(f"{__name__}.{home}")
        if hasattr(module, public):
            globals()[public] = getattr(module, public)
    return globals()[name]
