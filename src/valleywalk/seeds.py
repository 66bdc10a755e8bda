"""What independent walks say together: means, shares, tests, multiplicity and power.

Seeds are independent, so that nothing has to be assumed about how the steps of a walk depend on
each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from .statistics import CONFIDENCE, Interval, as_series

POWER = 0.8
# Intraclass correlation of the steps of one walk: at least this is assumed of a share. In the
# recorded walks it is 0.02 or less.
LIKENESS = 0.05
# A p-value is not followed further down, nor a number of seeds further up.
SMALLEST_P = 1e-12
# Numbers that differ by this share of themselves are the same but for rounding.
ALIKE = 1e-12
MOST_SEEDS = 10_000


def mean_of_seeds(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean of one number a seed, by Student's t.

    Parameters
    ----------
    values : array_like, shape (seeds,)
    confidence : float

    Returns
    -------
    Interval
        Without ends for a single seed, and where all are the same: then nothing is known of how
        they spread.

    Examples
    --------
    >>> from valleywalk.seeds import mean_of_seeds
    >>> print(mean_of_seeds([0.9, 1.0, 1.1]))
    1 [0.752, 1.25]
    >>> print(mean_of_seeds([1.0, 1.0, 1.0]))
    1
    """
    from scipy import special

    numbers = as_series(values)
    mean = float(numbers.mean())
    if np.ptp(numbers) <= ALIKE * np.abs(numbers).max():
        return Interval(mean, np.nan, np.nan)
    error = float(numbers.std(ddof=1)) / len(numbers) ** 0.5
    half = -float(special.stdtrit(len(numbers) - 1, (1 - confidence) / 2)) * error
    return Interval(mean, mean - half, mean + half)


class Share(NamedTuple):
    """In how many of a walk's steps something happened.

    Attributes
    ----------
    times, steps : int

    Examples
    --------
    >>> from valleywalk.seeds import Share
    >>> float(Share.of([True, False, False, False]))
    0.25
    """

    times: int
    steps: int

    @classmethod
    def of(cls, happened: ArrayLike) -> Self:
        """From one truth value a step."""
        flags = np.asarray(happened, dtype=bool)
        return cls(int(flags.sum()), flags.size)

    def __float__(self) -> float:
        return self.times / self.steps if self.steps else math.nan


def steps_that_count(
    shares: Sequence[Share], confidence: float = CONFIDENCE, walks: int | None = None
) -> float:
    """How many independent steps would tell a share as well as those of some walks.

    p (1 − p) over the variance between walks, times (z / t)² since few walks tell that variance
    (Korn and Graubard 1998). At most Σ n / (1 + (n − 1) ρ) with ρ = `LIKENESS`, the intraclass
    correlation that is assumed at least; it alone counts where all walks have the same share, such
    as none. However long it is, a walk counts as no more than 1 / ρ = 20 steps.

    Parameters
    ----------
    shares : sequence of Share
        One a walk, from two on.
    confidence : float
        Of the interval that is made from it.
    walks : int, optional
        Of so many walks like these, at least two; default as many as there are.

    Returns
    -------
    float

    Examples
    --------
    >>> from valleywalk.seeds import Share, steps_that_count
    >>> steps_that_count([Share(0, 41), Share(0, 41)])
    27.3
    >>> steps_that_count([Share(0, 41), Share(0, 41)], walks=4)
    54.7
    >>> steps_that_count([Share(4, 41), Share(37, 41)])
    0.0367
    """
    from scipy import special

    counts, totals = np.array(shares, dtype=float).T
    share, seen = counts.sum() / totals.sum(), len(shares)
    walks = walks or seen
    assumed = float((totals / (1 + (totals - 1) * LIKENESS)).sum()) * walks / seen
    deviations = (counts - share * totals) / totals.sum()
    variance = float(deviations @ deviations) * seen / (seen - 1) * seen / walks
    if not variance:
        return assumed
    tail = (1 - confidence) / 2
    few = special.ndtri(tail) / special.stdtrit(walks - 1, tail)
    return min(assumed, float(share * (1 - share) / variance * few**2))


