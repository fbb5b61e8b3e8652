"""Kernels of a problem: against features multiplied by hand, and kept on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS
from readouts import DATA, EXACT, make_readout, read

from rewardgap.forecasting.last_layer import LastLayer, last_layer_passes
from rewardgap.forecasting.passes import Reader
from rewardgap.forecasting.problem import Cache, Data, Problem, pose

READER = Reader(torch.device("cpu"), 4096)
SETS = Data(lambda model: model.encode(RECORDS[1:3]), {"test": RECORDS}, None)


def test_kernels_are_products_of_features(folders: Callable[..., Path], tmp_path: Path) -> None:
    """Records 1 and 2 have one chosen response each, and one and two rejected ones."""
    signs = {
        "implicit": [[1, -1, 0, 0, 0], [0, 0, 1, -1, 0], [0, 0, 1, 0, -1]],
        "generative": [
            *([1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]),
            *([0, -1, 0, 0, 0], [0, 0, 0, -1, 0], [0, 0, 0, 0, -1]),
        ],
    }
    for kind, rows in signs.items():
        readout = make_readout(kind, folders("llama"))
        passes = last_layer_passes({kind: readout}, EXACT, DATA)
        problem = pose(passes, READER, Cache(tmp_path, kind), SETS)[kind]
        training, test = (read(passes[0], kind, records=r) for r in (RECORDS[1:3], RECORDS))
        basis = np.concatenate([np.array(rows) @ training.values.numpy(), training.probes])
        kernel = problem.training.kernel
        np.testing.assert_allclose(kernel, basis @ basis.T, rtol=1e-4, atol=1e-3)
        evaluation = problem.held_out["test"]
        np.testing.assert_allclose(
            evaluation.kernel, test.values.numpy() @ basis.T, rtol=1e-4, atol=1e-3
        )
        assert len(evaluation.probes) == len(test.probes)


def test_kernels_are_read_once(
    folders: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    readout = make_readout("implicit", folders("llama"))

    def run(seed: int = 0, data: Data = SETS) -> Problem:
        passes = last_layer_passes({"implicit": readout}, replace(EXACT, seed=seed), DATA)
        return pose(passes, READER, Cache(tmp_path, "test"), data)["implicit"]

    first = run()
    entries = list((tmp_path / "forecast").iterdir())
    assert len(entries) == 2  # training, and the evaluation set
    with monkeypatch.context() as patch:
        patch.setattr(LastLayer, "read", None)
        again = run()
    np.testing.assert_array_equal(first.training.kernel, again.training.kernel)
    np.testing.assert_array_equal(first.held_out["test"].probes, again.held_out["test"].probes)
    assert isinstance(again.training.tokens, float)
    whole = [each.read_bytes() for each in entries]
    for entry, cut in zip(entries, (slice(100), slice(None)), strict=True):
        content = bytearray(entry.read_bytes()[cut])
        content[-1] ^= 1  # of a whole file the last bit of a number
        entry.write_bytes(content)
    mended = run()
    assert caplog.text.count("damaged") == 2
    np.testing.assert_array_equal(first.training.kernel, mended.training.kernel)
    np.testing.assert_array_equal(first.held_out["test"].kernel, mended.held_out["test"].kernel)
    assert [each.read_bytes() for each in entries] == whole
    run(seed=1)
    run(data=replace(SETS, training=lambda model: model.encode(RECORDS[1:2])))
    assert len(list((tmp_path / "forecast").iterdir())) == 6
    monkeypatch.setattr("rewardgap.forecasting.problem.FORMAT", -1)
    run()
    assert len(list((tmp_path / "forecast").iterdir())) == 8


def test_kinds_that_write_records_alike_share_the_trees_of_an_evaluation_set(folders) -> None:
    explicit, implicit, generative = (
        make_readout(kind, folders("llama")).model
        for kind in ("explicit", "implicit", "generative")
    )
    data = Data(lambda model: model.encode(RECORDS[1:3]), {"test": RECORDS}, None)
    trees = data.held_out_trees(explicit, "test")
    assert data.held_out_trees(implicit, "test") is trees
    assert data.shared.encode(implicit, RECORDS, None) is trees
    assert data.held_out_trees(generative, "test") != trees
