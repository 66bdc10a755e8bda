"""The claims ledger a second time, from the recorded files alone: NumPy and h5py, no valleywalk.

    python tests/independent_ledger.py data/traces

prints one line a row. Statistics are written after their words in `data/protocol.json`, with plain
loops; what the words leave open is said where it is chosen. `test_independent_ledger.py` compares
the rows with those of `valleywalk.paper.ledger`.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import pairwise
from operator import sub, truediv
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PROTOCOL = Path(__file__).parents[1] / "data" / "protocol.json"
# An open HDF5 file, or anything that has arrays by name and attributes as `attrs`.
Trace = Any
ByEpoch = dict[int, float]
# Where batch size or learning rate varies, the other is this.
USUAL = {"learning_rate": 0.1, "batch_size": 100}
TABLE_EPOCHS = (1, 10, 25, 100)
ALPHA, FEWEST_SEEDS, SMALLEST_P = 0.05, 3, 1e-12
LIKENESS, STUCK, NEARLY_FITTED = 0.05, 0.8, 0.1
# Between these lie the numbers that there is an interval for, and there they spread evenly.
QUANTITIES: dict[str, tuple[float, float, Callable[..., float], Callable[..., float]]] = {
    "ratio": (0, math.inf, math.log, math.exp),
    "correlation": (-1, 1, math.atanh, math.tanh),
}
OTHERS = (-math.inf, math.inf, float, float)


# Traces -------------------------------------------------------------------------------------------


def numbers(trace: Trace, name: str) -> np.ndarray:
    """A variable in float64."""
    return np.array(trace[name], dtype=float)


def attribute(trace: Trace, name: str) -> Any:
    """None where there is none; netCDF keeps numbers as arrays of one."""
    return np.ravel(trace.attrs[name])[0] if name in trace.attrs else None


def walked(trace: Trace) -> dict[str, Any]:
    """The experiment."""
    return json.loads(attribute(trace, "experiment"))


def segments(trace: Trace) -> dict[int, list[float]]:
    """Losses of each measured segment, by iteration."""
    loss = numbers(trace, "loss")
    return {int(i): loss[i].tolist() for i in np.flatnonzero(np.isfinite(loss).all(axis=1))}


def in_epochs(trace: Trace) -> dict[int, dict[int, list[float]]]:
    """The same of each epoch, counted from 1."""
    found: dict[int, dict[int, list[float]]] = {}
    for i, loss in segments(trace).items():
        found.setdefault(i // int(attribute(trace, "steps_in_epoch")) + 1, {})[i] = loss
    return found


def points_of(trace: Trace, i: int) -> list[int]:
    """Points of a segment that were measured, not read off."""
    return np.flatnonzero(np.array(trace["measured"][i])).tolist()


def ends_of_epochs(trace: Trace, name: str) -> ByEpoch:
    """What was measured at the end of epochs, counted from 1."""
    return {1 + i: float(x) for i, x in enumerate(numbers(trace, name)) if math.isfinite(x)}


# Statistics: a number of a seed, or times and steps, from the traces of all of a claim's pages ----


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers."""
    return statistics.fmean(float(x) for x in values if not math.isnan(x))


def geometric_mean(values: Iterable[float]) -> float:
    """NaN where one of them is not above zero."""
    found = list(values)
    above = found and all(x > 0 for x in found)
    return math.exp(mean(map(math.log, found))) if above else math.nan


def settled(values: Iterable[float]) -> float:
    """What words call final: the median of the last tenth of what was measured."""
    known = [float(x) for x in values if math.isfinite(x)]
    return statistics.median(known[-math.ceil(len(known) / 10) :]) if known else math.nan


def sags(loss: Sequence[float]) -> bool:
    """Whether the segment has an interior minimum."""
    return min(loss[1:-1]) < min(loss[0], loss[-1])


def barrier(loss: Sequence[float]) -> float:
    """Highest loss inside above the higher end; a barrier where it is positive."""
    return max(loss[1:-1]) - max(loss[0], loss[-1])


def share(flags: Iterable[bool]) -> tuple[int, int]:
    """Times and steps."""
    found = list(flags)
    return sum(found), len(found)


