"""Recorded walks as data for the book's charts, which run in the page without a server."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .. import analysis, measures
from ..markdown import without_marks
from ..paper.conventions import READINGS, Conventions
from ..paper.items import ITEMS, Item
from ..paper.page import setting_of
from ..paper.scales import Scale
from ..paper.walks import GradientDescentWalk, StochasticWalk, WalkPage
from ..walks.cost import evaluation_images
from ..walks.experiment import Convention, Experiment
from ..walks.store import Store
from .prose import out_of

# The paper's figures that show one walk.
EXPLORED = tuple(
    name for name, item in ITEMS.items() if item.page in (GradientDescentWalk, StochasticWalk)
)
# Where few images are measured, the plan matters most: two plans are shown at the first of these
# scales; what is seen at the other one is said beside.
FEW_IMAGES: Scale = "quick"
MORE_IMAGES: Scale = "overnight"
# What may differ between two windows of one walk: how long it is, and where it is looked at.
LENGTHS = {"epochs", "probed_epochs", "evaluate_every"}


def data(scales: Mapping[str, Scale], store: Store) -> str:
    """HTML that holds the walks of the explorer, and which two of them to compare.

    Those of `EXPLORED`, and gradient descent as text and code of the paper have it.

    Parameters
    ----------
    scales : mapping
        Scale at which each item is shown.
    store : Store
        Has their traces.
    """
    pages: dict[str, Any] = {name: ITEMS[name].at(scales[name]) for name in EXPLORED}
    walks = [_walk_of(ITEMS[name], page, scales[name], store) for name, page in pages.items()]
    walks += _both_readings(GradientDescentWalk, scales["text_against_code"], store)
    pairs = {
        "Gradient descent and SGD": ("fig1", "fig2"),
        "Epoch 1 and the latest epoch": _first_and_latest(pages),
        "Text and code": ("gd-text", "gd-code"),
    }
    known = {walk["id"] for walk in walks}
    shown = [
        {"name": name, "walks": pair} for name, pair in pairs.items() if pair and known >= {*pair}
    ]
    return script("explorer-data", {"walks": walks, "pairs": shown})


def two_plans(scales: Mapping[str, Scale], store: Store) -> str:
    """HTML that holds one walk of SGD measured twice: on a frozen plan, and on plans drawn anew.

    Parameters
    ----------
    scales : mapping
        Scale at which each item is shown. The walks are those of `text_against_code`, on few images
        if they are there.
    store : Store
        Has their traces.
    """
    few_images = all(map(store.find, _readings(StochasticWalk, FEW_IMAGES).values()))
    scale = FEW_IMAGES if few_images else scales["text_against_code"]
    walks = _both_readings(StochasticWalk, scale, store)
    return script("two-plans-data", {"scale": scale, "walks": walks})


def plans_beside(store: Store) -> str:
    """What the plan changes where more images are measured than in `two_plans`.

    Returns
    -------
    str
        Markdown; empty where the walks of both scales are not there.
    """
    few, more = (_readings(StochasticWalk, scale) for scale in (FEW_IMAGES, MORE_IMAGES))
    if not all(map(store.find, [*few.values(), *more.values()])):
        return ""
    seen = {}
    for reading, walk in more.items():
        barriers = analysis.barriers(_window(StochasticWalk, MORE_IMAGES, walk, store)["loss"])
        seen[reading] = out_of(int(barriers.sum()), len(barriers), "step")
    images = [f"{evaluation_images(walks['text']):,}" for walks in (few, more)]
    return (
        f"Each loss is a mean over {images[0]} images. Over {images[1]} images, the choice of "
        f"batches moves it less: on the walk of {setting_of(more['text'])}, a barrier is seen in "
        f"{seen['text']} on the frozen plan, and in {seen['code']} where the plan is drawn anew.\n"
    )


def _conventions(scale: Scale) -> Conventions:
    return Conventions(**ITEMS["text_against_code"].parameters(scale))


def _readings(page: type[WalkPage], scale: Scale) -> dict[Convention, Experiment]:
    """A walk as the paper's text has it, and as its code has it: see `paper.conventions`."""
    walks = _conventions(scale).walks
    return {reading: walks[page.update, reading] for reading in READINGS}


