"""The tidy frame of all numbers."""

import pytest

from rewardgap.reporting.results import COLUMNS


def test_one_tidy_frame(known):
    frame = known.frame
    assert tuple(frame.columns) == COLUMNS
    chosen = frame[(frame["set"] == "ultrafeedback-french") & (frame["metric"] == "accuracy")]
    means = chosen.groupby("kind")["value"].mean()
    assert dict(means) == pytest.approx({"explicit": 0.9, "generative": 0.875, "implicit": 0.25})
    assert set(chosen.loc[chosen["kind"] == "implicit", "paper"]) == {0.616}
    assert len(frame) == 2 * 9 * 6  # sets, runs, and two metrics with four baselines
