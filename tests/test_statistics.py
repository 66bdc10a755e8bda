"""Intervals: exact cases, the textbook's formula, and how often they hold the truth."""

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import StationaryBootstrap

from valleywalk import statistics


def autoregressive(random, length, memory=0.7):
    noise = random.standard_normal(length + 50)
    series = np.zeros(length + 50)
    for step in range(1, length + 50):
        series[step] = memory * series[step - 1] + noise[step]
    return series[50:]


@pytest.mark.parametrize(("count", "total"), [(0, 40), (1, 40), (3, 40), (40, 40), (13, 450)])
def test_proportion_is_wilson_s(count, total):
    share, z = count / total, 1.959964
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    found = statistics.proportion(count, total)
    assert found == pytest.approx((share, middle - half, middle + half), abs=1e-6)


@pytest.mark.parametrize(("count", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_share(count, total):
    with pytest.raises(ValueError, match="no share"):
        statistics.proportion(count, total)


def test_interval_of_a_walk_s_mean_holds_the_truth_where_a_plain_one_does_not():
    random = np.random.default_rng(0)
    held = plain = 0
    for _ in range(100):
        series = autoregressive(random, 200)
        low, high = statistics.mean_of_steps(series)[1:]
        held += low < 0 < high
        low, high = statistics.mean_of_seeds(series)[1:]
        plain += low < 0 < high
    assert held >= 80
    assert plain <= 65


def test_ratio_of_means():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(50):
        above, below = 6 + autoregressive(random, 100, 0.3), 3 + autoregressive(random, 100, 0.3)
        found = statistics.ratio_of_means(above, below)
        assert found.estimate == pytest.approx(above.mean() / below.mean())
        held += found.low < 2 < found.high
    assert held >= 42


def test_mean_of_seeds_is_student_s():
    found = statistics.mean_of_seeds([1.0, 2.0, 6.0])
    # t of 2 degrees of freedom at 97.5 % is 4.302653.
    half = 4.302653 * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert found == pytest.approx((3, 3 - half, 3 + half), rel=1e-6)
    assert statistics.mean_of_seeds([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize("function", [statistics.mean_of_steps, statistics.mean_of_seeds])
def test_too_little_for_an_interval(function):
    found = function([0.5])
    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == "0.5"
    for bad in ([], [1.0, np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="series of numbers"):
            function(bad)


def test_percentiles_are_those_of_the_confidence():
    drawn = np.linspace(0, 1, 1001)
    assert statistics._percentiles(0.5, drawn, 0.9) == pytest.approx((0.5, 0.05, 0.95))


def test_the_shortest_series_with_an_interval():
    values = np.random.default_rng(0).standard_normal(11)
    assert np.isfinite(statistics.mean_of_steps(values).low)
    assert np.isnan(statistics.mean_of_steps(values[:10]).low)


@pytest.mark.parametrize(("optimal", "taken"), [(0.3, 1.0), (4.0, 4.0), (90.0, 20.0)])
def test_blocks_are_at_least_a_step_and_at_most_half_the_series(monkeypatch, optimal, taken):
    blocks = []

    def noted(block, *arguments, **keywords):
        blocks.append(block)
        return StationaryBootstrap(block, *arguments, **keywords)

    found = pd.DataFrame({"stationary": [optimal]})
    monkeypatch.setattr(statistics, "optimal_block_length", lambda numbers: found)
    monkeypatch.setattr(statistics, "StationaryBootstrap", noted)
    statistics.mean_of_steps(np.random.default_rng(0).standard_normal(40))
    assert blocks == [taken]


def test_a_constant_series_has_no_spread():
    assert statistics.mean_of_steps(np.full(30, 0.25)) == (0.25, 0.25, 0.25)


def test_as_text():
    assert str(statistics.Interval(0.06251, 0.0512, 0.0701)) == "0.0625 [0.0512, 0.0701]"


def test_slopes():
    assert statistics.slopes([0, 1, 2], [[1, 3, 5], [0, -1, -2]]) == pytest.approx([2, -1])
