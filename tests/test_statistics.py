"""Intervals: exact cases, the textbook's formula, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import linalg, stats
from statsmodels.stats.power import TTestPower

from valleywalk import statistics
from valleywalk.seeds import (
    Share,
    holm,
    mean_of_seeds,
    p_value,
    power_of_shares,
    seeds_needed,
    share_of_seeds,
    slopes,
    smallest_effect,
    smallest_of_shares,
)

pytestmark = pytest.mark.core


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


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("length", [24, 40])
def test_interval_of_a_walk_s_mean_holds_the_truth(length, memory):
    """At least 93 of 100 times, where one for independent steps holds it half as often."""
    random = np.random.default_rng(length)
    held = plain = 0
    for _ in range(400):
        series = autoregressive(random, length, memory)
        low, high = statistics.mean_of_steps(series)[1:]
        held += low < 0 < high
        low, high = mean_of_seeds(series)[1:]
        plain += low < 0 < high
    # True shares are 95 to 98 %; 400 walks may show 2.5 % less.
    assert held / 400 >= 0.93
    assert (plain / 400 < 0.6) == (memory == 0.8)


def test_the_interval_of_a_mean_against_dense_matrices():
    """The mixture over the correlation, by the covariance matrix of each."""
    series = 3 + autoregressive(np.random.default_rng(5), 30, 0.6)
    count, ones = len(series), np.ones(len(series))
    found = statistics.mean_of_steps(series, confidence=0.9)
    tails = {"low": 0.0, "high": 0.0}
    total = 0.0
    for memory in np.linspace(-0.995, 0.995, 200):
        inverse = np.linalg.inv(linalg.toeplitz(memory ** np.arange(count)) / (1 - memory**2))
        weight = ones @ inverse @ ones
        mean = ones @ inverse @ series / weight
        residual = (series - mean) @ inverse @ (series - mean)
        likelihood = np.linalg.det(inverse) ** 0.5 * weight**-0.5 * residual ** (-(count - 1) / 2)
        share = likelihood / np.sqrt(1 - memory**2)
        total += share
        error = np.sqrt(residual / (count - 1) / weight)
        for end in tails:
            below = stats.t.cdf((getattr(found, end) - mean) / error, count - 1)
            tails[end] += share * below
    assert tails["low"] / total == pytest.approx(0.05, abs=1e-6)
    assert tails["high"] / total == pytest.approx(0.95, abs=1e-6)
    assert found.estimate == pytest.approx(series.mean())


@pytest.mark.parametrize(
    ("steps", "likeness"), [(24, 0.0), (24, 0.5), (40, 0.5), (100, 0.8), (450, 0.8)]
)
@pytest.mark.parametrize("truth", [0.01, 0.1, 0.3, 0.5])
def test_the_interval_of_a_share_of_steps_holds_the_truth(steps, likeness, truth):
    """Of chains whose neighbours are alike; Wilson's held it 46 to 75 times of 100 at 24 and 40."""
    random = np.random.default_rng(2)
    draws = random.random((400, steps))
    happened = np.empty((400, steps), dtype=bool)
    happened[:, 0] = draws[:, 0] < truth
    for step in range(1, steps):
        again = truth + likeness * (happened[:, step - 1] - truth)
        happened[:, step] = draws[:, step] < again
    held = 0
    for each in happened:
        interval = statistics.share_of_steps(each)
        assert interval.estimate == each.mean()
        held += interval.low <= truth <= interval.high
    # Two standard errors of a simulated 93 %.
    assert held >= 400 * (0.93 - 0.026)


def test_a_share_of_steps_that_never_changes():
    third = statistics.proportion(0, 14)
    assert statistics.share_of_steps([False] * 40) == third
    assert statistics.share_of_steps([True] * 40).low == pytest.approx(1 - third.high)
    assert np.isnan(statistics.share_of_steps([True] * 10).low)


