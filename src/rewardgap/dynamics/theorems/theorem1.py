"""Theorem 1 and corollary 1: an implicit model can verify without being able to generate.

From any reference π_ref the verifier π(y given x) ∝ π_ref(y given x) · exp(δ/β · 1[y correct]) is
built on tasks small enough to enumerate every response, so that nothing is estimated.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from rewardgap.models.kinds.palette import COLOURS, COLUMN, GREY, style_of_kind

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Verification:
    """What theorem 1 states about one prompt, measured.

    Attributes:
        margin: Smallest reward of a correct response minus largest of an incorrect one.
        log_correct: Ln π(C(x) given x), the log-probability of generating a correct response.
        log_correct_reference: The same under π_ref.
        log_bound: Ln π_ref(C(x) given x) + δ/β, which `log_correct` does not exceed.
    """

    margin: float
    log_correct: float
    log_correct_reference: float
    log_bound: float


def verifier(log_reference: Array, correct: Mask, margin: float, beta: float) -> Array:
    """Return (R,) ln π of the construction of theorem 1; the arguments are those of `verify`."""
    return np.asarray(log_softmax(log_reference + margin / beta * correct), dtype=np.float64)


def verify(log_reference: Array, correct: Mask, margin: float, beta: float) -> Verification:
    """Build the verifier of one prompt and measure both sides of theorem 1.

    The (R,) reference sums to one in probability; the margin δ and β are positive.

    Raises:
        ValueError: No response is correct, or all are: there is no margin to speak of.
    """
    if correct.all() or not correct.any():
        raise ValueError("a task needs a correct and an incorrect response")
    log_policy = verifier(log_reference, correct, margin, beta)
    rewards = beta * (log_policy - log_reference)
    log_correct_reference = float(logsumexp(log_reference[correct]))
    return Verification(
        margin=float(rewards[correct].min() - rewards[~correct].max()),
        log_correct=float(logsumexp(log_policy[correct])),
        log_correct_reference=log_correct_reference,
        log_bound=log_correct_reference + margin / beta,
    )


@dataclass(frozen=True)
class Theorem1:
    """Theorem 1 on random tasks: `checks[s][x]` is prompt x at strength δ/β = `strengths[s]`."""

    beta: float
    strengths: tuple[float, ...]
    checks: tuple[tuple[Verification, ...], ...]

    def summary(self) -> dict[str, object]:
        """Return the figures for `theory.json`; `holds` allows for 1e-9 of rounding."""
        cells = list(zip(self.strengths, self.checks, strict=True))
        error = max(abs(c.margin - s * self.beta) for s, checks in cells for c in checks)
        excess = max(c.log_correct - c.log_bound for row in self.checks for c in row)
        return {
            "beta": self.beta,
            "strengths": self.strengths,
            "margin_error": error,
            "correct_reference": _exp(c.log_correct_reference for c in self.checks[0]),
            "correct": [_exp(c.log_correct for c in row) for row in self.checks],
            "bound": [_exp(c.log_bound for c in row) for row in self.checks],
            "checked": (
                f"on {len(self.checks[0])} random tasks at {len(self.strengths)} strengths, a "
                "verifier with this margin answers rightly no more often than the bound allows"
            ),
            "holds": error < 1e-9 and excess < 1e-9,
        }

    def figure(self) -> Figure:
        """Draw π(C) against δ/β for every prompt, below its bound."""
        figure = Figure(figsize=(COLUMN, 3.0), layout="constrained")
        axes = figure.subplots()
        for prompt, column in enumerate(zip(*self.checks, strict=True)):
            color, initially = COLOURS[2 * prompt], math.exp(column[0].log_correct_reference)
            label = f"prompt {prompt + 1} (initially {initially:.1g})"
            axes.plot(self.strengths, _exp(c.log_correct for c in column), color, label=label)
            axes.plot(self.strengths, _exp(c.log_bound for c in column), color, linestyle=":")
        axes.set(yscale="log", ylim=(None, 2), xlabel="verifier margin δ / β")
        axes.set(ylabel="probability of a correct response", title="Verifying is not generating")
        axes.plot([], [], "k:", label="bound of theorem 1")
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def theorem1(seed: int, beta: float = 0.1) -> Theorem1:
    """Check theorem 1 on four random prompts with 50 responses each, for δ/β from 0.25 to 10.

    Correct responses are made unlikely under π_ref to a different degree in every prompt; π_ref and
    which they are is drawn from `seed`.
    """
    random = np.random.default_rng(seed)
    correct = np.arange(50) < random.integers(1, 6, size=(4, 1))
    handicaps = np.array([[0.0], [3.0], [6.0], [9.0]])
    log_reference = log_softmax(random.normal(size=(4, 50)) - handicaps * correct, axis=1)
    strengths = tuple(float(strength) for strength in np.linspace(0.25, 10, 40))
    prompts = list(zip(log_reference, correct, strict=True))
    checks = (tuple(verify(*prompt, s * beta, beta) for prompt in prompts) for s in strengths)
    return Theorem1(beta, strengths, tuple(checks))


@dataclass(frozen=True)
class Corollary1:
    """Corollary 1 on a family of tasks with one margin δ: `checks[i]` is of length `lengths[i]`."""

    margin: float
    beta: float
    lengths: tuple[int, ...]
    checks: tuple[Verification, ...]

    def fails_from(self, power: int, alpha: float) -> int:
        """Return a length from which π(C) < 1 / (α |x|^k) for good: no efficient generator.

        The bound 2^−n · exp(δ/β) decides it, for longer prompts than those enumerated too: α n^k
        times it decreases for n ≥ k / ln 2, so that once below 1 it stays there. The power k and
        α > 0 are those of definition 3.
        """
        length = max(1, math.ceil(power / math.log(2)))
        while self._log_bound(length) >= _log_polynomial(length, power, alpha):
            length += 1
        return length

    def _log_bound(self, length: int) -> float:
        return self.margin / self.beta - length * math.log(2)

    def summary(self) -> dict[str, object]:
        """Return the figures for `theory.json`.

        `holds`: every enumerated verifier has its margin, stays under the bound, and is below
        every tried polynomial from the stated length on.
        """
        thresholds = {(k, a): self.fails_from(k, a) for k in (1, 2, 3) for a in (1.0, 10.0)}
        verified = all(
            abs(check.margin - self.margin) < 1e-9 and check.log_correct <= check.log_bound + 1e-9
            for check in self.checks
        )
        below = all(
            check.log_correct < _log_polynomial(length, *key)
            for key, start in thresholds.items()
            for length, check in zip(self.lengths, self.checks, strict=True)
            if length >= start
        )
        return {
            "margin": self.margin,
            "beta": self.beta,
            "lengths": self.lengths,
            "correct": _exp(c.log_correct for c in self.checks),
            "correct_reference": _exp(c.log_correct_reference for c in self.checks),
            "fails_from": {f"k={k}, alpha={a:g}": n for (k, a), n in thresholds.items()},
            "checked": (
                f"on {len(self.lengths)} tasks of {self.lengths[0]} to {self.lengths[-1]} bits, "
                f"the verifier answers rightly less often than {len(thresholds)} polynomials from "
                "the stated length on"
            ),
            "holds": verified and below,
        }

    def figure(self) -> Figure:
        """Draw π(C) and π_ref(C) against |x|, with three polynomials that they fall below."""
        figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
        axes = figure.subplots()
        colour = style_of_kind("implicit").colour
        correct = _exp(c.log_correct for c in self.checks)
        axes.plot(self.lengths, correct, "o-", color=colour, label="verifier")
        reference = _exp(c.log_correct_reference for c in self.checks)
        axes.plot(self.lengths, reference, "s-", color=GREY, label="reference")
        bound = _exp(self._log_bound(length) for length in self.lengths)
        axes.plot(self.lengths, bound, ":", color=colour, label="bound of theorem 1")
        last = self.lengths[-1]
        for power in (1, 2, 3):
            polynomial = [length ** -float(power) for length in self.lengths]
            axes.plot(self.lengths, polynomial, color="0.6", linewidth=0.8)
            axes.annotate(f" $|x|^{{-{power}}}$", (last, polynomial[-1]), va="center", color="0.4")
        axes.set(xlabel="prompt length |x|", ylabel="probability of a correct response")
        axes.set(yscale="log", ylim=(None, 2), xlim=(0, last + 2.5), xticks=range(0, last + 1, 5))
        axes.set_title("A verifier that cannot generate")
        figure.legend(loc="outside lower center", ncols=3)
        return figure


def corollary1(margin: float = 0.2, beta: float = 0.1, longest: int = 20) -> Corollary1:
    """Check corollary 1 on a family in which π_ref is not an efficient generator.

    The prompt is a string of n bits, its only correct response is the prompt reversed, and π_ref is
    uniform over the 2ⁿ strings, for n from 1 to `longest`. By symmetry one prompt of every length,
    10…0, stands for all.
    """
    lengths = tuple(range(1, longest + 1))
    checks = []
    for length in lengths:
        log_reference = np.full(2**length, -length * math.log(2))
        correct = np.arange(2**length) == 1  # the number of 0…01, which is 10…0 reversed
        checks.append(verify(log_reference, correct, margin, beta))
    return Corollary1(margin, beta, lengths, tuple(checks))


def _log_polynomial(length: int, power: int, alpha: float) -> float:
    """Return ln 1 / (α n^k)."""
    return -math.log(alpha) - power * math.log(length)


def _exp(logarithms: Iterable[float]) -> list[float]:
    return [math.exp(value) for value in logarithms]
