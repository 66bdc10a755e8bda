"""Numbers from traces: mean heights with their errors, barriers, what a step gained and lost.

All take a trace as `watch` or `walk` gives it, or some of its iterations.

Examples
--------
Three steps, each measured at α = 0, ½ and 1; the last one crosses a barrier:

>>> from valleywalk import analysis, measures
>>> from valleywalk.trace import assemble
>>> trace = assemble(
...     [
...         {"loss": [3.0, 1.0, 2.0]},
...         {"loss": [2.0, 0.5, 1.5], "cosine": -0.9},
...         {"loss": [1.5, 1.8, 1.0], "cosine": -0.5},
...     ],
...     alpha=[0, 0.5, 1],
... )
>>> analysis.height(trace["loss"])
array([1.5 , 1.25, 0.25])
>>> analysis.barriers(trace["loss"])
array([False, False,  True])
>>> measures.last_cosine(trace)
-0.7
>>> measures.along_step(trace)["floor_position"].values.round(2)
array([0.58, 0.55, 1.  ])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import Polynomial

from . import analysis, statistics
from .statistics import CONFIDENCE, Estimate

if TYPE_CHECKING:
    import xarray as xr

# A higher degree follows rounding, and the kinks of ReLU, rather than the loss.
HIGHEST_DEGREE = 8
# Coefficients below this share of the largest are rounding of float64.
ROUNDING = 1e-12
# Training loss below which images count as nearly fitted, and their curvature as going to zero.
NEARLY_FITTED = 0.1
# Measurements from which it can be told whether a walk hovers or passes: two in each half.
FEWEST_AT_THE_EDGE = 4


def losses(trace: xr.Dataset) -> np.ndarray:
    """Losses along the segment of each step; NaN where it was not measured.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    ndarray, shape (steps, points + 1)

    Raises
    ------
    ValueError
        No segment was measured at all.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> measures.losses(assemble([{"loss": [3.0, 1.0]}, {}], alpha=[0, 1]))
    array([[ 3.,  1.],
           [nan, nan]])
    """
    if "loss" not in trace:
        raise ValueError(
            "no segment was measured; choose `steps` that are taken, as in steps=10 for every tenth"
        )
    return trace["loss"].values


def measured_steps(trace: xr.Dataset) -> xr.Dataset:
    """Those iterations whose segment was measured.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        As of `losses`.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> trace = assemble([{"loss": [3.0, 1.0]}, {}, {"loss": [1.0, 0.5]}], alpha=[0, 1])
    >>> measures.measured_steps(trace)["iteration"].values
    array([0, 2])
    """
    return trace.isel(iteration=np.flatnonzero(analysis.measured(losses(trace))))


def whole_steps(trace: xr.Dataset) -> xr.Dataset:
    """Those iterations whose segment was measured at every point by plan (`whole_every`).

    A segment is also measured whole where few points find that they do not do, so that those
    measured whole by chance are no sample.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    xarray.Dataset
        All measured iterations of a trace without such a plan.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0], "whole": True}, {"loss": [1.0, 0.5]}]
    >>> measures.whole_steps(assemble(steps, alpha=[0, 1]))["iteration"].values
    array([0])
    """
    measured = measured_steps(trace)
    return measured.isel(iteration=measured["whole"].values) if "whole" in measured else measured


def measured_losses(trace: xr.Dataset) -> np.ndarray:
    """Losses of the measured segments.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    ndarray, shape (measured steps, points + 1)

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> measures.measured_losses(assemble([{"loss": [3.0, 1.0]}, {}], alpha=[0, 1]))
    array([[3., 1.]])
    """
    return losses(measured_steps(trace))


def window(trace: xr.Dataset, epoch: int = 1, iterations: int | None = None) -> xr.Dataset:
    """Measured steps from the start of an epoch on.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Counted from 1.
    iterations : int, optional
        At most so many; default all that were measured without a gap.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        The trace has no measured segment there, or does not know its epochs and a later one than
        the first is asked for.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> trace = assemble([{"loss": [3.0, 1.0]}, {"loss": [1.0, 0.5]}, {}], alpha=[0, 1])
    >>> measures.window(trace).sizes["iteration"]
    2
    """
    if epoch > 1 and "steps_in_epoch" not in trace.attrs:
        raise ValueError(
            f"the trace does not say how many steps an epoch has, so there is no epoch {epoch}; "
            "choose iterations by trace.isel(iteration=...), or set "
            'trace.attrs["steps_in_epoch"]'
        )
    start = (epoch - 1) * int(trace.attrs.get("steps_in_epoch", 0))
    known = analysis.measured(losses(trace))[start:]
    gaps = np.flatnonzero(~known)
    count = int(gaps[0]) if len(gaps) else len(known)
    if not count:
        measured = np.flatnonzero(analysis.measured(losses(trace)))
        where = f"iterations {measured[0]} to {measured[-1]}" if len(measured) else "none"
        raise ValueError(
            f"no segment was measured from epoch {epoch} (iteration {start}) on; measured: {where}"
        )
    return trace.isel(iteration=slice(start, start + min(count, iterations or count)))


def of_epoch(trace: xr.Dataset, epoch: int) -> xr.Dataset:
    """The iterations of an epoch.

    Parameters
    ----------
    trace : xarray.Dataset
        With the attribute `steps_in_epoch`, as `walk` gives it.
    epoch : int
        Counted from 1.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> trace = assemble([{"cosine": 0.1}] * 6, alpha=[0, 1], attributes={"steps_in_epoch": 3})
    >>> measures.of_epoch(trace, 2)["iteration"].values
    array([3, 4, 5])
    """
    steps = int(trace.attrs["steps_in_epoch"])
    return trace.isel(iteration=slice((epoch - 1) * steps, epoch * steps))


def drawn_steps(trace: xr.Dataset, epoch: int) -> xr.Dataset:
    """The steps of an epoch that were drawn at random to stand for all of it.

    Parameters
    ----------
    trace : xarray.Dataset
        With the attribute `steps_in_epoch`.
    epoch : int
        Counted from 1.

    Returns
    -------
    xarray.Dataset
        Without iterations if none were drawn.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"stretch": 0}, {}, {"stretch": 0}]
    >>> trace = assemble(steps, alpha=[0, 1], attributes={"steps_in_epoch": 3})
    >>> measures.drawn_steps(trace, 1)["iteration"].values
    array([0, 2])
    """
    steps = of_epoch(trace, epoch)
    drawn = ~np.isnan(steps["stretch"].values) if "stretch" in steps else []
    return steps.isel(iteration=np.flatnonzero(drawn))


def window_height(steps: xr.Dataset, interior: bool = False) -> Estimate:
    """Mean height above the floor of the measured steps, with the error that the images make.

    The batches are the same at every step, so that the error of the mean over steps is the spread
    over batches of each batch's mean over steps.

    Parameters
    ----------
    steps : xarray.Dataset
        A trace, or some of its iterations.
    interior : bool
        Only segments with a minimum inside. A segment that falls all the way has the "height"
        |ΔL| / 2, which is descent and no bouncing.

    Returns
    -------
    Estimate
        In the unit of the loss. NaN if no segment counts; its error is NaN in a trace without
        `batch_height`.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> trace = assemble(
    ...     [
    ...         {"loss": [3.0, 1.0, 2.0], "batch_height": [1.4, 1.6]},
    ...         {"loss": [2.0, 1.5, 1.2], "batch_height": [0.5, 0.3]},
    ...     ],
    ...     alpha=[0, 0.5, 1],
    ...     batch_images=[100, 100],
    ... )
    >>> measures.window_height(trace).value
    0.95
    >>> print(measures.window_height(trace, interior=True).interval(confidence=0.9))
    1.5 [0.869, 2.13]
    """
    steps = measured_steps(steps)
    counted = _counted(steps, interior)
    if not counted.any():
        return Estimate(np.nan, np.nan, np.nan)
    value = float(analysis.height(losses(steps))[counted].mean())
    images = _over_batches(steps, np.where(counted, 1 / counted.sum(), 0.0))
    return Estimate(value, images.error, images.freedom)


def epoch_height(trace: xr.Dataset, epoch: int, interior: bool = False) -> Estimate:
    """Mean height above the floor over all steps of an epoch.

    From the steps that were drawn in it, with the errors that the images and the drawing make;
    where none were drawn, from all steps, which then must have been measured.

    Parameters
    ----------
    trace : xarray.Dataset
        With the attribute `steps_in_epoch`.
    epoch : int
        Counted from 1.
    interior : bool
        Only segments with a minimum inside (see `window_height`).

    Returns
    -------
    Estimate
        In the unit of the loss.

    Raises
    ------
    ValueError
        Neither were steps drawn in the epoch nor all of them measured, or the walk ends within it.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0, 2.0]}, {"loss": [2.0, 0.5, 1.5]}, {"loss": [1.5, 1.8, 1.0]}]
    >>> trace = assemble(steps, alpha=[0, 0.5, 1], attributes={"steps_in_epoch": 3})
    >>> measures.epoch_height(trace, 1).value
    1.0
    """
    whole, total = of_epoch(trace, epoch), int(trace.attrs["steps_in_epoch"])
    if (there := whole.sizes["iteration"]) < total:
        raise ValueError(
            f"of the {total} steps of epoch {epoch} the walk has {there}, which do not stand for "
            "all of it; name an epoch that it went through"
        )
    steps = drawn_steps(trace, epoch)
    if not steps.sizes["iteration"]:
        if not analysis.measured(losses(whole)).all():
            raise ValueError(
                f"no steps were drawn in epoch {epoch}, and not all of it was measured; walk with "
                "sampled_iterations, or measure the whole epoch"
            )
        return window_height(whole, interior)
    stretch = steps["stretch"].values.astype(int)
    borders = analysis.stretches(total, len(stretch))
    counted = _counted(steps, interior)
    heights = analysis.height(losses(steps))
    by_steps = statistics.mean_of_drawn_steps(heights, stretch, borders, counted)
    weights = np.diff(borders)[stretch] * counted
    if not weights.any():
        return by_steps
    return statistics.together(
        by_steps.value, by_steps, _over_batches(steps, weights / weights.sum())
    )


def _counted(steps: xr.Dataset, interior: bool) -> np.ndarray:
    loss = losses(steps)
    return analysis.has_interior_minimum(loss) if interior else np.ones(len(loss), dtype=bool)


def _over_batches(steps: xr.Dataset, weights: np.ndarray) -> Estimate:
    """Weighted mean over steps of each batch's height, and then over the batches."""
    if "batch_height" not in steps:
        return Estimate(np.nan, np.nan, np.nan)
    counted = weights != 0  # What does not count may be infinite.
    by_batch = weights[counted] @ steps["batch_height"].values[counted].astype(float)
    images = steps["batch_images"].values
    return statistics.mean_over_batches(by_batch, images, _population(steps))


