"""Pictures of any trace, each onto axes that are given or onto a figure of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import analysis, measures
from .statistics import Interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The one palette, safe for colour-blind readers: seaborn's.
PALETTE = [
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
]
BLUE, ORANGE, GREEN = PALETTE[:3]
GREY = "0.85"
# Largest relative residual of an eigenvalue that counts as converged.
CONVERGED = 1e-3
# Segments whose sag is a smaller share of the window's losses cannot be told from straight lines.
SEEN = 0.02


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures."""
    import seaborn as sns
    from cycler import cycler
    from matplotlib import rc_context

    own: dict[Any, Any] = {
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.formatter.useoffset": False,
        "axes.formatter.use_mathtext": True,
    }
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9), rc_context(own):
        yield


def shades(count: int) -> list[Any]:
    """Colours for so many values of one quantity, from the smallest to the largest."""
    import seaborn as sns

    return sns.color_palette("viridis", count)


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
    loss, alpha = measures.losses(steps), steps["alpha"].values
    positions = np.arange(len(loss))[:, None] + alpha[None, :]
    return positions.ravel(), loss.ravel()


def legend_above(axis: Axes, title: str | None = None) -> None:
    """The legend of an axis above it, off the data.

    Parameters
    ----------
    axis : Axes
        With labelled artists.
    title : str, optional
    """
    count = len(axis.get_legend_handles_labels()[1])
    axis.legend(
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=count,
        borderpad=0,
        title=title,
    )


def logarithmic(axis: Axes) -> None:
    """A logarithmic height, with plain numbers at its ticks: 0.06 rather than 6 × 10⁻²."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain())


def hardly_sags(steps: xr.Dataset) -> bool:
    """Whether the segments, drawn where the walk descends, cannot be told from straight lines.

    That is so where half of them leave their chord by less than a fiftieth of the range of losses.

    Parameters
    ----------
    steps : xarray.Dataset
        Measured iterations of a trace (see `measures.window`).
    """
    loss = measures.losses(steps)
    sag = np.abs(analysis.above_chord(loss, steps["alpha"].values)).max(axis=1)
    return bool(np.median(sag) < SEEN * np.ptp(loss))


def walk_panels(steps: xr.Dataset) -> tuple[float, ...]:
    """Heights of the panels in which `walk` draws these steps, relative to each other."""
    return (3, 1.4, 1, 1) if hardly_sags(steps) else (3, 1, 1)


def walk(
    trace: xr.Dataset,
    epoch: int = 1,
    iterations: int | None = None,
    *,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """The three panels of Figures 1, 2 and 9 to 21 of the paper.

    Top: training loss along each segment, with a dot and a grey line at each iterate, and the
    valley floor dashed, with a diamond at the lowest point of each segment. Middle: cosine of the
    gradients of two consecutive steps. Bottom: distance from θ_0. Where segments hardly sag a
    panel under the top one has the loss minus the chord of its segment.

    Parameters
    ----------
    trace : xarray.Dataset
    epoch : int
        Epoch, counted from 1, at whose start the window begins.
    iterations : int, optional
        Length of the window; default all that were measured.
    axes : sequence of three or four Axes, optional
        To draw onto, four with the panel of the chord; default a new figure's, as many as
        `walk_panels` says.

    Returns
    -------
    Figure
        That of the axes.

    Raises
    ------
    ValueError
        Fewer axes than three or more than four; nothing was measured in the window.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    steps = measures.window(trace, epoch, iterations)
    start = int(steps["iteration"][0])
    with style():
        if axes is None:
            ratios = walk_panels(steps)
            _, axes = plt.subplots(
                len(ratios), 1, figsize=(9, 7), height_ratios=ratios, layout="constrained"
            )
        if (given := np.array(axes, dtype=object).size) not in (3, 4):
            raise ValueError(f"there are {given} axes; give three, or four with the chord's")
        top, *chord, middle, bottom = axes
        for axis in (top, *chord, middle):
            # Axes that were given may share theirs already.
            if not axis.get_shared_x_axes().joined(axis, bottom):
                axis.sharex(bottom)
            axis.tick_params(labelbottom=False)
        for axis in axes:
            for position in range(steps.sizes["iteration"] + 1):
                axis.axvline(position, color=GREY, linewidth=0.7, zorder=0)
        _losses(top, steps, 1.4)
        top.set_ylabel(r"training loss $L(\theta^\alpha)$")
        legend_above(top)
        for axis in chord:
            _above_chord(axis, steps, 1.4)
            axis.set_ylabel("loss − chord")
        _cosine(middle, steps, marker="o", markersize=3)
        middle.set_ylabel(r"$\cos(g_{t-1}, g_t)$")
        _distance(bottom, steps, marker="o", markersize=3)
        bottom.set_ylabel(r"$\|\theta_t - \theta_0\|_2$")
        bottom.set_xlabel("iteration $t$" if start == 0 else f"iteration $t$ (from {start})")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in axes:
            sns.despine(ax=axis)
        _figure(top).align_ylabels(list(axes))
    return _figure(top)


