"""Predicted accuracies and their errors, against numbers by hand and against draws."""

import numpy as np
import pytest
from scipy.stats import norm

from rewardgap.forecasting import prediction
from rewardgap.forecasting.prediction import predict_from
from rewardgap.forecasting.rehearsal import Rehearsal, draw


def rehearsal(margins: np.ndarray, losses: tuple[float, ...] = ()) -> Rehearsal:
    """Points along training of (points, records) margins."""
    steps = np.arange(1, len(margins) + 1)
    of_steps = np.array(losses or np.linspace(0.7, 0.4, len(margins)))
    rewards = [[((float(m),), (0.0,)) for m in point] for point in margins]
    return Rehearsal(steps, of_steps, {"set": rewards})


def test_rewards_of_seeds_are_averaged_before_they_are_compared() -> None:
    first = rehearsal(np.array([[0, 0, 0, 0], [3, -1, 1, -1]]))
    second = rehearsal(np.array([[0, 0, 0, 0], [-1, 3, 1, -1]]))
    found = predict_from([first, second], "set", np.arange(4), None, new_head=False)
    assert [point.accuracy for point in found.curve] == [0.5, 0.75]
    assert found.accuracy.value == 0.75
    assert found.z == pytest.approx(norm.ppf(3.5 / 5))


def test_errors_of_records_seeds_and_the_forecast_add_up() -> None:
    seeds = [rehearsal(np.array([[0] * 4, right])) for right in ([1, 1, 1, -1], [1, 1, -1, -1])]
    found = predict_from(seeds, "set", np.arange(8), None, new_head=False)
    of_seeds = np.var([0.75, 0.5], ddof=1) * 1.5
    accuracies = np.array([1, 1, 0.5, 0])  # the mean margin of the third record is a tie
    of_records = ((accuracies - accuracies.mean()) ** 2).sum() / 16 * (1 - 4 / 8)
    z = norm.ppf(3 / 5)
    expected = (of_records + of_seeds) / norm.pdf(z) ** 2 + prediction.ERROR**2
    assert found.deviation == pytest.approx(expected**0.5)
    low, high = (norm.cdf(z + side * norm.ppf(0.975) * expected**0.5) for side in (-1, 1))
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((low, high))


def test_records_of_one_prompt_are_one_draw() -> None:
    margins = np.array([[0] * 8, [1, 1, -1, -1, 1, 1, 1, 1]])
    apart, joined = np.arange(80), np.arange(80)
    joined[draw(range(80), 8)] = np.repeat(np.arange(80, 84), 2)
    alone, together = (
        predict_from([rehearsal(margins)], "set", clusters, None, new_head=False).deviation
        for clusters in (apart, joined)
    )
    assert together > alone


def test_theory_counts_for_a_quarter_where_it_is_near() -> None:
    margins = np.array([[0] * 8, [1, 1, 1, 1, -1, -1, -1, -1]])
    alone = predict_from([rehearsal(margins)], "set", np.arange(8), None, new_head=False)
    assert (alone.accuracy.value, alone.with_theory(0.9)) == (0.5, alone)  # 1.02 probits away
    both = alone.with_theory(0.62)
    assert both.accuracy.value == pytest.approx(0.53)
    assert both.z == pytest.approx(norm.ppf((0.53 * 8 + 0.5) / 9))
    assert both.accuracy.low == pytest.approx(norm.cdf(both.z + norm.ppf(0.025) * alone.deviation))
    assert both.deviation == alone.deviation


def test_the_interval_holds_the_point_and_is_never_empty() -> None:
    for sign in (-1, 1):
        found = predict_from(
            [rehearsal(np.full((2, 5), sign))], "set", np.arange(5), None, new_head=False
        )
        assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high
        assert found.accuracy.high - found.accuracy.low > 0


@pytest.mark.parametrize(("loss", "stop"), [(None, 2), (0.6, 0), (0.5, 1), (0.1, 2)])
def test_training_stops_at_a_loss_or_at_its_end(loss: float | None, stop: int) -> None:
    margins = np.array([[1.0], [-1], [1]])
    found = predict_from(
        [rehearsal(margins, (0.6, 0.5, 0.4))], "set", np.arange(1), loss, new_head=False
    )
    assert found.stop == stop + 1
    assert found.accuracy.value == (margins[stop, 0] > 0)


def test_intervals_hold_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw 400 sets of 300 records, follow 40, and err by a normal of ERROR on the probit scale."""
    monkeypatch.setattr(prediction, "ERROR", 0.3)
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        truth = random.uniform(0.2, 0.9)
        right = random.random(300) < truth
        wrong = float(norm.cdf(norm.ppf(truth) + 0.3 * random.normal()))
        margins = np.where(random.random(40) < wrong, 1.0, -1.0)
        found = predict_from(
            [rehearsal(np.stack([margins, margins]))], "set", np.arange(300), None, new_head=False
        )
        held += found.accuracy.low <= right.mean() <= found.accuracy.high
    assert 0.91 <= held / 400 <= 0.98


def test_another_head_is_counted_where_training_begins_with_a_new_one():
    margins = np.stack([np.linspace(-1, 2, 8)] * 2)
    old, new = (
        predict_from([rehearsal(margins)], "set", np.arange(8), None, new_head=new_head)
        for new_head in (False, True)
    )
    assert new.z == old.z
    assert new.deviation**2 - old.deviation**2 == pytest.approx(prediction.HEADS**2)
