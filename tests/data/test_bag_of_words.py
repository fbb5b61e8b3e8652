import json
import os
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from rewardgap.data import bag_of_words
from rewardgap.data.bag_of_words import BagOfWords, draw, words
from rewardgap.data.records import Message, Record, Response


def response(text: str) -> Response:
    return (Message("assistant", text),)


def record(chosen: list[str], rejected: list[str], prompt: str = "?") -> Record:
    return Record(
        id=f"{prompt}{chosen}{rejected}",
        prompt=(Message("user", prompt),),
        chosen=tuple(map(response, chosen)),
        rejected=tuple(map(response, rejected)),
        metadata={},
    )


RECORDS = [
    record(["Yes I do"], ["No never"]),
    record(["yes, of course"], ["no thanks", "do not"]),
    record(["I agree", "of course I agree 2"], ["never"]),
]


def test_words_keep_digits_and_single_letters() -> None:
    assert words("I can't: x=2, Ünder!") == ["i", "can", "t", "x", "2", "ünder"]


def test_weights_minimise_the_logistic_loss_of_count_differences() -> None:
    """Against a dense minimiser of |w|^2 / 2 + 2 sum over pairs of ln(1 + exp(-w . d)).

    The 2 is for each pair and its negation, which have the same loss.
    """
    fitted = BagOfWords.fit(RECORDS)
    names = sorted(fitted.weights)
    differences = np.array([
        [words(chosen[0].content).count(name) - words(rejected[0].content).count(name)
         for name in names]
        for one in RECORDS for chosen in one.chosen for rejected in one.rejected
    ])  # fmt: skip

    def loss(weights: np.ndarray) -> float:
        return float(weights @ weights / 2 + 2 * np.logaddexp(0, -differences @ weights).sum())

    expected = minimize(loss, np.zeros(len(names)), tol=1e-10).x
    assert [fitted.weights[name] for name in names] == pytest.approx(expected, abs=2e-3)


def test_it_learns_which_words_win() -> None:
    fitted = BagOfWords.fit(RECORDS)
    assert fitted.score("yes") > 0 > fitted.score("NEVER")
    assert fitted.score("unheard words") == 0
    assert fitted.score("") == 0
    scores = fitted.scores(["yes", "never", "yes never"])
    assert scores.shape == (3,)
    assert scores[2] == pytest.approx(scores[0] + scores[1])
    assert fitted.scores([]).shape == (0,)


def test_swapping_the_sides_negates_every_score() -> None:
    fitted = BagOfWords.fit(RECORDS)
    swapped = BagOfWords.fit(
        [Record(one.id, one.prompt, one.rejected, one.chosen, {}) for one in RECORDS]
    )
    assert set(swapped.weights) == set(fitted.weights)
    for word, weight in fitted.weights.items():
        assert swapped.weights[word] == pytest.approx(-weight, abs=1e-6)


def test_the_prompt_is_never_seen() -> None:
    asked = [record([" a b"], ["c"], prompt) for prompt in ("first question", "second one")]
    assert set(BagOfWords.fit(asked).weights) == {"a", "b", "c"}


def test_a_response_of_several_messages_counts_all_of_them() -> None:
    several = (Message("assistant", "one"), Message("tool", "two"), Message("assistant", "three"))
    only = Record("a", (Message("user", "?"),), (several,), (response("four"),), {})
    assert set(BagOfWords.fit([only]).weights) == {"one", "two", "three", "four"}


@pytest.mark.parametrize("records", [[], [record(["!!"], ["?"])]])
def test_without_words_everything_scores_zero(records: list[Record]) -> None:
    fitted = BagOfWords.fit(records)
    assert fitted.weights == {}
    assert fitted.scores(["any", "text"]).tolist() == [0, 0]


def test_equal_words_in_another_order_teach_nothing() -> None:
    assert set(BagOfWords.fit([record(["a b"], ["b a"])]).weights.values()) == {0.0}


@given(st.lists(st.sampled_from(["yes", "no", "i", "do", "of"]), max_size=12), st.randoms())
def test_the_order_of_words_does_not_matter_to_the_bit(text: list[str], random: Random) -> None:
    fitted = BagOfWords({"yes": 0.1, "no": -0.7, "i": 1e-9, "do": 3e6})
    shuffled = random.sample(text, len(text))
    assert fitted.score(" ".join(shuffled)) == fitted.score(" ".join(text))


def test_more_records_than_fit_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always the same ones, from all parts of the data alike."""
    numbered = [record([f"w{i}"], ["no"]) for i in range(5)]
    assert draw(iter(numbered), 5) == numbered
    drawn = draw(iter(numbered), 2)
    assert len({one.id for one in drawn}) == 2 and draw(iter(numbered), 2) == drawn
    monkeypatch.setattr(bag_of_words, "MAX_RECORDS", 2)
    assert BagOfWords.fit(iter(numbered)) == BagOfWords.fit(drawn)
    many = [record([f"w{i}"], ["no"], str(i)) for i in range(5000)]
    counts = np.zeros(5)
    for one in draw(iter(many), 1000):
        counts[int(one.prompt[0].content) // 1000] += 1
    # Hypergeometric: 200 on average, standard deviation 11.3.
    assert np.all(abs(counts - 200) < 60)


def test_thousands_of_long_responses_fit_quickly() -> None:
    """2,000 pairs of 200 words from 5,000: 800,000 words; chosen ones favour the low numbers."""
    generator = np.random.default_rng(0)

    def text(skew: float) -> str:
        return " ".join(f"w{int(5000 * u**skew)}" for u in generator.random(200))

    records = [record([text(1.1)], [text(1.0)]) for _ in range(2000)]
    began = time.perf_counter()
    fitted = BagOfWords.fit(records)
    assert time.perf_counter() - began < 10  # about one second on an idle core
    assert fitted.score("w1 w2 w3 w4 w5") > 0


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs the shared data")
def test_real_pairs_are_fitted_far_better_than_chance() -> None:
    path = Path(os.environ["REWARDGAP_SHARED"]) / "data" / "rewardmath_train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[:500]
    rows = [json.loads(line) for line in lines]
    fitted = BagOfWords.fit([record([row["chosen"]], [row["rejected"]]) for row in rows])
    right = [fitted.score(row["chosen"]) > fitted.score(row["rejected"]) for row in rows]
    assert np.mean(right) > 0.9
