"""What a trace shows, in words: each number with its error, and what to try next."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from . import analysis, measures, statistics
from .statistics import SHORTEST_SERIES, Interval

# Segments from which a walk is described in halves: it may slide first, and bounce then.
HALVED = 2 * SHORTEST_SERIES
# Segments at the end over which curvature is taken: a polynomial of each degree goes through each.
LAST = 100
# From this share of the gain on, curvature takes most of it.
MOST = 0.75
# So many steps in a row are by chance alike once in thirty times.
RUN = 5
# Nearer to zero than this all of an interval of cosines says no more than "nearly orthogonal".
ORTHOGONAL = 0.1
# Of the pairs of a floor in the first quarter and one in the last, the share that must agree.
CLEARLY = 0.95
# What batches' errors need, beside themselves.
OF_BATCHES = {"batch_images", "measured", "loss_error"}
# What half precision rounds away at most, as a share: half the distance to the next number.
ROUNDED = {"bfloat16": 2**-8, "float16": 2**-11}
# As far from 1 may be what is 1 in gradient descent on the very loss that is measured.
ALIKE = 0.2

# What is seen, and what to try.
Part = tuple[list[str], list[str]]


@dataclass(frozen=True, repr=False)
class Report:
    """What a trace shows, sentence by sentence; printed, or as the last line of a cell, in full.

    Attributes
    ----------
    seen : tuple of str
    to_try : tuple of str
        What the numbers suggest; often nothing.
    """

    seen: tuple[str, ...]
    to_try: tuple[str, ...]

    def __str__(self) -> str:
        ideas = ["What to try next:", *(f"- {idea}" for idea in self.to_try)] if self.to_try else []
        return "\n".join([*self.seen, *ideas])

    __repr__ = __str__


def report(trace: xr.Dataset) -> Report:
    """Say in words what a trace shows, and what to try next.

    Does the walk slide or bounce? How high is it above the floor, which barriers does it cross,
    how sharp is the loss along its steps, does the floor fall, and how far did it get? From 22
    measured segments on, what changes on the way is said of the second half of them alone.

    In brackets are 95 % intervals. Those "over the steps" are by `statistics.mean_of_steps`, with
    none for ten steps or fewer, and for a share by `statistics.share_of_steps`. Those "over the
    images" are by `measures.window_height`. Gain, penalty and sharpness are taken over the last
    hundred segments at most, and their intervals are wider by the curve's own error (see
    `measures.along_step`).

    Parameters
    ----------
    trace : xarray.Dataset
        As `watch` or `walk` returns it, finished or not; what it does not hold is left out.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        What is given is not a trace.

    Examples
    --------
    Twelve steps from wall to wall, with the floor falling:

    >>> import numpy as np
    >>> from valleywalk import report
    >>> from valleywalk.trace import assemble
    >>> valley = np.array([1.0, 0.25, 0.0, 0.25, 1.0])
    >>> steps = [{"loss": valley + 2 - 0.1 * t, "cosine": -0.9} for t in range(12)]
    >>> print(report(assemble(steps, alpha=[0, 0.25, 0.5, 0.75, 1])))
    12 steps, 12 segments measured. Brackets hold 95 % intervals.
    The loss goes from 3 to 1.9.
    It bounces: 12 of 12 segments have their lowest point inside, a share of 1 [0.51, 1] over the
    steps.
    Successive gradients point against each other: mean cosine -0.9 [-0.9, -0.9] over the steps.
    Mean height above the floor 1 (the trace does not tell its error).
    No segment crosses a barrier; the trace does not tell what the images resolve.
    The floor falls: 1.9 (1.8 to 2) at first, 1 (0.9 to 1.1) at last; from one measured segment to
    the next it rises in 0 of 11 cases.
    Gain of a step to first order 4 [4, 4], curvature penalty 4 [4, 4] over the steps.
    """
    if not isinstance(trace, xr.Dataset) or "iteration" not in trace.sizes:
        raise ValueError(
            f"{trace!r:.60} is no trace; give that of a watch, watcher.trace, or of a file, "
            "open_trace(path)"
        )
    steps = _readable(trace)
    count, segments = trace.sizes["iteration"], steps.sizes["iteration"]
    first = f"{_count(count, 'step')}, {_count(segments, 'segment')} measured."
    parts: list[Part] = [([first], []), _end(trace)]
    if not segments:
        parts += [_nothing_measured(trace), _gradients(trace)]
    else:
        half = ", of the second half of the segments where nothing else is said"
        first += f" Brackets hold 95 % intervals{half if _halved(_not_flat(steps)) else ''}."
        parts[0] = ([first], [])
        parts += _segments(trace, steps)
    parts.append(_distance(trace))
    return Report(
        tuple(line for seen, _ in parts for line in seen),
        tuple(idea for _, ideas in parts for idea in ideas),
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _readable(trace: xr.Dataset) -> xr.Dataset:
    """Measured segments whose losses are finite; without errors by which nothing can be told."""
    if "loss" not in trace:
        return trace.isel(iteration=slice(0))
    steps = measures.measured_steps(trace)
    known = np.isfinite(steps["loss"].values).all(axis=1)
    if "measured" in steps:
        known &= steps["measured"].values.any(axis=1)
    steps = steps.isel(iteration=known)
    without = [
        name
        for name in ("batch_height", "barrier_error")
        if name in steps and not (set(steps) >= OF_BATCHES and np.isfinite(steps[name]).all())
    ]
    return steps.drop_vars(without)


def _end(trace: xr.Dataset) -> Part:
    """Steps without a segment of their own: skipped ones, and all after a divergence."""
    count = trace.sizes["iteration"]
    skipped = trace["skipped"].values == 1 if "skipped" in trace else np.zeros(count, dtype=bool)
    seen, ideas = [], []
    if skipped.any():
        seen.append(f"The gradient scaler skipped {skipped.sum():,} of {_count(count, 'step')}.")
    if "distance" in trace and not skipped.all():
        taken = np.flatnonzero(~skipped)
        finite = np.isfinite(trace["distance"].values[taken])
        if not finite[-1]:
            # With the distance, all later ones are lost.
            at = taken[np.flatnonzero(finite)[-1] + 1] if finite.any() else taken[0]
            iteration = int(trace["iteration"][at])
            seen.append(
                f"The training diverged: from iteration {iteration} on, parameters are not finite."
            )
            ideas.append(
                "It diverged: try a smaller learning rate, or one that rises slowly at first."
            )
    return seen, ideas


def _nothing_measured(trace: xr.Dataset) -> Part:
    if not trace.sizes["iteration"]:
        return [], ["No step was seen: call optimizer.step() inside of `with watch(...)`."]
    if "loss" in trace and np.isinf(trace["loss"].values).any():
        return ["No measured segment has finite losses."], []
    how = (
        "name epochs, as in probed_epochs=(1,)"
        if "experiment" in trace.attrs
        else "choose steps that are taken, as in steps=10 for every tenth"
    )
    return [], [f"No segment was measured: {how}."]


def _segments(trace: xr.Dataset, steps: xr.Dataset) -> list[Part]:
    loss = steps["loss"].values
    line = f"The loss goes from {loss[0, 0]:.4g} to {loss[-1, -1]:.4g}."
    parts: list[Part] = [([line], []), _rounding(trace, loss)]
    steps = _not_flat(steps)
    if flat := len(loss) - steps.sizes["iteration"]:
        parts.append(_flat(flat, len(loss)))
    if flat == len(loss):
        return [*parts, _gradients(trace)]
    later, then = steps, ""
    if _halved(steps):
        half, then = steps.sizes["iteration"] // 2, " in the second half"
        parts.append(_Valley.of(steps.isel(iteration=slice(half)), " in the first half").said)
        later = steps.isel(iteration=slice(half, None))
    valley = _Valley.of(later, then)
    falls, floor = _floor(steps)
    return [
        *parts,
        valley.said,
        _gradients(trace.isel(iteration=trace["iteration"] >= later["iteration"][0])),
        _height(later, valley),
        _barriers(steps),
        floor,
        _curvature(later.isel(iteration=slice(-LAST, None)), valley, floor_falls=falls),
        _few(steps),
    ]


def _rounded(trace: xr.Dataset) -> float:
    """Share of a loss or a weight that the format of the parameters rounds away at most."""
    return ROUNDED.get(trace.attrs.get("precision", ""), 0.0)


def _rounding(trace: xr.Dataset, loss: np.ndarray) -> Part:
    share = _rounded(trace)
    if not share:
        return [], []
    line = (
        f"The parameters are {trace.attrs['precision']}: weights along a segment, and losses too "
        f"unless `loss` computes in float32, are rounded by up to {100 * share:.1g}%, a loss of "
        f"{loss[-1, -1]:.4g} by {share * abs(loss[-1, -1]):.1g}. Smaller heights, barriers and "
        "bends may be rounding alone."
    )
    idea = (
        "More images do not help against rounding: keep the parameters in float32 and train under "
        "torch.autocast, which is off where the loss is measured."
    )
    return [line], [idea]


def _not_flat(steps: xr.Dataset) -> xr.Dataset:
    return steps.isel(iteration=np.ptp(steps["loss"].values, axis=1) != 0)


def _halved(steps: xr.Dataset) -> bool:
    return steps.sizes["iteration"] >= HALVED


def _flat(count: int, total: int) -> Part:
    line = f"Along {_count(count, 'segment')} the loss does not change at all."
    if count < total:
        return [line], []
    idea = "No step changes the loss: is the learning rate zero, or does another model train?"
    return [line], [idea]


def _over_steps(values: np.ndarray, error: float = 0.0) -> Interval:
    """Mean of a series along the walk; `error` is one that all of it may share."""
    found = statistics.mean_of_steps(values)
    return Interval(found.estimate, found.low - error, found.high + error)


def _clear(found: Interval) -> tuple[float, float]:
    """Ends of an interval; of a few steps, for which there is none, the number twice."""
    return (found.estimate, found.estimate) if np.isnan(found.low) else (found.low, found.high)


@dataclass(frozen=True)
class _Valley:
    """On which side of one half the share of segments lies whose lowest point is inside."""

    inside: np.ndarray
    bounces: bool
    slides: bool
    said: Part

    @classmethod
    def of(cls, steps: xr.Dataset, when: str) -> "_Valley":
        loss, alpha = steps["loss"].values, steps["alpha"].values
        inside = analysis.has_interior_minimum(loss)
        rising = int((~inside & (analysis.floor_alpha(loss, alpha) == alpha[0])).sum())
        share = statistics.share_of_steps(inside)
        low, high = _clear(share)
        bounces, mostly_none = low > 0.5, high < 0.5
        climbs = mostly_none and 2 * rising > (~inside).sum()
        said = "does not clearly slide or bounce"
        if bounces:
            said = "bounces"
        elif mostly_none:
            said = "climbs" if climbs else "slides"
        if len(alpha) < 3:
            line = f"It {said}{when}, as far as the two ends of a segment tell."
        else:
            have = "has its" if len(loss) == 1 else "have their"
            over = "" if np.isnan(share.low) else f", a share of {share} over the steps"
            line = (
                f"It {said}{when}: {inside.sum():,} of {_count(len(loss), 'segment')} {have} "
                f"lowest point inside{over}."
            )
            # By a change on the way, the interval can tell little.
            last = len(inside) - np.flatnonzero(~inside)[-1] - 1 if not inside.all() else 0
            if last >= RUN:
                line += f" From iteration {steps['iteration'].values[-last]} on, all have."
        if rising:
            line += f" Along {rising:,} the loss only rises."
        return cls(inside, bounces, mostly_none and not climbs, ([line], []))


def _gradients(trace: xr.Dataset) -> Part:
    cosine = trace["cosine"].values if "cosine" in trace else np.zeros(0)
    known = np.isfinite(cosine)
    cosine = cosine[known]
    if not len(cosine):
        return [], []
    found = _over_steps(cosine)
    found = Interval(found.estimate, *np.clip((found.low, found.high), -1.0, 1.0).tolist())
    low, high = _clear(found)
    how = "neither agree nor disagree clearly"
    if low > -ORTHOGONAL and high < ORTHOGONAL:
        how = "are nearly orthogonal"
    elif high < 0:
        how = "point against each other"
    elif low > 0:
        how = "point the same way"
    line = f"Successive gradients {how}: mean cosine {found} over the steps."
    start = analysis.first_negative(cosine)
    if start and len(cosine) - start >= RUN:
        line += f" From iteration {trace['iteration'].values[known][start]} on it stays negative."
    return [line], []


def _height(steps: xr.Dataset, valley: _Valley) -> Part:
    """The mean height, whether it is descent, and what the images can tell of it."""
    height = measures.window_height(steps)
    interval = height.interval()
    known = not np.isnan(height.error)
    line, ideas = f"Mean height above the floor {interval}", []
    if known and interval.low == interval.high:
        line = f"Mean height above the floor {interval.estimate:.3g}, on all training images"
    else:
        line += " over the images" if known else " (the trace does not tell its error)"
    if valley.inside.any() and not valley.inside.all():
        inside = measures.window_height(steps, interior=True).interval()
        line += f", {inside} of the segments with the lowest point inside"
    line += "."
    if not valley.inside.any():
        line += " It is half of the change of the loss in a step: descent, not bouncing."
    if known and interval.low <= 0:
        line += " The images cannot tell it from zero."
        if not _rounded(steps):
            ideas.append(
                "The height is no larger than the error of the images: use more evaluation images."
            )
    if steps.sizes.get("batch") == 1:
        ideas.append(
            "One evaluation batch gives no error: divide the same images into ten, by batch_size "
            "or in your loader."
        )
    if "measured" in steps and "loss_error" in steps:
        read = ~steps["measured"].values.all(axis=1)
        error = float(np.where(read, steps["loss_error"].values, 0.0).mean())
        if error > 0:
            line += f" Reading losses off polynomials adds an error of about {error:.1g} at most."
    return [line], ideas


def _barriers(steps: xr.Dataset) -> Part:
    loss = steps["loss"].values
    if loss.shape[1] < 3:
        return [], []
    signs, total = measures.barrier_signs(steps), len(loss)
    crossed = _crossed(int(analysis.barriers(loss).sum()), total)
    if np.isnan(signs).any():
        return [f"{crossed}; the trace does not tell what the images resolve."], []
    resolved, left_open = int((signs == 1).sum()), signs == 0
    line = f"{_crossed(resolved, total)} that the images resolve"
    if not left_open.any():
        return [f"{line}; they leave none open."], []
    seen = [f"{line}; in {left_open.sum():,} they leave it open."]
    bound = measures.resolvable_barriers(steps)[left_open]
    if np.isinf(bound).any() or _rounded(steps):
        # Of one batch the height says what to do, of rounding the format.
        return seen, []
    idea = (
        f"The images leave {left_open.sum():,} of {total:,} barriers open: use more evaluation "
        "images"
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        times = float(np.median((bound / np.abs(analysis.barrier_height(loss)[left_open])) ** 2))
    if np.isfinite(times):
        many = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
        idea += f", at least {many} times as many to decide half of them"
    return seen, [f"{idea}."]


def _crossed(count: int, total: int) -> str:
    if not count:
        return "No segment crosses a barrier"
    verb = "crosses" if count == 1 else "cross"
    return f"{count:,} of {_count(total, 'segment')} {verb} a barrier"


def _floor(steps: xr.Dataset) -> tuple[bool, Part]:
    """Whether the floor falls, by ranks since it may fall steeply at first, and the sentence."""
    floor = analysis.floor(steps["loss"].values)
    if len(floor) < 2:
        return False, ([], [])
    quarter = max(1, len(floor) // 4)
    first, last = floor[:quarter], floor[-quarter:]
    lower = float((np.sign(first[:, None] - last) + 1).mean() / 2)
    how = "falls" if lower >= CLEARLY else "rises" if lower <= 1 - CLEARLY else "stays"
    rises = analysis.floor_rises(steps["loss"].values)
    line = (
        f"The floor {how}: {_range(first)} at first, {_range(last)} at last; from one measured "
        f"segment to the next it rises in {rises.sum():,} of {_count(len(rises), 'case')}."
    )
    return how == "falls", ([line], [])


def _range(values: np.ndarray) -> str:
    """Mean and range."""
    mean = f"{values.mean():.3g}"
    return mean if len(values) == 1 else f"{mean} ({values.min():.3g} to {values.max():.3g})"


def _curvature(steps: xr.Dataset, valley: _Valley, *, floor_falls: bool) -> Part:
    """Gain, penalty and sharpness at the end, and whether the rate suits them."""
    along = measures.along_step(steps)
    seen, ideas = [], []
    parts = {name: along[name].values for name in ("gain", "curvature_penalty")}
    errors = {name: along[f"{name}_error"].values for name in parts}
    known = np.isfinite([*parts.values(), *errors.values()]).all(axis=0)
    if not known.any():
        return [], []
    gain, penalty = (
        _over_steps(parts[name][known], float(errors[name][known].mean())) for name in parts
    )
    seen.append(
        f"Gain of a step to first order {gain}, curvature penalty {penalty} over the steps."
    )
    limited, part = _sharpness(steps.isel(iteration=known), along.isel(iteration=known))
    seen += part[0]
    ideas += part[1]
    if limited:
        return seen, ideas
    if valley.bounces and not floor_falls and penalty.estimate > MOST * gain.estimate:
        ideas.append(
            "It bounces, the floor does not fall, and curvature takes most of the gain: if the "
            "loss is to fall further, try a smaller learning rate or larger batches."
        )
    if valley.slides and penalty.high < gain.low / 4:
        share = max(0.0, penalty.high / gain.low)
        ideas.append(
            f"It slides, and curvature takes at most {share:.0%} of the gain: a larger learning "
            "rate may go faster."
        )
    return seen, ideas


def _sharpness(steps: xr.Dataset, along: xr.Dataset) -> tuple[bool, Part]:
    """Whether sharpness limits the rate, and the sentences."""
    sharpness, error = along["sharpness"].values, along["sharpness_error"].values
    known = np.isfinite(sharpness) & np.isfinite(error)
    if not known.any():
        return False, ([], [])
    found = _over_steps(sharpness[known], float(error[known].mean()))
    line = f"Sharpness along the steps {found}"
    rate = steps["learning_rate"].values if "learning_rate" in steps else np.zeros(len(known))
    known &= np.isfinite(rate) & (rate > 0)
    if not known.any():
        return False, ([f"{line}."], [])
    sharpness, error, rate = sharpness[known], error[known], rate[known]
    ratio = _over_steps(sharpness * rate / 2, float((error * rate / 2).mean()))
    line += f", which is {ratio} times 2/η over the steps."
    # −p′(0) = η‖g‖² and ‖Δ‖ = η‖g‖ where the step is −η times the gradient of the measured loss.
    alike = along["gain"].values[known] * rate / steps["step_length"].values[known] ** 2
    if abs(np.median(alike) - 1) > ALIKE:
        line += " The steps are not gradient descent on the measured loss, so 2/η is no limit."
        return False, ([line], [])
    if _clear(ratio)[0] <= 1:
        return False, ([line], [])
    idea = f"Sharpness is above 2/η: try a smaller learning rate, below {2 / found.estimate:.2g}."
    return True, ([line], [idea])


def _few(steps: xr.Dataset) -> Part:
    count = steps.sizes["iteration"]
    if count >= SHORTEST_SERIES:
        return [], []
    tell = "tells" if count == 1 else "tell"
    return [], [
        f"{_count(count, 'segment')} {tell} too little for an interval over the steps: measure at "
        f"least {SHORTEST_SERIES}."
    ]


def _distance(trace: xr.Dataset) -> Part:
    distance = trace["distance"].values if "distance" in trace else np.zeros(0)
    distance = distance[np.isfinite(distance)]
    if not len(distance):
        return [], []
    line = f"It got {distance[-1]:.4g} away from its start"
    if "step_length" in trace:
        lengths = trace["step_length"].values
        if np.isfinite(lengths).all():
            line += f", on a path {lengths.sum():.4g} long"
    return [f"{line}."], []
