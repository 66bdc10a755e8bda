"""Appendix D: the Hessian, the covariance of the gradients, and how the two lie."""

from functools import cache
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field
from sklearn.datasets import load_digits
from torch import nn

from .. import figures
from ..machine import reproducible
from ..probes.noise_structure import DIRECTIONS, decompose
from ..walks.experiment import Experiment, ModelName
from .scales import TITLES, Page, PositiveFloat, PositiveInt, experiment_fields, markdown_table

TERMS = {"covariance": "C", "mean_outer": "ḡḡᵀ", "residual": "residual"}


# Two busy threads of each of several pages being made on as few cores can take many times as long.
@cache
@reproducible(threads=1)
def decomposition_along_training(
    images: int, hidden: int, steps: int, seed: int, only_end: bool = False
) -> pd.DataFrame:
    """Train a small network on 8×8 digits in float64 and take Equation 7 apart on the way.

    Full-batch Adam, so that it comes near a minimum in a few hundred steps; tanh, so that all
    second derivatives are there; no weight decay, since Equation 7 has none. `only_end` measures
    after the last step alone.

    Returns
    -------
    DataFrame
        step, loss, gradient_norm; the norm of each term as a share of the Hessian's; error, that of
        what the identity leaves over; fisher, that of the Hessian's difference from the Fisher
        information.
    """
    digits = load_digits()
    inputs = torch.from_numpy(digits.data[:images] / 16)
    targets = torch.from_numpy(digits.target[:images]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    measured = {steps}
    if not only_end:
        measured |= {0, *np.unique(np.geomspace(1, steps, 9).round().astype(int))}
    rows = []
    for step in range(steps + 1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        if step in measured:
            found = decompose(model, inputs, targets)
            gradient = float(np.sqrt(np.trace(found.mean_outer)))
            shares = {term: found.share(term) for term in TERMS}
            row = {"step": step, "loss": float(loss.detach()), "gradient_norm": gradient}
            rest = {"error": found.error, "fisher": found.distance_from_fisher}
            rows.append(row | shares | rest)
        optimizer.step()
    return pd.DataFrame(rows)


class NoiseStructure(Page):
    """Parameters of the notebook `appd_noise_structure`."""

    models: list[ModelName] = Field(["vgg11", "resnet56", "mlp"], min_length=1)
    width: PositiveFloat | None = None
    training_images: PositiveInt | None = None
    epochs: PositiveInt | None = None
    curvature_every: PositiveInt | None = None
    curvature_images: PositiveInt | None = None
    digits: Annotated[int, Field(ge=2, le=1797)] = 200
    hidden: Annotated[int, Field(ge=1, le=32)] = 8
    steps: Annotated[int, Field(ge=10)] = 500
    seed: Annotated[int, Field(ge=0)] = 0

    alternative_text: ClassVar[str] = (
        "Left: the terms of the Hessian along the training of a small network, as shares of its "
        "norm. Right: for each network the overlap of the gradient noise with the sharp directions "
        "by epoch."
    )

    @property
    def experiments(self) -> list[Experiment]:
        """One walk a network, without segments."""
        return [
            Experiment(
                **experiment_fields(self.fields_of(model, None, "structure")),
                noise_structure=True,
                probed_epochs=(),
                evaluate_every=1,
            )
            for model in self.models
        ]

    @property
    def decomposition(self) -> pd.DataFrame:
        """Equation 7 along the training of a small network."""
        return decomposition_along_training(self.digits, self.hidden, self.steps, self.seed)

    @property
    def final_residual(self) -> float:
        """Norm of the residual at the end of that training, as a share of the Hessian's."""
        end = decomposition_along_training(self.digits, self.hidden, self.steps, self.seed, True)
        return float(end["residual"].iloc[-1])

    def alignments(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network and measured epoch."""
        names = ["noise_overlap", "noise_sharpness", "noise_share", "hessian_max", "train_loss"]
        parts = []
        for model, trace in zip(self.models, traces, strict=True):
            part = trace[names].to_dataframe().dropna(subset=["noise_overlap"]).reset_index()
            random = DIRECTIONS / int(trace.attrs["parameters"])
            parts.append(part.assign(model=TITLES[model], random=random))
        return pd.concat(parts, ignore_index=True)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.noise_structure(self.decomposition, self.alignments(traces), TERMS)

    def table(self, traces: list[xr.Dataset]) -> str:
        small = self.decomposition
        rows = [
            [
                f"{row['step']}",
                f"{row['loss']:.3g}",
                f"{row['gradient_norm']:.2g}",
                *(f"{row[term]:.3g}" for term in TERMS),
                f"{row['error']:.1e}",
                f"{row['fisher']:.3g}",
            ]
            for row in small.to_dict("records")
        ]
        header = ["step", "loss", "‖ḡ‖", *(f"‖{name}‖ / ‖H‖" for name in TERMS.values())]
        first = markdown_table([*header, "what is left over", "‖H − Fisher‖ / ‖H‖"], rows)
        rows = [
            [
                row["model"],
                row["epoch"],
                f"{row['train_loss']:.3g}",
                f"{row['noise_overlap']:.2g}",
                f"{row['random']:.1g}",
                f"{row['noise_sharpness']:.2g}",
                f"{row['noise_share']:.2g}",
            ]
            for row in self.alignments(traces).to_dict("records")
        ]
        header = ["network", "epoch", "loss", f"overlap of the top {DIRECTIONS} directions"]
        header += ["overlap by chance", "curvature along the noise / largest"]
        second = markdown_table([*header, "share of the noise along the sharpest"], rows)
        return f"{first}\n\n{second}"

    def provenance(self, traces: list[xr.Dataset]) -> str:
        own = (
            f"Left and first table: {self.digits} of scikit-learn's 8×8 digits, network "
            f"64-{self.hidden}-10 with tanh in float64, {self.steps} full-batch steps of Adam at "
            f"0.01, seed {self.seed}; computed on this page. Right and second table: "
        )
        return own + super().provenance(traces)
