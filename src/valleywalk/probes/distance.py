"""How far the walk has come (paper, Section 3)."""

from collections.abc import Mapping

import torch

from . import Step, norm


class Distance:
    """‖θ_{t+1} − θ_0‖ and ‖θ_{t+1}‖ over the trainable parameters."""

    def __call__(self, step: Step) -> Mapping[str, float]:
        squares = [
            torch.dist(after, start).double() ** 2
            for after, start in zip(step.after, step.start, strict=True)
        ]
        return {
            "distance": float(sum(squares[1:], start=squares[0])) ** 0.5,
            "parameter_norm": norm(step.after),
        }
