"""Where the paper's text and its code differ: both readings on the same walks."""

from typing import ClassVar

import xarray as xr
from matplotlib.figure import Figure

from .. import figures, measures
from ..walks.experiment import Experiment, NoiseMeasure
from .isotropic import IsotropicNoise
from .scales import ModelPage, markdown_table
from .spectral import SpectralNorm
from .walks import GradientDescentWalk, StochasticWalk


class Conventions(ModelPage):
    """Parameters of the notebook `text_against_code`."""

    alternative_text: ClassVar[str] = (
        "Four panels, text and code in two colours: distance under gradient descent, the loss "
        "along the first segments of SGD, the spectral norm by epoch, the parameter norm under "
        "isotropic noise."
    )

    @property
    def walks(self) -> dict[str, Experiment]:
        """Each walk in both readings; those of the text are the other pages' own."""
        given = self.model_dump(exclude_unset=True)
        pages = {"gd": GradientDescentWalk, "sgd": StochasticWalk, "spectral": SpectralNorm}
        walks = {
            f"{name} {convention}": page(**given | {"convention": convention}).experiments[0]
            for name, page in pages.items()
            for convention in ("text", "code")
        }
        readings: tuple[tuple[str, NoiseMeasure], ...] = (
            ("text", "variance"),
            ("code", "deviation"),
        )
        for reading, measure in readings:
            page = IsotropicNoise(**given, noise_measure=measure)
            for factor in page.factors:
                walks[f"noise × {factor:g} {reading}"] = page.walks[f"GD + noise × {factor:g}"]
        return walks

    @property
    def experiments(self) -> list[Experiment]:
        return list(self.walks.values())

    def by_name(self, traces: list[xr.Dataset]) -> dict[str, xr.Dataset]:
        """The traces by their walks' names."""
        return dict(zip(self.walks, traces, strict=True))

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        return figures.conventions(self.by_name(traces))

    def table(self, traces: list[xr.Dataset]) -> str:
        named = self.by_name(traces)
        given = self.model_dump(exclude_unset=True)
        length = StochasticWalk(**given).length
        windows = {
            name: measures.walk_numbers(measures.window(named[name], 1, length))
            for name in ("gd text", "gd code", "sgd text", "sgd code")
        }
        paper = self.model == "vgg11"
        rows = [
            _row(
                "GD: chunks' mean gradients averaged / summed; distance",
                "1.4" if paper else None,
                *(windows[f"gd {c}"]["distance"] for c in ("text", "code")),
            )
        ]
        for key, name, printed in (
            ("height", "mean height", "0.0625"),
            ("barriers", "barriers higher than both ends", "0"),
            ("barriers_either", "barriers higher than either end", "0"),
        ):
            rows.append(
                _row(
                    f"SGD: plan frozen / redrawn at each α; {name}",
                    printed if paper else None,
                    *(windows[f"sgd {c}"][key] for c in ("text", "code")),
                )
            )
        largest = [named[f"spectral {c}"]["hessian_max"].dropna("epoch") for c in ("text", "code")]
        rows.append(
            _row(
                "Lanczos until converged / 15 power iterations; largest eigenvalue at the end",
                None,
                *(float(values[-1]) for values in largest),
            )
        )
        residuals = [
            float(named[f"spectral {c}"]["hessian_residual"].max()) for c in ("text", "code")
        ]
        rows.append(_row("the same; largest relative residual", None, *residuals))
        for factor, printed in ((0.1, "443"), (0.05, "369")):
            norms = [
                float(named[f"noise × {factor:g} {reading}"]["parameter_norm"][-1])
                for reading in ("text", "code")
            ]
            name = f"noise × {factor:g}: as variance / as standard deviation; final norm"
            rows.append(_row(name, printed if paper else None, *norms))
        return markdown_table(
            ["reading of the text / of the code", "paper", "text", "code", "nearer"], rows
        )


def _row(name: str, printed: str | None, text: float | None, code: float | None) -> list[str]:
    """A quantity in both readings, and which is nearer to the printed one."""
    assert text is not None
    assert code is not None
    nearer = "nothing printed"
    if printed is not None:
        gaps = abs(text - float(printed)), abs(code - float(printed))
        nearer = "same" if gaps[0] == gaps[1] else ("text" if gaps[0] < gaps[1] else "code")
    return [name, printed or "not printed", f"{text:.3g}", f"{code:.3g}", nearer]
