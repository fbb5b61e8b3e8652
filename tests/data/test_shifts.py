"""Shifts of texts: what every one of them promises, what some make of a text, and Python code."""

import contextlib
import dis
import json
import os
import re
import warnings
from collections import Counter
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.data.records import Message, Record
from rewardgap.data.shifting import shifting
from rewardgap.data.shifts import SHIFTS, code_changes
from rewardgap.data.shifts.shift import SIDES

SHARED = Path(os.environ.get("REWARDGAP_SHARED", "absent")) / "data" / "rewardbench_code_test.jsonl"
MEANING = [name for name, shift in SHIFTS.items() if shift.keeps == "meaning"]
CODE = [name for name in code_changes.SHIFTS if name in MEANING]
PIECES = (
    *(
        "I don't know. ",
        "The colour of 3 apples is important.\n",
        "- first\n- second\n",
        "**bold** ",
    ),
    *("```python\nx = 1  # one\n```\n", "```\n", "`a`", "$x^2$", "\\boxed{4", "}", "# Answer\n\n7"),
    *(
        "def f(a):\n    b = a  # keep\n    return b\n",
        "    return x\n",
        "https://a.org/b?c=d ",
        "~~~",
    ),
    *(
        "\\begin{align}",
        ">>> f(1)\n2\n",
        "The answer is $3$.",
        "\r\n",
        "\x0c",
        "İſK",
        "\x00",
        '"',
        "' ",
    ),
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=8).map("".join),
)


def shifted(
    name: str, text: str, rate: float | None = None, seed: int = 0, prompt: str = ""
) -> str:
    return shifting(name, rate, seed).text(text, prompt)


def record(prompt: str, chosen: str, rejected: str) -> Record:
    user, *answers = (
        Message("user", prompt),
        *(Message("assistant", t) for t in (chosen, rejected)),
    )
    return Record("a-1", (user,), ((answers[0],),), ((answers[1],),), {"subset": "s"})


@settings(max_examples=50)
@given(text=TEXTS, other=TEXTS, seed=st.integers(0, 9), rate=st.sampled_from([0.3, 1.0]))
def test_every_shift_keeps_what_it_promises_for_any_text(text, other, seed, rate):
    for name, shift in SHIFTS.items():
        plan = shifting(name, rate, seed)
        new = plan.text(text)
        assert new == plan.text(text), name
        assert not text.strip() or new.strip(), name
        assert shifted(name, text, 0.0, seed) == text, name
        new.encode()
        before = record("a", text, other)
        after = plan.record(before)
        assert (
            (after.id, after.prompt_turns, len(after.chosen), len(after.rejected))
            == (*("a-1", before.prompt_turns, 1, 1),)
            if False
            else (after.id, len(after.chosen), len(after.rejected)) == ("a-1", 1, 1)
        )
        sides = ("chosen", "rejected") if plan.side == "responses" else (plan.side,)
        for side in {"prompt", "chosen", "rejected"} - set(sides):
            assert getattr(after, side) == getattr(before, side), name
        mark = after.metadata["shift"]
        assert mark["texts"] == len(sides) and after.metadata["subset"] == "s"
        if text != other:
            assert after.chosen != after.rejected, name
        changed = (after.prompt, after.responses) != (before.prompt, before.responses)
        assert bool(mark["changed"]) == changed, name
        assert shift.summary and set(shift.sides) <= set(SIDES)


PROTECTED = (
    "```python\nvalue = 3  # don't\n```",
    "```\nThe colour of 3, and more.\n```",
    "`don't, colour`",
    "$the\\ colour, x = 3$",
    "$$\nan important, big thing\n$$",
    "\\[big, big\\]",
    "\\(because, however\\)",
    "\\text{do not, or so}",
    "https://colour.org/do,not/many.html?a=big",
    "someone@colour.org",
    "<b class='big'>",
    ">>> colour(3)\n'do not, really'",
    "data/colour.txt",
    "\\begin{align*}\ndo, not &= many \\\\\n\\end{align*}",
    "colour_of_it",
    "get_colour(big, many)",
)
PROSE = "However, the colour of 3 apples, for example, doesn't have an important effect: it is big."


@pytest.mark.parametrize("name", [name for name in MEANING if name not in (*CODE, "tilde-fences")])
def test_what_means_something_else_in_other_letters_stays(name):
    """Code in other languages than Python, too: a Java method without a fence."""
    text = "\n\n".join(f"{PROSE}\n\n{piece}" for piece in PROTECTED)
    for seed in range(3):
        new = shifted(name, text, 1.0, seed)
        for piece in PROTECTED:
            assert piece in new, (piece, new)
    java = "public int size(String do) {\n    return many;  // however, a colour\n}\n"
    assert shifted(name, java, 1.0) == java


