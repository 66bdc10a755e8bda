"""Every figure and table of the paper: its notebook, and its experiments at each scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from . import analysis, figures
from .experiment import (
    TRAINING_IMAGES,
    BatchNormMode,
    Convention,
    Experiment,
    ModelName,
    Strict,
    UpdateName,
)
from .quadratic import QuadraticParameters
from .store import Store
from .trace import provenance

Scale = Literal["smoke", "quick", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)

# What stands in for the paper's data sets where no download is wanted.
STAND_IN = {"mnist": "mnist5k", "cifar10": "photos", "tiny-imagenet": "photos64"}

# A scale is this table and nothing else: experiment fields by scale, then by model or by data set;
# the data set's win. "iterations" is the length of the window that a figure shows.
SETTINGS: dict[Scale, dict[str, dict[str, Any]]] = {
    "smoke": {
        "mlp": {"width": 0.1, "training_images": 180, "batch_size": 20, "iterations": 4},
        "vgg11": {"width": 0.0625, "training_images": 40, "batch_size": 20, "iterations": 3},
        "resnet56": {"width": 0.0625, "training_images": 20, "batch_size": 10, "iterations": 2},
    },
    "quick": {
        "mlp": {"iterations": 40},
        "vgg11": {"width": 0.125, "training_images": 1000, "iterations": 40},
        "resnet56": {
            "width": 0.25,
            "training_images": 400,
            "evaluation_images": 200,
            "iterations": 40,
        },
        "photos64": {"training_images": 500},
    },
    "paper": {
        "mlp": {"iterations": 40},
        "vgg11": {"iterations": 40},
        "resnet56": {"iterations": 40},
        "cifar10": {"augmentation": True},
        # The paper's subset of Tiny-ImageNet is not defined; these are 10,000 images.
        "tiny-imagenet": {"classes": 20, "training_images": 10_000},
    },
}

# The same for full-batch gradient descent alone. Its batch size is the chunk that batch norm sees:
# the authors' 5,000 of 45,000 images, or as near to nine chunks as the scale allows. Augmentation
# would make the full gradient random.
GD_SETTINGS: dict[Scale, dict[str, dict[str, Any]]] = {
    "smoke": {"mlp": {"batch_size": 20}},
    "quick": {
        "mlp": {"batch_size": 445, "evaluation_batch_size": 445},
        "vgg11": {"batch_size": 100},
        "resnet56": {"batch_size": 100},
    },
    "paper": {
        "mlp": {"batch_size": 5000},
        "vgg11": {"batch_size": 5000},
        "resnet56": {"batch_size": 5000},
        "cifar10": {"augmentation": False},
        "tiny-imagenet": {"batch_size": 5000},
    },
}

# The same for the walks of Figures 3 and 7, which measure curvature each so many epochs.
SPECTRAL_SETTINGS: dict[Scale, dict[str, dict[str, Any]]] = {
    "smoke": {
        "mlp": {"epochs": 2, "curvature_every": 1, "curvature_images": 20},
        "vgg11": {"epochs": 2, "curvature_every": 1, "curvature_images": 20},
        "resnet56": {"epochs": 1, "curvature_every": 1, "curvature_images": 10},
    },
    "quick": {
        "mlp": {"epochs": 20, "curvature_every": 2, "curvature_images": 500},
        "vgg11": {"epochs": 40, "curvature_every": 4, "curvature_images": 200},
        "resnet56": {"epochs": 40, "curvature_every": 8, "curvature_images": 100},
    },
    "paper": {
        "mlp": {"epochs": 40, "curvature_every": 1, "curvature_images": 25_000},
        "vgg11": {"epochs": 100, "curvature_every": 1, "curvature_images": 25_000},
        "resnet56": {"epochs": 100, "curvature_every": 1, "curvature_images": 25_000},
    },
}
# Figure 7 has another learning rate than all other figures of ResNet-56.
SPECTRAL_LEARNING_RATE = {"mlp": 0.1, "vgg11": 0.1, "resnet56": 0.3}

# Epochs beyond the first that the paper shows: one walk serves them all.
LATER_EPOCHS = {"mlp": (2,), "vgg11": (2, 25, 100), "resnet56": (2, 25, 100)}


class TraceParameters(Strict):
    """What all notebooks that draw one trace have in common.

    None stands for the value of the scale's table. Unknown names and impossible values are refused
    before any work.
    """

    scale: Scale = "quick"
    model: ModelName = "vgg11"
    dataset: str | None = None
    width: Annotated[float, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    training_images: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    traces: str | None = None

    @property
    def store(self) -> Store:
        """The store of traces in the folder `traces`, or the default one."""
        return Store(Path(self.traces).expanduser() if self.traces else None)

    @property
    def chosen_dataset(self) -> str:
        """The data set named, or the scale's own for the network."""
        return self.dataset or default_dataset(self.model, self.scale)

    def fields(self, *tables: dict[Scale, dict[str, dict[str, Any]]]) -> dict[str, Any]:
        """Experiment fields of this scale's tables, overridden by what was given one by one."""
        fields: dict[str, Any] = {"batch_size": 100, "evaluation_batch_size": 100}
        for table in (SETTINGS, *tables):
            of_scale = table[self.scale]
            fields |= of_scale.get(self.model, {}) | of_scale.get(self.chosen_dataset, {})
        given = self.model_dump(exclude_none=True, exclude_unset=True)
        fields |= {name: value for name, value in given.items() if name in Experiment.model_fields}
        fields |= {"model": self.model, "dataset": self.chosen_dataset}
        available = self.available(fields)
        for name in ("batch_size", "evaluation_batch_size", "evaluation_images"):
            if name in fields:
                fields[name] = min(fields[name], available)
        return fields

    def available(self, fields: dict[str, Any]) -> int:
        """Training images there will be."""
        # A folder's images are not counted yet here: then the batches are as asked for.
        known = TRAINING_IMAGES.get(self.chosen_dataset)
        return fields.get("training_images") or known or 45_000