def share_of_seeds(shares: Sequence[Share], confidence: float = CONFIDENCE) -> Interval:
    """Share of all steps in which something happened, with an interval over walks.

    The interval of Clopper and Pearson for as many steps as `steps_that_count` says.

    Parameters
    ----------
    shares : sequence of Share
        One a seed.
    confidence : float

    Returns
    -------
    Interval
        Inside 0 … 1; without ends for a single seed.

    Raises
    ------
    ValueError
        No shares, or one of no steps.

    Examples
    --------
    >>> from valleywalk.seeds import Share, share_of_seeds
    >>> print(share_of_seeds([Share(0, 400)] * 5))
    0 [0, 0.0379]
    >>> print(share_of_seeds([Share(20, 40), Share(30, 40), Share(25, 40)]))
    0.625 [0.271, 0.9]
    """
    from scipy import special

    if not shares or not all(total for _, total in shares):
        raise ValueError(f"expected shares of at least one step each, got {list(shares)!r}")
    counts, totals = np.array(shares).T
    share = float(counts.sum() / totals.sum())
    if len(shares) == 1:
        return Interval(share, np.nan, np.nan)
    tail, steps = (1 - confidence) / 2, steps_that_count(shares, confidence)
    happened = share * steps
    low = special.betaincinv(happened, steps - happened + 1, tail) if share > 0 else 0.0
    high = 1 - special.betaincinv(steps - happened, happened + 1, tail) if share < 1 else 1.0
    # Of less than one step that counts there is little left below.
    return Interval(share, float(low) if low > SMALLEST_P else 0.0, float(high))


def p_value(interval: Callable[[float], Interval], border: float) -> float:
    """Two-sided p-value against a border: the α at which an interval just touches it.

    Twice the p-value of the one-sided test of the side on which the estimate lies. An interval of
    confidence 1 − α leaves the border out if and only if p < α.

    Parameters
    ----------
    interval : callable (confidence) → Interval
    border : float

    Returns
    -------
    float
        NaN where there is no interval; not below 1e-12.

    Examples
    --------
    >>> from scipy import stats
    >>> from valleywalk.seeds import mean_of_seeds, p_value
    >>> values = [1.0, 2.0, 4.0, 5.0]
    >>> p_value(lambda confidence: mean_of_seeds(values, confidence), 0.0)
    0.0462
    >>> float(stats.ttest_1samp(values, 0.0).pvalue)
    0.0462
    """

    def leaves_out(alpha: float) -> bool:
        found = interval(1 - alpha)
        return not found.low <= border <= found.high

    middle = interval(CONFIDENCE)
    if math.isnan(middle.low) or math.isnan(middle.high):
        return math.nan
    if middle.estimate == border:
        return 1.0
    low, high = math.log(SMALLEST_P), 0.0
    for _ in range(30):  # To eight digits.
        half = (low + high) / 2
        low, high = (low, half) if leaves_out(math.exp(half)) else (half, high)
    return math.exp(high)


