"""Commands with --device, whose figures are those that the CPU gives; and failures there."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import pair_rows, read_rows, several_rows, write_rows

import rewardgap
from rewardgap.cli import main
from rewardgap.configs.serving import ServeConfig
from rewardgap.data.records import Message
from rewardgap.errors import UserError
from rewardgap.models.devices import choose_device
from rewardgap.scoring.responses import ChatPrompt, PromptedResponse
from rewardgap.scoring.scorer import Scorer
from rewardgap.serving.worker import Worker

pytestmark = pytest.mark.gpu

KINDS = ("explicit", "explicit-mean", "implicit", "implicit-no-reference", "generative")
ROUNDING = 1e-4
SUMS = 1e-3
"""Of gradients, and of sums of random signs over a vocabulary, in float32."""

Command = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_rows(tmp_path / "data.jsonl", several_rows(6))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a device, with nothing cached by another one; returns what it wrote."""
    made: list[Path] = []

    def run(device: str, words: Sequence[str], out: str) -> Path:
        folder = tmp_path / f"{len(made)}-{device}"
        folder.mkdir()
        made.append(folder)
        monkeypatch.setenv("REWARDGAP_CACHE", str(folder / "cache"))
        place = ["--device", device, "--dtype", "float32", "--out", str(folder / out)]
        assert main([*words, *place]) == 0
        return folder / out

    return run


