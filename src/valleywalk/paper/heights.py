"""Table 2: the mean height above the valley floor, and what the learning rate does to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from .. import analysis, figures, measures, statistics
from ..seeds import Share
from ..statistics import Interval
from ..walks.catalogue import network_info
from ..walks.experiment import Experiment, ModelName
from .barriers import COUNTED, EPOCHS, BarriersByEpoch, TablePage, table_epochs, table_walk
from .claim import Walked, claim
from .few_points import held_in_words
from .page import (
    Each,
    ModelPage,
    PositiveFloat,
    experiment,
    images_for,
    markdown_table,
    setting_of,
)
from .scales import Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRINTED: Mapping[tuple[str, float], dict[int, float]] = {
    ("vgg11", 0.1): {1: 0.0625, 10: 0.0199, 25: 0.0104, 100: 0.0025},
    ("vgg11", 0.05): {1: 0.0102, 10: 0.0050, 25: 0.0035, 100: 0.0011},
    ("resnet56", 0.3): {1: 0.0380, 10: 0.0131, 25: 0.0094, 100: 0.0017},
    ("resnet56", 0.15): {1: 0.0084, 10: 0.0034, 25: 0.0020, 100: 0.0013},
}
# Learning rates that are compared; of the MLP the paper prints none.
RATES: Mapping[str, tuple[float, ...]] = {"resnet56": (0.3, 0.15)}
OTHERWISE = (0.1, 0.05)
# Learning rate and batch size, all of the same ratio.
EQUAL_RATIOS = ((0.05, 50), (0.1, 100), (0.2, 200))
# Epoch at whose end walks of several batch sizes are compared: equal in images seen.
COMPARED_EPOCH = 10


class HeightTable(TablePage):
    """Parameters of the notebook `tab2_height`."""

    models: Each[ModelName] = Field(["vgg11", "resnet56"])
    learning_rates: Annotated[Each[PositiveFloat], Field(min_length=2)] | None = None

    notebook: ClassVar[str] = "tab2_height"
    alternative_text: ClassVar[str] = (
        "One panel a network: the mean height above the valley floor over the epoch on a "
        "logarithmic scale, for two learning rates, with intervals, beside the paper's."
    )

    def rates(self, model: ModelName) -> tuple[float, ...]:
        """Learning rates that are compared, the first with each of the others."""
        return tuple(self.learning_rates or RATES.get(model, OTHERWISE))

    @property
    def walks(self) -> dict[tuple[ModelName, float], Experiment]:
        """One walk a network and learning rate."""
        return {
            (model, rate): table_walk(self, model, self.dataset, rate)
            for model in self.models
            for rate in self.rates(model)
        }

    @property
    def experiments(self) -> list[Experiment]:
        return list(self.walks.values())

    def heights(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a network, learning rate and epoch."""
        import pandas as pd

        rows = []
        for ((model, rate), walked), trace in zip(self.walks.items(), traces, strict=True):
            for row in self.counted(model, walked, trace):
                paper = PRINTED.get((model, rate), {}).get(row["epoch"], np.nan)
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

    def ratios(self, heights: pd.DataFrame) -> list[dict[str, Any]]:
        """Of each network, each rate but the first and each epoch: our ratio and the paper's."""
        found = []
        for row in heights.to_dict("records"):
            model, rate, epoch = row["model"], row["rate"], row["epoch"]
            first = self.rates(model)[0]
            both = heights[(heights["model"] == model) & (heights["epoch"] == epoch)]["rate"]
            # Not every walk at full size goes on for as long.
            if rate != first and first in both.values:
                above = PRINTED.get((model, first), {}).get(epoch, np.nan)
                ours = self.ratio(heights, model, rate, epoch)
                own = {"model": model, "rate": rate, "epoch": epoch}
                found.append(own | {"ratio": ours, "printed": above / row["paper"]})
        return found

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each network and rate: heights and ratios by epoch."""
        heights = self.heights(traces)
        ratios, networks = self.ratios(heights), []
        for model in self.models:
            rates = []
            for rate in self.rates(model):
                rows = heights[(heights["model"] == model) & (heights["rate"] == rate)]
                own = [each for each in ratios if (each["model"], each["rate"]) == (model, rate)]
                moves = np.diff([interval.estimate for interval in rows["interval"]])
                printed = [float(value) for value in rows["paper"] if not np.isnan(value)]
                rates.append(
                    {
                        "rate": rate,
                        "epochs": [int(epoch) for epoch in rows["epoch"]],
                        "heights": list(rows["interval"]),
                        "printed": printed,
                        "falls": int((moves < 0).sum()),
                        "moves": len(moves),
                        "ratios": [each["ratio"] for each in own],
                        "printed_ratios": [
                            float(each["printed"]) for each in own if not np.isnan(each["printed"])
                        ],
                    }
                )
            walked = self.walks[model, self.rates(model)[0]]
            title = network_info(model).title
            networks.append({"title": title, "setting": setting_of(walked), "rates": rates})
        known = [each for each in ratios if not np.isnan(each["ratio"].low)]
        beside = [each for each in known if not np.isnan(each["printed"])]
        return {
            "networks": networks,
            "pairs": len(ratios),
            "above_one": sum(each["ratio"].estimate > 1 for each in ratios),
            "known": len(known),
            "told": sum(each["ratio"].low > 1 for each in known),
            "other_way": sum(each["ratio"].high < 1 for each in known),
            "beside": len(beside),
            "printed_inside": sum(
                each["ratio"].low <= each["printed"] <= each["ratio"].high for each in beside
            ),
        }

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The mean height by epoch for each learning rate, and the paper's."""
        rows = self.heights(traces)

        def draw(axis: Axes, model: ModelName) -> list[int]:
            here = rows[rows["model"] == model]
            epochs = sorted(here["epoch"].unique())
            for rate, colour in zip(self.rates(model), figures.PALETTE, strict=False):
                of_rate = here[here["rate"] == rate]
                positions = np.array([epochs.index(epoch) for epoch in of_rate["epoch"]])
                name = rf"$\eta = {rate:g}$"
                figures.intervals(
                    of_rate["interval"], positions, axes=axis, colour=colour, label=name
                )
                axis.plot(
                    positions + 0.1,
                    of_rate["paper"],
                    "D--",
                    color=colour,
                    markerfacecolor="none",
                    alpha=0.6,
                    label=f"paper, {name}",
                )
            figures.logarithmic(axis)
            axis.legend(frameon=False, fontsize="small")
            return epochs

        with figures.style():
            return self.panels(draw, "mean height above the valley floor", height=4.5)

    def table(self, traces: list[xr.Dataset]) -> str:
        heights, rows = self.heights(traces), []
        ratios = {(r["model"], r["rate"], r["epoch"]): r for r in self.ratios(heights)}
        for row in heights.to_dict("records"):
            ratio, printed = "", ""
            if found := ratios.get((row["model"], row["rate"], row["epoch"])):
                ratio, printed = str(found["ratio"]), shown(found["printed"], ".2g")
            rows.append(
                [
                    network_info(row["model"]).title,
                    f"{row['rate']:g}",
                    row["epoch"],
                    shown(row["paper"], ".4f"),
                    str(row["interval"]),
                    shown(row["height inside"].value, ".3g", "none"),
                    f"{row['loss']:.2g}",
                    shown(row["images error"], ".1g", "not measured"),
                    printed,
                    ratio,
                ]
            )
        header = ["network", "learning rate", "epoch", "paper's height", "height"]
        header += ["height where the floor lies inside", "loss", "error of the height by images"]
        header += ["paper's ratio", "ratio to the rate above"]
        return markdown_table(header, rows) + held_in_words(traces)


