"""The three panels of a walk as text: loss along segments with its floor, cosine, distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import analysis, measures

if TYPE_CHECKING:
    import xarray as xr

# Dots of a Braille character, by row and column.
DOTS = np.array([[1, 8], [2, 16], [4, 32], [64, 128]])
FIRST_BRAILLE = 0x2800
# Characters beside a panel, for the numbers at its top and its bottom.
MARGIN = 10
# Lines that are no panel: three titles, the axis.
OTHER_LINES = 4
FEWEST_LINES = 2


def last_steps(trace: xr.Dataset, segments: int) -> xr.Dataset:
    """The newest iterations of a trace, from where so many measured segments begin.

    Parameters
    ----------
    trace : xarray.Dataset
    segments : int

    Returns
    -------
    xarray.Dataset
        Of a trace without measured segments, so many iterations.

    Examples
    --------
    >>> from valleywalk.panels import last_steps
    >>> from valleywalk.trace import assemble
    >>> trace = assemble([{"loss": [3.0, 1.0]}, {"loss": [1.0, 0.5]}, {}], alpha=[0, 1])
    >>> last_steps(trace, 1)["iteration"].values
    array([1, 2])
    """
    iterations = trace["iteration"].values
    if "loss" in trace and analysis.measured(trace["loss"].values).any():
        iterations = measures.measured_steps(trace)["iteration"].values
    newest = iterations[-segments:]
    return trace.isel(iteration=slice(int(newest[0]) if len(newest) else 0, None))


def walk(steps: xr.Dataset, width: int, height: int, *, braille: bool = True) -> list[str]:
    """Panels one above the other: losses along segments, cosine, distance from the start.

    Parameters
    ----------
    steps : xarray.Dataset
        Iterations of a trace; those that were not measured have no loss.
    width, height : int
        Characters and lines.
    braille : bool
        Draw curves with Braille dots, the floor with ◇; else with `.` and `o`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from valleywalk import panels
    >>> from valleywalk.trace import assemble
    >>> losses = [[3.0, 1.0, 2.0], [2.0, 0.5, 1.5]]
    >>> steps = assemble([{"loss": loss, "cosine": -0.5} for loss in losses], alpha=[0, 0.5, 1])
    >>> print(panels.walk(steps, width=32, height=12, braille=False)[4])
         0.5                 o
    """
    iterations = steps["iteration"].values
    if not len(iterations):
        return ["no step was seen yet"]
    span = (int(iterations[0]), int(iterations[-1]) + 1)
    width, lines = max(width, 2 * MARGIN), max(height - OTHER_LINES, 4 * FEWEST_LINES)
    small = max(lines // 4, FEWEST_LINES)
    mark = "◇" if braille else "o"

    def panel(name: str, at: np.ndarray, values: np.ndarray, tall: int, **more: Any) -> list[str]:
        area = (width - MARGIN, tall)
        return [name[:width], *_panel(at, values, span, area, braille=braille, **more)]

    found: list[str] = []
    if "loss" in steps and len((segments := measures.measured_steps(steps))["iteration"]):
        loss, alpha = segments["loss"].values, segments["alpha"].values
        begins = segments["iteration"].values
        # A walk that diverges has segments without a finite loss.
        there = np.isfinite(floors := analysis.floor(loss))
        floor = (begins + analysis.floor_alpha(loss, alpha))[there], floors[there]
        at = np.add.outer(begins, alpha)
        found += panel(
            f"loss along segments, {mark} floor",
            at.ravel(), loss.ravel(), lines - 2 * small, marks=floor, mark=mark,
        )  # fmt: skip
    cosine, distance = (
        steps[name].values if name in steps else np.full(len(iterations), np.nan)
        for name in ("cosine", "distance")
    )
    found += panel("cosine of consecutive gradients", iterations, cosine, small, limits=(-1, 1))
    found += panel("distance from the start", iterations + 1, distance, small)
    axis = f"{span[0]}{span[1]:>{width - MARGIN - len(str(span[0]))}}"
    return [*found, " " * MARGIN + axis]


def _panel(
    at: np.ndarray,
    values: np.ndarray,
    span: tuple[int, int],
    area: tuple[int, int],
    *,
    braille: bool,
    limits: tuple[float, float] | None = None,
    marks: tuple[np.ndarray, np.ndarray] | None = None,
    mark: str = "",
) -> list[str]:
    """Points of a curve, with marks over it; the numbers at top and bottom beside it."""
    known = np.isfinite(values)
    if not known.any():
        return ["not there yet"]
    low, high = limits or (values[known].min(), values[known].max())
    down, across = DOTS.shape if braille else (1, 1)
    width, height = area

    def placed(x: np.ndarray, y: np.ndarray, columns: int, rows: int) -> tuple[Any, Any]:
        column = (x - span[0]) / (span[1] - span[0]) * (columns - 1)
        row = (high - y) / ((high - low) or 1) * (rows - 1)
        return row.round().astype(int), column.round().astype(int)

    dots = np.zeros((down * height, across * width), dtype=int)
    dots[placed(at[known], values[known], across * width, down * height)] = 1
    if braille:
        cells = (dots.reshape(height, down, width, across) * DOTS[:, None]).sum(axis=(1, 3))
        drawn = [[chr(FIRST_BRAILLE + cell) if cell else " " for cell in row] for row in cells]
    else:
        drawn = [["." if dot else " " for dot in row] for row in dots]
    for row, column in zip(*placed(*marks, width, height), strict=True) if marks else ():
        drawn[row][column] = mark
    beside = [f"{high:{MARGIN - 1}.4g}", *[""] * (height - 2), f"{low:{MARGIN - 1}.4g}"]
    return [
        f"{number:{MARGIN}}{''.join(line)}".rstrip()
        for number, line in zip(beside, drawn, strict=True)
    ]