def that_sag(trace: Trace) -> tuple[int, int]:
    return share(sags(loss) for loss in segments(trace).values())


def with_barrier(trace: Trace) -> tuple[int, int]:
    return share(barrier(loss) > 0 for loss in segments(trace).values())


def with_rising_floor(trace: Trace) -> tuple[int, int]:
    return share(later > earlier for earlier, later in pairwise(map(min, segments(trace).values())))


def that_are_convex(trace: Trace) -> tuple[int, int]:
    """Of the segments that were measured at all points by plan and are one or the other.

    Convex: each second difference is more than t standard errors above zero. Not convex: one is
    more than t below it, with t for as many tests as there are differences.
    """
    freedom, alpha = len(trace["batch_images"]) - 1, numbers(trace, "alpha")
    errors, whole, found = numbers(trace, "second_difference_error"), numbers(trace, "whole"), []
    for i, loss in segments(trace).items():
        points, relative = points_of(trace, i), []
        for a, b, c in zip(points, points[1:], points[2:], strict=False):
            first, second = alpha[b] - alpha[a], alpha[c] - alpha[b]
            weighted = (loss[a] * second + loss[c] * first) / (first + second) - loss[b]
            relative.append(2 * weighted / first / second / errors[i, b])
        if whole[i] and min(relative) < -student(freedom, ALPHA / len(relative)):
            found.append(False)
        elif whole[i] and min(relative) > student(freedom, ALPHA):
            found.append(True)
    return share(found)


def highest_barrier(trace: Trace) -> float:
    """The highest as a share of the loss there, which need not be the highest in itself."""
    highest = max(barrier(loss) / max(loss) for loss in segments(trace).values())
    return highest if highest > 0 else math.nan


def last_cosine(trace: Trace) -> float:
    return mean(numbers(trace, "cosine")[list(segments(trace))[-10:]])


def distance(gd: Trace, sgd: Trace) -> float:
    steps = min(len(gd["distance"]), len(sgd["distance"]))
    return numbers(sgd, "distance")[steps - 1] / numbers(gd, "distance")[steps - 1]


