"""Figures 1, 2 and 9 to 21: the first steps of a walk."""

from typing import Annotated, Any, ClassVar

import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from .. import figures, measures
from ..walks.experiment import Convention, Experiment, ModelName, UpdateName
from .scales import (
    Family,
    ModelPage,
    PositiveFloat,
    PositiveInt,
    default_dataset,
    epochs_for,
    experiment_fields,
    markdown_table,
    original_dataset,
)

# Numbers the paper prints about the walk figures: (section or caption, value).
PRINTED: dict[tuple[ModelName, str, UpdateName, int], dict[str, str]] = {
    ("vgg11", "cifar10", "gd", 1): {
        "distance": "about 1.4 (Section 3.1)",
        "first_negative": "about 15 (Section 3.1)",
        "last_cosines": "near −1 after about 20 (Figure 1)",
        "interior_minimum": "after iteration 15 (Section 3.1)",
        "floor_rises": "falls monotonically (Figure 1)",
    },
    ("vgg11", "cifar10", "sgd", 1): {
        "distance": "about 1.7 (Section 3.1)",
        "floor_rises": "many ups and downs (Figure 2)",
        "height": "0.0625, mean of the epoch (Table 2)",
        "barriers": "0 in the epoch (Table 1)",
    },
    ("vgg11", "cifar10", "sgd", 25): {
        "height": "0.0104, mean of the epoch (Table 2)",
        "barriers": "5 in the epoch (Table 1)",
    },
    ("vgg11", "cifar10", "sgd", 100): {
        "height": "0.0025, mean of the epoch (Table 2)",
        "barriers": "13 in the epoch (Table 1)",
    },
    ("resnet56", "cifar10", "sgd", 1): {"barriers": "0 in the epoch (Table 1)"},
    ("resnet56", "cifar10", "sgd", 25): {"barriers": "2 in the epoch (Table 1)"},
    ("resnet56", "cifar10", "sgd", 100): {"barriers": "23 in the epoch (Table 1)"},
    ("mlp", "mnist", "sgd", 1): {"barriers": "0 in the epoch (Table 1)"},
}

QUANTITIES = {
    "distance": "distance ‖θ_t − θ_0‖ at the window's end",
    "first_negative": "iteration from which the cosine stays negative",
    "last_cosines": "mean cosine of the last ten steps",
    "interior_minimum": "segments with an interior minimum",
    "height": "mean height above the floor",
    "height_inside": "mean height where the floor lies inside the segment",
    "sharpness": "curvature along the step, mean of the last ten",
    "barriers": "barriers crossed (higher than both ends)",
    "barriers_either": "barriers crossed (higher than either end)",
    "floor_rises": "steps in which the valley floor rises",
}


def walk_table(trace: xr.Dataset, page: "WalkPage") -> str:
    """Markdown table: the paper's printed numbers beside those of this walk."""
    window = measures.window(trace, page.epoch, page.length)
    numbers = measures.walk_numbers(window)
    dataset = page.dataset or default_dataset(page.model, page.scale)
    original = original_dataset(page.model, dataset)
    printed = PRINTED.get((page.model, original, page.update, page.epoch), {})
    steps, height = len(window["iteration"]), measures.window_height(window)
    counted = {"barriers", "barriers_either", "floor_rises"}
    rows = []
    for name, description in QUANTITIES.items():
        value = numbers[name]
        if value is None and name in ("height_inside", "sharpness"):
            continue  # No floor lies inside, or an older trace has no length of its steps.
        if value is None:
            shown = "never"
        elif name in counted:
            shown = f"{value} of {steps - (name == 'floor_rises')}"
        elif name == "interior_minimum":
            shown = f"{value:.0%}"
        elif name == "first_negative":
            shown = f"{value}"
        elif name == "height" and height.error > 0:
            shown = str(height.interval(positive=True))
        elif name == "sharpness" and page.update == "gd":
            edge = 2 / float(window["learning_rate"][-1])
            shown = f"{value:.3g}, where 2/η is {edge:g}"
        else:
            shown = f"{value:.3g}"
        rows.append([description, printed.get(name, "not printed"), shown])
    return markdown_table([f"quantity ({steps} steps)", "paper", "this walk"], rows)


