"""Figures 6 and 27: learning-rate schedules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from .. import figures
from ..seeds import mean_of_seeds
from ..statistics import Interval
from ..walks.experiment import Experiment, Schedule
from ..walks.provenance import experiment_of
from .claim import EVERY_NETWORK, Walked, claim
from .page import (
    Each,
    ModelPage,
    PositiveFloat,
    PositiveInt,
    experiment,
    markdown_table,
    setting_of,
)
from .scales import EVERY, Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
# Of which the paper speaks: a schedule, and the one it is compared with.
COMPARED: tuple[tuple[Schedule, Schedule], ...] = (
    ("trapezoid", "clr"),
    ("trapezoid", "stepwise"),
    ("clr", "stepwise"),
)


class Schedules(ModelPage):
    """Parameters of the notebook `fig6_schedules`."""

    learning_rates: Each[PositiveFloat] | None = None
    batch_size: PositiveInt | None = None
    epochs: PositiveInt | None = None
    seeds: PositiveInt | None = None

    notebook: ClassVar[str] = "fig6_schedules"
    alternative_text: ClassVar[str] = (
        "Three panels over the epoch, one curve a schedule: learning rate, training loss and "
        "validation accuracy, with bands over the seeds."
    )

    settings: ClassVar[Settings] = {
        "smoke": {EVERY: {"epochs": 2, "learning_rates": (0.05, 0.1), "seeds": 2}},
        "quick": {
            EVERY: {"epochs": 12, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3},
            "mlp": {"epochs": 10},
            "resnet56": {"learning_rates": (0.1, 0.3)},
        },
        "overnight": {
            EVERY: {"epochs": 12, "learning_rates": (0.03, 0.1, 0.3), "seeds": 10},
            "mlp": {"epochs": 10, "training_images": 4000},
            "vgg11": {"training_images": 4000},
            "resnet56": {"training_images": 1000, "learning_rates": (0.1, 0.3), "seeds": 5},
        },
        "paper": {EVERY: {"epochs": 100, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3}},
    }

    @property
    def experiments(self) -> list[Experiment]:
        """Each schedule with each rate of one grid and each seed, all of the same length."""
        fields = self.fields
        # Every second epoch, or each where the last would be left out.
        every = math.gcd(fields["epochs"], 2)
        return [
            experiment(
                fields,
                schedule=schedule,
                learning_rate=rate,
                seed=self.first_seed + seed,
                probed_epochs=(),
                evaluate_every=every,
            )
            for schedule in SCHEDULES
            for rate in fields["learning_rates"]
            for seed in range(fields["seeds"])
        ]

    def by_epoch(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch and walk; `learning_rate` is the mean of the epoch's steps."""
        import pandas as pd

        parts = []
        for trace in traces:
            walked = experiment_of(trace)
            part = trace[["train_loss", "validation_accuracy"]].to_dataframe().reset_index()
            rates = trace["learning_rate"].values.reshape(walked.epochs, -1).mean(axis=1)
            parts.append(
                part.assign(
                    learning_rate=rates,
                    schedule=walked.schedule,
                    largest_rate=walked.learning_rate,
                    seed=walked.seed,
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
        return mean_of_seeds(values[schedule] - values[other])

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """Each tuned schedule: means over the seeds, bands from the lowest seed to the highest."""
        import matplotlib.pyplot as plt
        import seaborn as sns
        from matplotlib.ticker import MaxNLocator

        epochs = self.by_epoch(traces)
        rates, length = self.tuned(epochs), self.experiments[0].epochs
        tuned = epochs[epochs["largest_rate"] == epochs["schedule"].map(rates)]
        with figures.style():
            figure, axes = plt.subplots(3, 1, sharex=True, figsize=(9, 8), layout="constrained")
            # Step by step: a mean over an epoch has neither the peaks nor the end. All seeds of a
            # schedule have the same.
            for schedule, colour in zip(SCHEDULES, figures.PALETTE, strict=False):
                rate = next(
                    trace["learning_rate"].values
                    for walked, trace in zip(self.experiments, traces, strict=True)
                    if (walked.schedule, walked.learning_rate) == (schedule, rates[schedule])
                )
                steps = np.arange(len(rate)) * length / len(rate)
                axes[0].plot(steps, rate, color=colour, label=schedule)
            axes[0].set_ylabel("learning rate")
            for axis, column, label in zip(
                axes[1:],
                ("train_loss", "validation_accuracy"),
                ("training loss", "validation accuracy"),
                strict=True,
            ):
                sns.lineplot(
                    tuned.dropna(subset=[column]),
                    x="epoch",
                    y=column,
                    hue="schedule",
                    ax=axis,
                    hue_order=SCHEDULES,
                    palette=figures.PALETTE[: len(SCHEDULES)],
                    errorbar=("pi", 100),
                    legend=False,
                )
                axis.set_ylabel(label)
            figures.legend_above(axes[0])
            figures.logarithmic(axes[1])
            axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Loss and accuracy at the end of each tuned schedule, and their differences."""
        epochs = self.by_epoch(traces)
        ends, measures = self.ends(epochs), ("train_loss", "validation_accuracy")
        tuned: list[dict[str, Any]] = []
        for schedule, rate in self.tuned(epochs).items():
            chosen = ends[(ends["schedule"] == schedule) & (ends["largest_rate"] == rate)]
            means = {measure: mean_of_seeds(chosen[measure]) for measure in measures}
            tuned.append({"schedule": schedule, "rate": rate, **means})
        differences = [
            {"schedule": schedule, "other": other}
            | {measure: self.difference(epochs, schedule, other, measure) for measure in measures}
            for schedule, other in COMPARED
        ]
        return {
            "setting": setting_of(self.experiments[0]),
            "epochs": self.experiments[0].epochs,
            "seeds": int(ends["seed"].nunique()),
            "tuned": tuned,
            "differences": differences,
            "most_accurate": max(tuned, key=lambda each: each["validation_accuracy"].estimate),
            "lowest": min(tuned, key=lambda each: each["train_loss"].estimate),
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """The tuned schedules' ends, and the differences that the paper speaks of."""
        numbers = self.numbers(traces)
        rows = []
        for each in numbers["tuned"]:
            ends = [str(each["train_loss"]), str(each["validation_accuracy"])]
            rows.append([each["schedule"], f"{each['rate']:g}", *ends])
        for each in numbers["differences"]:
            ends = [str(each["train_loss"]), str(each["validation_accuracy"])]
            rows.append([f"{each['schedule']} − {each['other']}", "", *ends])
        header = ["schedule", "tuned largest rate", "training loss", "validation accuracy"]
        seeds = numbers["seeds"]
        note = (
            f"In brackets: 95 % intervals over the seeds of this page ({seeds}), by Student's t. "
            "Each schedule has the rate with the highest mean accuracy over these seeds; the "
            "claims below choose it in each seed, so that their numbers differ a little."
        )
        return markdown_table(header, rows) + "\n\n" + note


# Claims -------------------------------------------------------------------------------------------

SHARED = {
    "number": 12,
    "source": "Section 5, Figure 6",
    "above": -0.02,
    "item": "fig6",
    "pages": (Schedules,),
    "subjects": EVERY_NETWORK,
}


def _difference(walked: Walked, schedule: Schedule, other: Schedule) -> float:
    page: Schedules = walked.page
    epochs = page.by_epoch(list(walked.traces))
    return page.difference(epochs, schedule, other, "validation_accuracy").estimate


@claim(
    id="trapezoid-and-clr",
    sentence="The trapezoid is at least as good as cyclical rates: cycles are redundant.",
    paper="0 or more",
    **SHARED,
)
def trapezoid_and_clr(walked: Walked) -> float:
    """Final validation accuracy, trapezoid minus CLR, both tuned in each seed."""
    return _difference(walked, "trapezoid", "clr")


@claim(
    id="trapezoid-and-stepwise",
    sentence="The trapezoid is at least as good as stepwise annealing.",
    paper="0 or slightly more",
    **SHARED,
)
def trapezoid_and_stepwise(walked: Walked) -> float:
    """Final validation accuracy, trapezoid minus stepwise, both tuned in each seed."""
    return _difference(walked, "trapezoid", "stepwise")


@claim(
    id="clr-and-stepwise",
    sentence="Cyclical rates are at least as good as stepwise annealing.",
    paper="0 or slightly more",
    **SHARED,
)
def clr_and_stepwise(walked: Walked) -> float:
    """Final validation accuracy, CLR minus stepwise, both tuned in each seed."""
    return _difference(walked, "clr", "stepwise")
