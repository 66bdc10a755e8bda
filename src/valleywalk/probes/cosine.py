"""Angle between consecutive gradients (paper, Section 3)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from . import ProbeState, Step, pieces, totals


class Cosine:
    """g_{t−1}ᵀ g_t / (‖g_{t−1}‖ ‖g_t‖); NaN at the first step. Needs one parameter vector."""

    def __init__(self) -> None:
        self._gradient: list[Tensor] | None = None
        self._norm = math.nan

    def state(self) -> ProbeState:
        """The gradient seen last, in pieces, and its norm."""
        return {"gradient": self._gradient or [], "norm": self._norm}

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        self._gradient, self._norm = list(state["gradient"]) or None, state["norm"]

    def __call__(self, step: Step) -> Mapping[str, float]:
        gradient = pieces(step.gradient, like=step.start)
        if self._gradient is None:
            self._gradient = [torch.zeros_like(piece) for piece in gradient]
        products, squares = [], []
        for last, now in zip(self._gradient, gradient, strict=True):
            products.append(torch.dot(last, now))
            squares.append(torch.dot(now, now))
            last.copy_(now)
        product, square = totals(products, squares)
        lengths = self._norm * square**0.5
        self._norm = square**0.5
        return {"cosine": product / lengths if lengths else math.nan}
