"""Instructions to a language model that rewrites responses: the paper's (section 5.3), or any."""

from dataclasses import dataclass
from importlib.util import find_spec

from rewardgap.configs.flags import similar
from rewardgap.data.languages import known_languages
from rewardgap.errors import UserError

PARAPHRASE = (
    "Rewrite the text below so that its meaning stays the same and its wording shares as little as "
    "possible with the original. Keep all key information and every nuance. Keep numbers, code and "
    "formulas as they are. Output only the rewritten text."
)
TRANSLATE = (
    "Translate the text below to {language}. Its meaning must stay the same. Keep numbers, code "
    "and formulas as they are. Output only the translation."
)
SAME = "same"
"""Stands for the language of the text that is rewritten."""


@dataclass(frozen=True)
class Instruction:
    """What a model is told before a text.

    Attributes:
        text: The instruction.
        language: The language that it must write, `SAME`, or None for any.
    """

    text: str
    language: str | None

    def prompt(self, text: str) -> str:
        """Return what the model gets to rewrite a text."""
        return f"{self.text}\n\n{text}"

    def expected(self, language: str | None) -> str | None:
        """Return the language to write for a text in this one, None where any is right."""
        return language if self.language == SAME else self.language


def find_instruction(name: str, language: str | None = None) -> Instruction:
    """Return the instruction of a name, or one in the user's own words, which are several.

    Args:
        name: paraphrase, a language, or the instruction itself.
        language: The language to write, where the instruction does not say.

    Raises:
        UserError: Neither is known, or the package that tells languages is not installed.
    """
    if find_spec("lingua") is None:
        raise UserError("rewriting needs further packages: pip install 'rewardgap[rewrite]'")
    languages = known_languages()
    if language is not None and language not in languages:
        likely = similar(language, languages)
        hint = f"did you mean {likely[0]}?" if likely else f"known are {', '.join(languages)}"
        raise UserError(f"unknown language {language!r}; {hint}")
    if name == "paraphrase":
        return Instruction(PARAPHRASE, language or SAME)
    if name in languages:
        if language not in (None, name):
            raise UserError(f"the instruction {name} writes no {language}: leave out language")
        return Instruction(TRANSLATE.format(language=name.title()), name)
    if len(name.split()) < 2:
        likely = similar(name, ["paraphrase", *languages])
        hint = f"did you mean {likely[0]}? " if likely else ""
        raise UserError(
            f"unknown instruction {name!r}; {hint}it is paraphrase, a language such as french or "
            "spanish, or your own instruction in several words"
        )
    return Instruction(name, language)
