"""Figure 8 and Table 1: barriers that are crossed. The walks that both tables count, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import analysis, figures, measures, statistics
from ..seeds import Share
from ..statistics import Interval
from ..walks.catalogue import network_info
from ..walks.experiment import Experiment, ModelName
from .claim import EVERY_NETWORK, Walked, claim
from .few_points import held_in_words
from .page import (
    Each,
    ModelPage,
    NetworksPage,
    PositiveInt,
    WalksPage,
    in_the_paper,
    markdown_table,
    setting_of,
)
from .scales import EVERY, FULL_SIZE, SCALES, Scale, Settings
from .walks import EPOCH_OF_THE_PAPER, window_experiment

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The epochs of both tables, and with them those of Figure 8.
EPOCHS = (1, 10, 25, 100)
LAST_EPOCH_OF_FIGURE_8 = 40
WITH_FIGURE_8 = (*range(1, LAST_EPOCH_OF_FIGURE_8 + 1), EPOCHS[-1])
# The barriers that the paper counts in an epoch.
PRINTED: dict[str, dict[int, int]] = {
    "vgg11": {1: 0, 10: 0, 25: 5, 100: 13},
    "resnet56": {1: 0, 10: 0, 25: 2, 100: 23},
    "mlp": {1: 0, 10: 3, 25: 5},
}
# At the paper's scale whole epochs; at the overnight scale steps drawn from them, with the
# curvature that Figures 3 and 7 show; otherwise the same walks as in the walk figures.
COUNTED: Settings = {
    "overnight": {
        EVERY: {
            "iterations": None,
            "sampled_iterations": 20,
            "whole_every": 5,
            "epochs_shown": EPOCHS,
            "evaluate_every": 1,
            "curvature_every": 5,
            "curvature_images": 400,
        },
        "mlp": {
            "sampled_iterations": 40,
            "epochs_shown": EPOCHS[:3],
            "curvature_every": 2,
            "curvature_images": 1000,
        },
        "vgg11": {"epochs_shown": WITH_FIGURE_8},
    },
    "paper": {
        EVERY: {"iterations": None, "epochs_shown": EPOCHS},
        "mlp": {"epochs_shown": EPOCHS[:3]},
        "vgg11": {"epochs_shown": WITH_FIGURE_8},
    },
}
# What Figure 8 counts: its name in the table, and the paper's word on it, of VGG-11.
COUNTS: Mapping[str, tuple[str, str]] = {
    "both": ("barriers, both", "none in most epochs"),
    "resolved": ("barriers, both, resolved", "not measured"),
    "unresolved": ("steps left open", "not measured"),
    "either": ("barriers, either", "the captions' definition"),
    "convex": ("segments, convex", "roughly all"),
    "not convex": ("segments, not convex", "not measured"),
    "convexity open": ("segments left open", "not measured"),
}
# The learning rate of Figures 3 and 7: only there is the curvature measured.
SPECTRAL_RATES: Mapping[str, float] = {"resnet56": 0.3}
USUAL_RATE = 0.1
SMALL_RATE = 0.01


def table_walk(
    page: WalksPage, model: ModelName, dataset: str | None = None, learning_rate: float = USUAL_RATE
) -> Experiment:
    """The walk of a network whose steps are counted.

    At learning rate 0.1 it shows all epochs of the settings, so that Figure 8 needs no other; at
    another one only those of Tables 1 and 2.
    """
    fields = page.fields_of(model, dataset)
    shown = tuple(fields["epochs_shown"])
    if learning_rate != SPECTRAL_RATES.get(model, USUAL_RATE):
        fields = {name: value for name, value in fields.items() if "curvature" not in name}
    if learning_rate != USUAL_RATE:
        fields["learning_rate"] = learning_rate
        if fields.get("sampled_iterations"):
            fields["iterations"] = None  # Of steps drawn from the whole epoch no window is needed.
        if "epochs_shown" not in page.given:
            shown = fields.get("epochs_at_other_rates", shown)
        shown = table_epochs(page, shown)
    return window_experiment(fields, shown)


def table_epochs(page: WalksPage, shown: tuple[int, ...]) -> tuple[int, ...]:
    """Those epochs of Tables 1 and 2 that a walk shows, or all that were asked for."""
    if "epochs_shown" in page.given:
        return shown
    return tuple(epoch for epoch in shown if epoch in EPOCHS) or shown


class BarriersByEpoch(ModelPage):
    """Parameters of the notebook `fig8_barriers`."""

    epochs_shown: Each[PositiveInt] | None = None

    notebook: ClassVar[str] = "fig8_barriers"
    settings: ClassVar[Settings] = COUNTED
    alternative_text: ClassVar[str] = (
        "Two panels over the epoch: bars with the share of steps that cross a barrier, by both "
        "definitions, and the largest barrier's height beside the loss and beside what the images "
        "resolve."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, self.model, self.dataset)]

    def by_epoch(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch."""
        import pandas as pd

        shown = self.fields["epochs_shown"]
        if self.epochs_shown is None:
            shown = [epoch for epoch in shown if epoch <= LAST_EPOCH_OF_FIGURE_8]
        return pd.DataFrame([measures.count_steps(traces[0], epoch, None) for epoch in shown])

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """How many steps of each epoch cross a barrier, and how high the highest is."""
        import matplotlib.pyplot as plt
        import seaborn as sns
        from matplotlib.ticker import MaxNLocator

        epochs = self.by_epoch(traces)
        known = epochs["resolvable"].notna().any()
        with figures.style():
            figure, (top, bottom) = plt.subplots(
                2, 1, sharex=True, figsize=(8, 7), layout="constrained"
            )
            for column, colour, label in (
                ("either", figures.GREY, "higher than either end"),
                ("both", figures.BLUE, "higher than both ends"),
                ("resolved", figures.ORANGE, "the same, resolved by the images"),
            ):
                if column != "resolved" or known:
                    counts = epochs[column].astype(float)
                    top.bar(epochs["epoch"], counts, color=colour, label=label)
            top.set_ylim(0, max(epochs["steps"].max(), 1))
            top.set_ylabel(f"barriers in {epochs['steps'].max()} steps")
            top.yaxis.set_major_locator(MaxNLocator(integer=True))
            figures.legend_above(top)
            bottom.plot(epochs["epoch"], epochs["loss"], color=figures.GREEN, label="training loss")
            if known:
                least, name = epochs["resolvable"], "smallest barrier that is resolved"
                bottom.plot(epochs["epoch"], least, color=figures.ORANGE, ls="--", label=name)
            crossed = epochs[epochs["largest"] > 0]
            if len(crossed):
                where, heights = crossed["epoch"], crossed["largest"]
                bottom.plot(where, heights, "o", color=figures.BLUE, label="largest barrier")
            figures.logarithmic(bottom)
            bottom.set_ylabel("loss")
            bottom.set_xlabel("epoch")
            figures.legend_above(bottom)
            bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of all epochs together; a count is None where it was not measured."""
        counted = self.by_epoch(traces)
        steps = int(counted["steps"].sum())
        counts: dict[str, dict[str, Any] | None] = {}
        for column in COUNTS:
            if counted[column].isna().any():
                counts[column] = None
                continue
            count = int(counted[column].sum())
            counts[column] = {
                "count": count,
                "share": count / steps,
                "epochs": int((counted[column] > 0).sum()),
            }
        largest = counted.loc[counted["largest"].idxmax()]
        known = counted["resolvable"].notna().any()
        return {
            "setting": setting_of(self.experiments[0]),
            "of_the_paper": in_the_paper(self.experiments[0], "vgg11"),
            "epochs": len(counted),
            "last_epoch": int(counted["epoch"].max()),
            "steps": steps,
            "counts": counts,
            "largest": {
                "height": float(largest["largest"]),
                "epoch": int(largest["epoch"]),
                "share": float(largest["largest share"]),
            }
            if largest["both"]
            else None,
            "resolvable": float(counted["resolvable"].max()) if known else None,
            "loss_before": float(counted["loss"].iloc[0]),
            "loss_after": float(counted["loss"].iloc[-1]),
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """All epochs together; the paper's figure has no numbers printed."""
        numbers, rows = self.numbers(traces), []
        for column, (name, paper) in COUNTS.items():
            counted = numbers["counts"][column]
            shown = ["not measured"] * 3
            if counted is not None:
                total = f"{counted['count']} of {numbers['steps']}"
                shown = [total, f"{counted['share']:.2%}", f"{counted['epochs']}"]
            rows.append([name, paper if numbers["of_the_paper"] else "no such figure", *shown])
        largest, found = numbers["largest"], "No barrier is higher than both ends"
        if largest is not None:
            found = (
                f"Largest barrier: {largest['height']:.2g} in epoch {largest['epoch']}, "
                f"{largest['share']:.2%} of the loss there"
            )
        resolved = "what the images resolve was not measured"
        if numbers["resolvable"] is not None:
            resolved = (
                f"one of {numbers['resolvable']:.2g} would be resolved in at least half of the "
                "steps of any epoch"
            )
        note = (
            f"{found}; {resolved}. The paper calls its barriers substantially smaller than the "
            "loss."
        )
        header = ["", "paper", "this walk", "share of steps", "epochs with any"]
        return markdown_table(header, rows) + "\n\n" + note + held_in_words(traces)


