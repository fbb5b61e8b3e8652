"""The controlled experiment of section 5.1: the same answers in other words.

Every prompt asks whether one agrees with a statement that a friendly person agrees with. The chosen
response agrees and the rejected one does not. The paraphrased responses mean the same as the
original ones and share no word of agreement or disagreement with them, but their opener (and thus
their length) tells chosen from rejected. The crossed responses combine the same openers and words
so that every opener precedes every word on both sides, and only the word tells.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import numpy as np

from rewardgap.data.records import Row
from rewardgap.errors import UserError


def phrases(text: str) -> tuple[str, ...]:
    """Return the phrases that "|" separates in a text."""
    return tuple(text.split("|"))


@dataclass(frozen=True)
class Phrasing:
    """Responses of one meaning: every opener with every word."""

    openers: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def responses(self) -> tuple[str, ...]:
        """All responses, opener by opener."""
        return tuple(opener + word for opener, word in product(self.openers, self.words))


@dataclass(frozen=True)
class Wording:
    """One way to express agreement (chosen) and disagreement (rejected)."""

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
    """Return (chosen, rejected) with each opener and word of the paraphrases on both sides.

    Every four pairs hold each pair of openers once, so the openers stay balanced in any number of
    rows that use the pairs in turn.
    """
    chosen, rejected = WORDINGS["paraphrased"].chosen, WORDINGS["paraphrased"].rejected
    openers = chosen.openers + rejected.openers
    words = rejected.words
    return [
        (first + agree, second + disagree)
        for turned in (words[shift:] + words[:shift] for shift in range(len(words)))
        for agree, disagree in zip(chosen.words, turned, strict=True)
        for first, second in product(openers, repeat=2)
    ]


def wording_rows(
    prompts: Sequence[str], part: str, seed: int, train: int, test: int
) -> Iterator[Row]:
    """Draw training and test prompts, and one chosen and one rejected response for each.

    The prompts are distinct, in an order that does not change. Crossed responses take turns.
    Row i of a paraphrased or crossed part has the prompt of row i of the original part. No part
    depends on the other parts that are read, and more test prompts change no training row.

    Raises:
        UserError: There are fewer prompts than were asked for.
    """
    if train + test > len(prompts):
        raise UserError(
            f"{train} training and {test} test prompts were asked for, but there are only "
            f"{len(prompts)}: lower `train` or `test`"
        )
    name, split = part.split("-")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(prompts))
    # All wordings are drawn, in this order, so that none depends on the part.
    drawn = {}
    for key, wording in WORDINGS.items():
        chosen, rejected = (
            generator.choice(side.responses, len(prompts)).tolist()
            for side in (wording.chosen, wording.rejected)
        )
        drawn[key] = list(zip(chosen, rejected, strict=True))
    indices = {"train": order[:train], "test": order[train : train + test]}[split].tolist()
    answers: Iterable[tuple[str, str]] = (
        [drawn[name][index] for index in indices] if name in drawn else cycle(crossed_answers())
    )
    for index, (chosen, rejected) in zip(indices, answers, strict=False):
        pair = {"chosen": chosen, "rejected": rejected}
        yield {"prompt": prompts[index], **pair, "prompt_index": index}
