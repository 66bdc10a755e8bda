"""Trace(s) → matplotlib axes, one function a figure family."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import analysis, measures
from .quadratic import contraction, descend, measured_contraction
from .statistics import Interval, proportion

# seaborn's colour-blind safe palette.
BLUE, ORANGE, GREEN = sns.color_palette("colorblind")[:3]
GREY = "0.85"
# Largest relative residual of an eigenvalue that counts as converged.
CONVERGED = 1e-3
# Steps over which the cosine is smoothed, as a share of what is shown.
SMOOTHED_SHARE = 0.1


@contextmanager
def _style() -> Iterator[None]:
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        yield


def walk(
    trace: xr.Dataset,
    epoch: int = 1,
    iterations: int | None = None,
    edge: xr.Dataset | None = None,
) -> Figure:
    """The three panels of Figures 1, 2 and 9 to 21.

    Top: training loss along each segment, a grey line at each iterate, the valley floor dashed.
    Middle: cosine of the gradients of two consecutive steps. Bottom: distance from θ_0.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Epoch, counted from 1, at whose start the window begins.
    iterations : int, optional
        Length of the window; default all that were measured.
    edge : xarray.Dataset, optional
        A longer walk with curvature, for a fourth panel: its spectral norm beside 2/η.
    """
    steps = measures.window(trace, epoch, iterations)
    loss, alpha = steps["loss"].values, steps["alpha"].values
    start = int(steps["iteration"][0])
    positions = np.arange(len(loss))
    with _style():
        ratios = (3, 1, 1) if edge is None else (3, 1, 1, 1.5)
        figure, (top, middle, bottom, *more) = plt.subplots(
            len(ratios),
            1,
            figsize=(8, 2.5 * len(ratios)),
            height_ratios=ratios,
            layout="constrained",
        )
        for axis in (top, middle):
            axis.sharex(bottom)
            axis.tick_params(labelbottom=False)
        for axis in (top, middle, bottom):
            for position in range(len(loss) + 1):
                axis.axvline(position, color=GREY, linewidth=0.7, zorder=0)
        top.plot(
            _along(loss, alpha),
            loss.ravel(),
            color=BLUE,
            linewidth=1.4,
            label=r"$L(\theta^\alpha)$",
        )
        top.plot(
            positions + analysis.floor_alpha(loss, alpha),
            analysis.floor(loss),
            color=ORANGE,
            linestyle="--",
            linewidth=1.4,
            label=r"valley floor $L(\theta_t^{\min})$",
        )
        top.set_ylabel(r"training loss $L(\theta^\alpha)$")
        top.legend(frameon=False, loc="upper right")
        middle.plot(positions, steps["cosine"], color=BLUE, marker="o", markersize=3)
        middle.axhline(0, color="0.5", linewidth=0.8)
        middle.set_ylim(-1.05, 1.05)
        middle.set_ylabel(r"$\cos(g_{t-1}, g_t)$")
        bottom.plot(positions + 1, steps["distance"], color=BLUE, marker="o", markersize=3)
        bottom.set_ylabel(r"$\|\theta_t - \theta_0\|_2$")
        counted = "iteration $t$" if start == 0 else f"iteration $t$ (from {start})"
        bottom.set_xlabel(counted)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        if edge is not None:
            (axis,) = more
            _sharpness(axis, edge, BLUE)
            _edge_line(axis, edge)
            axis.set_ylim(bottom=0)
            axis.set_xlabel("iteration of a longer walk")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(frameon=False)
        sns.despine(figure)
    return figure


def _along(loss: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Where each loss of consecutive segments stands on the axis of iterations."""
    return (np.arange(len(loss))[:, None] + alpha[None, :]).ravel()


