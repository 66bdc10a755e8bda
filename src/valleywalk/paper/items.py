"""The registry, which reads like the paper's list of figures: every item, its page, and the claims.

A row says what makes an item of its page's notebook; everything else about it is in the page.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..allowed import unknown_names
from ..walks.catalogue import DATASETS, network_info
from ..walks.experiment import Experiment, ModelName
from . import edge
from .barriers import BarriersByEpoch, BarrierTable
from .claim import Claim
from .conventions import Conventions
from .factors import Factors
from .heights import HeightTable
from .isotropic import IsotropicNoise
from .noise_structure import NoiseStructure
from .optimizers import Optimizers
from .page import Page, setting_of
from .quadratic import Quadratic
from .scales import Scale
from .schedules import Schedules
from .spectral import SpectralNorm
from .twin import Twin
from .walks import GradientDescentWalk, StochasticWalk


@dataclass(frozen=True)
class Item:
    """A figure or table of the paper, or another page made from walks.

    Attributes
    ----------
    name : str
        fig1 … fig28, tab1, tab2, appd, and those that the paper does not have.
    label : str
        Figure 2, Table 1, Appendix D.
    title : str
    page : type
        Its page's class, which knows the notebook.
    chosen : mapping
        The notebook's parameters that make it this item; the data set is the paper's.
    """

    name: str
    label: str
    title: str
    page: type[Page]
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """At which there are walks of it."""
        return self.page.scales_of(self.chosen)

    def parameters(self, scale: Scale) -> dict[str, Any]:
        """Parameters for the item's notebook at a scale."""
        return self.page.parameters_at(scale, self.chosen)

    def at(self, scale: Scale, **more: Any) -> Page:
        """The item's page at a scale."""
        return self.page(**self.parameters(scale) | more)

    def experiments(self, scale: Scale, **more: Any) -> list[Experiment]:
        """The walks the item needs at a scale, with more parameters."""
        return self.at(scale, **more).experiments

    def papermill(self, scale: Scale, **more: Any) -> str:
        """The command that runs the item's notebook at a scale, with more parameters."""
        return self.page.papermill(self.parameters(scale) | more)

    def setting(self, scale: Scale) -> str:
        """In a few words, what is walked at a scale, and what stands in for the paper's data."""
        page = self.at(scale)
        if not page.experiments:
            same = "" if "scale" in self.page.model_fields else ", the same at every scale"
            return f"{page.scope}{same}"
        return "; ".join(dict.fromkeys(setting_of(experiment) for experiment in page.experiments))


def in_words(experiment: Experiment) -> str:
    """A walk in a few words: network, data, and how it steps."""
    return (
        f"{setting_of(experiment)}; {experiment.update}, rate {experiment.learning_rate:g}, "
        f"batch {experiment.batch_size}, {experiment.epochs} epoch{'s' * (experiment.epochs > 1)}"
    )


CURVATURE, RATES = "spectral norm and validation accuracy", "learning-rate schedules"
ON_MNIST = {"model": "mlp", "dataset": "mnist"}


def _figure(
    number: int, page: type[Page], model: ModelName, dataset: str, title: str, **chosen: Any
) -> Item:
    return Item(
        f"fig{number}",
        f"Figure {number}",
        f"{network_info(model).title} on {DATASETS[dataset].title}: {title}",
        page,
        {"model": model, "dataset": dataset, **chosen},
    )


def _gd(number: int, model: ModelName, dataset: str, **chosen: Any) -> Item:
    title = "the walk of full-batch gradient descent"
    return _figure(number, GradientDescentWalk, model, dataset, title, **chosen)


def _sgd(number: int, model: ModelName, dataset: str, epoch: int) -> Item:
    title = f"the walk of SGD in epoch {epoch}"
    return _figure(number, StochasticWalk, model, dataset, title, epoch=epoch)


def _spectral(number: int, model: ModelName, **chosen: Any) -> Item:
    return _figure(number, SpectralNorm, model, "cifar10", CURVATURE, **chosen)


def _factors(number: int, model: ModelName, dataset: str) -> Item:
    title = "batch size, learning rate and the cosine"
    return _figure(number, Factors, model, dataset, title)


def _isotropic(number: int, model: ModelName, dataset: str) -> Item:
    title = "gradient descent with isotropic noise"
    return _figure(number, IsotropicNoise, model, dataset, title)


def _schedules(number: int, model: ModelName) -> Item:
    return _figure(number, Schedules, model, "cifar10", RATES)


OF_THE_PAPER: dict[str, Item] = {
    item.name: item
    for item in (
        _gd(1, "vgg11", "cifar10", edge_of_stability=True),
        _sgd(2, "vgg11", "cifar10", 1),
        _spectral(3, "vgg11", edge_of_stability=True),
        _factors(4, "vgg11", "cifar10"),
        _isotropic(5, "vgg11", "cifar10"),
        _schedules(6, "vgg11"),
        _spectral(7, "resnet56"),
        _figure(8, BarriersByEpoch, "vgg11", "cifar10", "barriers in each of 40 epochs"),
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
            "fig28", "Figure 28", "Convergence rate of gradient descent on a quadratic", Quadratic
        ),
        Item("tab1", "Table 1", "Barriers crossed in an epoch", BarrierTable),
        Item("tab2", "Table 2", "Mean height above the valley floor", HeightTable),
        Item("appd", "Appendix D", "Hessian and gradient covariance", NoiseStructure),
    )
}
# Everything in the book that is made from walks.
ITEMS: dict[str, Item] = OF_THE_PAPER | {
    item.name: item
    for item in (
        # Of these two the paper has no figure for its third network.
        Item(
            "curvature_mlp",
            "Curvature of the MLP",
            f"MLP on MNIST: {CURVATURE}",
            SpectralNorm,
            ON_MNIST,
        ),
        Item(
            "schedules_mlp", "Schedules of the MLP", f"MLP on MNIST: {RATES}", Schedules, ON_MNIST
        ),
        Item(
            "text_against_code",
            "Text against code",
            "The same walks in both readings",
            Conventions,
        ),
        Item("twin", "Recorded and live", "One walk twice", Twin),
        Item(
            "optimizers",
            "Side by side",
            "Five optimizers, with and without normalisation",
            Optimizers,
        ),
    )
}


def item_named(name: str, kind: str) -> Item:
    """The item of a name; `kind` is what the error calls it.

    Raises
    ------
    ValueError
        There is none; says the nearest name, and all.
    """
    problem = unknown_names({name}, ITEMS, kind)
    if problem:
        raise ValueError(problem)
    return ITEMS[name]


# All claims, those that say one thing together: each stands in the file of a page whose walks it
# needs.
_ROOMS = dict.fromkeys([*(sys.modules[item.page.__module__] for item in ITEMS.values()), edge])
CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (found for room in _ROOMS for found in vars(room).values() if isinstance(found, Claim)),
        key=lambda claim: claim.number,
    )
)