def _population(steps: xr.Dataset) -> float:
    """Images that those of the evaluation were drawn from; of a watch that is not known."""
    return float(steps.attrs.get("training_images", np.inf))


def barrier_signs(
    steps: xr.Dataset, definition: analysis.Definition = "both", confidence: float = CONFIDENCE
) -> np.ndarray:
    """Whether each measured step crosses a barrier, as far as the images can tell.

    A barrier is a sign: that of the highest interior loss minus an end's. It is resolved where
    that difference is further from zero than t times its standard error over the batches (with
    √(1 − n / N), see `statistics.mean_over_batches`).

    Parameters
    ----------
    steps : xarray.Dataset
        A trace, or some of its iterations.
    definition : {"both", "either"}
        See `analysis.barrier_height`.
    confidence : float

    Returns
    -------
    ndarray of float, shape (measured steps,)
        1: a barrier. −1: none. 0: unresolved. NaN in a trace without batch errors.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> whole = {"measured": [True] * 3, "loss_error": 0.0}
    >>> trace = assemble(
    ...     [
    ...         {"loss": [3.0, 1.0, 2.0], "barrier_error": 0.01, **whole},
    ...         {"loss": [2.0, 2.1, 1.5], "barrier_error": 0.01, **whole},
    ...         {"loss": [2.0, 2.1, 1.5], "barrier_error": 0.20, **whole},
    ...     ],
    ...     alpha=[0, 0.5, 1],
    ...     batch_images=[100] * 10,
    ... )
    >>> measures.barrier_signs(trace)
    array([-1.,  1.,  0.])
    """
    steps = measured_steps(steps)
    height = analysis.barrier_height(losses(steps), definition)
    bound = resolvable_barriers(steps, definition, confidence)
    return np.where(np.isnan(bound), np.nan, np.where(np.abs(height) > bound, np.sign(height), 0.0))


