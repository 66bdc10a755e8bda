"""Every figure and table of the paper: its notebook, and its experiments at each scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field, model_validator

from . import analysis, figures
from .experiment import (
    TRAINING_IMAGES,
    Convention,
    Experiment,
    ModelName,
    UpdateName,
    unknown_names,
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

# Epochs beyond the first that the paper shows: one walk serves them all.
LATER_EPOCHS = {"mlp": (2,), "vgg11": (2, 25, 100), "resnet56": (2, 25, 100)}


class WalkParameters(BaseModel):
    """Parameters of the notebooks `fig1_gd_walk` and `fig2_sgd_walk`.

    None stands for the value of the scale's table. Unknown names and impossible values are refused
    before any work.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Scale = "quick"
    model: ModelName = "vgg11"
    dataset: str | None = None
    width: Annotated[float, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    training_images: Annotated[int, Field(ge=1)] | None = None
    evaluation_images: Annotated[int, Field(ge=1)] | None = None
    epoch: Annotated[int, Field(ge=1)] = 1
    iterations: Annotated[int, Field(ge=1)] | None = None
    points: Annotated[int, Field(ge=2)] = 10
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    convention: Convention = "text"
    traces: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_parameters(cls, values: Any) -> Any:
        problem = unknown_names(set(values), set(cls.model_fields), "parameter")
        if problem:
            raise ValueError(problem)
        return values

    @property
    def store(self) -> Store:
        """The store of traces in the folder `traces`, or the default one."""
        return Store(Path(self.traces).expanduser() if self.traces else None)

    def trace(self, update: UpdateName) -> xr.Dataset:
        """The trace to draw, walked now if there is none yet."""
        return self.store.get(walk_experiment(update, self), device=self.device)


def walk_experiment(update: UpdateName, parameters: WalkParameters) -> Experiment:
    """The experiment behind a walk figure (Figures 1, 2 and 9 to 21).

    Epochs 2, 25 and 100 of one network come from one walk.
    """
    chosen = parameters
    dataset = chosen.dataset or default_dataset(chosen.model, chosen.scale)
    fields: dict[str, Any] = {"evaluation_batch_size": 100}
    tables = [SETTINGS[chosen.scale]] + ([GD_SETTINGS[chosen.scale]] if update == "gd" else [])
    for table in tables:
        fields |= table.get(chosen.model, {}) | table.get(dataset, {})
    for name in ("width", "learning_rate", "batch_size", "training_images", "evaluation_images"):
        if (value := getattr(chosen, name)) is not None:
            fields[name] = value
    iterations = chosen.iterations or fields.pop("iterations")
    fields.pop("iterations", None)
    # A folder's images are not counted yet here: then the batches are as asked for.
    available = fields.get("training_images") or TRAINING_IMAGES.get(dataset) or 45_000
    fields["evaluation_batch_size"] = min(fields["evaluation_batch_size"], available)
    if "evaluation_images" in fields:
        fields["evaluation_images"] = min(fields["evaluation_images"], available)
    batch_size = min(fields.get("batch_size", 100), available)
    later = LATER_EPOCHS[chosen.model]
    probed = later if update == "sgd" and chosen.epoch in later else (chosen.epoch,)
    steps_in_epoch = 1 if update == "gd" else available // batch_size
    epochs = max(probed) - 1 + -(-iterations // steps_in_epoch)
    return Experiment(
        model=chosen.model,
        dataset=dataset,
        update=update,
        points=chosen.points,
        seed=chosen.seed,
        convention=chosen.convention,
        epochs=epochs,
        probed_epochs=probed,
        probed_iterations=iterations,
        evaluate_every=max(1, epochs // 4),
        **(fields | {"batch_size": batch_size}),
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
        if self.update is None:
            return {}
        dataset = self.dataset if scale == "paper" else STAND_IN[str(self.dataset)]
        return {"scale": scale, "model": self.model, "dataset": dataset, "epoch": self.epoch}

    def setting(self, scale: Scale) -> str:
        """In a few words, what is walked at a scale, and what stands in for the paper's data."""
        if self.update is None:
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
        if self.update is None:
            quadratic = QuadraticParameters(**chosen)
            return figures.quadratic(**dict(quadratic)), quadratic.provenance
        parameters = WalkParameters(**chosen, device=device)
        trace = parameters.trace(self.update)
        return figures.walk(trace, parameters.epoch, parameters.iterations), provenance(trace)

    def experiments(self, scale: Scale) -> list[Experiment]:
        """The walks the item needs at a scale."""
        if self.update is None:
            return []
        return [walk_experiment(self.update, WalkParameters(**self.parameters(scale)))]


_MODELS = {"mlp": "MLP", "vgg11": "VGG-11", "resnet56": "ResNet-56"}
_DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "tiny-imagenet": "Tiny-ImageNet"}


def _gd(number: int, model: ModelName, dataset: str) -> Item:
    title = f"{_MODELS[model]} on {_DATASETS[dataset]}: the walk of full-batch gradient descent"
    return Item(f"fig{number}", title, "fig1_gd_walk", model, dataset, "gd")


def _sgd(number: int, model: ModelName, dataset: str, epoch: int) -> Item:
    title = f"{_MODELS[model]} on {_DATASETS[dataset]}: the walk of SGD in epoch {epoch}"
    return Item(f"fig{number}", title, "fig2_sgd_walk", model, dataset, "sgd", epoch)


ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        _gd(1, "vgg11", "cifar10"),
        _sgd(2, "vgg11", "cifar10", 1),
        Item("fig3", "VGG-11 on CIFAR-10: spectral norm and validation accuracy"),
        Item("fig4", "VGG-11 on CIFAR-10: batch size moves the cosine, learning rate does not"),
        Item("fig5", "VGG-11 on CIFAR-10: gradient descent with isotropic noise"),
        Item("fig6", "VGG-11 on CIFAR-10: learning-rate schedules"),
        Item("fig7", "ResNet-56 on CIFAR-10: spectral norm and validation accuracy"),
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
    dataset = parameters.dataset or default_dataset(parameters.model, parameters.scale)
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
