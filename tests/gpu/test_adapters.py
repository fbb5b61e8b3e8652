"""Adapters on a GPU, weights in 4 bits and moments in 8, against PEFT, transformers and float32."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from plain import make_record
from safetensors.torch import load_file
from toy import configure, eight_steps, read_rows, train_toy
from transformers import AutoModelForSequenceClassification

from rewardgap.io.run_folder import Run
from rewardgap.models.hub import locate_model
from rewardgap.scoring.scorer import Scorer, load
from rewardgap.training import loop
from rewardgap.training.train import train

pytestmark = pytest.mark.gpu

KINDS = ("explicit", "implicit", "generative")
ROUNDING = 1e-4
RECORD = make_record("what is two plus two?", ["yes, four"], ["no, five is what I would say", "no"])
QLORA = {"adapter": "lora", "quantise": "4bit", "learning_rate": 1e-2}


@pytest.fixture
def bitsandbytes():
    return pytest.importorskip("bitsandbytes")


class Killed(BaseException):
    """What ends a run as a signal would."""


def losses(run: Run) -> list[float]:
    return [row["loss"] for row in read_rows(run.log)]


def scores(folder: Path, device: torch.device) -> list[float]:
    scorer = load(folder, device=device.type, dtype="float32")
    assert isinstance(scorer, Scorer)
    return scorer.compute(scorer.model.encode([RECORD]))[0]


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_every_step(kind, adapter, device, trained, tell):
    ours, expected = (trained(name, kind, adapter=adapter) for name in (device.type, "cpu"))
    assert len(losses(expected)) == 8 and losses(expected)[0] != losses(expected)[-1]
    error = max(abs(a / b - 1) for a, b in zip(losses(ours), losses(expected), strict=True))
    tell(f"losses {error:.1e}")
    assert error <= ROUNDING


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_four_bits_scores_as_it_does_merged(kind, device, trained, bitsandbytes, tell):
    run = trained(device.type, kind, **QLORA)
    first, *_, last = losses(run)
    assert last < 0.9 * first
    if kind == "implicit":  # the reference is in 4 bits, too
        assert first == pytest.approx(0.693147, abs=1e-6)
    scorer = load(run.folder, device=device.type)
    small = [
        name for name, weight in scorer.model.named_parameters() if weight.dtype == torch.uint8
    ]
    assert len(small) == 14 and all("base_layer" in name for name in small)
    ours, merged = scores(run.folder, device), scores(locate_model(str(run.folder)), device)
    tell(f"merged {max(abs(a - b) for a, b in zip(ours, merged, strict=True)):.1e}")
    assert merged == pytest.approx(ours, abs=1e-5)


def test_four_bits_are_those_of_transformers(device, folders, trained, bitsandbytes, tell):
    import peft
    from transformers import BitsAndBytesConfig

    run = trained(device.type, "explicit", **QLORA)
    initial = AutoModelForSequenceClassification.from_pretrained(
        folders("llama"),
        num_labels=1,
        device_map={"": device.type},
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )
    plain = peft.PeftModel.from_pretrained(initial, run.reward_model)
    plain.train()  # in evaluation some processors pack the weights, in another precision
    (tree,) = load(run.folder, device=device.type).model.encode([RECORD])
    with torch.no_grad():
        expected = [
            float(plain(torch.tensor([tree.sequence(leaf)], device=device)).logits[0, 0])
            for leaf in tree.leaves
        ]
    ours = scores(run.folder, device)
    tell(f"rewards {max(abs(a - b) for a, b in zip(ours, expected, strict=True)):.1e}")
    assert ours == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("optimiser", ["adam-8bit", "paged-adam-8bit"])
def test_moments_in_eight_bits(optimiser, device, trained, bitsandbytes, tell):
    small, whole = trained(device.type, "explicit", optimiser=optimiser), trained("cpu", "explicit")
    fallen = losses(whole)[0] - losses(whole)[-1]
    error = max(abs(a - b) for a, b in zip(losses(small), losses(whole), strict=True))
    tell(f"losses differ by {error:.1e}, and fall by {fallen:.1e}")
    assert 0 < error < 0.1 * fallen


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("optimiser", ["adam-8bit", "paged-adam-8bit"])
def test_a_run_that_is_resumed(
    optimiser,
    device,
    folders: Callable[..., Path],
    trained,
    tmp_path,
    monkeypatch,
    bitsandbytes,
    tell,
):
    save = loop.save_checkpoint

    def save_and_die(*arguments: object) -> None:
        save(*arguments)
        raise Killed

    settings = eight_steps(tmp_path) | {"checkpoint_steps": 4, "optimiser": optimiser}
    settings |= {"device": device.type}
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(loop, "save_checkpoint", save_and_die)
        train_toy(tmp_path, folders("llama"), **settings)
    run = Run(tmp_path / "out")
    moments = load_file(next(run.checkpoints.glob("step-*")) / "adam.safetensors")
    assert {
        value.dtype for name, value in moments.items() if re.match(r"state1/.*embed", name)
    } == {torch.uint8}
    train(configure(tmp_path, folders("llama"), resume=True, **settings))
    whole = trained(device.type, "explicit", optimiser=optimiser)
    error = max(abs(a / b - 1) for a, b in zip(losses(run), losses(whole), strict=True))
    tell(f"losses {error:.1e}")
    assert error == 0 if device.type == "cpu" else error <= ROUNDING