def resolvable_barriers(
    steps: xr.Dataset, definition: analysis.Definition = "both", confidence: float = CONFIDENCE
) -> np.ndarray:
    """How high a barrier must be at each measured step for the images to resolve it.

    Parameters
    ----------
    steps, definition, confidence
        As of `barrier_signs`.

    Returns
    -------
    ndarray, shape (measured steps,)
        In the unit of the loss: t times the standard error over the batches, and the curve's own
        error where the highest loss was not measured. NaN in a trace without batch errors, and
        infinite where there is a single batch.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> step = {"loss": [3, 1, 2], "barrier_error": 0.1, "measured": [True] * 3, "loss_error": 0.0}
    >>> trace = assemble([step], alpha=[0, 0.5, 1], batch_images=[100] * 10)
    >>> measures.resolvable_barriers(trace).round(3)
    array([0.226])
    """
    steps = measured_steps(steps)
    loss = losses(steps)
    name = "barrier_error" if definition == "both" else "barrier_error_either"
    if name not in steps:
        return np.full(len(loss), np.nan)
    images = steps["batch_images"].values
    if len(images) < 2:
        return np.full(len(loss), np.inf)
    correction = statistics.finite_population(images.sum(), _population(steps))
    bound = steps[name].values * correction * _student(len(images) - 1, confidence)
    # What a curve is off where it was not measured could turn a sign as well.
    highest = 1 + np.argmax(loss[:, 1:-1], axis=1)
    known = steps["measured"].values[np.arange(len(highest)), highest]
    return bound + np.where(known, 0.0, steps["loss_error"].values)


