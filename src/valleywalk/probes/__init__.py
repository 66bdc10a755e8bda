"""What is looked at: a step, or an iterate, where the model stands. One file a probe."""

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
        g_t as it was when the optimizer made the step, dense; with weight decay if the watch was
        asked for it.
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
    """Looks at a step, returns what it saw as named numbers (or arrays along `alpha`).

    Any callable will do.

    Examples
    --------
    >>> from valleywalk.probes import Probe, Step, norm
    >>> def gradient_norm(step):
    ...     return {"gradient_norm": norm(step.gradient)}
    >>> isinstance(gradient_norm, Probe)
    True

    With `watch(..., probes=[gradient_norm])` it becomes a variable of the trace.
    """

    def __call__(self, step: Step) -> Mapping[str, float | np.ndarray]:
        """What is seen of a step, by name."""
        ...


class IterateProbe(Protocol):
    """Looks at where the model stands, returns what it saw as named numbers.

    It is given the evaluation: model, loss, batches, mode of batch norm. It may measure on other
    batches (`Evaluator.on`). Nothing may be changed: parameters, buffers, gradients, random state
    and modes are to be as they were.

    Examples
    --------
    >>> def loss(evaluate):
    ...     return {"loss_here": evaluate()}

    With `watch(..., iterate_probes=[loss])` it becomes a variable of the trace.
    """

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        """What is seen where the model stands, by name."""
        ...


# What a probe must remember from one look to the next: numbers, tensors, and lists of tensors that
# lie in memory as the parameters do. A tensor without entries stands for none.
ProbeState = dict[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """A probe that remembers something, so that a walk which is resumed must give it back.

    Examples
    --------
    >>> from valleywalk.probes import Stateful
    >>> from valleywalk.probes.cosine import Cosine
    >>> isinstance(Cosine(), Stateful)
    True
    """

    def state(self) -> ProbeState:
        """What it remembers: lists of tensors, and what JSON can hold, by name."""
        ...

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        ...


# Calling an operation takes as long as its work on so many numbers.
SHORT = 2**14


def pieces(vector: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """A parameter vector as few flat tensors, the short ones joined, in float32 or better.

    Parameters
    ----------
    vector : sequence of Tensor
    like : sequence of Tensor
        The layout of its tensors in memory says in which order entries are taken, so that the
        pieces of two vectors fit where both were made like the same one.

    Returns
    -------
    list of Tensor

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import pieces
    >>> vector = [torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])]
    >>> pieces(vector, like=vector)
    [tensor([1., 2., 3.])]
    """
    flat = [_flat(*pair) for pair in zip(vector, like, strict=True)]
    short = [tensor for tensor in flat if len(tensor) < SHORT]
    if len(short) > 1:
        flat = [tensor for tensor in flat if len(tensor) >= SHORT] + [torch.cat(short)]
    return [_precise(tensor) for tensor in flat]


def totals(*sums: Sequence[Tensor]) -> list[float]:
    """Totals of equally many numbers each, added in float64; a device is waited for once.

    Parameters
    ----------
    *sums : sequence of scalar Tensor

    Returns
    -------
    list of float

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import totals
    >>> totals([torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0), torch.tensor(4.0)])
    [3.0, 7.0]
    """
    together = torch.stack([number for of_one in sums for number in of_one])
    return together.double().view(len(sums), -1).sum(dim=1).tolist()


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Inner product of two parameter vectors, summed over their tensors in float64.

    Products of tensors in half precision are summed in float32.

    Parameters
    ----------
    left, right : sequence of Tensor

    Returns
    -------
    float

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import inner
    >>> inner([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])])
    11.0
    """
    pairs = zip(left, right, strict=True)
    products = [torch.dot(_precise(_flat(a, a)), _precise(_flat(b, a))) for a, b in pairs]
    return float(torch.stack(products).double().sum())


def _flat(tensor: Tensor, like: Tensor) -> Tensor:
    """As a vector, in an order that needs no copy where it is laid out as `like`."""
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)


def _precise(tensor: Tensor) -> Tensor:
    """In float32 at least: the square of a number in float16 is easily beyond its range."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def norm(vector: Sequence[Tensor]) -> float:
    """Euclidean norm of a parameter vector.

    Parameters
    ----------
    vector : sequence of Tensor

    Returns
    -------
    float

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes import norm
    >>> norm([torch.tensor([[3.0]]), torch.tensor([4.0])])
    5.0
    """
    return inner(vector, vector) ** 0.5
