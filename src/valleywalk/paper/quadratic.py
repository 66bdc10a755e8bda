"""Figure 28: the convergence rate of gradient descent on a quadratic."""

from typing import Annotated, ClassVar

import torch
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from .. import figures
from ..quadratic import contraction, damping, descend, measured_contraction
from ..walks.experiment import Experiment, Strict
from .scales import PositiveFloat, markdown_table


class Quadratic(Strict):
    """Parameters of the notebook `fig28_quadratic`; the same at every scale, and no walk."""

    eigenvalues: list[PositiveFloat] = Field([0.2, 0.5, 1.0], min_length=2)
    learning_rate: PositiveFloat = 1.6
    steps: Annotated[int, Field(ge=1, le=500)] = 20

    subject: ClassVar[str] = "a quadratic"
    alternative_text: ClassVar[str] = (
        "The convergence rate over the learning rate: for each eigenvalue a line that falls to "
        "zero at one over the eigenvalue and rises again, with circles of measured runs on it."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return []

    def get_traces(self) -> list[xr.Dataset]:
        """None: the runs take no time."""
        return []

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.quadratic(self.eigenvalues, self.learning_rate, self.steps)

    def table(self, traces: list[xr.Dataset]) -> str:
        """Damping and contraction of each direction, by formula and as measured."""
        measured = measured_contraction(descend(self.eigenvalues, self.learning_rate, self.steps))
        rows = [
            [
                f"{value:g}",
                damping(value, self.learning_rate),
                f"{float(contraction(value, self.learning_rate)):.6g}",
                f"{found:.6g}",
            ]
            for value, found in zip(self.eigenvalues, measured, strict=True)
        ]
        header = ["λ", f"at η = {self.learning_rate:g}", "formula", f"{self.steps} steps"]
        return markdown_table(header, rows)

    def provenance(self, traces: list[xr.Dataset]) -> str:
        return (
            f"Gradient descent by torch.optim.SGD in float64, {self.steps} steps from (1, …, 1) on "
            f"½ Σ λᵢ θᵢ², λ = {', '.join(f'{value:g}' for value in self.eigenvalues)}; no data, no "
            f"randomness; torch {torch.__version__}"
        )
