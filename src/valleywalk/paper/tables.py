"""Figure 8 and Tables 1 and 2: barriers that are crossed, and height above the valley floor."""

from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from .. import figures, measures, statistics
from ..statistics import Interval
from ..walks.experiment import Experiment, ModelName
from .scales import TITLES, ModelPage, Page, PositiveFloat, PositiveInt, markdown_table
from .walks import window_experiment

# The epochs of both tables.
EPOCHS = (1, 10, 25, 100)
LAST_EPOCH_OF_FIGURE_8 = 40
BARRIERS: dict[str, dict[int, int]] = {
    "vgg11": {1: 0, 10: 0, 25: 5, 100: 13},
    "resnet56": {1: 0, 10: 0, 25: 2, 100: 23},
    "mlp": {1: 0, 10: 3, 25: 5},
}
HEIGHTS: dict[tuple[str, float], dict[int, float]] = {
    ("vgg11", 0.1): {1: 0.0625, 10: 0.0199, 25: 0.0104, 100: 0.0025},
    ("vgg11", 0.05): {1: 0.0102, 10: 0.0050, 25: 0.0035, 100: 0.0011},
    ("resnet56", 0.3): {1: 0.0380, 10: 0.0131, 25: 0.0094, 100: 0.0017},
    ("resnet56", 0.15): {1: 0.0084, 10: 0.0034, 25: 0.0020, 100: 0.0013},
}
RATES = {"vgg11": (0.1, 0.05), "resnet56": (0.3, 0.15), "mlp": (0.1, 0.05)}


def table_walk(
    page: Page, model: ModelName, dataset: str | None = None, learning_rate: float = 0.1
) -> Experiment:
    """The walk of a network whose windows are counted.

    At learning rate 0.1 it shows all epochs of the scale's table, so that the walk figures and
    Figure 8 need no other; at another one only those of Tables 1 and 2.
    """
    fields = page.fields_of(model, dataset, "tables")
    shown = tuple(fields["epochs_shown"])
    if learning_rate != 0.1:
        fields["learning_rate"] = learning_rate
        shown = table_epochs(page, shown)
    images = page.available(fields["dataset"], fields)
    return window_experiment(fields, images, shown)


def table_epochs(page: Page, shown: tuple[int, ...]) -> tuple[int, ...]:
    """Those epochs of Tables 1 and 2 that a walk shows, or all that were asked for."""
    if getattr(page, "epochs_shown", None):
        return shown
    return tuple(epoch for epoch in shown if epoch in EPOCHS) or shown


