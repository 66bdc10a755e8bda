"""Gradient descent on a quadratic, where everything is known (paper, Section 6 and Figure 28)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

Damping = Literal["over-damped", "under-damped", "divergent", "critical", "marginal"]


def contraction(eigenvalue: ArrayLike, learning_rate: ArrayLike) -> np.ndarray:
    """|1 − λη|, the factor by which a step shrinks the error along an eigenvector."""
    return np.abs(1 - np.asarray(eigenvalue) * np.asarray(learning_rate))


def damping(eigenvalue: float, learning_rate: float) -> Damping:
    """How gradient descent moves along an eigenvector of a quadratic.

    over-damped: η < 1/λ, it creeps down one side. critical: η = 1/λ, it is there in one step.
    under-damped: 1/λ < η < 2/λ, it bounces from wall to wall and comes closer. marginal: η = 2/λ,
    it bounces for ever. divergent: η > 2/λ.
    """
    product = eigenvalue * learning_rate
    if product == 1:
        return "critical"
    if product == 2:
        return "marginal"
    if product < 1:
        return "over-damped"
    return "under-damped" if product < 2 else "divergent"


def descend(eigenvalues: Sequence[float], learning_rate: float, steps: int) -> np.ndarray:
    """Walk from (1, 1, …) with torch's SGD on ½ Σ λ_i θ_i², shape (steps + 1, eigenvalues)."""
    curvature = torch.tensor(list(eigenvalues), dtype=torch.float64)
    theta = torch.ones_like(curvature, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=learning_rate)
    path = [theta.detach().numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (curvature * theta**2).sum()).backward()
        optimizer.step()
        path.append(theta.detach().numpy().copy())
    return np.array(path)


def measured_contraction(path: ArrayLike) -> np.ndarray:
    """Mean factor a step along each eigenvector of a walk, shape (eigenvalues,)."""
    values = np.abs(np.asarray(path, dtype=float))
    return (values[-1] / values[0]) ** (1 / (len(values) - 1))