# Written by hand: the shift, a text, and what it becomes at the rate 1.
EXPECTED = [
    ("upper-case", "The cat, a b c.", "THE CAT, a b c."),
    ("lower-case", "The NASA Cat.", "the NASA cat."),
    ("line-breaks", "one two 3", "one\ntwo 3"),
    ("blank-lines", "a\nb\n\nc\n| d |", "a\n\nb\n\n\nc\n| d |"),
    ("trailing-spaces", "a\nb", "a \nb "),
    ("punctuation-spaces", "1. Well, yes. 3.5!", "1. Well , yes . 3.5!"),
    ("typographic", 'He said: "I\'m in" -- so...', "He said: “I’m in” — so…"),
    ("number-words", "I saw 21 cats in 2 of 1995.", "I saw twenty-one cats in two of 1995."),
    ("number-words", "x = 3 and 4 + 5", "x = 3 and 4 + 5"),
    ("contractions", "I am sure it is so. As it is.", "I'm sure it's so. As it is."),
    ("expansions", "I’m here. Don't you? It's been.", "I am here. Don't you? It's been."),
    ("british", "The color of my Favorite center", "The colour of my Favourite centre"),
    ("american", "ORGANISE my neighbour’s Theatre", "ORGANIZE my neighbour’s Theater"),
    ("synonyms", "An important part, such as it.", "A significant part, like it."),
    ("homophones", "Their dog knows too", "There dog knows to"),
    ("strip-markdown", "## A\n- **b** and *c*\n> said\n2 * 3 * 4", "A\nb and c\nsaid\n2 * 3 * 4"),
    ("add-markdown", "This is so, and so.\n\nYes!", "**This is so**, and so.\n\n**Yes**!"),
    ("bullets-to-prose", "Buy:\n- milk.\n- an egg\n\nEnd", "Buy:\nmilk; an egg.\n\nEnd"),
    ("bullets-to-prose", "1. mix\n2. bake 3 * 4", "1. mix; 2. bake 3 * 4."),
    (
        "prose-to-bullets",
        "It is. So be it.\n# A title. So.",
        "- It is.\n- So be it.\n# A title. So.",
    ),
    ("quotes", "Yes.", '"Yes."'),
    ("fence-code", "x = f(1)\n", "```python\nx = f(1)\n```"),
    ("tilde-fences", "See:\n```js\nf(`a`)\n```\nEnd", "See:\n~~~js\nf(`a`)\n~~~\nEnd"),
    ("boxed-answer", "So.\n\n# Answer\n\n4/7", "So.\n\n$\\boxed{4/7}$"),
    ("boxed-answer", "So. The answer is two apples.", "So.\n\n$\\boxed{\\text{two apples}}$"),
    (
        "sentence-answer",
        "So $x=\\boxed{\\frac12}$.",
        "So $x=\\frac12$.\n\nThe answer is $\\frac12$.",
    ),
    ("heading-answer", "Hence $\\boxed{8}.$", "Hence $8.$\n\n# Answer\n\n8"),
    ("heading-answer", "So. The answer is $x+1$.", "So.\n\n# Answer\n\n$x+1$"),
    ("rot-2", "Yz", "The letters of this text are moved by 2 places of the alphabet:\n\nAb"),
    (
        "remove-comments",
        "```py\n# why\na = 1  # one\n# type: x\n```",
        "```py\na = 1\n# type: x\n```",
    ),
    (
        "minify-code",
        "if f():\n\n    # why\n    a = '''x\n  y'''\n    b = [1,\n         2]\n",
        "if f():\n a = '''x\n  y'''\n b = [1,\n2]\n",
    ),
    ("reformat-code", '    a=f( "x" ) # why\n    return a\n', "    a = f('x')\n    return a\n"),
]


@pytest.mark.parametrize(("name", "before", "after"), EXPECTED)
def test_what_a_shift_makes_of_a_text(name, before, after):
    assert shifted(name, before, 1.0) == after


def test_a_misspelt_word_differs_inside_by_one_letter():
    words = "wonderful sentence number seventeen " * 20
    for name, length in (("swap-letters", 0), ("insert-letters", 1), ("delete-letters", -1)):
        for word, new in zip(words.split(), shifted(name, words, 1.0).split(), strict=True):
            assert (len(new) == len(word) + length and new[0] + new[-1] == word[0] + word[-1]) or (
                name == "swap-letters" and sorted(new) == sorted(word)
            )
    for name in ("substitute-letters", "neighbour-keys"):
        for word, new in zip(words.split(), shifted(name, words, 1.0).split(), strict=True):
            assert sum(a != b for a, b in zip(word, new, strict=True)) == 1
    counts = [
        sum(
            a != b
            for a, b in zip(words.split(), shifted("typos", words, 0.25, seed).split(), strict=True)
        )
        for seed in range(20)
    ]
    assert 14 < sum(counts) / 20 < 24  # of 80 words 20; a swap of equal letters changes nothing


