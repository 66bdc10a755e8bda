"""Where the paper's text and its code differ: both readings on the same walks."""

from typing import ClassVar, Literal, get_args

import matplotlib.pyplot as plt
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from .. import figures, measures
from ..walks.experiment import Convention, Experiment, NoiseMeasure
from .isotropic import IsotropicNoise
from .page import ModelPage, markdown_table
from .spectral import SpectralNorm
from .walks import GradientDescentWalk, StochasticWalk

# What is read in two ways; the noise is given with its factor.
Subject = Literal["gd", "sgd", "spectral"] | tuple[Literal["noise"], float]
READINGS: tuple[Convention, ...] = get_args(Convention)
COLOURS = {"text": figures.BLUE, "code": figures.ORANGE}
NOISE_MEASURES: dict[Convention, NoiseMeasure] = {"text": "variance", "code": "deviation"}
# Segments of SGD that are drawn.
SEGMENTS = 12


# The code sums the losses of an epoch's batches and divides by one fewer.
BATCHES = 450
DIVISOR = BATCHES - 1


class Conventions(ModelPage):
    """Parameters of the notebook `text_against_code`."""

    notebook: ClassVar[str] = "text_against_code"
    alternative_text: ClassVar[str] = (
        "Four panels, text and code in two colours: distance under gradient descent, the loss "
        "along the first segments of SGD, the spectral norm by epoch, the parameter norm under "
        "isotropic noise."
    )

    @property
    def walks(self) -> dict[tuple[Subject, Convention], Experiment]:
        """Each walk in both readings; those of the text are the other pages' own."""
        pages: tuple[tuple[Subject, type[ModelPage]], ...] = (
            ("gd", GradientDescentWalk),
            ("sgd", StochasticWalk),
            ("spectral", SpectralNorm),
        )
        walks: dict[tuple[Subject, Convention], Experiment] = {
            (subject, reading): page(**self.given | {"convention": reading}).experiments[0]
            for subject, page in pages
            for reading in READINGS
        }
        for reading, measure in NOISE_MEASURES.items():
            for walk in IsotropicNoise(**self.given, noise_measure=measure).walks:
                if walk.role == "noise":
                    walks[("noise", walk.factor), reading] = walk.experiment
        return walks

    @property
    def experiments(self) -> list[Experiment]:
        return list(self.walks.values())

    def named(self, traces: list[xr.Dataset]) -> dict[tuple[Subject, Convention], xr.Dataset]:
        """The traces by what they are read for."""
        return dict(zip(self.walks, traces, strict=True))

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """Text and code side by side: GD's sum, the measured loss, the spectral norm, the noise."""
        named = self.named(traces)
        with figures.style():
            figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
            distance, loss, spectral, norm = axes.flat
            for (subject, reading), trace in named.items():
                colour = COLOURS[reading]
                match subject:
                    case "gd":
                        distance.plot(
                            trace["iteration"] + 1, trace["distance"], color=colour, label=reading
                        )
                    case "sgd":
                        along = figures.along(measures.window(trace, 1, SEGMENTS))
                        loss.plot(*along, color=colour, lw=1)
                    case "spectral":
                        curvature = trace["hessian_max"].dropna("epoch")
                        spectral.plot(curvature["epoch"], curvature, "o-", color=colour)
                    case (_, factor):
                        norm.plot(
                            trace["iteration"] + 1,
                            trace["parameter_norm"],
                            "-" if factor == 0.1 else "--",
                            color=colour,
                            label=f"× {factor:g}",
                        )
            distance.set_xlabel("iteration")
            distance.set_ylabel(r"GD: $\|\theta_t - \theta_0\|_2$")
            distance.legend(frameon=False)
            loss.set_xlabel("iteration")
            loss.set_ylabel("SGD: loss along the segments")
            spectral.set_xlabel("epoch")
            spectral.set_ylabel("SGD: largest eigenvalue")
            norm.set_xlabel("iteration")
            norm.set_ylabel(r"GD + noise: $\|\theta_t\|_2$")
            norm.set_yscale("log")
            norm.legend(frameon=False)
            sns.despine(figure)
        return figure

    def table(self, traces: list[xr.Dataset]) -> str:
        named = self.named(traces)
        length = StochasticWalk(**self.given).length

        def both(subject: Subject, number: str) -> tuple[float, ...]:
            """A number of the first steps, in both readings."""
            windows = [measures.window(named[subject, each], 1, length) for each in READINGS]
            return tuple(float(measures.walk_numbers(window)[number] or 0) for window in windows)

        rows = [
            (
                "GD: chunks' mean gradients averaged / summed; distance",
                "1.4",
                both("gd", "distance"),
            ),
            *(
                (
                    f"SGD: plan frozen / redrawn at each α; {name}",
                    printed,
                    both("sgd", number),
                )
                for number, name, printed in (
                    ("height", "mean height", "0.0625"),
                    ("barriers", "barriers higher than both ends", "0"),
                    ("barriers_either", "barriers higher than either end", "0"),
                )
            ),
            (
                "Lanczos until converged / 15 power iterations; largest eigenvalue at the end",
                None,
                tuple(
                    float(named["spectral", each]["hessian_max"].dropna("epoch")[-1])
                    for each in READINGS
                ),
            ),
            (
                "the same; largest relative residual",
                None,
                tuple(
                    float(named["spectral", each]["hessian_residual"].max()) for each in READINGS
                ),
            ),
            *(
                (
                    f"noise × {factor:g}: as variance / as standard deviation; final norm",
                    printed,
                    tuple(
                        float(named[("noise", factor), each]["parameter_norm"][-1])
                        for each in READINGS
                    ),
                )
                for factor, printed in ((0.1, "443"), (0.05, "369"))
            ),
        ]
        header = ["reading of the text / of the code", "paper", "text", "code", "nearer"]
        # The paper's numbers are VGG-11's.
        table = markdown_table(
            header,
            [
                _row(name, printed if self.model == "vgg11" else None, *values)
                for name, printed, values in rows
            ],
        )
        return (
            f"{table}\n\nLeft out of both readings: the code sums the losses of {BATCHES} batches "
            f"and divides by {DIVISOR}, so that each loss and height it prints is "
            f"{BATCHES / DIVISOR - 1:.2%} too large. Signs, cosines and ratios stay."
        )


def _row(name: str, printed: str | None, text: float, code: float) -> list[str]:
    """A quantity in both readings, and which is nearer to the printed one."""
    nearer = "nothing printed"
    if printed is not None:
        gaps = abs(text - float(printed)), abs(code - float(printed))
        nearer = "same" if gaps[0] == gaps[1] else ("text" if gaps[0] < gaps[1] else "code")
    return [name, printed or "not printed", f"{text:.3g}", f"{code:.3g}", nearer]
