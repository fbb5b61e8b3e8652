"""Shifts of words: numbers, contractions, spelling, synonyms, homophones, words left out."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from random import Random

from num2words import num2words

from rewardgap.data.shifts.shift import Passage, Shift, edits
from rewardgap.data.shifts.word_lists import (
    CONTRACTIONS,
    HOMOPHONES,
    SPELLINGS,
    SYNONYMS,
    WITHOUT_ARTICLE,
)

START, END = r"(?<![\w\\@#./'’-])", r"(?![\w@(]|['’][^\W\d_]|[./-]\w)"
NEGATIONS = r"not|no|nor|never|none|without|except|unless|cannot|false|true"


def like(word: str, model: str) -> str:
    """Return a word with the capitals of another."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def _of_words(table: Mapping[str, str]) -> Callable[[Passage], str]:
    """Return a shift of the words of a table, which is faster than one of phrases."""

    def change(match: re.Match[str], draw: Random) -> str:
        new = table.get(match.group().lower().replace("’", "'"))
        return like(new, match.group()) if new else match.group()

    return edits(rf"{START}[^\W\d_]{{2,}}(?:['’][a-z]+)?{END}", change)


def _of_phrases(table: Mapping[str, str], behind: str) -> Callable[[Passage], str]:
    """Return a shift of the phrases of a table, where they are followed by a pattern."""
    lowered = {word.lower(): new for word, new in table.items()}
    longest_first = sorted(lowered, key=len, reverse=True)
    words = "|".join(re.escape(word).replace("'", "['’]") for word in longest_first)

    def change(match: re.Match[str], draw: Random) -> str:
        # Without case, letters beyond ASCII match too, such as the long s.
        new = lowered.get(match.group().lower().replace("’", "'"))
        return like(new, match.group()) if new else match.group()

    return edits(rf"{START}(?i:{words}){END}{behind}", change)


def _synonym(match: re.Match[str], draw: Random) -> str:
    """Return a synonym; a preceding “a” or “an” is that of the new word."""
    new, article = SYNONYMS.get(match["word"].lower()), match["article"]
    if new is None or match["word"].isupper():  # such as SELECT
        return match.group()
    if not article:
        return like(new, match["word"])
    if new in WITHOUT_ARTICLE:
        return match.group()
    return f"{article[0]}{'n' if new[0] in 'aeiou' else ''} {like(new, match['word'])}"


@lru_cache(maxsize=1024)
def _in_words(number: int) -> str:
    return str(num2words(number))


SHIFTS = {
    "number-words": Shift(
        "whole numbers below 1,000 in words, where they stand among words",
        edits(
            r"(?<=[a-z][a-z,] )\d{1,3}(?= [^\W\d_]{2}|[.!?]?$|[.,!?] [^\W\d_])",
            lambda match, draw: _in_words(int(match.group())),
        ),
    ),
    "contractions": Shift(
        "“do not” becomes “don't”",
        _of_phrases({full: short for short, full in CONTRACTIONS.items()}, r"(?= [^\W\d_])"),
    ),
    "expansions": Shift(
        "“don't” becomes “do not”",
        _of_phrases(CONTRACTIONS, r"(?! (?:I|you|we|they|he|she|it|been|got)\b)"),
    ),
    "british": Shift(
        "British spelling", _of_words({us: british for british, us in SPELLINGS.items()})
    ),
    "american": Shift("American spelling", _of_words(SPELLINGS)),
    "synonyms": Shift(
        "words in place of others that mean the same, by a table",
        edits(
            rf"{START}(?:(?P<article>[Aa]n?) )?"
            rf"(?P<word>(?i:{'|'.join(sorted(SYNONYMS, key=len, reverse=True))})){END}",
            _synonym,
        ),
    ),
    "homophones": Shift(
        "words that sound the same, as speech is written down wrongly",
        _of_words(HOMOPHONES),
        keeps="ranking",
        rate=0.5,
    ),
    "delete-words": Shift(
        "words are left out, but no negation",
        edits(rf"(?<=\w ){START}(?!(?:{NEGATIONS})\b)[^\W\d_]+ (?=\w)", lambda match, draw: ""),
        keeps="ranking",
        rate=0.05,
    ),
}
