"""Made-up prose, and preference pairs of which no rule tells the chosen response."""

from typing import Any

import numpy as np

Rows = list[dict[str, Any]]

ENGLISH_TEXT = (
    "river bread window garden morning letter bridge summer teacher market winter road story "
    "cloud kitchen music forest table engine paper walked opened carried followed remembered "
    "quietly slowly often under behind between because although with from the a"
)
ENGLISH = ENGLISH_TEXT.split()
FRENCH_TEXT = (
    "rivière pain fenêtre jardin matin lettre pont été professeur marché hiver route histoire "
    "nuage cuisine musique forêt table moteur papier marchait ouvrait portait suivait "
    "doucement souvent sous derrière entre parce bien avec depuis la une les des"
)
FRENCH = FRENCH_TEXT.split()


def sentences(seed: int, count: int, words: list[str] = ENGLISH, low: int = 12) -> list[str]:
    """Different sentences of 12 to 40 words, drawn at random."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(words, generator.integers(low, 40))).capitalize() + "."
        for _ in range(count)
    ]


def pairs(count: int = 60, seed: int = 0, words: list[str] = ENGLISH) -> Rows:
    """Pairs of which no rule tells the chosen response: all three texts are drawn alike."""
    texts = zip(*(sentences(3 * seed + part, count, words) for part in range(3)), strict=True)
    return [{"prompt": x, "chosen": y, "rejected": z} for x, y, z in texts]