def side_by_side(
    windows: Sequence[xr.Dataset], names: Sequence[str], *, axes: np.ndarray | None = None
) -> Figure:
    """Stretches of walks, a column each, on equal axes.

    From top to bottom: losses and floor, the loss minus the chord of its segment, cosine, distance.

    Parameters
    ----------
    windows : sequence of xarray.Dataset
        Measured iterations of one or more traces (see `measures.window`).
    names : sequence of str
        Title of each column.
    axes : ndarray of Axes, shape (4, windows), optional
        To draw onto; default a new figure's.

    Returns
    -------
    Figure
        That of the axes.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    with style():
        if axes is None:
            _, axes = plt.subplots(
                4,
                len(windows),
                figsize=(3.4 * len(windows), 7.5),
                height_ratios=(2, 1, 1, 1),
                sharex=True,
                sharey="row",
                squeeze=False,
                layout="constrained",
            )
        for (top, chord, middle, bottom), steps, name in zip(axes.T, windows, names, strict=True):
            _losses(top, steps, 1)
            top.set_title(name)
            _above_chord(chord, steps, 1)
            _cosine(middle, steps, linewidth=1)
            _distance(bottom, steps, linewidth=1)
            bottom.set_xlabel("iteration $t$")
        labels = [r"loss $L(\theta^\alpha)$", "loss − chord", r"$\cos(g_{t-1}, g_t)$"]
        labels += [r"$\|\theta_t - \theta_0\|_2$"]
        for axis, label in zip(axes[:, 0], labels, strict=True):
            axis.set_ylabel(label)
        for axis in axes.flat:
            sns.despine(ax=axis)
        figure = _figure(axes[0, 0])
        figure.align_ylabels(list(axes[:, 0]))
    return figure


def sharpness(
    trace: xr.Dataset,
    *,
    axes: Axes | None = None,
    colour: Any = BLUE,
    label: str | None = None,
    edge: bool = True,
) -> Figure:
    """The Hessian's largest eigenvalue; hollow where its search had not converged.

    Parameters
    ----------
    trace : xarray.Dataset
        With `hessian_max` and `hessian_residual`: by epoch as a walk measures them, by iteration as
        `probes.curvature.Curvature` does in a watch.
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
    import matplotlib.pyplot as plt

    (dimension,) = trace["hessian_max"].dims
    known = trace[["hessian_max", "hessian_residual"]].dropna(dimension)
    where, largest = known[dimension].values, known["hessian_max"].values
    rough = known["hessian_residual"].values > CONVERGED
    with style():
        if axes is None:
            _, axes = plt.subplots(figsize=(8, 4), layout="constrained")
        axes.plot(where, largest, "o-", color=colour, linewidth=1.4, markersize=5, label=label)
        if rough.any():
            hollow = {"color": colour, "markerfacecolor": "white", "markersize": 5}
            axes.plot(where[rough], largest[rough], "o", label="not converged", **hollow)
        axes.set_ylabel(r"$\lambda_{\max}(H)$")
        if edge:
            limit = 2 / float(trace["learning_rate"][0])
            axes.axhline(limit, color=ORANGE, linestyle="--", label=rf"$2/\eta = {limit:.3g}$")
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


def kind_of_picture(output: Path) -> str:
    """The kind of picture that a file's suffix names, tried on an empty one.

    Parameters
    ----------
    output : Path

    Returns
    -------
    str

    Raises
    ------
    ValueError
        No picture ends like that, or none of this kind can be made here.

    Examples
    --------
    >>> from pathlib import Path
    >>> from valleywalk.figures import kind_of_picture
    >>> kind_of_picture(Path("walk.PNG"))
    'png'
    """
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.figure import Figure

    kind = output.suffix.removeprefix(".").lower()
    allowed = FigureCanvasBase.get_supported_filetypes()
    if kind not in allowed:
        raise ValueError(
            f"{output} does not end like a picture; allowed are .{', .'.join(sorted(allowed))}"
        )
    try:
        empty = Figure()
        empty.text(0, 0, "α")
        empty.savefig(BytesIO(), format=kind)
    except Exception as error:  # Of whatever library makes this kind.
        raise ValueError(
            f"{output} cannot be made, since pictures of this kind need what is not there "
            f"({error}); choose another kind, such as .png"
        ) from error
    return kind


def _figure(axis: Axes) -> Figure:
    figure = axis.get_figure(root=True)
    assert figure is not None
    return figure


def _losses(axis: Axes, steps: xr.Dataset, linewidth: float) -> None:
    loss, alpha = measures.losses(steps), steps["alpha"].values
    size = 2 * linewidth
    axis.plot(*along(steps), color=BLUE, linewidth=linewidth, label=r"$L(\theta^\alpha)$")
    # The iterates: the start of each segment, and the end of the last one.
    iterates = np.append(loss[:, 0], loss[-1, -1])
    axis.plot(np.arange(len(iterates)), iterates, "o", color=BLUE, markersize=size)
    axis.plot(
        np.arange(len(loss)) + analysis.floor_alpha(loss, alpha),
        analysis.floor(loss),
        "D--",
        color=ORANGE,
        linewidth=linewidth,
        markersize=1.6 * size,
        markerfacecolor="none",
        markeredgewidth=0.7 * linewidth,
        label=r"valley floor $L(\theta_t^{\min})$",
    )


def _above_chord(axis: Axes, steps: xr.Dataset, linewidth: float) -> None:
    loss, alpha = measures.losses(steps), steps["alpha"].values
    above = analysis.above_chord(loss, alpha)
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.plot(along(steps)[0], above.ravel(), color=BLUE, linewidth=linewidth)


def _cosine(axis: Axes, steps: xr.Dataset, **line: Any) -> None:
    axis.plot(np.arange(steps.sizes["iteration"]), steps["cosine"], color=BLUE, **line)
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.set_ylim(-1.05, 1.05)


def _distance(axis: Axes, steps: xr.Dataset, **line: Any) -> None:
    axis.plot(np.arange(1, steps.sizes["iteration"] + 1), steps["distance"], color=BLUE, **line)