class WalkParameters(TraceParameters):
    """Parameters of the notebooks `fig1_gd_walk` and `fig2_sgd_walk`."""

    evaluation_images: Annotated[int, Field(ge=1)] | None = None
    epoch: Annotated[int, Field(ge=1)] = 1
    iterations: Annotated[int, Field(ge=1)] | None = None
    points: Annotated[int, Field(ge=2)] = 10
    convention: Convention = "text"

    def trace(self, update: UpdateName) -> xr.Dataset:
        """The trace to draw, walked now if there is none yet."""
        return self.store.get(walk_experiment(update, self), device=self.device)


class SpectralParameters(TraceParameters):
    """Parameters of the notebook `fig3_spectral_norm`."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    curvature_every: Annotated[int, Field(ge=1)] | None = None
    curvature_images: Annotated[int, Field(ge=1)] | None = None
    batch_norm: BatchNormMode = "train"

    @property
    def experiment(self) -> Experiment:
        """The walk behind Figures 3 and 7; it measures curvature and no segments."""
        fields = {"learning_rate": SPECTRAL_LEARNING_RATE[self.model], "probed_epochs": ()}
        fields |= self.fields(SPECTRAL_SETTINGS)
        fields.pop("iterations")
        every = max(1, fields["curvature_every"] // 4)
        return Experiment(**fields, evaluate_every=every)

    def trace(self) -> xr.Dataset:
        """The trace to draw, walked now if there is none yet."""
        return self.store.get(self.experiment, device=self.device)


def walk_experiment(update: UpdateName, parameters: WalkParameters) -> Experiment:
    """The experiment behind a walk figure (Figures 1, 2 and 9 to 21).

    Epochs 2, 25 and 100 of one network come from one walk.
    """
    fields = parameters.fields(*([GD_SETTINGS] if update == "gd" else []))
    iterations = parameters.iterations or fields["iterations"]
    del fields["iterations"]
    later = LATER_EPOCHS[parameters.model]
    epoch = parameters.epoch
    probed = later if update == "sgd" and epoch in later else (epoch,)
    images = parameters.available(fields)
    steps_in_epoch = 1 if update == "gd" else images // fields["batch_size"]
    epochs = max(probed) - 1 + -(-iterations // steps_in_epoch)
    return Experiment(
        **fields,
        update=update,
        epochs=epochs,
        probed_epochs=probed,
        probed_iterations=iterations,
        evaluate_every=max(1, epochs // 4),
    )


def default_dataset(model: ModelName, scale: Scale) -> str:
    """The paper's data set for a network, or what stands in for it at a scale."""
    dataset = "mnist" if model == "mlp" else "cifar10"
    return dataset if scale == "paper" else STAND_IN[dataset]