def test_ratio_of_means():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        above, below = 6 + autoregressive(random, 40, 0.5), 3 + autoregressive(random, 40, 0.5) / 2
        found = statistics.ratio_of_means(above, below)
        assert found.estimate == pytest.approx(above.mean() / below.mean())
        held += found.low < 2 < found.high
    assert held >= 186
    each = [statistics.mean_of_steps(series) for series in (above, below)]
    up, down = each[0].high / each[0].estimate - 1, 1 - each[1].low / each[1].estimate
    assert np.log(found.high / found.estimate) == pytest.approx((up**2 + down**2) ** 0.5)
    swapped = statistics.ratio_of_means(below, above)
    assert np.prod([swapped.low, found.high]) == pytest.approx(1)
    assert np.isnan(statistics.ratio_of_means(above, -below).low)
    assert np.isnan(statistics.ratio_of_means(above, 0 * below)).all()


def test_a_mean_that_cannot_be_negative():
    series = np.exp(autoregressive(np.random.default_rng(2), 24, 0.8))
    plain, positive = (statistics.mean_of_steps(series, positive=each) for each in (False, True))
    assert plain.low < 0 < positive.low < series.mean() < positive.high
    factor = np.exp((plain.high - series.mean()) / series.mean())
    assert positive.high == pytest.approx(series.mean() * factor)


def test_a_series_that_falls_all_the_way_has_a_wide_interval():
    low, high = statistics.mean_of_steps(np.linspace(3, 1, 40))[1:]
    assert high - low > 2


def test_mean_of_seeds_is_student_s():
    found = mean_of_seeds([1.0, 2.0, 6.0])
    # t of 2 degrees of freedom at 97.5 % is 4.302653.
    half = 4.302653 * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert found == pytest.approx((3, 3 - half, 3 + half), rel=1e-6)
    # Nothing is known of how seeds spread that all say the same.
    assert str(mean_of_seeds([2.0, 2.0, 2.0])) == "2"
    assert str(mean_of_seeds([0.3, 0.1 + 0.2, 0.3])) == "0.3", "but for rounding"


@pytest.mark.parametrize("likeness", [0, 0.01, 0.05])
@pytest.mark.parametrize("truth", [0.002, 0.02, 0.06, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_a_share_over_seeds_holds_the_truth(likeness, truth, seeds):
    """Steps of a seed that are alike: each seed draws its own share from a beta distribution."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        own = np.full(seeds, truth)
        if likeness:
            size = 1 / likeness - 1
            own = random.beta(truth * size, (1 - truth) * size, seeds)
        times = random.binomial(200, own)
        found = share_of_seeds([Share(int(each), 200) for each in times])
        held += found.low <= truth <= found.high
    assert held >= 0.95 * 300


def test_shares_that_differ_much_widen_their_interval():
    """Beyond the likeness that is assumed, the shares themselves say how alike steps are."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        times = random.binomial(200, random.beta(2, 2, 5))  # An intraclass correlation of 0.2.
        found = share_of_seeds([Share(int(each), 200) for each in times])
        held += found.low <= 0.5 <= found.high
    assert held >= 0.93 * 400


def test_the_interval_of_a_share_that_never_changes_is_clopper_and_pearson_s():
    # 20 seeds of one step each are 20 independent steps.
    found = share_of_seeds([Share(0, 1)] * 20)
    assert found == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))
    assert share_of_seeds([Share(1, 1)] * 20).low == pytest.approx(0.025 ** (1 / 20))
    # However many steps, a seed counts as 1 / 0.05 of them.
    long = share_of_seeds([Share(0, 10**9)] * 5)
    assert long.high == pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-6)
    assert np.isnan(share_of_seeds([Share(1, 4)]).low)
    for bad in ([], [Share(0, 0), Share(1, 2)]):
        with pytest.raises(ValueError, match="at least one step"):
            share_of_seeds(bad)


@pytest.mark.parametrize("border", [-1.0, 0.0, 2.9, 3.1, 100.0])
def test_a_p_value_is_where_the_interval_touches_the_border(border):
    values = [1.0, 2.0, 6.0, 3.0]
    found = p_value(lambda c: mean_of_seeds(values, c), border)
    assert found == pytest.approx(stats.ttest_1samp(values, border).pvalue, rel=1e-6)


