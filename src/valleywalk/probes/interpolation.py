"""Loss along the segment between consecutive iterates (paper, Section 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BarycentricInterpolator
from torch import Tensor

from .. import analysis
from ..allowed import FEWEST_INTERVALS, MOST_INTERVALS, check_whole
from ..evaluation import BatchMeans
from . import ProbeState, Step, norm

# Points, ends included, after which a polynomial is given up and the whole grid measured.
MOST_POINTS = 7
# Roughness of a measured curve, in units of (machine epsilon × loss): fourth differences of the
# recorded segments whose range was smallest were 4 to 25 of them.
ROUNDING = 16.0


@dataclass(frozen=True)
class Curve:
    """The losses of a segment on the whole grid, and how they were come by.

    Attributes
    ----------
    loss : ndarray, shape (points + 1,)
        Measured where `measured`, elsewhere read off the polynomial through what was measured.
    measured : ndarray of bool, shape (points + 1,)
    error : float
        Estimate of the largest error of `loss`; 0 where all was measured.
    """

    loss: np.ndarray
    measured: np.ndarray
    error: float


def through(alpha: np.ndarray, measured: Sequence[int], losses: np.ndarray) -> np.ndarray:
    """The polynomial through some points of a grid, at all of them.

    Parameters
    ----------
    alpha : ndarray, shape (points + 1,)
    measured : sequence of int
        Indices into `alpha`.
    losses : ndarray, shape (len(measured), …)
        What was measured there; further axes are further polynomials.

    Returns
    -------
    ndarray, shape (points + 1, …)
        By barycentric weights (Berrut and Trefethen 2004); exact where it was measured.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.probes.interpolation import through
    >>> through(np.linspace(0, 1, 5), measured=[0, 2, 4], losses=np.array([1.0, 0.0, 1.0]))
    array([1.  , 0.25, 0.  , 0.25, 1.  ])
    """
    known = np.asarray(measured, dtype=int)
    rest = np.setdiff1d(np.arange(len(alpha)), known)
    found = np.empty((len(alpha), *losses.shape[1:]))
    found[known] = losses
    # Without a generator of its own it would take from NumPy's global random state.
    found[rest] = BarycentricInterpolator(alpha[known], losses, rng=0)(alpha[rest])
    return found


def few_points(
    measure: Callable[[int], float], alpha: np.ndarray, tolerance: float, epsilon: float
) -> Curve:
    """Measure a segment at as few points of its grid as a polynomial needs.

    Ends and middle come first. Then one point after the other, where the polynomial has its
    minimum, since that is what heights are made of, or where the polynomial could err most. It
    ends when the newest point has moved the curve by at most `tolerance` × the curve's range. A
    point where a barrier by either definition could be hidden by the curve's error is measured
    too. The whole grid is measured where a barrier is found, where rounding is as large as the
    tolerance, and after `MOST_POINTS` points.

    Parameters
    ----------
    measure : callable (index into alpha) → loss
        Asked once for each index at most.
    alpha : ndarray, shape (points + 1,)
    tolerance : float
        Share of the segment's range.
    epsilon : float
        Machine epsilon of the parameters.

    Returns
    -------
    Curve

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.probes.interpolation import few_points
    >>> alpha = np.linspace(0, 1, 11)
    >>> curve = few_points(lambda i: (1 - 2 * alpha[i]) ** 2, alpha, tolerance=0.02, epsilon=1e-16)
    >>> np.flatnonzero(curve.measured)
    array([ 0,  2,  5, 10])
    >>> bool(np.allclose(curve.loss, (1 - 2 * alpha) ** 2))
    True
    """
    last = len(alpha) - 1
    losses = {index: measure(index) for index in dict.fromkeys((0, last, last // 2))}

    def polynomial(indices: Sequence[int]) -> np.ndarray:
        return through(alpha, indices, np.array([losses[index] for index in indices]))

    def whole() -> Curve:
        loss = [losses[i] if i in losses else measure(i) for i in range(last + 1)]
        return Curve(np.array(loss), np.ones(last + 1, dtype=bool), 0.0)

    if last <= 2:
        return whole()
    curve, move, least_error = polynomial([0, last]), 0.0, 0.0
    while True:
        if not np.isfinite(list(losses.values())).all():
            return whole()
        earlier, curve = curve, polynomial(list(losses))
        move, move_before = float(np.abs(curve - earlier).max()), move
        error = max(move + analysis.EARLIER_MOVE * move_before, least_error)
        lowest, least_move = int(np.argmin(curve)), tolerance * np.ptp(curve)
        if move > least_move:
            node_polynomial = np.prod(np.abs(alpha[:, None] - alpha[list(losses)]), axis=1)
            index = lowest if lowest not in losses else int(np.argmax(node_polynomial))
        elif ROUNDING * epsilon * np.abs(curve).max() > least_move:
            return whole()
        else:
            found = _where_a_barrier_hides(curve, error, list(losses))
            if found is None:
                break
            # A point that is measured for a barrier's sake says little about the others.
            index, least_error = found, error
        if len(losses) >= min(MOST_POINTS, last):
            return whole()
        losses[index] = measure(index)
        if losses[index] > max(losses[0], losses[last]):
            return whole()
    measured = np.zeros(last + 1, dtype=bool)
    measured[list(losses)] = True
    return Curve(curve, measured, error)


def _where_a_barrier_hides(curve: np.ndarray, error: float, measured: Sequence[int]) -> int | None:
    """The point to measure next, where the curve's error leaves open if there is a barrier.

    Of those that are higher than one end only, which every segment has that falls or rises all
    the way, it is enough to know whether there is one.
    """
    higher, lower = max(curve[0], curve[-1]), min(curve[0], curve[-1])
    inside = np.arange(1, len(curve) - 1)
    known = np.isin(inside, measured)
    unknown = inside[~known]
    if not len(unknown):
        return None
    highest = int(unknown[np.argmax(curve[unknown])])
    over_both = curve[highest] + error > higher
    over_one = (
        curve[highest] + error > lower >= max(curve[inside[known]].max(), curve[highest] - error)
    )
    return highest if over_both or over_one else None


class Interpolation:
    """L((1 − α) θ_t + α θ_{t+1}) at α = 0, 1/points, …, 1.

    Needs one scratch parameter vector. Where a step begins exactly where the last measured one
    ended, and all else that the loss depends on is as it was there, the loss at α = 0 is the one
    already measured.

    Parameters
    ----------
    points : int
        Number of intervals; `points` + 1 losses are returned as `loss`.
    tolerance : float
        0: each of them is measured. Else see `few_points`: some are, the others are read off the
        polynomial through them, with an estimated error (`loss_error`) that is mostly below this
        share of the segment's range.

    Raises
    ------
    ValueError
        Points that are no whole number from 2 to 1000, a tolerance below 0 or not below 1.

    Examples
    --------
    A step across a valley, from θ = −1 to θ = 1 of θ²:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes import Step
    >>> from valleywalk.probes.interpolation import Interpolation
    >>> batches = [(torch.ones(1, 1), torch.zeros(1, 1))]
    >>> evaluate = Evaluator(nn.Linear(1, 1, bias=False), nn.functional.mse_loss, batches)
    >>> before, after = [torch.tensor([[-1.0]])], [torch.tensor([[1.0]])]
    >>> seen = Interpolation(points=4)(Step(0, before, before, after, before, evaluate))
    >>> seen["loss"], seen["step_length"]
    (array([1.  , 0.25, 0.  , 0.25, 1.  ]), 2.0)
    """

    def __init__(self, points: int = 10, tolerance: float = 0.0):
        check_whole("points", points, FEWEST_INTERVALS, MOST_INTERVALS)
        if not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 1:
            raise ValueError(
                f"tolerance is {tolerance!r}; give a share of a segment's range: 0 measures every "
                "point, 0.02 is a good choice, 1 is too large"
            )
        self.alpha = np.linspace(0.0, 1.0, points + 1)
        self.tolerance = tolerance
        self.batch_images = np.zeros(0, dtype=int)
        self._scratch: list[Tensor] | None = None
        self._end_losses = np.zeros(0)
        self._surroundings: list[Tensor] = []

    def state(self) -> ProbeState:
        """The end of the segment measured last, the losses there, what else they depend on.

        Returns
        -------
        dict
        """
        return {
            "end": self._scratch or [],
            "losses": tuple(self._end_losses.tolist()),
            "images": tuple(self.batch_images.tolist()),
            "surroundings": self._surroundings,
        }

    def restore(self, state: ProbeState) -> None:
        """Go on from a state.

        Parameters
        ----------
        state : dict
            As `state` gave it.
        """
        self._scratch = list(state["end"]) or None
        self._end_losses = np.array(state["losses"], dtype=float)
        self.batch_images = np.array(state["images"], dtype=int)
        self._surroundings = list(state["surroundings"])

    # Of a walk that diverges nothing can be made, and its training sees no warning of that.
    @np.errstate(all="ignore")
    def __call__(self, step: Step) -> Mapping[str, float | np.ndarray]:
        """What is seen of a step whose segment is to be measured; of another, nothing.

        Parameters
        ----------
        step : Step

        Returns
        -------
        mapping
            loss, measured
                Along alpha.
            loss_error
                Estimate of the largest error of `loss`; 0 where all was measured.
            step_length
                ‖θ_{t+1} − θ_t‖.
            batch_height
                Along the evaluation's batches, (L_b(0) + L_b(1)) / 2 − L_b(α) at the α of the
                floor, with L_b read off the same polynomial.
            barrier_error, barrier_error_either
                Standard error over the batches of the highest interior loss minus the higher end's,
                or the lower end's; without a correction for how many images there are.
            second_difference_error
                Along alpha, the standard error over the batches of the second divided difference of
                the loss (`analysis.second_differences`) at each point that was measured, with its
                nearest measured neighbours; NaN elsewhere and at the ends.
        """
        if step.before is None:
            return {}
        last = len(self.alpha) - 1
        by_batch: dict[int, np.ndarray] = {}
        # Evaluations change nothing, so these are the surroundings of the segment's end as well.
        surroundings = step.evaluate.surroundings()
        start = self._start_losses(step, step.before, surroundings)
        # Nothing is known of an end until it is reached: whatever interrupts the measurement leaves
        # the scratch vector anywhere.
        self._surroundings = []
        if self._scratch is None:
            self._scratch = [torch.empty_like(value) for value in step.before]
        scratch, before, after = self._scratch, list(step.before), list(step.after)

        def measure(index: int) -> float:
            if index == 0:
                found = start
            else:
                torch._foreach_copy_(scratch, before)
                torch._foreach_lerp_(scratch, after, float(self.alpha[index]))
                found = step.evaluate.losses(scratch)
            by_batch[index] = found.values
            return found.mean

        if self.tolerance:
            epsilon = torch.finfo(step.after[0].dtype).eps
            curve = few_points(measure, self.alpha, self.tolerance, epsilon)
        else:
            loss = np.array([measure(index) for index in range(last + 1)])
            curve = Curve(loss, np.ones(last + 1, dtype=bool), 0.0)
        self.batch_images, self._end_losses = start.images, by_batch[last]
        torch._foreach_copy_(scratch, after)
        torch._foreach_sub_(scratch, before)
        length = norm(scratch)
        # The next segment begins where this one ends, whatever was measured last.
        torch._foreach_copy_(scratch, after)
        self._surroundings = surroundings
        return {
            "loss": curve.loss,
            "measured": curve.measured,
            "loss_error": curve.error,
            "step_length": length,
            **self._batches(curve.loss, by_batch),
        }

    def _batches(
        self, loss: np.ndarray, by_batch: Mapping[int, np.ndarray]
    ) -> dict[str, float | np.ndarray]:
        """What the batches say of the curve's height, its barrier and its bends."""
        indices = sorted(by_batch)
        losses = np.array([by_batch[index] for index in indices])
        bends = analysis.second_differences(losses.T, self.alpha[indices])
        bend_error = np.full(len(loss), np.nan)
        bend_error[indices[1:-1]] = [
            analysis.standard_error_over_batches(bend, self.batch_images) for bend in bends.T
        ]
        if len(indices) < len(loss):
            losses = through(self.alpha, indices, losses)
        start, end, floor = losses[0], losses[-1], losses[int(np.argmin(loss))]
        found: dict[str, float | np.ndarray] = {
            "batch_height": (start + end) / 2 - floor,
            "second_difference_error": bend_error,
        }
        top = losses[1 + int(np.argmax(loss[1:-1]))]
        higher, lower = (start, end) if loss[0] >= loss[-1] else (end, start)
        for name, base in (("barrier_error", higher), ("barrier_error_either", lower)):
            found[name] = analysis.standard_error_over_batches(top - base, self.batch_images)
        return found

    def _start_losses(
        self, step: Step, before: Sequence[Tensor], surroundings: Sequence[Tensor]
    ) -> BatchMeans:
        # The scratch vector still holds the end of the segment measured last.
        end = self._scratch
        if end is not None and _same(self._surroundings, surroundings) and _same(end, before):
            return BatchMeans(self._end_losses, self.batch_images)
        return step.evaluate.losses(before)


def _same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and all(
        a.dtype == b.dtype
        and a.layout == b.layout == torch.strided
        and torch.equal(a.to(b.device), b)
        for a, b in zip(left, right, strict=True)
    )
