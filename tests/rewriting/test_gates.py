"""Gates: what is wrong with a rewritten text, by hand, and numbers and code as properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.errors import UserError
from rewardgap.rewriting.gates import Rewriting, find_fault, overlap
from rewardgap.rewriting.instructions import find_instruction
from rewardgap.rewriting.replies import Reply, answer_alone

CODE = "Do this:\n```python\nx = 1\n```\nIt works."
CASES = {
    "good": ("A cat sat.", "There sat a cat.", ""),
    "empty": ("A cat.", " \n", "empty"),
    "a refusal": ("A cat.", "I’m very sorry, but no.", "refused"),
    "another refusal": ("A cat.", "As an AI language model, I do not.", "refused"),
    "a reworded refusal": ("I cannot help.", "Sorry, no help from me.", ""),
    "a cannot inside": ("A cat.", "The cat says: I cannot.", ""),
    "unchanged": ("A  cat.\n", "a cat.", "unchanged"),
    "numbers": ("In 1,234.5 days and 7 nights.", "Nights: 7. Days: 1 234,5.", ""),
    "a lost number": ("In 12 days, 7 nights.", "In 12 days and nights.", "numbers"),
    "another number": ("It costs 1,000.", "The price is 1,001.", "numbers"),
    "years": ("In 2020 300 cats.", "300 cats, in 2020.", ""),
    "numbers of items": ("1. A cat.\n2. A dog.", "A dog and a cat.", ""),
    "code": (CODE, "Here it is.\n\n```python\nx = 1\n```\n", ""),
    "other code": (CODE, "Here it is.\n\n```python\ny = 1\n```\n", "code"),
    "no code": (CODE, "Set x to 1.", "code"),
}


@pytest.mark.parametrize(("original", "text", "fault"), CASES.values(), ids=CASES)
def test_faults_by_hand(original, text, fault):
    name, reason = find_fault(Rewriting(original, Reply(text, "m")))
    assert name == fault and bool(reason) == bool(fault)
    assert find_fault(Rewriting(original, Reply(text, "m")), frozenset([fault])) == ("", "")


def test_language_and_overlap():
    reply = Reply("Le chat dort.", "m")
    assert find_fault(Rewriting("The cat sleeps.", reply, "french", "french")) == ("", "")
    assert find_fault(Rewriting("The cat sleeps.", reply, "german", None)) == ("", "")
    fault = find_fault(Rewriting("The cat sleeps.", reply, "german", "french"))
    assert fault == ("language", "the answer is in French, not in German")
    assert overlap("The cat, the dog.", "a CAT and the dog") == 3 / 5
    assert overlap("?", "!") == 1 and overlap("a", "b") == 0
    close = Rewriting("The cat.", Reply("That cat, the cat.", "m"), max_overlap=0.6)
    assert find_fault(close)[0] == "overlap"


@settings(max_examples=30)
@given(
    st.lists(st.floats(0, 1e9).map(lambda n: f"{n:,.2f}") | st.integers(0, 10**6).map(str)),
    st.randoms(use_true_random=False),
)
def test_numbers_in_any_order_are_kept_and_one_that_is_gone_is_noticed(numbers, random):
    reordered = random.sample(numbers, len(numbers))
    text, other = (" and ".join(["so", *order]) for order in (numbers, reordered))
    assert find_fault(Rewriting(text, Reply(f"Now {other}", "m")))[0] == ""
    if numbers:
        gone = text.replace(numbers[0], "that")
        assert find_fault(Rewriting(text, Reply(f"Now {gone}", "m")))[0] == "numbers"


def test_instructions():
    paraphrase, french = find_instruction("paraphrase"), find_instruction("french")
    assert "Output only" in paraphrase.text and "French" in french.text
    assert paraphrase.prompt("A cat.").endswith("\n\nA cat.")
    assert [i.expected("german") for i in (paraphrase, french)] == ["german", "french"]
    own = find_instruction("Say it as a pirate.", "english")
    assert (own.text, own.expected("german")) == ("Say it as a pirate.", "english")
    with pytest.raises(UserError, match="did you mean spanish"):
        find_instruction("spanisch")


def test_thoughts_before_an_answer_are_left_out():
    assert answer_alone("\n<think>a</think>\n\n b <think>c</think>") == "b <think>c</think>"
    assert answer_alone("<think>cut") == "<think>cut"
