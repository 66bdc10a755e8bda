"""Intervals: numbers in, an estimate with its uncertainty out.

Steps of a walk follow one another, so that their numbers are autocorrelated; walks of different
seeds are independent. Each function says which of the two it is for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
REPETITIONS = 2000
# Below this many steps too little can be said about their autocorrelation (arch divides by the sum
# of an empty series): then there is no interval.
SHORTEST_SERIES = 11


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval; the ends are NaN where it has none."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low) or np.isnan(self.high):
            return f"{self.estimate:.3g}"
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


def proportion(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Share of `total` with Wilson's interval.

    It takes the steps for independent; barriers that come in runs have a wider one.
    """
    if not 0 <= count <= total or not total:
        raise ValueError(f"{count} of {total} is no share; give 0 ≤ count ≤ total, total ≥ 1")
    low, high = proportion_confint(count, total, alpha=1 - confidence, method="wilson")
    # The ends are exact at 0 and 1, where rounding leaves something over.
    low, high = (0.0 if count == 0 else float(low)), (1.0 if count == total else float(high))
    return Interval(count / total, low, high)


def mean_of_steps(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of a series along a walk, by the stationary bootstrap.

    Blocks have random lengths, their mean chosen from the series' autocorrelation (Politis and
    White 2004), so that neighbours stay together.
    """
    numbers = _numbers(values)
    return _percentiles(float(numbers.mean()), _bootstrap_means(numbers), confidence)


def ratio_of_means(
    numerator: ArrayLike, denominator: ArrayLike, confidence: float = CONFIDENCE
) -> Interval:
    """Ratio of the means of two series from two walks, each bootstrapped by itself."""
    above, below = _numbers(numerator), _numbers(denominator)
    drawn = _bootstrap_means(above, seed=0) / _bootstrap_means(below, seed=1)
    return _percentiles(float(above.mean() / below.mean()), drawn, confidence)


def mean_of_seeds(
    values: ArrayLike, confidence: float = CONFIDENCE, least_deviation: float = 0.0
) -> Interval:
    """Mean of one number a seed, by Student's t; without an interval for a single seed.

    Parameters
    ----------
    values : array_like, shape (seeds,)
    confidence : float
    least_deviation : float
        The standard deviation over seeds is taken to be at least this.
    """
    numbers = _numbers(values)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Interval(mean, np.nan, np.nan)
    error = max(float(numbers.std(ddof=1)), least_deviation) / len(numbers) ** 0.5
    if error == 0:
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(confidence, len(numbers) - 1, mean, error)
    return Interval(mean, float(low), float(high))


def slopes(x: ArrayLike, y: Sequence[ArrayLike]) -> np.ndarray:
    """Least-squares slope of each row of y over x, one a seed."""
    return np.array([stats.linregress(x, row).slope for row in y])


def _numbers(values: ArrayLike) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or np.isnan(numbers).any():
        raise ValueError(f"expected a series of numbers without NaN, got {numbers!r}")
    return numbers


def _bootstrap_means(numbers: np.ndarray, seed: int = 0) -> np.ndarray:
    if len(numbers) < SHORTEST_SERIES:
        return np.full(REPETITIONS, np.nan)
    if np.ptp(numbers) == 0:
        return np.full(REPETITIONS, numbers[0])
    block = float(optimal_block_length(numbers)["stationary"].iloc[0])
    block = min(max(block, 1.0), len(numbers) / 2)
    # The blocks' mean length may be any number, whatever the signature says.
    bootstrap = StationaryBootstrap(block, numbers, seed=seed)  # type: ignore[arg-type]
    return bootstrap.apply(np.mean, REPETITIONS).ravel()


def _percentiles(estimate: float, drawn: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))
