"""The controlled experiment of section 5.1: the same answers in other words.

Every prompt asks whether one agrees with a statement that one should agree with; the chosen
response agrees, the rejected one does not. The paraphrased responses mean the same and share no
word of agreement or disagreement with the original ones. Their opener (and by it their length)
tells chosen from rejected; in the crossed responses, made of the same openers and words, every
opener stands before every word on both sides, and only the word tells.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np

from rewardgap.data.records import Row
from rewardgap.errors import UserError


@dataclass(frozen=True)
class Phrasing:
    """Responses that say one thing: every opener with every word."""

    openers: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def responses(self) -> tuple[str, ...]:
        """The responses, opener by opener."""
        return tuple(opener + word for opener, word in product(self.openers, self.words))


@dataclass(frozen=True)
class Wording:
    """One way to put agreement (chosen) and disagreement (rejected)."""

    chosen: Phrasing
    rejected: Phrasing


WORDINGS: Mapping[str, Wording] = {
    "original": Wording(
        chosen=Phrasing(("A truthful reply is ", "In my view, the answer is "), ("yes", "sure")),
        rejected=Phrasing(("Considering the statement, I say ", "My judgement: "), ("no", "never")),
    ),
    "paraphrased": Wording(
        chosen=Phrasing(("My response would be ",), ("certainly", "absolutely")),
        rejected=Phrasing(("I lean toward ",), ("not really", "nope")),
    ),
}
PARTS = ("original-train", "original-test", "paraphrased-train", "paraphrased-test")
CROSSED_PARTS = ("crossed-train", "crossed-test")


def crossed_answers() -> list[tuple[str, str]]:
    """Put each opener and word of the paraphrased wording on both sides, in all combinations.

    Returns:
        Pairs (chosen, rejected); every four of them hold each pair of openers once, so that the
        openers stay balanced in however many rows take turns.
    """
    chosen, rejected = WORDINGS["paraphrased"].chosen, WORDINGS["paraphrased"].rejected
    openers = chosen.openers + rejected.openers
    turns = [
        rejected.words[shift:] + rejected.words[:shift] for shift in range(len(rejected.words))
    ]
    return [
        (first + agree, second + disagree)
        for words in turns
        for agree, disagree in zip(chosen.words, words, strict=True)
        for first, second in product(openers, repeat=2)
    ]


def rows(prompts: Sequence[str], part: str, seed: int, train: int, test: int) -> Iterator[Row]:
    """Draw training and test prompts, and for each prompt one chosen and one rejected response.

    Row i of a paraphrased or crossed part has the prompt of row i of the original part. No part
    depends on which others are asked for, and more test prompts change no training row.

    Args:
        prompts: Distinct prompts, in an order that does not change.
        part: One of `PARTS` or `CROSSED_PARTS`.
        seed: Decides the prompts of each split and the responses (the crossed ones take turns).
        train: Number of training prompts.
        test: Number of test prompts.

    Yields:
        `prompt`, `chosen`, `rejected`, and `prompt_index`, the place in `prompts`.

    Raises:
        UserError: There are fewer prompts than asked for.
    """
    if train + test > len(prompts):
        raise UserError(
            f"{train} training and {test} test prompts were asked for, and {len(prompts)} are "
            "there: lower `train` or `test`"
        )
    name, split = part.split("-")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(prompts))
    drawn = {each: _draw(WORDINGS[each], len(prompts), generator) for each in WORDINGS}
    indices = {"train": order[:train], "test": order[train : train + test]}[split].tolist()
    answers: dict[str, Iterable[tuple[str, str]]] = {
        each: [pairs[index] for index in indices] for each, pairs in drawn.items()
    }
    answers["crossed"] = cycle(crossed_answers())
    for index, (chosen, rejected) in zip(indices, answers[name], strict=False):
        yield {
            "prompt": prompts[index],
            "chosen": chosen,
            "rejected": rejected,
            "prompt_index": index,
        }


def _draw(wording: Wording, count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    chosen = generator.choice(wording.chosen.responses, count)
    rejected = generator.choice(wording.rejected.responses, count)
    return list(zip(chosen.tolist(), rejected.tolist(), strict=True))
