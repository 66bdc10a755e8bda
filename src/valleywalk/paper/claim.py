"""One claim of the paper: what is measured in each seed, the range it must lie in, the verdict.

How it is decided, once for the whole ledger:

- A claim gives one number for each seed, from that seed's own walks, paired where two walks are
  compared. Seeds are independent, so that nothing has to be assumed about how the steps of a walk
  depend on each other.
- The interval is Student's t over the seeds; for a ratio, over its logarithms. A share of steps
  that comes out the same in all seeds is not therefore certain: the spread over the seeds is taken
  to be at least the claim's `resolution`. All intervals of a ledger hold together with 95 %
  confidence (Bonferroni): each has the confidence 1 − 0.05 / (number of claims and networks).
- The range in which the number must lie for the claim to hold is written down beside its
  statistic, before any walk. *Supported*: the whole interval lies inside. *Not supported*: the
  whole interval lies outside. *Inconclusive*: anything else, and always where there are fewer than
  three seeds.
- A verdict is for one network, one data set and one scale.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from .. import statistics
from ..statistics import Interval
from ..walks.experiment import ModelName
from .page import Page

Verdict = Literal["supported", "not supported", "inconclusive"]
LEDGER_CONFIDENCE = 0.95
SEEDS = 5
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Walked:
    """A page of one seed, and its traces."""

    page: Any
    traces: Sequence[xr.Dataset]

    @property
    def trace(self) -> xr.Dataset:
        """The first of them."""
        return self.traces[0]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the paper.

    Attributes
    ----------
    id : str
    number : int
        Of the group of claims that say one thing.
    sentence : str
        The claim, in our words.
    source : str
        Where the paper makes it.
    statistic : str
        What is measured in each seed.
    paper : str
        The paper's own value or direction.
    above, below : float
        The range in which the statistic must lie for the claim to hold.
    item : str
        The item of the book that shows it.
    pages : tuple of type
        Whose walks are needed.
    measure : callable (Walked of each page) → float
    models : tuple of str
        Networks for which the paper claims it and that are tested.
    logarithmic : bool
        Whether the statistic is a ratio, whose logarithm is averaged.
    resolution : float
        Smallest difference that the statistic can show, such as one step's share of all steps.
    share : bool
        Whether the statistic is a share, which an interval cannot leave.
    reasons : mapping of model → str
        Where walks contradict the claim: the likeliest reason, and what further walks showed.
    tested_on : (str, str), optional
        Model and data set of a claim that needs no walk of one of the networks.
    """

    id: str
    number: int
    sentence: str
    source: str
    statistic: str
    paper: str
    above: float = -math.inf
    below: float = math.inf
    item: str
    pages: tuple[type[Page], ...]
    measure: Callable[..., float]
    models: tuple[ModelName, ...] = ("vgg11", "mlp")
    logarithmic: bool = False
    resolution: float = 0.0
    share: bool = False
    tested_on: tuple[str, str] | None = None
    reasons: Mapping[ModelName, str] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[float | None, float | None]:
        """The ends of the range, None where it has none."""
        low, high = (None if math.isinf(end) else end for end in (self.above, self.below))
        return low, high


def claim(**about: Any) -> Callable[[Callable[..., float]], Claim]:
    """Turn a function that measures a statistic into the claim that it tests.

    The function takes a `Walked` for each of the claim's pages; its docstring says what it
    measures.
    """

    def made(measure: Callable[..., float]) -> Claim:
        assert measure.__doc__ is not None
        text = " ".join(measure.__doc__.split()).rstrip(".")
        return Claim(statistic=text[0].lower() + text[1:], measure=measure, **about)

    return made


def range_in_words(needed: tuple[float | None, float | None]) -> str:
    """Where a statistic must lie."""
    ends = zip(("above", "below"), needed, strict=True)
    return " and ".join(f"{side} {end:g}" for side, end in ends if end is not None)


def verdict_of(interval: Interval, above: float, below: float, seeds: int) -> Verdict:
    """Whether a whole interval lies inside a range, outside, or neither."""
    if seeds < FEWEST_SEEDS or math.isnan(interval.low) or math.isnan(interval.high):
        return "inconclusive"
    if above < interval.low and interval.high < below:
        return "supported"
    if interval.high <= above or interval.low >= below:
        return "not supported"
    return "inconclusive"


def judge(claim: Claim, values: Sequence[float], claims: int) -> tuple[Interval, Verdict]:
    """Interval and verdict from one number a seed, in a ledger of so many claims."""
    confidence = 1 - (1 - LEDGER_CONFIDENCE) / claims
    numbers = np.log(values) if claim.logarithmic else np.asarray(values, dtype=float)
    interval = statistics.mean_of_seeds(numbers, confidence, claim.resolution)
    if claim.logarithmic:
        interval = Interval(*(float(end) for end in np.exp(interval)))
    if claim.share:
        interval = Interval(*(float(end) for end in np.clip(interval, 0, 1)))
    return interval, verdict_of(interval, claim.above, claim.below, len(values))