def side_by_side(traces: Sequence[xr.Dataset], names: Sequence[str]) -> Figure:
    """Walks from one start, a column each: losses and floor, cosine, distance, on equal axes.

    Parameters
    ----------
    traces : sequence of xarray.Dataset
    names : sequence of str
        Title of each column.
    """
    with _style():
        figure, axes = plt.subplots(
            3,
            len(traces),
            figsize=(3.4 * len(traces), 6.5),
            height_ratios=(2, 1, 1),
            sharex=True,
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for (top, middle, bottom), trace, name in zip(axes.T, traces, names, strict=True):
            steps = measures.window(trace)
            loss, alpha = steps["loss"].values, steps["alpha"].values
            positions = np.arange(len(loss))
            top.plot(_along(loss, alpha), loss.ravel(), color=BLUE, linewidth=1)
            floor = positions + analysis.floor_alpha(loss, alpha)
            top.plot(floor, analysis.floor(loss), color=ORANGE, linestyle="--", linewidth=1)
            top.set_title(name)
            middle.plot(positions, steps["cosine"], color=BLUE, linewidth=1)
            middle.axhline(0, color="0.5", linewidth=0.8)
            middle.set_ylim(-1.05, 1.05)
            bottom.plot(positions + 1, steps["distance"], color=BLUE, linewidth=1)
            bottom.set_xlabel("iteration $t$")
        for axis, label in zip(
            axes[:, 0],
            (r"loss $L(\theta^\alpha)$", r"$\cos(g_{t-1}, g_t)$", r"$\|\theta_t - \theta_0\|_2$"),
            strict=True,
        ):
            axis.set_ylabel(label)
        sns.despine(figure)
    return figure


def twin(kept: xr.Dataset, live: xr.Dataset) -> Figure:
    """One walk, recorded and walked again: the losses along the segments and their difference."""
    with _style():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(8, 5), height_ratios=(2, 1), sharex=True, layout="constrained"
        )
        drawn = []
        for trace, colour, style, label in (
            (kept, BLUE, "-", "recorded"),
            (live, ORANGE, ":", "live"),
        ):
            steps = measures.window(trace)
            loss, alpha = steps["loss"].values, steps["alpha"].values
            along = _along(loss, alpha)
            top.plot(along, loss.ravel(), color=colour, linestyle=style, linewidth=2, label=label)
            drawn.append(loss.ravel())
        top.set_ylabel(r"training loss $L(\theta^\alpha)$")
        top.legend(frameon=False)
        bottom.plot(along, drawn[1] - drawn[0], color=GREEN, linewidth=1.2)
        bottom.set_ylabel("live − recorded")
        bottom.set_xlabel("iteration $t$")
        sns.despine(figure)
    return figure


def _sharpness(axis: Axes, trace: xr.Dataset, colour: Any, label: str | None = None) -> None:
    """The spectral norm by epoch; hollow where the search had not converged."""
    known = trace[["hessian_max", "hessian_residual"]].dropna("epoch")
    epoch, largest = known["epoch"].values, known["hessian_max"].values
    rough = known["hessian_residual"].values > CONVERGED
    axis.plot(epoch, largest, "o-", color=colour, linewidth=1.4, markersize=5, label=label)
    if rough.any():
        hollow = {"color": colour, "markerfacecolor": "white", "markersize": 5}
        axis.plot(epoch[rough], largest[rough], "o", label="not converged", **hollow)
    axis.set_ylabel(r"$\lambda_{\max}(H)$")


def _edge_line(axis: Axes, trace: xr.Dataset) -> None:
    edge = 2 / float(trace["learning_rate"][0])
    axis.axhline(edge, color=ORANGE, linestyle="--", label=rf"$2/\eta = {edge:g}$")


