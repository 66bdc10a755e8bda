"""Where the paper's text and its code differ: both readings on the same walks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

from .. import figures, measures
from ..walks.experiment import Convention, Experiment, NoiseMeasure
from .isotropic import IsotropicNoise
from .page import ModelPage, in_the_paper, markdown_table, setting_of
from .spectral import SpectralNorm
from .walks import EPOCH_OF_THE_PAPER, GradientDescentWalk, StochasticWalk

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# What is read in two ways; the noise is given with its factor.
Subject = Literal["gd", "sgd", "spectral"] | tuple[Literal["noise"], float]
READINGS: tuple[Convention, ...] = get_args(Convention)
COLOURS = {"text": figures.BLUE, "code": figures.ORANGE}
NOISE_MEASURES: dict[Convention, NoiseMeasure] = {"text": "variance", "code": "deviation"}
# Segments of SGD that are drawn.
SEGMENTS = 12

# The code sums the losses of an epoch's batches and divides by one fewer.
DIVISOR = EPOCH_OF_THE_PAPER - 1

QUANTITIES = {
    "distance": "GD: chunks' mean gradients averaged / summed; distance",
    "height": "SGD: plan frozen / redrawn at each α; mean height",
    "barriers": "SGD: plan frozen / redrawn at each α; barriers higher than both ends",
    "barriers_either": "SGD: plan frozen / redrawn at each α; barriers higher than either end",
    "eigenvalue": "Lanczos until converged / 15 power iterations; largest eigenvalue at the end",
    "residual": "the same; largest relative residual",
}
# What the paper prints of them: of as many steps, and of all of epoch 1, to which our first steps
# are not compared; and of the final norms under noise by its factor.
PRINTED: Mapping[str, str] = {"distance": "1.4"}
PRINTED_OF_EPOCH: Mapping[str, str] = {"height": "0.0625", "barriers": "0", "barriers_either": "0"}
PRINTED_NORMS: Mapping[float, str] = {0.1: "443", 0.05: "369"}


class Both(NamedTuple):
    """A number in the text's reading and in the code's."""

    text: float
    code: float


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
        import matplotlib.pyplot as plt
        import seaborn as sns

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
            figures.legend_above(distance)
            loss.set_xlabel("iteration")
            loss.set_ylabel("SGD: loss along the segments")
            spectral.set_xlabel("epoch")
            spectral.set_ylabel("SGD: largest eigenvalue")
            norm.set_xlabel("iteration")
            norm.set_ylabel(r"GD + noise: $\|\theta_t\|_2$")
            figures.logarithmic(norm)
            figures.legend_above(norm)
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Each quantity in both readings."""
        named = self.named(traces)
        length = StochasticWalk(**self.given).length
        # The paper's numbers are VGG-11's.
        of_the_paper = in_the_paper(self.experiments[0], "vgg11")

        def both(subject: Subject, number: str) -> Both:
            """A number of the first steps."""
            windows = [measures.window(named[subject, each], 1, length) for each in READINGS]
            return Both(*(float(measures.walk_numbers(each)[number] or 0) for each in windows))

        def of_each(subject: Subject, number: Callable[[xr.Dataset], Any]) -> Both:
            return Both(*(float(number(named[subject, each])) for each in READINGS))

        return {
            "setting": setting_of(self.experiments[0]),
            "setting_of_sgd": setting_of(self.walks["sgd", "text"]),
            "drawn": min(SEGMENTS, length),
            "steps": measures.window(named["sgd", "text"], 1, length).sizes["iteration"],
            "distance": both("gd", "distance"),
            "height": both("sgd", "height"),
            "barriers": both("sgd", "barriers"),
            "barriers_either": both("sgd", "barriers_either"),
            "inside": both("sgd", "interior_minimum"),
            "eigenvalue": of_each("spectral", lambda t: t["hessian_max"].dropna("epoch")[-1]),
            "residual": of_each("spectral", lambda t: t["hessian_residual"].max()),
            "norms": {
                factor: of_each(("noise", factor), lambda t: t["parameter_norm"][-1])
                for factor in PRINTED_NORMS
            },
            "printed": PRINTED if of_the_paper else {},
            "printed_of_epoch": PRINTED_OF_EPOCH if of_the_paper else {},
            "printed_norms": PRINTED_NORMS if of_the_paper else {},
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        numbers = self.numbers(traces)
        printed, of_epoch = numbers["printed"], numbers["printed_of_epoch"]
        rows = [
            _row(description, numbers[name], printed.get(name), of_epoch.get(name))
            for name, description in QUANTITIES.items()
        ]
        for factor, norms in numbers["norms"].items():
            name = f"noise × {factor:g}: as variance / as standard deviation; final norm"
            rows.append(_row(name, norms, numbers["printed_norms"].get(factor)))
        header = ["reading of the text / of the code", "paper", "text", "code", "nearer"]
        table = markdown_table(header, rows)
        return (
            f"{table}\n\nLeft out of both readings: the code sums the losses of "
            f"{EPOCH_OF_THE_PAPER} batches and divides by {DIVISOR}, so that each loss and height "
            f"it prints is {EPOCH_OF_THE_PAPER / DIVISOR - 1:.2%} too large (signs, cosines and "
            "ratios stay); and it takes the Hessian's products on batches of 500, here on those of "
            "the evaluation plan."
        )


def _row(name: str, both: Both, printed: str | None, of_epoch: str | None = None) -> list[str]:
    """A quantity in both readings, and which is nearer to what is printed of as many steps."""
    nearer = "nothing printed"
    if of_epoch is not None:
        printed, nearer = f"{of_epoch} in all of epoch 1", "not the same steps"
    elif printed is not None:
        gaps = [abs(number - float(printed)) for number in both]
        nearer = "same" if gaps[0] == gaps[1] else ("text" if gaps[0] < gaps[1] else "code")
    return [name, printed or "not printed", f"{both.text:.3g}", f"{both.code:.3g}", nearer]