@dataclass(frozen=True)
class Item:
    """A figure or table of the paper.

    Attributes
    ----------
    name : str
        fig1 … fig28, tab1, tab2, appd.
    title : str
    notebook : str or None
        Stem of the notebook's file; None while there is none.
    model, dataset : str or None
        The paper's network and data set.
    update : {"gd", "sgd"} or None
    epoch : int
        Epoch whose first iterations a walk figure shows.
    """

    name: str
    title: str
    notebook: str | None = None
    model: ModelName | None = None
    dataset: str | None = None
    update: UpdateName | None = None
    epoch: int = 1

    @property
    def label(self) -> str:
        """Figure 2, Table 1, Appendix D."""
        if self.name == "appd":
            return "Appendix D"
        kind = {"fig": "Figure", "tab": "Table"}[self.name[:3]]
        return f"{kind} {self.name[3:]}"

    def parameters(self, scale: Scale) -> dict[str, Any]:
        """Parameters for the item's notebook at a scale."""
        if self.notebook is None:
            raise ValueError(f"{self.label} has no notebook yet")
        if self.model is None:
            return {}
        dataset = self.dataset if scale == "paper" else STAND_IN[str(self.dataset)]
        chosen = {"scale": scale, "model": self.model, "dataset": dataset}
        return chosen | ({"epoch": self.epoch} if self.update else {})

    def setting(self, scale: Scale) -> str:
        """In a few words, what is walked at a scale, and what stands in for the paper's data."""
        if self.model is None:
            return "a quadratic, the same at every scale"
        (experiment,) = self.experiments(scale)
        data = str(self.dataset)
        if experiment.dataset != data:
            data = f"`{experiment.dataset}` in place of {_DATASETS[data]}"
        width = "" if experiment.width == 1 else f" at width {experiment.width:g}"
        images = experiment.training_images or TRAINING_IMAGES[experiment.dataset]
        return f"{_MODELS[experiment.model]}{width}, {images:,} images, {data}"

    def draw(self, scale: Scale, device: str = "auto") -> tuple[Figure, str]:
        """The figure, and the line that says what it was made from; walks what has no trace yet."""
        chosen = self.parameters(scale)
        if self.model is None:
            quadratic = QuadraticParameters(**chosen)
            return figures.quadratic(**dict(quadratic)), quadratic.provenance
        if self.update is None:
            trace = SpectralParameters(**chosen, device=device).trace()
            return figures.spectral_norm(trace), provenance(trace)
        parameters = WalkParameters(**chosen, device=device)
        trace = parameters.trace(self.update)
        return figures.walk(trace, parameters.epoch, parameters.iterations), provenance(trace)

    def experiments(self, scale: Scale) -> list[Experiment]:
        """The walks the item needs at a scale."""
        if self.model is None:
            return []
        chosen = self.parameters(scale)
        if self.update is None:
            return [SpectralParameters(**chosen).experiment]
        return [walk_experiment(self.update, WalkParameters(**chosen))]


_MODELS = {"mlp": "MLP", "vgg11": "VGG-11", "resnet56": "ResNet-56"}
_DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "tiny-imagenet": "Tiny-ImageNet"}


def _gd(number: int, model: ModelName, dataset: str) -> Item:
    title = f"{_MODELS[model]} on {_DATASETS[dataset]}: the walk of full-batch gradient descent"
    return Item(f"fig{number}", title, "fig1_gd_walk", model, dataset, "gd")


def _sgd(number: int, model: ModelName, dataset: str, epoch: int) -> Item:
    title = f"{_MODELS[model]} on {_DATASETS[dataset]}: the walk of SGD in epoch {epoch}"
    return Item(f"fig{number}", title, "fig2_sgd_walk", model, dataset, "sgd", epoch)


def _spectral(number: int, model: ModelName, dataset: str) -> Item:
    title = f"{_MODELS[model]} on {_DATASETS[dataset]}: spectral norm and validation accuracy"
    return Item(f"fig{number}", title, "fig3_spectral_norm", model, dataset)


ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        _gd(1, "vgg11", "cifar10"),
        _sgd(2, "vgg11", "cifar10", 1),
        _spectral(3, "vgg11", "cifar10"),
        Item("fig4", "VGG-11 on CIFAR-10: batch size moves the cosine, learning rate does not"),
        Item("fig5", "VGG-11 on CIFAR-10: gradient descent with isotropic noise"),
        Item("fig6", "VGG-11 on CIFAR-10: learning-rate schedules"),
        _spectral(7, "resnet56", "cifar10"),
        Item("fig8", "VGG-11 on CIFAR-10: barriers in each of 40 epochs"),
        _gd(9, "resnet56", "cifar10"),
        *(_sgd(10 + i, "resnet56", "cifar10", e) for i, e in enumerate((1, 2, 25, 100))),
        *(_sgd(14 + i, "vgg11", "cifar10", e) for i, e in enumerate((2, 25, 100))),
        _gd(17, "mlp", "mnist"),
        *(_sgd(18 + i, "mlp", "mnist", e) for i, e in enumerate((1, 2))),
        _gd(20, "vgg11", "tiny-imagenet"),
        _sgd(21, "vgg11", "tiny-imagenet", 1),
        Item("fig22", "ResNet-56 on CIFAR-10: batch size and learning rate"),
        Item("fig23", "MLP on MNIST: batch size and learning rate"),
        Item("fig24", "VGG-11 on Tiny-ImageNet: batch size and learning rate"),
        Item("fig25", "ResNet-56 on CIFAR-10: gradient descent with isotropic noise"),
        Item("fig26", "MLP on MNIST: gradient descent with isotropic noise"),
        Item("fig27", "ResNet-56 on CIFAR-10: learning-rate schedules"),
        Item("fig28", "Convergence rate of gradient descent on a quadratic", "fig28_quadratic"),
        Item("tab1", "Barriers crossed in an epoch"),
        Item("tab2", "Mean height above the valley floor"),
        Item("appd", "Hessian and gradient covariance"),
    )
}

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
    "barriers": "barriers crossed (higher than both ends)",
    "barriers_either": "barriers crossed (higher than either end)",
    "floor_rises": "steps in which the valley floor rises",
}


