"""Angle between consecutive gradients (paper, Section 3)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from . import ProbeState, Step, pieces, totals


class Cosine:
    """Cosine of consecutive gradients, g_{t−1}ᵀ g_t / (‖g_{t−1}‖ ‖g_t‖).

    Keeps one parameter vector.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import Step
    >>> from valleywalk.probes.cosine import Cosine
    >>> probe, theta = Cosine(), [torch.zeros(2)]
    >>> for gradient in (torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])):
    ...     print(probe(Step(0, theta, None, theta, [gradient], evaluate=None)))
    {'cosine': nan}
    {'cosine': -0.707}
    """

    def __init__(self) -> None:
        self._gradient: list[Tensor] | None = None
        self._norm = math.nan

    def state(self) -> ProbeState:
        """The gradient seen last, in pieces, and its norm."""
        return {"gradient": self._gradient or [], "norm": self._norm}

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        self._gradient, self._norm = list(state["gradient"]) or None, state["norm"]

    def forget(self) -> None:
        """The next gradient is not the one after the last: steps in between were not seen."""
        self._norm = math.nan

    def __call__(self, step: Step) -> Mapping[str, float]:
        """What is seen of a step.

        Parameters
        ----------
        step : Step

        Returns
        -------
        dict
            cosine: a number from −1 to 1; NaN at the first step, at the first one after steps that
            were not seen, and where a gradient is 0.
        """
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
