"""The accelerator that these tests compare with the CPU, and figures that they print at the end.

`pytest -m gpu tests/gpu` runs them where there is a GPU. `REWARDGAP_TEST_DEVICE=cpu` rehearses them
on the CPU, which then is compared with itself.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from toy import eight_steps, train_toy

from rewardgap.io.run_folder import Run

Tell = Callable[[str], None]


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("REWARDGAP_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU; REWARDGAP_TEST_DEVICE=cpu rehearses the tests on the CPU")
    return torch.device(name)


@pytest.fixture
def tell(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Tell:
    """Has a line printed at the end of the session: a figure that was measured."""
    return lambda line: record_property("measured", f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in getattr(report, "user_properties", ()):
            if name == "measured" and report.when == "call":
                terminalreporter.write_line(str(value))


@pytest.fixture(scope="session")
def trained(
    folders: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Run]]:
    """Runs of eight steps in float32, by device, kind and further settings; each is made once."""
    runs: dict[str, Run] = {}

    def train(device: str, kind: str, **changes: object) -> Run:
        name = repr((device, kind, sorted(changes.items())))
        if name not in runs:
            folder = tmp_path_factory.mktemp("run")
            settings = eight_steps(folder) | {"kind": kind, "device": device} | changes
            runs[name] = train_toy(folder, folders("llama"), **settings)
        return runs[name]

    yield train


@pytest.fixture(scope="session")
def apart() -> Callable[[Iterable[float], Iterable[float]], float]:
    """How far values are from those expected, relative to the norm of these."""

    def distance(values: Iterable[float], expected: Iterable[float]) -> float:
        both = [torch.tensor([*some], dtype=torch.float64) for some in (values, expected)]
        difference = float((both[0] - both[1]).norm())
        return difference / float(both[1].norm()) if difference else 0.0

    return distance
