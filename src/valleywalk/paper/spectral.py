"""Figures 3 and 7: the Hessian's largest eigenvalue and the validation accuracy."""

from typing import ClassVar

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .. import figures, measures
from ..walks.experiment import BatchNormMode, Convention, Experiment
from .scales import PositiveFloat, PositiveInt, experiment_fields, markdown_table
from .walks import EdgePage, edge_experiments


class SpectralNorm(EdgePage):
    """Parameters of the notebook `fig3_spectral_norm`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    curvature_every: PositiveInt | None = None
    curvature_images: PositiveInt | None = None
    batch_norm: BatchNormMode = "train"
    convention: Convention = "text"

    alternative_text: ClassVar[str] = (
        "Two panels over the epoch: the largest eigenvalue of the Hessian beside the line of two "
        "over the learning rate, and the validation accuracy."
    )

    @property
    def experiments(self) -> list[Experiment]:
        """One walk with curvature and no segments; that of gradient descent to compare with."""
        fields = experiment_fields(self.fields("spectral"))
        every = max(1, fields["curvature_every"] // 4)
        own = Experiment(**fields, probed_epochs=(), evaluate_every=every)
        return [own, *edge_experiments(self)]

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.spectral_norm(*traces)

    def table(self, traces: list[xr.Dataset]) -> str:
        """The walk's spectral norm; the paper prints no numbers for Figures 3 and 7."""
        trace = traces[0]
        known = trace["hessian_max"].dropna("epoch")
        accuracy = trace["validation_accuracy"].dropna("epoch")
        lowest = int(np.argmin(known.values))
        smallest = "not measured"
        if "hessian_min" in trace:
            smallest = f"{trace['hessian_min'].dropna('epoch')[-1]:.3g}"
        rows = [
            ("largest eigenvalue when first measured", "", f"{known[0]:.3g}"),
            ("its lowest value", "falls for most of training", f"{known[lowest]:.3g}"),
            ("epoch of that", "towards the end", f"{known['epoch'].values[lowest]}"),
            ("largest eigenvalue at the end", "rises slightly at the end", f"{known[-1]:.3g}"),
            ("smallest eigenvalue at the end", "", smallest),
            ("2/η", "", f"{2 / trace['learning_rate'].values[0]:.3g}"),
            ("largest relative residual", "", f"{trace['hessian_residual'].max():.1e}"),
            ("validation accuracy at its best", "", f"{accuracy.max():.1%}"),
            ("validation accuracy at the end", "drops at the end", f"{accuracy[-1]:.1%}"),
        ]
        if len(traces) > 1:
            share, count = measures.edge_share(traces[1])
            name = f"gradient descent: spectral norm over 2/η, mean of the last {count}"
            rows.append((name, "about 1 (Cohen et al. 2021)", f"{share:.3g}"))
        lines = [[name, paper or "not printed", here] for name, paper, here in rows]
        return markdown_table(["quantity", "paper", "this walk"], lines)
