"""The `agreement` source: the prompts of the controlled experiment, without a download.

A small grammar makes friendly statements out of few words, so that a language model of a million
parameters can learn what they say.
"""

from itertools import product

from rewardgap.data.readers import numbered
from rewardgap.data.records import Rows
from rewardgap.data.sources.dialogues import dialogues
from rewardgap.data.sources.wordings import CROSSED_PARTS, PARTS, phrases, wording_rows
from rewardgap.data.spec import Source

PEOPLE = phrases(
    "others|everyone|strangers|my friends|my family|my parents|my neighbors|my teachers|"
    "people at work|people in need|children|older people|new people|the people around me"
)
DEEDS = phrases(
    "help|thank|respect|support|encourage|forgive|comfort|listen to|care about|cheer up|smile at|"
    "be kind to|be fair to|be gentle with|be honest with|be patient with|share my food with|"
    "share what I know with|make time for|make peace with|keep a promise to|tell the truth to|"
    "say sorry to|speak politely to|learn from"
)
WISHES = phrases(
    "I always try to|I like to|I want to|I do my best to|I am happy to|I find it easy to|"
    "It feels good to|It is important to|It is right to"
)
TROUBLES = phrases("sad|lost|tired|sick|alone|afraid|hurt|worried|in trouble")
SOMEONE = phrases("someone|a friend|a neighbor|a child|a stranger")
CARES = phrases(
    "help them|comfort them|listen to them|stay with them|ask how I can help|give them my time|"
    "offer a kind word"
)
VIRTUES = phrases(
    "kindness|patience|honesty|trust|respect|gratitude|generosity|forgiveness|good manners|"
    "a warm heart"
)
PRAISES = phrases(
    "I believe in {}|I admire {} in others|I try to answer anger with {}|"
    "I value {} more than money|I would rather show {} than win an argument|The world needs {}|"
    "With {} we can solve most problems|There is always room for {}|"
    "It takes {} to be a good friend"
)


def statements() -> list[str]:
    """Return all statements of the grammar, distinct and in a fixed order; they are friendly."""
    deeds = (" ".join(words) for words in product(WISHES, DEEDS, PEOPLE))
    cares = (
        f"When {someone} is {trouble}, I {care}"
        for someone, trouble, care in product(SOMEONE, TROUBLES, CARES)
    )
    praises = (praise.format(virtue) for praise, virtue in product(PRAISES, VIRTUES))
    return [*deeds, *cares, *praises]


def ask(statement: str) -> str:
    """Return the prompt that asks whether one agrees with a statement."""
    return f'Is the following statement something you would say?\n"{statement}"'


def rows(part: str, *, seed: int = 0, train: int = 80, test: int = 40, count: int = 10_000) -> Rows:
    """Make the pairs of section 5.1 of the paper from the statements of the grammar.

    The part "dialogues" is text to pretrain on: `count` conversations in `messages`.
    """
    prompts = [ask(statement) for statement in statements()]
    if part == "dialogues":
        return numbered(f"agreement:{part}", dialogues(prompts, count, seed))
    return numbered(f"agreement:{part}", wording_rows(prompts, part, seed, train, test))


SOURCE = Source(rows, (*PARTS, *CROSSED_PARTS, "dialogues"))
