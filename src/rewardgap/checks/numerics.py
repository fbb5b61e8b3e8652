"""Whether a reward depends on batch mates, on padding, on precision; and whether it has a sign."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rewardgap.checks.checkpoints import (
    Checkpoint,
    Rewards,
    Side,
    ranked_right,
    reordered,
    right_pairs,
)
from rewardgap.checks.findings import CheckFinding, Severity, beyond_chance
from rewardgap.data.records import Record
from rewardgap.evaluation.text import join_names, share
from rewardgap.models.saved import FILE

SIZES = {2: 4, 3: 6, 16: 16}
"""Sizes of batches, and how many responses are computed in them."""
SIDES: tuple[Side, ...] = ("right", "left")
TOLERANCE = 1e-3
"""Differences from which rewards count as different, in standard deviations of the rewards."""
SHIFT = 0.1
"""Differences from which on left padding, which few tools use, is worth a warning."""
FEW, COARSE = 2, 0.05
"""Number and share of pairs in another order above which bfloat16 is too coarse."""
SUSPICIOUS = 0.2
"""Share of responses above noise up to which the sign is suspected."""


def find_batches(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield rewards that depend on the batch in which they are computed."""
    if checkpoint.is_classifier and checkpoint.pad is None:
        return  # batches are refused, which is a finding of its own
    alone = checkpoint.alone[: max(SIZES)]
    scale = max(float(np.std(alone)), 1e-6 * float(np.abs(alone).max()), 1e-12)
    for side in SIDES:
        rewards = {
            size: checkpoint.rewards(checkpoint.written[:count], size, side)
            for size, count in SIZES.items()
        }
        singly = {size: alone[: len(values)] for size, values in rewards.items()}
        odd = [size for size in SIZES if _differ(rewards[size], singly[size], scale)]
        if not odd:
            continue
        worst = max(odd, key=lambda size: (reordered(singly[size], rewards[size]), size))
        changed = reordered(singly[worst], rewards[worst])
        moved = float(np.max(np.abs(rewards[worst] - singly[worst]))) / scale
        pairs = share(changed, len(rewards[worst]) // 2, "pair")
        severity: Severity = "warning" if changed or moved > SHIFT else "note"
        if side == "right":
            severity = "error"
        yield CheckFinding(
            severity,
            "batches",
            f"rewards change in batches of {join_names(list(map(str, odd)))} padded on the {side}",
            f"by up to {moved:.2g} standard deviations; "
            f"in batches of {worst} the order of {pairs} changes",
            f"score without padding, or padded on the {'left' if side == 'right' else 'right'}; "
            "see what is said of the pad token",
        )


def _differ(rewards: Rewards, alone: Rewards, scale: float) -> bool:
    return bool(np.max(np.abs(rewards - alone)) > TOLERANCE * scale)


def find_coarse(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield rewards that bfloat16 cannot tell apart."""
    alone = checkpoint.alone
    rewards = checkpoint.rewards(checkpoint.written, model=checkpoint.in_bfloat16())
    changed, count = reordered(alone, rewards), len(checkpoint.records)
    ties = int(np.sum(rewards[::2] == rewards[1::2]))
    if changed > max(FEW, COARSE * count):
        yield CheckFinding(
            "warning",
            "bfloat16",
            "rewards in bfloat16 rank pairs differently from float32",
            f"the order of {share(changed, count, 'pair')} changes, and {ties} are tied; "
            + ranked_right({"float32": alone, "bfloat16": rewards}),
            "keep the weights, at least those of the head, in float32 (rewardgap does)",
        )


def find_sign(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield models that prefer noise of every sort, or rejected to chosen responses.

    One sort is not enough: a model that likes length prefers letters in random order, which are
    more tokens than words.
    """
    count = len(checkpoint.records)
    rewards = checkpoint.scored([*map(_with_noise, checkpoint.records)])
    if rewards is None or np.ptp(rewards) == 0:
        return
    above = (rewards[:, :1] > rewards[:, 1:]).sum(axis=0)
    right = dict(zip(NOISE, map(int, above), strict=True))
    if max(right.values()) <= SUSPICIOUS * count:
        numbers = ", ".join(f"{sort} in {number}" for sort, number in right.items())
        yield CheckFinding(
            "warning",
            "sign",
            f"noise has the larger reward: of {count} chosen responses few are above {numbers}",
            "a policy trained on these rewards, or the best of n responses, would be noise",
            "see whether the sign is flipped: the loss has to raise chosen above rejected",
        )
    if checkpoint.settings.data is None or not checkpoint.is_classifier:
        return
    wrong = count - right_pairs(checkpoint.alone)
    if beyond_chance(wrong / count, count):
        yield CheckFinding(
            "warning",
            "sign",
            f"on {checkpoint.settings.data} the rejected response is above the chosen one in "
            f"{share(wrong, count, 'record')}",
            "the model is worse than a coin on these rows",
            "see whether the sign is flipped, or chosen and rejected are exchanged in the data",
        )


def _shuffled(parts: Sequence[str]) -> list[str]:
    return [str(part) for part in np.random.default_rng(0).permutation(list(parts))]


NOISE: Mapping[str, Callable[[str], str]] = {
    "their own letters in random order": lambda text: "".join(_shuffled(text)),
    "their words in random order": lambda text: " ".join(_shuffled(text.split())),
    "three of their letters": lambda text: "".join(_shuffled(text)[:3]),
}
"""Texts without sense, longer and shorter than the response in tokens, and as long."""


def _with_noise(record: Record) -> Record:
    """Return a record whose rejected responses are noise of every sort, made of the chosen one."""
    *earlier, last = record.chosen[0]
    texts = [noise(last.content).strip() or "x" for noise in NOISE.values()]
    rejected = tuple((*earlier, replace(last, content=text)) for text in texts)
    return replace(record, chosen=record.chosen[:1], rejected=rejected)


def find_own_reading(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield rewards of rewardgap that are not those of plain transformers, or none."""
    if checkpoint.kind is None:
        yield CheckFinding(
            "note",
            "kind",
            "it is a language model of no certain kind: its log-probabilities were checked",
            remedy="name the kind with --kind",
        )
        return
    if isinstance(checkpoint.scorer, str):
        yield CheckFinding(
            "error",
            "scoring",
            f"rewardgap score refuses the model: {checkpoint.scorer}",
            "no rewards",
            "see what else is said of it",
        )
        return
    if not checkpoint.is_classifier:
        return
    rewards, alone = checkpoint.own, checkpoint.alone
    if rewards is None:
        return
    scale = max(float(np.std(alone)), 1e-12)
    if _differ(rewards, alone, scale):
        changed = reordered(rewards, alone)
        severity: Severity = "note" if (checkpoint.folder / FILE).exists() else "warning"
        yield CheckFinding(
            severity,
            "scoring",
            "rewardgap score reads other rewards than plain transformers",
            f"the order of {share(changed, len(checkpoint.records), 'pair')} differs; "
            + ranked_right({"rewardgap": rewards, "plain transformers": alone}),
            "score it with rewardgap, which knows the model's kind and max_length"
            if severity == "note"
            else "see what is said of the reward token and of the template",
        )
