"""How many of our files a reader enters who follows one training run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy import configure

import rewardgap
from rewardgap.training import train as training

FOLDER = f"{Path(rewardgap.__file__).parent}/"
Files = set[str]


@contextmanager
def files_entered() -> Iterator[Files]:
    """Collect the files of the package in which a function is called."""
    files: Files = set()

    def note(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and frame.f_code.co_name != "<module>" and name.startswith(FOLDER):
            files.add(name.removeprefix(FOLDER))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)


@pytest.fixture
def stages(folders, tmp_path, monkeypatch) -> dict[str, Files]:
    """The files that each stage of training an explicit model enters."""
    files: dict[str, Files] = {}

    def watched(name: str, stage: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            with files_entered() as entered:
                result = stage(*arguments)
            files[name] = entered
            return result

        return run

    for name in ("open_training", "open_data", "build", "fit", "save", "evaluate"):
        monkeypatch.setattr(training, name, watched(name, getattr(training, name)))
    training.train(configure(tmp_path, folders("llama")))
    return files


def test_training_is_read_in_few_files(stages):
    assert list(stages) == ["open_training", "open_data", "build", "fit", "save", "evaluate"]
    learning = stages["build"] | stages["fit"] | stages["save"]
    assert len(learning) <= 33, sorted(learning)  # with the check of the model that is loaded
    assert max(len(stages[name]) for name in ("open_training", "build", "fit", "save")) <= 22
    assert len(set().union(*stages.values())) <= 62  # with all that reads data and measures
