"""rewardgap: train, score and compare language-model reward models of every kind.

    import rewardgap
    model = rewardgap.load("runs/explicit")
    model.score("What is two plus two?", ["Four.", "Five."])

The verbs of the command line are functions here; each takes its configuration and returns what it
wrote. Names are imported when they are first used, so that `import rewardgap` is quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# No module of the package has the name of a verb: importing it would hide the function.
_HOMES = {
    "ChesConfig": "configs.forecasting",
    "DemoConfig": "configs.training",
    "ExplainConfig": "configs.forecasting",
    "ForecastConfig": "configs.forecasting",
    "Message": "data.records",
    "MetricsConfig": "configs.scoring",
    "PretrainConfig": "configs.training",
    "ReportConfig": "configs.experiments",
    "RunConfig": "configs.experiments",
    "ScoreConfig": "configs.scoring",
    "Scorer": "scoring.scorer",
    "TheoryConfig": "configs.forecasting",
    "TrainConfig": "configs.training",
    "UserError": "errors",
    "ches": "explaining.displacement",
    "demo": "demonstration",
    "explain": "explaining.explain",
    "forecast": "forecasting.forecast",
    "load": "scoring.scorer",
    "metrics": "evaluation.table",
    "pretrain": "training.pretrain",
    "report": "reporting.report",
    "run": "experiments.run",
    "score": "scoring.scorer",
    "theory": "dynamics.theorems.theory",
    "train": "training.train",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
