"""The summary of score files: every measure, and the accuracy of content-blind baselines.

Intervals are 95 % bootstrap intervals over records; those of one prompt are resampled together.
Rows may come in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rewardgap.evaluation.accuracy import count_ties
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.measures import MEASURES, ScoredRuns
from rewardgap.evaluation.scores import ScoreRow


@dataclass(frozen=True)
class Summary:
    """What is reported about one score file, or about those of models that differ by their seed.

    Attributes:
        n: Number of records.
        ties: Number of chosen x rejected pairs with equal rewards, in all files together.
        figures: By name of a measure its figure; without measures that the records do not allow.
        baselines: Accuracy of every content-blind baseline on the same records.
    """

    n: int
    ties: int
    figures: Mapping[str, Interval]
    baselines: Mapping[str, Interval]

    @property
    def accuracy(self) -> Interval:
        """Share of pairs ranked right."""
        return self.figures["accuracy"]

    @property
    def margin(self) -> Interval:
        """Absolute normalised reward margin."""
        return self.figures["margin"]

    def to_json(self) -> dict[str, Any]:
        """Return the nested dictionary of `metrics.json` and `rewardgap metrics --json`."""
        columns = [measure.name for measure in MEASURES if measure.is_column]
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        return {
            "n": self.n,
            "ties": self.ties,
            **{name: figures.pop(name) for name in columns if name in figures},
            "baselines": {name: asdict(figure) for name, figure in self.baselines.items()},
            **figures,
        }


def summarise(*runs: Sequence[ScoreRow], seed: int = 0) -> Summary:
    """Summarise a score file, or those of models of several training seeds for the same records.

    Values are means over the runs; intervals are over records and runs, see `over_seeds`.

    Raises:
        UserError: There are no rows, or the files have different ids.
    """
    scored = ScoredRuns.of(runs, seed)
    figures = {measure.name: measure.compute(scored) for measure in MEASURES}
    return Summary(
        n=len(scored.runs[0]),
        ties=sum(map(count_ties, scored.rewards)),
        figures={name: figure for name, figure in figures.items() if figure is not None},
        baselines={name: scored.mean(values) for name, values in scored.baselines.items()},
    )
