"""Pictures of any trace, each onto axes that are given or onto a figure of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import analysis, measures
from .statistics import Interval

# seaborn's colour-blind safe palette.
BLUE, ORANGE, GREEN = sns.color_palette("colorblind")[:3]
GREY = "0.85"
# Largest relative residual of an eigenvalue that counts as converged.
CONVERGED = 1e-3


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures."""
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        yield


def along(steps: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Losses of consecutive segments and where each stands on the axis of iterations.

    Parameters
    ----------
    steps : xarray.Dataset
        Measured iterations of a trace (see `measures.window`); the first stands at 0.

    Returns
    -------
    positions, losses : ndarray, shape (steps × (points + 1),)
    """
    loss, alpha = steps["loss"].values, steps["alpha"].values
    positions = np.arange(len(loss))[:, None] + alpha[None, :]
    return positions.ravel(), loss.ravel()


def walk(
    trace: xr.Dataset,
    epoch: int = 1,
    iterations: int | None = None,
    *,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """The three panels of Figures 1, 2 and 9 to 21 of the paper.

    Top: training loss along each segment, a grey line at each iterate, the valley floor dashed.
    Middle: cosine of the gradients of two consecutive steps. Bottom: distance from θ_0.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Epoch, counted from 1, at whose start the window begins.
    iterations : int, optional
        Length of the window; default all that were measured.
    axes : sequence of three Axes, optional
        To draw onto; default a new figure's.

    Returns
    -------
    Figure
        That of the axes.
    """
    steps = measures.window(trace, epoch, iterations)
    start = int(steps["iteration"][0])
    with style():
        if axes is None:
            _, axes = plt.subplots(
                3, 1, figsize=(8, 7.5), height_ratios=(3, 1, 1), layout="constrained"
            )
        top, middle, bottom = axes
        for axis in (top, middle):
            axis.sharex(bottom)
            axis.tick_params(labelbottom=False)
        for axis in (top, middle, bottom):
            for position in range(steps.sizes["iteration"] + 1):
                axis.axvline(position, color=GREY, linewidth=0.7, zorder=0)
        _losses(top, steps, 1.4)
        top.set_ylabel(r"training loss $L(\theta^\alpha)$")
        top.legend(frameon=False, loc="upper right")
        _cosine(middle, steps, marker="o", markersize=3)
        middle.set_ylabel(r"$\cos(g_{t-1}, g_t)$")
        _distance(bottom, steps, marker="o", markersize=3)
        bottom.set_ylabel(r"$\|\theta_t - \theta_0\|_2$")
        bottom.set_xlabel("iteration $t$" if start == 0 else f"iteration $t$ (from {start})")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in axes:
            sns.despine(ax=axis)
    return _figure(top)


def side_by_side(
    traces: Sequence[xr.Dataset], names: Sequence[str], *, axes: np.ndarray | None = None
) -> Figure:
    """Walks from one start, a column each: losses and floor, cosine, distance, on equal axes.

    Parameters
    ----------
    traces : sequence of xarray.Dataset
    names : sequence of str
        Title of each column.
    axes : ndarray of Axes, shape (3, walks), optional
        To draw onto; default a new figure's.

    Returns
    -------
    Figure
        That of the axes.
    """
    with style():
        if axes is None:
            _, axes = plt.subplots(
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
            _losses(top, steps, 1)
            top.set_title(name)
            _cosine(middle, steps, linewidth=1)
            _distance(bottom, steps, linewidth=1)
            bottom.set_xlabel("iteration $t$")
        labels = r"loss $L(\theta^\alpha)$", r"$\cos(g_{t-1}, g_t)$", r"$\|\theta_t - \theta_0\|_2$"
        for axis, label in zip(axes[:, 0], labels, strict=True):
            axis.set_ylabel(label)
        for axis in axes.flat:
            sns.despine(ax=axis)
    return _figure(axes[0, 0])


def sharpness(
    trace: xr.Dataset,
    *,
    axes: Axes | None = None,
    colour: Any = BLUE,
    label: str | None = None,
    edge: bool = True,
) -> Figure:
    """The Hessian's largest eigenvalue by epoch; hollow where its search had not converged.

    Parameters
    ----------
    trace : xarray.Dataset
        With `hessian_max` and `hessian_residual`.
    axes : Axes, optional
        To draw onto; default a new figure's.
    colour, label
        Of the line.
    edge : bool
        Draw 2/η too, at the learning rate of the first step.

    Returns
    -------
    Figure
        That of the axes.
    """
    known = trace[["hessian_max", "hessian_residual"]].dropna("epoch")
    epoch, largest = known["epoch"].values, known["hessian_max"].values
    rough = known["hessian_residual"].values > CONVERGED
    with style():
        if axes is None:
            _, axes = plt.subplots(figsize=(8, 4), layout="constrained")
        axes.plot(epoch, largest, "o-", color=colour, linewidth=1.4, markersize=5, label=label)
        if rough.any():
            hollow = {"color": colour, "markerfacecolor": "white", "markersize": 5}
            axes.plot(epoch[rough], largest[rough], "o", label="not converged", **hollow)
        axes.set_ylabel(r"$\lambda_{\max}(H)$")
        if edge:
            limit = 2 / float(trace["learning_rate"][0])
            axes.axhline(limit, color=ORANGE, linestyle="--", label=rf"$2/\eta = {limit:g}$")
    return _figure(axes)


def intervals(
    found: Sequence[Interval],
    positions: np.ndarray,
    *,
    axes: Axes,
    colour: Any = BLUE,
    label: str | None = None,
) -> None:
    """Estimates with their intervals.

    Parameters
    ----------
    found : sequence of Interval
    positions : ndarray, shape (intervals,)
        Where each stands on the horizontal axis.
    axes : Axes
    colour, label
    """
    middle, low, high = np.array([tuple(interval) for interval in found]).T
    errors = np.maximum([middle - low, high - middle], 0)
    axes.errorbar(positions, middle, errors, fmt="o", color=colour, capsize=3, label=label)


def _figure(axis: Axes) -> Figure:
    figure = axis.get_figure(root=True)
    assert figure is not None
    return figure


def _losses(axis: Axes, steps: xr.Dataset, linewidth: float) -> None:
    loss, alpha = steps["loss"].values, steps["alpha"].values
    floor = np.arange(len(loss)) + analysis.floor_alpha(loss, alpha)
    axis.plot(*along(steps), color=BLUE, linewidth=linewidth, label=r"$L(\theta^\alpha)$")
    axis.plot(
        floor,
        analysis.floor(loss),
        color=ORANGE,
        linestyle="--",
        linewidth=linewidth,
        label=r"valley floor $L(\theta_t^{\min})$",
    )


def _cosine(axis: Axes, steps: xr.Dataset, **line: Any) -> None:
    axis.plot(np.arange(steps.sizes["iteration"]), steps["cosine"], color=BLUE, **line)
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.set_ylim(-1.05, 1.05)


def _distance(axis: Axes, steps: xr.Dataset, **line: Any) -> None:
    axis.plot(np.arange(1, steps.sizes["iteration"] + 1), steps["distance"], color=BLUE, **line)