class TablePage(NetworksPage):
    """What both tables have in common: some networks, each in some epochs."""

    dataset: str | None = None
    epochs_shown: Each[PositiveInt] | None = None

    settings: ClassVar[Settings] = COUNTED

    @classmethod
    def scales_of(cls, chosen: Mapping[str, Any]) -> tuple[Scale, ...]:
        return SCALES

    @classmethod
    def parameters_at(cls, scale: Scale, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """At full size those networks whose walks the protocol has."""
        own = {"models": list(FULL_SIZE)} if scale == "full" else {}
        return super().parameters_at(scale, {**chosen, **own})

    def panels(
        self, draw: Callable[[Axes, ModelName], Sequence[int]], label: str, height: float
    ) -> Figure:
        """A panel a network, with one vertical axis.

        Parameters
        ----------
        draw : callable (Axes, network) → epochs
            Draws at 0, 1, … what belongs to each of the epochs that it returns.
        label : str
            Of the vertical axis.
        height : float
            Of the figure, in inches.
        """
        import matplotlib.pyplot as plt
        import seaborn as sns

        figure, axes = plt.subplots(
            1,
            len(self.models),
            sharey=True,
            squeeze=False,
            figsize=(10, height),
            layout="constrained",
        )
        for axis, model in zip(axes[0], self.models, strict=True):
            epochs = draw(axis, model)
            axis.set_xticks(range(len(epochs)), epochs)
            axis.set_xlim(-0.5, len(epochs) - 0.5)
            axis.set_title(network_info(model).title)
            axis.set_xlabel("epoch")
        axes[0, 0].set_ylabel(label)
        sns.despine(figure)
        return figure

    def counted(
        self, model: ModelName, walked: Experiment, trace: xr.Dataset
    ) -> list[dict[str, Any]]:
        """What `measures.count_steps` finds in each epoch that is shown of a network's walk."""
        fields = self.fields_of(model, self.dataset)
        epochs = table_epochs(self, tuple(fields["epochs_shown"]))
        seen = walked.probed_epochs or epochs
        return [
            measures.count_steps(trace, epoch, fields["iterations"])
            for epoch in epochs
            if epoch in seen
        ]


class BarrierTable(TablePage):
    """Parameters of the notebook `tab1_barriers`."""

    notebook: ClassVar[str] = "tab1_barriers"
    # Each step of an epoch, where barriers are few.
    settings: ClassVar[Settings] = COUNTED | {
        "full": {
            EVERY: {"iterations": None, "sampled_iterations": None},
            "vgg11": {"epochs_shown": (1, 10, 25)},
        },
    }
    alternative_text: ClassVar[str] = (
        "For each network and epoch the share of steps that cross a barrier, with its interval, "
        "beside the paper's."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, model, self.dataset) for model in self.models]

    def counts(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network and epoch, with the share of its steps that cross a barrier."""
        import pandas as pd

        return pd.DataFrame(
            row
            | {
                "model": model,
                "share": _share(row),
                "paper": PRINTED.get(model, {}).get(row["epoch"], np.nan),
            }
            for model, walked, trace in zip(self.models, self.experiments, traces, strict=True)
            for row in self.counted(model, walked, trace)
        )

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each network: its epochs with their counts, and what they come to together."""
        counts = self.counts(traces)
        networks = []
        for model, walked in zip(self.models, self.experiments, strict=True):
            rows = counts[counts["model"] == model]
            printed = rows[rows["paper"].notna()]
            # A few steps make no interval.
            inside = [
                share.low <= paper / EPOCH_OF_THE_PAPER <= share.high
                for share, paper in zip(printed["share"], printed["paper"], strict=True)
                if not np.isnan(share.high)
            ]
            highest = rows.loc[rows["largest"].idxmax()]
            known = rows["resolved"].notna().all()
            networks.append(
                {
                    "setting": setting_of(walked),
                    "epochs": [int(epoch) for epoch in rows["epoch"]],
                    "steps": int(rows["steps"].sum()),
                    "both": [int(count) for count in rows["both"]],
                    "crossed": int(rows["both"].sum()),
                    "share_at_most": float(rows["share"].map(lambda share: share.high).max()),
                    "resolved": int(rows["resolved"].sum()) if known else None,
                    "unresolved": int(rows["unresolved"].sum()) if known else None,
                    "either": int(rows["either"].sum()),
                    "largest": float(highest["largest"]),
                    "largest_share": float(highest["largest share"]),
                    "printed_epochs": [int(epoch) for epoch in printed["epoch"]],
                    "printed": [int(count) for count in printed["paper"]],
                    "inside": sum(inside),
                    "compared": len(inside),
                }
            )
        return {"networks": networks, "epoch_of_the_paper": EPOCH_OF_THE_PAPER}

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The share of steps that cross a barrier, beside the paper's."""
        from matplotlib.ticker import PercentFormatter

        counts = self.counts(traces)

        def draw(axis: Axes, model: ModelName) -> list[int]:
            rows = counts[counts["model"] == model]
            positions = np.arange(len(rows))
            figures.intervals(rows["share"], positions, axes=axis, label="this walk")
            axis.plot(
                positions + 0.15,
                rows["paper"] / EPOCH_OF_THE_PAPER,
                "D",
                color=figures.ORANGE,
                markerfacecolor="none",
                label="paper",
            )
            return list(rows["epoch"])

        with figures.style():
            figure = self.panels(draw, "share of steps with a barrier", height=4)
            # None of few steps has a wide interval, and the paper's shares are small.
            figure.axes[0].set_yscale("symlog", linthresh=0.01, subs=range(2, 10))
            figure.axes[0].set_ylim(-0.001, 1)
            figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
            figure.axes[0].legend(frameon=False)
        return figure

    def table(self, traces: list[xr.Dataset]) -> str:
        rows = []
        for row in self.counts(traces).to_dict("records"):
            printed = "not printed"
            if not np.isnan(row["paper"]):
                printed = f"{row['paper']:.0f} of {EPOCH_OF_THE_PAPER}"
            rows.append(
                [
                    network_info(row["model"]).title,
                    row["epoch"],
                    printed,
                    f"{row['both']} of {row['steps']}",
                    str(row["share"]),
                    _resolved(row),
                    row["either"],
                    f"{row['largest']:.2g}",
                    f"{row['loss']:.2g}",
                ]
            )
        header = ["network", "epoch", "paper", "higher than both ends", "share"]
        header += ["resolved by the images (left open)"]
        header += ["higher than either", "largest barrier", "loss"]
        return markdown_table(header, rows) + held_in_words(traces)


def _share(row: dict[str, Any]) -> Interval:
    """Of an epoch's steps that cross a barrier: of drawn ones, which are apart, or of a window."""
    if row["drawn"]:
        return statistics.proportion(row["both"], row["steps"])
    return statistics.share_of_steps(row["crossed"])


def _resolved(row: dict[str, Any]) -> str:
    if row["resolved"] is None or np.isnan(row["resolved"]):
        return "not measured"
    return f"{row['resolved']:.0f} ({row['unresolved']:.0f})"


class SmallRate(ModelPage):
    """SGD at a tenth of the paper's learning rate (Section 6); no figure shows it."""

    settings: ClassVar[Settings] = COUNTED | {
        "overnight": {**COUNTED["overnight"], "vgg11": {"epochs_shown": EPOCHS[:3]}},
    }

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, self.model, self.dataset, SMALL_RATE)]


