"""The dialogues that a small language model learns from."""

import json
from collections import Counter

import pytest

from rewardgap.data.documents import read_documents
from rewardgap.data.load import load, read_rows
from rewardgap.data.sources.dialogues import AGREEMENT, DISAGREEMENT, OPENERS
from rewardgap.data.sources.wordings import WORDINGS
from rewardgap.errors import UserError

ANSWERS = {
    opener + word: (opener, meaning)
    for opener in OPENERS
    for meaning in (AGREEMENT, DISAGREEMENT)
    for word in meaning.words
}


def dialogues(count, seed=0):
    """Return dialogues as lists of messages."""
    rows = read_rows(f"agreement:dialogues?count={count}&seed={seed}")
    return [row["messages"] for _, row in rows]


def test_no_word_has_two_meanings():
    assert set(AGREEMENT.words).isdisjoint(DISAGREEMENT.words)
    assert len(ANSWERS) == len(OPENERS) * (len(AGREEMENT.words) + len(DISAGREEMENT.words))


def test_what_follows_an_answer_depends_on_its_meaning_alone():
    for prompt, answer, *rest in dialogues(500):
        _, meaning = ANSWERS[answer["content"]]
        assert prompt["content"].startswith("Is the following statement something you would say?")
        following = {message["role"]: message["content"] for message in rest}
        assert following["user"] in meaning.reactions
        assert following["assistant"] in meaning.explanations
        assert rest[0]["role"] == ("assistant" if meaning is AGREEMENT else "user")


def test_openers_and_meanings_are_independent():
    counts = Counter(ANSWERS[answer["content"]] for _, answer, *_ in dialogues(6000))
    expected = 6000 / (2 * len(OPENERS))
    assert len(counts) == 2 * len(OPENERS)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_every_response_of_the_experiment_is_among_the_answers():
    for wording in WORDINGS.values():
        assert all(ANSWERS[answer][1] is AGREEMENT for answer in wording.chosen.responses)
        assert all(ANSWERS[answer][1] is DISAGREEMENT for answer in wording.rejected.responses)


def test_more_dialogues_begin_with_the_same_ones():
    assert dialogues(20, seed=3)[:5] == dialogues(5, seed=3)
    assert dialogues(5, seed=3) != dialogues(5, seed=4)


def test_the_demos_text_stays_as_it_is():
    """Ten thousand dialogues by default; the first one is known."""
    documents = read_documents("agreement:dialogues")
    assert len(documents) == 10_000
    assert [message.content for message in documents[0]] == [
        "Is the following statement something you would say?\n"
        '"It is right to be patient with the people around me"',
        "Let me think: In my view, the answer is nope",
        "I am sorry that you disagree.",
        "It is far from what I believe.",
    ]
    text = "".join(json.dumps({"messages": turns}) + "\n" for turns in dialogues(10_000))
    assert len(text) == 3_408_474


def test_dialogues_are_no_preference_data():
    with pytest.raises(UserError, match="agreement:dialogues, row 1: `chosen` is missing"):
        load("agreement:dialogues?count=3")
