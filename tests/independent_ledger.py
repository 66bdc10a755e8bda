"""The claims ledger a second time, from the recorded files alone: NumPy and h5py, no valleywalk.

    python tests/independent_ledger.py data/traces

prints one line a row. Statistics are written from their words in `data/protocol.json`, with plain
loops; where words leave something open, a comment says what is taken. `test_independent_ledger.py`
compares the rows with `valleywalk.paper.ledger.findings`.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist, fmean, median
from typing import Any

import h5py
import numpy as np

# An open HDF5 file, or anything that has arrays by name and attributes as `attrs`.
Trace = Any
# Times and steps.
Share = tuple[int, int]

PROTOCOL = Path(__file__).parents[1] / "data" / "protocol.json"
ALPHA = 0.05
FEWEST_SEEDS = 3
SMALLEST_P = 1e-12
LIKENESS = 0.05
# Where one of them varies, the other is this.
USUAL = {"learning_rate": 0.1, "batch_size": 100}
# The epochs of Tables 1 and 2.
TABLE_EPOCHS = (1, 10, 25, 100)
STUCK = 0.8
NEARLY_FITTED = 0.1


# Traces ------------------------------------------------------------------------------------------


def numbers(trace: Trace, name: str) -> np.ndarray:
    """A variable of a trace, in float64."""
    return np.array(trace[name], dtype=float)


def attribute(trace: Trace, name: str) -> Any:
    """An attribute of a trace, None if it has none; netCDF keeps numbers as arrays of one."""
    found = np.ravel(trace.attrs[name]) if name in trace.attrs else [None]
    return found[0]


def walked(trace: Trace) -> dict[str, Any]:
    """The experiment that a trace was made by."""
    return json.loads(attribute(trace, "experiment"))


def segments(trace: Trace) -> dict[int, list[float]]:
    """Losses of each measured segment, by its iteration."""
    loss = numbers(trace, "loss")
    measured = np.flatnonzero(np.isfinite(loss).all(axis=1))
    return {int(step): loss[step].tolist() for step in measured}


def with_epochs(trace: Trace) -> list[tuple[int, int, list[float]]]:
    """Epoch, iteration and losses of each measured segment."""
    steps = int(attribute(trace, "steps_in_epoch"))
    return [(step // steps + 1, step, losses) for step, losses in segments(trace).items()]


def known_points(trace: Trace, step: int) -> list[int]:
    """Which points of a segment were measured, not read off."""
    count = trace["loss"].shape[1]
    flags = trace["measured"][step] if "measured" in trace else [True] * count
    return [point for point, flag in enumerate(np.array(flags)) if flag]


def by_epoch(trace: Trace, name: str) -> dict[int, float]:
    """What was measured at the end of epochs."""
    return {1 + i: float(x) for i, x in enumerate(numbers(trace, name)) if math.isfinite(x)}


# Of one segment -----------------------------------------------------------------------------------


def sags(loss: Sequence[float]) -> bool:
    """Whether it has an interior minimum."""
    return min(loss[1:-1]) < min(loss[0], loss[-1])


def barrier(loss: Sequence[float]) -> float:
    """Highest loss inside minus the higher end."""
    return max(loss[1:-1]) - max(loss[0], loss[-1])


def height(loss: Sequence[float]) -> float:
    """Mean of the ends above the floor."""
    return (loss[0] + loss[-1]) / 2 - min(loss)


def bend(trace: Trace, step: int, loss: Sequence[float]) -> int:
    """1 if it is convex, -1 if not, 0 if the images leave it open.

    Convex: each second difference is more than t standard errors above zero. Not convex: one is
    more than t below it, with t for as many tests as there are differences.
    """
    freedom = len(trace["batch_images"]) - 1
    alpha, error = numbers(trace, "alpha"), numbers(trace, "second_difference_error")[step]
    points, up, down = known_points(trace, step), [], []
    tests = len(points) - 2
    for left, middle, right in zip(points, points[1:], points[2:], strict=False):
        before, after = alpha[middle] - alpha[left], alpha[right] - alpha[middle]
        second = loss[left] / before / (before + after) + loss[right] / after / (before + after)
        second = 2 * (second - loss[middle] / before / after)
        up.append(second > student(freedom, ALPHA) * error[middle])
        down.append(second < -student(freedom, ALPHA / tests) * error[middle])
    return -1 if any(down) else int(bool(up) and all(up))


def step_to_floor(alpha: Sequence[float], loss: Sequence[float]) -> float:
    """Where the parabola with the curve's slope and curvature at 0 has its floor, in steps.

    Both are of least-squares polynomials. Of degrees 2 to 8 each takes the one whose value differs
    least from that of one degree below, with a quarter of the difference before added. Polynomials
    are orthogonal on the points (Forsythe 1957).
    """
    x, y = np.array(alpha), np.array(loss)
    now, before = np.ones_like(x), np.zeros_like(x)
    # Value, slope and half the curvature at 0 of the orthogonal polynomials.
    here, last = np.array([1.0, 0.0, 0.0]), np.zeros(3)
    total, norm, values = np.zeros(3), 1.0, []
    for degree in range(min(len(x) - 1, 8) + 1):
        square = float(now @ now)
        total = total + here * float(now @ y) / square
        if degree:
            values.append(total)
        middle, share = float(now * x @ now) / square, square / norm if degree else 0.0
        now, before = (x - middle) * now - share * before, now
        here, last = np.array([0.0, here[0], here[1]]) - middle * here - share * last, here
        norm = square
    found = []
    for series in np.array(values).T[1:]:
        moves = np.abs(np.diff(series))
        uncertain = [m + moves[i - 1] / 4 if i else m for i, m in enumerate(moves)]
        found.append(float(series[1 + int(np.argmin(uncertain))]))
    slope, half_curvature = found
    return -slope / (2 * half_curvature) if half_curvature > 0 else math.inf


# Of one walk --------------------------------------------------------------------------------------


def share(flags: Iterable[bool]) -> Share:
    """How often something is so, and of how many."""
    listed = [bool(flag) for flag in flags]
    return sum(listed), len(listed)


def share_that_sags(trace: Trace) -> Share:
    return share(sags(loss) for loss in segments(trace).values())


def share_with_barrier(trace: Trace) -> Share:
    return share(barrier(loss) > 0 for loss in segments(trace).values())


def share_that_rises(trace: Trace) -> Share:
    floors = [min(loss) for loss in segments(trace).values()]
    return share(later > earlier for earlier, later in pairwise(floors))


def share_convex(trace: Trace) -> Share:
    """Of the segments measured at all points by plan, or of all in a trace without a plan."""
    if "second_difference_error" not in trace:
        return 0, 0
    whole = numbers(trace, "whole") if "whole" in trace else np.ones(len(trace["loss"]))
    bends = [bend(trace, step, loss) for step, loss in segments(trace).items() if whole[step]]
    return share(sign == 1 for sign in bends if sign)


def highest_barrier(trace: Trace) -> float:
    """The highest as a share of the loss there, which need not be the highest in itself."""
    shares = [barrier(loss) / max(loss) for loss in segments(trace).values()]
    return max(shares) if max(shares) > 0 else math.nan


def last_cosine(trace: Trace) -> float:
    cosine = numbers(trace, "cosine")
    return mean([cosine[step] for step in list(segments(trace))[-10:]])


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers."""
    known = [float(value) for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def geometric_mean(values: Iterable[float]) -> float:
    """No number where one is not above zero."""
    listed = list(values)
    return math.exp(fmean(map(math.log, listed))) if listed and min(listed) > 0 else math.nan


def heights(trace: Trace, inside: bool) -> dict[int, float]:
    """Mean height of each epoch, from two steps drawn from each of its equal stretches.

    A drawn step stands for half of the steps of its stretch. The mean over segments with a minimum
    inside is that over those that were drawn.
    """
    steps, stretch = int(attribute(trace, "steps_in_epoch")), numbers(trace, "stretch")
    drawn = [entry for entry in with_epochs(trace) if not math.isnan(stretch[entry[1]])]
    found = {}
    for epoch in {entry[0] for entry in drawn}:
        of_epoch = [(int(stretch[step]), loss) for each, step, loss in drawn if each == epoch]
        count, above, below = len(of_epoch) // 2, 0.0, 0
        for part, loss in of_epoch:
            size = round((part + 1) * steps / count) - round(part * steps / count)
            if sags(loss) or not inside:
                above, below = above + size * height(loss), below + size
        if below:
            found[epoch] = above / below
    return found


def floors_along_steps(trace: Trace) -> dict[int, float]:
    """Median step to the floor in each measured epoch of Tables 1 and 2."""
    alpha, steps = numbers(trace, "alpha"), {}
    for epoch, step, loss in with_epochs(trace):
        if epoch in TABLE_EPOCHS:
            points = known_points(trace, step)
            place = step_to_floor(alpha[points], [loss[point] for point in points])
            steps.setdefault(epoch, []).append(place)
    return {epoch: median(places) for epoch, places in steps.items()}


def settled(values: Iterable[float]) -> float:
    """What is final: the median of the last tenth of what was measured."""
    known = [float(value) for value in values if math.isfinite(value)]
    return median(known[-math.ceil(len(known) / 10) :]) if known else math.nan


def sharp_and_accurate(trace: Trace) -> tuple[list[float], list[float]]:
    """Spectral norm and validation accuracy in the epochs that have both."""
    norm, accuracy = by_epoch(trace, "hessian_max"), by_epoch(trace, "validation_accuracy")
    both = [epoch for epoch in norm if epoch in accuracy]
    return [norm[epoch] for epoch in both], [accuracy[epoch] for epoch in both]


def third_over_third(trace: Trace, later: int, earlier: int) -> float:
    """Thirds that do not come out even: the first ones have one more."""
    norm, _ = sharp_and_accurate(trace)
    thirds, begin = [], 0
    for left in (3, 2, 1):
        end = begin + math.ceil((len(norm) - begin) / left)
        thirds.append(norm[begin:end])
        begin = end
    if len(norm) < 3 or min(norm) <= 0:
        return math.nan
    return geometric_mean(thirds[later]) / geometric_mean(thirds[earlier])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's; of ±1 the middle between it and the next that n ranks without ties can have."""
    count = len(first)
    if count < 3 or min(first) == max(first) or min(second) == max(second):
        return math.nan
    ranks = [
        [sum(other < one for other in values) + sum(other == one for other in values) / 2
         for one in values]
        for values in (first, second)
    ]  # fmt: skip
    x, y = (np.array(each) - fmean(each) for each in ranks)
    most = 1 - 6 / (count**3 - count)
    return min(most, max(-most, float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))))


