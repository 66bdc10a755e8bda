"""Every figure and table of the paper: its notebook, and its page at each scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..walks.catalogue import DATASETS
from ..walks.experiment import Experiment, ModelName
from .conventions import Conventions
from .factors import Factors
from .isotropic import IsotropicNoise
from .optimizers import Optimizers
from .quadratic import Quadratic
from .scales import TITLES, Page, Scale, dataset_at, original_dataset
from .schedules import Schedules
from .spectral import SpectralNorm
from .structure import NoiseStructure
from .tables import BarriersByEpoch, BarrierTable, HeightTable
from .twin import Twin
from .walks import GradientDescentWalk, StochasticWalk

# Notebook's file, without its suffix → its parameters.
AnyPage = Page | Quadratic | Optimizers
NOTEBOOKS: dict[str, type[AnyPage]] = {
    "fig1_gd_walk": GradientDescentWalk,
    "fig2_sgd_walk": StochasticWalk,
    "fig3_spectral_norm": SpectralNorm,
    "fig4_lr_bs": Factors,
    "fig5_isotropic_noise": IsotropicNoise,
    "fig6_schedules": Schedules,
    "fig8_barriers": BarriersByEpoch,
    "fig28_quadratic": Quadratic,
    "tab1_barriers": BarrierTable,
    "tab2_height": HeightTable,
    "appd_noise_structure": NoiseStructure,
    "text_against_code": Conventions,
    "optimizers": Optimizers,
    "twin": Twin,
}
_DATASETS = {name: dataset.title for name, dataset in DATASETS.items() if dataset.file}


@dataclass(frozen=True)
class Item:
    """A figure or table of the paper, or another page made from walks.

    Attributes
    ----------
    name : str
        fig1 … fig28, tab1, tab2, appd, text_against_code.
    label : str
        Figure 2, Table 1, Appendix D.
    title : str
    notebook : str
        Stem of the notebook's file.
    chosen : mapping
        The notebook's parameters that make it this item; the data set is the paper's.
    """

    name: str
    label: str
    title: str
    notebook: str
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, scale: Scale) -> dict[str, Any]:
        """Parameters for the item's notebook at a scale."""
        chosen = dict(self.chosen)
        if "scale" not in NOTEBOOKS[self.notebook].model_fields:
            return chosen
        if "dataset" in chosen:
            chosen["dataset"] = dataset_at(scale, chosen["model"], chosen["dataset"])
        return {"scale": scale, **chosen}

    def page(self, scale: Scale, **more: Any) -> AnyPage:
        """The item's page at a scale."""
        return NOTEBOOKS[self.notebook](**self.parameters(scale), **more)

    def experiments(self, scale: Scale) -> list[Experiment]:
        """The walks the item needs at a scale."""
        return self.page(scale).experiments

    def papermill(self, scale: Scale) -> str:
        """The command that runs the item's notebook at a scale."""
        chosen = "".join(f" -p {name} {value}" for name, value in self.parameters(scale).items())
        return f"papermill notebooks/{self.notebook}.ipynb out.ipynb{chosen}"

    def setting(self, scale: Scale) -> str:
        """In a few words, what is walked at a scale, and what stands in for the paper's data."""
        experiments = self.experiments(scale)
        if not experiments:
            return f"{NOTEBOOKS[self.notebook].subject}, the same at every scale"
        return "; ".join(dict.fromkeys(setting_of(experiment) for experiment in experiments))


def in_words(experiment: Experiment) -> str:
    """A walk in a few words: network, data, and how it steps."""
    return (
        f"{setting_of(experiment)}; {experiment.update}, rate {experiment.learning_rate:g}, "
        f"batch {experiment.batch_size}, {experiment.epochs} epoch{'s' * (experiment.epochs > 1)}"
    )


def setting_of(experiment: Experiment) -> str:
    """In a few words, what network walks on what data."""
    original = original_dataset(experiment.model, experiment.dataset)
    data = _DATASETS.get(original, original)
    if original != experiment.dataset:
        data = f"`{experiment.dataset}` in place of {data}"
    width = "" if experiment.width == 1 else f" at width {experiment.width:g}"
    images = experiment.training_images or DATASETS[experiment.dataset].training_images
    if experiment.classes is not None:
        data += f" ({experiment.classes} classes)"
    return f"{TITLES[experiment.model]}{width}, {images:,} images, {data}"


