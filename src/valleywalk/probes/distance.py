"""How far the walk has come (paper, Section 3)."""

from collections.abc import Mapping

import torch

from . import Step, pieces, totals


class Distance:
    """‖θ_{t+1} − θ_0‖ and ‖θ_{t+1}‖ over the trainable parameters."""

    def __call__(self, step: Step) -> Mapping[str, float]:
        moved, squares = [], []
        after, start = (pieces(vector, like=step.start) for vector in (step.after, step.start))
        for now, first in zip(after, start, strict=True):
            squares.append(torch.dot(now, now))
            difference = now - first
            moved.append(torch.dot(difference, difference))
        distance, length = (square**0.5 for square in totals(moved, squares))
        return {"distance": distance, "parameter_norm": length}