class BarriersByEpoch(ModelPage):
    """Parameters of the notebook `fig8_barriers`."""

    epochs_shown: list[PositiveInt] | None = None

    alternative_text: ClassVar[str] = (
        "Two panels over the epoch: bars with the share of steps that cross a barrier, by both "
        "definitions, and the largest barrier's height beside the loss and the noise floor."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, self.model, self.dataset)]

    def by_epoch(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch."""
        shown = self.fields("tables")["epochs_shown"]
        if self.epochs_shown is None:
            shown = [epoch for epoch in shown if epoch <= LAST_EPOCH_OF_FIGURE_8]
        return pd.DataFrame([measures.count_steps(traces[0], epoch, None) for epoch in shown])

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.barriers_by_epoch(self.by_epoch(traces))

    def table(self, traces: list[xr.Dataset]) -> str:
        """All epochs together; the paper's figure has no numbers printed."""
        counted = self.by_epoch(traces)
        steps = int(counted["steps"].sum())
        rows = []
        noise_known = bool(counted["noise"].notna().any())
        for name, paper in (
            ("both", "none in most epochs"),
            ("above noise", "not measured"),
            ("either", "the captions' definition"),
        ):
            if name == "above noise" and not noise_known:
                rows.append([f"barriers, {name}", paper, *["not measured"] * 3])
                continue
            count = int(counted[name].sum())
            share = statistics.proportion(count, steps)
            epochs = int((counted[name] > 0).sum())
            rows.append(
                [f"barriers, {name}", paper, f"{count} of {steps}", str(share), f"{epochs}"]
            )
        largest = counted.loc[counted["largest"].idxmax()]
        found = "No barrier is higher than both ends"
        if largest["both"]:
            found = (
                f"Largest barrier: {largest['largest']:.2g} in epoch {largest['epoch']}, "
                f"{largest['largest share']:.2%} of the loss there"
            )
        noise = f"{counted['noise'].max():.2g} at most" if noise_known else "not measured"
        note = (
            f"{found}; noise floor {noise}. The paper calls its barriers substantially smaller "
            "than the loss."
        )
        header = ["", "paper", "this walk", "share of steps", "epochs with any"]
        return markdown_table(header, rows) + "\n\n" + note


class TablePage(Page):
    """What both tables have in common: some networks, each in some epochs."""

    models: list[ModelName] = Field(["vgg11", "resnet56", "mlp"], min_length=1)
    width: PositiveFloat | None = None
    training_images: PositiveInt | None = None
    epochs_shown: list[PositiveInt] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    def counted(self, model: ModelName, trace: xr.Dataset) -> list[dict[str, Any]]:
        """What `measures.count_steps` finds in each epoch that is shown of a network's walk."""
        fields = self.fields_of(model, None, "tables")
        epochs = table_epochs(self, tuple(fields["epochs_shown"]))
        return [measures.count_steps(trace, epoch, fields["iterations"]) for epoch in epochs]


class BarrierTable(TablePage):
    """Parameters of the notebook `tab1_barriers`."""

    alternative_text: ClassVar[str] = (
        "For each network and epoch the share of steps that cross a barrier, with its interval, "
        "beside the paper's."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, model) for model in self.models]

    def counts(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network and epoch."""
        return pd.DataFrame(
            row | {"model": model, "paper": BARRIERS[model].get(row["epoch"])}
            for model, trace in zip(self.models, traces, strict=True)
            for row in self.counted(model, trace)
        )

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.barrier_shares(self.counts(traces), TITLES)

    def table(self, traces: list[xr.Dataset]) -> str:
        rows = []
        for row in self.counts(traces).to_dict("records"):
            paper = row["paper"]
            printed = "not printed" if paper is None or np.isnan(paper) else f"{paper:.0f} of 450"
            above = "not measured" if np.isnan(row["noise"]) else f"{row['above noise']}"
            rows.append(
                [
                    TITLES[row["model"]],
                    row["epoch"],
                    printed,
                    f"{row['both']} of {row['steps']}",
                    str(statistics.proportion(row["both"], row["steps"])),
                    above,
                    _resolved(row),
                    row["either"],
                    f"{row['largest']:.2g}",
                    f"{row['loss']:.2g}",
                ]
            )
        header = ["network", "epoch", "paper", "higher than both ends", "share", "above noise"]
        header += ["resolved by the images (left open)"]
        header += ["higher than either", "largest barrier", "loss"]
        return markdown_table(header, rows)


class HeightTable(TablePage):
    """Parameters of the notebook `tab2_height`."""

    models: list[ModelName] = Field(["vgg11", "resnet56"], min_length=1)
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=2)] | None = None

    alternative_text: ClassVar[str] = (
        "One panel a network: the mean height above the valley floor over the epoch on a "
        "logarithmic scale, for two learning rates, with intervals, beside the paper's."
    )

    def rates(self, model: ModelName) -> tuple[float, ...]:
        """Learning rates that are compared, the first with each of the others."""
        return tuple(self.learning_rates or RATES[model])

    @property
    def walks(self) -> dict[tuple[ModelName, float], Experiment]:
        """One walk a network and learning rate."""
        return {
            (model, rate): table_walk(self, model, learning_rate=rate)
            for model in self.models
            for rate in self.rates(model)
        }

    @property
    def experiments(self) -> list[Experiment]:
        return list(self.walks.values())

    def heights(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network, learning rate and epoch."""
        rows = []
        for (model, rate), trace in zip(self.walks, traces, strict=True):
            for row in self.counted(model, trace):
                paper = HEIGHTS.get((model, rate), {}).get(row["epoch"], np.nan)
                own = {"model": model, "rate": rate, "paper": paper, "interval": _interval(row)}
                rows.append(row | own)
        return pd.DataFrame(rows)

    def ratio(self, heights: pd.DataFrame, model: ModelName, rate: float, epoch: int) -> Interval:
        """Mean height at the first learning rate over that at another one."""
        here = heights[(heights["model"] == model) & (heights["epoch"] == epoch)].set_index("rate")
        first, other = (here.loc[each] for each in (self.rates(model)[0], rate))
        if first["drawn"] and other["drawn"]:
            return statistics.ratio(first["height"], other["height"])
        return statistics.ratio_of_means(first["heights"], other["heights"])

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.heights(self.heights(traces), TITLES)

    def table(self, traces: list[xr.Dataset]) -> str:
        heights = self.heights(traces)
        rows = []
        for row in heights.to_dict("records"):
            first = self.rates(row["model"])[0]
            ratio, printed = "", ""
            if row["rate"] != first:
                ratio = str(self.ratio(heights, row["model"], row["rate"], row["epoch"]))
                above = HEIGHTS.get((row["model"], first), {}).get(row["epoch"], np.nan)
                printed = _shown(above / row["paper"], ".2g")
            rows.append(
                [
                    TITLES[row["model"]],
                    f"{row['rate']:g}",
                    row["epoch"],
                    _shown(row["paper"], ".4f"),
                    str(row["interval"]),
                    _shown(row["height inside"].value, ".3g", "none"),
                    f"{row['loss']:.2g}",
                    _shown(row["noise"], ".1g"),
                    printed,
                    ratio,
                ]
            )
        header = ["network", "learning rate", "epoch", "paper's height", "height"]
        header += ["height where the floor lies inside", "loss", "noise"]
        header += ["paper's ratio", "ratio to the rate above"]
        return markdown_table(header, rows)


def _interval(row: dict[str, Any]) -> Interval:
    """A mean height: of drawn steps with the errors of images and steps, else of a window."""
    if row["drawn"]:
        return row["height"].interval(positive=True)
    return statistics.mean_of_steps(row["heights"])


def _resolved(row: dict[str, Any]) -> str:
    if row["resolved"] is None or np.isnan(row["resolved"]):
        return "not measured"
    return f"{row['resolved']:.0f} ({row['unresolved']:.0f})"


def _shown(value: float, form: str, otherwise: str = "not printed") -> str:
    return otherwise if np.isnan(value) else f"{value:{form}}"
