"""rewardgap: train, score and compare language-model reward models of every kind.

    import rewardgap
    model = rewardgap.load("runs/explicit")
    model.score("What is two plus two?", ["Four.", "Five."])

The verbs of the command line are functions here; each takes its configuration and returns what it
wrote. Names are imported when they are first used, so that `import rewardgap` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardgap.configs import PretrainConfig, ScoreConfig, TrainConfig
    from rewardgap.errors import UserError
    from rewardgap.pretraining import pretrain
    from rewardgap.records import Message
    from rewardgap.scoring import Scorer, load, score
    from rewardgap.training import train

__version__ = "0.1.0"
__all__ = [
    "Message",
    "PretrainConfig",
    "ScoreConfig",
    "Scorer",
    "TrainConfig",
    "UserError",
    "load",
    "pretrain",
    "score",
    "train",
]

# No module has the name of a verb: importing it would put the module in the function's place.
_HOMES = {
    "Message": "records",
    "PretrainConfig": "configs",
    "ScoreConfig": "configs",
    "TrainConfig": "configs",
    "UserError": "errors",
    "Scorer": "scoring",
    "load": "scoring",
    "score": "scoring",
    "train": "training",
    "pretrain": "pretraining",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