def late_cosines(*walks: Trace) -> list[float]:
    """Of each walk the mean of the second half of as many steps as the shortest has."""
    steps = min(len(trace["cosine"]) for trace in walks)
    return [mean(numbers(trace, "cosine")[(steps + 1) // 2 : steps]) for trace in walks]


def last_distances(*walks: Trace) -> list[float]:
    """Of each walk after as many steps as the shortest has."""
    steps = min(len(trace["distance"]) for trace in walks)
    return [numbers(trace, "distance")[steps - 1] for trace in walks]


def slope(factor: str, measure: Callable[..., list[float]], *walks: Trace) -> float:
    """For each doubling of a factor."""
    x, y = [], []
    for trace, value in zip(walks, measure(*walks), strict=True):
        if all(walked(trace)[name] == value for name, value in USUAL.items() if name != factor):
            x.append(math.log2(walked(trace)[factor]))
            y.append(value)
    apart = [each - mean(x) for each in x]
    return sum(a * b for a, b in zip(apart, y, strict=True)) / sum(a * a for a in apart)


def by(field: str, walks: Iterable[Trace]) -> list[Trace]:
    """Those with the smallest and the largest value of a field of the experiment."""
    ordered = sorted(walks, key=lambda trace: walked(trace)[field])
    return [ordered[0], ordered[-1]]


def over_epochs(field: str, measure: Callable[[Trace], ByEpoch], *walks: Trace) -> float:
    """At the larger value of a field over that at the smaller, in the epochs that have both."""
    less, more = map(measure, by(field, walks))
    both = [epoch for epoch in more if epoch in less]
    first, second = (geometric_mean(each[epoch] for epoch in both) for each in (more, less))
    ratio = first / second
    return ratio if 0 < ratio < math.inf else math.nan


def heights(trace: Trace, inside: bool) -> ByEpoch:
    """Mean height of each epoch; two steps are drawn from each of its equal stretches.

    A drawn step stands for half of its stretch. The mean over segments with a minimum inside is
    that over those that were drawn.
    """
    steps, stretch, found = attribute(trace, "steps_in_epoch"), numbers(trace, "stretch"), {}
    for epoch, drawn in in_epochs(trace).items():
        total, count = 0.0, 0
        for i, loss in drawn.items():
            if sags(loss) or not inside:
                begin, end = (round(2 * (stretch[i] + k) * steps / len(drawn)) for k in (0, 1))
                total += (end - begin) * ((loss[0] + loss[-1]) / 2 - min(loss))
                count += end - begin
        if count:
            found[epoch] = total / count
    return found


def steps_to_floor(trace: Trace) -> ByEpoch:
    """Median of each measured epoch of Tables 1 and 2."""
    alpha, found = numbers(trace, "alpha"), {}
    for epoch, of_epoch in in_epochs(trace).items():
        if epoch in TABLE_EPOCHS:
            points = {i: points_of(trace, i) for i in of_epoch}
            found[epoch] = statistics.median(
                step_to_floor(alpha[points[i]], np.array(loss)[points[i]])
                for i, loss in of_epoch.items()
            )
    return found


def step_to_floor(x: np.ndarray, y: np.ndarray) -> float:
    """Where the parabola with the curve's slope and curvature at 0 has its floor, in steps.

    Both are those of least-squares polynomials, here as sums of polynomials that are orthogonal on
    the points (Forsythe 1957). Of degrees 2 to 8 each takes the one whose value differs least from
    that of one degree below, with a quarter of the difference before added.
    """
    now, before, norm = np.ones_like(x), np.zeros_like(x), math.inf
    # Value, slope and half the curvature at 0, of these two and of the sum.
    at_0, earlier, total, sums = np.array([1.0, 0, 0]), np.zeros(3), np.zeros(3), []
    for _ in range(min(len(x), 9)):
        square = now @ now
        total = total + at_0 * (now @ y) / square
        sums.append(total)
        middle, back, norm = now * x @ now / square, square / norm, square
        now, before = (x - middle) * now - back * before, now
        at_0, earlier = np.append(0, at_0[:2]) - middle * at_0 - back * earlier, at_0
    found = []
    for series in np.array(sums[1:]).T[1:]:
        moves = abs(np.diff(series))
        found.append(series[1 + np.argmin(moves + np.append(0, moves[:-1]) / 4)])
    return float(-found[0] / (2 * found[1])) if found[1] > 0 else math.inf


def norm_and_accuracy(trace: Trace) -> tuple[list[float], list[float]]:
    """Spectral norm and validation accuracy in the epochs that have both."""
    norm, accuracy = (ends_of_epochs(trace, n) for n in ("hessian_max", "validation_accuracy"))
    return [norm[e] for e in norm if e in accuracy], [accuracy[e] for e in norm if e in accuracy]


def third_over_third(later: int, earlier: int, trace: Trace) -> float:
    """Of thirds that do not come out even the first ones have one more."""
    norm, _ = norm_and_accuracy(trace)
    first = math.ceil(len(norm) / 3)
    second = first + math.ceil((len(norm) - first) / 2)
    thirds = [geometric_mean(each) for each in (norm[:first], norm[first:second], norm[second:])]
    return math.nan if any(map(math.isnan, thirds)) else thirds[later] / thirds[earlier]


def rank_correlation(trace: Trace) -> float:
    """Spearman's; of ±1 the middle between it and the next that ranks without ties can have."""
    both = norm_and_accuracy(trace)
    count = len(both[0])
    if count < 3 or any(min(values) == max(values) for values in both):
        return math.nan
    x, y = ([sum((b < a) + (b == a) / 2 for b in values) for a in values] for values in both)
    x, y = np.array(x) - count / 2, np.array(y) - count / 2
    most = 1 - 6 / (count**3 - count)
    return min(most, max(-most, float(x @ y) / math.sqrt((x @ x) * (y @ y))))


def roles(walks: Iterable[Trace]) -> dict[str, Trace]:
    """Walks of gradient descent, by their noise and by how they go on without it."""
    found, noisy = {}, []
    for trace in walks:
        own = walked(trace)
        if own["switch_epoch"]:
            found[own["switch_update"] or "smaller rate"] = trace
        elif own["noise_factor"]:
            noisy.append(trace)
        elif own["update"] == "gd":
            found["quiet"] = trace
    found["less noise"], found["more noise"] = by("noise_factor", noisy)
    return found


def noisy_and_quiet(name: str, walks: Sequence[Trace]) -> tuple[float, float]:
    """Final number; an epoch of gradient descent is one step."""
    less, quiet = roles(walks)["less noise"], roles(walks)["quiet"]
    return settled(numbers(less, name)), settled(numbers(quiet, name))


def left(role: str, *walks: Trace) -> float:
    """Of the training loss since the noisiest walk was, or could have been, left."""
    loss, switch = numbers(roles(walks)[role], "train_loss"), walked(roles(walks)["gd"])
    return settled(loss) / settled(loss[: switch["switch_epoch"]])


def tuned(schedule: str, walks: Sequence[Trace]) -> float:
    """Final validation accuracy at the rate where it is highest."""
    own = [trace for trace in walks if walked(trace)["schedule"] == schedule]
    return max([*ends_of_epochs(trace, "validation_accuracy").values()][-1] for trace in own)


def fast_and_slow(name: str, walks: Sequence[Trace]) -> tuple[float, float]:
    """At the last epoch in which both were measured."""
    slow, fast = (ends_of_epochs(trace, name) for trace in by("learning_rate", walks))
    last = max(slow.keys() & fast.keys(), default=0)
    return fast.get(last, math.nan), slow.get(last, math.nan)


def overlap_over_control(trace: Trace) -> float:
    """Where it was last measured."""
    last = max(ends_of_epochs(trace, "noise_overlap"))
    return (
        numbers(trace, "noise_overlap")[last - 1]
        / numbers(trace, "noise_overlap_control")[last - 1]
    )


def of_the_edge(trace: Trace) -> list[float]:
    """Spectral norm over 2/η at the end of each epoch in which it was measured, until the fit."""
    loss, rate, ratios = numbers(trace, "minibatch_loss"), numbers(trace, "learning_rate"), []
    for epoch, norm in ends_of_epochs(trace, "hessian_max").items():
        # An epoch is one step, and the loss that before the next one, or before the last.
        if loss[min(epoch, len(loss) - 1)] < NEARLY_FITTED:
            break
        ratios.append(norm * rate[epoch - 1] / 2)
    return ratios


def at_the_edge(trace: Trace) -> float:
    """Of a walk that begins above 2/η and never comes up to it again the stretch begins there."""
    ratios = of_the_edge(trace)
    upwards = [i + 1 for i, (a, b) in enumerate(pairwise(ratios)) if a < 1 <= b]
    begin = upwards[0] if upwards else 0
    if len(ratios) - begin < 4 or ratios[begin] < 1:
        return math.nan
    middle = begin + math.ceil((len(ratios) - begin) / 2)
    halves = mean(ratios[begin:middle]), mean(ratios[middle:])
    return max(halves, key=lambda ratio: abs(math.log(ratio)))


STATISTICS: dict[str, Callable[..., float | tuple[int, int]]] = {
    "interior-minimum": that_sag,
    "convex-segments": that_are_convex,
    "few-barriers": with_barrier,
    "small-rate-crosses-none": with_barrier,
    "small-barriers": highest_barrier,
    "gd-floor": with_rising_floor,
    "sgd-floor": with_rising_floor,
    "gd-cosine": last_cosine,
    "sgd-cosine": lambda gd, sgd: last_cosine(sgd) - last_cosine(gd),
    "distance": distance,
    "batch-size-moves-cosine": partial(slope, "batch_size", late_cosines),
    "learning-rate-leaves-cosine": partial(slope, "learning_rate", late_cosines),
    "large-batches-stay-near": partial(slope, "batch_size", last_distances),
    "learning-rate-sets-height": partial(
        over_epochs, "learning_rate", partial(heights, inside=False)
    ),
    "learning-rate-sets-height-inside": partial(
        over_epochs, "learning_rate", partial(heights, inside=True)
    ),
    "sharpness-falls": partial(third_over_third, 1, 0),
    "sharpness-rises": partial(third_over_third, 2, 1),
    "sharpness-and-accuracy": rank_correlation,
    "noise-hinders-optimisation": lambda *w: sub(*noisy_and_quiet("train_loss", w)),
    "noise-hinders-generalisation": lambda *w: sub(*noisy_and_quiet("validation_accuracy", w)),
    "noise-travels-far": lambda *w: truediv(*noisy_and_quiet("distance", w)),
    "noise-ends-with-large-norm": lambda *w: truediv(*noisy_and_quiet("parameter_norm", w)),
    "stuck-under-smaller-rate": partial(left, "smaller rate"),
    "stuck-under-gd": partial(left, "gd"),
    "freed-by-sgd": partial(left, "sgd"),
    "trapezoid-and-clr": lambda *w: tuned("trapezoid", w) - tuned("clr", w),
    "trapezoid-and-stepwise": lambda *w: tuned("trapezoid", w) - tuned("stepwise", w),
    "clr-and-stepwise": lambda *w: tuned("clr", w) - tuned("stepwise", w),
    "ratio-is-not-all-accuracy": lambda *w: sub(*fast_and_slow("validation_accuracy", w)),
    "ratio-is-not-all-loss": lambda *w: truediv(*fast_and_slow("train_loss", w)),
    "noise-along-sharp-directions": overlap_over_control,
    "edge-of-stability": at_the_edge,
    "steps-end-at-the-floor": lambda sgd: float(np.median([*steps_to_floor(sgd).values()])),
    "larger-batch-is-smaller-rate": partial(over_epochs, "batch_size", steps_to_floor),
}


def bounces_at_last(first: Trace, *_: Trace) -> bool:
    return sum(map(sags, [*segments(first).values()][-10:])) > 5


def bounce_in_the_second_half(*walks: Trace) -> bool:
    """By the cosine, since no segment of these walks is measured."""
    return max(late_cosines(*walks)) < 0


def on_the_same_images(gd: Trace, sgd: Trace) -> bool:
    """By the hash of the images."""
    first, second = walked(gd), walked(sgd)
    return attribute(gd, "dataset_hash") == attribute(sgd, "dataset_hash") and all(
        first[name] == second[name] for name in ("model", "width", "augmentation")
    )


# By their first words.
PREMISES: dict[str, Callable[..., bool]] = {
    "SGD crosses a barrier": lambda sgd: with_barrier(sgd)[0] > 0,
    "gradient descent bounces at last": bounces_at_last,
    "SGD bounces at last": bounces_at_last,
    "the walks bounce": bounce_in_the_second_half,
    "gradient descent and SGD train one": on_the_same_images,
    "most segments have a minimum inside": lambda *w: all(2 * n > of for n, of in map(that_sag, w)),
    "the spectral norm reaches": lambda gd: any(ratio >= 1 for ratio in of_the_edge(gd)),
    "the walk is stuck": lambda *w: left("more noise", *w) > STUCK,
}


# Probabilities ------------------------------------------------------------------------------------


def beta_share(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1 or a <= 0:
        return float(x >= 1 or a <= 0)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    d = 1 / (1 - (a + b) * x / (a + 1))
    c, found = 1.0, math.exp(logarithm + a * math.log(x) + b * math.log1p(-x)) / a * d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            c, d = 1 + term / c, 1 / (1 + term * d)
            found *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return found


def turning_point(so: Callable[[float], bool], low: float, high: float) -> float:
    """From where on something is so, by bisection."""
    for _ in range(100):
        half = (low + high) / 2
        low, high = (low, half) if so(half) else (half, high)
    return high


def two_tails(t: float, freedom: int) -> float:
    """Probability that Student's t is farther from 0."""
    return beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


@cache
def student(freedom: int, alpha: float) -> float:
    """How many standard errors an interval of confidence 1 − α reaches."""
    return math.exp(turning_point(lambda x: two_tails(math.exp(x), freedom) < alpha, -30, 30))


# Seeds --------------------------------------------------------------------------------------------


class Numbers:
    """Of some seeds, by Student's t where they spread evenly."""

    def __init__(self, quantity: str, values: Sequence[float]):
        _, _, self.there, self.back = QUANTITIES.get(quantity, OTHERS)
        moved, self.freedom = [self.there(x) for x in values], len(values) - 1
        self.middle = mean(moved)
        squares = sum((x - self.middle) ** 2 for x in moved)
        self.error = math.sqrt(squares / max(1, self.freedom) / len(moved))
        self.spread = max(moved) - min(moved) > 1e-12 * max(map(abs, moved))
        self.estimate = self.back(self.middle)

    def interval(self) -> tuple[float, float]:
        half = student(self.freedom, ALPHA) * self.error
        return self.back(self.middle - half), self.back(self.middle + half)

    def p_against(self, end: float) -> float:
        return two_tails((self.middle - self.there(end)) / self.error, self.freedom)


class Shares:
    """Of steps of some seeds, after Korn and Graubard."""

    def __init__(self, _: str, values: Sequence[tuple[int, int]]):
        self.values, self.freedom = values, len(values) - 1
        self.total = sum(of for _, of in values)
        self.estimate = sum(n for n, _ in values) / self.total
        self.spread = self.freedom > 0

    def steps(self, t: float) -> float:
        """That count, for an interval of t standard errors."""
        assumed = sum(of / (1 + (of - 1) * LIKENESS) for _, of in self.values)
        squares = sum(((n - self.estimate * of) / self.total) ** 2 for n, of in self.values)
        if not squares:
            return assumed
        few = statistics.NormalDist().inv_cdf(two_tails(t, self.freedom) / 2) / t
        variance = squares * (self.freedom + 1) / self.freedom
        return min(assumed, self.estimate * (1 - self.estimate) / variance * few**2)

    def leaves_out(self, end: float, t: float) -> bool:
        """Whether so many times, or more extreme, are too improbable where the share is `end`."""
        steps, own = self.steps(t), self.estimate
        chance, own = (end, own) if end < own else (1 - end, 1 - own)
        return (
            beta_share(chance, own * steps, (1 - own) * steps + 1) < two_tails(t, self.freedom) / 2
        )

    def interval(self) -> tuple[float, float]:
        t, own = student(self.freedom, ALPHA), self.estimate
        low = turning_point(lambda x: not self.leaves_out(x, t), 0, own) if own > 0 else 0.0
        return low, turning_point(lambda x: self.leaves_out(x, t), own, 1) if own < 1 else 1.0

    def p_against(self, end: float) -> float:
        touches = turning_point(lambda x: not self.leaves_out(end, math.exp(x)), -20, 30)
        return two_tails(math.exp(touches), self.freedom)


@dataclass
class Row:
    """`numbers`: of each seed that was looked at; `seeds`: those whose numbers can be used."""

    claim: str
    subject: str
    primary: bool
    planned: int
    complete: bool
    numbers: dict[int, float]
    seeds: list[int]
    absent: list[int]
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    adjusted: float | None = None
    holds: bool = False
    verdict: str = "inconclusive"


def row_of(claim: Mapping[str, Any], subject: str, there: Mapping[int, Any], planned: int) -> Row:
    """Measured and tested, not yet decided: that may take the p-values of other rows."""
    premises = [
        next(holds for words, holds in PREMISES.items() if premise.startswith(words))
        for premise in claim["premises"]
    ]
    absent = [seed for seed, traces in there.items() if not all(p(*traces) for p in premises)]
    gone, found, values = 2 * len(absent) >= len(there), {}, {}
    least, most, *_ = QUANTITIES.get(claim["quantity"], OTHERS)
    for seed in [seed for seed in there if gone or seed not in absent]:
        value = STATISTICS[claim["id"]](*there[seed])
        times, of = value if isinstance(value, tuple) else (value, 1)
        found[seed] = times / of if of else math.nan
        if math.isfinite(found[seed]) and least < found[seed] < most:
            values[seed] = value
    primary, complete = subject in claim["primary"], len(there) == planned
    row = Row(claim["id"], subject, primary, planned, complete, found, [*values], absent)
    row.verdict = "premise absent" if gone and complete else "inconclusive"
    if values:
        kind = Shares if claim["quantity"] == "share" else Numbers
        tested, (low, high) = kind(claim["quantity"], [*values.values()]), claim["needed"]
        row.estimate = tested.estimate
        below = low is not None and row.estimate <= low
        above = high is not None and row.estimate >= high
        row.holds = (below or above) == claim["holds"].startswith("not between")
        # Outside of the range against the end that it lies beyond, inside against both.
        against = [low] if below else [high] if above else claim["needed"]
        p_values = [SMALLEST_P]
        if tested.spread:
            row.interval = tested.interval()
            for end in (end for end in against if end is not None):
                p_values.append(1.0 if end == row.estimate else tested.p_against(end))
            # Where half of the numbers cannot be used, the others are no sample.
            tells = complete and not gone and len(values) >= FEWEST_SEEDS
            tells = tells and (gone or 2 * len(values) > len(found))
            row.p_value = max(p_values) if tells else None
    return row


def ledger(
    open_walk: Callable[[str], Trace | None],
    protocol: Mapping[str, Any],
    commits: Sequence[str] | None = None,
    seeds: int | None = None,
) -> list[Row]:
    """All rows of which a seed is there.

    Parameters
    ----------
    open_walk : callable (hash) → trace or None
    protocol : mapping
        What `data/protocol.json` holds.
    commits : sequence of str, optional
        Those of the protocol that a trace may name; default: any.
    seeds : int, optional
        How many of the planned seeds are asked for; default all.
    """
    walks = {
        (group["subject"], page): by_seed
        for group in protocol["order"]
        for page, by_seed in group["walks"].items()
    }
    rows, family = [], sum(len(claim["primary"]) for claim in protocol["claims"])
    for claim in protocol["claims"]:
        for subject in claim["subjects"]:
            planned, there = protocol["seeds"][subject][:seeds], {}
            for seed in planned:
                names = [
                    name for page in claim["pages"] for name in walks[subject, page][str(seed)]
                ]
                traces = [open_walk(name) for name in names]
                if all(
                    trace is not None
                    and (commits is None or attribute(trace, "protocol_commit") in commits)
                    for trace in traces
                ):
                    there[seed] = traces
            if there:
                rows.append(row_of(claim, subject, there, len(planned)))
    # Holm's p-values: rows that are not there, or where nothing is tested, have p = 1.
    largest = 0.0
    primary = sorted((row.p_value or 1.0, i) for i, row in enumerate(rows) if row.primary)
    for rank, (p_value, i) in enumerate(primary):
        largest = rows[i].adjusted = max(largest, min(1.0, (family - rank) * p_value))
    for row in rows:
        deciding = row.adjusted if row.primary else row.p_value
        if row.p_value is not None and deciding < ALPHA:
            row.verdict = "supported" if row.holds else "contradicted"
    return rows


def opener(folders: Sequence[Path]) -> Callable[[str], Trace | None]:
    """Opens the file of a walk, in the first folder that has it."""

    @lru_cache(maxsize=64)
    def open_walk(name: str) -> Trace | None:
        paths = (folder / f"{name}.nc" for folder in folders)
        return next((h5py.File(path) for path in paths if path.is_file()), None)

    return open_walk


def main(words: Sequence[str] | None = None) -> None:
    """Print the ledger of some folders of traces."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--commits", nargs="*", help="of the protocol that count; default: any")
    given = parser.parse_args(words)
    protocol = json.loads(PROTOCOL.read_text(encoding="utf-8"))
    for row in ledger(opener(given.folders), protocol, given.commits):
        parts = [f"{row.verdict:14} {row.claim}, {row.subject}: {len(row.seeds)} of {row.planned}"]
        parts += [] if row.estimate is None else [f"{row.estimate:.6g}"]
        parts += ["[{:.6g}, {:.6g}]".format(*row.interval)] if row.interval else []
        parts += [] if row.p_value is None else [f"p {row.p_value:.3g}"]
        parts += [] if row.adjusted is None else [f"adjusted {row.adjusted:.3g}"]
        print(", ".join(parts))


if __name__ == "__main__":
    main()