def quadratic(eigenvalues: Sequence[float], learning_rate: float, steps: int = 20) -> Figure:
    """Figure 28: |1 − λη| against η, and gradient descent runs that land on it.

    Lines are the formula for the smallest and largest eigenvalue, the orange area is where all
    others lie; circles are what runs of gradient descent did in `steps` steps. Shaded blue: the
    largest eigenvalue's direction bounces and still converges, 1/λ_max < η < 2/λ_max. Diamonds mark
    `learning_rate`.
    """
    smallest, largest = min(eigenvalues), max(eigenvalues)
    eta = np.linspace(0, 2.4 / largest, 400)
    with _style():
        figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
        axis.axvspan(1 / largest, 2 / largest, color=BLUE, alpha=0.12, lw=0)
        between = np.linspace(smallest, largest, 200)[:, None]
        area = contraction(between, eta)
        axis.fill_between(eta, area.min(axis=0), area.max(axis=0), color=ORANGE, alpha=0.2, lw=0)
        runs = np.linspace(0.1, 2.3, 12) / largest
        for eigenvalue, colour, name in (
            (largest, GREEN, r"\max"),
            (smallest, BLUE, r"\min"),
        ):
            label = rf"$\lambda_{{{name}}} = {eigenvalue:g}$"
            axis.plot(eta, contraction(eigenvalue, eta), color=colour, label=label)
            found = [measured_contraction(descend([eigenvalue], rate, steps))[0] for rate in runs]
            axis.plot(runs, found, "o", color=colour, markerfacecolor="none", markersize=6)
            here = contraction(eigenvalue, learning_rate)
            axis.plot(learning_rate, here, "D", color=colour, markersize=9)
        axis.axhline(1, color="0.5", linewidth=0.8)
        for position, text in (
            (0.5, "all over-damped"),
            (1.5, r"$\lambda_{\max}$ under-damped"),
            (2.2, "divergent"),
        ):
            axis.text(position / largest, 1.32, text, ha="center", fontsize="small")
        axis.set_ylim(0, 1.45)
        axis.set_xlim(0, max(eta[-1], learning_rate * 1.05))
        axis.set_xlabel(r"learning rate $\eta$")
        axis.set_ylabel(r"convergence rate $|\lambda\eta - 1|$")
        axis.legend(frameon=False, loc="lower left")
        sns.despine(figure)
    return figure


def spectral_norm(trace: xr.Dataset, edge: xr.Dataset | None = None) -> Figure:
    """Figures 3 and 7: the Hessian's largest eigenvalue and the validation accuracy by epoch.

    The dashed line is 2/η, beyond which gradient descent on a quadratic diverges.

    Parameters
    ----------
    trace : xarray.Dataset
    edge : xarray.Dataset, optional
        A walk of gradient descent to lay over it, by its own iterations.
    """
    epoch = trace["epoch"].values
    with _style():
        figure, (top, bottom) = plt.subplots(
            2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 2), layout="constrained"
        )
        _sharpness(top, trace, BLUE, "SGD")
        _edge_line(top, trace)
        top.set_ylabel(r"largest eigenvalue $\lambda_{\max}(H)$")
        if edge is not None:
            over = top.twiny()
            _sharpness(over, edge, GREEN)
            over.set_xlabel("iteration of gradient descent, fewer images", color=GREEN)
            over.xaxis.set_major_locator(MaxNLocator(integer=True))
            top.plot([], [], "o-", color=GREEN, markersize=5, label="gradient descent")
        top.set_ylim(bottom=0)
        top.legend(frameon=False)
        accuracy = trace["validation_accuracy"].values
        there = ~np.isnan(accuracy)
        bottom.plot(epoch[there], accuracy[there], color=BLUE, marker="o", markersize=3)
        bottom.set_ylabel("validation accuracy")
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        sns.despine(figure, top=edge is None)
        sns.despine(ax=bottom)
    return figure


def factors(panels: Mapping[str, tuple[str, pd.DataFrame]]) -> Figure:
    """Figures 4 and 22 to 24: the cosine by iteration, a panel for each factor that varies.

    Lines are smoothed means over the seeds; bands hold the middle half of the raw values in the
    same stretch of iterations.

    Parameters
    ----------
    panels : mapping of name → (column, DataFrame)
        The column varies; the frame has a row a step with it, `iteration` and `cosine`.
    """
    with _style():
        figure, axes = plt.subplots(
            1, len(panels), sharey=True, figsize=(10, 4.5), layout="constrained"
        )
        for axis, (name, (column, steps)) in zip(axes, panels.items(), strict=True):
            values = sorted(steps[column].unique())
            for value, colour in zip(
                values, sns.color_palette("viridis", len(values)), strict=True
            ):
                raw = steps[steps[column] == value].dropna(subset=["cosine"])
                width = max(1, round(SMOOTHED_SHARE * raw["iteration"].max()))
                stretch = (raw["iteration"] - 1) // width
                smooth = raw.groupby(stretch)["cosine"].agg(
                    ["mean", lambda c: c.quantile(0.25), lambda c: c.quantile(0.75)]
                )
                middle = raw.groupby(stretch)["iteration"].mean()
                low, high = smooth.iloc[:, 1], smooth.iloc[:, 2]
                axis.plot(middle, smooth["mean"], color=colour, label=f"{value:g}")
                axis.fill_between(middle, low, high, color=colour, alpha=0.15, lw=0)
            axis.axhline(0, color="0.5", linewidth=0.8)
            axis.set_xlabel("iteration $t$")
            axis.legend(title=name, frameon=False)
        axes[0].set_ylabel(r"$\cos(g_{t-1}, g_t)$, smoothed")
        sns.despine(figure)
    return figure


