"""Shifts of letters: typing errors, neighbouring keys, letters that look alike, case."""

import re
from collections.abc import Callable, Mapping
from random import Random
from string import ascii_lowercase

from rewardgap.data.shifts.shift import Shift, edits

START, END = r"(?<![\w\\@#./'’-])", r"(?![\w@(]|[./'’-]\w)"
LONG_WORD = rf"{START}[^\W\d_]{{4,}}{END}"
WORD = rf"{START}[^\W\d_]{{2,}}{END}"

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
KEYS: Mapping[str, str] = {
    letter: "".join(
        near
        for other, keys in enumerate(ROWS)
        for place, near in enumerate(keys)
        if abs(other - row) <= 1 and abs(place - index) <= 1 and near != letter
    )
    for row, line in enumerate(ROWS)
    for index, letter in enumerate(line)
}
"""By letter, the keys around its own."""

LOOK_ALIKE = str.maketrans("aceopxyijsABCEHIKMOPTX", "асеорхуіјѕАВСЕНІКМОРТХ")
"""Latin letters and Cyrillic ones that look the same."""

Spelling = Callable[[str, int, Random], str]
"""Returns a word that is misspelt at a letter inside it."""


def _swapped(word: str, at: int, draw: Random) -> str:
    return word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]


def _inserted(word: str, at: int, draw: Random) -> str:
    return word[:at] + draw.choice(ascii_lowercase) + word[at:]


def _deleted(word: str, at: int, draw: Random) -> str:
    return word[:at] + word[at + 1 :]


def _substituted(word: str, at: int, draw: Random) -> str:
    return word[:at] + draw.choice(ascii_lowercase.replace(word[at].lower(), "")) + word[at + 1 :]


def _doubled(word: str, at: int, draw: Random) -> str:
    return word[: at + 1] + word[at:]


def _beside(word: str, at: int, draw: Random) -> str:
    near = KEYS.get(word[at].lower())
    return word[:at] + draw.choice(near) + word[at + 1 :] if near else word


def _mistyped(word: str, at: int, draw: Random) -> str:
    return draw.choice((_swapped, _deleted, _doubled, _beside))(word, at, draw)


def _misspelt(spell: Spelling) -> Callable[[re.Match[str], Random], str]:
    """Return a change of a word inside it; abbreviations in capitals stay."""

    def change(match: re.Match[str], draw: Random) -> str:
        word = match.group()
        return word if word.isupper() else spell(word, draw.randrange(1, len(word) - 1), draw)

    return change


def _lower(match: re.Match[str], draw: Random) -> str:
    return match.group() if match.group().isupper() else match.group().lower()


def _random_case(match: re.Match[str], draw: Random) -> str:
    cases = draw.getrandbits(len(match.group()))
    return "".join(
        letter.upper() if cases >> place & 1 else letter.lower()
        for place, letter in enumerate(match.group())
    )


SHIFTS = {
    "typos": Shift(
        "typing errors: letters swapped, left out, doubled or hit beside the key",
        edits(LONG_WORD, _misspelt(_mistyped)),
        rate=0.05,
    ),
    "swap-letters": Shift(
        "two neighbouring letters of a word change places",
        edits(LONG_WORD, _misspelt(_swapped)),
        rate=0.1,
    ),
    "insert-letters": Shift(
        "a random letter is put into a word", edits(LONG_WORD, _misspelt(_inserted)), rate=0.1
    ),
    "delete-letters": Shift(
        "a letter inside a word is left out", edits(LONG_WORD, _misspelt(_deleted)), rate=0.1
    ),
    "substitute-letters": Shift(
        "a letter inside a word becomes another",
        edits(LONG_WORD, _misspelt(_substituted)),
        rate=0.1,
    ),
    "neighbour-keys": Shift(
        "a letter inside a word becomes that of a neighbouring key",
        edits(LONG_WORD, _misspelt(_beside)),
        rate=0.1,
    ),
    "look-alikes": Shift(
        "Latin letters of a word become Cyrillic ones that look the same",
        edits(WORD, lambda match, draw: match.group().translate(LOOK_ALIKE)),
        rate=0.1,
    ),
    "upper-case": Shift(
        "words in capitals", edits(WORD, lambda match, draw: match.group().upper())
    ),
    "lower-case": Shift("words without capitals, but for abbreviations", edits(WORD, _lower)),
    "random-case": Shift("every letter of a word in random case", edits(WORD, _random_case)),
}
