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
    ended, and all else that the loss depends on is as it was there, the loss at α = 0 is the one
    already measured.

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
        self._surroundings: list[Tensor] = []

    def state(self) -> ProbeState:
        """The end of the segment measured last, the loss there, and what else it depends on."""
        return {
            "end": self._scratch or [],
            "loss": self._end_loss,
            "surroundings": self._surroundings,
        }

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        self._scratch, self._end_loss = list(state["end"]) or None, state["loss"]
        self._surroundings = list(state["surroundings"])

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
        # Evaluations change nothing, so these are the surroundings of the segment's end as well.
        last, self._surroundings = self._surroundings, step.evaluate.surroundings()
        # The scratch vector still holds the end of the segment measured last.
        end = self._scratch
        if end is not None and _same(last, self._surroundings) and _same(end, before):
            return self._end_loss
        return step.evaluate(before)


def _same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and all(
        a.dtype == b.dtype
        and a.layout == b.layout == torch.strided
        and torch.equal(a.to(b.device), b)
        for a, b in zip(left, right, strict=True)
    )
