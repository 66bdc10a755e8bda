"""Figures 6 and 27: learning-rate schedules."""

import math
from typing import ClassVar, get_args

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from .. import figures, statistics
from ..statistics import Interval
from ..walks.experiment import Experiment, Schedule
from ..walks.provenance import experiment_of
from .scales import ModelPage, PositiveFloat, PositiveInt, experiment_fields, markdown_table

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


class Schedules(ModelPage):
    """Parameters of the notebook `fig6_schedules`."""

    learning_rates: list[PositiveFloat] | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    seeds: PositiveInt | None = None

    alternative_text: ClassVar[str] = (
        "Three panels over the epoch, one curve a schedule: learning rate, training loss and "
        "validation accuracy, with bands over the seeds."
    )

    @property
    def experiments(self) -> list[Experiment]:
        """Each schedule with each rate of one grid and each seed, all of the same length."""
        fields = self.fields("schedules")
        # Every second epoch, or each where the last would be left out.
        every = math.gcd(fields["epochs"], 2)
        base = experiment_fields(fields) | {"probed_epochs": (), "evaluate_every": every}
        return [
            Experiment(
                **base | {"schedule": schedule, "learning_rate": rate, "seed": self.seed + seed}
            )
            for schedule in SCHEDULES
            for rate in fields["learning_rates"]
            for seed in range(fields["seeds"])
        ]

    def by_epoch(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch and walk; `learning_rate` is the mean of the epoch's steps."""
        parts = []
        for trace in traces:
            experiment = experiment_of(trace)
            part = trace[["train_loss", "validation_accuracy"]].to_dataframe().reset_index()
            rates = trace["learning_rate"].values.reshape(experiment.epochs, -1).mean(axis=1)
            parts.append(
                part.assign(
                    learning_rate=rates,
                    schedule=experiment.schedule,
                    largest_rate=experiment.learning_rate,
                    seed=experiment.seed,
                )
            )
        return pd.concat(parts, ignore_index=True)

    def ends(self, epochs: pd.DataFrame) -> pd.DataFrame:
        """The last row of each walk."""
        return epochs.groupby(["schedule", "largest_rate", "seed"], as_index=False).last()

    def tuned(self, epochs: pd.DataFrame) -> dict[Schedule, float]:
        """The rate of each schedule with the highest mean validation accuracy at the end."""
        means = (
            self.ends(epochs).groupby(["schedule", "largest_rate"])["validation_accuracy"].mean()
        )
        return {schedule: float(means[schedule].idxmax()) for schedule in SCHEDULES}

    def difference(
        self, epochs: pd.DataFrame, schedule: Schedule, other: Schedule, measure: str
    ) -> Interval:
        """A measure at the end of the tuned schedule minus that of another, paired by seed."""
        ends, rates = self.ends(epochs), self.tuned(epochs)
        values = {
            name: ends[(ends["schedule"] == name) & (ends["largest_rate"] == rates[name])]
            .set_index("seed")[measure]
            .sort_index()
            for name in (schedule, other)
        }
        return statistics.mean_of_seeds(values[schedule] - values[other])

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        epochs = self.by_epoch(traces)
        rates = epochs["schedule"].map(self.tuned(epochs))
        return figures.schedules(epochs[epochs["largest_rate"] == rates], SCHEDULES)

    def table(self, traces: list[xr.Dataset]) -> str:
        """The tuned schedules' ends, and the differences that the paper speaks of."""
        epochs = self.by_epoch(traces)
        ends, rates = self.ends(epochs), self.tuned(epochs)
        rows = []
        for schedule, rate in rates.items():
            chosen = ends[(ends["schedule"] == schedule) & (ends["largest_rate"] == rate)]
            loss = statistics.mean_of_seeds(chosen["train_loss"])
            accuracy = statistics.mean_of_seeds(chosen["validation_accuracy"])
            rows.append([schedule, f"{rate:g}", str(loss), str(accuracy)])
        pairs: tuple[tuple[Schedule, Schedule], ...] = (
            ("trapezoid", "clr"),
            ("trapezoid", "stepwise"),
            ("clr", "stepwise"),
        )
        for schedule, other in pairs:
            loss, accuracy = (
                self.difference(epochs, schedule, other, measure)
                for measure in ("train_loss", "validation_accuracy")
            )
            rows.append([f"{schedule} − {other}", "", str(loss), str(accuracy)])
        header = ["schedule", "tuned largest rate", "training loss", "validation accuracy"]
        return markdown_table(header, rows)