def _interval(row: dict[str, Any]) -> Interval:
    """A mean height: of drawn steps with the errors of images and steps, else of a window."""
    if row["drawn"]:
        return row["height"].interval(positive=True)
    return statistics.mean_of_steps(row["heights"], positive=True)


def shown(value: float, form: str, otherwise: str = "not printed") -> str:
    return otherwise if np.isnan(value) else f"{value:{form}}"


class EqualRatio(ModelPage):
    """SGD at one ratio of learning rate to batch size (footnote 2 and Section 2); in no figure."""

    @property
    def experiments(self) -> list[Experiment]:
        fields = self.fields
        images = images_for(fields)
        # A data set of very few images takes a tenth of each batch size: still one ratio.
        divisor = 1 if images >= 2 * max(size for _, size in EQUAL_RATIOS) else 10
        return [
            experiment(
                fields,
                learning_rate=rate,
                batch_size=size // divisor,
                epochs=COMPARED_EPOCH,
                probed_epochs=(),
                evaluate_every=COMPARED_EPOCH,
            )
            for rate, size in EQUAL_RATIOS
        ]


class LargerBatch(ModelPage):
    """The walk of the tables, and one with batches twice as large; in no figure."""

    settings: ClassVar[Settings] = COUNTED

    @property
    def experiments(self) -> list[Experiment]:
        usual = table_walk(self, self.model, self.dataset)
        epochs = tuple(epoch for epoch in table_epochs(self, EPOCHS) if epoch <= COMPARED_EPOCH)
        doubled = {
            "batch_size": 2 * usual.batch_size,
            "epochs": COMPARED_EPOCH,
            "probed_epochs": epochs,
            "curvature_every": 0,
            "curvature_images": None,
        }
        return [usual, Experiment(**usual.model_dump() | doubled)]


