"""Loss along the segment between consecutive iterates (paper, Section 3)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from . import ProbeState, Step


class Interpolation:
    """L((1 − α) θ_t + α θ_{t+1}) at α = 0, 1/points, …, 1.

    Needs one scratch parameter vector. Where a step begins exactly where the last measured one
    ended, the loss at α = 0 is the one already measured there.

    Parameters
    ----------
    points : int
        Number of intervals; `points` + 1 losses are returned as `loss`.
    """

    def __init__(self, points: int = 10):
        if points < 1:
            raise ValueError(f"points is {points}; at least 1 interval is needed")
        self.alpha = np.linspace(0.0, 1.0, points + 1)
        self._scratch: list[Tensor] | None = None
        self._end_loss = math.nan

    def state(self) -> ProbeState:
        """The end of the segment measured last, and the loss there."""
        return {"end": self._scratch or [], "loss": self._end_loss}

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        self._scratch, self._end_loss = list(state["end"]) or None, state["loss"]

    def __call__(self, step: Step) -> Mapping[str, np.ndarray]:
        if step.before is None:
            return {}
        loss = np.empty(len(self.alpha))
        loss[0] = self._start_loss(step, step.before)
        if self._scratch is None:
            self._scratch = [torch.empty_like(value) for value in step.before]
        for index, alpha in enumerate(self.alpha[1:], start=1):
            torch._foreach_copy_(self._scratch, list(step.before))
            torch._foreach_lerp_(self._scratch, list(step.after), float(alpha))
            loss[index] = step.evaluate(self._scratch)
        self._end_loss = loss[-1]
        return {"loss": loss}

    def _start_loss(self, step: Step, before: Sequence[Tensor]) -> float:
        # In eval mode the loss also depends on running statistics, which the step has moved.
        if self._scratch is not None and step.evaluate.batch_norm == "train":
            # The scratch vector still holds the end of the segment measured last.
            pairs = zip(self._scratch, before, strict=True)
            if all(torch.equal(end, start) for end, start in pairs):
                return self._end_loss
        return step.evaluate(before)
