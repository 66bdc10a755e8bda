"""One claim of the paper: what is measured in each seed, the range it must lie in, the verdict.

How it is decided, once for the whole ledger:

- A claim gives one number for each seed, from that seed's own walks, paired where two walks are
  compared. Seeds are independent, so that nothing has to be assumed about how the steps of a walk
  depend on each other. Only an interval for a share of steps assumes how alike they may be (see
  `seeds.share_of_seeds`).
- The range in which the number must lie for the claim to hold is written down beside its
  statistic, before any walk. That something has *no* effect is such a range, too: a margin around
  0, and the whole interval must lie inside it.
- One test against each end of the range. Its p-value counts both sides, so that it is below 0.05
  where the plain 95 % interval leaves the end out.
- *Primary* is what the paper's Introduction lists as its findings and we can test, on VGG-11, the
  network of its main text. The primary rows of the protocol are one family, whose p-values are
  adjusted by Holm; a row that was not walked counts as p = 1. All else is *exploratory*: decided by
  its own p-value.
- *Supported*: inside the range, p below 0.05. *Contradicted*: outside, p below 0.05. *Premise
  absent*: what the claim speaks of did not happen in at least half of the seeds. *Inconclusive*:
  anything else, and always where fewer than three seeds are left, where half or more give no usable
  number, or where all their numbers are the same and are no shares of steps.
- A verdict is for one network, one data set and one scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..seeds import (
    POWER,
    Share,
    fewest_seeds,
    mean_of_seeds,
    p_value,
    power_between,
    power_of_shares,
    seeds_needed,
    share_of_seeds,
    smallest_effect,
    smallest_of_shares,
    steps_that_count,
)
from ..statistics import CONFIDENCE, Interval
from ..walks.catalogue import DATASETS, network_info
from ..walks.experiment import ModelName
from .page import Page
from .scales import FIRST_SEEDS, Scale, dataset_at

if TYPE_CHECKING:
    import xarray as xr

Verdict = Literal["supported", "contradicted", "inconclusive", "premise absent"]
# How a number spreads over seeds: evenly; as its logarithm; as Fisher's z; as the share of steps
# that a `Share` counts; not at all, since it is mathematics.
Quantity = Literal["number", "ratio", "correlation", "share", "exact"]
# Numbers of each quantity that an interval can be made from lie strictly between these.
BOUNDS: Mapping[Quantity, tuple[float, float]] = {"ratio": (0, math.inf), "correlation": (-1, 1)}
# To where a quantity spreads evenly, and back.
SPREADS_EVENLY: Mapping[Quantity, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "number": (np.asarray, np.asarray),
    "ratio": (np.log, np.exp),
    "correlation": (np.arctanh, np.tanh),
    "share": (lambda share: np.arcsin(np.sqrt(share)), lambda angle: np.sin(angle) ** 2),
}
ALPHA = 0.05
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Subject:
    """What a claim is tested on: a network, on its own data set or on another one of the paper's.

    Attributes
    ----------
    model : str
    seeds : int
        How many decide.
    dataset : str or None
        The paper's; None: the network's own.
    """

    model: ModelName
    seeds: int
    dataset: str | None = None

    @property
    def name(self) -> str:
        """As claims say it."""
        return self.model if self.dataset is None else f"{self.model} on {self.dataset}"

    @property
    def title(self) -> str:
        """As it is printed."""
        title = network_info(self.model).title
        return title if self.dataset is None else f"{title}, {DATASETS[self.dataset].title}"

    def given(self, scale: Scale) -> dict[str, Any]:
        """What a page must be given to walk it at a scale, beside the network."""
        if self.dataset is None:
            return {}
        return {"dataset": dataset_at(scale, self.model, self.dataset)}

    def planned_seeds(self, scale: Scale, count: int | None = None) -> range:
        """The seeds that decide, or the first so many."""
        first = FIRST_SEEDS.get(scale, 0)
        return range(first, first + (self.seeds if count is None else count))


SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("vgg11", 10),
        Subject("resnet56", 5),
        Subject("mlp", 10),
        Subject("vgg11", 5, "tiny-imagenet"),
    )
}
EVERY_NETWORK = ("vgg11", "resnet56", "mlp")
EVERY_SUBJECT = tuple(SUBJECTS)


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
    printed : mapping of subject → float
        The statistic as the paper's numbers give it, where it prints any.
    above, below : float
        The range in which the statistic must lie for the claim to hold.
    outside : bool
        The claim, one of a difference, holds outside of that range instead.
    item : str
        The item of the book that shows it.
    pages : tuple of type
        Whose walks are needed.
    measure : callable (Walked of each page) → float or Share
        Not a number where a seed says nothing.
    quantity : str
        How the statistic spreads over seeds.
    premises : tuple of callable (Walked of each page) → str
        What must have happened for the claim to say anything: nothing where it did, else what is
        missing. The first line of its docstring is the premise.
    subjects : tuple of str
        Names of what it is tested on: where the paper claims it, and what is walked.
    primary : tuple of str
        Those of them whose row is primary.
    reasons : mapping of subject → str
        Where walks contradict the claim: the likeliest reason, and what further walks showed.
    cautions : mapping of subject → str
        What must be known to read the verdict, whichever it is.
    tested_on : (str, str), optional
        Model and data set of a claim that needs no walk of one of the networks.
    """

    id: str
    number: int
    sentence: str
    source: str
    statistic: str
    paper: str
    printed: Mapping[str, float] = field(default_factory=dict)
    above: float = -math.inf
    below: float = math.inf
    outside: bool = False
    item: str
    pages: tuple[type[Page], ...]
    measure: Callable[..., float | Share]
    quantity: Quantity = "number"
    premises: tuple[Callable[..., str], ...] = ()
    subjects: tuple[str, ...] = EVERY_NETWORK
    primary: tuple[str, ...] = ()
    tested_on: tuple[str, str] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    cautions: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> tuple[float | None, float | None]:
        """The ends of the range, None where it has none."""
        low, high = (None if math.isinf(end) else end for end in (self.above, self.below))
        return low, high

    @property
    def range_in_words(self) -> str:
        """Where the statistic must lie."""
        ends = zip(("above", "below"), self.needed, strict=True)
        words = " and ".join(f"{side} {end:g}" for side, end in ends if end is not None)
        return f"not between {self.above:g} and {self.below:g}" if self.outside else words


