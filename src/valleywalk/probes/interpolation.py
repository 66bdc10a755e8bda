"""Loss along the segment between consecutive iterates (paper, Section 3)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from . import Step


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
        self._last: tuple[int, float] | None = None

    def __call__(self, step: Step) -> Mapping[str, np.ndarray]:
        if step.before is None:
            return {}
        if self._scratch is None:
            self._scratch = [torch.empty_like(value) for value in step.before]
        loss = np.empty(len(self.alpha))
        loss[0] = self._known_start(step)
        for index, alpha in enumerate(self.alpha[1:], start=1):
            torch._foreach_copy_(self._scratch, list(step.before))
            torch._foreach_lerp_(self._scratch, list(step.after), float(alpha))
            loss[index] = step.evaluate(self._scratch)
        self._last = (step.iteration, loss[-1])
        return {"loss": loss}

    def _known_start(self, step: Step) -> float:
        # In eval mode the loss also depends on running statistics, which the step has moved.
        if self._last is not None and step.evaluate.batch_norm == "train":
            iteration, loss = self._last
            unmoved = iteration + 1 == step.iteration and all(
                torch.equal(a, b) for a, b in zip(self._scratch, step.before, strict=True)
            )
            if unmoved:
                return loss
        return step.evaluate(step.before)
