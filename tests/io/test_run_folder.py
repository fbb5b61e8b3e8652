"""Run folders, whole files and folders, checkpoints, and the plan of the steps."""

import errno
import os
import resource
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import remove_unfinished, whole_file, whole_folder, write_text
from rewardgap.io.run_folder import Run, open_run
from rewardgap.training import checkpoints
from rewardgap.training.checkpoints import load_checkpoint, save_checkpoint

SETTINGS = {"kind": "explicit", "epochs": 3, "eval": {"test": "test.jsonl"}, "out": "out"}


def names(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes, as on a disk that is nearly full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def write_tensors(path: Path) -> None:
    save_file({"a": torch.zeros(10_000)}, path)


def write_words(path: Path) -> None:
    path.write_text("a" * 40_000)


@pytest.mark.parametrize("write", [write_words, write_tensors])
def test_a_full_disk_leaves_the_older_file(write, tmp_path):
    path = tmp_path / "folder" / "file"
    write_text(path, "old")

    def replace() -> None:
        with full_disk(1000), whole_file(path) as unfinished:
            write(unfinished)

    assert refusal(replace).startswith(f"cannot write {path}: ")
    assert names(tmp_path) == ["folder", "folder/file"] and path.read_text() == "old"


@pytest.mark.parametrize("write", [write_words, write_tensors])
def test_a_full_disk_leaves_the_older_folder(write, tmp_path):
    path = tmp_path / "folder"
    with whole_folder(path) as unfinished:
        (unfinished / "a").write_text("old")

    def replace() -> None:
        with full_disk(1000), whole_folder(path) as unfinished:
            (unfinished / "a").write_text("new")
            write(unfinished / "b")

    assert refusal(replace).startswith(f"cannot write {path}: ")
    assert names(tmp_path) == ["folder", "folder/a"] and (path / "a").read_text() == "old"


def test_a_disk_that_is_full_when_flushed(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    message = refusal(write_text, tmp_path / "a", "text")
    assert message == f"cannot write {tmp_path / 'a'}: No space left on device"
    assert names(tmp_path) == []


def test_an_error_of_any_other_kind_passes_and_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a") as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "b") as unfinished:
        (unfinished / "c").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_files_and_folders_are_renamed_and_not_copied(tmp_path):
    """A copy could be seen half-done."""
    with whole_file(tmp_path / "a") as unfinished:
        unfinished.write_text("text")
        file = unfinished.stat().st_ino
    with whole_folder(tmp_path / "b") as unfinished:
        folder = unfinished.stat().st_ino
    assert [(tmp_path / name).stat().st_ino for name in "ab"] == [file, folder]


def test_a_whole_folder_replaces_an_older_one_with_its_own_content_alone(tmp_path):
    for name in ("old", "new"):
        with whole_folder(tmp_path / "deep" / "folder") as unfinished:
            assert not list(unfinished.iterdir())
            (unfinished / name).mkdir()
            write_text(unfinished / name / "text", "ß")
    assert names(tmp_path) == ["deep", *(f"deep/folder{end}" for end in ("", "/new", "/new/text"))]


def test_what_a_killed_process_left_is_removed(tmp_path):
    host = socket.gethostname()
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process in (ended.pid, os.getpid()):  # in a container a process may get an old number again
        write_text(tmp_path / "a" / f".b.{host}-{process}.unfinished" / "weights", "half")
        write_text(tmp_path / f".log.jsonl.{host}-{process}.unfinished", "half")
    write_text(tmp_path / "log.jsonl", "whole")
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["a", "log.jsonl"]


def test_what_another_process_writes_stays(tmp_path):
    here, elsewhere = socket.gethostname(), f"not-{socket.gethostname()}"
    running = f".log.jsonl.{here}-{os.getppid()}.unfinished"
    files = [running, f".log.jsonl.{elsewhere}-123.unfinished"]
    old = f".old.{elsewhere}-123.unfinished"
    for name in (*files, old):
        write_text(tmp_path / name, "half")
    os.utime(tmp_path / old, (0, 0))
    remove_unfinished(tmp_path)
    assert names(tmp_path) == sorted(files)


def test_a_killed_process_leaves_nothing_once_its_file_is_written_again(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = f"{socket.gethostname()}-{ended.pid}.unfinished"
    write_text(tmp_path / f".a[1].{left}", "half")
    write_text(tmp_path / f".b.{left}", "half")
    write_text(tmp_path / f".c.{left}" / "weights", "half")
    write_text(tmp_path / "a[1]", "whole")
    with whole_folder(tmp_path / "c"):
        pass
    assert names(tmp_path) == [f".b.{left}", "a[1]", "c"]


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REWARDGAP_CACHE", raising=False)
    assert cache_folder(None) == tmp_path / ".cache" / "rewardgap"
    monkeypatch.setenv("REWARDGAP_CACHE", "~/elsewhere")
    assert cache_folder(None) == tmp_path / "elsewhere"
    assert cache_folder("chosen") == Path("chosen")


def test_a_run_is_begun_in_a_folder_that_is_new_or_empty(tmp_path):
    for folder in (tmp_path, tmp_path / "new" / "run"):
        run = open_run(str(folder), SETTINGS, resume=False)
        assert yaml.safe_load(run.config.read_text()) == SETTINGS == run.read_config()
        assert list(run.read_config()) == list(SETTINGS), "keys keep their order"


def begun(folder: Path) -> Run:
    run = open_run(str(folder), SETTINGS, resume=False)
    write_text(run.log, "")
    return run


def test_a_run_of_the_same_settings_is_resumed_when_asked(tmp_path):
    run = begun(tmp_path)
    assert open_run(str(tmp_path), SETTINGS | {"out": "moved"}, resume=True) == run
    assert "pass --resume" in refusal(open_run, str(tmp_path), SETTINGS, False)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_of_other_settings_is_refused_with_the_keys_that_differ(resume, tmp_path):
    begun(tmp_path)
    other = {"kind": "implicit", "epochs": 3, "eval": {}, "out": "out", "seed": 1}
    message = refusal(open_run, str(tmp_path), other, resume)
    assert message == f"{tmp_path} holds a run with another eval, kind, seed; choose another out"


def test_a_run_that_wrote_nothing_but_its_configuration_is_begun_anew(tmp_path):
    open_run(str(tmp_path), SETTINGS, resume=False)
    write_text(tmp_path / ".log.jsonl.12.unfinished", "")
    run = open_run(str(tmp_path), SETTINGS | {"epochs": 4}, resume=False)
    assert run.read_config()["epochs"] == 4


@pytest.mark.parametrize("cache", ["cache", "mine/.cache"])
def test_a_cache_in_the_folder_is_no_run(cache, tmp_path):
    """What is noted of the data, before a run begins, may be the first thing in its folder."""
    write_text(tmp_path / cache / "hashes" / "note", "")
    run = open_run(str(tmp_path), SETTINGS, resume=False, cache=str(tmp_path / cache))
    assert run.read_config() == SETTINGS


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    write_text(tmp_path / "thesis.tex", "years of work")
    assert "holds no run" in refusal(open_run, str(tmp_path), SETTINGS, True)
    assert "is a file" in refusal(open_run, str(tmp_path / "thesis.tex"), SETTINGS, True)
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    "text", ["- a\n", "a: [", "", "a: \udce9", "[" * 100_000, "a: !!int x", "a: 2020-99-99"]
)
def test_a_damaged_configuration_is_no_traceback(text, tmp_path):
    begun(tmp_path).config.write_text(text, errors="surrogateescape")
    assert str(tmp_path / "config.yaml") in refusal(open_run, str(tmp_path), SETTINGS, True)


def small_model(seed: int) -> tuple[dict[str, nn.Parameter], torch.optim.Adam]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return dict(model.named_parameters()), torch.optim.Adam(model.parameters(), 0.1, fused=True)


def learn(parameters: dict[str, nn.Parameter], adam: torch.optim.Adam, steps: range) -> None:
    for step in steps:
        adam.zero_grad()
        sum(((p - step) ** 2).sum() for p in parameters.values()).backward()
        adam.step()


LOG = '{"step": 1}\n'


def save(folder: Path, step: int, *state: Any) -> None:
    """A checkpoint of a run whose log is LOG."""
    log = folder.parent / f"{folder.name}.jsonl"
    log.write_text(LOG)
    save_checkpoint(folder, step, *state, log)


def test_a_checkpoint_continues_with_the_same_bits(tmp_path):
    parameters, adam = small_model(seed=0)
    learn(parameters, adam, range(5))
    save(tmp_path, 5, parameters, adam)
    restored, fresh = small_model(seed=1)
    assert load_checkpoint(tmp_path, restored, fresh) == (5, LOG)
    learn(parameters, adam, range(5, 9))
    learn(restored, fresh, range(5, 9))
    for name, parameter in parameters.items():
        assert torch.equal(parameter, restored[name])


def test_the_latest_checkpoint_is_kept_and_no_other(tmp_path):
    parameters, adam = small_model(seed=0)
    assert load_checkpoint(tmp_path / "none", parameters, adam) == (0, "")
    for step in (9, 10, 11):
        learn(parameters, adam, range(1))
        save(tmp_path, step, parameters, adam)
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{step:08d}"]
        assert load_checkpoint(tmp_path, parameters, adam)[0] == step


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_checkpoint_cut_short_leaves_the_older_one(written, tmp_path, monkeypatch):
    parameters, adam = small_model(seed=0)
    learn(parameters, adam, range(2))
    save(tmp_path, 2, parameters, adam)
    older = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    learn(parameters, adam, range(2, 4))
    calls = Counter()

    def stop_after(write):
        def stopped(*arguments):
            if calls.total() == written:
                raise InterruptedError
            calls.update("a")
            return write(*arguments)

        return stopped

    for name in ("save_file", "write_text"):
        monkeypatch.setattr(checkpoints, name, stop_after(getattr(checkpoints, name)))
    with pytest.raises((InterruptedError, UserError)):
        save(tmp_path, 4, parameters, adam)
    assert load_checkpoint(tmp_path, parameters, adam)[0] == 2
    assert all(torch.equal(parameters[name], older[name]) for name in older)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    parameters, adam = small_model(seed=0)
    learn(parameters, adam, range(1))
    save(tmp_path, 1, parameters, adam)
    parameters["other"] = parameters.pop("0.bias")
    assert "of another model" in refusal(load_checkpoint, tmp_path, parameters, adam)


@pytest.mark.parametrize(
    "damage",
    [
        ("weights.safetensors", -1),
        ("adam.safetensors", -1),
        ("adam.safetensors", 9),
        ("log.jsonl", 3),
        ("state.json", 10),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(damage, tmp_path, caplog):
    """One bit of the latest: the one before is restored, and without one nothing is."""
    (name, place), (parameters, adam) = damage, small_model(seed=0)
    learn(parameters, adam, range(2))
    save(tmp_path / "older", 2, parameters, adam)
    older = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    learn(parameters, adam, range(2, 4))
    save(tmp_path / "run", 4, parameters, adam)
    latest = tmp_path / "run" / "step-00000004"
    content = bytearray((latest / name).read_bytes())
    content[place] ^= 1
    (latest / name).write_bytes(content)
    message = refusal(load_checkpoint, tmp_path / "run", parameters, adam)
    assert message.startswith(f"{latest} is damaged") and f"remove {tmp_path / 'run'}" in message
    (tmp_path / "older" / "step-00000002").rename(tmp_path / "run" / "step-00000002")
    assert load_checkpoint(tmp_path / "run", parameters, adam) == (2, LOG)
    assert str(latest) in caplog.text
    assert all(torch.equal(parameters[name], older[name]) for name in older)


@pytest.mark.parametrize("text", ["3", '{"step": 4}', "[" * 100_000, '{"step": 2, "xxh3_128": {}}'])
def test_a_state_that_is_none_is_a_damaged_checkpoint(text, tmp_path):
    parameters, adam = small_model(seed=0)
    learn(parameters, adam, range(2))
    save(tmp_path, 2, parameters, adam)
    (tmp_path / "step-00000002" / "state.json").write_text(text)
    assert "is damaged" in refusal(load_checkpoint, tmp_path, parameters, adam)
    (tmp_path / "step-00000002" / "state.json").unlink()
    assert "is damaged" in refusal(load_checkpoint, tmp_path, parameters, adam)


METRICS = '{"test": {"n": 3, "accuracy": {"value": 1.0, "low": 1.0, "high": 1.0}}}'


def finished(folder: Path, metrics: str) -> bool:
    run = Run(folder)
    write_text(run.metrics, metrics)
    return run.is_finished(["test"])


@pytest.mark.parametrize("metrics", ["", "{", "[]", "{}", '{"test": 3}', '{"other": {"n": 3}}'])
def test_damaged_metrics_do_not_end_a_run(metrics, tmp_path, caplog):
    write_text(Run(tmp_path).scores("test"), "")
    assert finished(tmp_path, METRICS) and not caplog.text
    assert not finished(tmp_path, metrics)
    assert str(tmp_path / "metrics.json") in caplog.text


def test_a_run_whose_scores_are_gone_is_not_finished(tmp_path, caplog):
    assert not finished(tmp_path, METRICS) and "test.jsonl" in caplog.text


@pytest.mark.parametrize("key", ["model", "kind", "seed", "train", "eval"])
@pytest.mark.parametrize("value", [None, [3], {"a": 3}, 0.5])
def test_a_configuration_with_a_value_of_another_type_is_damaged(key, value, tmp_path):
    whole = {"model": "m", "kind": "explicit", "seed": 0, "train": ["a"], "eval": {"test": "b"}}
    run = Run(tmp_path)
    run.config.write_text(yaml.safe_dump(whole))
    assert run.read_config() == whole
    run.config.write_text(yaml.safe_dump(whole | {key: value}))
    assert refusal(run.read_config).startswith(f"{run.config} is damaged: {key} is ")
    run.config.write_text(yaml.safe_dump({"model": {"name": "another tool's"}}))
    assert run.read_values()["model"], "no run"