def walk_numbers(window: xr.Dataset) -> dict[str, float | int | None]:
    """The numbers of `QUANTITIES` for the measured window of a walk."""
    loss = window["loss"].values
    cosine = window["cosine"].values[1 if np.isnan(window["cosine"].values[0]) else 0 :]
    skipped = len(loss) - len(cosine)
    negative = analysis.first_negative(cosine)
    return {
        "distance": float(window["distance"][-1]),
        "first_negative": None
        if negative is None
        else int(window["iteration"][0]) + skipped + negative,
        "last_cosines": float(cosine[-10:].mean()) if len(cosine) else None,
        "interior_minimum": float(analysis.has_interior_minimum(loss).mean()),
        "height": float(analysis.height(loss).mean()),
        "barriers": int(analysis.barriers(loss).sum()),
        "barriers_either": int(analysis.barriers(loss, "either").sum()),
        "floor_rises": int((np.diff(analysis.floor(loss)) > 0).sum()),
    }


def walk_table(trace: xr.Dataset, update: UpdateName, parameters: WalkParameters) -> str:
    """Markdown table: the paper's printed numbers beside those of this walk."""
    window = figures.window(trace, parameters.epoch, parameters.iterations)
    numbers = walk_numbers(window)
    dataset = parameters.chosen_dataset
    original = {stand_in: name for name, stand_in in STAND_IN.items()}.get(dataset, dataset)
    printed = PRINTED.get((parameters.model, original, update, parameters.epoch), {})
    steps = len(window["iteration"])
    counted = {"barriers", "barriers_either", "floor_rises"}
    rows = [f"| quantity ({steps} steps) | paper | this walk |", "|---|---|---|"]
    for name, description in QUANTITIES.items():
        value = numbers[name]
        if value is None:
            shown = "never"
        elif name in counted:
            shown = f"{value} of {steps - (name == 'floor_rises')}"
        elif name == "interior_minimum":
            shown = f"{value:.0%}"
        elif name == "first_negative":
            shown = f"{value}"
        else:
            shown = f"{value:.3g}"
        rows.append(f"| {description} | {printed.get(name, 'not printed')} | {shown} |")
    return "\n".join(rows)


def spectral_table(trace: xr.Dataset) -> str:
    """Markdown table of a walk's spectral norm; the paper prints no numbers for Figures 3 and 7."""
    known = trace["hessian_max"].dropna("epoch")
    accuracy = trace["validation_accuracy"].dropna("epoch")
    lowest = int(np.argmin(known.values))
    rows = [
        ("largest eigenvalue when first measured", "", f"{known[0]:.3g}"),
        ("its lowest value", "falls for most of training", f"{known[lowest]:.3g}"),
        ("epoch of that", "towards the end", f"{known['epoch'].values[lowest]}"),
        ("largest eigenvalue at the end", "rises slightly at the end", f"{known[-1]:.3g}"),
        ("smallest eigenvalue at the end", "", f"{trace['hessian_min'].dropna('epoch')[-1]:.3g}"),
        ("2/η", "", f"{2 / trace['learning_rate'].values[0]:.3g}"),
        ("largest relative residual", "", f"{trace['hessian_residual'].max():.1e}"),
        ("validation accuracy at its best", "", f"{accuracy.max():.1%}"),
        ("validation accuracy at the end", "drops at the end", f"{accuracy[-1]:.1%}"),
    ]
    lines = [f"| {name} | {paper or 'not printed'} | {here} |" for name, paper, here in rows]
    return "\n".join(["| quantity | paper | this walk |", "|---|---|---|", *lines])
