"""Which words turned a verdict: cut, compared and counted, by hand and against whole rewards."""

import json

import pytest
from toy import write_rows

import rewardgap
from rewardgap.perturbing import words
from rewardgap.perturbing.causes import Cause, Causes
from rewardgap.perturbing.conclusion import describe_words
from rewardgap.perturbing.words import Move, Word
from rewardgap.scoring.scorer import Scorer


def move(before: str, after: str, margin: float) -> Move:
    return Move("chosen", before, after, margin, "", "")


def test_words_are_whole_and_have_the_rewards_of_their_tokens():
    tokens = (" d", "on", "'t", " say", "", "é", ".", "<|end|>")
    assert words.join_tokens(tokens, (1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0, 36.0)) == [
        Word(" don't", 6.0),
        Word(" sayé", 15.0),
        Word(".", 7.0),
        Word("<|end|>", 8.0),
    ]


def test_places_are_compared_word_for_word_where_as_many_stand_for_as_many():
    before = [Word("I", 1.0), Word(" do", 2.0), Word(" not", 3.0), Word(" see", 4.0)]
    after = [Word("I", 1.5), Word(" don't", 9.0), Word(" sea", 1.0), Word("!", 5.0)]
    moves = words.compare_words("chosen", before, after)
    assert [(m.before, m.after, m.margin, m.left, m.right) for m in moves] == [
        ("I", "I", 0.5, "", " don't sea!"),
        (" do", " don't", 7.0, "I", " sea!"),
        (" not", " sea", -2.0, "I don't", "!"),
        (" see", "!", 1.0, "I don't sea", ""),
    ]
    (_, added) = words.compare_words("rejected", before[:1], after[:2])
    assert (added.before, added.after, added.margin) == ("", " don't", -9.0)


def test_causes_are_places_that_differ_and_move_the_margin_as_the_flip_does():
    cause = Cause.of([move("a", "a", -5.0), move("b", "c", -1.0), move("d", "e", 2.0)])
    assert (cause.change, cause.by_changed_words) == (-4.0, 1.0)
    assert [place.after for place in cause.moves] == ["c"]
    stayed = Cause.of([move("a", "a", -5.0), move("d", "e", 2.0), move("f", "f", -1.0)])
    assert [place.after for place in stayed.moves] == ["a", "f"]
    causes = Causes({"1": cause, "2": stayed, "3": Cause.of([move(" b", " c", 3.0)])})
    assert causes.count() == [("b", "c", 2), ("a", "a", 1)]
    assert causes.share_of_changed_words == pytest.approx((-1 - 2 + 3) / (4 + 4 + 3))
    assert Causes({"1": Cause.of([move(" b", "\nb", 3.0)])}).count() == [(" b", "\nb", 1)]


def test_what_became_of_words_is_said():
    assert describe_words("a", "b") == "“a” → “b”" and describe_words("a", "") == "“a” removed"
    assert describe_words("", " ") == "“␣” added" and describe_words("a", "a") == "“a” (stayed)"


@pytest.mark.parametrize("kind", ["implicit-no-reference", "generative"])
def test_what_words_add_is_the_change_of_the_margin(kind, folders, tmp_path, monkeypatch):
    passes, rate = [], Scorer.rate
    monkeypatch.setattr(Scorer, "rate", lambda *a, **k: passes.append(a) or rate(*a, **k))
    model, out = str(folders("llama")), tmp_path / "out"
    keys = {"model": [model], "kind": kind, "device": "cpu", "out": out, "max_length": 64}
    rows = [
        {"prompt": f"hi {i}", "chosen": f"yes {i} sure", "rejected": f"sure {i} yes"}
        for i in range(12)
    ]
    keys |= {"data": write_rows(tmp_path / "data.jsonl", rows), "shifts": "upper-case"}
    result = rewardgap.robustness(**keys)
    (flips,), (causes,) = result.measured.flips.values(), result.measured.causes.values()
    assert len(flips.largest) > 1 and len(passes) == 1
    shown = json.loads((out / "robustness.json").read_text())["models"][model]["upper-case"]
    assert shown["flips"]["to_wrong"] + shown["flips"]["to_right"] == len(flips.largest)
    if kind == "generative":
        assert causes.by_record is None and shown["flips"]["words"] == []
        return
    for flip in flips.largest:
        cause = causes.by_record[flip.id]
        assert cause.change == pytest.approx(-flip.fall, rel=1e-4)
        for place in cause.moves:
            assert place.after == place.before.upper() != place.before
            assert f"{place.left}{place.after}" in getattr(flip, place.side)[1]
    assert sum(entry["flips"] for entry in shown["flips"]["words"]) == len(flips.largest)
    for path in ("robustness.html", "*/*.flips.json"):  # found again, and read again
        for file in out.glob(path):
            file.unlink()
        assert rewardgap.robustness(**keys).measured.causes == result.measured.causes
