"""The whole of robustness: what is scored, what goes on, what is said, and mistakes."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy import pair_rows, read_rows, write_rows

import rewardgap
from rewardgap.cli import main
from rewardgap.data.dropped import DroppedRecord
from rewardgap.data.load import load
from rewardgap.data.shifting import shifting
from rewardgap.errors import UserError
from rewardgap.models.language_model import LanguageModel
from rewardgap.perturbing import robustness, shifted_scores
from rewardgap.scoring.rater import Rated, Rater
from rewardgap.scoring.scorer import Scorer

SHIFTS = ["upper-case", "contractions", "quotes", "strip-markdown"]
"""What changes all, half, and all texts, and none."""


def polite_rows(count: int) -> list[dict[str, Any]]:
    """Pairs of which every other one has a contraction to make."""
    return [
        row
        | {"prompt": f"<b>{row['prompt']}", "rejected": f"no, {('I do not mind', 'never')[i % 2]}"}
        for i, row in enumerate(pair_rows(count))
    ]


class LowerCase(Rater):
    """Likes "yes" in lower case; counts the records of every wording that it rates together."""

    def __init__(self) -> None:
        self.rated: list[Counter[str]] = []

    def score(self, prompt: Any, responses: Any) -> list[float]:
        raise NotImplementedError

    def rate(self, records: Sequence[Any], dropped: Any = None, prefixes: bool = False) -> Rated:
        self.rated.append(Counter(record.id.partition("/")[0] for record in records))
        tree: Any = SimpleNamespace(chosen=1, lengths=(1, 1), truncated=False)
        rewards = [[float("yes" in text[0].content) for text in r.responses] for r in records]
        return Rated(records, [tree] * len(records), rewards)


@pytest.fixture
def rater(monkeypatch: pytest.MonkeyPatch) -> LowerCase:
    """The model of every name."""
    rater = LowerCase()
    monkeypatch.setattr(shifted_scores, "load_model", lambda *_, **__: rater)
    monkeypatch.setattr(robustness, "scoring_inputs", lambda *_: {})
    return rater


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., Any]:
    """Robustness of the model m<b> on twelve pairs."""
    data = write_rows(tmp_path / "data.jsonl", polite_rows(12))

    def run(**keys: Any) -> Any:
        common = {"model": ["m<b>"], "data": data, "out": tmp_path / "out", "shifts": SHIFTS}
        return rewardgap.robustness(**common | keys)

    return run


def test_only_changed_records_are_scored_and_only_once(rater, measure, tmp_path):
    first = measure()
    assert rater.rated == [{"original": 12, "upper-case": 12, "contractions": 6, "quotes": 12}]
    files = {path.name for path in (tmp_path / "out" / "m-b").glob("*.jsonl")}
    assert files == {"contractions.jsonl", "original.jsonl", "quotes.jsonl", "upper-case.jsonl"}
    (tmp_path / "out" / "m-b" / "contractions.jsonl").unlink()  # as if it had been killed there
    assert measure().rows() == first.rows() and rater.rated[1:] == [{"contractions": 6}]
    measure(model=["m<b>", "other"], shifts=["quotes"])
    assert rater.rated[2:] == [{"original": 12, "quotes": 12}]
    measure(seed=1, overwrite=True, shifts=["quotes"])
    assert rater.rated[3:] == [{"original": 12, "quotes": 12}]


def test_a_record_that_is_not_read_in_other_words_is_left_out(
    rater, measure, tmp_path, monkeypatch
):
    def rate(rater: LowerCase, records: Sequence[Any], dropped: Any, prefixes: bool) -> Rated:
        kept = [record for record in records if record.id != "quotes/pair-3"]
        dropped.append(DroppedRecord("quotes/pair-3", "too long"))
        return rated(rater, kept)

    rated = LowerCase.rate
    monkeypatch.setattr(LowerCase, "rate", rate)
    result = measure(shifts=["quotes", "upper-case"], bad_records="drop")
    left_out = {row["shift"]: row["left_out"] for row in result.rows()}
    assert left_out == {"quotes": 1, "upper-case": 0}
    assert read_rows(tmp_path / "out" / "m-b" / "quotes.dropped.jsonl") == [
        {"data": str(tmp_path / "data.jsonl"), "record": "pair-3", "reason": "too long"}
    ]
    assert result.conclusion[-1].startswith("Up to 1 record could not be read")


def test_what_is_said(rater, measure, tmp_path):
    result = measure()
    by_shift = {row["shift"]: row for row in result.rows()}
    loud = by_shift["upper-case"]
    assert next(iter(by_shift)) == "upper-case" and "strip-markdown" not in by_shift
    assert (loud["accuracy_before"], loud["accuracy_after"], loud["changed"]) == (1.0, 0.5, 12)
    assert loud["accuracy_lost"] == 0.5 and loud["flip_rate"] == 0.5 and loud["detected"]
    assert loud["reward_change"] == -1.0  # from a mean of 0.5 with deviation 0.5 to 0
    assert loud["holm_p"] == pytest.approx(3 * 2 / 2**12)  # three shifts; exact over 12 prompts
    assert by_shift["contractions"]["changed"] == 6 and not by_shift["quotes"]["detected"]
    worst, unmeasured = result.conclusion
    assert worst.startswith("m<b> loses accuracy under 1 of 3 shifts (33 %): upper-case. ")
    assert "falls from 1.000 to 0.500, by 0.500 [" in worst and "50 % of the verdicts flip" in worst
    assert unmeasured.endswith("could be changed: strip-markdown.")
    assert "no shift shows a detectable loss" in measure(shifts="quotes").conclusion[0]
    assert max(map(len, str(result).splitlines()[1:])) <= 80


def test_the_folder_holds_figures_a_page_and_a_card(rater, measure, tmp_path):
    measure()
    figures = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert figures["models"]["m<b>"]["upper-case"]["accuracy_lost"]["value"] == 0.5
    page = (tmp_path / "out" / "robustness.html").read_text()
    assert "<script" not in page and "m<b>" not in page and "<b>" not in page
    assert page.count("<svg") == 1 and page.count("<h3>") == 3  # examples of the only loss
    assert re.search(r"<pre[^>]*>yes, sure</pre>\s*<pre[^>]*>YES, SURE</pre>", page)
    card = (tmp_path / "out" / "card.md").read_text()
    assert card.startswith("## Robustness to wording\n") and "m\\<b\\>" in card
    assert "| upper-case | 12 | 0.500 [" in card


def test_mistakes(rater, measure, tmp_path, capsys):
    measure(shifts="quotes")
    unlabelled = write_rows(tmp_path / "bare.jsonl", [{"prompt": "hi", "response": "yes"}])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("kind: explicit\n")
    for keys, message in (
        ({"shifts": "tipos"}, "unknown shift 'tipos'; did you mean typos?"),
        ({"shifts": "typos,case"}, "unknown shift 'case'"),
        ({"shifts": ["quotes,quotes"]}, "shifts names quotes twice"),
        ({"model": ["a", "a"]}, "model names a twice"),
        ({"model": ["a/b", "a-b"]}, "a/b and a-b would share"),
        (
            {"data": unlabelled, "out": tmp_path / "new"},
            "bare.jsonl, line 1: `response` without labels",
        ),
        ({"seed": 1}, "was made with another seed; choose another out"),
        ({"rate": 2.0}, "rate must be from 0 to 1"),
        ({"out": tmp_path / "run", "overwrite": True}, "holds something else than robustness"),
        ({"shifts": "strip-markdown"}, "find nothing to change"),
    ):
        with pytest.raises(UserError, match=re.escape(message)) as error:
            measure(**keys)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()
    write_rows(tmp_path / "data.jsonl", pair_rows(12))
    with pytest.raises(UserError, match="rates other texts, the first of record pair-0"):
        measure(shifts="quotes")


def test_a_model_rates_shifted_data_as_score_does(folders, tmp_path, capsys, monkeypatch):
    counts, rate = [], Scorer.rate
    monkeypatch.setattr(Scorer, "rate", lambda *a, **k: counts.append(len(a[1])) or rate(*a, **k))
    data = write_rows(tmp_path / "data.jsonl", polite_rows(6))
    model, where = str(folders("llama")), ["--device", "cpu", "--cache", str(tmp_path / "cache")]
    where += ["--kind", "implicit", "--reference", str(folders("llama", "<|pad|>", None, 1))]
    words = ["robustness", model, "--data", data, "--out", str(tmp_path / "out"), *where]
    assert main([*words, "--shifts", "contractions", "greeting", "--json", "--quiet"]) == 0
    assert counts == [6 + 3 + 6]
    shown = json.loads(capsys.readouterr().out)
    assert {row["shift"]: row["changed"] for row in shown["effects"]} == {
        "contractions": 3,
        "greeting": 6,
    }
    (folder,) = {path.parent for path in (tmp_path / "out").glob("*/greeting.jsonl")}
    for shift in ("contractions", "greeting"):
        out = tmp_path / f"{shift}.jsonl"
        score = ["score", model, "--data", f"{data}?shift={shift}"]
        assert main([*score, "--out", str(out), *where, "--quiet"]) == 0
        for row, expected in zip(read_rows(folder / out.name), read_rows(out), strict=True):
            for key in expected.keys() - {"baselines"}:
                close = pytest.approx(expected[key], rel=1e-5) if "scores" in key else expected[key]
                assert row[key] == close, key


def test_every_prompt_is_computed_once_for_all_shifts(folders, tmp_path, monkeypatch):
    """Tokens that a model and its reference compute, against those of one pass over the data."""
    shifts = ["quotes", "greeting", "upper-case", "contractions"]
    rows = [row | {"prompt": f"{i} is it so? " * 4} for i, row in enumerate(polite_rows(8))]
    data, counts = write_rows(tmp_path / "data.jsonl", rows), Counter[str]()
    hidden_states = LanguageModel.hidden_states

    def count(model: Any, pack: Any, *arguments: Any) -> Any:
        counts[stage] += len(pack.tokens)
        return hidden_states(model, pack, *arguments)

    stage = "pass"
    monkeypatch.setattr(LanguageModel, "hidden_states", count)
    keys = {"kind": "implicit", "reference": str(folders("llama", "<|pad|>", None, 1))}
    keys |= {"device": "cpu"}
    scorer = rewardgap.load(str(folders("llama")), **keys)
    records = load(data)
    trees = [scorer.model.encode([record])[0] for record in records]
    where = {"out": tmp_path / "scores", "cache": str(tmp_path / "a")}
    rewardgap.score(model=str(folders("llama")), data=data, **where, **keys)
    assert counts["pass"] == 2 * sum(tree.size for tree in trees)
    stage = "robustness"
    robust = {"out": tmp_path / "out", "cache": str(tmp_path / "b"), "shifts": shifts}
    result = rewardgap.robustness(model=[str(folders("llama"))], data=data, **robust, **keys)
    prompts, responses = set(), 0
    for record in records:
        wordings = [record, *(shifting(name).record(record) for name in shifts)]
        for number, wording in enumerate(wordings):
            (tree,) = scorer.model.encode([wording])
            prompts.add(tree.nodes[0])
            if number == 0 or wording.metadata["shift"]["changed"]:
                responses += sum(len(tree.nodes[leaf]) for leaf in tree.leaves)
    assert len(prompts) == 2 * 8  # the greeting is put before the prompt
    expected = sum(map(len, prompts)) + responses
    assert counts["robustness"] == 2 * expected
    assert any(causes.count() for causes in result.measured.causes.values())
    assert counts["robustness"] < 0.7 * (len(shifts) + 1) * counts["pass"]


def test_settings_of_a_command_that_failed_bind_nobody(rater, measure, monkeypatch):
    def refuse(*arguments: Any, **keys: Any) -> Rated:
        raise UserError("set max_length")

    with monkeypatch.context() as patch:
        patch.setattr(LowerCase, "rate", refuse)
        with pytest.raises(UserError, match="set max_length"):
            measure()
    assert measure(max_length=256).measured.effects
    with pytest.raises(UserError, match="was made with another max_length"):
        measure(max_length=128)