def _student(freedom: int, confidence: float) -> float:
    """How many standard errors the interval of an estimate reaches to either side."""
    return Estimate(0.0, 1.0, freedom).interval(confidence).high


def convexity_signs(steps: xr.Dataset, confidence: float = CONFIDENCE) -> np.ndarray:
    """Whether each measured segment is convex, as far as the images can tell.

    Judged by the second divided differences of the points that were measured
    (`analysis.second_differences`), each with its own standard error over the batches, in that
    very step. The loss's level moves far more from batch to batch than its bends do, and is no
    measure of them. Convex: *every* second difference is more than t standard errors above zero.
    Not convex: *some* one is more than t below, with t for as many tests as there are differences
    (Bonferroni). A piece that is nearly straight leaves its segment open.

    No error is taken off for having measured on many of all images (√(1 − n / N)): how the images
    fall into batches, and rounding, stay.

    Parameters
    ----------
    steps : xarray.Dataset
        A trace, or some of its iterations.
    confidence : float

    Returns
    -------
    ndarray of float, shape (measured steps,)
        1: convex. −1: not convex. 0: left open. Where few points of a segment were measured, that
        is said of these alone. NaN in a trace without `second_difference_error`.

    Examples
    --------
    A parabola, one upside down, and one that bends less than the images can tell:

    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> error = [float("nan"), 2.0, float("nan")]
    >>> steps = [
    ...     {"loss": loss, "second_difference_error": error}
    ...     for loss in ([3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 0.9, 1.0])
    ... ]
    >>> trace = assemble(steps, alpha=[0, 0.5, 1], batch_images=[100] * 10)
    >>> measures.convexity_signs(trace)
    array([ 1., -1.,  0.])
    """
    steps = measured_steps(steps)
    loss, alpha = losses(steps), steps["alpha"].values
    if "second_difference_error" not in steps:
        return np.full(len(loss), np.nan)
    known = _measured_points(steps)
    errors = steps["second_difference_error"].values.astype(float)
    freedom = steps.sizes["batch"] - 1
    if freedom < 1:
        return np.zeros(len(loss))
    signs = []
    for row, seen, error in zip(loss, known, errors, strict=True):
        bends = analysis.second_differences(row[seen], alpha[seen])
        error = error[seen][1:-1]
        of_one = 1 - (1 - confidence) / max(1, len(bends))
        if (bends < -_student(freedom, of_one) * error).any():
            signs.append(-1.0)
        else:
            all_up = bends > _student(freedom, confidence) * error
            signs.append(float(len(bends) > 0 and all_up.all()))
    return np.array(signs)


