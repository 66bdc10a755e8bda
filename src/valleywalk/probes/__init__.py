"""What is looked at in each step. One file a probe, one protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ..evaluation import Evaluator


@dataclass(frozen=True)
class Step:
    """One update θ_t → θ_{t+1}, as a probe sees it. Nothing in it may be changed.

    Attributes
    ----------
    iteration : int
        t, counted from 0 at the start of the watch.
    start : sequence of Tensor
        θ_0, the trainable parameters when the watch began.
    before : sequence of Tensor or None
        θ_t; None unless the segment is to be measured in this step.
    after : sequence of Tensor
        θ_{t+1}.
    gradient : sequence of Tensor
        g_t, the gradient with which the optimizer made the step.
    evaluate : Evaluator
        Loss at any parameters on the frozen evaluation plan.
    """

    iteration: int
    start: Sequence[Tensor]
    before: Sequence[Tensor] | None
    after: Sequence[Tensor]
    gradient: Sequence[Tensor]
    evaluate: Evaluator


@runtime_checkable
class Probe(Protocol):
    """Looks at a step, returns what it saw as named numbers (or arrays along `alpha`)."""

    def __call__(self, step: Step) -> Mapping[str, float | np.ndarray]: ...


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Inner product of two parameter vectors, summed over their tensors in float64."""
    products = [(a.flatten() @ b.flatten()).double() for a, b in zip(left, right, strict=True)]
    return float(sum(products[1:], start=products[0]))


def norm(vector: Sequence[Tensor]) -> float:
    """Euclidean norm of a parameter vector."""
    return inner(vector, vector) ** 0.5
