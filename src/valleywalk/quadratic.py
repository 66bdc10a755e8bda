"""Gradient descent on a quadratic, where everything is known (paper, Section 6 and Figure 28)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

Damping = Literal["over-damped", "under-damped", "divergent", "critical", "marginal"]


def contraction(eigenvalue: ArrayLike, learning_rate: ArrayLike) -> np.ndarray:
    """The factor |1 − λη| by which a step shrinks the error along an eigenvector.

    Parameters
    ----------
    eigenvalue, learning_rate : array_like
        λ and η; they broadcast.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from valleywalk.quadratic import contraction
    >>> contraction(eigenvalue=[1.0, 4.0], learning_rate=0.4)
    array([0.6, 0.6])
    """
    return np.abs(1 - np.asarray(eigenvalue) * np.asarray(learning_rate))


def damping(eigenvalue: float, learning_rate: float) -> Damping:
    """How gradient descent moves along an eigenvector of a quadratic.

    over-damped: η < 1/λ, it creeps down one side. critical: η = 1/λ, it is there in one step.
    under-damped: 1/λ < η < 2/λ, it bounces from wall to wall and comes closer. marginal: η = 2/λ,
    it bounces for ever. divergent: η > 2/λ.

    Parameters
    ----------
    eigenvalue, learning_rate : float
        λ and η.

    Returns
    -------
    str

    Examples
    --------
    >>> from valleywalk.quadratic import damping
    >>> damping(eigenvalue=4.0, learning_rate=0.4)
    'under-damped'
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
    """Walk from (1, 1, …) with torch's SGD on ½ Σ λ_i θ_i².

    Parameters
    ----------
    eigenvalues : sequence of float
    learning_rate : float
    steps : int

    Returns
    -------
    ndarray, shape (steps + 1, eigenvalues)

    Examples
    --------
    >>> from valleywalk.quadratic import descend
    >>> descend([1.0, 4.0], learning_rate=0.5, steps=2)
    array([[ 1.  ,  1.  ],
           [ 0.5 , -1.  ],
           [ 0.25,  1.  ]])
    """
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
    """Mean factor a step along each eigenvector of a walk.

    Parameters
    ----------
    path : array_like, shape (steps + 1, eigenvalues)

    Returns
    -------
    ndarray, shape (eigenvalues,)

    Examples
    --------
    >>> from valleywalk.quadratic import descend, measured_contraction
    >>> measured_contraction(descend([1.0, 4.0], learning_rate=0.4, steps=5))
    array([0.6, 0.6])
    """
    values = np.abs(np.asarray(path, dtype=float))
    return (values[-1] / values[0]) ** (1 / (len(values) - 1))