def _measured_points(steps: xr.Dataset) -> np.ndarray:
    """Which losses were measured and not read off; an older trace does not say, and has all."""
    if "measured" in steps:
        return steps["measured"].values
    return np.ones(steps["loss"].shape, dtype=bool)


def along_step(trace: xr.Dataset) -> xr.Dataset:
    """What the curve of each measured segment tells about its step, for nothing.

    With p the polynomial through what was measured of the segment, Δ = θ_{t+1} − θ_t:

    - `floor_position` α*, where p is smallest on [0, 1];
    - `gain` −p′(0), the decrease that the gradient promises, to first order;
    - `curvature_penalty` ½ p″(0), what curvature takes off it;
    - `sharpness` p″(0) / ‖Δ‖², the Hessian's Rayleigh quotient along the step at θ_t. For gradient
      descent on a parabola it is 1 / (η α*), and the step does not diverge where it is below 2 / η
      (critical sharpness, arXiv 2601.16979); under SGD it is the sharpness of the loss that is
      measured, not of the batch, and 2 / η no limit for it.

    The tolerance of the curve bounds none of these. Each has an error of its own (`…_error`). Of
    the least-squares polynomials of degree 2 and more the one counts whose value differs least from
    those of lower degrees; the error is the largest difference from one degree below and one above.
    It holds no error of the images. A network of ReLUs has kinks along a step, which bend the
    measured curve and which no Hessian sees: there the curve's sharpness is that of the finite
    step, and a Hessian-vector product may differ from it by much (see the book's page on speed).

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    xarray.Dataset
        The four variables and their errors along the measured iterations. `floor_position` has no
        unit, `gain` and `curvature_penalty` have that of the loss, `sharpness` that of the loss
        over that of θ². Sharpness is NaN in a trace without `step_length`; all are NaN where a
        segment has two points.

    Examples
    --------
    The loss (1 − 2α)² of a step of length 1:

    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> loss = [1.0, 0.25, 0.0, 0.25, 1.0]
    >>> trace = assemble([{"loss": loss, "step_length": 1.0}], alpha=[0, 0.25, 0.5, 0.75, 1])
    >>> found = measures.along_step(trace)
    >>> [round(float(found[name][0]), 3) for name in ("floor_position", "gain", "sharpness")]
    [0.5, 4.0, 8.0]
    """
    import xarray as xr

    steps = measured_steps(trace)
    loss, alpha = losses(steps), steps["alpha"].values
    known = _measured_points(steps)
    rows = [_of_curve(alpha[seen], row[seen]) for row, seen in zip(loss, known, strict=True)]
    table = np.array(rows).reshape(-1, 3, 2)
    length = steps["step_length"].values if "step_length" in steps else np.full(len(loss), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = 2 * table[:, 2] / length[:, None] ** 2
    columns = {
        "floor_position": (table[:, 0], "1", "position of the floor on the segment"),
        "gain": (table[:, 1], "nat", "first-order gain of the step"),
        "curvature_penalty": (table[:, 2], "nat", "curvature penalty of the step"),
        "sharpness": (sharpness, "nat", "curvature along the step"),
    }
    found = {}
    for name, (values, units, long_name) in columns.items():
        for column, ending, prefix in ((0, "", ""), (1, "_error", "error of the ")):
            attributes = {"units": units, "long_name": prefix + long_name}
            found[name + ending] = ("iteration", values[:, column], attributes)
    return xr.Dataset(found, coords={"iteration": steps["iteration"]}, attrs=trace.attrs)


def _of_curve(alpha: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Position of the floor, gain and curvature penalty, each with its error: shape (3, 2)."""
    if not np.isfinite(loss).all():
        return np.full((3, 2), np.nan)
    degrees = range(min(1, len(alpha) - 1), min(len(alpha) - 1, HIGHEST_DEGREE) + 1)
    by_degree = np.array([_of_degree(alpha, loss, degree) for degree in degrees])
    if len(by_degree) < 2:
        return np.full((3, 2), np.nan)
    moves = np.abs(np.diff(by_degree, axis=0))
    # By chance two degrees can agree, three less often.
    moves[1:] += analysis.EARLIER_MOVE * moves[:-1]
    found = []
    for column, values in enumerate(by_degree.T):
        best = 1 + int(np.argmin(moves[:, column]))
        neighbours = values[best - 1 : best + 2]
        error = max(moves[best - 1, column], np.abs(neighbours - values[best]).max())
        found.append((values[best], error))
    return np.array(found)


def _of_degree(alpha: np.ndarray, loss: np.ndarray, degree: int) -> tuple[float, float, float]:
    polynomial = Polynomial.fit(alpha, loss, degree, domain=[0, 1])
    slope = polynomial.deriv()
    # A leading coefficient that is rounding alone makes a root far away, and spoils the others.
    roots = slope.trim(ROUNDING * np.abs(slope.coef).max()).roots() if degree > 1 else np.zeros(0)
    inside = roots[np.isreal(roots) & (roots.real > 0) & (roots.real < 1)].real
    places = np.concatenate([[0.0, 1.0], inside])
    return (
        float(places[np.argmin(polynomial(places))]),
        float(-slope(0.0)),
        float(slope.deriv()(0.0) / 2),
    )


def counted_steps(trace: xr.Dataset, epoch: int, iterations: int | None = None) -> xr.Dataset:
    """The steps that stand for an epoch in the tables: those drawn in it, or a window's.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Counted from 1.
    iterations : int, optional
        Length of the window at its start where no steps were drawn; default the epoch.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        As of `window`.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0, 2.0]}, {"loss": [2.0, 0.5, 1.5]}, {"loss": [1.5, 1.8, 1.0]}]
    >>> trace = assemble(steps, alpha=[0, 0.5, 1], attributes={"steps_in_epoch": 3})
    >>> measures.counted_steps(trace, epoch=1, iterations=2).sizes["iteration"]
    2
    """
    drawn = drawn_steps(trace, epoch)
    if drawn.sizes["iteration"]:
        return drawn
    return window(trace, epoch, iterations or int(trace.attrs["steps_in_epoch"]))


def count_steps(trace: xr.Dataset, epoch: int, iterations: int | None) -> dict[str, Any]:
    """Barriers and height of an epoch: of the steps drawn in it, or of the window at its start.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Counted from 1.
    iterations : int or None
        Length of the window where no steps were drawn; None: the epoch.

    Returns
    -------
    dict
        steps, drawn
            How many, and whether they were drawn.
        crossed
            Of each step, whether it crosses a barrier that is higher than both ends.
        both, either
            Barriers by each definition.
        resolved, unresolved
            Barriers of "both" that the images resolve, and steps that they leave open (see
            `barrier_signs`); None where that was not measured.
        resolvable
            How high a barrier must be to be resolved, median over the steps; NaN where that was
            not measured, and where a single batch tells nothing of it.
        convex, not convex, convexity open
            Segments of each kind (see `convexity_signs`); None where that was not measured.
        largest, largest share
            Height of the largest barrier, and its share of the loss there.
        heights, height, height inside
            One a step; their mean, an `Estimate`; that over segments with an interior minimum.
        images error
            Standard error over the images of the mean of `heights`.
        loss
            Mean.

    Raises
    ------
    ValueError
        As of `window`.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0, 2.0]}, {"loss": [2.0, 0.5, 1.5]}, {"loss": [1.5, 1.8, 1.0]}]
    >>> trace = assemble(steps, alpha=[0, 0.5, 1], attributes={"steps_in_epoch": 3})
    >>> found = measures.count_steps(trace, epoch=1, iterations=None)
    >>> found["steps"], found["both"], round(found["largest"], 2), found["height"].value
    (3, 1, 0.3, 1.0)
    """
    steps = counted_steps(trace, epoch, iterations)
    drawn = bool(drawn_steps(trace, epoch).sizes["iteration"])
    if drawn:
        height = epoch_height(trace, epoch)
        inside = epoch_height(trace, epoch, interior=True)
    else:
        height = window_height(steps)
        inside = window_height(steps, interior=True)
    loss = losses(steps)
    signs = barrier_signs(steps)
    known = not np.isnan(signs).any()
    bends = convexity_signs(steps)
    bends_known = not np.isnan(bends).any()
    barrier, crossed = analysis.barrier_height(loss), analysis.barriers(loss)
    largest = int(np.argmax(barrier))
    resolvable = float(np.median(resolvable_barriers(steps)))
    return {
        "epoch": epoch,
        "steps": len(loss),
        "drawn": drawn,
        "crossed": crossed,
        "both": int(crossed.sum()),
        "either": int(analysis.barriers(loss, "either").sum()),
        "resolved": int((signs == 1).sum()) if known else None,
        "unresolved": int((signs == 0).sum()) if known else None,
        "resolvable": resolvable if np.isfinite(resolvable) else np.nan,
        **{
            name: int((bends == sign).sum()) if bends_known else None
            for name, sign in (("convex", 1), ("not convex", -1), ("convexity open", 0))
        },
        "largest": max(0.0, float(barrier[largest])),
        "largest share": max(0.0, float(barrier[largest] / loss[largest].max())),
        "heights": analysis.height(loss),
        "height": height,
        "height inside": inside,
        "images error": window_height(steps).error,
        "loss": float(loss.mean()),
    }


def walk_numbers(window: xr.Dataset) -> dict[str, float | int | None]:
    """What the measured steps of a window tell, by name (see the tables of the walks' figures).

    Parameters
    ----------
    window : xarray.Dataset
        As of `window`, with `loss`, `cosine` and `distance`.

    Returns
    -------
    dict of str → float, int or None
        distance
            From the start of the walk to the end of the last step.
        first_negative
            Iteration from which the cosine stays negative; None if it does not.
        last_cosines
            Mean of the last ten cosines.
        interior_minimum
            Share of the segments with a minimum inside.
        height, height_inside
            Mean height, and that over segments with a minimum inside; None if there are none.
        sharpness
            Mean of the last ten steps' (see `along_step`); None if it was not measured.
        barriers, barriers_either
            Number of barriers by each definition.
        floor_rises
            Number of steps in which the floor rises.

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> trace = assemble(
    ...     [
    ...         {"loss": [3.0, 1.0, 2.0], "distance": 1.0},
    ...         {"loss": [2.0, 0.5, 1.5], "distance": 1.2, "cosine": -0.9},
    ...         {"loss": [1.5, 1.8, 1.0], "distance": 1.1, "cosine": -0.5},
    ...     ],
    ...     alpha=[0, 0.5, 1],
    ... )
    >>> found = measures.walk_numbers(measures.window(trace))
    >>> found["first_negative"], found["barriers"], found["floor_rises"], found["height"]
    (1, 1, 1, 1.0)
    """
    loss = losses(window)
    cosine = window["cosine"].values[1 if np.isnan(window["cosine"].values[0]) else 0 :]
    skipped = len(loss) - len(cosine)
    negative = analysis.first_negative(cosine)
    inside = window_height(window, interior=True).value
    sharpness = float(along_step(window.isel(iteration=slice(-10, None)))["sharpness"].mean())
    return {
        "distance": float(window["distance"][-1]),
        "first_negative": None
        if negative is None
        else int(window["iteration"][0]) + skipped + negative,
        "last_cosines": float(cosine[-10:].mean(dtype=np.float64)) if len(cosine) else None,
        "interior_minimum": float(analysis.has_interior_minimum(loss).mean()),
        "height": window_height(window).value,
        "height_inside": None if np.isnan(inside) else inside,
        "sharpness": None if np.isnan(sharpness) else sharpness,
        "barriers": int(analysis.barriers(loss).sum()),
        "barriers_either": int(analysis.barriers(loss, "either").sum()),
        "floor_rises": int(analysis.floor_rises(loss).sum()),
    }


def floor_rises(trace: xr.Dataset) -> float:
    """Share of the measured steps in which the valley floor rises.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    float

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0, 2.0]}, {"loss": [2.0, 0.5, 1.5]}, {"loss": [1.5, 1.8, 1.0]}]
    >>> measures.floor_rises(assemble(steps, alpha=[0, 0.5, 1]))
    0.5
    """
    return float(analysis.floor_rises(measured_losses(trace)).mean())


def last_cosine(trace: xr.Dataset) -> float:
    """Mean cosine of the last ten steps whose segment was measured.

    An epoch may go on after those.

    Parameters
    ----------
    trace : xarray.Dataset

    Returns
    -------
    float

    Examples
    --------
    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> steps = [{"loss": [3.0, 1.0], "cosine": -0.9}, {"loss": [1.0, 2.0], "cosine": -0.5}, {}]
    >>> measures.last_cosine(assemble(steps, alpha=[0, 1]))
    -0.7
    """
    return float(measured_steps(trace)["cosine"][-10:].mean(dtype=np.float64))


@dataclass(frozen=True)
class Hovering:
    """How the spectral norm lies to 2/η once it has come there (see `hovering`).

    Attributes
    ----------
    level, spread : float
        Mean and standard deviation of λ_max η / 2 over the stretch; 1 is the edge of stability.
        NaN without a crossing, the spread also for a single measurement.
    farthest : float
        Of the means of the stretch's two halves, the one farther from 1 in ratio; NaN for fewer
        than four measurements.
    measurements : int
        How many the stretch has; 0 without a crossing.
    highest : float
        Largest λ_max η / 2 before the images are nearly fitted; NaN if none was measured.
    fits : bool
        Whether it is looked at until the images are nearly fitted, or to the end of the walk.
    from_above : bool
        Whether the stretch begins with the walk, above 2/η, since it never comes up to it.

    Examples
    --------
    >>> from valleywalk.measures import Hovering
    >>> Hovering(level=1.02, spread=0.1, farthest=1.05, measurements=6, highest=1.2).level
    1.02
    """

    level: float
    spread: float
    farthest: float
    measurements: int
    highest: float
    fits: bool = False
    from_above: bool = False


def hovering(trace: xr.Dataset, fitted: float = NEARLY_FITTED) -> Hovering:
    """Whether the spectral norm stays at 2/η under gradient descent, or only passes it.

    Looked at from the first crossing of 2/η until the training loss is below `fitted`: then the
    curvature of cross-entropy goes to zero wherever the walk stands. The crossing is the first
    measurement at 2/η or above after one below it; of a walk that begins above and never comes up
    to it again, the first measurement, so that a walk which falls through 2/η has a stretch, with
    halves that differ.

    Parameters
    ----------
    trace : xarray.Dataset
        Of full-batch gradient descent, with `hessian_max`, `learning_rate` and `minibatch_loss`,
        which is the training loss before each step. Without the last no image counts as fitted.
    fitted : float
        In the unit of the loss.

    Returns
    -------
    Hovering

    References
    ----------
    Cohen et al. 2021, Section 3.

    Examples
    --------
    2/η is 20:

    >>> from valleywalk import measures
    >>> from valleywalk.trace import assemble
    >>> norms = [5.0, 18.0, 22.0, 20.0, 19.0, 21.0, 4.0]
    >>> epochs = {1 + i: {"hessian_max": norm} for i, norm in enumerate(norms)}
    >>> losses = [2.3, 2.2, 2.0, 1.5, 1.0, 0.5, 0.2, 0.05]
    >>> steps = [{"learning_rate": 0.1, "minibatch_loss": loss} for loss in losses]
    >>> trace = assemble(steps, alpha=[0, 1], epochs=epochs, epoch_count=8)
    >>> found = measures.hovering(trace)
    >>> round(found.level, 3), round(found.farthest, 3), found.measurements
    (1.025, 1.05, 4)
    """
    known = trace["hessian_max"].dropna("epoch")
    # Where the walk stands after an epoch is where its next step begins.
    after = known["epoch"].values * int(trace.attrs.get("steps_in_epoch", 1))
    last = trace.sizes["iteration"] - 1
    share = known.values * trace["learning_rate"].values[np.minimum(after, last + 1) - 1] / 2
    fits = False
    if "minibatch_loss" in trace:
        fit = np.flatnonzero(trace["minibatch_loss"].values[np.minimum(after, last)] < fitted)
        fits = bool(len(fit))
        share = share[: fit[0] if fits else None]
    highest = float(share.max()) if len(share) else np.nan
    over = share >= 1
    upward = 1 + np.flatnonzero(over[1:] & ~over[:-1])
    first = upward[:1] if len(upward) else np.flatnonzero(over)[:1]
    if not len(first):
        return Hovering(np.nan, np.nan, np.nan, 0, highest, fits=fits)
    stretch = share[first[0] :]
    spread = float(stretch.std(ddof=1)) if len(stretch) > 1 else np.nan
    farthest = np.nan
    if len(stretch) >= FEWEST_AT_THE_EDGE:
        halves = [float(half.mean()) for half in np.array_split(stretch, 2)]
        farthest = max(halves, key=lambda mean: abs(np.log(mean)))
    from_above = not len(upward)
    return Hovering(
        float(stretch.mean()), spread, farthest, len(stretch), highest, fits, from_above
    )
