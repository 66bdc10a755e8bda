"""Segments measured whole, held against the few points that would have been measured of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import analysis, measures
from ..markdown import with_minus
from ..walks.provenance import experiment_of

if TYPE_CHECKING:
    import xarray as xr

# Of the networks' parameters.
EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Held:
    """What few points would have said of segments that were measured whole.

    Attributes
    ----------
    segments : int
    points : float
        Mean number of points that they take.
    height_error : float
        Their mean height over the true one, minus 1.
    bounded : float
        Share of the segments whose curve is off by no more than its stated error; those of which
        all points would have been measured count.
    barriers, missed : int
        Barriers there are, and how many few points miss or invent.
    """

    segments: int
    points: float
    height_error: float
    bounded: float
    barriers: int
    missed: int

    def __str__(self) -> str:
        """As it stands under a table."""
        return with_minus(
            f"By plan, {self.segments} of the segments were measured at all points. Few points "
            f"({self.points:.1f} a segment) would have changed their mean height by "
            f"{self.height_error:+.2%}. The error that is stated with few points bounds the "
            f"largest error of the curve in {self.bounded:.0%} of these segments. There are "
            f"{self.barriers} barriers in them, of which few points miss or invent {self.missed}."
        )


def held_against_whole(traces: Iterable[xr.Dataset]) -> Held | None:
    """Hold few points against those segments that were measured whole by plan.

    Parameters
    ----------
    traces : iterable of xarray.Dataset

    Returns
    -------
    Held or None
        None where no segment was measured whole beside few points.
    """
    from ..probes.interpolation import few_points

    true, seen, stated, counts = [], [], [], []
    for trace in traces:
        experiment = experiment_of(trace)
        if not (experiment.tolerance and experiment.whole_every):
            continue
        alpha = trace["alpha"].values
        for loss in measures.whole_steps(trace)["loss"].values:
            curve = few_points(loss.__getitem__, alpha, experiment.tolerance, EPSILON)
            true.append(loss)
            seen.append(curve.loss)
            stated.append(curve.error)
            counts.append(curve.measured.sum())
    if not true:
        return None
    whole, few = np.array(true), np.array(seen)
    off = np.abs(few - whole).max(axis=1)
    height, of_few = (float(analysis.height(each).mean()) for each in (whole, few))
    crossed, found = analysis.barriers(whole), analysis.barriers(few)
    return Held(
        segments=len(whole),
        points=float(np.mean(counts)),
        height_error=of_few / height - 1 if height else 0.0,
        bounded=float((off <= np.array(stated)).mean()),
        barriers=int(crossed.sum()),
        missed=int((crossed != found).sum()),
    )


def held_in_words(traces: Iterable[xr.Dataset]) -> str:
    """A paragraph for under a table; nothing where nothing was measured whole by plan."""
    held = held_against_whole(traces)
    return f"\n\n{held}" if held else ""
