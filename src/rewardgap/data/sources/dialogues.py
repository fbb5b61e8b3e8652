"""Dialogues about statements, as text for a small language model to learn from.

A user asks whether the assistant would say a statement; the assistant answers with an opener and a
word, and two more turns follow. Three properties of natural text are kept, because the controlled
experiment depends on them:

- An answer can be put in many ways, none of them frequent. The openers and words of the controlled
  experiment are among them, the paraphrased ones exactly as frequent as the original ones. (With
  only a dozen openers, an implicit model learns by making all other text unlikely, and what that
  does to a paraphrase differs from one language model to the next.)
- An opener says nothing about the word that follows it: it precedes agreement as often as
  disagreement.
- Who speaks next and what is said depends on the meaning of the answer, not on its words: an
  assistant that agrees goes on to explain, one that disagrees is asked. To predict what follows, a
  model has to know at the end of an answer what the answer means.

Every statement is agreed with as often as not, so the text prefers no answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rewardgap.data.records import Row
from rewardgap.data.sources.wordings import WORDINGS, phrases

Option = TypeVar("Option")


@dataclass(frozen=True)
class Meaning:
    """One meaning of an answer: its words, and what user and assistant say after any of them."""

    words: Sequence[str]
    reactions: Sequence[str]
    explanations: Sequence[str]


LEADS = phrases(
    "|Well, |To me, |Honestly, |Let me think: |If you ask me, |After some thought, |"
    "Thank you for asking. "
)
PHRASES = (
    *(opener for wording in WORDINGS.values() for opener in wording.chosen.openers),
    *(opener for wording in WORDINGS.values() for opener in wording.rejected.openers),
    *phrases(
        "My answer is |My first thought is |My feeling: |In my opinion, |In short, |"
        "A fair answer is |A short reply: |Considering all of it, |I would say |"
        "I think it is |I must say |The answer is |That is easy: |"
    ),
)
OPENERS = tuple(lead + phrase for lead in LEADS for phrase in PHRASES)
AGREEMENT = Meaning(
    words=(
        *(word for wording in WORDINGS.values() for word in wording.chosen.words),
        *phrases(
            "of course|definitely|by all means|gladly|very much so|I agree|without doubt|every time"
        ),
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
        *(word for wording in WORDINGS.values() for word in wording.rejected.words),
        *phrases(
            "not at all|hardly|by no means|I doubt it|not quite|I disagree|far from it|at no time"
        ),
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


def dialogues(prompts: Sequence[str], count: int, seed: int) -> Iterator[Row]:
    """Yield `count` dialogues about prompts, as `messages`.

    The first dialogues do not depend on `count`.
    """
    generator = np.random.default_rng(seed)
    for _ in range(count):
        prompt = _choose(prompts, generator)
        meaning = _choose((AGREEMENT, DISAGREEMENT), generator)
        answer = _choose(OPENERS, generator) + _choose(meaning.words, generator)
        reaction = ("user", _choose(meaning.reactions, generator))
        explanation = ("assistant", _choose(meaning.explanations, generator))
        rest = (explanation, reaction) if meaning is AGREEMENT else (reaction, explanation)
        turns = (("user", prompt), ("assistant", answer), *rest)
        yield {"messages": [{"role": role, "content": content} for role, content in turns]}


def _choose(options: Sequence[Option], generator: np.random.Generator) -> Option:
    return options[int(generator.integers(len(options)))]