class EdgePage(ModelPage):
    """A page that can show the edge of stability beside its own walk."""

    edge_of_stability: bool = False


def edge_experiments(page: EdgePage) -> list[Experiment]:
    """The walk to the edge of stability of a page that asks for it."""
    if not page.edge_of_stability:
        return []
    known = EdgeOfStability.model_fields
    given = page.model_dump(include=set(known), exclude_unset=True)
    # The long walk has a size of its own.
    given.pop("training_images", None)
    return EdgeOfStability(**given).experiments


def window_experiment(
    fields: dict[str, Any], images: int, epochs_shown: tuple[int, ...]
) -> Experiment:
    """A walk that opens a window at the start of each of the epochs.

    Parameters
    ----------
    fields : dict
        Experiment fields, and "iterations", a window's length (None: the whole epoch).
    images : int
        Training images.
    epochs_shown : tuple of int
    """
    iterations = fields["iterations"]
    last = 1 if iterations is None else epochs_for(iterations, fields, images)
    epochs = max(epochs_shown) - 1 + last
    return Experiment(
        **experiment_fields(fields),
        epochs=epochs,
        probed_epochs=epochs_shown,
        probed_iterations=iterations,
        evaluate_every=max(1, min(5, epochs // 4)),
    )


class WalkPage(ModelPage):
    """Parameters of the notebooks `fig1_gd_walk` and `fig2_sgd_walk`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    evaluation_images: PositiveInt | None = None
    epoch: PositiveInt = 1
    iterations: PositiveInt | None = None
    points: Annotated[int, Field(ge=2)] = 10
    convention: Convention = "text"

    update: ClassVar[UpdateName]
    alternative_text: ClassVar[str] = (
        "Three panels over the iteration: the training loss along each segment with the valley "
        "floor as a dashed line, the cosine of consecutive gradients, the distance from the "
        "initialisation."
    )

    @property
    def families(self) -> tuple[Family, ...]:
        """What changes the scale's table."""
        return ("first",) if self.epoch == 1 else ()

    @property
    def experiments(self) -> list[Experiment]:
        """The one walk that is drawn; later epochs of one network come from one walk."""
        fields = self.fields(*self.families) | {"update": self.update}
        images = self.available(fields["dataset"], fields)
        shown = fields["epochs_shown"]
        together = self.update == "sgd" and 1 < self.epoch in shown
        return [window_experiment(fields, images, shown if together else (self.epoch,))]

    @property
    def length(self) -> int:
        """Iterations that are drawn."""
        return self.fields(*self.families)["iterations"]

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.walk(traces[0], self.epoch, self.length, *traces[1:])

    def table(self, traces: list[xr.Dataset]) -> str:
        table = walk_table(traces[0], self)
        if len(traces) == 1:
            return table
        share, count = measures.edge_share(traces[1])
        return (
            f"{table}\n\nThe long walk's spectral norm over 2/η, mean of the last {count} times it "
            f"was measured: {share:.3g}; about 1 is expected (Cohen et al. 2021)."
        )


class EdgeOfStability(ModelPage):
    """Long gradient descent and its spectral norm, which hovers at 2/η (Cohen et al. 2021)."""

    @property
    def experiments(self) -> list[Experiment]:
        fields = experiment_fields(self.fields("gd", "edge"))
        return [Experiment(**fields, update="gd", probed_epochs=(), evaluate_every=0)]


class GradientDescentWalk(WalkPage, EdgePage):
    """Parameters of the notebook `fig1_gd_walk`."""

    update: ClassVar[UpdateName] = "gd"

    @property
    def families(self) -> tuple[Family, ...]:
        return ("gd", *super().families)

    @property
    def experiments(self) -> list[Experiment]:
        """The walk that is drawn, and the long one that shows the edge of stability."""
        return super().experiments + edge_experiments(self)


class StochasticWalk(WalkPage):
    """Parameters of the notebook `fig2_sgd_walk`."""

    update: ClassVar[UpdateName] = "sgd"