def at_the_edge(trace: Trace) -> float:
    """See the words. A walk that is above 2/η from the first and falls has its stretch, too."""
    loss, rate = numbers(trace, "minibatch_loss"), numbers(trace, "learning_rate")
    steps, ratios = int(attribute(trace, "steps_in_epoch")), []
    for epoch, norm in by_epoch(trace, "hessian_max").items():
        done = epoch * steps
        if loss[min(done, len(loss) - 1)] < NEARLY_FITTED:  # Before the next step, or the last.
            break
        ratios.append(norm * rate[done - 1] / 2)
    crossings = [i + 1 for i, (a, b) in enumerate(pairwise(ratios)) if a < 1 <= b]
    if not crossings and ratios and ratios[0] >= 1:
        crossings = [0]
    stretch = ratios[crossings[0] :] if crossings else []
    if len(stretch) < 4:
        return math.nan
    half = (len(stretch) + 1) // 2
    return max(fmean(stretch[:half]), fmean(stretch[half:]), key=lambda x: abs(math.log(x)))


def overlap_over_control(trace: Trace) -> float:
    """Where it was last measured."""
    overlap = by_epoch(trace, "noise_overlap")
    if "noise_overlap_control" not in trace or not overlap:
        return math.nan
    last = max(overlap)
    return overlap[last] / by_epoch(trace, "noise_overlap_control").get(last, math.nan)


