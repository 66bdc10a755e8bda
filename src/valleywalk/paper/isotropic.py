"""Figures 5, 25 and 26: gradient descent with isotropic noise, and what frees a stuck walk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from .. import figures
from ..walks.experiment import Experiment, NoiseEstimate, NoiseMeasure
from .claim import Walked, claim
from .page import (
    Each,
    ModelPage,
    PositiveFloat,
    PositiveInt,
    experiment,
    in_the_paper,
    markdown_table,
    setting_of,
)
from .scales import EVERY, GRADIENT_DESCENT, Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

# What a walk is for: gradient descent, SGD, gradient descent with noise, and the three ways in
# which footnote 7 goes on from the noisiest one.
Role = Literal["gd", "sgd", "noise", "smaller rate", "gd after noise", "sgd after noise"]
LEAVING: tuple[Role, ...] = ("smaller rate", "gd after noise", "sgd after noise")
# Of VGG-11, with what it has there in brackets.
PRINTED_NORM: dict[tuple[Role, float], str] = {
    ("gd", 0.0): "87",
    ("sgd", 0.0): "82",
    ("noise", 0.1): "443 (variance 0.028)",
    ("noise", 0.05): "369 (variance 0.014)",
}
# The largest gradient variance that those variances imply, of VGG-11, too.
PRINTED_VARIANCE = 0.28
# Epochs at a walk's end over which its cosine is averaged.
LAST_EPOCHS = 20
# Colours of the figure: a walk that goes on from the noisy one has that of the way it goes on.
COLOURS: dict[Role, Any] = {
    "gd": figures.BLUE,
    "sgd": figures.ORANGE,
    "smaller rate": figures.GREEN,
    "gd after noise": figures.BLUE,
    "sgd after noise": figures.ORANGE,
}
# Of the walks with noise, the noisiest first.
NOISY = (figures.GREEN, *figures.PALETTE[4:])
# A walk is stuck if so much of its training loss is left.
STAYS = 0.8


@dataclass(frozen=True)
class NoiseWalk:
    """One walk of the figure."""

    role: Role
    experiment: Experiment

    @property
    def factor(self) -> float:
        """Of the noise it begins with."""
        return self.experiment.noise_factor

    @property
    def label(self) -> str:
        """Its name in the figure."""
        return {
            "gd": "GD",
            "sgd": "SGD",
            "noise": f"GD + noise × {self.factor:g}",
            "smaller rate": f"then rate {self.experiment.switch_learning_rate or 0:g}",
            "gd after noise": "then GD",
            "sgd after noise": "then SGD",
        }[self.role]


class IsotropicNoise(ModelPage):
    """Parameters of the notebook `fig5_isotropic_noise`."""

    learning_rate: PositiveFloat | None = None
    noise_factors: Each[PositiveFloat] = Field([0.1, 0.05])
    noise_measure: NoiseMeasure = "variance"
    noise_estimate: NoiseEstimate | None = None
    epochs: Annotated[int, Field(ge=2)] | None = None
    sgd_batch_size: PositiveInt | None = None
    switch_epoch: PositiveInt | None = None
    switch_learning_rate: PositiveFloat = 0.01

    notebook: ClassVar[str] = "fig5_isotropic_noise"
    alternative_text: ClassVar[str] = (
        "Six panels that compare gradient descent, SGD and gradient descent with isotropic noise "
        "by epoch: training loss, validation accuracy, the training loss of walks that leave the "
        "noisy one, cosine of consecutive gradients, distance from the initialisation, parameter "
        "norm."
    )
    settings: ClassVar[Settings] = {
        "smoke": {
            EVERY: {"epochs": 4, "sgd_batch_size": 20},
            "resnet56": {"epochs": 2, "sgd_batch_size": 10},
        },
        "quick": {
            EVERY: {"epochs": 80, "training_images": 300},
            "mlp": {"training_images": 1000, "batch_size": 100, "evaluation_batch_size": 100},
            "resnet56": {"epochs": 40, "training_images": 200},
        },
        "overnight": {
            EVERY: {
                "epochs": 200,
                "training_images": 500,
                "noise_estimate": "cross-fitted",
            },
            "mlp": {"training_images": 5000, "batch_size": 500, "evaluation_batch_size": 500},
            "resnet56": {"epochs": 80, "training_images": 200},
        },
        "paper": {EVERY: {"epochs": 2000, "noise_estimate": "cross-fitted"}},
    }

    @property
    def tables(self) -> Iterable[Settings]:
        return GRADIENT_DESCENT, self.settings

    @property
    def walks(self) -> list[NoiseWalk]:
        """All of them, in the figure's order."""
        fields = self.fields
        base: dict[str, Any] = {
            name: value
            for name, value in fields.items()
            if not name.startswith(("noise_", "switch_"))
        } | {
            "update": "gd",
            "probed_epochs": (),
            "evaluation_images": None,
            "evaluate_every": max(1, fields["epochs"] // 40),
        }
        size = fields.get("sgd_batch_size", 100)
        noisy = [
            base
            | {
                "noise_factor": factor,
                "noise_measure": self.noise_measure,
                "noise_estimate": fields.get("noise_estimate", "maximum"),
            }
            for factor in self.factors
        ]
        left = noisy[0] | {"switch_epoch": self.switch_epoch or fields["epochs"] // 2}
        of_role: list[tuple[Role, dict[str, Any]]] = [
            ("gd", base),
            ("sgd", base | {"update": "sgd", "batch_size": size}),
            *(("noise", fields) for fields in noisy),
            ("smaller rate", left | {"switch_learning_rate": self.switch_learning_rate}),
            ("gd after noise", left | {"switch_update": "gd"}),
            ("sgd after noise", left | {"switch_update": "sgd", "switch_batch_size": size}),
        ]
        return [NoiseWalk(role, experiment(fields)) for role, fields in of_role]

    @property
    def factors(self) -> list[float]:
        """Noise factors, largest first and each once."""
        return sorted(set(self.noise_factors), reverse=True)

    @property
    def experiments(self) -> list[Experiment]:
        return [walk.experiment for walk in self.walks]

    def by_epoch(self, traces: Iterable[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch and walk: what was measured at its end, and means over its steps.

        Returns
        -------
        DataFrame
            role, factor, walk (its label), epoch, train_loss, validation_accuracy (both at the
            epoch's end), cosine (mean), distance, parameter_norm (both of the last step).
        """
        import pandas as pd

        parts = []
        for walk, trace in zip(self.walks, traces, strict=True):
            images = int(trace.attrs["training_images"])
            length = range(1, walk.experiment.epochs + 1)
            counts = [walk.experiment.phase(epoch).steps(images) for epoch in length]
            epochs = pd.Series(length).repeat(counts).to_numpy()
            steps = trace[["cosine", "distance", "parameter_norm"]].to_dataframe().groupby(epochs)
            part = trace[["train_loss", "validation_accuracy"]].to_dataframe()
            part["cosine"] = steps["cosine"].mean()
            part["distance"] = steps["distance"].last()
            part["parameter_norm"] = steps["parameter_norm"].last()
            own = {"role": walk.role, "factor": walk.factor, "walk": walk.label}
            parts.append(part.rename_axis("epoch").reset_index().assign(**own))
        return pd.concat(parts, ignore_index=True)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        import matplotlib.pyplot as plt
        import seaborn as sns

        epochs = self.by_epoch(traces)
        switch = self.walks[-1].experiment.switch_epoch
        leaving = epochs["role"].isin(LEAVING)
        staying, left = epochs[~leaving], epochs[leaving & (epochs["epoch"] >= switch)]
        noisy = (walk.label for walk in self.walks if walk.role == "noise")
        colours = dict(zip(noisy, NOISY, strict=False))
        colours |= {w.label: COLOURS[w.role] for w in self.walks if w.role in COLOURS}
        with figures.style():
            figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.5), layout="constrained")
            panels = [
                (staying, "train_loss", "training loss"),
                (staying, "validation_accuracy", "validation accuracy"),
                (left, "train_loss", f"training loss after epoch {switch}"),
                (staying, "cosine", r"$\cos(g_{t-1}, g_t)$"),
                (staying, "distance", r"$\|\theta_t - \theta_0\|_2$"),
                (staying, "parameter_norm", r"$\|\theta_t\|_2$"),
            ]
            for index, (axis, (frame, column, label)) in enumerate(
                zip(axes.flat, panels, strict=True)
            ):
                sns.lineplot(
                    frame.dropna(subset=[column]),
                    x="epoch",
                    y=column,
                    hue="walk",
                    palette=colours,
                    linestyle="--" if frame is left else "-",
                    ax=axis,
                    legend="full" if index in (0, 2) else False,
                )
                axis.set_ylabel(label)
                if column in ("distance", "parameter_norm"):
                    figures.logarithmic(axis)
            for axis, corner in (
                (axes[0, 0], "outside upper left"),
                (axes[0, 2], "outside upper right"),
            ):
                handles, names = axis.get_legend_handles_labels()
                axis.get_legend().remove()
                options: dict[str, Any] = {"loc": corner, "ncols": len(names), "frameon": False}
                figure.legend(handles, names, **options)
            sns.despine(figure)
        return figure

    def ends(self, traces: list[xr.Dataset]) -> list[dict[str, Any]]:
        """Of each walk: role, label, noise (its deviation), and medians of the last tenth of what
        was measured, since a last epoch alone may be a spike.
        """
        found, measured = [], self.by_epoch(traces)
        printed = PRINTED_NORM if in_the_paper(self.experiments[0], "vgg11") else {}
        for walk, trace in zip(self.walks, traces, strict=True):
            own = measured[(measured["role"] == walk.role) & (measured["factor"] == walk.factor)]
            last = ("train_loss", "validation_accuracy", "distance", "parameter_norm")
            found.append(
                {
                    "role": walk.role,
                    "label": walk.label,
                    "noise": trace.attrs.get("noise_deviation"),
                    "cosine": float(own["cosine"].tail(LAST_EPOCHS).mean()),
                    "printed_norm": printed.get((walk.role, walk.factor)),
                    **{name: _settled(own[name]) for name in last},
                }
            )
        return found

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Ends of the walks that stay, the noisiest first, and of those that leave that one."""
        ends, walked = self.ends(traces), Walked(self, traces)
        (gd,) = (end for end in ends if end["role"] == "gd")
        noisy = [end for end in ends if end["role"] == "noise"]
        about = next(t.attrs for t in traces if "gradient_variance" in t.attrs)
        left = {role: _left(walked, role) for role in ("noise", "gd", *LEAVING)}
        return {
            "setting": setting_of(self.experiments[0]),
            "epochs": self.walks[0].experiment.epochs,
            "last_epochs": min(LAST_EPOCHS, self.walks[0].experiment.epochs),
            "switch": self.walks[-1].experiment.switch_epoch,
            "gd": gd,
            "sgd": next(end for end in ends if end["role"] == "sgd"),
            "noisy": noisy,
            "higher_loss": sum(end["train_loss"] > gd["train_loss"] for end in noisy),
            "lower_accuracy": sum(
                end["validation_accuracy"] < gd["validation_accuracy"] for end in noisy
            ),
            "times_as_far": [end["distance"] / gd["distance"] for end in noisy],
            "times_the_norm": [end["parameter_norm"] / gd["parameter_norm"] for end in noisy],
            "leaving": {e["label"]: left[e["role"]] for e in ends if e["role"] in LEAVING},
            "stays": left["noise"],
            "without_noise": left["gd"],
            "stuck": STAYS,
            "variance": float(about["gradient_variance"]),
            "variance_of_the_paper": PRINTED_VARIANCE,
            "variance_error": about.get("gradient_variance_error"),
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """The walks' ends, and the loss before and after leaving the noisy walk."""
        rows = []
        for end in self.ends(traces):
            noise = end["noise"]
            rows.append(
                [
                    end["label"],
                    f"{noise:.3g} (variance {noise**2:.3g})" if noise else "none",
                    f"{end['train_loss']:.3g}",
                    f"{end['validation_accuracy']:.1%}",
                    f"{end['cosine']:.2f}",
                    f"{end['distance']:.3g}",
                    f"{end['parameter_norm']:.3g}",
                    end["printed_norm"] or "not printed",
                ]
            )
        header = ["walk", "noise's standard deviation", "training loss", "validation accuracy"]
        header += [
            f"cosine, last {LAST_EPOCHS} epochs",
            "distance",
            "parameter norm",
            "norm in the paper",
        ]
        about = next(t.attrs for t in traces if "gradient_variance" in t.attrs)
        note = (
            f"Largest gradient variance at initialisation: {about['gradient_variance']:.3g}, "
            f"{_how_estimated(about)}; the paper's 0.014 and 0.028, of VGG-11, imply "
            f"{PRINTED_VARIANCE}."
        )
        return markdown_table(header, rows) + "\n\n" + note


def _how_estimated(about: Mapping[str, Any]) -> str:
    """Of a noisy walk's attributes: by which estimate its noise has its size."""
    if "gradient_variance_error" in about:
        error = about["gradient_variance_error"]
        return f"cross-fitted, with a standard error of {error:.2g}"
    return (
        "the maximum of all parameters' estimates, which comes out too large where the batches are "
        "few (so that the noise is larger than its factor says)"
    )


# Claims -------------------------------------------------------------------------------------------

SHARED = {"item": "fig5", "pages": (IsotropicNoise,)}
HELD_UP = (
    "Likeliest reason: it is the noise that holds the walk up, not the surface, so that the loss "
    "falls once the noise is gone."
)


def _settled(values: Any) -> float:
    """Median of the last tenth of what was measured."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(np.median(known[-math.ceil(len(known) / 10) :])) if len(known) else math.nan


def _ends(walked: Walked, column: str) -> tuple[float, float]:
    """A quantity at the end of gradient descent with the smallest noise, and without any."""
    of = walked.page.by_epoch(walked.traces).groupby(["role", "factor"])[column].apply(_settled)
    return float(of["noise", min(walked.page.factors)]), float(of["gd", 0.0])


def _left(walked: Walked, role: Role) -> float:
    """Training loss at the end of a walk over that at the switch.

    Of a role that leaves the noisiest walk, and of "noise", that is this walk's; "gd" has its own.
    """
    ways = zip(walked.page.walks, walked.traces, strict=True)
    # The noisiest walk comes first.
    loss = next(trace["train_loss"] for way, trace in ways if way.role == role)
    switch = walked.page.walks[-1].experiment.switch_epoch
    return _settled(loss) / _settled(loss.sel(epoch=slice(1, switch)))


def stuck(walked: Walked) -> str:
    """The walk is stuck: more than 0.8 of its loss is left if it goes on under the noise."""
    left = _left(walked, "noise")
    return "" if left > STAYS else f"{left:.2g} is left"


@claim(
    id="noise-hinders-optimisation",
    number=10,
    sentence="Isotropic noise makes optimisation worse than no noise.",
    source="Section 4, Figure 5",
    paper="above 0",
    above=0.0,
    primary=("vgg11",),
    **SHARED,
)
def hinders_optimisation(walked: Walked) -> float:
    """Final training loss (median of the last tenth), smaller noise
    minus plain gradient descent.
    """
    noisy, quiet = _ends(walked, "train_loss")
    return noisy - quiet


@claim(
    id="noise-hinders-generalisation",
    number=10,
    sentence="Isotropic noise makes generalisation worse than no noise.",
    source="Section 4, Figure 5",
    paper="below 0",
    below=0.0,
    **SHARED,
)
def hinders_generalisation(walked: Walked) -> float:
    """Final validation accuracy (median of the last tenth), smaller noise
    minus plain gradient descent.
    """
    noisy, quiet = _ends(walked, "validation_accuracy")
    return noisy - quiet


@claim(
    id="noise-travels-far",
    number=10,
    sentence="Isotropic noise travels farther than gradient descent.",
    source="Section 4, Figure 5",
    paper="much larger",
    above=2.0,
    quantity="ratio",
    **SHARED,
)
def travels_far(walked: Walked) -> float:
    """Final distance (median of the last tenth), smaller noise
    over plain gradient descent.
    """
    noisy, quiet = _ends(walked, "distance")
    return noisy / quiet


@claim(
    id="noise-ends-with-large-norm",
    number=10,
    sentence="Isotropic noise ends with a larger parameter norm than gradient descent.",
    source="Section 4",
    paper="369 / 87 = 4.2",
    printed={"vgg11": 369 / 87},
    above=1.2,
    quantity="ratio",
    reasons={
        "resnet56": (
            "Likeliest reason: noise leads away from the initialisation at right angles, and "
            "within these steps it has not gone far compared with the norm that the network begins "
            "with."
        )
    },
    **SHARED,
)
def ends_with_large_norm(walked: Walked) -> float:
    """Final parameter norm (median of the last tenth), smaller noise
    over plain gradient descent.
    """
    noisy, quiet = _ends(walked, "parameter_norm")
    return noisy / quiet


@claim(
    id="stuck-under-smaller-rate",
    number=11,
    sentence="A walk stuck under isotropic noise stays stuck when the learning rate is cut.",
    source="Footnote 7",
    paper="1",
    above=STAYS,
    quantity="ratio",
    premises=(stuck,),
    **SHARED,
)
def stuck_under_smaller_rate(walked: Walked) -> float:
    """Training loss at the end (median of the last tenth) over that at the cut (median of the last
    tenth before it).
    """
    return _left(walked, "smaller rate")


@claim(
    id="stuck-under-gd",
    number=11,
    sentence="A walk stuck under isotropic noise stays stuck under gradient descent.",
    source="Footnote 7",
    paper="1",
    above=STAYS,
    quantity="ratio",
    premises=(stuck,),
    reasons={"mlp": HELD_UP},
    **SHARED,
)
def stuck_under_gd(walked: Walked) -> float:
    """Training loss at the end (median of the last tenth) over that when the noise ends (median of
    the last tenth before it).
    """
    return _left(walked, "gd after noise")


@claim(
    id="freed-by-sgd",
    number=11,
    sentence="SGD frees a walk stuck under isotropic noise.",
    source="Footnote 7",
    paper="below 1",
    below=STAYS,
    quantity="ratio",
    premises=(stuck,),
    reasons={
        "resnet56": (
            "Likeliest reason: SGD lowers the loss about as slowly from there as from the "
            "initialisation, and the walk ends too soon."
        )
    },
    **SHARED,
)
def freed_by_sgd(walked: Walked) -> float:
    """Training loss at the end (median of the last tenth) over that when SGD begins (median of the
    last tenth before it).
    """
    return _left(walked, "sgd after noise")
