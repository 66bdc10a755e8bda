"""Figures 1, 2 and 9 to 21: the first steps of a walk, and those from a later epoch on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .. import analysis, figures, measures
from ..seeds import Share
from ..statistics import Interval
from ..walks.experiment import Convention, Experiment, ModelName, Points, UpdateName
from ..walks.provenance import experiment_of
from .claim import EVERY_SUBJECT, Walked, claim
from .edge import EdgePage, edge_numbers, share_in_words
from .page import (
    ModelPage,
    PositiveFloat,
    PositiveInt,
    epochs_for,
    experiment,
    images_for,
    markdown_table,
    setting_of,
)
from .scales import (
    FULL_SIZE,
    GRADIENT_DESCENT,
    JUDGED,
    SCALES,
    Scale,
    Settings,
    dataset_at,
    original_dataset,
    settings_of,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

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

# Steps in an epoch of the paper, on the data sets of which it says how many images there are.
EPOCH_OF_THE_PAPER = 450
OF_45_000 = ("cifar10", "mnist")
METHODS: dict[UpdateName, str] = {"gd": "full-batch gradient descent", "sgd": "SGD"}
# Epochs of Figures 2 and 10 to 16, and of Table 2.
EPOCHS = (1, 2, 10, 25, 100)
# Steps at the end of a window that say what the walk does by then.
LATE = 10

QUANTITIES = {
    "distance": "distance ‖θₜ − θ₀‖ at the window's end",
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


def window_experiment(fields: Mapping[str, Any], epochs_shown: tuple[int, ...]) -> Experiment:
    """A walk that opens a window at the start of each of the epochs.

    Parameters
    ----------
    fields : mapping
        Experiment fields, and "iterations", a window's length (None: the whole epoch).
    epochs_shown : tuple of int
    """
    iterations = fields["iterations"]
    last = 1 if iterations is None else epochs_for(iterations, fields, images_for(fields))
    epochs = max(epochs_shown) - 1 + last
    return experiment(
        fields,
        epochs=epochs,
        probed_epochs=epochs_shown,
        probed_iterations=iterations,
        evaluate_every=fields.get("evaluate_every", max(1, min(5, epochs // 4))),
    )


class WalkPage(ModelPage):
    """Parameters of the notebooks `fig1_gd_walk` and `fig2_sgd_walk`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    evaluation_images: PositiveInt | None = None
    epoch: PositiveInt = 1
    iterations: PositiveInt | None = None
    points: Points = 10
    convention: Convention = "text"

    update: ClassVar[UpdateName]
    alternative_text: ClassVar[str] = (
        "Three panels over the iteration: the training loss along each segment with the valley "
        "floor as a dashed line, the cosine of consecutive gradients, the distance from the "
        "initialisation."
    )

    # The first steps are few enough for a wider network. A narrow one bounces later on CIFAR-10: at
    # an eighth of the width not within forty steps.
    settings: ClassVar[Settings] = {
        "overnight": {"vgg11": {"width": 0.5}, "tiny-imagenet": {"width": 0.25}},
        # That of Table 1.
        "full": {"resnet56": {"whole_epoch": True, "sampled_iterations": None}},
    }

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        # Claims are about the first steps, whichever epoch the page shows.
        return super().for_seed(scale, model, seed, {**given, "epoch": 1})

    @property
    def tables(self) -> Iterable[Settings]:
        return (self.settings,) if self.epoch == 1 or self.scale == "full" else ()

    @property
    def experiments(self) -> list[Experiment]:
        """The one walk that is drawn; later epochs of one network come from one walk."""
        fields = self.fields | {"update": self.update}
        if fields.get("whole_epoch") and "iterations" not in self.given:
            fields["iterations"] = None
        shown = fields["epochs_shown"]
        first = 1 if fields.get("first_too") else 2
        together = self.update == "sgd" and first <= self.epoch in shown
        return [window_experiment(fields, shown if together else (self.epoch,))]

    @property
    def length(self) -> int:
        """Iterations that are drawn."""
        return self.fields["iterations"]

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.walk(traces[0], self.epoch, self.length)

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of the steps that are drawn; `printed` has what the paper says of them."""
        window = measures.window(traces[0], self.epoch, self.length)
        loss, iterations = window["loss"].values, window["iteration"].values
        height, signs = measures.window_height(window), measures.barrier_signs(window)
        inside, cosines = analysis.has_interior_minimum(loss), window["cosine"].dropna("iteration")
        late, known = Share.of(inside[-LATE:]), not np.isnan(signs).any()
        walked, rate = self.experiments[0], float(window["learning_rate"][-1])
        original = original_dataset(walked.model, walked.dataset)
        of_the_paper = EPOCH_OF_THE_PAPER if original in OF_45_000 else None
        in_epoch = int(traces[0].attrs.get("steps_in_epoch", 1))
        return measures.walk_numbers(window) | {
            "printed": PRINTED.get((self.model, original, self.update, self.epoch), {})
            if self._at_the_paper_s_settings
            else {},
            "setting": setting_of(walked),
            "method": METHODS[self.update],
            "stochastic": self.update == "sgd",
            "batch": walked.batch_size,
            "learning_rate": rate,
            "two_over_rate": 2 / rate,
            "steps": len(loss),
            "moves": len(loss) - 1,
            "start": int(iterations[0]),
            "epoch": self.epoch,
            "in_epoch": in_epoch,
            "spans": -(-len(loss) // in_epoch),
            # Of its images of 64 pixels the paper does not say how many there are.
            "in_epoch_of_the_paper": of_the_paper,
            "start_of_the_paper": None if of_the_paper is None else (self.epoch - 1) * of_the_paper,
            "inside": Share.of(inside),
            "first_inside": int(iterations[inside.argmax()]),
            "late": late,
            "mostly": float(late) > 0.5,
            "negative": Share.of(cosines < 0),
            "last": min(LATE, len(cosines)),
            "height": height.interval(positive=True)
            if height.error > 0
            else Interval(height.value, np.nan, np.nan),
            "loss_before": float(loss[0, 0]),
            "loss_after": float(loss[-1, -1]),
            "loss": float(loss.mean()),
            "resolved": int((signs == 1).sum()) if known else None,
            "edge": None,
        }

    @property
    def _at_the_paper_s_settings(self) -> bool:
        """Unless others were asked for; the batches of gradient descent are chunks of one."""
        rate, size = self.given.get("learning_rate", 0.1), self.given.get("batch_size", 100)
        return rate == 0.1 and (size == 100 or self.update == "gd")

    def table(self, traces: list[xr.Dataset]) -> str:
        """The paper's printed numbers beside those of this walk."""
        numbers = self.numbers(traces)
        steps, counted = numbers["steps"], {"barriers", "barriers_either", "floor_rises"}
        rows = []
        for name, description in QUANTITIES.items():
            value = numbers[name]
            if value is None and name in ("height_inside", "sharpness"):
                continue  # No floor lies inside, or an older trace has no length of its steps.
            if value is None:
                shown = "never"
            elif name in counted:
                shown = f"{value} of {numbers['moves' if name == 'floor_rises' else 'steps']}"
            elif name == "interior_minimum":
                shown = f"{value:.0%}"
            elif name in ("first_negative", "height"):
                shown = f"{value}"
            elif name == "sharpness" and self.update == "gd":
                shown = f"{value:.3g}, where 2/η is {numbers['two_over_rate']:g}"
            else:
                shown = f"{value:.3g}"
            rows.append([description, numbers["printed"].get(name, "not printed"), shown])
        return markdown_table([f"quantity ({steps} steps)", "paper", "this walk"], rows)


