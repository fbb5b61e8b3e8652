"""Rehearsals: every optimiser step of the training that is forecast, with a few pairs in each.

A rehearsal is a run with the training's model, optimiser, learning rates, schedule and number of
steps, and a smaller batch: it ends where the training ends, for a part of its cost. Adam's
second moments are those of the training's batches, without which a smaller batch lags behind, as
larger steps on larger batches would (docs/forecast.md). The pairs of a smaller batch are among
those of a larger one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.errors import UserError, reported
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.scores import RecordRewards
from rewardgap.io.files import read_json, write_text
from rewardgap.io.run_folder import Run
from rewardgap.models.kinds import find_kind
from rewardgap.models.packing import References
from rewardgap.training.loop import Settings, TreeData, fit, held_out_rewards
from rewardgap.training.train import build, open_data, sole_training, steps_of, with_references

DAMAGE = (UserError, OSError, ValueError, TypeError, KeyError, IndexError)

T = TypeVar("T")

Point: TypeAlias = tuple[int, Mapping[str, Sequence[RecordRewards]]]
"""A number of steps, and the rewards of every set after them."""

BUDGET, MOST = 0.05, 0.75
"""Shares of the cost of training between which rehearsals take where the user names none."""
USUAL, LEARNT = 0.08, 5000
"""Such a share of a training that learns so many pairs (1,000 in five epochs); of smaller ones,
which are cheap and have fewer steps over which chance averages out, more by the square."""
BACKWARD = 3
"""A training step costs as much as three forward passes."""


@dataclass(frozen=True)
class RehearsalPlan:
    """How a kind is rehearsed.

    Attributes:
        batch_size: Pairs in each step.
        seeds: Number of rehearsals, each with another seed.
        rows: At most so many records of every evaluation set are followed to the end of training;
            half of them along it.
        points: At how many points, the end among them.
    """

    batch_size: int
    seeds: int
    rows: int
    points: int

    @property
    def rows_along(self) -> int:
        """The number of records of every set that are followed before the end of training."""
        return math.ceil(self.rows / 2)


LADDER = (
    RehearsalPlan(1, 1, 32, 3),
    RehearsalPlan(1, 1, 64, 3),
    RehearsalPlan(1, 2, 64, 4),
    RehearsalPlan(2, 1, 64, 3),
    RehearsalPlan(2, 2, 100, 6),
    RehearsalPlan(4, 1, 64, 3),
    RehearsalPlan(4, 1, 100, 4),
    RehearsalPlan(8, 1, 100, 6),
    RehearsalPlan(8, 2, 100, 8),
    RehearsalPlan(8, 2, 200, 12),
    RehearsalPlan(16, 2, 400, 12),
)
"""The last plan that fits into the budget is taken. More pairs in a step come before a second seed
and more records: with one pair chance may move weights as far as what is learnt does."""


@dataclass(frozen=True)
class Rehearsal:
    """What was seen along one rehearsal.

    Attributes:
        steps: (P,) number of optimiser steps done at each point, from 1.
        losses: (P,) mean loss of a pair over the steps since the point before.
        rewards: By evaluation set, at each point, the rewards of the records that are followed to
            there.
    """

    steps: NDArray[np.int64]
    losses: FloatArray
    rewards: Mapping[str, Sequence[Sequence[RecordRewards]]]


@dataclass(frozen=True)
class Rehearsed:
    """The rehearsals of one kind, the records that they follow, and what they cost.

    Attributes:
        plan: What was chosen for the budget.
        rehearsals: One for each seed.
        share: The cost, as a share of that of training this kind.
        learning_rate: The training's.
        batch_size: Pairs in each step of the training.
    """

    plan: RehearsalPlan
    rehearsals: Sequence[Rehearsal]
    share: float
    learning_rate: float
    batch_size: int

    @property
    def first_loss(self) -> float:
        """The mean loss of a pair up to the first point."""
        return float(np.mean([rehearsal.losses[0] for rehearsal in self.rehearsals]))

    @property
    def last_loss(self) -> float:
        """The mean loss of a pair before the last point."""
        return float(np.mean([rehearsal.losses[-1] for rehearsal in self.rehearsals]))


def rehearse(config: ForecastConfig, kind: str, data: RunData, shared: PreparedData) -> Rehearsed:
    """Rehearse a kind in run folders `out/rehearsals/KIND-SEED`; those that are done are read.

    Raises:
        UserError: The budget is too small, the loss is not finite, or a folder holds another run.
    """
    costs = Costs(config, data, find_kind(kind).needs_reference)
    plan = costs.choose(kind)
    rehearsals = [
        _rehearse(_training(config, kind, plan, seed, costs), plan, shared)
        for seed in range(config.seed, config.seed + plan.seeds)
    ]
    return Rehearsed(plan, rehearsals, costs.share(plan), config.learning_rate, config.batch_size)


def draw(records: Sequence[T], rows: int | None) -> list[T]:
    """Return at most `rows` of the records, drawn at random, the same every time and in order.

    Those of fewer rows are among those of more. Without a number they are all records.
    """
    if rows is None:
        return list(records)
    places = np.random.default_rng(0).permutation(len(records))[:rows]
    return [records[place] for place in np.sort(places)]


@dataclass(frozen=True)
class Costs:
    """The cost of training and of rehearsals, in tokens of a forward pass."""

    config: ForecastConfig
    data: RunData
    needs_reference: bool

    @cached_property
    def steps(self) -> int:
        """The number of optimiser steps of the training."""
        return len(steps_of(self.config, self.data))

    @property
    def training(self) -> float:
        """What the whole training costs, without any evaluation."""
        return BACKWARD * self._pair_size * self.learnt

    @property
    def learnt(self) -> int:
        """How many pairs the training learns from, every one as often as it does."""
        return min(self.steps * self.config.batch_size, self.config.epochs * self.pairs)

    @cached_property
    def pairs(self) -> int:
        """The number of training pairs."""
        return int(self.data.training.pairs.sum())

    def share(self, plan: RehearsalPlan) -> float:
        """Return what a plan costs, as a share of the training."""
        along, to_end = self._followed(plan.rows_along), self._followed(plan.rows)
        evaluated = (plan.points - 1) * along + (1 + self.needs_reference) * to_end
        learnt = self._pair_size * self.steps * plan.batch_size
        once = (BACKWARD + self.needs_reference) * learnt + evaluated
        return plan.seeds * once / self.training

    def _followed(self, rows: int) -> int:
        """Return the number of tokens of so many records of every set."""
        sets = self.data.evaluation.values()
        return sum(tree.size for trees in sets for tree in draw(trees, rows))

    def choose(self, kind: str) -> RehearsalPlan:
        """Return the last plan within the budget, or the first if the user names none.

        Raises:
            UserError: The user's budget is too small for the cheapest plan.
        """
        smaller = [plan for plan in LADDER if plan.batch_size < max(2, self.config.batch_size)]
        usual = USUAL * (LEARNT / self.learnt) ** 2
        most = min(max(BUDGET, usual), MOST)
        budget = most if self.config.budget is None else self.config.budget
        fitting = [plan for plan in smaller if self.share(plan) <= budget]
        if fitting:
            return fitting[-1]
        if self.config.budget is not None:
            smallest = f"{self.share(LADDER[0]):.2g}"
            raise UserError(
                f"--budget {budget:g} is too small: the smallest rehearsal of {kind} takes "
                f"{smallest} of its training; give at least that, or 0 for theory alone"
            )
        return LADDER[0]

    @property
    def _pair_size(self) -> float:
        """Mean number of tokens of a pair."""
        return float(self.data.training.sizes.sum()) / self.pairs


def _training(
    config: ForecastConfig, kind: str, plan: RehearsalPlan, seed: int, costs: Costs
) -> TrainConfig:
    """Return the configuration of a rehearsal."""
    known = {key.name for key in fields(TrainConfig)}
    settings = {key.name: getattr(config, key.name) for key in fields(config) if key.name in known}
    return TrainConfig(
        **settings
        | {
            "kind": kind,
            "seed": seed,
            "out": str(Path(config.out) / "rehearsals" / f"{kind}-{seed}"),
            "batch_size": plan.batch_size,
            "moment_batch_size": config.batch_size,
            "max_steps": costs.steps,
            "epochs": math.ceil(costs.steps * plan.batch_size / costs.pairs) + 1,
            "eval_steps": costs.steps // plan.points + 1,
            "checkpoint_steps": 0,
            "resume": True,
        }
    )


def _rehearse(config: TrainConfig, plan: RehearsalPlan, shared: PreparedData) -> Rehearsal:
    """Run one rehearsal, unless it was done before."""
    with sole_training(config, shared) as settings:
        path = settings.run.folder / "rehearsal.json"
        if not path.exists():
            _write(path, _train(settings, open_data(settings, shared), plan))
        return _read(path, settings.run)


def _train(settings: Settings, data: RunData, plan: RehearsalPlan) -> list[Point]:
    """Take the steps of a rehearsal; return what was seen along them and at their end."""
    evaluation = {name: draw(trees, plan.rows) for name, trees in data.evaluation.items()}
    model = build(settings.config, replace(data, evaluation=evaluation))
    steps, trees = steps_of(settings.config, data), data.training
    learnt = sorted({index for step in steps for index in step})
    read, *sets = with_references(
        settings, model, [[trees[i] for i in learnt], *evaluation.values()]
    )
    training = TreeData(trees, _spread(read.references, learnt, len(trees)))
    to_end = dict(zip(evaluation, sets, strict=True))
    along = {
        name: of_set.read(draw(range(len(of_set.trees)), plan.rows_along))
        for name, of_set in to_end.items()
    }
    seen: list[Point] = []
    fit(model, training, steps, along, settings, lambda step, rewards: seen.append((step, rewards)))
    before = [point for point in seen if point[0] < len(steps)]
    return [*before, (len(steps), held_out_rewards(model, to_end, settings))]


def _spread(
    references: References | None, places: Sequence[int], records: int
) -> References | None:
    """Return the references of some records as those of all, empty for the rest."""
    if references is None:
        return None
    spread = [np.empty(0, np.float32)] * records
    for place, values in zip(places, references, strict=True):
        spread[place] = values
    return spread


def _write(path: Path, seen: Sequence[Point]) -> None:
    points = [{"step": step, "rewards": rewards} for step, rewards in seen]
    write_text(path, json.dumps(points) + "\n")


def _read(path: Path, run: Run) -> Rehearsal:
    """Read a rehearsal that was written, and its losses from its log.

    Raises:
        UserError: One of the files is damaged.
    """
    with reported(DAMAGE, f"{path.parent} holds no rehearsal: ", "; remove it"):
        points = read_json(path)
        losses = [row["loss"] for row in run.read_log()]
        steps = [int(point["step"]) for point in points]
        between = [losses[first:last] for first, last in pairwise([0, *steps])]
        return Rehearsal(
            steps=np.array(steps),
            losses=np.array([np.mean(part) for part in between], dtype=np.float64),
            rewards={
                name: [
                    [
                        (tuple(chosen), tuple(rejected))
                        for chosen, rejected in point["rewards"][name]
                    ]
                    for point in points
                ]
                for name in points[0]["rewards"]
            },
        )
