"""What is looked at in each step. One file a probe, one protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
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


# What a probe must remember from one step to the next: parameter vectors and numbers.
ProbeState = dict[str, Any]


@runtime_checkable
class ProbeWithState(Probe, Protocol):
    """A probe that remembers something, so that a walk which is resumed must give it back."""

    def state(self) -> ProbeState: ...

    def restore(self, state: ProbeState) -> None: ...


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Inner product of two parameter vectors, summed over their tensors in float64."""
    products = [torch.dot(*_flat(a, b)) for a, b in zip(left, right, strict=True)]
    return float(torch.stack(products).double().sum())


def _flat(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both as vectors in one and the same order, without a copy where they are channels-last."""
    if left.ndim == 4 and left.is_contiguous(memory_format=torch.channels_last):
        left, right = left.permute(0, 2, 3, 1), right.permute(0, 2, 3, 1)
    return left.reshape(-1), right.reshape(-1)


def norm(vector: Sequence[Tensor]) -> float:
    """Euclidean norm of a parameter vector."""
    return inner(vector, vector) ** 0.5
