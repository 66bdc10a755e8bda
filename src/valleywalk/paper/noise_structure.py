"""Appendix D: the Hessian, the covariance of the gradients, and how the two lie."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from .. import figures
from ..analysis import DIRECTIONS
from ..machine import reproducible
from ..walks.catalogue import network_info
from ..walks.experiment import Experiment
from .claim import Walked, claim
from .page import NetworksPage, PositiveInt, experiment, markdown_table, setting_of
from .scales import EVERY, Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

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
    import pandas as pd
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    from ..probes.noise_structure import decompose
    from ..surroundings import random_states

    digits = load_digits()
    inputs = torch.from_numpy(digits.data[:images] / 16)
    targets = torch.from_numpy(digits.target[:images]).long()
    with random_states(seed=seed):
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


class NoiseStructure(NetworksPage):
    """Parameters of the notebook `appd_noise_structure`."""

    epochs: PositiveInt | None = None
    curvature_every: PositiveInt | None = None
    curvature_images: PositiveInt | None = None
    digits: Annotated[int, Field(ge=2, le=1797)] = 200
    hidden: Annotated[int, Field(ge=1, le=32)] = 8
    steps: Annotated[int, Field(ge=10)] = 500

    notebook: ClassVar[str] = "appd_noise_structure"
    alternative_text: ClassVar[str] = (
        "Left: the terms of the Hessian along the training of a small network, as shares of its "
        "norm. Right: for each network the overlap of the gradient noise with the sharp directions "
        "by epoch, and that of noise from shuffled labels."
    )

    # The gradients of many small batches, since their number bounds the covariance's rank.
    settings: ClassVar[Settings] = {
        "smoke": {
            EVERY: {
                "epochs": 1,
                "training_images": 40,
                "evaluation_images": 40,
                "evaluation_batch_size": 5,
                "curvature_every": 1,
                "curvature_images": 30,
            },
        },
        "quick": {
            EVERY: {
                "epochs": 24,
                "evaluation_batch_size": 20,
                "curvature_every": 24,
                "curvature_images": 120,
            },
            "mlp": {"epochs": 6, "curvature_every": 2},
            "vgg11": {"curvature_every": 8},
        },
        "overnight": {
            EVERY: {
                "epochs": 24,
                "evaluation_batch_size": 20,
                "curvature_every": 24,
                "curvature_images": 120,
            },
            "mlp": {"epochs": 6, "curvature_every": 2},
            "vgg11": {"epochs": 12, "curvature_every": 4},
        },
        "paper": {
            EVERY: {"epochs": 100, "curvature_every": 10, "curvature_images": 25_000},
        },
    }

    @property
    def experiments(self) -> list[Experiment]:
        """One walk a network, without segments."""
        return [
            experiment(
                self.fields_of(model), noise_structure=True, probed_epochs=(), evaluate_every=1
            )
            for model in self.models
        ]

    @property
    def decomposition(self) -> pd.DataFrame:
        """Equation 7 along the training of a small network."""
        return decomposition_along_training(self.digits, self.hidden, self.steps, self.first_seed)

    @property
    def final_residual(self) -> float:
        """Norm of the residual at the end of that training, as a share of the Hessian's."""
        end = decomposition_along_training(
            self.digits, self.hidden, self.steps, self.first_seed, only_end=True
        )
        return float(end["residual"].iloc[-1])

    def alignments(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network and measured epoch.

        Returns
        -------
        DataFrame
            model, epoch, noise_overlap, noise_sharpness, noise_share, hessian_max, train_loss;
            random (the overlap by chance), noise_overlap_control (NaN in an older trace).
        """
        import pandas as pd

        names = ["noise_overlap", "noise_sharpness", "noise_share", "hessian_max", "train_loss"]
        control = "noise_overlap_control"
        parts = []
        for model, trace in zip(self.models, traces, strict=True):
            part = trace[names].assign({control: trace.get(control, np.nan)}).to_dataframe()
            part = part.dropna(subset=["noise_overlap"]).reset_index()
            random = DIRECTIONS / int(trace.attrs["parameters"])
            parts.append(part.assign(model=network_info(model).title, random=random))
        return pd.concat(parts, ignore_index=True)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """Equation 7 along a small network's training; noise and curvature of large ones."""
        import matplotlib.pyplot as plt
        import seaborn as sns

        small = self.decomposition
        with figures.style():
            figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
            for column, name in TERMS.items():
                left.plot(small["step"] + 1, small[column], marker="o", label=name)
            left.plot(small["step"] + 1, small["fisher"], "--", color="0.4", label="H − Fisher")
            left.set_xscale("log")
            figures.logarithmic(left)
            left.set_xlabel("step + 1 of the small network")
            left.set_ylabel(r"norm of the term / $\|H\|$")
            left.legend(frameon=False)
            for (model, rows), colour in zip(
                self.alignments(traces).groupby("model", sort=False),
                figures.PALETTE,
                strict=False,
            ):
                right.plot(rows["epoch"], rows["noise_overlap"], "o-", color=colour, label=model)
                right.plot(rows["epoch"], rows["noise_overlap_control"], "x--", color=colour)
                right.axhline(rows["random"].iloc[0], linestyle=":", color=colour)
            figures.logarithmic(right)
            right.set_xlabel("epoch")
            right.set_ylabel("overlap of the top subspaces of C and H")
            right.legend(frameon=False, title="dashed: shuffled labels\ndotted: by chance")
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """The small network at its start and end, and each of the others when measured last."""
        small, rows = self.decomposition, self.alignments(traces)
        networks = []
        for model, walked in zip(self.models, self.experiments, strict=True):
            last = rows[rows["model"] == network_info(model).title].iloc[-1].to_dict()
            networks.append(
                last
                | {
                    "setting": setting_of(walked),
                    "times_chance": last["noise_overlap"] / last["random"],
                    "times": last["noise_overlap"] / last["noise_overlap_control"],
                }
            )
        return {
            "steps": self.steps,
            "digits": self.digits,
            "start": small.iloc[0].to_dict(),
            "end": small.iloc[-1].to_dict(),
            "error": float(small["error"].max()),
            "directions": DIRECTIONS,
            "networks": networks,
        }

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
                _shown(row["noise_overlap_control"]),
                f"{row['random']:.1g}",
                f"{row['noise_sharpness']:.2g}",
                f"{row['noise_share']:.2g}",
            ]
            for row in self.alignments(traces).to_dict("records")
        ]
        header = ["network", "epoch", "loss", f"overlap of the top {DIRECTIONS} directions"]
        header += [
            "the same, shuffled labels",
            "overlap by chance",
            "curvature along the noise / largest",
        ]
        second = markdown_table([*header, "share of the noise along the sharpest"], rows)
        return f"{first}\n\n{second}"

    def provenance(self, traces: list[xr.Dataset]) -> str:
        own = (
            f"Left and first table: {self.digits} of scikit-learn's 8×8 digits, network "
            f"64-{self.hidden}-10 with tanh in float64, {self.steps} full-batch steps of Adam at "
            f"0.01, seed {self.first_seed}; computed on this page. Right and second table: "
        )
        return own + super().provenance(traces)