class GradientDescentWalk(WalkPage, EdgePage):
    """Parameters of the notebook `fig1_gd_walk`."""

    notebook: ClassVar[str] = "fig1_gd_walk"
    update: ClassVar[UpdateName] = "gd"

    @property
    def tables(self) -> Iterable[Settings]:
        return (GRADIENT_DESCENT, *super().tables)

    @property
    def experiments(self) -> list[Experiment]:
        """The walk that is drawn, and the long one that shows the edge of stability."""
        return super().experiments + self.beyond_the_paper

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        import matplotlib.pyplot as plt
        import seaborn as sns
        from matplotlib.ticker import MaxNLocator

        if len(traces) == 1:
            return super().draw(traces)
        ratios = figures.walk_panels(measures.window(traces[0], self.epoch, self.length))
        with figures.style():
            figure, axes = plt.subplots(
                len(ratios) + 1,
                1,
                figsize=(9, 8.5),
                height_ratios=(*ratios, 1.5),
                layout="constrained",
            )
            figures.walk(traces[0], self.epoch, self.length, axes=axes[:-1])
            figures.sharpness(traces[1], axes=axes[-1])
            axes[-1].set_ylim(bottom=0)
            axes[-1].set_xlabel("iteration of a longer walk")
            axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
            figures.legend_above(axes[-1])
            sns.despine(ax=axes[-1])
            figure.align_ylabels(axes)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        edge = {"edge": edge_numbers(self.experiments[1], traces[1])} if len(traces) > 1 else {}
        return super().numbers(traces) | edge

    def table(self, traces: list[xr.Dataset]) -> str:
        table = super().table(traces)
        if len(traces) == 1:
            return table
        what, share = share_in_words(traces[1])
        return f"{table}\n\nThe long walk's {what}: {share}; 1 is expected (Cohen et al. 2021)."


