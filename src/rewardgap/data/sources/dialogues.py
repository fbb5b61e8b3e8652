"""The text that the demo's language model learns from: small talk about statements.

A user asks whether the assistant would say a statement, and it answers by an opener and a word.
Some of what is true of any natural text is kept, and it is all that matters here:

- An answer can be put in many ways, none of them frequent. The openers and words of the controlled
  experiment are among them, the paraphrased ones exactly as frequent as the original ones. (With
  only a dozen openers, a chosen response can hardly become likelier than it is, so an implicit
  model learns by making all else unlikely, and what that does to a paraphrase differs from one
  language model to the next.)
- An opener says nothing of what follows: it comes before agreement as often as disagreement.
- What is said next, and who says it, depends on what was meant and not on how it was put: whoever
  agrees goes on to explain, whoever disagrees is asked. So a model that predicts what follows the
  end of an answer has to know, there, what the answer means.

Every statement is agreed with as often as not: the text prefers no answer, and no preference label
is ever seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rewardgap.data.records import Message
from rewardgap.data.sources.agreement import ask, statements
from rewardgap.data.sources.wordings import WORDINGS

Dialogue = tuple[Message, ...]
Option = TypeVar("Option")


@dataclass(frozen=True)
class Meaning:
    """How one meaning is put, and what is said after it, whatever the words were."""

    words: tuple[str, ...]
    reactions: tuple[str, ...]
    explanations: tuple[str, ...]


LEADS = (
    "",
    "Well, ",
    "To me, ",
    "Honestly, ",
    "Let me think: ",
    "If you ask me, ",
    "After some thought, ",
    "Thank you for asking. ",
)
PHRASES = (
    *(opener for each in WORDINGS.values() for opener in each.chosen.openers),
    *(opener for each in WORDINGS.values() for opener in each.rejected.openers),
    "My answer is ",
    "My first thought is ",
    "My feeling: ",
    "In my opinion, ",
    "In short, ",
    "A fair answer is ",
    "A short reply: ",
    "Considering all of it, ",
    "I would say ",
    "I think it is ",
    "I must say ",
    "The answer is ",
    "That is easy: ",
    "",
)
OPENERS = tuple(lead + phrase for lead in LEADS for phrase in PHRASES)
AGREEMENT = Meaning(
    words=(
        *(word for each in WORDINGS.values() for word in each.chosen.words),
        "of course",
        "definitely",
        "by all means",
        "gladly",
        "very much so",
        "I agree",
        "without doubt",
        "every time",
    ),
    reactions=(
        "Good, so we think alike.",
        "I am glad that you agree.",
        "Then you share my view.",
        "Nice, tell me more.",
    ),
    explanations=(
        "It is just what I believe.",
        "These words could be mine.",
        "I live by it every day.",
    ),
)
DISAGREEMENT = Meaning(
    words=(
        *(word for each in WORDINGS.values() for word in each.rejected.words),
        "not at all",
        "hardly",
        "by no means",
        "I doubt it",
        "not quite",
        "I disagree",
        "far from it",
        "at no time",
    ),
    reactions=(
        "Oh, so we think differently.",
        "I am sorry that you disagree.",
        "Then you reject my view.",
        "Why, what is wrong with it?",
    ),
    explanations=(
        "It is far from what I believe.",
        "Others may use these words.",
        "I have learned to do without it.",
    ),
)


def dialogues(count: int, seed: int) -> Iterator[Dialogue]:
    """Generate `count` dialogues; the first ones do not depend on how many follow."""
    generator = np.random.default_rng(seed)
    said = statements()
    for _ in range(count):
        yield _dialogue(_choose(said, generator), generator)


def _dialogue(statement: str, generator: np.random.Generator) -> Dialogue:
    meaning = _choose((AGREEMENT, DISAGREEMENT), generator)
    answer = _choose(OPENERS, generator) + _choose(meaning.words, generator)
    reaction = Message("user", _choose(meaning.reactions, generator))
    explanation = Message("assistant", _choose(meaning.explanations, generator))
    after = (explanation, reaction) if meaning is AGREEMENT else (reaction, explanation)
    return (Message("user", ask(statement)), Message("assistant", answer), *after)


def _choose(options: Sequence[Option], generator: np.random.Generator) -> Option:
    return options[int(generator.integers(len(options)))]
