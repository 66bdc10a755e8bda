"""Trace(s) → matplotlib axes, one function a figure family."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import analysis

# seaborn's colour-blind safe palette: blue, orange.
BLUE, ORANGE = sns.color_palette("colorblind")[:2]
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