def _shown(overlap: float) -> str:
    return "not measured" if np.isnan(overlap) else f"{overlap:.2g}"


# Claims -------------------------------------------------------------------------------------------

SHARED = {"number": 15, "item": "appd", "pages": (NoiseStructure,)}


@claim(
    id="hessian-is-covariance",
    sentence="Near a minimum the Hessian is almost the covariance of the gradients.",
    source="Section 4, Appendix D",
    paper="0",
    below=0.1,
    subjects=("mlp",),
    tested_on=("64-8-10 with tanh", "8×8 digits"),
    reasons={
        "mlp": ("Likeliest reason: C is quadratic in 1 − p and vanishes before the residual does."),
    },
    **SHARED,
)
def hessian_is_covariance(walked: Walked) -> float:
    """Norm of the residual over the Hessian's, at the end of a small network's training."""
    return walked.page.final_residual


@claim(
    id="noise-along-sharp-directions",
    sentence=(
        "Mini-batch noise lies along the sharp directions (which the paper leaves unconfirmed)."
    ),
    source="Section 4",
    paper="above 1",
    above=2.0,
    quantity="ratio",
    **SHARED,
)
def noise_along_sharp_directions(walked: Walked) -> float:
    """Overlap of the top three directions in the last measured epoch, over that of noise from
    labels dealt out anew.
    """
    last = walked.page.alignments(walked.traces).iloc[-1]
    return float(last["noise_overlap"] / last["noise_overlap_control"])