def claim(**about: Any) -> Callable[[Callable[..., float | Share]], Claim]:
    """Turn a function that measures a statistic into the claim that it tests.

    The function takes a `Walked` for each of the claim's pages; its docstring says what it
    measures.
    """

    def made(measure: Callable[..., float | Share]) -> Claim:
        assert measure.__doc__ is not None
        text = " ".join(measure.__doc__.split()).rstrip(".")
        return Claim(statistic=text[0].lower() + text[1:], measure=measure, **about)

    return made


def usable(claim: Claim, value: float | Share) -> str:
    """Why a seed's number cannot be used; nothing where it can."""
    number = float(value)
    if not math.isfinite(number):
        return "no number"
    low, high = BOUNDS.get(claim.quantity, (-math.inf, math.inf))
    return "" if low < number < high else f"{number:.3g} is no {claim.quantity}"


@dataclass(frozen=True)
class Evidence:
    """What the numbers of some seeds say of a claim.

    Attributes
    ----------
    claim : Claim
    values : sequence of float or Share
        One a usable seed, at least one.

    Examples
    --------
    >>> from valleywalk.paper.claim import Evidence
    >>> from valleywalk.paper.items import CLAIMS
    >>> (claim,) = (each for each in CLAIMS if each.id == "noise-travels-far")
    >>> found = Evidence(claim, [8.0, 10.0, 12.5])
    >>> print(found.interval())
    10 [5.74, 17.4]
    >>> found.verdict(found.p_value)
    'supported'
    """

    claim: Claim
    values: Sequence[Any]

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The estimate and its interval; without ends where nothing is known of the spread.

        Student's t over the seeds, of logarithms for a ratio and of Fisher's z for a correlation;
        for a share of steps `seeds.share_of_seeds`. What is exact has no interval: its
        estimate is the largest number.
        """
        match self.claim.quantity:
            case "exact":
                return Interval(max(self.values), math.nan, math.nan)
            case "share":
                return share_of_seeds(self.values, confidence)
        there, back = SPREADS_EVENLY[self.claim.quantity]
        ends = mean_of_seeds(there(np.asarray(self.values)), confidence)
        with np.errstate(over="ignore"):  # A ratio of few seeds may reach to infinity.
            return Interval(*(float(back(end)) for end in ends))

    @property
    def inside(self) -> bool:
        """Whether the estimate lies in the claim's range."""
        return self.claim.above < self.interval().estimate < self.claim.below

    @property
    def ends(self) -> list[float]:
        """The ends of the range that the estimate is tested against."""
        found = [end for end in (self.claim.above, self.claim.below) if math.isfinite(end)]
        if self.inside:
            return found
        estimate = self.interval().estimate
        return [min(found, key=lambda end: abs(end - estimate))]

    @property
    def p_value(self) -> float:
        """Of the side of the range on which the estimate lies; NaN where nothing can be said."""
        if len(self.values) < FEWEST_SEEDS:
            return math.nan
        return max(p_value(self.interval, end) for end in self.ends)

    def verdict(self, p_value: float) -> Verdict:
        """From a p-value, adjusted or not."""
        if self.claim.quantity == "exact":
            return "supported" if self.inside else "contradicted"
        if not p_value < ALPHA:
            return "inconclusive"
        return "supported" if self.inside != self.claim.outside else "contradicted"

    def power(self, alpha: float = ALPHA) -> tuple[float | None, int | None]:
        """What so many seeds could have seen, and how many it would take to see what they saw.

        Both at 80 % power and for the spread that was observed.

        Returns
        -------
        smallest : float or None
            The number nearest to an end of the range, on the side of the estimate, that would have
            been told from that end; inside a range with two ends, from both. None where nothing is
            known of the spread, where there is no such number, and where too few seeds are left to
            decide anything.
        needed : int or None
            Seeds for a difference as large as that of the estimate from the nearer end; inside a
            range with two ends, from both. None above 10,000.
        """
        middle, seeds = self.interval(), len(self.values)
        if math.isnan(middle.low):
            return None, None
        there, back = SPREADS_EVENLY[self.claim.quantity]
        estimate, ends = there(middle.estimate), [float(there(end)) for end in self.ends]
        end = min(ends, key=lambda each: abs(each - estimate))
        distance = float(estimate - end)
        if self.claim.quantity == "share":
            steps = steps_that_count(self.values, 1 - alpha)
            border = float(back(end))
            seen = smallest_of_shares(border, steps, alpha, above=distance > 0)
            needed = self._seeds_for_a_share(border, alpha)
        else:
            deviation = float(np.std(there(np.asarray(self.values)), ddof=1))
            if len(ends) == 2:
                nearest, needed = _power_between(ends, estimate, deviation, seeds, alpha)
            else:
                effect = smallest_effect(seeds, alpha) * deviation
                nearest = end + math.copysign(effect, distance)
                needed = seeds_needed(distance / deviation, alpha)
            seen = float(back(nearest))
            needed = None if needed is None else max(FEWEST_SEEDS, needed)
        possible = math.isfinite(seen) and seeds >= FEWEST_SEEDS
        if self.inside:  # Nor is there such a number beyond the range's other end.
            possible &= self.claim.above < seen < self.claim.below
        return (seen if possible else None), needed

    def _seeds_for_a_share(self, border: float, alpha: float) -> int | None:
        """Seeds like these for as large a difference from the border; None above 10,000."""
        share = self.interval().estimate

        def enough(seeds: int) -> bool:
            steps = steps_that_count(self.values, 1 - alpha, seeds)
            return power_of_shares(share, border, steps, alpha) >= POWER

        # Those that have just left it open are not enough.
        open_yet = 0 if self.p_value < alpha else len(self.values)
        return fewest_seeds(enough, more_than=max(FEWEST_SEEDS - 1, open_yet))


def _power_between(
    ends: Sequence[float], estimate: float, deviation: float, seeds: int, alpha: float
) -> tuple[float, int | None]:
    """As `Evidence.power`, of a mean between two ends."""

    def enough(mean: float, seeds: int) -> bool:
        low, high = (abs(mean - end) / deviation for end in ends)
        return power_between(low, high, seeds, alpha) >= POWER

    needed = fewest_seeds(lambda count: enough(estimate, count), more_than=1)
    end, middle = min(ends, key=lambda end: abs(end - estimate)), sum(ends) / 2
    if not enough(middle, seeds):
        return math.nan, needed
    for _ in range(40):
        half = (end + middle) / 2
        end, middle = (end, half) if enough(half, seeds) else (half, middle)
    return middle, needed
