"""Trace(s) → matplotlib axes, one function a figure family."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import analysis
from .quadratic import contraction, descend, measured_contraction

# seaborn's colour-blind safe palette.
BLUE, ORANGE, GREEN = sns.color_palette("colorblind")[:3]
GREY = "0.85"


def window(trace: xr.Dataset, epoch: int = 1, iterations: int | None = None) -> xr.Dataset:
    """Measured steps from the start of an epoch on.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Counted from 1.
    iterations : int, optional
        At most so many; default all that were measured without a gap.

    Raises
    ------
    ValueError
        The trace has no measured segment there.
    """
    start = (epoch - 1) * int(trace.attrs.get("steps_in_epoch", 1))
    known = analysis.measured(trace["loss"].values)[start:]
    gaps = np.flatnonzero(~known)
    count = int(gaps[0]) if len(gaps) else len(known)
    if not count:
        measured = np.flatnonzero(analysis.measured(trace["loss"].values))
        where = f"iterations {measured[0]} to {measured[-1]}" if len(measured) else "none"
        raise ValueError(
            f"no segment was measured from epoch {epoch} (iteration {start}) on; measured: {where}"
        )
    return trace.isel(iteration=slice(start, start + min(count, iterations or count)))


def walk(trace: xr.Dataset, epoch: int = 1, iterations: int | None = None) -> Figure:
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
    """
    steps = window(trace, epoch, iterations)
    loss, alpha = steps["loss"].values, steps["alpha"].values
    start = int(steps["iteration"][0])
    positions = np.arange(len(loss))
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        figure, (top, middle, bottom) = plt.subplots(
            3, 1, sharex=True, figsize=(8, 7.5), height_ratios=(3, 1, 1), layout="constrained"
        )
        for axis in (top, middle, bottom):
            for position in range(len(loss) + 1):
                axis.axvline(position, color=GREY, linewidth=0.7, zorder=0)
        along = (positions[:, None] + alpha[None, :]).ravel()
        top.plot(along, loss.ravel(), color=BLUE, linewidth=1.4, label=r"$L(\theta^\alpha)$")
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
        sns.despine(figure)
    return figure


def quadratic(eigenvalues: Sequence[float], learning_rate: float, steps: int = 20) -> Figure:
    """Figure 28: |1 − λη| against η, and gradient descent runs that land on it.

    Lines are the formula for the smallest and largest eigenvalue, the orange area is where all
    others lie; circles are what runs of gradient descent did in `steps` steps. Shaded blue: the
    largest eigenvalue's direction bounces and still converges, 1/λ_max < η < 2/λ_max. Diamonds mark
    `learning_rate`.
    """
    smallest, largest = min(eigenvalues), max(eigenvalues)
    eta = np.linspace(0, 2.4 / largest, 400)
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
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


def spectral_norm(trace: xr.Dataset, tolerance: float = 1e-3) -> Figure:
    """Figures 3 and 7: the Hessian's largest eigenvalue and the validation accuracy by epoch.

    An eigenvalue whose residual is above `tolerance` is drawn hollow: it has not converged. The
    dashed line is 2/η, beyond which gradient descent on a quadratic diverges.
    """
    epoch = trace["epoch"].values
    largest, residual = trace["hessian_max"].values, trace["hessian_residual"].values
    known, converged = ~np.isnan(largest), residual <= tolerance
    edge = 2 / float(trace["learning_rate"][0])
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        figure, (top, bottom) = plt.subplots(
            2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 2), layout="constrained"
        )
        top.plot(epoch[known], largest[known], color=BLUE, linewidth=1.4)
        top.plot(epoch[known & converged], largest[known & converged], "o", color=BLUE)
        top.plot(
            epoch[known & ~converged],
            largest[known & ~converged],
            "o",
            color=BLUE,
            markerfacecolor="white",
            label="not converged" if (known & ~converged).any() else None,
        )
        top.axhline(edge, color=ORANGE, linestyle="--", label=rf"$2/\eta = {edge:g}$")
        top.set_ylim(bottom=0)
        top.set_ylabel(r"largest eigenvalue $\lambda_{\max}(H)$")
        top.legend(frameon=False)
        accuracy = trace["validation_accuracy"].values
        there = ~np.isnan(accuracy)
        bottom.plot(epoch[there], accuracy[there], color=BLUE, marker="o", markersize=3)
        bottom.set_ylabel("validation accuracy")
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        sns.despine(figure)
    return figure
