"""Gates: what is wrong with a rewritten text, and how many words it shares with the original."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rewardgap.rewriting.replies import Reply

REFUSAL = re.compile(
    r"\W*(sorry\b|(I am|I['’]m) (very |so |really |truly )?sorry\b|my apologies\b|I apologi[sz]e\b"
    r"|(I|we) (can['’]?t|cannot|can not|won['’]t|will not|am unable|are unable|am not able"
    r"|must decline)\b|I['’]m (unable|not able)\b|(as|I am|I['’]m) an AI\b)",
    re.IGNORECASE,
)
"""How a refusal begins."""
NUMBER = re.compile(r"\d{1,3}(?:[,.'’ \u00a0\u202f]\d{3})+(?![\d])|\d+(?:[.,]\d+)*")
"""A number, with the marks between its groups of digits of any language."""
ENUMERATOR = re.compile(r"^\W*\d+[.):]\s", re.MULTILINE)
"""The number of an item of a list, which may become prose."""
CODE_BLOCK = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)^[ \t]*\1", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"\w+")
SHOWN = 60
"""Characters of an answer that a reason shows."""


@dataclass(frozen=True)
class Rewriting:
    """A text and what a model made of it.

    Attributes:
        original: The text.
        reply: What the model answered.
        expected: The language to write; None if any is right.
        written: The language that it wrote; None where that is not certain.
        max_overlap: The largest share of words in common; None for any.
    """

    original: str
    reply: Reply
    expected: str | None = None
    written: str | None = None
    max_overlap: float | None = None


def find_fault(rewriting: Rewriting, allowed: frozenset[str] = frozenset()) -> tuple[str, str]:
    """Return the first fault that is not allowed, by name, and what it is in words; or no words."""
    for name, find in GATES.items():
        if name not in allowed and (detail := find(rewriting)):
            return name, detail
    return "", ""


def overlap(first: str, second: str) -> float:
    """Return the share of distinct words that two texts have in common (Jaccard index)."""
    words, further = (set(WORD.findall(text.casefold())) for text in (first, second))
    return len(words & further) / len(words | further) if words | further else 1.0


def _empty(rewriting: Rewriting) -> str:
    return "" if rewriting.reply.text.strip() or rewriting.reply.refusal else "the answer is empty"


def _refused(rewriting: Rewriting) -> str:
    reply = rewriting.reply
    if reply.finish == "content_filter":
        return "a content filter of the server stopped the answer"
    is_refusal = REFUSAL.match(reply.text) and not REFUSAL.match(rewriting.original)
    words = reply.refusal or (reply.text if is_refusal else "")
    return f"the model refused: {words.strip()[:SHOWN]!r}" if words else ""


def _truncated(rewriting: Rewriting) -> str:
    return (
        "the answer ends at the most tokens allowed" if rewriting.reply.finish == "length" else ""
    )


def _unchanged(rewriting: Rewriting) -> str:
    original, text = (_plain(text) for text in (rewriting.original, rewriting.reply.text))
    return "the answer is the text itself" if text == original else ""


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _language(rewriting: Rewriting) -> str:
    expected, written = rewriting.expected, rewriting.written
    if None in (expected, written) or expected == written:
        return ""
    return f"the answer is in {str(written).title()}, not in {str(expected).title()}"


def _numbers(rewriting: Rewriting) -> str:
    before = _digits(ENUMERATOR.sub(" ", rewriting.original))
    after = _digits(rewriting.reply.text)
    lost = [number for digits, number in before.items() if digits not in after]
    return f"numbers lost: {', '.join(lost)[:SHOWN]}" if lost else ""


def _digits(text: str) -> dict[str, str]:
    """Return the numbers of a text by their digits, and how they are first written."""
    numbers = NUMBER.findall(text)
    return {re.sub(r"\D", "", number): number for number in numbers}


def _code(rewriting: Rewriting) -> str:
    before, after = (_blocks(text) for text in (rewriting.original, rewriting.reply.text))
    lost = (before - after).total()
    return f"blocks of code lost or changed: {lost} of {before.total()}" if lost else ""


def _blocks(text: str) -> Counter[str]:
    return Counter(block[1].strip() for block in CODE_BLOCK.findall(text))


def _overlap(rewriting: Rewriting) -> str:
    most, share = rewriting.max_overlap, overlap(rewriting.original, rewriting.reply.text)
    if most is None or share <= most:
        return ""
    return f"{share:.0%} of the words are those of the text, more than {most:.0%}"


GATES: Mapping[str, Callable[[Rewriting], str]] = {
    "empty": _empty,
    "refused": _refused,
    "truncated": _truncated,
    "unchanged": _unchanged,
    "language": _language,
    "numbers": _numbers,
    "code": _code,
    "overlap": _overlap,
}
"""By name, what finds a fault and says it in words."""
