"""Floors, heights, barriers: arrays in, arrays out (paper, Section 3 and Tables 1 and 2).

A segment is a row of losses L(θ^α) at α from 0 to 1. Segments that were not measured are rows of
NaN: they give NaN, and are no barrier. All functions of `loss` raise `ValueError` for an array
that is not of shape (iterations, points + 1), with points at least 1.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Definition = Literal["both", "either"]

# Share of the polynomial's move before that is added to its newest one: together they bounded the
# largest error of the curve in 93 % of the recorded segments that were measured on all points.
EARLIER_MOVE = 0.25

# Of the sharpest and of the noise's strongest directions that are compared.
DIRECTIONS = 3


def _segments(loss: ArrayLike) -> np.ndarray:
    values = np.asarray(loss, dtype=float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"loss has shape {values.shape}; expected (iterations, points + 1) with at least 2 "
            "losses a segment"
        )
    return values


def measured(loss: ArrayLike) -> np.ndarray:
    """Which segments were measured.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)

    Returns
    -------
    ndarray of bool, shape (iterations,)

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.analysis import measured
    >>> measured([[3.0, 1.0, 2.0], [np.nan, np.nan, np.nan]])
    array([ True, False])
    """
    return ~np.isnan(_segments(loss)).any(axis=1)


def floor(loss: ArrayLike) -> np.ndarray:
    """Loss of the valley floor, L(θ_t^min): the smallest on each segment (paper, Section 3).

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)

    Returns
    -------
    ndarray, shape (iterations,)

    Examples
    --------
    >>> from valleywalk.analysis import floor
    >>> floor([[3.0, 1.0, 2.0], [2.0, 1.5, 1.2]])
    array([1. , 1.2])
    """
    return np.min(_segments(loss), axis=1)


def floor_rises(loss: np.ndarray) -> np.ndarray:
    """Whether the valley floor is higher than in the segment before.

    Parameters
    ----------
    loss : ndarray, shape (segments, points + 1)
        Segments that follow each other.

    Returns
    -------
    ndarray of bool, shape (segments − 1,)
        Of each segment but the first.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.analysis import floor_rises
    >>> floor_rises(np.array([[3.0, 1.0, 2.0], [2.0, 0.5, 1.5], [1.5, 1.8, 1.0]]))
    array([False,  True])
    """
    return np.diff(floor(loss)) > 0


def floor_alpha(loss: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """α of the valley floor; NaN where the segment was not measured.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    alpha : array_like, shape (points + 1,)

    Returns
    -------
    ndarray, shape (iterations,)
        Of several equal minima, the first.

    Examples
    --------
    >>> from valleywalk.analysis import floor_alpha
    >>> floor_alpha([[3.0, 1.0, 2.0], [2.0, 1.5, 1.2]], alpha=[0, 0.5, 1])
    array([0.5, 1. ])
    """
    values = _segments(loss)
    known = measured(values)
    found = np.asarray(alpha, dtype=float)[np.argmin(np.where(known[:, None], values, 0.0), axis=1)]
    return np.where(known, found, np.nan)


def height(loss: ArrayLike) -> np.ndarray:
    """Height above the floor, (L(θ_t) + L(θ_{t+1}) − 2 L(θ_t^min)) / 2.

    A segment that falls all the way has half of its fall for height, which is no bouncing.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)

    Returns
    -------
    ndarray, shape (iterations,)
        In the unit of the loss.

    References
    ----------
    Paper, Section 3.2 and Table 2.

    Examples
    --------
    >>> from valleywalk.analysis import height
    >>> height([[3.0, 1.0, 2.0], [2.0, 1.5, 1.2]])
    array([1.5, 0.4])
    """
    values = _segments(loss)
    return (values[:, 0] + values[:, -1]) / 2 - floor(values)


def above_chord(loss: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Losses of a segment minus the straight line between those of its ends.

    L(θ^α) − ((1 − α) L(θ^0) + α L(θ^1)): below 0 where the segment sags, as a convex one does, and
    above 0 at a barrier. How far the walk descends on the segment does not show in it.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    alpha : array_like, shape (points + 1,)
        From 0 to 1.

    Returns
    -------
    ndarray, shape (iterations, points + 1)
        In the unit of the loss; 0 at both ends.

    Examples
    --------
    >>> from valleywalk.analysis import above_chord
    >>> above_chord([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0]], alpha=[0, 0.5, 1])
    array([[ 0. , -1.5,  0. ],
           [ 0. ,  0.5,  0. ]])
    """
    values, places = _segments(loss), np.asarray(alpha, dtype=float)
    return values - values[:, :1] - places * (values[:, -1:] - values[:, :1])