# Claims -------------------------------------------------------------------------------------------

SHARED = {"pages": (BarriersByEpoch,), "quantity": "share"}


def _barriers(trace: xr.Dataset) -> Share:
    return Share.of(analysis.barriers(measures.measured_losses(trace)))


def crosses_a_barrier(walked: Walked) -> str:
    """SGD crosses a barrier."""
    crossed = _barriers(walked.trace)
    return "" if crossed.times else f"no barrier in {crossed.steps:,} steps"


@claim(
    id="interior-minimum",
    number=1,
    sentence="For most of training the loss has an interior minimum between two iterates of SGD.",
    source="Section 3.1",
    paper="most",
    above=0.5,
    item="fig8",
    primary=("vgg11",),
    reasons={
        "mlp": (
            "Likeliest reason: after the first epoch the digits are soon fitted, and the curvature "
            "along the step is then far below that at which the rate would bounce."
        )
    },
    cautions={
        "vgg11": (
            "caution: the measured epochs are those of Figure 8, most of them early in training. "
            "Once the images are fitted, hardly any segment has a minimum inside; if one "
            "interpolates between the measured epochs, most segments of the whole training have "
            "none"
        )
    },
    **SHARED,
)
def interior_minimum(walked: Walked) -> Share:
    """Share of segments with an interior minimum, of those measured."""
    return Share.of(analysis.has_interior_minimum(measures.measured_losses(walked.trace)))