# Claims -------------------------------------------------------------------------------------------

DIFFERS = {
    "number": 14,
    "sentence": "Walks of equal ratio of learning rate to batch size differ.",
    "source": "Section 2, footnote 2",
    "item": "tab2",
    "pages": (EqualRatio,),
    "subjects": ("vgg11", "mlp"),
    "outside": True,
}


MIXED = (
    "caution: the ratio mixes epochs. In the epoch in which the walks at both rates bounce in "
    "every seed, it is smaller than required; in the others it mostly says at which rate the "
    "images are fitted sooner"
)


def bounces_at_all_rates(walked: Walked) -> str:
    """Most segments have a minimum inside, at each rate; else the height is half a descent."""
    shares = [
        Share.of(analysis.has_interior_minimum(measures.measured_losses(trace)))
        for trace in walked.traces
    ]
    few = [float(share) for share in shares if float(share) <= 0.5]
    return ", ".join(f"{share:.0%}" for share in few)


def _geometric_mean(values: ArrayLike) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _printed_ratio(model: str, rate: float, half: float) -> float:
    """The paper's heights at one rate over those at half of it, geometric mean over the epochs."""
    first, second = PRINTED[model, rate], PRINTED[model, half]
    return _geometric_mean([first[epoch] / second[epoch] for epoch in first])


def _by_rate(walked: Walked, name: str) -> float:
    """A mean height at one rate over that at half of it, geometric mean over epochs with both."""
    page: HeightTable = walked.page
    first, second = page.rates(page.models[0])[:2]
    heights = page.heights(list(walked.traces))
    values = [each.value for each in heights[name]]
    by = heights.assign(mean=values).pivot(index="epoch", columns="rate", values="mean")
    ratios = (by[first] / by[second]).dropna()
    return _geometric_mean(ratios) if len(ratios) else math.nan


@claim(
    id="learning-rate-sets-height",
    number=7,
    sentence="The learning rate sets the height above the valley floor.",
    source="Section 3.2, Table 2",
    paper="3.6 (6.1, 4.0, 3.0, 2.3)",
    printed={
        "vgg11": _printed_ratio("vgg11", 0.1, 0.05),
        "resnet56": _printed_ratio("resnet56", 0.3, 0.15),
    },
    above=1.5,
    item="tab2",
    pages=(HeightTable,),
    quantity="ratio",
    premises=(bounces_at_all_rates,),
    primary=("vgg11",),
    cautions={"vgg11": MIXED},
)
def learning_rate_sets_height(walked: Walked) -> float:
    """Mean height at one rate over that at half of it, geometric mean over the epochs."""
    return _by_rate(walked, "height")


@claim(
    id="learning-rate-sets-height-inside",
    number=7,
    sentence="It does so where the floor lies inside the segment, so that no descent counts.",
    source="Section 3.2, Table 2",
    paper="not printed apart",
    above=1.5,
    item="tab2",
    pages=(HeightTable,),
    quantity="ratio",
    premises=(bounces_at_all_rates,),
    cautions={
        "vgg11": f"{MIXED}. A seed without such segments in an epoch leaves that epoch out, so "
        "that seeds are averaged over different epochs"
    },
)
def learning_rate_sets_height_inside(walked: Walked) -> float:
    """Mean height of segments with a minimum inside at one rate over that at half of it, geometric
    mean over the epochs in which both rates have such segments.
    """
    return _by_rate(walked, "height inside")


def _of_both(walked: Walked, name: str) -> tuple[float, float]:
    """A number at rates 0.2 and 0.05, when both have last been measured at equal images seen."""
    slow, *_, fast = (trace[name].dropna("epoch") for trace in walked.traces)
    together = np.intersect1d(slow["epoch"], fast["epoch"])
    if not len(together):
        return math.nan, math.nan
    return float(fast.sel(epoch=together[-1])), float(slow.sel(epoch=together[-1]))


