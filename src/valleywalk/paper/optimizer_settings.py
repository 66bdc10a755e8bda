"""What a run of one of several optimizers depends on, and the learning rates that were chosen."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from ..walks.experiment import PositiveInt, Strict

if TYPE_CHECKING:
    import xarray as xr

Problem = Literal["digits", "cifar9k", "text"]
Normalisation = Literal["none", "batch", "layer"]
OptimizerName = Literal["SGD", "momentum", "Adam", "AdamW", "Muon"]

RATES = "optimizer_rates.csv"


class Configuration(NamedTuple):
    """What is compared."""

    problem: Problem
    normalisation: Normalisation
    optimizer: OptimizerName

    @property
    def possible(self) -> bool:
        """A transformer has no batch norm."""
        return (self.problem, self.normalisation) != ("text", "batch")


class Run(Strict):
    """The settings of a run, which are all that it depends on."""

    problem: Problem
    normalisation: Normalisation
    optimizer: OptimizerName
    learning_rate: Annotated[float, Field(gt=0)]
    steps: PositiveInt = 60
    batch_size: PositiveInt = 100
    evaluation_examples: PositiveInt = 200
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    seed: Annotated[int, Field(ge=0)]

    @property
    def configuration(self) -> Configuration:
        return Configuration(self.problem, self.normalisation, self.optimizer)


def run_of(trace: xr.Dataset) -> Run:
    """The settings that a trace of `train` was made by."""
    return Run.model_validate_json(trace.attrs["run"])


class Tried(NamedTuple):
    """A learning rate that was tried, and the loss at the end."""

    configuration: Configuration
    learning_rate: float
    seed: int
    loss: float


@cache
def tried() -> tuple[Tried, ...]:
    """All rates that were tried, as `optimizer_record` keeps them."""
    text = files("valleywalk.paper").joinpath(RATES).read_text(encoding="utf-8")
    rows: list[list[Any]] = list(csv.reader(text.splitlines()))[1:]
    return tuple(
        Tried(Configuration(*names), float(rate), int(seed), float(loss))
        for *names, rate, seed, loss in rows
    )


@cache
def chosen_rate(configuration: Configuration) -> float:
    """The learning rate of a configuration by the rule of `search`."""
    losses: dict[float, list[float]] = {}
    for each in tried():
        if each.configuration == configuration:
            losses.setdefault(each.learning_rate, []).append(each.loss)
    return min(losses, key=lambda rate: sum(losses[rate]))