def isotropic_noise(
    epochs: pd.DataFrame, leaving: Sequence[str], switch_epoch: int | None
) -> Figure:
    """Figures 5, 25 and 26, with footnote 7's walks that leave the noisy one.

    Parameters
    ----------
    epochs : DataFrame
        A row an epoch and walk: walk, epoch, train_loss, validation_accuracy, cosine, distance,
        parameter_norm.
    leaving : sequence of str
        Names of the walks of footnote 7.
    switch_epoch : int
        Epoch after which those change.
    """
    staying = epochs[~epochs["walk"].isin(leaving)]
    left = epochs[epochs["walk"].isin(leaving) & (epochs["epoch"] >= switch_epoch)]
    with _style():
        figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
        panels = [
            (staying, "train_loss", "training loss"),
            (staying, "validation_accuracy", "validation accuracy"),
            (left, "train_loss", f"training loss after epoch {switch_epoch}"),
            (staying, "cosine", r"$\cos(g_{t-1}, g_t)$"),
            (staying, "distance", r"$\|\theta_t - \theta_0\|_2$"),
            (staying, "parameter_norm", r"$\|\theta_t\|_2$"),
        ]
        for index, (axis, (frame, column, label)) in enumerate(zip(axes.flat, panels, strict=True)):
            known = frame.dropna(subset=[column])
            palette = "rocket" if frame is left else "colorblind"
            sns.lineplot(
                known,
                x="epoch",
                y=column,
                hue="walk",
                palette=palette,
                ax=axis,
                legend="full" if index in (0, 2) else False,
            )
            axis.set_ylabel(label)
            if column in ("distance", "parameter_norm"):
                axis.set_yscale("log")
        for axis, place in (
            (axes[0, 0], "outside upper left"),
            (axes[0, 2], "outside upper right"),
        ):
            handles, names = axis.get_legend_handles_labels()
            axis.get_legend().remove()
            options: dict[str, Any] = {"loc": place, "ncols": len(names), "frameon": False}
            figure.legend(handles, names, **options)
        sns.despine(figure)
    return figure


