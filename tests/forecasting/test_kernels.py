"""Kernels against features multiplied by hand, and cached on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS
from untrained import make_model, make_reader, read, reader_of

from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.forecasting import kernels
from rewardgap.forecasting.features import FeatureReader
from rewardgap.forecasting.kernels import KindKernels, read_kernels


def measure(
    reader: FeatureReader, kind: str, folder: Path, training: tuple[Record, ...] = RECORDS[1:3]
) -> KindKernels:
    encode: Callable[..., list[Tree]] = reader.model.encode
    sets = {"test": encode(RECORDS)}
    return read_kernels(reader, encode(training), sets, folder, "identity")[kind]


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
        reader = reader_of(kind, folders("llama"))
        result = measure(reader, kind, tmp_path / kind)
        training, test = (read(reader, kind, records) for records in (RECORDS[1:3], RECORDS))
        basis = np.concatenate([np.array(rows) @ training.values.numpy(), training.test_vectors])
        kernel = result.training.kernel
        np.testing.assert_allclose(kernel, basis @ basis.T, rtol=1e-4, atol=1e-3)
        evaluation = result.evaluation["test"]
        np.testing.assert_allclose(
            evaluation.kernel, test.values.numpy() @ basis.T, rtol=1e-4, atol=1e-3
        )
        assert len(evaluation.test_vectors) == len(test.test_vectors)


def test_kernels_are_read_once(
    folders: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model("implicit", folders("llama"))
    reader = make_reader(implicit=model)
    first = measure(reader, "implicit", tmp_path)
    entries = list(tmp_path.iterdir())
    assert len(entries) == 2  # training, and the evaluation set
    with monkeypatch.context() as patch:
        patch.setattr(FeatureReader, "read", None)
        again = measure(reader, "implicit", tmp_path)
    np.testing.assert_array_equal(first.training.kernel, again.training.kernel)
    before, after = (result.evaluation["test"] for result in (first, again))
    np.testing.assert_array_equal(before.test_vectors, after.test_vectors)
    assert isinstance(again.training.tokens, float)
    whole = [entry.read_bytes() for entry in entries]
    for entry, cut in zip(entries, (slice(100), slice(None)), strict=True):
        content = bytearray(entry.read_bytes()[cut])
        content[-1] ^= 1  # of a whole file the last bit of a number
        entry.write_bytes(content)
    mended = measure(reader, "implicit", tmp_path)
    assert caplog.text.count("damaged") == 2
    np.testing.assert_array_equal(first.training.kernel, mended.training.kernel)
    np.testing.assert_array_equal(before.kernel, mended.evaluation["test"].kernel)
    assert [entry.read_bytes() for entry in entries] == whole
    monkeypatch.setattr("rewardgap.forecasting.features.LARGEST_PROJECTION", 5003)
    for seed in (0, 1):
        measure(make_reader(seed=seed, implicit=model), "implicit", tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    measure(reader, "implicit", tmp_path, training=RECORDS[1:2])
    assert len(list(tmp_path.iterdir())) == 8
    monkeypatch.setattr(kernels, "FORMAT", -1)
    measure(reader, "implicit", tmp_path)
    assert len(list(tmp_path.iterdir())) == 10


def test_the_basis_fits_the_memory(folders: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model("implicit", folders("llama"))
    trees = model.encode(RECORDS[1:])
    for memory in (2**22, 2**24):
        reader = FeatureReader.of({"implicit": model}, trees, memory, 0, 4096)
        size = reader.projections["implicit"].size
        basis = kernels._read_bases(reader, trees)["implicit"]
        at_once = 3 * 128 * 2 * size * 4  # of values and test vectors, in three copies
        assert 0.9 * memory < basis.vectors.nbytes + at_once <= memory


def test_products_are_summed_in_float64() -> None:
    left = torch.tensor([[1e8, 1.0, -1e8]])
    assert kernels.products(left, torch.ones(1, 3)).tolist() == [[1.0]]