@claim(
    id="convex-segments",
    number=1,
    sentence="Between two iterates of SGD the loss is roughly convex.",
    source="Section 3.1",
    paper="roughly all",
    above=0.5,
    item="fig8",
    primary=("vgg11",),
    cautions=dict.fromkeys(
        EVERY_NETWORK,
        "caution: many segments are left out, since the images do not resolve which way they bend",
    ),
    **SHARED,
)
def convex_segments(walked: Walked) -> Share:
    """Share of segments that are convex, of those whose second differences the images resolve."""
    signs = measures.convexity_signs(measures.whole_steps(walked.trace))
    # An older trace does not say how far its second differences may be off.
    return Share.of(signs[np.abs(signs) == 1] == 1)


@claim(
    id="few-barriers",
    number=2,
    sentence="SGD crosses almost no barriers.",
    source="Section 3.1, Table 1",
    paper="0 to 0.051 (0 to 23 of 450)",
    # Of VGG-11 more epochs are measured than the paper counts.
    printed={
        model: sum(counts.values()) / (EPOCH_OF_THE_PAPER * len(counts))
        for model, counts in PRINTED.items()
        if model != "vgg11"
    },
    below=0.06,
    item="tab1",
    primary=("vgg11",),
    **SHARED,
)
def few_barriers(walked: Walked) -> Share:
    """Share of steps that cross a barrier."""
    return _barriers(walked.trace)


@claim(
    id="small-barriers",
    number=2,
    sentence="The barriers that SGD crosses are small beside the loss.",
    source="Section 3.1, Figure 8",
    paper="substantially smaller",
    below=0.1,
    item="fig8",
    pages=(BarriersByEpoch,),
    quantity="ratio",
    premises=(crosses_a_barrier,),
)
def small_barriers(walked: Walked) -> float:
    """Largest ratio of a barrier's height to the loss there; no number where there is none."""
    loss = measures.measured_losses(walked.trace)
    highest = float((analysis.barrier_height(loss) / loss.max(axis=1)).max())
    return highest if highest > 0 else math.nan


@claim(
    id="small-rate-crosses-none",
    number=13,
    sentence="With a small learning rate SGD still crosses no barriers.",
    source="Section 6",
    paper="almost 0",
    below=0.06,
    item="tab1",
    subjects=("vgg11", "mlp"),
    **SHARED | {"pages": (SmallRate,)},
)
def small_rate_crosses_none(walked: Walked) -> Share:
    """Share of steps at learning rate 0.01 that cross a barrier."""
    return _barriers(walked.trace)
