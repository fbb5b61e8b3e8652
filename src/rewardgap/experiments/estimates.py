"""The cost of a run, from tokenised data and the configuration of the model alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.evaluation.text import align_columns
from rewardgap.io.progress import duration
from rewardgap.models.kinds import find_kind
from rewardgap.training.memory import Setup, estimate_memory
from rewardgap.training.train import restrict

DONE = "done"
TITLES: tuple[str, ...] = (
    "cell",
    "state",
    "tokens trained",
    "reference",
    "scored",
    "memory",
    "training",
)


@dataclass(frozen=True)
class Estimate:
    """Tokens and memory of one run.

    Attributes:
        parameters: Number of the reward model's parameters.
        trained: Number of tokens of all optimiser steps.
        reference: Number of tokens whose log-probabilities the initial model computes.
        scored: Number of tokens of the evaluation sets.
        memory: Approximate bytes of weights, gradients, Adam's moments and activations.
        seconds: Time of training at the speed of runs that have begun; None where none has.
    """

    parameters: int
    trained: int
    reference: int
    scored: int
    memory: int
    seconds: float | None = None

    @property
    def cost(self) -> int:
        """The number of forward multiply-adds; a training step takes three times a forward pass."""
        return (self.parameters + 1) * (3 * self.trained + self.reference + self.scored)


def estimate(
    config: TrainConfig, folder: Path, template: ChatTemplate, shared: PreparedData
) -> Estimate:
    """Return the cost of a run that finds no reference log-probabilities in the cache.

    Args:
        config: The configuration of the run.
        folder: The initial language model; no weights are read.
        template: Its chat template.
        shared: Keeps the records and trees for the run itself.

    Raises:
        UserError: The data or the model does not allow the run.
    """
    model = find_kind(config.kind).on_meta(folder, template, KindConfig.of(config))
    data = RunData.open(config, model.encoder, shared)
    training = data.training
    scored = sum(tree.size for trees in data.evaluation.values() for tree in trees)
    epoch = int(training.sizes.sum())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    setup = Setup.here(config)
    if model.language_model:
        restrict(model.language_model, config, setup.device, setup.compute_dtype)
    return Estimate(
        parameters=parameters,
        trained=config.epochs * epoch if parameters else 0,
        reference=epoch + scored if model.needs_reference else 0,
        scored=scored,
        memory=estimate_memory(model, config, training, setup).total,
    )


def format_estimates(lines: Sequence[tuple[str, str, Estimate]]) -> str:
    """Return a line per cell (folder, state, tokens, memory, time) and one for what is left."""
    left = [cost for _, state, cost in lines if state != DONE]
    trained, reference, scored = (
        sum(getattr(cost, key) for cost in left) for key in ("trained", "reference", "scored")
    )
    memory = max((cost.memory for cost in left), default=0)
    times = [cost.seconds for cost in left if cost.seconds is not None]
    seconds = sum(times) if len(times) == len(left) else None
    total = Estimate(0, trained, reference, scored, memory, seconds)
    rows = [TITLES]
    for place, state, cost in [*lines, (f"{len(left)} of {len(lines)} to do", "", total)]:
        tokens = (f"{count:,}" for count in (cost.trained, cost.reference, cost.scored))
        time = "?" if cost.seconds is None else duration(cost.seconds)
        rows.append((place, state, *tokens, f"{cost.memory / 2**30:.1f} GiB", time))
    return align_columns(rows, right=range(2, len(TITLES))) + "\n"
