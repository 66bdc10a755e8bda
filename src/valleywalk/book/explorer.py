"""Recorded walks as data for the book's explorer, which runs in the page without a server."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .. import analysis, measures
from ..paper.items import ITEMS, Item
from ..paper.scales import Scale
from ..walks.store import Store

# The walks that can be explored.
EXPLORED = ("fig1", "fig2", "fig17", "fig18", "fig9", "fig10")


def data(scales: Mapping[str, Scale], store: Store) -> str:
    """HTML that holds the walks of `EXPLORED`, for the page to include.

    Parameters
    ----------
    scales : mapping
        Scale at which each item is shown.
    store : Store
        Has their traces.
    """
    walks = [_walk(ITEMS[name], scales[name], store) for name in EXPLORED]
    # "<" would end the element where a text has "</script>".
    content = json.dumps(walks, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="explorer-data">{content}</script>\n'


def _walk(item: Item, scale: Scale, store: Store) -> dict[str, Any]:
    page: Any = item.at(scale)
    steps = measures.window(store.get(page.experiments[0]), page.epoch, page.length)
    return {
        "name": f"{item.label}. {item.title} ({scale}: {item.setting(scale).split(';')[0]})",
        **_numbers(steps),
    }


def _numbers(steps: xr.Dataset) -> dict[str, Any]:
    loss, alpha = steps["loss"].values, steps["alpha"].values
    return {
        "alpha": _rounded(alpha),
        "loss": [_rounded(segment) for segment in loss],
        "floor": _rounded(analysis.floor(loss)),
        "floorAlpha": _rounded(analysis.floor_alpha(loss, alpha)),
        "height": _rounded(analysis.height(loss)),
        "barrier": analysis.barriers(loss).tolist(),
        "cosine": _rounded(steps["cosine"].values),
        "distance": _rounded(steps["distance"].values),
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    """Seven digits, more than can be seen; NaN as None."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]
