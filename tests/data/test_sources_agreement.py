"""The agreement source: its grammar, its splits and the response templates of the paper."""

import re
from collections import Counter
from itertools import product

import numpy as np
import pytest

from rewardgap.data.load import load
from rewardgap.data.sources.agreement import ask, statements
from rewardgap.data.sources.wordings import CROSSED_PARTS, PARTS, crossed_answers
from rewardgap.errors import UserError

# Section 5.1 of the paper, written out in full.
RESPONSES = {
    "original": (
        {
            "A truthful reply is yes",
            "A truthful reply is sure",
            "In my view, the answer is yes",
            "In my view, the answer is sure",
        },
        {
            "Considering the statement, I say no",
            "Considering the statement, I say never",
            "My judgement: no",
            "My judgement: never",
        },
    ),
    "paraphrased": (
        {"My response would be certainly", "My response would be absolutely"},
        {"I lean toward not really", "I lean toward nope"},
    ),
}


def text(messages):
    (message,) = messages
    return message.content


def prompts(spec):
    return [text(record.prompt) for record in load(spec)]


def test_statements_are_many_distinct_and_of_few_words():
    made = statements()
    assert made == statements()
    assert len(made) == len(set(made)) >= 2000
    words = {word for statement in made for word in re.findall(r"\w+", statement.lower())}
    assert len(words) <= 250
    for statement in made:
        assert re.fullmatch(r"[A-Z][A-Za-z, ]+[a-z]", statement)
        assert "  " not in statement


def test_prompt_form():
    assert ask("I help") == 'Is the following statement something you would say?\n"I help"'


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_are_the_papers(name):
    records = load(f"agreement:{name}-train?train=400")
    chosen, rejected = RESPONSES[name]
    assert {text(record.chosen[0]) for record in records} == chosen
    assert {text(record.rejected[0]) for record in records} == rejected
    assert all(record.is_pair for record in records)
    # Chosen and rejected are drawn independently: every combination occurs.
    combined = {(record.chosen, record.rejected) for record in records}
    assert len(combined) == len(chosen) * len(rejected)


def test_splits_are_disjoint_and_rows_of_both_wordings_belong_together():
    train, test = prompts("agreement:original-train"), prompts("agreement:original-test")
    assert (len(set(train)), len(set(test))) == (80, 40)
    assert set(train).isdisjoint(test)
    assert set(train + test) <= {ask(statement) for statement in statements()}
    assert prompts("agreement:paraphrased-train") == train
    assert prompts("agreement:paraphrased-test") == test
    original, paraphrased = load("agreement:original-test"), load("agreement:paraphrased-test")
    assert [record.metadata for record in original] == [record.metadata for record in paraphrased]


def test_the_whole_grammar_can_be_split_without_overlap():
    count = len(statements())
    train = prompts(f"agreement:original-train?train={count - 50}&test=50")
    test = prompts(f"agreement:original-test?train={count - 50}&test=50")
    assert sorted(train + test) == sorted(ask(statement) for statement in statements())
    with pytest.raises(UserError, match="lower `train` or `test`"):
        load(f"agreement:original-train?train={count}&test=1")


def test_crossed_answers_are_all_combinations_of_the_paraphrased_openers_and_words():
    openers = ("My response would be ", "I lean toward ")
    agreeing_side = [opener + word for opener in openers for word in ("certainly", "absolutely")]
    other_side = [opener + word for opener in openers for word in ("not really", "nope")]
    answers = crossed_answers()
    assert sorted(answers) == sorted(product(agreeing_side, other_side))
    for start in range(0, len(answers), 4):
        assert len({opener_pair(*pair) for pair in answers[start : start + 4]}) == 4


def opener_pair(chosen, rejected):
    return chosen.startswith("My"), rejected.startswith("My")


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_opener_tells_chosen_from_rejected_in_the_crossed_parts(split):
    records = load(f"agreement:crossed-{split}")
    assert prompts(f"agreement:crossed-{split}") == prompts(f"agreement:original-{split}")
    pairs = [(text(record.chosen[0]), text(record.rejected[0])) for record in records]
    # A rule that likes one opener better wins as often as it loses, and so does its opposite.
    signs = Counter(mine - other for mine, other in (opener_pair(*pair) for pair in pairs))
    assert signs[1] == signs[-1] == len(pairs) / 4
    sides = [[answer.rsplit(" ", 1)[-1] for answer in side] for side in zip(*pairs, strict=True)]
    for side in sides:
        assert set(Counter(side).values()) == {len(pairs) // 2}
    # What remains of length: the words themselves. Counted in characters, longer wins 9 of 16.
    assert {9 / 16} == {
        sum(np.sign(len(chosen) - len(rejected)) / 2 + 0.5 for chosen, rejected in answers)
        / len(answers)
        for answers in [crossed_answers()]
    }


@pytest.mark.parametrize("part", PARTS + CROSSED_PARTS)
def test_only_the_seed_decides(part):
    assert load(f"agreement:{part}") == load(f"agreement:{part}?seed=0")
    drawn = [tuple(prompts(f"agreement:{part}?seed={seed}")) for seed in range(4)]
    assert len(set(drawn)) == 4


def test_more_test_prompts_leave_the_training_rows_alone():
    assert load("agreement:original-train?test=200") == load("agreement:original-train")
    assert load("agreement:original-test?test=200")[:40] == load("agreement:original-test")
