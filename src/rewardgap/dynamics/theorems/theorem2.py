"""Theorem 2: with fixed representations, only the explicit model can judge unseen tokens.

Both kinds are trained by full-batch gradient descent on the same single-token pairs, under the
learning rate of the theorem, and watched at every step.
"""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit

from rewardgap.dynamics.separator import max_margin_separator
from rewardgap.models.kinds.palette import GREY, PAGE, style_of_kind

Array = NDArray[np.float64]
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class SingleTokenPairs:
    """Pairs of single tokens y⁺ and y⁻, (N,), with (N, D) hidden states h_x, h_{x,y⁺}, h_{x,y⁻}."""

    prompts: Array
    chosen: Array
    rejected: Array
    chosen_tokens: Tokens
    rejected_tokens: Tokens

    @property
    def differences(self) -> Array:
        """(N, D) φ_EX = h_{x,y⁺} − h_{x,y⁻}."""
        return self.chosen - self.rejected

    @property
    def largest_norm(self) -> float:
        """B, the largest norm of a hidden state."""
        states = np.concatenate([self.prompts, self.chosen, self.rejected])
        return float(np.linalg.norm(states, axis=1).max())


@dataclass(frozen=True)
class TrainingCurve:
    """One model along its training; index t is the state after t steps, from 0 to T.

    The loss is that of eq. 3 on the training pairs; accuracies count a tie as ½, and the second is
    that on the evaluation pairs.
    """

    loss: Array
    training_accuracy: Array
    accuracy: Array


def learning_rate_bound(largest_norm: float, beta: float) -> float:
    """Return 2 B⁻² min(β⁻², 1): below it both losses, B² max(β², 1)-smooth, descend (lemma 2)."""
    return 2 / largest_norm**2 * min(beta**-2, 1)


def train_explicit(
    training: SingleTokenPairs, evaluation: SingleTokenPairs, head: Array, rate: float, steps: int
) -> TrainingCurve:
    """Train the (D,) head u of r = ⟨u, h_{x,y}⟩ by T steps of full-batch gradient descent."""
    margins, evaluation_margins = [], []
    for _ in range(steps + 1):
        margins.append(training.differences @ head)
        evaluation_margins.append(evaluation.differences @ head)
        head = head + rate * expit(-margins[-1]) @ training.differences / len(margins[-1])
    return _curve(margins, evaluation_margins)


def train_implicit(
    training: SingleTokenPairs,
    evaluation: SingleTokenPairs,
    reference: Array,
    beta: float,
    rate: float,
    steps: int,
) -> TrainingCurve:
    """Train the unembedding U of r = β ln(π / π_ref), π_ref being the initial model.

    The normaliser of the softmax cancels from the loss, whose gradient is therefore that of a
    logistic regression with features β (e_{y⁺} − e_{y⁻}) h_xᵀ: rows of tokens that no training
    pair contains get a gradient of exactly 0, in floating point too. `reference` is the (V, D)
    initial U.
    """
    vocabulary = np.eye(len(reference))
    signs = vocabulary[training.chosen_tokens] - vocabulary[training.rejected_tokens]
    unembedding, margins, evaluation_margins = reference, [], []
    for _ in range(steps + 1):
        margins.append(implicit_margins(training, unembedding, reference, beta))
        evaluation_margins.append(implicit_margins(evaluation, unembedding, reference, beta))
        weights = rate * beta / len(signs) * expit(-margins[-1])
        unembedding = unembedding + signs.T @ (weights[:, None] * training.prompts)
    return _curve(margins, evaluation_margins)


def implicit_margins(
    pairs: SingleTokenPairs, unembedding: Array, reference: Array, beta: float
) -> Array:
    """Return (N,) r(x, y⁺) − r(x, y⁻) from the log-probabilities of both models.

    A log-ratio is summed as (change of the token's logit) − (change of the normaliser). Two tokens
    whose rows of U did not move then have equal rewards to the last bit: computing ln π and
    ln π_ref first would round them differently and break a tie that is exact.
    """
    logits, initial = pairs.prompts @ unembedding.T, pairs.prompts @ reference.T
    normaliser = np.logaddexp.reduce(logits, axis=1) - np.logaddexp.reduce(initial, axis=1)
    changes = pairs.prompts @ (unembedding - reference).T
    rows = np.arange(len(changes))
    chosen = beta * (changes[rows, pairs.chosen_tokens] - normaliser)
    return np.asarray(chosen - beta * (changes[rows, pairs.rejected_tokens] - normaliser))


def _curve(margins: list[Array], evaluation_margins: list[Array]) -> TrainingCurve:
    training, evaluation = np.stack(margins), np.stack(evaluation_margins)
    accuracies = ((m > 0).mean(axis=1) + (m == 0).mean(axis=1) / 2 for m in (training, evaluation))
    return TrainingCurve(np.logaddexp(0, -training).mean(axis=1), *accuracies)