class StochasticWalk(WalkPage):
    """Parameters of the notebook `fig2_sgd_walk`."""

    notebook: ClassVar[str] = "fig2_sgd_walk"
    update: ClassVar[UpdateName] = "sgd"

    @classmethod
    def scales_of(cls, chosen: Mapping[str, Any]) -> tuple[Scale, ...]:
        """At full size the networks walked there, in the epochs whose windows their walks open."""
        model, dataset = chosen.get("model", "vgg11"), chosen.get("dataset", "cifar10")
        walked = dataset_at("full", model, FULL_SIZE.get(model, ""))
        own = dataset_at("full", model, dataset) == walked
        shown = settings_of("full", model, walked, ())["epochs_shown"]
        return SCALES if own and chosen.get("epoch", 1) in shown else JUDGED

    @property
    def other_epochs(self) -> list[int]:
        """Epochs beside which the page's own is drawn: those of the paper that its walk opens."""
        opened = self.experiments[0].probed_epochs or ()
        return [epoch for epoch in EPOCHS if epoch in opened] if len(opened) > 1 else []

    def draw_epochs(self, traces: list[xr.Dataset]) -> Figure:
        """The windows of the walk side by side, on equal axes."""
        windows = [measures.window(traces[0], epoch, self.length) for epoch in self.other_epochs]
        return figures.side_by_side(windows, [f"epoch {epoch}" for epoch in self.other_epochs])


class StochasticTwin(StochasticWalk):
    """SGD on the images of gradient descent, to be compared with it; in no figure."""

    @property
    def tables(self) -> Iterable[Settings]:
        images = {
            scale: {
                name: {"training_images": of["training_images"]}
                for name, of in settings.items()
                if "training_images" in of
            }
            for scale, settings in GRADIENT_DESCENT.items()
        }
        return (*super().tables, images)


# Claims -------------------------------------------------------------------------------------------

# Of gradient descent, of SGD, and of both.
GD = {"item": "fig1", "pages": (GradientDescentWalk,), "subjects": EVERY_SUBJECT}
SGD = {"item": "fig2", "pages": (StochasticWalk,), "subjects": EVERY_SUBJECT}
BOTH = {
    "item": "fig2",
    "pages": (GradientDescentWalk, StochasticTwin),
    "subjects": EVERY_SUBJECT,
}
# What two walks must have in common to have walked on one surface.
SURFACE = ("dataset", "classes", "training_images", "augmentation", "width")
DESCENDS = "Likeliest reason: the first steps are mostly descent."
CREEPS = (
    "Likeliest reason: at this rate gradient descent creeps down one side of the valley, since the "
    "rate is below 1/λ."
)


def bounces(gd: Walked, *others: Walked) -> str:
    """Gradient descent bounces at last: most of its last ten segments have a minimum inside."""
    return _few_inside_at_last(gd.trace)


def sgd_bounces(sgd: Walked) -> str:
    """SGD bounces at last: most of its last ten segments have a minimum inside."""
    return _few_inside_at_last(sgd.trace)