def test_p_values_at_their_ends():
    values = [1.0, 2.0, 6.0]
    assert p_value(lambda c: mean_of_seeds(values, c), 3.0) == 1
    alike = p_value(lambda c: mean_of_seeds([2.0, 2.0], c), 0.0)
    assert np.isnan(alike)
    close = [1.0, 1.0 + 1e-9, 1.0 - 1e-9, 1.0, 1.0]
    assert p_value(lambda c: mean_of_seeds(close, c), 0.0) < 2e-12


def test_holm_over_a_family_of_fixed_size():
    # Of ten: 0.001 × 10, then 0.004 × 9, then max(0.036, 0.0041 × 8), in any order.
    assert holm([0.004, 0.001, 0.0041], 10) == pytest.approx([0.036, 0.01, 0.036])
    assert holm([], 10) == []


@pytest.mark.parametrize(
    ("effect", "seeds", "alpha"), [(0.5, 20, 0.05), (1.2, 5, 0.05), (2, 6, 0.005)]
)
def test_power_is_that_of_the_non_central_t(effect, seeds, alpha):
    power = TTestPower().power(effect, seeds, alpha)
    assert smallest_effect(seeds, alpha, power) == pytest.approx(effect, rel=1e-3)
    assert seeds_needed(effect, alpha, power - 1e-3) == seeds


def test_seeds_needed_by_the_tables():
    # Cohen 1988: d of 0.2, 0.5, 0.8 in a one-sample test at 5 % and a power of 80 %.
    assert [seeds_needed(d, 0.05) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert seeds_needed(0.0, 0.05) is None
    assert seeds_needed(1e9, 0.05) == 2
    assert np.isnan(smallest_effect(1, 0.05))


@pytest.mark.parametrize(
    ("share", "border", "steps", "alpha"),
    [(0.1, 0.3, 40, 0.05), (0.0, 0.05, 67, 0.05), (0.0, 0.05, 73, 0.05), (0.8, 0.5, 30, 0.005)],
)
def test_power_of_a_share_is_that_of_the_exact_test(share, border, steps, alpha):
    def finds(times):
        interval = stats.binomtest(times, steps).proportion_ci(1 - alpha, "exact")
        return interval.high < border if share < border else interval.low > border

    power = sum(stats.binom.pmf(times, steps, share) for times in range(steps + 1) if finds(times))
    assert power_of_shares(share, border, steps + 0.5, alpha) == pytest.approx(power, abs=1e-12)


def test_the_smallest_share_is_found_with_the_power_that_was_asked_for():
    for border, above in ((0.3, False), (0.3, True), (0.06, False), (0.5, True)):
        seen = smallest_of_shares(border, 172.3, 0.05, above=above)
        assert (seen > border) == above
        assert power_of_shares(seen, border, 172.3, 0.05) == pytest.approx(0.8)
    # None in 72 steps: (1 − 0.05)^72 is just below 0.025; and the same above the border.
    assert np.isnan(smallest_of_shares(0.05, 71, 0.05, above=False))
    assert smallest_of_shares(0.05, 72, 0.05, above=False) > 0
    assert np.isnan(smallest_of_shares(0.95, 71, 0.05, above=True))


@pytest.mark.parametrize("function", [statistics.mean_of_steps, mean_of_seeds])
def test_too_little_for_an_interval(function):
    found = function([0.5])
    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == "0.5"
    for bad in ([], [1.0, np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="series of numbers"):
            function(bad)


def test_the_shortest_series_with_an_interval():
    values = np.random.default_rng(0).standard_normal(11)
    assert np.isfinite(statistics.mean_of_steps(values).low)
    assert np.isnan(statistics.mean_of_steps(values[:10]).low)


def test_a_constant_series_has_no_spread():
    assert statistics.mean_of_steps(np.full(30, 0.25)) == (0.25, 0.25, 0.25)


def test_as_text():
    assert str(statistics.Interval(0.06251, 0.0512, 0.0701)) == "0.0625 [0.0512, 0.0701]"


def test_slopes():
    assert slopes([0, 1, 2], [[1, 3, 5], [0, -1, -2]]) == pytest.approx([2, -1])