def _figure(
    number: int, notebook: str, model: ModelName, dataset: str, title: str, **chosen: Any
) -> Item:
    return Item(
        f"fig{number}",
        f"Figure {number}",
        f"{TITLES[model]} on {_DATASETS[dataset]}: {title}",
        notebook,
        {"model": model, "dataset": dataset, **chosen},
    )


def _gd(number: int, model: ModelName, dataset: str, **chosen: Any) -> Item:
    title = "the walk of full-batch gradient descent"
    return _figure(number, "fig1_gd_walk", model, dataset, title, **chosen)


def _sgd(number: int, model: ModelName, dataset: str, epoch: int) -> Item:
    title = f"the walk of SGD in epoch {epoch}"
    return _figure(number, "fig2_sgd_walk", model, dataset, title, epoch=epoch)


def _spectral(number: int, model: ModelName, **chosen: Any) -> Item:
    title = "spectral norm and validation accuracy"
    return _figure(number, "fig3_spectral_norm", model, "cifar10", title, **chosen)


def _factors(number: int, model: ModelName, dataset: str) -> Item:
    title = "batch size, learning rate and the cosine"
    return _figure(number, "fig4_lr_bs", model, dataset, title)


def _isotropic(number: int, model: ModelName, dataset: str) -> Item:
    title = "gradient descent with isotropic noise"
    return _figure(number, "fig5_isotropic_noise", model, dataset, title)


def _schedules(number: int, model: ModelName) -> Item:
    return _figure(number, "fig6_schedules", model, "cifar10", "learning-rate schedules")


ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        _gd(1, "vgg11", "cifar10", edge_of_stability=True),
        _sgd(2, "vgg11", "cifar10", 1),
        _spectral(3, "vgg11", edge_of_stability=True),
        _factors(4, "vgg11", "cifar10"),
        _isotropic(5, "vgg11", "cifar10"),
        _schedules(6, "vgg11"),
        _spectral(7, "resnet56"),
        _figure(8, "fig8_barriers", "vgg11", "cifar10", "barriers in each of 40 epochs"),
        _gd(9, "resnet56", "cifar10"),
        *(_sgd(10 + i, "resnet56", "cifar10", e) for i, e in enumerate((1, 2, 25, 100))),
        *(_sgd(14 + i, "vgg11", "cifar10", e) for i, e in enumerate((2, 25, 100))),
        _gd(17, "mlp", "mnist", edge_of_stability=True),
        *(_sgd(18 + i, "mlp", "mnist", e) for i, e in enumerate((1, 2))),
        _gd(20, "vgg11", "tiny-imagenet"),
        _sgd(21, "vgg11", "tiny-imagenet", 1),
        _factors(22, "resnet56", "cifar10"),
        _factors(23, "mlp", "mnist"),
        _factors(24, "vgg11", "tiny-imagenet"),
        _isotropic(25, "resnet56", "cifar10"),
        _isotropic(26, "mlp", "mnist"),
        _schedules(27, "resnet56"),
        Item(
            "fig28",
            "Figure 28",
            "Convergence rate of gradient descent on a quadratic",
            "fig28_quadratic",
        ),
        Item("tab1", "Table 1", "Barriers crossed in an epoch", "tab1_barriers"),
        Item("tab2", "Table 2", "Mean height above the valley floor", "tab2_height"),
        Item("appd", "Appendix D", "Hessian and gradient covariance", "appd_noise_structure"),
    )
}
# Everything in the book that is made from walks.
PAGES: dict[str, Item] = ITEMS | {
    "text_against_code": Item(
        "text_against_code",
        "Text against code",
        "The same walks in both readings",
        "text_against_code",
    ),
    "twin": Item("twin", "Recorded and live", "one walk twice", "twin"),
    "optimizers": Item(
        "optimizers",
        "Side by side",
        "SGD, momentum and Adam on digits",
        "optimizers",
        {"problem": "digits"},
    ),
    "transformer": Item(
        "transformer",
        "Side by side",
        "a transformer on a small text",
        "optimizers",
        {"problem": "text"},
    ),
}