def has_interior_minimum(loss: ArrayLike) -> np.ndarray:
    """Whether some interior point lies below both ends.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)

    Returns
    -------
    ndarray of bool, shape (iterations,)

    Examples
    --------
    >>> from valleywalk.analysis import has_interior_minimum
    >>> has_interior_minimum([[3.0, 1.0, 2.0], [2.0, 1.5, 1.2]])
    array([ True, False])
    """
    values = _segments(loss)
    if values.shape[1] < 3:
        return np.zeros(len(values), dtype=bool)
    interior = np.where(measured(values)[:, None], values, 0.0)[:, 1:-1].min(axis=1)
    ends = np.minimum(values[:, 0], values[:, -1])
    return measured(values) & (interior < ends)


def is_convex(loss: ArrayLike, tolerance: float = 0.0) -> np.ndarray:
    """Whether all second differences of a segment are at least −tolerance.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    tolerance : float
        In the unit of the loss: the noise of second differences, which is far less than that of
        the loss (see `measures.convexity_signs`).

    Returns
    -------
    ndarray of bool, shape (iterations,)

    Examples
    --------
    >>> from valleywalk.analysis import is_convex
    >>> is_convex([[3.0, 1.0, 2.0], [2.0, 2.5, 1.0]])
    array([ True, False])
    """
    values = _segments(loss)
    return measured(values) & (np.diff(values, n=2, axis=1) >= -tolerance).all(axis=1)