def numbers(values: Any) -> Iterator[float]:
    """All numbers of something read from JSON, in order."""
    if isinstance(values, Mapping):
        values = [values[key] for key in sorted(values)]
    if isinstance(values, list):
        for value in values:
            yield from numbers(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield float(values)


@pytest.mark.parametrize("kind", KINDS)
def test_score(kind, device, trained, command, data, apart, tell):
    words = ["score", str(trained("cpu", kind).folder), "--data", data]
    ours, expected = (read_rows(command(d, words, "s.jsonl")) for d in (device.type, "cpu"))
    sides = ("scores_chosen", "scores_rejected")
    rewards = [[*numbers([[row[s] for s in sides] for row in rows])] for rows in (ours, expected)]
    assert len(rewards[1]) > 12
    tell(f"{apart(*rewards):.1e}")
    assert apart(*rewards) <= ROUNDING


def test_score_in_the_precision_that_the_device_takes(device, trained, tmp_path, data, apart, tell):
    """Nothing is said of the dtype, which is bfloat16 on a GPU and float32 on a CPU."""
    out = tmp_path / "s.jsonl"
    run = str(trained("cpu", "implicit").folder)
    assert main(["score", run, "--data", data, "--device", device.type, "--out", str(out)]) == 0
    wide = [row["scores_chosen"] for row in read_rows(out)]
    scorer = rewardgap.load(run, device="cpu", dtype="float32")
    assert isinstance(scorer, Scorer)
    expected = [
        reward for row in several_rows(6) for reward in scorer.score(row["prompt"], row["chosen"])
    ]
    half = rewardgap.load(run, device=device.type)
    tell(f"{half!r}, {apart(numbers(wide), expected):.1e}")
    assert ("bfloat16" in repr(half)) == (device.type == "cuda")
    assert apart(numbers(wide), expected) <= 0.05


def test_rank(device, trained, command, data, apart):
    words = ["rank", str(trained("cpu", "explicit").folder), "--data", data]
    ours, expected = (read_rows(command(d, words, "r.jsonl")) for d in (device.type, "cpu"))
    assert [row["order"] for row in ours] == [row["order"] for row in expected]
    assert apart(*(numbers([row["rewards"] for row in rows]) for rows in (ours, expected))) <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_explain(kind, device, trained, command, data, tell):
    """Everything in the JSON, but for rounding; of nearly equal pairs the order may differ."""
    words = ["explain", str(trained("cpu", kind).folder), "--data", data, "--row", "2"]
    pages = [command(d, words, "page.html") for d in (device.type, "cpu")]
    ours, expected = (json.loads(page.with_suffix(".json").read_text()) for page in pages)
    errors = dict(differences(ours, expected))
    worst = max(errors, key=errors.__getitem__)
    tell(f"{errors[worst]:.1e} at {worst} of {len(errors)}")
    assert len(errors) > 10
    assert errors[worst] <= SUMS


def differences(
    ours: Any, expected: Any, place: str = "", size: float = 0.0
) -> Iterator[tuple[str, float]]:
    """Every number's place and its difference, relative to the largest one beside it."""
    if isinstance(expected, Mapping):
        assert ours.keys() == expected.keys(), place
        for key, value in expected.items():
            yield from differences(ours[key], value, f"{place}.{key}", size)
    elif isinstance(expected, list):
        assert len(ours) == len(expected), place
        size = max([abs(number) for number in numbers(expected)], default=0.0)
        for index, value in enumerate(expected):
            yield from differences(ours[index], value, f"{place}[{index}]", size)
    elif isinstance(expected, float):
        assert isinstance(ours, float), place
        error = abs(ours - expected)
        yield place, error / max(size, abs(expected)) if error else 0.0
    else:
        assert ours == expected, place


def test_forecast_by_theory(device, folders, command, tmp_path, apart, tell):
    words = forecast_words(folders("llama"), tmp_path, "--kinds", *KINDS, "--budget", "0")
    ours, expected = (command(d, words, "forecast") for d in (device.type, "cpu"))
    for kind in KINDS:
        rows = [read_rows(out / "scores" / kind / "test.jsonl") for out in (ours, expected)]
        rewards = [
            [*numbers([[r["scores_chosen"], r["scores_rejected"]] for r in x])] for x in rows
        ]
        tell(f"{kind}: {apart(*rewards):.1e}")
        assert apart(*rewards) <= SUMS, kind


def test_forecast_by_rehearsals(device, folders, command, tmp_path, apart, tell):
    words = forecast_words(folders("llama"), tmp_path, "--kinds", "explicit", "implicit")
    words += ["--batch-size", "4", "--epochs", "2", "--learning-rate", "1e-3"]
    ours, expected = (command(d, words, "forecast") for d in (device.type, "cpu"))
    logs = sorted(path.relative_to(ours) for path in ours.glob("rehearsals/*/log.jsonl"))
    assert {str(path).split("/")[1].rpartition("-")[0] for path in logs} == {"explicit", "implicit"}
    for path in logs:
        losses = [[row["loss"] for row in read_rows(out / path)] for out in (ours, expected)]
        tell(f"{path.parent.name}: {apart(*losses):.1e}")
        assert apart(*losses) <= SUMS, path


def forecast_words(model: Path, folder: Path, *further: str) -> list[str]:
    training = write_rows(folder / "train.jsonl", pair_rows(8))
    evaluation = write_rows(folder / "test.jsonl", pair_rows(4, start=8))
    data = ["--train", training, "--eval.test", evaluation]
    return ["forecast", "--model", str(model), *data, *further]


def test_robustness(device, trained, command, tmp_path, apart):
    data = write_rows(tmp_path / "pairs.jsonl", pair_rows(6))
    words = ["robustness", str(trained("cpu", "explicit").folder), "--data", data]
    words += ["--shifts", "quotes", "upper-case"]
    outs = [command(d, words, "robust") for d in (device.type, "cpu")]
    ours, expected = (json.loads((out / "robustness.json").read_text()) for out in outs)
    assert apart(numbers(ours), numbers(expected)) <= SUMS


def test_check_model(device, folders, trained, capsys):
    """It takes a GPU where there is one; nothing can be said against a model of our own."""
    assert main(["check", "model", str(trained("cpu", "explicit").folder)]) in (0, 3)
    printed = capsys.readouterr()
    assert printed.out and "Traceback" not in printed.err


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_the_worker_of_a_server(kind, device, trained, apart):
    """Its thread is not the one that has loaded the model."""
    run = str(trained("cpu", kind).folder)
    scorer, plain = (
        rewardgap.load(run, device=name, dtype="float32") for name in (device.type, "cpu")
    )
    worker = Worker(scorer, ServeConfig(model=run, wait=0.05), lambda requests: None)
    asked = [("hi", "yes"), ("is it so?", "no, never"), ("hi", "no"), ("hi", "yes, sure")]
    futures = [
        worker.submit(
            [
                PromptedResponse(
                    ChatPrompt((Message("user", prompt),)), (Message("assistant", response),)
                )
            ]
        )
        for prompt, response in asked
    ]
    rewards = [future.result(60).rewards[0] for future in futures]
    worker.close()
    assert apart(rewards, [plain.score(*words)[0] for words in asked]) <= ROUNDING


def test_rewards_of_tokens(device, trained, apart):
    run = str(trained("cpu", "implicit").folder)
    ours, expected = (
        rewardgap.load(run, device=name, dtype="float32").token_rewards("hi", "yes, sure")
        for name in (device.type, "cpu")
    )
    assert len(expected) > 3
    assert apart(ours, expected) <= ROUNDING


def test_a_gpu_that_is_not_there_is_refused_in_one_line(device, trained):
    with pytest.raises(UserError, match=r"^device 'cuda:9' is not available on this machine") as no:
        choose_device("cuda:9")
    assert "\n" not in str(no.value)
    assert float(torch.ones(3, device=device).sum()) == 3  # the device still computes
    run = str(trained("cpu", "explicit").folder)
    with pytest.raises(UserError, match="cuda:9"):
        rewardgap.load(run, device="cuda:9")


def test_memory_that_is_exhausted_is_one_line(device, trained, data, tmp_path, capsys):
    if device.type != "cuda":
        pytest.skip("only a GPU can be given a small share of its memory")
    run = str(trained("cpu", "explicit").folder)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        out = str(tmp_path / "s.jsonl")
        capsys.readouterr()
        words = ["score", run, "--data", data, "--out", out, "--device", "cuda", "--quiet"]
        assert main(words) == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    said = capsys.readouterr().err
    assert said.startswith("rewardgap: the GPU has too little memory: lower --token-budget")
    assert said.count("\n") == 1 and said.endswith(")\n")
    assert not Path(out).exists()
