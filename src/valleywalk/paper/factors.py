"""Figures 4 and 22 to 24: what batch size and learning rate do to the cosine of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from .. import figures
from ..seeds import mean_of_seeds, slopes
from ..statistics import Interval
from ..walks.experiment import Experiment
from ..walks.provenance import experiment_of
from .claim import EVERY_SUBJECT, Walked, claim
from .page import (
    Each,
    ModelPage,
    PositiveFloat,
    PositiveInt,
    epochs_for,
    experiment,
    images_for,
    markdown_table,
    setting_of,
)
from .scales import EVERY, Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

Factor = Literal["batch_size", "learning_rate"]
NAMES: dict[Factor, str] = {"batch_size": "batch size", "learning_rate": "learning rate"}
MEASURES = {
    "cosine": "mean cosine of the second half of the walk",
    "distance": "distance from the initialisation at its end",
}
# Steps over which the cosine is smoothed in the figure, as a share of what is shown.
SMOOTHED_SHARE = 0.1


class Factors(ModelPage):
    """Parameters of the notebook `fig4_lr_bs`."""

    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    learning_rates: Each[PositiveFloat] | None = None
    batch_sizes: Each[PositiveInt] | None = None
    iterations: PositiveInt | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None

    notebook: ClassVar[str] = "fig4_lr_bs"
    alternative_text: ClassVar[str] = (
        "Two panels over the iteration, each with the smoothed cosine of consecutive gradients: on "
        "the left one curve a batch size, on the right one curve a learning rate, with bands."
    )
    # The paper does not print its grid.
    settings: ClassVar[Settings] = {
        "smoke": {
            EVERY: {
                "learning_rates": (0.05, 0.1),
                "batch_sizes": (10, 20),
                "batch_size": 10,
                "iterations": 4,
                "seeds": 2,
            },
        },
        "quick": {
            EVERY: {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (25, 50, 100, 200),
                "iterations": 100,
                "seeds": 3,
            },
            "mlp": {"iterations": 200},
            "resnet56": {"iterations": 60},
            "photos64": {"iterations": 60},
        },
        "overnight": {
            EVERY: {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (25, 50, 100, 200),
                "iterations": 400,
                "seeds": 10,
            },
            "mlp": {"batch_sizes": (50, 100, 200, 400), "iterations": 900},
            "resnet56": {"iterations": 200, "seeds": 5},
            "tiny-imagenet": {"iterations": 200, "seeds": 5},
        },
        "paper": {
            EVERY: {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (50, 100, 200, 400),
                "iterations": 4500,
                "seeds": 3,
            },
        },
    }

    @property
    def experiments(self) -> list[Experiment]:
        """Each batch size at one rate, each rate at one batch size, each with every seed."""
        fields = self.fields | {"evaluation_images": None}
        images = images_for(fields)
        grid = [(self._rate, size) for size in fields["batch_sizes"]]
        grid += [(rate, fields["batch_size"]) for rate in fields["learning_rates"]]
        return [
            experiment(
                fields,
                learning_rate=rate,
                batch_size=size,
                seed=self.first_seed + seed,
                epochs=epochs_for(fields["iterations"], {"batch_size": size}, images),
                probed_epochs=(),
                evaluate_every=0,
            )
            for seed in range(fields["seeds"])
            for rate, size in dict.fromkeys(grid)
        ]

    @property
    def _rate(self) -> float:
        """The learning rate at which the batch size varies."""
        return self.fields.get("learning_rate", 0.1)

    def steps(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row a step: cosine and distance, with learning rate, batch size and seed."""
        import pandas as pd

        length = self.fields["iterations"]
        parts = []
        for trace in traces:
            walked = experiment_of(trace)
            part = trace[["cosine", "distance"]].isel(iteration=slice(1, length)).to_dataframe()
            parts.append(
                part.reset_index().assign(
                    learning_rate=walked.learning_rate,
                    batch_size=walked.batch_size,
                    seed=walked.seed,
                )
            )
        return pd.concat(parts, ignore_index=True)

    def varied(self, steps: pd.DataFrame, factor: Factor) -> pd.DataFrame:
        """The rows in which only one factor varies."""
        fields = self.fields
        if factor == "batch_size":
            sizes = steps["batch_size"].isin(fields["batch_sizes"])
            return steps[(steps["learning_rate"] == self._rate) & sizes]
        rates = steps["learning_rate"].isin(fields["learning_rates"])
        return steps[(steps["batch_size"] == fields["batch_size"]) & rates]

    def measures(self, steps: pd.DataFrame) -> pd.DataFrame:
        """One row a walk: the numbers of `MEASURES`."""
        import pandas as pd

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
        return mean_of_seeds(slopes(np.log2(table.columns.astype(float)), list(table.values)))

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The cosine by iteration, a panel for each factor that varies.

        Lines are smoothed means over the seeds; bands hold the middle half of the raw values in
        the same stretch of iterations.
        """
        import matplotlib.pyplot as plt
        import seaborn as sns

        steps = self.steps(traces)
        with figures.style():
            figure, axes = plt.subplots(
                1, len(NAMES), sharey=True, figsize=(10, 4.5), layout="constrained"
            )
            for axis, (factor, name) in zip(axes, NAMES.items(), strict=True):
                varied = self.varied(steps, factor)
                values = sorted(varied[factor].unique())
                for value, colour in zip(values, figures.shades(len(values)), strict=True):
                    smooth = smoothed(varied[varied[factor] == value])
                    axis.plot(smooth["iteration"], smooth["mean"], color=colour, label=f"{value:g}")
                    axis.fill_between(
                        smooth["iteration"],
                        smooth["low"],
                        smooth["high"],
                        color=colour,
                        alpha=0.15,
                        lw=0,
                    )
                axis.axhline(0, color="0.5", linewidth=0.8)
                axis.set_xlabel("iteration $t$")
                figures.legend_above(axis, title=name)
            axes[0].set_ylabel(r"$\cos(g_{t-1}, g_t)$, smoothed")
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each factor: each value's means over the seeds, and what a doubling does to them."""
        steps = self.steps(traces)
        found: dict[str, dict[str, Any]] = {}
        for factor, name in NAMES.items():
            walks = dict(list(self.measures(self.varied(steps, factor)).groupby(factor)))
            found[factor] = {
                "name": name,
                "values": list(walks),
                **{
                    measure: {
                        "means": [mean_of_seeds(each[measure]) for each in walks.values()],
                        "effect": self.effect(steps, factor, measure),
                    }
                    for measure in MEASURES
                },
            }
        return {
            "setting": setting_of(self.experiments[0]),
            "iterations": int(steps["iteration"].max()) + 1,
            "seeds": int(steps["seed"].nunique()),
            **found,
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """Each walk's measures, and the effect of each factor on one scale."""
        numbers = self.numbers(traces)
        rows, factors = [], [numbers[factor] for factor in NAMES]
        for factor in factors:
            means = [factor[measure]["means"] for measure in MEASURES]
            for value, *cells in zip(factor["values"], *means, strict=True):
                rows.append([f"{factor['name']} {value:g}", *map(str, cells)])
        for factor in factors:
            effects = [str(factor[measure]["effect"]) for measure in MEASURES]
            rows.append([f"**change for each doubling of the {factor['name']}**", *effects])
        seeds = numbers["seeds"]
        note = f"In brackets: 95 % intervals over the seeds of this page ({seeds}), by Student's t."
        return markdown_table(["", *MEASURES.values()], rows) + "\n\n" + note


def smoothed(steps: pd.DataFrame) -> pd.DataFrame:
    """Cosines in stretches of iterations.

    Parameters
    ----------
    steps : DataFrame
        A row a step: iteration, from 1, and cosine.

    Returns
    -------
    DataFrame
        A row a stretch: iteration, the mean; mean, low and high, the mean and the quartiles of the
        cosines in it.
    """
    import pandas as pd

    raw = steps.dropna(subset=["cosine"])
    width = max(1, round(SMOOTHED_SHARE * raw["iteration"].max()))
    stretches = raw.groupby((raw["iteration"] - 1) // width)
    cosine = stretches["cosine"]
    return pd.DataFrame(
        {
            "iteration": stretches["iteration"].mean(),
            "mean": cosine.mean(),
            "low": cosine.quantile(0.25),
            "high": cosine.quantile(0.75),
        }
    )


# Claims -------------------------------------------------------------------------------------------

SHARED = {"item": "fig4", "pages": (Factors,), "subjects": EVERY_SUBJECT}


def bounces(walked: Walked) -> str:
    """The walks bounce: in each of them the mean cosine of the second half is negative."""
    page: Factors = walked.page
    highest = page.measures(page.steps(list(walked.traces)))["cosine"].max()
    return "" if highest < 0 else f"up to {highest:.2g}"


def _slope(walked: Walked, factor: Factor, measure: str) -> float:
    page: Factors = walked.page
    return page.effect(page.steps(list(walked.traces)), factor, measure).estimate


@claim(
    id="batch-size-moves-cosine",
    number=6,
    sentence="The larger the batch, the more negative the cosine.",
    source="Section 3.2, Figure 4",
    paper="negative",
    below=0.0,
    premises=(bounces,),
    primary=("vgg11",),
    **SHARED,
)
def batch_size_moves_cosine(walked: Walked) -> float:
    """Change of the mean cosine of the walk's second half for each doubling of the batch size."""
    return _slope(walked, "batch_size", "cosine")


@claim(
    id="learning-rate-leaves-cosine",
    number=6,
    sentence="The learning rate does not move the cosine.",
    source="Section 3.2, Figure 4",
    paper="0",
    printed={"vgg11": 0.0},
    above=-0.02,
    below=0.02,
    premises=(bounces,),
    primary=("vgg11",),
    reasons={
        "resnet56": (
            "Likeliest reason: at the smaller rates the walk has only begun to bounce when it ends."
        ),
        "vgg11 on tiny-imagenet": (
            "Likeliest reason: at the smallest rate the walk has only begun to bounce. Between the "
            "larger ones the cosine hardly differs in the end."
        ),
    },
    cautions={
        "mlp": (
            "caution: the rate moves the cosine no less than the batch size does; both effects are "
            "far smaller than this margin"
        )
    },
    **SHARED,
)
def learning_rate_leaves_cosine(walked: Walked) -> float:
    """Change of the mean cosine of the walk's second half for each doubling of the rate."""
    return _slope(walked, "learning_rate", "cosine")


SEEN_MORE = (
    "Likeliest reason: after the same number of steps the larger batches have seen more images and "
    "fitted them further, and that moves the parameters. At the beginning of the walks the order "
    "is the paper's; it reverses as the losses move apart."
)


@claim(
    id="large-batches-stay-near",
    number=8,
    sentence="Larger batches stay nearer to the initialisation.",
    source="Section 3.2",
    paper="negative",
    below=0.0,
    primary=("vgg11",),
    reasons=dict.fromkeys(("vgg11", "resnet56", "vgg11 on tiny-imagenet"), SEEN_MORE),
    **SHARED,
)
def large_batches_stay_near(walked: Walked) -> float:
    """Change of the distance for each doubling of the batch size, after as many steps."""
    return _slope(walked, "batch_size", "distance")