def _window(page: type[WalkPage], scale: Scale, experiment: Experiment, store: Store) -> xr.Dataset:
    """The first steps of a walk, as many as the paper's figure of its kind shows."""
    length = page(**_conventions(scale).given).length
    return measures.window(store.get(experiment), iterations=length)


def script(name: str, content: Any) -> str:
    """HTML that holds what a script of the book reads, under this id."""
    # "<" would end the element where a text has "</script>".
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _walk_of(item: Item, page: WalkPage, scale: Scale, store: Store) -> dict[str, Any]:
    """The walk that a figure of the paper shows."""
    experiment = page.experiments[0]
    return {
        "id": item.name,
        "label": item.label,
        "title": item.title,
        "page": item.name,
        "setting": _setting(experiment, scale),
        **_numbers(measures.window(store.get(experiment), page.epoch, page.length)),
    }


def _both_readings(page: type[WalkPage], scale: Scale, store: Store) -> list[dict[str, Any]]:
    """A walk in both readings, for the charts."""
    return [
        {
            "id": f"{page.update}-{reading}",
            "label": f"{page.update.upper()}, {reading}",
            "title": TITLES[page.update, reading],
            "page": "text_against_code",
            "setting": _setting(experiment, scale),
            **_numbers(_window(page, scale, experiment, store)),
        }
        for reading, experiment in _readings(page, scale).items()
    ]


TITLES: dict[tuple[str, Convention], str] = {
    ("gd", "text"): "Gradient descent on the mean gradient, as the paper's text has it",
    ("gd", "code"): "Gradient descent on the sum of the chunks' gradients, as its code has it",
    ("sgd", "text"): "SGD, measured on one frozen plan",
    ("sgd", "code"): "The same steps of SGD, measured on a plan that is drawn anew at every point",
}


def _first_and_latest(pages: Mapping[str, WalkPage]) -> tuple[str, str] | None:
    """Of the walks of which both epoch 1 and a later epoch are shown, the one shown latest."""
    found = [
        (first, later)
        for first, one in pages.items()
        for later, other in pages.items()
        if one.epoch == 1 < other.epoch and _same_walk(one.experiments[0], other.experiments[0])
    ]
    return max(found, key=lambda pair: pages[pair[1]].epoch, default=None)


def _same_walk(one: Experiment, other: Experiment) -> bool:
    return one.model_dump(exclude=LENGTHS) == other.model_dump(exclude=LENGTHS)


def _setting(experiment: Experiment, scale: Scale) -> str:
    return without_marks(f"{setting_of(experiment)}; {scale} scale")


def _numbers(steps: xr.Dataset) -> dict[str, Any]:
    loss, alpha = steps["loss"].values, steps["alpha"].values
    return {
        "start": int(steps["iteration"][0]),
        "alpha": _rounded(alpha),
        "loss": [_rounded(segment) for segment in loss],
        # A digit a point: 1 measured, 0 read off the polynomial.
        "measured": ["".join("01"[point] for point in segment) for segment in _measured(steps)],
        "lowest": np.argmin(loss, axis=1).tolist(),
        "height": _rounded(analysis.height(loss)),
        "barrier": analysis.barriers(loss).tolist(),
        "cosine": _rounded(steps["cosine"].values),
        "distance": _rounded(steps["distance"].values),
    }


def _measured(steps: xr.Dataset) -> np.ndarray:
    """Which losses were measured, not read off a polynomial; all, where a trace says nothing."""
    if "measured" in steps:
        return steps["measured"].values.astype(int)
    return np.ones(steps["loss"].shape, dtype=int)


def _rounded(values: np.ndarray) -> list[float | None]:
    """Nine digits: the flattest segments span a hundred-thousandth of their loss. NaN as None."""
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values]
