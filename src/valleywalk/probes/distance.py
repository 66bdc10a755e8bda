"""How far the walk has come (paper, Section 3)."""

from collections.abc import Mapping

import torch

from . import Step, pieces, totals


class Distance:
    """Distance from the start ‖θ_{t+1} − θ_0‖ and norm ‖θ_{t+1}‖ over the trainable parameters.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import Step
    >>> from valleywalk.probes.distance import Distance
    >>> start, after = [torch.tensor([0.0, 4.0])], [torch.tensor([3.0, 0.0])]
    >>> Distance()(Step(0, start, None, after, gradient=start, evaluate=None))
    {'distance': 5.0, 'parameter_norm': 3.0}
    """

    def __call__(self, step: Step) -> Mapping[str, float]:
        """What is seen of a step.

        Parameters
        ----------
        step : Step

        Returns
        -------
        dict
            distance, parameter_norm: numbers.
        """
        moved, squares = [], []
        after, start = (pieces(vector, like=step.start) for vector in (step.after, step.start))
        for now, first in zip(after, start, strict=True):
            squares.append(torch.dot(now, now))
            difference = now - first
            moved.append(torch.dot(difference, difference))
        distance, length = (square**0.5 for square in totals(moved, squares))
        return {"distance": distance, "parameter_norm": length}
