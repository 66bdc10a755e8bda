"""Figures 3 and 7: the Hessian's largest eigenvalue and the validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import figures, measures
from ..walks.experiment import BatchNormMode, Convention, Experiment
from .barriers import COUNTED, USUAL_RATE, table_walk
from .claim import EVERY_NETWORK, Walked, claim
from .edge import EdgePage, edge_numbers, share_in_words
from .page import (
    PositiveFloat,
    PositiveInt,
    experiment,
    in_the_paper,
    markdown_table,
    setting_of,
)
from .scales import EVERY, Settings

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# Parameters that the walk of the tables does not have, and what measures its steps.
OF_ITS_OWN = {"epochs", "curvature_every", "curvature_images", "batch_norm", "convention"}
OF_THE_TABLES = {"sampled_iterations", "whole_every"}


class SpectralNorm(EdgePage):
    """Parameters of the notebook `fig3_spectral_norm`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    curvature_every: PositiveInt | None = None
    curvature_images: PositiveInt | None = None
    batch_norm: BatchNormMode = "train"
    convention: Convention = "text"

    notebook: ClassVar[str] = "fig3_spectral_norm"
    alternative_text: ClassVar[str] = (
        "Two panels over the epoch: the largest eigenvalue of the Hessian beside the line of two "
        "over the learning rate, and the validation accuracy."
    )
    # Figure 7 has another learning rate than all other figures of ResNet-56.
    settings: ClassVar[Settings] = {
        "smoke": {
            EVERY: {"epochs": 2, "curvature_every": 1, "curvature_images": 20},
            "resnet56": {"epochs": 1, "curvature_images": 10},
        },
        "quick": {
            EVERY: {"epochs": 40, "curvature_every": 8, "curvature_images": 200},
            "mlp": {"epochs": 20, "curvature_every": 2, "curvature_images": 500},
            "resnet56": {"learning_rate": 0.3},
        },
        # The walk of Tables 1 and 2, in which the curvature is measured, too.
        "overnight": {
            EVERY: {"of_the_tables": True, "epochs": 100},
            "mlp": {"epochs": 25},
            "resnet56": {"learning_rate": 0.3},
        },
        "paper": {
            EVERY: {"epochs": 100, "curvature_every": 1, "curvature_images": 25_000},
            "mlp": {"epochs": 40},
            "resnet56": {"learning_rate": 0.3},
        },
    }

    @property
    def tables(self) -> Iterable[Settings]:
        return COUNTED, self.settings

    @property
    def experiments(self) -> list[Experiment]:
        """One walk with curvature and no segments; that of gradient descent to compare with.

        Where the scale says so it is that of Tables 1 and 2, unless something is asked for of
        which that walk knows nothing.
        """
        return [self._walk, *self.beyond_the_paper]

    @property
    def _walk(self) -> Experiment:
        fields = self.fields
        # A notebook gives each parameter, those that it leaves alone at their defaults.
        asked = {
            name
            for name in OF_ITS_OWN
            if self.given.get(name) not in (None, type(self).model_fields[name].default)
        }
        if fields.get("of_the_tables") and not asked:
            return table_walk(
                self, self.model, self.dataset, fields.get("learning_rate", USUAL_RATE)
            )
        every = max(1, fields["curvature_every"] // 4)
        plain = {name: fields[name] for name in fields if name not in OF_THE_TABLES}
        return experiment(plain, probed_epochs=(), evaluate_every=every)

    def draw(self, traces: Sequence[xr.Dataset]) -> Figure:
        """The dashed line is 2/η, beyond which gradient descent on a quadratic diverges.

        The walk of gradient descent, where there is one, is laid over it by its own iterations.
        """
        import matplotlib.pyplot as plt
        import seaborn as sns
        from matplotlib.ticker import MaxNLocator

        trace, *edge = traces
        with figures.style():
            figure, (top, bottom) = plt.subplots(
                2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 2), layout="constrained"
            )
            figures.sharpness(trace, axes=top, label="SGD")
            top.set_ylabel(r"largest eigenvalue $\lambda_{\max}(H)$")
            for descent in edge:
                over = top.twiny()
                figures.sharpness(descent, axes=over, colour=figures.GREEN, edge=False)
                over.set_xlabel("iteration of gradient descent, fewer images", color=figures.GREEN)
                over.xaxis.set_major_locator(MaxNLocator(integer=True))
                top.plot([], [], "o-", color=figures.GREEN, markersize=5, label="gradient descent")
            top.set_ylim(bottom=0)
            handles, names = top.get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
            accuracy = trace["validation_accuracy"].dropna("epoch")
            bottom.plot(accuracy["epoch"], accuracy, color=figures.BLUE, marker="o", markersize=3)
            bottom.set_ylabel("validation accuracy")
            bottom.set_xlabel("epoch")
            bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(figure, top=not edge)
            sns.despine(ax=bottom)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of the walk of SGD, by epoch; `edge` is the long walk of gradient descent."""
        trace = traces[0]
        known = trace["hessian_max"].dropna("epoch")
        epochs, largest = known["epoch"].values, known.values
        accuracy = trace["validation_accuracy"].dropna("epoch")
        lowest, highest = int(np.argmin(largest)), int(np.argmax(largest))
        residual = trace["hessian_residual"].dropna("epoch").values
        first, middle, last = _thirds(trace)
        edge = 2 / float(trace["learning_rate"].values[0])
        return {
            "setting": setting_of(self.experiments[0]),
            "of_the_paper": in_the_paper(self.experiments[0], "vgg11", "resnet56"),
            "two_over_rate": edge,
            "measurements": len(largest),
            "first": float(largest[0]),
            "first_epoch": int(epochs[0]),
            "lowest": float(largest[lowest]),
            "lowest_epoch": int(epochs[lowest]),
            "highest": float(largest[highest]),
            "highest_epoch": int(epochs[highest]),
            "last": float(largest[-1]),
            "smallest": float(trace["hessian_min"].dropna("epoch")[-1])
            if "hessian_min" in trace
            else None,
            "above": int((largest > edge).sum()),
            "residual": float(residual.max()),
            "not_converged": int((residual > figures.CONVERGED).sum()),
            "falls": math.exp(middle - first),
            "rises": math.exp(last - middle),
            "fitting": while_fitting(trace),
            "nearly_fitted": measures.NEARLY_FITTED,
            "correlation": rank_correlation(trace),
            "together": _known(trace).sizes["epoch"],
            "best_accuracy": float(accuracy.max()),
            "last_accuracy": float(accuracy[-1]),
            "edge": edge_numbers(self.experiments[1], traces[1]) if len(traces) > 1 else None,
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """The walk's spectral norm; the paper prints no numbers for Figures 3 and 7."""
        n = self.numbers(traces)
        smallest = "not measured" if n["smallest"] is None else f"{n['smallest']:.3g}"
        rows = [
            ("largest eigenvalue when first measured", "", f"{n['first']:.3g}"),
            ("its lowest value", "falls for most of training", f"{n['lowest']:.3g}"),
            ("epoch of that", "towards the end", f"{n['lowest_epoch']}"),
            ("largest eigenvalue at the end", "rises slightly at the end", f"{n['last']:.3g}"),
            ("smallest eigenvalue at the end", "", smallest),
            ("2/η", "", f"{n['two_over_rate']:.3g}"),
            ("largest relative residual", "", f"{n['residual']:.1e}"),
            ("validation accuracy at its best", "", f"{n['best_accuracy']:.1%}"),
            ("validation accuracy at the end", "drops at the end", f"{n['last_accuracy']:.1%}"),
        ]
        said = n["of_the_paper"]
        lines = [
            [name, (paper or "not printed") if said else "no such figure", here]
            for name, paper, here in rows
        ]
        if len(traces) > 1:
            what, share = share_in_words(traces[1])
            lines.append([f"gradient descent: {what}", "about 1 (Cohen et al. 2021)", share])
        return markdown_table(["quantity", "paper", "this walk"], lines)


