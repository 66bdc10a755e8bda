"""Long gradient descent and its spectral norm, which hovers at 2/η (Cohen et al. 2021).

No figure of its own: the walk figures of gradient descent and those of the spectral norm show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .. import measures
from ..walks.experiment import Experiment, ModelName
from .claim import Walked, claim
from .page import ModelPage, experiment, setting_of
from .scales import EVERY, GRADIENT_DESCENT, Scale, Settings

if TYPE_CHECKING:
    import xarray as xr


class EdgeOfStability(ModelPage):
    """Gradient descent for long enough to come to the edge of stability."""

    # The curvature of the very loss it descends: on all its images, which are therefore few. It
    # ends before they are all fitted, since then the curvature of cross-entropy goes to zero
    # wherever the walk stands.
    settings: ClassVar[Settings] = {
        "smoke": {
            EVERY: {
                "epochs": 4,
                "curvature_every": 2,
                "training_images": 20,
                "batch_size": 10,
                "evaluation_batch_size": 10,
            },
        },
        "quick": {
            EVERY: {
                "epochs": 100,
                "curvature_every": 10,
                "training_images": 300,
                "batch_size": 100,
                "evaluation_batch_size": 100,
                "evaluation_images": None,
            },
            "mlp": {"epochs": 300, "curvature_every": 30},
            "resnet56": {"training_images": 100},
        },
        "overnight": {
            EVERY: {
                "epochs": 75,
                "curvature_every": 5,
                "training_images": 500,
                "batch_size": 500,
                "evaluation_batch_size": 500,
                "evaluation_images": None,
            },
            "mlp": {
                "epochs": 300,
                "curvature_every": 20,
                "training_images": 1000,
                "batch_size": 1000,
                "evaluation_batch_size": 1000,
            },
            "resnet56": {
                "training_images": 100,
                "batch_size": 100,
                "evaluation_batch_size": 100,
            },
        },
        "paper": {
            EVERY: {
                "epochs": 1000,
                "curvature_every": 20,
                "training_images": 5000,
                "batch_size": 5000,
                "evaluation_batch_size": 5000,
            },
        },
    }

    @property
    def tables(self) -> Iterable[Settings]:
        return GRADIENT_DESCENT, self.settings

    @property
    def experiments(self) -> list[Experiment]:
        return [experiment(self.fields, update="gd", probed_epochs=(), evaluate_every=0)]


class EdgePage(ModelPage):
    """A page that can show the edge of stability beside its own walk."""

    edge_of_stability: bool = False

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        # What stands beside the page's own walk has no say in its claims.
        return super().for_seed(scale, model, seed, {**given, "edge_of_stability": False})

    @property
    def beyond_the_paper(self) -> list[Experiment]:
        """The walk to the edge of stability, where it is asked for."""
        if not self.edge_of_stability:
            return []
        known = EdgeOfStability.model_fields
        given = {name: value for name, value in self.given.items() if name in known}
        # The long walk has a size of its own.
        given.pop("training_images", None)
        return EdgeOfStability(**given).experiments


def share_in_words(trace: xr.Dataset) -> tuple[str, str]:
    """What is said of the long walk's spectral norm, and the number."""
    found = measures.hovering(trace)
    until = "to the end of the walk"
    if found.fits:
        until = f"until the training loss is below {measures.NEARLY_FITTED:g}"
    if math.isnan(found.highest):
        return f"spectral norm over 2/η {until}", "not measured"
    if not found.measurements:
        return f"spectral norm over 2/η {until}, no crossing; at most", f"{found.highest:.3g}"
    where = "the beginning" if found.from_above else "its first crossing"
    what = f"spectral norm over 2/η from {where} {until}, mean of {found.measurements}"
    if math.isnan(found.spread):
        return what, f"{found.level:.3g}"
    what += ", standard deviation, and the mean of the half that is farther from 1"
    farthest = "too few" if math.isnan(found.farthest) else f"{found.farthest:.3g}"
    return what, f"{found.level:.3g}, {found.spread:.2g}, {farthest}"


def edge_numbers(walked: Experiment, trace: xr.Dataset) -> dict[str, Any]:
    """The long walk's numbers by name: those of `measures.hovering`, and where it ends."""
    at_the_end = float(trace["hessian_max"].dropna("epoch")[-1] * trace["learning_rate"][-1] / 2)
    return {
        "setting": setting_of(walked),
        "fitted": measures.NEARLY_FITTED,
        **asdict(measures.hovering(trace)),
        "end": at_the_end,
        # An older trace does not know it.
        "loss_at_the_end": float(trace["minibatch_loss"][-1])
        if "minibatch_loss" in trace
        else None,
    }


def comes_to_the_edge(walked: Walked) -> str:
    """The spectral norm reaches 2/η before the training loss is below 0.1."""
    highest = measures.hovering(walked.trace).highest
    if math.isnan(highest):
        return "not measured before"
    return "" if highest >= 1 else f"at most {highest:.2g} of it"


@claim(
    id="edge-of-stability",
    number=17,
    sentence="The spectral norm under gradient descent hovers at 2/η.",
    source="beyond the paper: Cohen et al. 2021, Section 3",
    paper="not measured; 1 in Cohen et al.",
    above=0.8,
    below=1.25,
    item="fig3",
    pages=(EdgeOfStability,),
    subjects=("vgg11", "mlp"),
    quantity="ratio",
    premises=(comes_to_the_edge,),
    reasons={
        "vgg11": (
            "Likeliest reason: it is measured at the iterates, which stand high on the walls of "
            "the valley. Midway along a segment it is smaller, and near 2/η."
        ),
        "mlp": (
            "Likeliest reason: the network fits its digits while the curvature is still far below "
            "2/η, and cross-entropy's curvature shrinks as the fit grows confident."
        ),
    },
)
def hovers_at_the_edge(walked: Walked) -> float:
    """Spectral norm over 2/η from its first crossing of 2/η until the training loss is below 0.1:
    of the means of that stretch's two halves, the one farther from 1; no number without a crossing,
    nor for fewer than four measurements.
    """
    return measures.hovering(walked.trace).farthest