def holm(p_values: Sequence[float], family: int) -> list[float]:
    """p-values adjusted by Holm for a family of fixed size; those that are not there count as 1.

    Parameters
    ----------
    p_values : sequence of float
    family : int
        Tests that were planned, no fewer than there are p-values.

    Returns
    -------
    list of float

    Examples
    --------
    >>> from valleywalk.seeds import holm
    >>> holm([0.01, 0.02], family=4)
    [0.04, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    planned = [*p_values, *[1.0] * (family - len(p_values))]
    return [float(p) for p in multipletests(planned, method="holm")[1][: len(p_values)]]


def smallest_effect(seeds: int, alpha: float, power: float = POWER) -> float:
    """Effect that a two-sided t-test over seeds would find with this power.

    Parameters
    ----------
    seeds : int
    alpha : float
    power : float

    Returns
    -------
    float
        In standard deviations over seeds; NaN for one seed.

    Examples
    --------
    >>> from valleywalk.seeds import smallest_effect
    >>> smallest_effect(seeds=34, alpha=0.05)
    0.495
    """
    if seeds < 2:
        return math.nan
    low, high = 0.0, 1.0
    while _power(high, seeds, alpha) < power:
        low, high = high, 2 * high
    for _ in range(40):
        half = (low + high) / 2
        low, high = (low, half) if _power(half, seeds, alpha) >= power else (half, high)
    return high


def seeds_needed(effect: float, alpha: float, power: float = POWER) -> int | None:
    """Seeds with which a two-sided t-test would find an effect with this power.

    Parameters
    ----------
    effect : float
        In standard deviations over seeds.
    alpha, power : float

    Returns
    -------
    int or None
        None above 10,000.

    Examples
    --------
    >>> from valleywalk.seeds import seeds_needed
    >>> seeds_needed(effect=0.5, alpha=0.05)
    34
    """
    # One seed never suffices.
    return fewest_seeds(lambda seeds: _power(effect, seeds, alpha) >= power, more_than=1)


def fewest_seeds(enough: Callable[[int], bool], more_than: int) -> int | None:
    """The fewest seeds that are enough, if more are enough too.

    Parameters
    ----------
    enough : callable (seeds) → bool
    more_than : int
        So many are not.

    Returns
    -------
    int or None
        None above 10,000.

    Examples
    --------
    >>> from valleywalk.seeds import fewest_seeds
    >>> fewest_seeds(lambda seeds: seeds >= 7, more_than=1)
    7
    """
    low, high = more_than, MOST_SEEDS
    if not enough(high):
        return None
    while high - low > 1:
        half = (low + high) // 2
        low, high = (low, half) if enough(half) else (half, high)
    return high


def smallest_of_shares(
    border: float, steps: float, alpha: float, *, above: bool, power: float = POWER
) -> float:
    """Share nearest to a border that the exact two-sided test would tell from it with this power.

    Parameters
    ----------
    border : float
    steps : float
        Independent ones (see `steps_that_count`).
    alpha : float
    above : bool
        Whether shares above the border are asked for, or those below.
    power : float

    Returns
    -------
    float
        NaN where not even a share of 1, or of 0, would be told from it.

    Examples
    --------
    No success in 67 steps leaves 5 % possible, none in 73 does not:

    >>> from valleywalk.seeds import smallest_of_shares
    >>> smallest_of_shares(0.05, steps=67, alpha=0.05, above=False)
    nan
    >>> smallest_of_shares(0.05, steps=73, alpha=0.05, above=False)
    0.00305
    """
    from scipy import special

    if above:
        return 1 - smallest_of_shares(1 - border, steps, alpha, above=False, power=power)
    most, whole = _most_below(border, steps, alpha)
    if most < 0:
        return math.nan
    return float(special.betaincinv(most + 1, whole - most, 1 - power))


def power_of_shares(share: float, border: float, steps: float, alpha: float) -> float:
    """Power of the exact two-sided test of a share.

    Parameters
    ----------
    share, border : float
        What is true, and what is tested.
    steps : float
        Independent ones (see `steps_that_count`).
    alpha : float

    Returns
    -------
    float
        Of finding the side on which the share lies.

    Examples
    --------
    >>> from valleywalk.seeds import power_of_shares
    >>> power_of_shares(0.00305, 0.05, steps=73, alpha=0.05)
    0.8
    """
    from scipy import stats

    if share > border:
        share, border = 1 - share, 1 - border
    most, whole = _most_below(border, steps, alpha)
    return float(stats.binom.cdf(most, whole, share))


def _most_below(border: float, steps: float, alpha: float) -> tuple[int, int]:
    """In how many steps it may happen at most to be told to be rarer than the border; −1: not even
    none is told from it. And whole steps.
    """
    from scipy import stats

    whole = math.floor(steps)
    return int(stats.binom.ppf(alpha / 2, whole, border)) - 1, whole


def power_between(low: float, high: float, seeds: int, alpha: float) -> float:
    """Power of two t-tests that must both find a mean inside a range, one against each end.

    Parameters
    ----------
    low, high : float
        How far the mean lies from each end, in standard deviations over seeds.
    seeds : int
    alpha : float
        Of each test, two-sided.

    Returns
    -------
    float

    Examples
    --------
    Fewer seeds would do for either end alone:

    >>> from valleywalk.seeds import power_between, seeds_needed
    >>> seeds_needed(effect=1.0, alpha=0.05)
    10
    >>> power_between(1.0, 1.0, seeds=10, alpha=0.05)
    0.614
    """
    from scipy import special

    ends, root = _interval_ends(seeds, alpha), seeds**0.5
    both = special.ndtr(root * low - ends) + special.ndtr(root * high - ends) - 1
    return float(np.maximum(both, 0).mean())


def _power(effect: float, seeds: int, alpha: float) -> float:
    """Power of a two-sided t-test.

    statsmodels asks scipy's non-central t, which is no number for large effects.
    """
    from scipy import special

    ends, shift = _interval_ends(seeds, alpha), abs(effect) * seeds**0.5
    return float((special.ndtr(shift - ends) + special.ndtr(-ends - shift)).mean())


def _interval_ends(seeds: int, alpha: float) -> np.ndarray:
    """Half the interval of a mean, in its true standard errors, for each deviation that may come
    out.
    """
    from scipy import special

    freedom, places = seeds - 1, (np.arange(1000) + 0.5) / 1000
    spread = np.sqrt(2 * special.gammaincinv(freedom / 2, places) / freedom)
    return np.asarray(-special.stdtrit(freedom, alpha / 2) * spread)


def slopes(x: ArrayLike, y: Sequence[ArrayLike]) -> np.ndarray:
    """Least-squares slope of each row of y over x.

    Parameters
    ----------
    x : array_like, shape (values,)
    y : sequence of array_like, each of shape (values,)
        One a seed.

    Returns
    -------
    ndarray, shape (seeds,)

    Examples
    --------
    >>> from valleywalk.seeds import slopes
    >>> slopes([1, 2, 3], [[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]])
    array([2., 0.])
    """
    from scipy import stats

    return np.array([stats.linregress(x, row).slope for row in y])