def _few_inside_at_last(trace: xr.Dataset) -> str:
    inside = Share.of(analysis.has_interior_minimum(measures.measured_losses(trace)[-10:]))
    return "" if float(inside) > 0.5 else f"{inside.times} of {inside.steps}"


def same_surface(gd: Walked, sgd: Walked) -> str:
    """Gradient descent and SGD train one network on the same images."""
    first, second = experiment_of(gd.trace), experiment_of(sgd.trace)
    differ = [name for name in SURFACE if getattr(first, name) != getattr(second, name)]
    return ", ".join(
        f"{name.replace('_', ' ')} {_or_all(first, name)} against {_or_all(second, name)}"
        for name in differ
    )


def _or_all(experiment: Experiment, name: str) -> str:
    value = getattr(experiment, name)
    return "all" if value is None else f"{value}"


def _floor_rises(trace: xr.Dataset) -> Share:
    return Share.of(analysis.floor_rises(measures.measured_losses(trace)))


@claim(
    id="gd-floor",
    number=3,
    sentence="The valley floor of gradient descent falls monotonically.",
    source="Section 3.1, Figure 1",
    paper="0",
    printed={"vgg11": 0.0},
    below=0.05,
    quantity="share",
    cautions=dict.fromkeys(
        ("resnet56", "vgg11 on tiny-imagenet"),
        "caution: with so few seeds and steps the interval reaches the bound even if the floor "
        "never rises",
    ),
    **GD,
)
def gd_floor(gd: Walked) -> Share:
    """Share of the first steps in which the floor rises."""
    return _floor_rises(gd.trace)


@claim(
    id="sgd-floor",
    number=3,
    sentence="The valley floor of SGD goes up and down.",
    source="Section 3.1, Figure 2",
    paper="many ups and downs",
    above=0.1,
    quantity="share",
    premises=(sgd_bounces,),
    primary=("vgg11",),
    reasons=dict.fromkeys(("resnet56", "vgg11 on tiny-imagenet"), DESCENDS),
    **SGD,
)
def sgd_floor(sgd: Walked) -> Share:
    """Share of the first steps in which the floor rises."""
    return _floor_rises(sgd.trace)


@claim(
    id="gd-cosine",
    number=4,
    sentence="Under gradient descent the cosine of consecutive gradients goes to −1.",
    source="Section 3.1, Figure 1",
    paper="near −1",
    printed={"vgg11": -1.0},
    below=-0.8,
    premises=(bounces,),
    reasons={
        "vgg11": (
            "Likeliest reason: part of each gradient points along the valley, and a bounce does "
            "not turn that part around."
        ),
        "mlp": CREEPS,
        "vgg11 on tiny-imagenet": (
            "Likeliest reason: within these steps gradient descent has only begun to bounce."
        ),
    },
    **GD,
)
def gd_cosine(gd: Walked) -> float:
    """Mean cosine of the last ten of the first steps."""
    return measures.last_cosine(gd.trace)


@claim(
    id="sgd-cosine",
    number=4,
    sentence="Under SGD the cosine is much less negative.",
    source="Section 3.1, Figure 2",
    paper="less negative",
    above=0.1,
    premises=(bounces, same_surface),
    reasons={"mlp": CREEPS},
    **BOTH,
)
def sgd_cosine(gd: Walked, sgd: Walked) -> float:
    """Mean cosine of the last ten of the first steps, SGD minus gradient descent."""
    return measures.last_cosine(sgd.trace) - measures.last_cosine(gd.trace)


@claim(
    id="distance",
    number=5,
    sentence="SGD travels farther than gradient descent in as many updates.",
    source="Section 3.1",
    paper="1.7 / 1.4 = 1.2",
    printed={"vgg11": 1.7 / 1.4},
    above=1.0,
    quantity="ratio",
    premises=(same_surface,),
    reasons={
        "vgg11": (
            "Likeliest reason: while gradient descent still slides it goes nearly straight on; SGD "
            "is turned by its mini-batches at each step."
        )
    },
    **BOTH,
)
def distance(gd: Walked, sgd: Walked) -> float:
    """Distance from the initialisation, SGD over gradient descent."""
    steps = min(gd.trace.sizes["iteration"], sgd.trace.sizes["iteration"]) - 1
    return float(sgd.trace["distance"][steps] / gd.trace["distance"][steps])
