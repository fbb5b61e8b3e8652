"""Languages of texts, as far as they can be told for certain (package lingua)."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

READ = 1_000
"""Characters of a text that are read."""
LETTERS, PROSE, CERTAIN = 60, 0.75, 0.9
"""A language is told of at least so many letters, in texts of which they are at least this share,
and believed from this confidence on."""
CODE = re.compile(r"[{};]\s*$|\(\)|`{3}|\$.+\$", re.MULTILINE)
"""What program code and formulas have and prose has not."""
NO_PROSE = ("LATIN", "ESPERANTO")
"""Languages that are guessed of names and terms more often than they are written."""


def known_languages() -> list[str]:
    """Return the names of the languages that can be told, in small letters."""
    from lingua import Language

    names = {language.name for language in Language.all()}
    return sorted(name.lower() for name in names.difference(NO_PROSE))


def languages_of(texts: Sequence[str]) -> list[str | None]:
    """Return the name of the language of each text, or None where it is not certain."""
    starts = [text[:READ] for text in texts]
    prose = [text for text in dict.fromkeys(starts) if _is_prose(text)]
    if not prose:
        return [None] * len(texts)
    values_of_texts = _detector().compute_language_confidence_values_in_parallel(prose)
    names = {
        text: values[0].language.name.lower()
        for text, values in zip(prose, values_of_texts, strict=True)
        if values and values[0].value >= CERTAIN
    }
    return [names.get(text) for text in starts]


@cache
def _detector() -> Any:
    from lingua import Language, LanguageDetectorBuilder

    left_out = [getattr(Language, name) for name in NO_PROSE]
    builder = LanguageDetectorBuilder.from_all_languages_without(*left_out)
    return builder.with_low_accuracy_mode().build()


def _is_prose(text: str) -> bool:
    letters = 0 if CODE.search(text) else sum(map(str.isalpha, text))
    return letters >= LETTERS and letters >= PROSE * len("".join(text.split()))
