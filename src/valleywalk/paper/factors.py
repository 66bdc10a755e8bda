"""Figures 4 and 22 to 24: what batch size and learning rate do to the cosine of gradients."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from .. import figures, statistics
from ..statistics import Interval
from ..walks.experiment import Experiment
from ..walks.provenance import experiment_of
from .scales import (
    ModelPage,
    PositiveFloat,
    PositiveInt,
    epochs_for,
    experiment_fields,
    markdown_table,
)

Factor = Literal["batch_size", "learning_rate"]
NAMES: dict[Factor, str] = {"batch_size": "batch size", "learning_rate": "learning rate"}
MEASURES = {
    "cosine": "mean cosine of the second half of the walk",
    "distance": "distance from the initialisation at its end",
}


class Factors(ModelPage):
    """Parameters of the notebook `fig4_lr_bs`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    learning_rates: list[PositiveFloat] | None = None
    batch_sizes: list[PositiveInt] | None = None
    iterations: PositiveInt | None = None
    seeds: PositiveInt | None = None

    alternative_text: ClassVar[str] = (
        "Two panels over the iteration, each with the smoothed cosine of consecutive gradients: on "
        "the left one curve a batch size, on the right one curve a learning rate, with bands."
    )

    @property
    def experiments(self) -> list[Experiment]:
        """Each batch size at one rate, each rate at one batch size, each with every seed."""
        fields = self.fields("factors")
        base = experiment_fields(fields) | {"evaluation_images": None}
        base["learning_rate"] = rate = fields.get("learning_rate", 0.1)
        images = self.available(base["dataset"], base)
        size = base["batch_size"]
        grid = [(rate, other) for other in fields["batch_sizes"]]
        grid += [(other, size) for other in fields["learning_rates"]]
        return [
            Experiment(
                **base
                | {
                    "learning_rate": rate,
                    "batch_size": size,
                    "seed": self.seed + seed,
                    "epochs": epochs_for(fields["iterations"], {"batch_size": size}, images),
                },
                probed_epochs=(),
                evaluate_every=0,
            )
            for seed in range(fields["seeds"])
            for rate, size in dict.fromkeys(grid)
        ]

    def steps(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a step: cosine and distance, with learning rate, batch size and seed."""
        length = self.fields("factors")["iterations"]
        parts = []
        for trace in traces:
            experiment = experiment_of(trace)
            part = trace[["cosine", "distance"]].isel(iteration=slice(1, length)).to_dataframe()
            parts.append(
                part.reset_index().assign(
                    learning_rate=experiment.learning_rate,
                    batch_size=experiment.batch_size,
                    seed=experiment.seed,
                )
            )
        return pd.concat(parts, ignore_index=True)

    def varied(self, steps: pd.DataFrame, factor: Factor) -> pd.DataFrame:
        """The rows in which only one factor varies."""
        fields = self.fields("factors")
        if factor == "batch_size":
            rate = fields.get("learning_rate", 0.1)
            kept = (steps["learning_rate"] == rate) & steps["batch_size"].isin(
                fields["batch_sizes"]
            )
        else:
            kept = (steps["batch_size"] == fields["batch_size"]) & steps["learning_rate"].isin(
                fields["learning_rates"]
            )
        return steps[kept]

    def measures(self, steps: pd.DataFrame) -> pd.DataFrame:
        """One row a walk: the numbers of `MEASURES`."""
        walks = ["learning_rate", "batch_size", "seed"]
        half = steps["iteration"] > steps["iteration"].max() / 2
        cosine = steps[half].groupby(walks)["cosine"].mean()
        distance = steps.groupby(walks)["distance"].last()
        return pd.concat([cosine, distance], axis=1).reset_index()

    def effect(self, steps: pd.DataFrame, factor: Factor, measure: str) -> Interval:
        """Change of a measure for each doubling of a factor: its slope in each seed, their mean."""
        measured = self.measures(self.varied(steps, factor))
        table = measured.pivot(index="seed", columns=factor, values=measure)
        if table.shape[1] < 2:
            return Interval(np.nan, np.nan, np.nan)
        return statistics.mean_of_seeds(
            statistics.slopes(np.log2(table.columns.astype(float)), list(table.values))
        )

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        steps = self.steps(traces)
        panels = {NAMES[factor]: (factor, self.varied(steps, factor)) for factor in NAMES}
        return figures.factors(panels)

    def table(self, traces: list[xr.Dataset]) -> str:
        """Each walk's measures, and the effect of each factor on one scale."""
        steps = self.steps(traces)
        rows = []
        for factor, name in NAMES.items():
            measured = self.measures(self.varied(steps, factor))
            for value, walks in measured.groupby(factor):
                cells = [str(statistics.mean_of_seeds(walks[measure])) for measure in MEASURES]
                rows.append([f"{name} {value:g}", *cells])
        for factor, name in NAMES.items():
            effects = [str(self.effect(steps, factor, measure)) for measure in MEASURES]
            rows.append([f"**change for each doubling of the {name}**", *effects])
        return markdown_table(["", *MEASURES.values()], rows)