# Of several walks ---------------------------------------------------------------------------------


def slope(traces: Sequence[Trace], factor: str, measure: str) -> float:
    """For each doubling of a factor, over as many steps as the shortest walk has.

    Of the cosine the mean of the second half of the steps, of the distance that at their end.
    """
    steps, points = min(len(trace["cosine"]) for trace in traces), []
    for trace in traces:
        if all(walked(trace)[name] == value for name, value in USUAL.items() if name != factor):
            series = numbers(trace, measure)[:steps]
            value = series[-1] if measure == "distance" else mean(series[(steps + 1) // 2 :])
            points.append((math.log2(walked(trace)[factor]), value))
    middle = fmean(x for x, _ in points)
    squares = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * y for x, y in points) / squares


def by(traces: Sequence[Trace], field: str) -> list[Trace]:
    """Those of the smallest and the largest value of a field of the experiment."""
    ordered = sorted(traces, key=lambda trace: walked(trace)[field])
    return [ordered[0], ordered[-1]]


def heights_by_rate(traces: Sequence[Trace], inside: bool) -> float:
    """Over the epochs in which both rates have a height."""
    slow, fast = (heights(trace, inside) for trace in by(traces, "learning_rate"))
    return geometric_mean(fast[epoch] / slow[epoch] for epoch in fast if epoch in slow)


def at_equal_images(traces: Sequence[Trace], name: str) -> tuple[float, float]:
    """At the last epoch in which both were measured: at the larger rate, and at the smaller."""
    slow, fast = (by_epoch(trace, name) for trace in by(traces, "learning_rate"))
    last = max(set(slow) & set(fast), default=0)
    return fast.get(last, math.nan), slow.get(last, math.nan)


def floors_by_batch(traces: Sequence[Trace]) -> float:
    usual, doubled = (floors_along_steps(trace) for trace in by(traces, "batch_size"))
    return geometric_mean(doubled[epoch] / usual[epoch] for epoch in doubled if epoch in usual)


def by_role(traces: Sequence[Trace]) -> dict[str, Trace]:
    """The walks of gradient descent with and without noise."""
    found, noisy = {}, {}
    for trace in traces:
        own = walked(trace)
        if own["switch_epoch"]:
            found["smaller rate" if own["switch_learning_rate"] else own["switch_update"]] = trace
        elif own["noise_factor"]:
            noisy[own["noise_factor"]] = trace
        elif own["update"] == "gd":
            found["quiet"] = trace
    return found | {"noisy": noisy[min(noisy)], "noisiest": noisy[max(noisy)]}


def ends(traces: Sequence[Trace], name: str) -> tuple[float, float]:
    """Final number under the smaller noise, and without noise. An epoch is one step."""
    roles = by_role(traces)
    return settled(numbers(roles["noisy"], name)), settled(numbers(roles["quiet"], name))


def left(traces: Sequence[Trace], role: str) -> float:
    """Loss at the end over that when the noisiest walk is left."""
    roles = by_role(traces)
    loss, switch = numbers(roles[role], "train_loss"), walked(roles["gd"])["switch_epoch"]
    return settled(loss) / settled(loss[:switch])


def tuned(traces: Sequence[Trace], schedule: str) -> float:
    """Final validation accuracy of a schedule at the rate where it is highest."""
    own = [trace for trace in traces if walked(trace)["schedule"] == schedule]
    accuracies = [by_epoch(trace, "validation_accuracy") for trace in own]
    return max(each[max(each)] for each in accuracies)


def difference(pair: tuple[float, float]) -> float:
    return pair[0] - pair[1]


def ratio(pair: tuple[float, float]) -> float:
    return pair[0] / pair[1]


def on_same_images(gd: Trace, sgd: Trace) -> bool:
    """By the hash of the images, and of the network by its name and width."""
    fields = ("model", "width", "augmentation")
    return attribute(gd, "dataset_hash") == attribute(sgd, "dataset_hash") and all(
        walked(gd)[field] == walked(sgd)[field] for field in fields
    )


def gd_bounces(gd: Trace) -> bool:
    times, of = share(sags(loss) for loss in list(segments(gd).values())[-10:])
    return 2 * times > of


# Claim → the number of a seed, from the traces of each of its pages.
STATISTICS: dict[str, Callable[..., float | Share]] = {
    "interior-minimum": lambda sgd: share_that_sags(*sgd),
    "convex-segments": lambda sgd: share_convex(*sgd),
    "few-barriers": lambda sgd: share_with_barrier(*sgd),
    "small-rate-crosses-none": lambda sgd: share_with_barrier(*sgd),
    "small-barriers": lambda sgd: highest_barrier(*sgd),
    "gd-floor": lambda gd: share_that_rises(*gd),
    "sgd-floor": lambda sgd: share_that_rises(*sgd),
    "gd-cosine": lambda gd: last_cosine(*gd),
    "sgd-cosine": lambda gd, sgd: last_cosine(*sgd) - last_cosine(*gd),
    "distance": lambda gd, sgd: ratio(
        [numbers(each, "distance")[min(len(t["distance"]) for t in (*gd, *sgd)) - 1]
         for each in (*sgd, *gd)]
    ),
    "batch-size-moves-cosine": lambda walks: slope(walks, "batch_size", "cosine"),
    "learning-rate-leaves-cosine": lambda walks: slope(walks, "learning_rate", "cosine"),
    "large-batches-stay-near": lambda walks: slope(walks, "batch_size", "distance"),
    "learning-rate-sets-height": lambda walks: heights_by_rate(walks, inside=False),
    "learning-rate-sets-height-inside": lambda walks: heights_by_rate(walks, inside=True),
    "sharpness-falls": lambda sgd: third_over_third(*sgd, 1, 0),
    "sharpness-rises": lambda sgd: third_over_third(*sgd, 2, 1),
    "sharpness-and-accuracy": lambda sgd: rank_correlation(*sharp_and_accurate(*sgd)),
    "noise-hinders-optimisation": lambda walks: difference(ends(walks, "train_loss")),
    "noise-hinders-generalisation": lambda walks: difference(ends(walks, "validation_accuracy")),
    "noise-travels-far": lambda walks: ratio(ends(walks, "distance")),
    "noise-ends-with-large-norm": lambda walks: ratio(ends(walks, "parameter_norm")),
    "stuck-under-smaller-rate": lambda walks: left(walks, "smaller rate"),
    "stuck-under-gd": lambda walks: left(walks, "gd"),
    "freed-by-sgd": lambda walks: left(walks, "sgd"),
    "trapezoid-and-clr": lambda walks: tuned(walks, "trapezoid") - tuned(walks, "clr"),
    "trapezoid-and-stepwise": lambda walks: tuned(walks, "trapezoid") - tuned(walks, "stepwise"),
    "clr-and-stepwise": lambda walks: tuned(walks, "clr") - tuned(walks, "stepwise"),
    "ratio-is-not-all-accuracy": lambda walks: difference(
        at_equal_images(walks, "validation_accuracy")
    ),
    "ratio-is-not-all-loss": lambda walks: ratio(at_equal_images(walks, "train_loss")),
    "noise-along-sharp-directions": lambda sgd: overlap_over_control(*sgd),
    "edge-of-stability": lambda gd: at_the_edge(*gd),
    "steps-end-at-the-floor": lambda sgd: geometric_mean(floors_along_steps(*sgd).values()),
    "larger-batch-is-smaller-rate": lambda walks: floors_by_batch(walks),
}
# Premise, by how it begins → whether it holds in a seed.
PREMISES: dict[str, Callable[..., bool]] = {
    "SGD crosses a barrier": lambda sgd: share_with_barrier(*sgd)[0] > 0,
    "gradient descent bounces": lambda gd, *_: gd_bounces(*gd),
    "gradient descent and SGD train one": lambda gd, sgd: on_same_images(*gd, *sgd),
    "most segments have a minimum inside": lambda walks: all(
        2 * times > of for times, of in map(share_that_sags, walks)
    ),
    "the walk is stuck": lambda walks: left(walks, "noisiest") > STUCK,
}


# Of several seeds ---------------------------------------------------------------------------------


def beta_share(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1 or not a or not b:
        return float(x >= 1 or not a)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    factor = math.exp(logarithm + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            c, d = 1 + term / c, 1 / (1 + term * d)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return factor * fraction


def turning_point(is_above: Callable[[float], bool], low: float, high: float) -> float:
    """Where something begins to be so, by bisection."""
    for _ in range(100):
        half = (low + high) / 2
        low, high = (low, half) if is_above(half) else (half, high)
    return high


def two_tails(t: float, freedom: int) -> float:
    """Probability that Student's t is farther from 0."""
    return beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


@cache
def student(freedom: int, alpha: float) -> float:
    """How many standard errors an interval of confidence 1 − α reaches."""
    logarithm = turning_point(lambda x: two_tails(math.exp(x), freedom) < alpha, -30, 30)
    return math.exp(logarithm)


def at_least(times: float, steps: float, chance: float) -> float:
    """Probability of so many successes or more, of any real numbers of them."""
    return beta_share(chance, times, steps - times + 1)


def steps_that_count(shares: Sequence[Share], t: float, freedom: int) -> float:
    """Independent steps that tell as much, for an interval of t standard errors."""
    times, total = sum(n for n, _ in shares), sum(of for _, of in shares)
    assumed = sum(of / (1 + (of - 1) * LIKENESS) for _, of in shares)
    of_all = times / total
    variance = sum(((n - of_all * of) / total) ** 2 for n, of in shares) * (1 + 1 / freedom)
    if not variance:
        return assumed
    normal = -NormalDist().inv_cdf(two_tails(t, freedom) / 2)
    return min(assumed, of_all * (1 - of_all) / variance * (normal / t) ** 2)


@dataclass
class Tested:
    """Estimate, 95 % interval and p-value; None where there is none."""

    estimate: float
    inside: bool
    interval: tuple[float, float] | None
    p_value: float | None


def tested(
    quantity: str, values: Sequence[Any], needed: Sequence[float | None]
) -> Tested:
    """One test against each end of the range, or outside of it against the nearer one."""
    freedom = len(values) - 1
    low, high = needed
    if quantity == "share":
        estimate = sum(n for n, _ in values) / sum(of for _, of in values)
        spread = freedom > 0

        def leaves_out(border: float, t: float) -> bool:
            steps, half = steps_that_count(values, t, freedom), two_tails(t, freedom) / 2
            if border < estimate:
                return at_least(estimate * steps, steps, border) < half
            return at_least((1 - estimate) * steps, steps, 1 - border) < half

        def reach() -> tuple[float, float]:
            t = student(freedom, ALPHA)
            return (
                turning_point(lambda x: not leaves_out(x, t), 0, estimate) if estimate > 0 else 0.0,
                turning_point(lambda x: leaves_out(x, t), estimate, 1) if estimate < 1 else 1.0,
            )

        def p_against(border: float) -> float:
            log_t = turning_point(lambda x: not leaves_out(border, math.exp(x)), -20, 30)
            return two_tails(math.exp(log_t), freedom)
    else:
        there, back = {
            "number": (float, float),
            "ratio": (math.log, math.exp),
            "correlation": (math.atanh, math.tanh),
        }[quantity]
        moved = [there(value) for value in values]
        middle = fmean(moved)
        estimate = back(middle)
        spread = max(moved) - min(moved) > 1e-12 * max(map(abs, moved))
        error = math.sqrt(sum((x - middle) ** 2 for x in moved) / max(freedom, 1) / len(moved))

        def reach() -> tuple[float, float]:
            half = student(freedom, ALPHA) * error
            return back(middle - half), back(middle + half)

        def p_against(border: float) -> float:
            return two_tails((middle - there(border)) / error, freedom)

    inside = (low is None or low < estimate) and (high is None or estimate < high)
    if not spread:
        return Tested(estimate, inside, None, None)
    against = [end for end in needed if end is not None]
    if not inside:
        against = [high if high is not None and estimate >= high else low]
    p_values = [1.0 if estimate == end else p_against(end) for end in against]
    p_value = max(*p_values, SMALLEST_P) if len(values) >= FEWEST_SEEDS else 1.0
    return Tested(estimate, inside, reach(), p_value)


# Rows ---------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A claim and what it is tested on.

    `numbers` has each seed that was looked at, NaN where it says nothing; `seeds` those that count.
    """

    claim: str
    subject: str
    primary: bool
    planned: int
    complete: bool
    numbers: dict[int, float]
    seeds: list[int]
    absent: list[int]
    found: Tested | None
    p_value: float | None = None
    adjusted: float | None = None
    verdict: str = "inconclusive"


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
        Those of the protocol that a trace may name; default: all traces count.
    seeds : int, optional
        How many of the planned seeds are asked for; default all.
    """
    walks = {
        (group["subject"], page): by_seed
        for group in protocol["order"]
        for page, by_seed in group["walks"].items()
    }
    rows = []
    for claim in protocol["claims"]:
        for subject in claim["subjects"]:
            planned, there = protocol["seeds"][subject][:seeds], {}
            for seed in planned:
                names = [walks[subject, page][str(seed)] for page in claim["pages"]]
                pages = [[open_walk(name) for name in of_page] for of_page in names]
                traces = [trace for of_page in pages for trace in of_page]
                if all(
                    trace is not None
                    and (commits is None or attribute(trace, "protocol_commit") in commits)
                    for trace in traces
                ):
                    there[seed] = pages
            if there:
                rows.append(row_of(claim, subject, there, len(planned)))
    family = sum(len(claim["primary"]) for claim in protocol["claims"])
    adjust([row for row in rows if row.primary], family)
    for row in rows:
        decide(row, protocol)
    return rows


def row_of(
    claim: Mapping[str, Any], subject: str, there: Mapping[int, Sequence[Any]], planned: int
) -> Row:
    """Measured, not yet decided."""
    premises = [
        holds
        for words in claim["premises"]
        for begins, holds in PREMISES.items()
        if words.startswith(begins)
    ]
    assert len(premises) == len(claim["premises"]), claim["premises"]
    absent = [seed for seed, pages in there.items() if not all(p(*pages) for p in premises)]
    gone = len(absent) >= len(there) - len(absent)
    least, most = {"ratio": (0, math.inf), "correlation": (-1, 1)}.get(
        claim["quantity"], (-math.inf, math.inf)
    )
    found, values = {}, {}
    for seed, pages in there.items():
        if gone or seed not in absent:
            value = STATISTICS[claim["id"]](*pages)
            times, of = value if isinstance(value, tuple) else (value, 1)
            found[seed] = times / of if of else math.nan
            if math.isfinite(found[seed]) and least < found[seed] < most:
                values[seed] = value
    test = tested(claim["quantity"], list(values.values()), claim["needed"]) if values else None
    row = Row(
        claim=claim["id"],
        subject=subject,
        primary=subject in claim["primary"],
        planned=planned,
        complete=len(there) == planned,
        numbers=found,
        seeds=list(values),
        absent=absent,
        found=test,
    )
    if gone and row.complete:
        row.verdict = "premise absent"
    elif test and row.complete:
        row.p_value = test.p_value
    return row


def adjust(rows: Sequence[Row], family: int) -> None:
    """Holm's p-values; rows that are not there, or where nothing is tested, have p = 1."""
    largest = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row.p_value or 1.0)):
        largest = max(largest, min(1.0, (family - rank) * (row.p_value or 1.0)))
        row.adjusted = largest


def decide(row: Row, protocol: Mapping[str, Any]) -> None:
    """By the adjusted p-value of a primary row, by its own of another."""
    deciding = row.adjusted if row.primary else row.p_value
    if row.p_value is not None and deciding is not None and deciding < ALPHA:
        (holds,) = (each["holds"] for each in protocol["claims"] if each["id"] == row.claim)
        outside = holds.startswith("not between")
        row.verdict = "supported" if row.found.inside != outside else "contradicted"


def opener(folders: Iterable[Path]) -> Callable[[str], Trace | None]:
    """Opens a walk's file in the first folder that has it."""

    @lru_cache(maxsize=64)
    def open_walk(name: str) -> Trace | None:
        paths = (folder / f"{name}.nc" for folder in folders)
        return next((h5py.File(path) for path in paths if path.is_file()), None)

    return open_walk


def line(row: Row) -> str:
    """For reading."""
    parts = [f"{row.verdict:14} {row.claim}, {row.subject}: {len(row.seeds)} of {row.planned} seeds"]
    if row.found:
        parts.append(f"{row.found.estimate:.6g}")
    if row.found and row.found.interval:
        parts.append("[{:.6g}, {:.6g}]".format(*row.found.interval))
    parts += [f"p {row.p_value:.3g}"] if row.p_value is not None else []
    parts += [f"adjusted {row.adjusted:.3g}"] if row.adjusted is not None else []
    return ", ".join(parts)


def main() -> None:
    """Print the ledger of some folders of traces."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--commits", nargs="*", help="of the protocol that count; default all")
    given = parser.parse_args()
    for row in ledger(opener(given.folders), json.loads(PROTOCOL.read_text()), given.commits):
        print(line(row))


if __name__ == "__main__":
    main()
