"""`check model`: sound checkpoints are left in peace."""

import pytest
from checkpoints import NEWLINE, Make, classifier, report_on, written_in
from reports import alarms
from tiny import tiny_model
from toy import pair_rows, write_rows

SOUND: dict[str, tuple[Make, str | None]] = {
    "llama": (classifier, None),
    "gpt-neox": (lambda folder: classifier(folder, "gpt-neox"), None),
    "qwen2": (lambda folder: classifier(folder, "qwen2"), "explicit"),
    "gemma2": (lambda folder: classifier(folder, "gemma2"), None),
    "qwen3": (lambda folder: classifier(folder, "qwen3"), None),
    "line break after the end": (written_in(NEWLINE), None),
    "pad is end before a line break": (
        lambda folder: classifier(folder, "qwen2", "<|assistant|>", NEWLINE),
        None,
    ),
    "language model": (tiny_model, None),
    "implicit": (lambda folder: tiny_model(folder, "qwen2"), "implicit-no-reference"),
    "implicit of gpt-neox": (
        lambda folder: tiny_model(folder, "gpt-neox"),
        "implicit-no-reference",
    ),
    "generative": (lambda folder: tiny_model(folder, "gemma3"), "generative"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_checkpoint_is_left_in_peace(name, tmp_path):
    make, kind = SOUND[name]
    report = report_on(make(tmp_path / "model"), kind=kind)
    assert not alarms(report), str(report)
    assert report.status == 0


@pytest.mark.parametrize("kind", ["explicit", "explicit-mean", "implicit", "generative"])
def test_a_run_of_ours_is_sound(kind, run, tmp_path):
    folder, _ = run(kind)
    data = write_rows(tmp_path / "data.jsonl", pair_rows(12))
    report = report_on(folder, data=data)
    assert not alarms(report), str(report)


def test_a_reference_that_is_right(run):
    trained, initial = run("implicit")
    assert not alarms(report_on(trained))
    assert not alarms(report_on(trained, reference=str(initial)))