@dataclass(frozen=True)
class Theorem2:
    """Both models along one training run, and the share of evaluation pairs that u* ranks right."""

    beta: float
    rate: float
    rate_bound: float
    separator_share: float
    explicit: TrainingCurve
    implicit: TrainingCurve

    @property
    def reached_at(self) -> int | None:
        """t₀ from which the explicit accuracy stays at or above u*'s share; None if not reached."""
        below = np.flatnonzero(self.explicit.accuracy < self.separator_share)
        first = int(below[-1]) + 1 if len(below) else 0
        return first if first < len(self.explicit.accuracy) else None

    def summary(self) -> dict[str, object]:
        """Return the figures for `theory.json`, curves at about twelve steps a decade.

        `holds` judges the limits at the last step: both losses below 0.05 and not above any
        earlier value, both training accuracies 1, t₀ reached, and an implicit accuracy of exactly
        ½ at every t.
        """
        curves = {"explicit": self.explicit, "implicit": self.implicit}
        fitted = all(
            np.all(np.diff(c.loss) < 0) and c.loss[-1] < 0.05 and c.training_accuracy[-1] == 1
            for c in curves.values()
        )
        always_half = bool(np.all(self.implicit.accuracy == 0.5))
        last = len(self.explicit.loss) - 1
        decades = np.geomspace(1, last, int(12 * math.log10(last)) + 1).round().astype(np.int64)
        steps = np.unique(np.append(0, decades))
        return {
            "beta": self.beta,
            "learning_rate": self.rate,
            "learning_rate_bound": self.rate_bound,
            "separator_share": self.separator_share,
            "reached_at": self.reached_at,
            "implicit_always_half": always_half,
            "steps": steps.tolist(),
            **{
                kind: {name: values[steps].tolist() for name, values in vars(curve).items()}
                for kind, curve in curves.items()
            },
            "checked": (
                f"over {last} steps on one random task both kinds fit the training pairs; on "
                "unseen tokens the implicit one stays at ½, and the explicit one reaches "
                f"{self.separator_share:.2f}, the share that the separator has"
            ),
            "holds": fitted and always_half and self.reached_at is not None,
        }

    def figure(self) -> Figure:
        """Draw the losses and the evaluation accuracies against the step, with u*'s share."""
        figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
        losses, accuracies = figure.subplots(1, 2)
        steps = np.arange(len(self.explicit.loss)) + 1
        for curve, name in ((self.explicit, "explicit"), (self.implicit, "implicit")):
            look = {"color": style_of_kind(name).colour}
            losses.plot(steps, curve.loss, **look)
            accuracies.plot(steps, curve.accuracy, **look, label=f"{name}, unseen tokens")
            label = f"{name}, training pairs"
            accuracies.plot(steps, curve.training_accuracy, **look, linestyle=":", label=label)
        label = "right by the max-margin separator"
        accuracies.axhline(self.separator_share, color=GREY, linestyle="--", label=label)
        losses.set(xscale="log", yscale="log", xlabel="training step", ylabel="training loss")
        accuracies.set(xscale="log", ylim=(-0.02, 1.02), xlabel="training step", ylabel="accuracy")
        figure.legend(loc="outside lower center", ncols=2)
        figure.suptitle("Fixed representations, unseen tokens: only the explicit model can learn")
        return figure


def theorem2(seed: int, beta: float = 0.5, steps: int = 4000) -> Theorem2:
    """Check theorem 2 on random representations in which meaning is a direction.

    Training responses are two tokens that agree and two that disagree; evaluation responses are
    other tokens, whose hidden states share the direction but whose rows of U are their own. In
    about one evaluation pair of seven the direction points the wrong way: no head trained on these
    pairs can rank those, so that u*'s share is below 1. The explicit model starts from the worst
    u, minus that direction. The learning rate is nine tenths of its bound.
    """
    random = np.random.default_rng(seed)
    width, vocabulary = 16, 24
    meaning = random.normal(size=width)
    training = _draw_pairs(random, np.tile(meaning, (12, 1)), (0, 2), (2, 4))
    flips = np.where(random.random(100) < 1 / 7, -1, 1)
    evaluation = _draw_pairs(random, flips[:, None] * meaning, (4, 14), (14, vocabulary))
    reference = random.normal(size=(vocabulary, width))
    rate_bound = learning_rate_bound(training.largest_norm, beta)
    rate = 0.9 * rate_bound
    separator = max_margin_separator(training.differences)
    return Theorem2(
        beta=beta,
        rate=rate,
        rate_bound=rate_bound,
        separator_share=separator.positive_share(evaluation.differences),
        explicit=train_explicit(training, evaluation, -meaning, rate, steps),
        implicit=train_implicit(training, evaluation, reference, beta, rate, steps),
    )


def _draw_pairs(
    random: np.random.Generator,
    meanings: Array,
    chosen_range: tuple[int, int],
    rejected_range: tuple[int, int],
) -> SingleTokenPairs:
    """Draw pairs whose responses are at ± their (N, D) meanings, plus prompt and noise.

    Ranges of tokens are half-open.
    """
    prompts, chosen_noise, rejected_noise = random.normal(size=(3, *meanings.shape))
    return SingleTokenPairs(
        prompts=prompts,
        chosen=(prompts + meanings + chosen_noise) / 2,
        rejected=(prompts - meanings + rejected_noise) / 2,
        chosen_tokens=random.integers(*chosen_range, size=len(meanings)),
        rejected_tokens=random.integers(*rejected_range, size=len(meanings)),
    )