# Claims -------------------------------------------------------------------------------------------

SHARED = {
    "number": 9,
    "item": "fig3",
    "pages": (SpectralNorm,),
    "subjects": EVERY_NETWORK,
}
RISES_AT_FIRST = {
    "vgg11": (
        "caution: while the images are being fitted the norm rises; it falls once they are fitted"
    )
}


def _known(trace: xr.Dataset) -> xr.Dataset:
    """The epochs in which both were measured."""
    return trace[["hessian_max", "validation_accuracy"]].dropna("epoch")


def _thirds(trace: xr.Dataset) -> list[float]:
    """Its mean logarithm in each third of the measured epochs; no number where it is negative."""
    largest = _known(trace)["hessian_max"].values
    if len(largest) < 3 or largest.min() <= 0:
        return [math.nan] * 3
    return [float(np.log(third).mean()) for third in np.array_split(largest, 3)]


def while_fitting(trace: xr.Dataset) -> dict[str, Any] | None:
    """The spectral norm when first measured, and at the end of the last epoch before the images are
    nearly fitted; nothing where it was not measured in between.
    """
    known = trace[["hessian_max", "train_loss"]].dropna("epoch")
    fitted = np.flatnonzero(known["train_loss"].values < measures.NEARLY_FITTED)
    if not len(fitted) or fitted[0] < 2:
        return None
    last = known.isel(epoch=fitted[0] - 1)
    return {
        "epoch": int(last["epoch"]),
        "first": float(known["hessian_max"][0]),
        "last": float(last["hessian_max"]),
    }


