"""Ends of the Hessian's spectrum on the evaluation plan (paper, Section 3.1 and Figure 3).

The Hessian H is that of the mean loss over the evaluator's batches; nobody ever holds it as a
matrix. Its eigenvalues have the unit of the loss over that of θ².
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..evaluation import Evaluator, count_of, predict
from ..surroundings import evaluation_mode, trainable
from . import ProbeState
from .lanczos import lanczos

# How much of the first vector of a warm start is random.
RANDOM_SHARE = 0.03


@dataclass(frozen=True)
class Extremes:
    """Largest and smallest eigenvalue of a Hessian.

    Attributes
    ----------
    largest, smallest : float
        By sign: the top and the bottom of the spectrum.
    residuals : tuple of float
        ‖Hv − λv‖ of the two, relative to the larger of the two |λ|.
    converged : bool
        Whether both residuals are within the tolerance that was asked for.
    vectors : ndarray, shape (2, parameters)
        Unit eigenvectors, largest first; start the next search from them.
    products : int
        Hessian-vector products that were needed.
    """

    largest: float
    smallest: float
    residuals: tuple[float, float]
    converged: bool
    vectors: np.ndarray
    products: int


class Curvature:
    """Both ends of the Hessian's spectrum where the model stands, without dropout.

    Each search begins with the eigenvectors that were found last, which halves its products.

    Parameters
    ----------
    batches : iterable of (inputs, targets), optional
        What the loss is taken on, on the model's device; default the evaluation's batches. Some
        25 products with the Hessian are needed, each as long as eight evaluations.
    tolerance : float
        Largest residual of both, as a share of the larger of their absolute values.
    max_products : int
        Products with the Hessian after which a search ends.

    Examples
    --------
    The mean of (θ₁ + 2 θ₂)² has the eigenvalues 10 and 0:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import Curvature
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))]
    >>> seen = Curvature()(Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches))
    >>> round(seen["hessian_max"], 3)
    10.0
    """

    def __init__(
        self,
        batches: Iterable[tuple[Any, Tensor]] | None = None,
        *,
        tolerance: float = 1e-3,
        max_products: int = 400,
    ):
        self.batches, self.tolerance, self.max_products = batches, tolerance, max_products
        self._eigenvectors: np.ndarray | None = None

    def state(self) -> ProbeState:
        """The eigenvectors found last."""
        known = self._eigenvectors
        return {"eigenvectors": torch.empty(0) if known is None else torch.from_numpy(known)}

    def restore(self, state: ProbeState) -> None:
        """Go on from a state."""
        known = state["eigenvectors"]
        self._eigenvectors = known.numpy() if known.numel() else None

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        """The largest and the smallest eigenvalue, and the larger of their relative residuals."""
        found = extremes(
            evaluate.on(self.batches),
            tolerance=self.tolerance,
            start=self._eigenvectors,
            max_products=self.max_products,
        )
        if found.converged:
            self._eigenvectors = found.vectors
        return {
            "hessian_max": found.largest,
            "hessian_min": found.smallest,
            "hessian_residual": max(found.residuals),
        }


class PowerIteration:
    """The eigenvalue of largest size as the authors' code estimates it (see `power_iteration`).

    Parameters
    ----------
    batches : iterable of (inputs, targets), optional
        Gone through once a product; default the evaluation's.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import PowerIteration
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> round(PowerIteration()(evaluate)["hessian_max"], 3)
    10.0
    """

    def __init__(self, batches: Iterable[tuple[Any, Tensor]] | None = None):
        self.batches = batches

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        value, residual = power_iteration(evaluate.on(self.batches))
        return {"hessian_max": value, "hessian_residual": residual}


def hessian_vector_product(evaluate: Evaluator, vector: Sequence[Tensor]) -> list[Tensor]:
    """H v for the mean loss over the evaluator's batches, batch norm in its mode.

    Differentiates the gradient's inner product with v once more (double backward). Forward-mode
    differentiation through batch norm in train mode gives wrong products in PyTorch today. One
    batch is in memory at a time; the model is left as it was.

    Parameters
    ----------
    evaluate : Evaluator
    vector : sequence of Tensor
        Shaped as the trainable parameters.

    Returns
    -------
    list of Tensor
        Shaped as the trainable parameters.

    Examples
    --------
    The mean of (θ₁ + 2 θ₂)² has the Hessian [[2, 4], [4, 8]]:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import hessian_vector_product
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> hessian_vector_product(evaluate, [torch.tensor([[1.0, 0.0]])])
    [tensor([[2., 4.]])]
    """
    parameters = trainable(evaluate.model)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    images = 0
    with (
        evaluation_mode(evaluate.model, evaluate.batch_norm, loss=evaluate.loss),
        torch.enable_grad(),
        # The fused kernels of attention cannot be differentiated twice.
        sdpa_kernel(SDPBackend.MATH),
    ):
        for inputs, targets in evaluate.batches:
            count = count_of(targets)
            loss = evaluate.loss(predict(evaluate.model, inputs), targets)
            gradients = torch.autograd.grad(
                loss, parameters, create_graph=True, materialize_grads=True
            )
            # A gradient that depends on no parameter, or is none, has none of its own.
            pairs = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.requires_grad]
            if pairs:
                slopes, along = zip(*pairs, strict=True)
                products = torch.autograd.grad(slopes, parameters, along, materialize_grads=True)
                torch._foreach_add_(total, products, alpha=count)
            images += count
    torch._foreach_div_(total, float(images))
    return total


def multiplier(
    evaluate: Evaluator, product: Callable[[Sequence[Tensor]], Sequence[Tensor]]
) -> Callable[[np.ndarray], np.ndarray]:
    """A product with vectors shaped as the parameters → one with flat float64 vectors.

    Parameters
    ----------
    evaluate : Evaluator
        Its model says how the parameters are shaped.
    product : callable
        Sequence of Tensor → sequence of Tensor.

    Returns
    -------
    callable
        ndarray, shape (parameters,) → the same.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import multiplier
    >>> evaluate = Evaluator(nn.Linear(2, 1), nn.functional.mse_loss, [])
    >>> double = multiplier(evaluate, lambda vector: [2 * part for part in vector])
    >>> double(np.array([1.0, 2.0, 3.0]))
    array([2., 4., 6.])
    """
    parameters = trainable(evaluate.model)
    sizes = [parameter.numel() for parameter in parameters]

    def multiply(flat: np.ndarray) -> np.ndarray:
        pieces = torch.from_numpy(np.asarray(flat, dtype=np.float64).ravel()).split(sizes)
        vector = [
            piece.to(parameter).view_as(parameter)
            for piece, parameter in zip(pieces, parameters, strict=True)
        ]
        return np.concatenate([p.double().cpu().numpy().ravel() for p in product(vector)])

    return multiply


def power_iteration(evaluate: Evaluator, iterations: int = 15) -> tuple[float, float]:
    """The authors' estimate of the eigenvalue of largest size: 15 steps, no test of convergence.

    The vector is rescaled by its entry of largest size, sign included, and that entry is the
    estimate: an eigenvalue only if the steps have converged, and possibly a negative one.

    Parameters
    ----------
    evaluate : Evaluator
    iterations : int

    Returns
    -------
    value : float
    residual : float
        ‖Hv − λv‖ / |λ| for the unit vector v after the last step.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import power_iteration
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> value, residual = power_iteration(evaluate)
    >>> value, residual < 1e-6
    (10.0, True)
    """
    multiply = multiplier(evaluate, lambda v: hessian_vector_product(evaluate, v))
    length = sum(parameter.numel() for parameter in trainable(evaluate.model))
    vector = np.random.Generator(np.random.PCG64(0)).standard_normal(length)
    value = 1.0
    for _ in range(iterations):
        vector = multiply(vector)
        value = vector[np.argmax(np.abs(vector))]
        vector = vector / value
    vector = vector / np.linalg.norm(vector)
    residual = np.linalg.norm(multiply(vector) - value * vector) / abs(value)
    return float(value), float(residual)


def extremes(
    evaluate: Evaluator,
    *,
    tolerance: float = 1e-3,
    start: np.ndarray | None = None,
    max_products: int = 400,
) -> Extremes:
    """Both ends of the Hessian's spectrum where the model stands.

    Parameters
    ----------
    evaluate : Evaluator
    tolerance : float
        Largest residual of both, as a share of the larger of their absolute values.
    start : ndarray, shape (2, parameters), optional
        Eigenvectors found before at a point nearby; default a fixed random vector.
    max_products : int
        Hessian-vector products after which the search ends. What was found by then is returned as
        not converged.

    Returns
    -------
    Extremes

    Examples
    --------
    The mean of (θ₁ + 2 θ₂)² has the Hessian [[2, 4], [4, 8]], whose eigenvalues are 10 and 0:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import extremes
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> found = extremes(evaluate)
    >>> round(found.largest, 3), abs(found.smallest) < 1e-5, found.converged
    (10.0, True, True)
    """
    multiply = multiplier(evaluate, lambda v: hessian_vector_product(evaluate, v))
    values, vectors, residuals, products = lanczos(
        multiply, first_vector(evaluate, start), (-1, 0), tolerance, max_products
    )
    largest, smallest = (float(value) for value in values)
    converged = bool((residuals <= tolerance).all())
    of_two = (float(residuals[0]), float(residuals[1]))
    return Extremes(largest, smallest, of_two, converged, vectors, products)


def first_vector(evaluate: Evaluator, start: np.ndarray | None = None) -> np.ndarray:
    """A fixed random vector; mostly the sum of the vectors of a `start`, if there is one.

    Some randomness stays, so that a direction which has become the sharpest since is not missed.

    Parameters
    ----------
    evaluate : Evaluator
    start : ndarray, shape (vectors, parameters), optional

    Returns
    -------
    ndarray, shape (parameters,)
        float64 if the parameters are, else float32.

    Examples
    --------
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.curvature import first_vector
    >>> evaluate = Evaluator(nn.Linear(2, 1), nn.functional.mse_loss, [])
    >>> first_vector(evaluate).shape
    (3,)
    """
    parameters = trainable(evaluate.model)
    length = sum(parameter.numel() for parameter in parameters)
    first = np.random.Generator(np.random.PCG64(0)).standard_normal(length)
    if start is not None:
        first = RANDOM_SHARE * first / np.linalg.norm(first) + np.asarray(start).sum(axis=0)
    kind = np.float64 if parameters[0].dtype == torch.float64 else np.float32
    return first.astype(kind)
