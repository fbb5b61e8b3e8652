"""The training loop: schedules, steps, clipping, and the memory that is logged."""

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from toy import read_rows, train_toy

from rewardgap.io.run_folder import Run
from rewardgap.training import loop as fit


def rates(run: Run) -> list[float]:
    return [row["learning_rate"] for row in read_rows(run.log)]


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1] * 6),
        ("constant", 3, [0, 1 / 3, 2 / 3, 1, 1, 1]),
        ("linear", 2, [0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", 0, [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]),
    ],
)
def test_schedules(schedule, warmup, expected, model, tmp_path):
    run = train_toy(tmp_path, model, schedule=schedule, warmup_steps=warmup, epochs=2, eval={})
    assert rates(run) == pytest.approx([3e-3 * factor for factor in expected])


def test_a_run_may_end_before_its_epochs(model, tmp_path):
    """With the schedule; but for that, the steps are the first ones of the whole run."""
    whole = train_toy(tmp_path, model, eval={})
    short = train_toy(tmp_path, model, eval={}, max_steps=4, out=str(tmp_path / "short"))
    rows = [
        {key: row[key] for key in ("step", "epoch", "loss")}
        for run in (whole, short)
        for row in read_rows(run.log)
    ]
    assert rows[9:] == rows[:4]
    linear = train_toy(
        tmp_path, model, eval={}, max_steps=4, schedule="linear", out=str(tmp_path / "linear")
    )
    assert rates(linear) == pytest.approx([3e-3 * left / 4 for left in (4, 3, 2, 1)])
    longer = train_toy(tmp_path, model, eval={}, max_steps=99, out=str(tmp_path / "longer"))
    assert len(read_rows(longer.log)) == 9


@pytest.fixture
def gradient_norms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[float, float]]]:
    """(learning rate, gradient norm) that Adam sees at every step."""
    seen = []
    step = torch.optim.Adam.step

    def look(self, *arguments, **keywords):
        (group,) = self.param_groups
        squares = sum(float(p.grad.square().sum()) for p in group["params"])
        seen.append((float(group["lr"]), squares**0.5))
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", look)
    yield seen


def test_the_gradient_is_clipped_to_its_norm(model, tmp_path, gradient_norms):
    train_toy(tmp_path, model, eval={}, epochs=1, learning_rate=1e-9)
    free = [norm for _, norm in gradient_norms]
    limit = sorted(free)[1]
    gradient_norms.clear()
    clipped = str(tmp_path / "clipped")
    train_toy(
        tmp_path, model, eval={}, epochs=1, learning_rate=1e-9, max_grad_norm=limit, out=clipped
    )
    expected = [min(norm, limit) for norm in free]
    assert [norm for _, norm in gradient_norms] == pytest.approx(expected, rel=1e-4)


def test_adam_uses_the_learning_rate_that_is_logged(model, tmp_path, gradient_norms):
    run = train_toy(tmp_path, model, eval={}, schedule="linear", warmup_steps=1)
    assert [rate for rate, _ in gradient_norms] == pytest.approx(rates(run))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_this_process_alone():
    """Not that of the process which started it, and which holds 600 MB more."""
    script = f"""
from __future__ import annotations
import resource, sys
from pathlib import Path
from types import SimpleNamespace
{inspect.getsource(fit.peak_memory)}
print(peak_memory(SimpleNamespace(type="cpu")))
"""  # the function alone: torch would take seconds to import
    held = torch.ones(150 * 2**20)
    started = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    peak = fit.peak_memory(torch.device("cpu"))
    assert 2**20 < int(started.stdout) < min(2**28, peak - held.nbytes / 2)


def test_memory_is_measured_in_bytes():
    before = fit.peak_memory(torch.device("cpu"))
    held = torch.ones(2**25)  # 128 MiB, more than the peak so far left free
    after = fit.peak_memory(torch.device("cpu"))
    assert 50 * 2**20 < before <= after < before + 2 * held.nbytes