@claim(
    id="ratio-is-not-all-accuracy",
    paper="not 0",
    above=-0.02,
    below=0.02,
    reasons={
        "mlp": (
            "Likeliest reason: at either rate the network gets nearly all of the digits right, so "
            "that there is little left to differ in."
        )
    },
    **DIFFERS,
)
def ratio_is_not_all_accuracy(walked: Walked) -> float:
    """Validation accuracy at rate 0.2 minus that at 0.05, after as many images."""
    fast, slow = _of_both(walked, "validation_accuracy")
    return fast - slow


@claim(
    id="ratio-is-not-all-loss",
    paper="not 1",
    above=0.8,
    below=1.25,
    quantity="ratio",
    **DIFFERS,
)
def ratio_is_not_all_loss(walked: Walked) -> float:
    """Training loss at rate 0.2 over that at 0.05, after as many images."""
    fast, slow = _of_both(walked, "train_loss")
    return fast / slow


# Mutschler and Zell 2021 measured the loss along the steps of SGD, too, and found what follows.
OTHERS = {
    "number": 18,
    "source": "against the paper: Mutschler and Zell 2021, arXiv 2103.17132",
    "item": "tab2",
    "quantity": "ratio",
}


def _step_to_the_floor(trace: xr.Dataset, epoch: int) -> float:
    """Median over an epoch's measured steps: the step to the floor of the parabola that has the
    segment's slope and curvature at its start, over the step that was taken.

    Infinite of a segment that bends downwards there.
    """
    of_epoch = measures.along_step(measures.of_epoch(trace, epoch))
    gain, penalty = of_epoch["gain"].values, of_epoch["curvature_penalty"].values
    bends = penalty > 0
    steps = np.where(bends, gain / (2 * np.where(bends, penalty, 1)), np.inf)
    return float(np.median(steps))


def _measured_epochs(trace: xr.Dataset) -> list[int]:
    """The epochs of Table 2 in which steps were measured."""
    measured = measures.measured_steps(trace)["iteration"].values
    epochs = measured // int(trace.attrs["steps_in_epoch"]) + 1
    return [epoch for epoch in EPOCHS if epoch in epochs]


@claim(
    id="steps-end-at-the-floor",
    sentence="SGD steps to the floor of the segment rather than across it.",
    paper="about 1/2 if SGD bounces between walls; about 1 in Mutschler and Zell",
    above=0.8,
    below=1.25,
    pages=(BarriersByEpoch,),
    reasons={
        "vgg11": (
            "Likeliest reason: at this rate the walk bounces until its images are fitted, so that "
            "its steps go across the floor."
        ),
        "resnet56": (
            "Likeliest reason: in the epochs of Table 2 after the first the walk bounces; in the "
            "first its steps end far short of the floor."
        ),
    },
    **OTHERS,
)
def steps_end_at_the_floor(walked: Walked) -> float:
    """Step to the floor of the segment's parabola over the step taken, median of an epoch's steps,
    median over the epochs of Table 2.
    """
    trace = walked.trace
    medians = [_step_to_the_floor(trace, epoch) for epoch in _measured_epochs(trace)]
    return float(np.median(medians)) if medians else math.nan


@claim(
    id="larger-batch-is-smaller-rate",
    sentence="A larger batch acts as a smaller rate: the floor lies farther along the step.",
    paper="above 1 in Mutschler and Zell",
    above=1.0,
    pages=(LargerBatch,),
    subjects=("vgg11", "mlp"),
    **OTHERS,
)
def larger_batch_is_smaller_rate(walked: Walked) -> float:
    """Step to the floor of the segment's parabola over the step taken, median of an epoch's steps:
    that of batches twice as large over the other, geometric mean over the epochs.
    """
    usual, doubled = walked.traces
    epochs = [epoch for epoch in _measured_epochs(doubled) if epoch in _measured_epochs(usual)]
    first, second = (
        np.array([_step_to_the_floor(trace, epoch) for epoch in epochs])
        for trace in (doubled, usual)
    )
    both = np.concatenate([first, second])
    if not (np.isfinite(both) & (both > 0)).all() or not len(both):
        return math.nan
    return _geometric_mean(first / second)