def schedules(epochs: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Figures 6 and 27: learning rate, training loss and validation accuracy by epoch.

    Lines are means over the seeds, bands run from the lowest seed to the highest.
    """
    with _style():
        figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 9), layout="constrained")
        for axis, column, label in zip(
            axes,
            ("learning_rate", "train_loss", "validation_accuracy"),
            ("learning rate", "training loss", "validation accuracy"),
            strict=True,
        ):
            sns.lineplot(
                epochs.dropna(subset=[column]),
                x="epoch",
                y=column,
                hue="schedule",
                ax=axis,
                hue_order=order,
                palette="colorblind",
                errorbar=("pi", 100),
                legend=axis is axes[0],
            )
            axis.set_ylabel(label)
        axes[0].legend(frameon=False, ncol=2)
        axes[1].set_yscale("log")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        sns.despine(figure)
    return figure


def barriers_by_epoch(epochs: pd.DataFrame) -> Figure:
    """Figure 8: how many steps of each epoch cross a barrier, and how high the highest is.

    Parameters
    ----------
    epochs : DataFrame
        A row an epoch: epoch, steps, both, either, above noise, largest, loss, noise.
    """
    noise_known = epochs["noise"].notna().any()
    with _style():
        figure, (top, bottom) = plt.subplots(
            2, 1, sharex=True, figsize=(8, 7), layout="constrained"
        )
        for column, colour, label in (
            ("either", GREY, "higher than either end"),
            ("both", BLUE, "higher than both ends"),
            ("above noise", ORANGE, "the same, above the noise floor"),
        ):
            if column != "above noise" or noise_known:
                top.bar(epochs["epoch"], epochs[column], color=colour, label=label)
        top.set_ylim(0, max(epochs["steps"].max(), 1))
        top.set_ylabel(f"barriers in {epochs['steps'].max()} steps")
        top.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        bottom.plot(epochs["epoch"], epochs["loss"], color=GREEN, label="training loss")
        if noise_known:
            noise = epochs["noise"]
            bottom.plot(epochs["epoch"], noise, color=ORANGE, ls="--", label="noise floor")
        crossed = epochs[epochs["largest"] > 0]
        if len(crossed):
            where, heights = crossed["epoch"], crossed["largest"]
            bottom.plot(where, heights, "o", color=BLUE, label="largest barrier")
        bottom.set_yscale("log")
        bottom.set_ylabel("loss")
        bottom.set_xlabel("epoch")
        bottom.legend(frameon=False)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        sns.despine(figure)
    return figure


def barrier_shares(counts: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Table 1 as a picture: the share of steps that cross a barrier, beside the paper's.

    Parameters
    ----------
    counts : DataFrame
        A row a network and epoch: model, epoch, both, steps, paper (of 450, or none).
    titles : mapping of model → its name in the figure
    """
    models = list(dict.fromkeys(counts["model"]))
    with _style():
        figure, axes = plt.subplots(
            1, len(models), sharey=True, squeeze=False, figsize=(10, 4), layout="constrained"
        )
        for axis, model in zip(axes[0], models, strict=True):
            rows = counts[counts["model"] == model]
            positions = np.arange(len(rows))
            shares = [proportion(b, s) for b, s in zip(rows["both"], rows["steps"], strict=True)]
            _points(axis, positions, shares, BLUE, "this walk")
            axis.plot(
                positions + 0.15,
                rows["paper"] / 450,
                "D",
                color=ORANGE,
                markerfacecolor="none",
                label="paper",
            )
            axis.set_xticks(positions, rows["epoch"])
            axis.set_title(titles[model])
            axis.set_xlabel("epoch")
        axes[0, 0].set_ylabel("share of steps with a barrier")
        axes[0, 0].set_ylim(bottom=-0.005)
        axes[0, 0].legend(frameon=False)
        sns.despine(figure)
    return figure


def heights(rows: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Table 2 as a picture: the mean height by epoch for each learning rate, and the paper's.

    Parameters
    ----------
    rows : DataFrame
        A row a network, rate and epoch: model, rate, epoch, interval of the mean height, paper.
    titles : mapping of model → its name in the figure
    """
    models = list(dict.fromkeys(rows["model"]))
    with _style():
        figure, axes = plt.subplots(
            1, len(models), sharey=True, squeeze=False, figsize=(10, 4.5), layout="constrained"
        )
        for axis, model in zip(axes[0], models, strict=True):
            here = rows[rows["model"] == model]
            epochs = sorted(here["epoch"].unique())
            rates = list(dict.fromkeys(here["rate"]))
            for rate, colour in zip(rates, sns.color_palette("colorblind"), strict=False):
                of_rate = here[here["rate"] == rate]
                positions = np.array([epochs.index(epoch) for epoch in of_rate["epoch"]])
                intervals = list(of_rate["interval"])
                _points(axis, positions, intervals, colour, rf"$\eta = {rate:g}$")
                axis.plot(
                    positions + 0.1,
                    of_rate["paper"],
                    "D--",
                    color=colour,
                    markerfacecolor="none",
                    alpha=0.6,
                    label=rf"paper, $\eta = {rate:g}$",
                )
            axis.set_yscale("log")
            axis.set_xticks(range(len(epochs)), epochs)
            axis.set_title(titles[model])
            axis.set_xlabel("epoch")
            axis.legend(frameon=False, fontsize="small")
        axes[0, 0].set_ylabel("mean height above the valley floor")
        sns.despine(figure)
    return figure


def _points(
    axis: Axes, positions: np.ndarray, intervals: Sequence[Interval], colour: Any, label: str
) -> None:
    """Estimates with their intervals."""
    middle = np.array([interval.estimate for interval in intervals])
    low = middle - np.array([interval.low for interval in intervals])
    high = np.array([interval.high for interval in intervals]) - middle
    errors = np.maximum([low, high], 0)
    axis.errorbar(positions, middle, errors, fmt="o", color=colour, capsize=3, label=label)


def noise_structure(
    small: pd.DataFrame, alignments: pd.DataFrame, terms: Mapping[str, str]
) -> Figure:
    """Appendix D: Equation 7 along a small network's training; noise and curvature of large ones.

    Parameters
    ----------
    small : DataFrame
        A row a measured step: step, error, and the norm of each term as a share of the Hessian's.
    alignments : DataFrame
        A row a network and epoch: model, epoch, noise_overlap, random.
    terms : mapping of column → its name in the figure
    """
    with _style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
        for column, name in terms.items():
            left.plot(small["step"] + 1, small[column], marker="o", label=f"{name}")
        left.plot(small["step"] + 1, small["fisher"], "--", color="0.4", label="H − Fisher")
        left.set_xscale("log")
        left.set_yscale("log")
        left.set_xlabel("step + 1 of the small network")
        left.set_ylabel(r"norm of the term / $\|H\|$")
        left.legend(frameon=False)
        for (model, rows), colour in zip(
            alignments.groupby("model", sort=False), sns.color_palette("colorblind"), strict=False
        ):
            right.plot(rows["epoch"], rows["noise_overlap"], "o-", color=colour, label=model)
            right.plot(rows["epoch"], rows["random"], ":", color=colour)
        right.set_yscale("log")
        right.set_xlabel("epoch")
        right.set_ylabel("overlap of the top subspaces of C and H")
        right.legend(frameon=False, title="dotted: by chance")
        sns.despine(figure)
    return figure


def conventions(traces: Mapping[str, xr.Dataset], segments: int = 12) -> Figure:
    """Text and code side by side: GD's sum, the measured loss, the spectral norm, the noise.

    Parameters
    ----------
    traces : mapping of name → trace
        "gd", "sgd", "spectral" and "noise × FACTOR", each followed by "text" or "code".
    segments : int
        Segments of SGD that are shown.
    """
    with _style():
        figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
        distance, loss, spectral, norm = axes.flat
        for convention, colour in (("text", BLUE), ("code", ORANGE)):
            walk = traces[f"gd {convention}"]
            distance.plot(walk["iteration"] + 1, walk["distance"], color=colour, label=convention)
            steps = measures.window(traces[f"sgd {convention}"], 1, segments)
            along = steps["iteration"].values[:, None] + steps["alpha"].values
            loss.plot(along.ravel(), steps["loss"].values.ravel(), color=colour, lw=1)
            curvature = traces[f"spectral {convention}"]["hessian_max"].dropna("epoch")
            spectral.plot(curvature["epoch"], curvature, "o-", color=colour)
            for name in (n for n in traces if n.startswith("noise") and n.endswith(convention)):
                factor = name.split()[2]
                style = "-" if float(factor) == 0.1 else "--"
                walk = traces[name]
                norm.plot(
                    walk["iteration"] + 1,
                    walk["parameter_norm"],
                    style,
                    color=colour,
                    label=f"× {factor}",
                )
        distance.set_xlabel("iteration")
        distance.set_ylabel(r"GD: $\|\theta_t - \theta_0\|_2$")
        distance.legend(frameon=False)
        loss.set_xlabel("iteration")
        loss.set_ylabel("SGD: loss along the segments")
        spectral.set_xlabel("epoch")
        spectral.set_ylabel("SGD: largest eigenvalue")
        norm.set_xlabel("iteration")
        norm.set_ylabel(r"GD + noise: $\|\theta_t\|_2$")
        norm.set_yscale("log")
        norm.legend(frameon=False)
        sns.despine(figure)
    return figure
