"""Angle between consecutive gradients (paper, Section 3)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from . import ProbeState, Step, inner, norm


class Cosine:
    """g_{t−1}ᵀ g_t / (‖g_{t−1}‖ ‖g_t‖); NaN at the first step. Needs one parameter vector."""

    def __init__(self) -> None:
        self._gradient: list[Tensor] | None = None
        self._norm = math.nan

    def state(self) -> ProbeState:
        """The gradient seen last, and its norm."""
        return {"gradient": self._gradient or [], "norm": self._norm}

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        self._gradient, self._norm = list(state["gradient"]) or None, state["norm"]

    def __call__(self, step: Step) -> Mapping[str, float]:
        current = norm(step.gradient)
        if self._gradient is None:
            self._gradient = [gradient.clone() for gradient in step.gradient]
            cosine = math.nan
        else:
            lengths = self._norm * current
            cosine = inner(self._gradient, step.gradient) / lengths if lengths else math.nan
            torch._foreach_copy_(self._gradient, list(step.gradient))
        self._norm = current
        return {"cosine": cosine}