def test_another_seed_is_another_draw():
    words = "several words that can be misspelt in many ways " * 3
    assert len({shifted("typos", words, 0.5, seed) for seed in range(5)}) == 5
    assert Counter(shifted("shuffle-words", words).split()) == Counter(words.split())
    text = "One is here. Two is there. Three is near. Four is far."
    orders = [re.findall(r"\w+ is", shifted("shuffle-sentences", text, seed=n)) for n in range(5)]
    assert {tuple(sorted(order)) for order in orders} == {
        ("Four is", "One is", "Three is", "Two is")
    }
    assert len(set(map(tuple, orders))) > 1


PROGRAM = """
import math as m

LIMIT = 3

class Box:
    size = 2

    def grow(self, by, *, times=1):
        total = sum(by * step for step in range(times))
        self.size += total
        return self

def outer(start, scale=2):
    seen = {}
    def inner(value):
        nonlocal start
        start += value
        seen[value] = f"{scale=} {value:03d}"
        return lambda extra: value + extra + start
    try:
        made = [inner(n)(1) for n in range(LIMIT)]
    except ValueError as error:
        made = [str(error)]
    match made:
        case [first, *rest]:
            made = [first, len(rest)]
    with open(__file__) as handle: text = handle.name
    return made, seen, Box().grow(start, times=scale).size, m.floor(2.5)

RESULT = outer(4)
"""


def outcome(program: str) -> object:
    names: dict[str, object] = {"__file__": __file__}
    exec(program, names)
    return names["RESULT"]


def test_renamed_code_computes_the_same():
    new = shifted("rename-identifiers", PROGRAM, 1.0, prompt="Write LIMIT, RESULT")
    assert outcome(new) == outcome(PROGRAM)
    for kept in ("size", "times=scale", "nonlocal start", "{scale=} {value:03d}", "first, *rest"):
        assert kept in new
    for gone in ("by", "total", "step", "seen", "extra", "handle", "made", "n"):
        assert not re.search(rf"\b{gone}\b", new), gone
    for name in CODE:
        assert outcome(shifted(name, PROGRAM, 1.0, prompt="RESULT")) == outcome(PROGRAM)


@pytest.mark.parametrize(
    "code",
    [
        "    l = sorted(l)\n    return l\n",  # an argument that the snippet does not show
        "def f(a):\n    return locals()\n",
        "def f(a):\n    return a +\n",  # does not parse
        "for (int i = 0; i < n; i++) { f(i); }",
        "See `a`:\n```python\na = f(1)\nb = a\n```\nIt sets a.",
    ],
)
def test_names_that_others_may_know_stay_and_code_that_does_not_parse(code):
    assert shifted("rename-identifiers", code, 1.0, prompt="What is b?") == code


def bytecode(code: CodeType) -> list[object]:
    """The instructions of code and of the functions in it, without names and lines."""
    nameless = {*dis.hasname, *dis.haslocal, *dis.hasfree}
    steps: list[object] = []
    for step in dis.get_instructions(code):
        hidden = step.opcode in nameless or isinstance(step.argval, CodeType)
        steps.append((step.opname, None if hidden else step.argval))
    inner = [bytecode(value) for value in code.co_consts if isinstance(value, CodeType)]
    return [*steps, code.co_argcount, *inner]


def compiled(text: str) -> list[object] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for source in (text, f"def body():\n{text}"):
            with contextlib.suppress(SyntaxError):
                return bytecode(compile(source, "", "exec"))
    return None


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data")
def test_all_code_that_parses_compiles_to_the_same_bytecode_after_code_shifts():
    rows = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    tested: Counter[str] = Counter()
    for row in rows:
        for text in (row["chosen"], row["rejected"]):
            before = compiled(text)
            tested["parsed"] += before is not None
            for name in CODE:
                new = shifted(name, text, 1.0, prompt=row["prompt"])
                tested[name] += new != text
                assert new == text if before is None else compiled(new) == before, (name, text, new)
    assert tested["parsed"] > 60 and all(tested[name] for name in CODE), tested


def test_appended_code_follows_what_was_there():
    new = shifted("append-code", "    return x\n", 1.0)
    assert new.startswith("    return x\n\n\ndef ") and compiled(new) is not None


def test_the_page_has_every_shift_as_the_registry_has_it():
    page = (Path(__file__).parents[2] / "docs" / "shifts.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| `([a-z0-9-]+)` \| (.+) \| (\w+) \| ([\d.]+) \| (\w+) \|$", page, re.MULTILINE
    )
    sides = {4: "any", 3: "responses", 1: "prompt"}
    assert listed == [
        (name, shift.summary, shift.keeps, f"{shift.rate:g}", sides[len(shift.sides)])
        for name, shift in SHIFTS.items()
    ]