def rank_correlation(trace: xr.Dataset) -> float:
    """Of the spectral norm with the validation accuracy; not a number where there is none."""
    from scipy import stats

    known = _known(trace)
    accuracy, count = known["validation_accuracy"].values, known.sizes["epoch"]
    if count < 3 or accuracy.min() == accuracy.max():
        return math.nan  # A constant has no rank correlation.
    found = float(stats.spearmanr(known["hessian_max"].values, accuracy).statistic)
    # Fisher's z of ±1 is infinite. The next value that so few ranks can have is 12 / (n³ − n) away:
    # take the middle.
    most = 1 - 6 / (count**3 - count)
    return min(max(found, -most), most)


@claim(
    id="sharpness-falls",
    sentence="The spectral norm falls as training goes on.",
    source="Section 3.1, Figure 3",
    paper="below 1",
    below=1.0,
    quantity="ratio",
    primary=("vgg11",),
    cautions=RISES_AT_FIRST,
    reasons={
        "resnet56": (
            "Likeliest reason: for most of the walk the images are still being fitted, and while "
            "they are, the norm rises."
        )
    },
    **SHARED,
)
def falls(walked: Walked) -> float:
    """Its geometric mean in the middle third of the measured epochs over that in the first."""
    first, middle, _ = _thirds(walked.trace)
    return math.exp(middle - first)


@claim(
    id="sharpness-rises",
    sentence="The spectral norm rises again at the end.",
    source="Section 3.1, Figure 3",
    paper="slightly above 1",
    above=1.0,
    quantity="ratio",
    reasons=dict.fromkeys(
        ("vgg11", "mlp"),
        "Likeliest reason: the images are fitted long before the walk ends, and the curvature of "
        "cross-entropy vanishes with what is left to fit.",
    ),
    **SHARED,
)
def rises(walked: Walked) -> float:
    """Its geometric mean in the last third of the measured epochs over that in the middle one."""
    _, middle, last = _thirds(walked.trace)
    return math.exp(last - middle)


@claim(
    id="sharpness-and-accuracy",
    sentence="The lower the spectral norm, the better the validation accuracy.",
    source="Section 3.1, Figures 3 and 7",
    paper="negative, mild",
    below=0.0,
    quantity="correlation",
    cautions=RISES_AT_FIRST,
    reasons={
        "resnet56": (
            "Likeliest reason: for most of the walk the images are still being fitted, and while "
            "they are, norm and accuracy rise together."
        )
    },
    **SHARED,
)
def goes_with_accuracy(walked: Walked) -> float:
    """Rank correlation of the two over the epochs."""
    return rank_correlation(walked.trace)
