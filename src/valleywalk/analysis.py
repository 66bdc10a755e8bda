"""Floors, heights, barriers: arrays in, arrays out (paper, Section 3 and Tables 1 and 2).

A segment is a row of losses L(θ^α) at α from 0 to 1. Segments that were not measured are rows of
NaN: they give NaN, and are no barrier.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Definition = Literal["both", "either"]


def _segments(loss: ArrayLike) -> np.ndarray:
    values = np.asarray(loss, dtype=float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"loss has shape {values.shape}; expected (iterations, points + 1) with at least 2 "
            "losses a segment"
        )
    return values


def measured(loss: ArrayLike) -> np.ndarray:
    """Which segments were measured, shape (iterations,) of bool."""
    return ~np.isnan(_segments(loss)).any(axis=1)


def floor(loss: ArrayLike) -> np.ndarray:
    """Loss of the valley floor, the smallest on each segment, shape (iterations,)."""
    return np.min(_segments(loss), axis=1)


def floor_alpha(loss: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """α of the valley floor, NaN where the segment was not measured, shape (iterations,)."""
    values = _segments(loss)
    known = measured(values)
    found = np.asarray(alpha, dtype=float)[np.argmin(np.where(known[:, None], values, 0.0), axis=1)]
    return np.where(known, found, np.nan)


def height(loss: ArrayLike) -> np.ndarray:
    """Height above the floor, (L(θ_t) + L(θ_{t+1}) − 2 L(θ_t^min)) / 2, shape (iterations,).

    Paper, Section 3.2 and Table 2.
    """
    values = _segments(loss)
    return (values[:, 0] + values[:, -1]) / 2 - floor(values)


def has_interior_minimum(loss: ArrayLike) -> np.ndarray:
    """Whether some interior point lies below both end points, shape (iterations,) of bool."""
    values = _segments(loss)
    if values.shape[1] < 3:
        return np.zeros(len(values), dtype=bool)
    interior = np.where(measured(values)[:, None], values, 0.0)[:, 1:-1].min(axis=1)
    ends = np.minimum(values[:, 0], values[:, -1])
    return measured(values) & (interior < ends)


def is_convex(loss: ArrayLike, tolerance: float = 0.0) -> np.ndarray:
    """Whether all second differences of a segment are at least −tolerance, (iterations,) of bool.

    `tolerance` is a loss, for instance the measured noise of the evaluation.
    """
    values = _segments(loss)
    return measured(values) & (np.diff(values, n=2, axis=1) >= -tolerance).all(axis=1)


def barrier_height(loss: ArrayLike, definition: Definition = "both") -> np.ndarray:
    """Largest interior loss minus an end point's, shape (iterations,); a barrier where positive.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    definition : {"both", "either"}
        "both": higher than both end points, so minus the higher one (paper, footnote 1; the
        default). "either": higher than one of them, so minus the lower one (captions of Table 1
        and Figure 8).
    """
    values = _segments(loss)
    if values.shape[1] < 3:
        raise ValueError("a segment of 2 losses has no interior point; measure with points >= 2")
    if definition not in ("both", "either"):
        raise ValueError(f"definition is {definition!r}; allowed are 'both' and 'either'")
    end = np.maximum if definition == "both" else np.minimum
    return values[:, 1:-1].max(axis=1) - end(values[:, 0], values[:, -1])


def barriers(
    loss: ArrayLike, definition: Definition = "both", threshold: float = 0.0
) -> np.ndarray:
    """Whether each segment crosses a barrier higher than `threshold`, shape (iterations,) of bool.

    `threshold` is a loss, for instance the measured noise of the evaluation.
    """
    return barrier_height(loss, definition) > threshold


def first_negative(cosine: ArrayLike) -> int | None:
    """First iteration from which the cosine stays negative to the end; None if it never does."""
    values = np.asarray(cosine, dtype=float)
    not_negative = np.flatnonzero(~(values < 0))
    start = int(not_negative[-1]) + 1 if len(not_negative) else 0
    return start if start < len(values) else None


def standard_error_over_batches(values: ArrayLike, images: ArrayLike) -> float:
    """Standard error of the mean over all images of what was measured batch by batch.

    √(B / (B − 1) · Σ w_b² (v_b − v̄)²) with w_b a batch's share of the images and v̄ = Σ w_b v_b.
    Batch norm in train mode makes batches of one plan independent draws. NaN for a single batch.

    Parameters
    ----------
    values : array_like, shape (batches,)
    images : array_like of int, shape (batches,)
    """
    seen, weights = np.asarray(values, dtype=float), np.asarray(images, dtype=float)
    if len(seen) < 2:
        return np.nan
    weights = weights / weights.sum()
    squares = (weights * (seen - weights @ seen)) ** 2
    return float(np.sqrt(len(seen) / (len(seen) - 1) * squares.sum()))


def stretches(steps: int, count: int) -> np.ndarray:
    """Borders of the stretches from each of which two of `count` steps are drawn.

    Parameters
    ----------
    steps : int
        Steps of the epoch.
    count : int
        Steps to draw, an even number.

    Returns
    -------
    ndarray of int, shape (count / 2 + 1,)
        Stretch i holds the steps from border i up to, and without, border i + 1. They differ by
        one step in length at most.

    Raises
    ------
    ValueError
        An odd count or less than 2, or a stretch would have fewer than two steps.
    """
    if count < 2 or count % 2 or count > steps:
        raise ValueError(
            f"{count} of {steps} steps cannot be drawn, two from each of equal stretches; give an "
            "even number from 2 up to the number of steps"
        )
    return np.linspace(0, steps, count // 2 + 1).round().astype(int)


def draw_steps(steps: int, count: int, seed: np.random.SeedSequence) -> dict[int, int]:
    """Draw two steps at random from each of equal stretches of an epoch.

    Parameters
    ----------
    steps, count : int
        As of `stretches`.
    seed : numpy.random.SeedSequence

    Returns
    -------
    dict of int → int
        Each step that is drawn, counted from the epoch's start, and its stretch.
    """
    random, borders = np.random.Generator(np.random.PCG64(seed)), stretches(steps, count)
    return {
        int(step): stretch
        for stretch, (begin, end) in enumerate(pairwise(borders))
        for step in np.sort(random.choice(np.arange(begin, end), 2, replace=False))
    }
