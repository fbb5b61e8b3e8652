"""A run on the hub, against a stand-in of the hub's client."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import RepoUrl
from toy import train_toy

import rewardgap
from rewardgap.cli import main
from rewardgap.configs.serving import PushConfig
from rewardgap.io.run_folder import Run
from rewardgap.serving.push import push


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory) -> Run:
    return train_toy(tmp_path_factory.mktemp("run"), folders("llama"), epochs=1)


class Hub:
    """Keeps what it is given, as the client of huggingface_hub would upload it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **keywords: Any) -> RepoUrl:
        self.calls.append((repo_id, keywords))
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        shutil.copytree(folder_path, self.folder / repo_id)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stand_in)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    return stand_in


def told(capsys, *words: str) -> str:
    assert main(["push", *words]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_is_pushed_loads_with_the_same_rewards(run, hub, capsys):
    assert main(["push", str(run.folder), "me/model", "--private"]) == 0
    assert "https://huggingface.co/me/model" in capsys.readouterr().out
    assert hub.calls == [("me/model", {"private": True, "exist_ok": True})]
    pushed = hub.folder / "me/model"
    for asked in ("hi", "is it so?"):
        first, second = (
            rewardgap.load(str(folder), device="cpu").score(asked, ["yes", "no"])
            for folder in (run.folder, pushed)
        )
        assert first == second
    card = (pushed / "README.md").read_text()
    assert "| accuracy" in card and "tokenizer.json" in {path.name for path in pushed.iterdir()}


def test_a_dry_run_lists_the_files_and_asks_nobody(run, hub, capsys, caplog, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert main(["push", str(run.folder), "me/model", "--dry-run"]) == 0
    text = capsys.readouterr().out
    for path in run.reward_model.iterdir():
        assert f"{path.stat().st_size:,}  {path.name}" in text
    assert hub.calls == [] and "a path of this machine" in caplog.text


def test_what_prevents_a_push_is_one_line(run, hub, capsys, tmp_path, monkeypatch):
    words = (str(run.folder), "me/model")
    copied = shutil.copytree(run.reward_model, tmp_path / "copied")
    (copied / "README.md").unlink()
    assert "no model card" in told(capsys, str(copied), "me/model")
    path = copied / "rewardgap.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "implicit"}))
    assert "not what was written" in told(capsys, str(copied), "me/model")
    assert "holds no run" in told(capsys, str(tmp_path), "me/model")
    assert "required: repo" in told(capsys, str(run.folder))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "HF_TOKEN" in told(capsys, *words)
    monkeypatch.undo()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    assert "cannot push to me/model" in told(capsys, *words)  # the hub's client is offline
    assert "cannot push to a/b/c" in told(capsys, str(run.folder), "a/b/c")
    assert not hub.folder.exists()


def test_a_push_is_a_function_too(run, hub):
    upload = push(PushConfig(run=str(run.reward_model), repo="me/other"))
    assert upload.address == "https://huggingface.co/me/other" and "config.json" in upload.files
