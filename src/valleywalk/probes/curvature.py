"""Ends of the Hessian's spectrum on the evaluation plan (paper, Section 3.1 and Figure 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from ..evaluation import Evaluator, evaluation_mode, trainable


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
    """
    parameters = trainable(evaluate.model)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    images = 0
    with evaluation_mode(evaluate.model, evaluate.batch_norm), torch.enable_grad():
        for inputs, targets in evaluate.batches:
            loss = evaluate.loss(evaluate.model(inputs), targets)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            slope = sum((g * v).sum() for g, v in zip(gradients, vector, strict=True))
            products = torch.autograd.grad(slope, parameters, materialize_grads=True)
            torch._foreach_add_(total, products, alpha=len(targets))
            images += len(targets)
    torch._foreach_div_(total, float(images))
    return total


def multiplier(
    evaluate: Evaluator, product: Callable[[Sequence[Tensor]], Sequence[Tensor]]
) -> Callable[[np.ndarray], np.ndarray]:
    """A product with vectors shaped as the parameters → one with flat float64 vectors."""
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

    Returns
    -------
    value : float
    residual : float
        ‖Hv − λv‖ / |λ| for the unit vector v after the last step.
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
    max_iterations: int = 20,
) -> Extremes:
    """Both ends of the Hessian's spectrum where the model stands, by implicitly restarted Lanczos.

    Parameters
    ----------
    evaluate : Evaluator
    tolerance : float
        Relative accuracy asked of both eigenvalues.
    start : ndarray, shape (2, parameters), optional
        Eigenvectors found before at a point nearby; default a fixed random vector.
    max_iterations : int
        Restarts after which the search ends. What was found by then is returned as not converged.
    """
    count = 0
    product = multiplier(evaluate, lambda v: hessian_vector_product(evaluate, v))

    def multiply(flat: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return product(flat)

    length = sum(parameter.numel() for parameter in trainable(evaluate.model))
    if start is None:
        first = np.random.Generator(np.random.PCG64(0)).standard_normal(length)
    else:
        first = np.asarray(start).sum(axis=0)
    operator = LinearOperator((length, length), matvec=multiply, dtype=np.float64)
    try:
        values, vectors = eigsh(
            operator, k=2, which="BE", v0=first, tol=tolerance, maxiter=max_iterations
        )
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    if len(values) < 2:
        unknown = np.full((2, length), np.nan)
        return Extremes(np.nan, np.nan, (np.nan, np.nan), False, unknown, count)
    order = np.argsort(values)[::-1]
    values, vectors = values[order], vectors[:, order].T
    scale = np.abs(values).max()
    residuals = tuple(
        float(np.linalg.norm(multiply(v) - value * v) / scale)
        for value, v in zip(values, vectors, strict=True)
    )
    converged = max(residuals) <= tolerance
    return Extremes(float(values[0]), float(values[1]), residuals, converged, vectors, count)
