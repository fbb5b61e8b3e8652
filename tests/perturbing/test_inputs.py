"""What score files of robustness were made from: once that has changed none is used again."""

import re
import shutil

import pytest
from toy import pair_rows, write_rows

import rewardgap
from rewardgap.errors import UserError

REMEDY = "restore it, choose another out, or pass `overwrite: true`"


def test_what_has_changed_under_its_path_is_refused(folders, tmp_path):
    paths = {name: tmp_path / name for name in ("model", "reference", "mine.jinja", "data.jsonl")}
    shutil.copytree(folders("llama"), paths["model"])
    shutil.copytree(folders("llama", "<|pad|>", None, 1), paths["reference"])
    shutil.copy(paths["model"] / "chat_template.jinja", paths["mine.jinja"])
    rows = pair_rows(4)
    write_rows(paths["data.jsonl"], rows)
    named = {"reference": str(paths["reference"]), "template": str(paths["mine.jinja"])}
    named |= {"data": str(paths["data.jsonl"]), "model": [str(paths["model"])]}
    where = {"out": tmp_path / "out", "cache": str(tmp_path / "cache"), "device": "cpu"}

    def measure(**keys: object) -> list[dict[str, object]]:
        return rewardgap.robustness(
            **named, **where, kind="implicit", shifts="quotes", **keys
        ).rows()

    before = measure()
    others = folders("llama", "<|pad|>", None, 2) / "model.safetensors"
    swapped = {"chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}
    more, labels = tmp_path / "more.jsonl", tmp_path / "labels.jsonl"
    write_rows(more, pair_rows(5))
    write_rows(labels, [rows[0] | swapped, *rows[1:]])
    for path, other, changed in (
        (paths["model"] / "model.safetensors", others, f"model {paths['model']}"),
        (paths["reference"] / "model.safetensors", others, f"reference {paths['reference']}"),
        (paths["model"] / "tokenizer_config.json", more, f"model {paths['model']}"),
        (paths["mine.jinja"], more, "chat template"),
        (paths["data.jsonl"], more, "data"),
        (paths["data.jsonl"], labels, "data"),
    ):
        kept = path.read_bytes()
        path.write_bytes(other.read_bytes())
        with pytest.raises(UserError, match=f"changed since .*: {re.escape(changed)}: .*{REMEDY}"):
            measure()
        path.write_bytes(kept)
        assert measure() == before
    (paths["model"] / "model.safetensors").write_bytes(others.read_bytes())
    assert measure(overwrite=True) != before


def test_scores_of_which_nobody_says_where_they_are_from_are_refused(folders, tmp_path):
    keys = {"model": [str(folders("llama"))], "kind": "implicit-no-reference", "device": "cpu"}
    keys |= {"data": write_rows(tmp_path / "data.jsonl", pair_rows(4)), "shifts": "quotes"}
    rewardgap.robustness(**keys, out=tmp_path / "out")
    for inputs in (tmp_path / "out").glob("*/inputs.json"):
        inputs.unlink()
    with pytest.raises(UserError, match=r"without inputs\.json"):
        rewardgap.robustness(**keys, out=tmp_path / "out")
