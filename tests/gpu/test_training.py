"""Training on a GPU, against the same training on the CPU; and runs that are broken off there."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy import configure, eight_steps, read_rows, train_toy

from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.training import loop
from rewardgap.training.train import train

pytestmark = pytest.mark.gpu

KINDS = ("explicit", "implicit", "generative")
ROUNDING = 1e-4
"""Of losses, relatively."""
OF_THE_WAY = 1e-2
"""By how much of what training changes weights may differ: Adam divides by gradients, so that a
weight whose gradient is rounding alone goes anywhere."""
SIDES = ("scores_chosen", "scores_rejected")
BROKEN_AFTER = 4
"""Steps."""


class Killed(BaseException):
    """What ends a run as a signal would."""


def losses(run: Run) -> list[float]:
    return [row["loss"] for row in read_rows(run.log)]


def scores(run: Run) -> list[float]:
    return [row[side] for row in read_rows(run.scores("test")) for side in SIDES]


def weights(run: Run) -> torch.Tensor:
    """All trained weights as one vector."""
    saved = load_file(run.reward_model / "model.safetensors")
    return torch.cat([saved[name].double().flatten() for name in sorted(saved)])


@pytest.fixture
def way(folders: Callable[..., Path]) -> Callable[[Run, Run], float]:
    """The distance between the weights of two runs, as a share of what the second one changed."""

    def share(run: Run, expected: Run) -> float:
        after = load_file(expected.reward_model / "model.safetensors")
        before = load_file(folders("llama") / "model.safetensors")
        moved = [(after[n] - before[n]).double().flatten() for n in sorted(after) if n in before]
        distance = float((weights(run) - weights(expected)).norm())
        return distance / float(torch.cat(moved).norm())

    return share


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_every_step(kind, device, trained, apart, way, tell):
    ours, expected = trained(device.type, kind), trained("cpu", kind)
    assert len(losses(expected)) == 8 and losses(expected)[0] != losses(expected)[-1]
    error = max(abs(a / b - 1) for a, b in zip(losses(ours), losses(expected), strict=True))
    tell(f"losses {error:.1e}, weights {way(ours, expected):.1e} of the way")
    assert error <= ROUNDING
    assert way(ours, expected) <= OF_THE_WAY
    assert apart(scores(ours), scores(expected)) <= OF_THE_WAY


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_has_the_memory_of_the_device(kind, device, trained, tell):
    peaks = [row["peak_memory"] for row in read_rows(trained(device.type, kind).log)]
    tell(f"{peaks[-1] / 2**20:.1f} MiB")
    if device.type != "cuda":
        pytest.skip("the peak is that of the process")
    of_weights = (trained(device.type, kind).reward_model / "model.safetensors").stat().st_size
    assert peaks == sorted(peaks)
    assert 4 * of_weights <= peaks[-1] < 128 * 2**20  # weights, gradients, two moments, activations


def test_gradient_checkpointing(device, trained, tell):
    plain, again = (
        trained(device.type, "implicit", gradient_checkpointing=value) for value in (False, True)
    )
    error = max(abs(a / b - 1) for a, b in zip(losses(again), losses(plain), strict=True))
    tell(f"losses {error:.1e}")
    assert error <= ROUNDING


def test_bfloat16_learns_the_same(device, trained, tell):
    half, single = trained(device.type, "explicit", dtype="bfloat16"), trained("cpu", "explicit")
    first, last = losses(half)[0], losses(half)[-1]
    fallen = losses(single)[0] - losses(single)[-1]
    tell(f"loss {first:.5f} to {last:.5f}, in float32 it falls by {fallen:.5f}")
    assert fallen > 0.05
    assert first == pytest.approx(losses(single)[0], rel=0.02)
    assert first - last == pytest.approx(fallen, rel=0.3)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_compiled_layers(device, trained, tell):
    try:
        compiled = trained(device.type, "implicit", compile=True, max_steps=3)
    except UserError as error:
        message = str(error)
        assert re.match(r"compile: this machine cannot: \S", message) and "\n" not in message
        pytest.skip(message)
    expected = losses(trained(device.type, "implicit"))[:3]
    error = max(abs(a / b - 1) for a, b in zip(losses(compiled), expected, strict=True))
    tell(f"losses {error:.1e}")
    assert error <= ROUNDING


@pytest.fixture
def broken(
    folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Makes a run that ended after its checkpoint of four steps of eight."""

    def start(device: str, kind: str) -> Run:
        save = loop.save_checkpoint

        def save_and_die(*arguments: object) -> None:
            save(*arguments)
            raise Killed

        settings = eight_steps(tmp_path) | {"checkpoint_steps": BROKEN_AFTER}
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(loop, "save_checkpoint", save_and_die)
            train_toy(tmp_path, folders("llama"), kind=kind, device=device, **settings)
        run = Run(tmp_path / "out")
        assert run.steps_saved == BROKEN_AFTER and not run.reward_model.exists()
        return run

    return start


@pytest.fixture
def resume(folders: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Continues a run, on another device too, as if its configuration had named that one."""

    def go_on(run: Run, device: str, kind: str) -> Run:
        text = run.config.read_text()
        run.config.write_text(re.sub("(?m)^device: .*$", f"device: {device}", text))
        settings = eight_steps(tmp_path) | {"checkpoint_steps": BROKEN_AFTER, "kind": kind}
        train(configure(tmp_path, folders("llama"), device=device, resume=True, **settings))
        return run

    yield go_on


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_resumed(kind, device, broken, resume, trained, way, tell):
    whole = trained(device.type, kind)
    run = resume(broken(device.type, kind), device.type, kind)
    same = torch.equal(weights(run), weights(whole))
    tell(f"{'the same bits' if same else f'{way(run, whole):.1e} of the way'}")
    assert len(losses(run)) == 8
    assert same if device.type == "cpu" else way(run, whole) <= OF_THE_WAY


@pytest.mark.parametrize("to_the_device", [True, False], ids=["to-device", "to-cpu"])
@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_run_that_goes_on_elsewhere(
    kind, to_the_device, device, broken, resume, trained, way, tell
):
    places = ("cpu", device.type) if to_the_device else (device.type, "cpu")
    run = resume(broken(places[0], kind), places[1], kind)
    tell(f"{way(run, trained('cpu', kind)):.1e} of the way")
    assert way(run, trained("cpu", kind)) <= OF_THE_WAY
    moments = load_file(next(run.checkpoints.glob("step-*")) / "adam.safetensors")
    assert moments and all(value.isfinite().all() for value in moments.values())


def test_a_pad_token_that_is_added_on_the_device(device, folders, tmp_path, apart):
    """The explicit kind saves a pad token of its own where the tokenizer has none."""
    runs = []
    for number, name in enumerate((device.type, "cpu")):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = eight_steps(folder) | {"device": name, "max_steps": 2}
        runs.append(train_toy(folder, folders("llama", None), **settings))
    assert apart(*map(scores, runs)) <= OF_THE_WAY


def test_runs_of_one_process_take_the_devices_that_they_name(device, folders, tmp_path):
    training = import_module("rewardgap.training.train")
    for name in ("cpu", device.type, "cpu"):
        config = configure(tmp_path, folders("llama"), device=name)
        assert training.open_processes(config).device.type == name