def second_differences(loss: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Second divided differences of a curve, 2 [L_{i−1}, L_i, L_{i+1}], at its interior points.

    Over three points at any distance, 2 (s_right − s_left) / (α_{i+1} − α_{i−1}) with s the slopes
    on either side: L″ of the parabola through them. All are at least 0 where the points lie on a
    convex curve.

    Parameters
    ----------
    loss : array_like, shape (…, points + 1)
    alpha : array_like, shape (points + 1,)
        Increasing.

    Returns
    -------
    ndarray, shape (…, points − 1)
        In the unit of the loss.

    Examples
    --------
    >>> from valleywalk.analysis import second_differences
    >>> second_differences([[4.0, 1.0, 4.0], [4.0, 3.5, 1.0]], alpha=[0, 0.5, 1])
    array([[24.],
           [-8.]])
    >>> second_differences([1.0, 0.25, 0.0, 1.0], alpha=[-1, -0.5, 0, 1])
    array([2., 2.])
    """
    places = np.asarray(alpha, dtype=float)
    slopes = np.diff(np.asarray(loss, dtype=float), axis=-1) / np.diff(places)
    return 2 * np.diff(slopes, axis=-1) / (places[2:] - places[:-2])


def barrier_height(loss: ArrayLike, definition: Definition = "both") -> np.ndarray:
    """Largest interior loss minus an end's; a barrier where it is positive.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    definition : {"both", "either"}
        "both": higher than both ends, so minus the higher one (paper, footnote 1). "either": higher
        than one of them, so minus the lower one (captions of Table 1 and Figure 8).

    Returns
    -------
    ndarray, shape (iterations,)
        In the unit of the loss.

    Raises
    ------
    ValueError
        Segments without an interior point; another definition.

    Examples
    --------
    >>> from valleywalk.analysis import barrier_height
    >>> loss = [[3.0, 1.0, 2.0], [2.0, 2.5, 1.0]]
    >>> barrier_height(loss)
    array([-2. ,  0.5])
    >>> barrier_height(loss, "either")
    array([-1. ,  1.5])
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
    """Whether each segment crosses a barrier higher than a threshold.

    Parameters
    ----------
    loss : array_like, shape (iterations, points + 1)
    definition : {"both", "either"}
        See `barrier_height`.
    threshold : float
        In the unit of the loss. Whether the images resolve a barrier is said by
        `measures.barrier_signs`.

    Returns
    -------
    ndarray of bool, shape (iterations,)

    Raises
    ------
    ValueError
        As of `barrier_height`.

    Examples
    --------
    >>> from valleywalk.analysis import barriers
    >>> barriers([[3.0, 1.0, 2.0], [2.0, 2.5, 1.0]])
    array([False,  True])
    >>> barriers([[3.0, 1.0, 2.0], [2.0, 2.5, 1.0]], threshold=0.6)
    array([False, False])
    """
    return barrier_height(loss, definition) > threshold


def first_negative(cosine: ArrayLike) -> int | None:
    """First iteration from which the cosine stays negative to the end.

    Parameters
    ----------
    cosine : array_like, shape (iterations,)

    Returns
    -------
    int or None
        None if the last one is not negative.

    Examples
    --------
    >>> from valleywalk.analysis import first_negative
    >>> first_negative([0.9, -0.1, 0.2, -0.3, -0.8])
    3
    """
    values = np.asarray(cosine, dtype=float)
    not_negative = np.flatnonzero(~(values < 0))
    start = int(not_negative[-1]) + 1 if len(not_negative) else 0
    return start if start < len(values) else None


def standard_error_over_batches(values: ArrayLike, images: ArrayLike) -> float:
    """Standard error of the mean over all images of what was measured batch by batch.

    √(Σ w_b (v_b − v̄)² / (B − 1)) with B batches, w_b a batch's share of the images, and
    v̄ = Σ w_b v_b: exact where a batch's variance is that of an image over its size. Batch norm in
    train mode makes the batches of one plan independent draws.

    Parameters
    ----------
    values : array_like, shape (batches,)
    images : array_like of int, shape (batches,)

    Returns
    -------
    float
        NaN for a single batch.

    Examples
    --------
    >>> from valleywalk.analysis import standard_error_over_batches
    >>> standard_error_over_batches([1.0, 2.0, 3.0], images=[100, 100, 100])
    0.577
    """
    seen, weights = np.asarray(values, dtype=float), np.asarray(images, dtype=float)
    if len(seen) < 2:
        return np.nan
    weights = weights / weights.sum()
    return float(np.sqrt(weights @ (seen - weights @ seen) ** 2 / (len(seen) - 1)))


def stretches(steps: int, count: int) -> np.ndarray:
    """Borders of the stretches of an epoch from each of which two steps are drawn.

    Parameters
    ----------
    steps : int
        Steps of the epoch.
    count : int
        Steps to draw, an even number.

    Returns
    -------
    ndarray of int, shape (count / 2 + 1,)
        Stretch i holds the steps from border i up to, and without, border i + 1. Their lengths
        differ by one step at most.

    Raises
    ------
    ValueError
        An odd count, one below 2, or one above the number of steps.

    Examples
    --------
    >>> from valleywalk.analysis import stretches
    >>> stretches(steps=90, count=6)
    array([ 0, 30, 60, 90])
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
        Each step that is drawn, counted from the start of the epoch, and its stretch.

    Raises
    ------
    ValueError
        As of `stretches`.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.analysis import draw_steps
    >>> drawn = draw_steps(steps=90, count=6, seed=np.random.SeedSequence(0))
    >>> list(drawn.values())
    [0, 0, 1, 1, 2, 2]
    """
    random, borders = np.random.Generator(np.random.PCG64(seed)), stretches(steps, count)
    return {
        int(step): stretch
        for stretch, (begin, end) in enumerate(pairwise(borders))
        for step in np.sort(random.choice(np.arange(begin, end), 2, replace=False))
    }
