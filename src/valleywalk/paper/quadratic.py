"""Figure 28: gradient descent on a quadratic, where everything is known (paper, Section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from .. import figures
from ..walks.experiment import ModelName
from .claim import Walked, claim
from .page import Page, PositiveFloat, markdown_table
from .scales import Scale

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

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
    >>> from valleywalk.paper.quadratic import contraction
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
    >>> from valleywalk.paper.quadratic import damping
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
    >>> from valleywalk.paper.quadratic import descend
    >>> descend([1.0, 4.0], learning_rate=0.5, steps=2)
    array([[ 1.  ,  1.  ],
           [ 0.5 , -1.  ],
           [ 0.25,  1.  ]])
    """
    import torch

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
    >>> from valleywalk.paper.quadratic import descend, measured_contraction
    >>> measured_contraction(descend([1.0, 4.0], learning_rate=0.4, steps=5))
    array([0.6, 0.6])
    """
    values = np.abs(np.asarray(path, dtype=float))
    return (values[-1] / values[0]) ** (1 / (len(values) - 1))


class Quadratic(Page):
    """Parameters of the notebook `fig28_quadratic`; the same at every scale, and no walk."""

    eigenvalues: list[PositiveFloat] = Field([0.2, 0.5, 1.0], min_length=2)
    learning_rate: PositiveFloat = 1.6
    steps: Annotated[int, Field(ge=1, le=500)] = 20

    notebook: ClassVar[str] = "fig28_quadratic"
    subject: ClassVar[str] = "a quadratic"
    alternative_text: ClassVar[str] = (
        "The convergence rate over the learning rate: for each eigenvalue a line that falls to "
        "zero at one over the eigenvalue and rises again, with circles of measured runs on it."
    )

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        """A random rate, and twenty eigenvalues for which λη lies between 0 and 3."""
        random = np.random.default_rng(seed)
        rate = random.uniform(0.1, 2.5)
        # One direction in three diverges, and each seed has at least five of them.
        products = np.concatenate([random.uniform(0.05, 2, 15), random.uniform(2, 3, 5)])
        return cls(eigenvalues=(products / rate).tolist(), learning_rate=rate)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """|1 − λη| against η, and gradient descent runs that land on it.

        Lines are the formula for the smallest and largest eigenvalue, the orange area is where all
        others lie; circles are what runs of gradient descent did. Shaded blue: the largest
        eigenvalue's direction bounces and still converges, 1/λ_max < η < 2/λ_max. Diamonds mark
        the page's learning rate.
        """
        import matplotlib.pyplot as plt
        import seaborn as sns

        smallest, largest = min(self.eigenvalues), max(self.eigenvalues)
        eta = np.linspace(0, 2.4 / largest, 400)
        blue, orange, green = figures.BLUE, figures.ORANGE, figures.GREEN
        with figures.style():
            figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
            axis.axvspan(1 / largest, 2 / largest, color=blue, alpha=0.12, lw=0)
            between = np.linspace(smallest, largest, 200)[:, None]
            area = contraction(between, eta)
            axis.fill_between(
                eta, area.min(axis=0), area.max(axis=0), color=orange, alpha=0.2, lw=0
            )
            runs = np.linspace(0.1, 2.3, 12) / largest
            for eigenvalue, colour, name in (
                (largest, green, r"\max"),
                (smallest, blue, r"\min"),
            ):
                label = rf"$\lambda_{{{name}}} = {eigenvalue:g}$"
                axis.plot(eta, contraction(eigenvalue, eta), color=colour, label=label)
                found = [
                    measured_contraction(descend([eigenvalue], rate, self.steps))[0]
                    for rate in runs
                ]
                axis.plot(runs, found, "o", color=colour, markerfacecolor="none", markersize=6)
                here = contraction(eigenvalue, self.learning_rate)
                axis.plot(self.learning_rate, here, "D", color=colour, markersize=9)
            axis.axhline(1, color="0.5", linewidth=0.8)
            for position, text in (
                (0.5, "all over-damped"),
                (1.5, r"$\lambda_{\max}$ under-damped"),
                (2.2, "divergent"),
            ):
                above = axis.get_xaxis_transform()
                axis.text(
                    position / largest, 1.02, text, transform=above, ha="center", fontsize="small"
                )
            axis.set_ylim(0, 1.4)
            axis.set_xlim(0, max(eta[-1], self.learning_rate * 1.05))
            axis.set_xlabel(r"learning rate $\eta$")
            axis.set_ylabel(r"convergence rate $|\lambda\eta - 1|$")
            axis.legend(frameon=False, loc="lower left")
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each direction: damping, contraction by formula and as measured; the best rate."""
        measured = measured_contraction(descend(self.eigenvalues, self.learning_rate, self.steps))
        directions: list[dict[str, Any]] = [
            {
                "eigenvalue": value,
                "damping": damping(value, self.learning_rate),
                "formula": float(contraction(value, self.learning_rate)),
                "measured": float(found),
            }
            for value, found in zip(self.eigenvalues, measured, strict=True)
        ]
        best = 2 / (min(self.eigenvalues) + max(self.eigenvalues))
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "directions": directions,
            "off": max(abs(each["formula"] - each["measured"]) for each in directions),
            "slowest": max(directions, key=lambda each: each["formula"]),
            "best_rate": best,
            "best": float(contraction(self.eigenvalues, best).max()),
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """Damping and contraction of each direction, by formula and as measured."""
        rows = [
            [
                f"{each['eigenvalue']:g}",
                each["damping"],
                f"{each['formula']:.6g}",
                f"{each['measured']:.6g}",
            ]
            for each in self.numbers(traces)["directions"]
        ]
        header = ["λ", f"at η = {self.learning_rate:g}", "formula", f"{self.steps} steps"]
        return markdown_table(header, rows)

    def provenance(self, traces: list[xr.Dataset]) -> str:
        import torch

        return (
            f"Gradient descent by torch.optim.SGD in float64, {self.steps} steps from (1, …, 1) on "
            f"½ Σ λᵢ θᵢ², λ = {', '.join(f'{value:g}' for value in self.eigenvalues)}; no data, no "
            f"randomness; torch {torch.__version__}"
        )


@claim(
    id="quadratic-contraction",
    number=16,
    sentence="Gradient descent on a quadratic contracts by |1 − λη| along each eigenvector.",
    source="Section 6, Figure 28",
    paper="0",
    below=1e-6,
    quantity="exact",
    item="fig28",
    pages=(Quadratic,),
    subjects=("mlp",),
    tested_on=("quadratic", "none"),
)
def contracts_by_the_formula(walked: Walked) -> float:
    """Largest difference of a run from the formula, random eigenvalues and rate."""
    eigenvalues, rate = walked.page.eigenvalues, walked.page.learning_rate
    measured = measured_contraction(descend(eigenvalues, rate, 20))
    return float(np.abs(measured - contraction(eigenvalues, rate)).max())
