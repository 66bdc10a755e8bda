"""Figures 5, 25 and 26: gradient descent with isotropic noise, and what frees a stuck walk."""

from typing import Annotated, ClassVar

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from .. import figures
from ..walks.experiment import Experiment, NoiseMeasure
from .scales import ModelPage, PositiveFloat, PositiveInt, experiment_fields, markdown_table

PRINTED_NORM = {"GD": "87", "SGD": "82", 0.1: "443 (variance 0.028)", 0.05: "369 (variance 0.014)"}


class IsotropicNoise(ModelPage):
    """Parameters of the notebook `fig5_isotropic_noise`."""

    learning_rate: PositiveFloat | None = None
    noise_factors: list[PositiveFloat] = Field([0.1, 0.05], min_length=1)
    noise_measure: NoiseMeasure = "variance"
    epochs: Annotated[int, Field(ge=2)] | None = None
    sgd_batch_size: PositiveInt | None = None
    switch_epoch: PositiveInt | None = None
    switch_learning_rate: PositiveFloat = 0.01

    alternative_text: ClassVar[str] = (
        "Six panels that compare gradient descent, SGD and gradient descent with isotropic noise "
        "by epoch: training loss, validation accuracy, the training loss of walks that leave the "
        "noisy one, cosine of consecutive gradients, distance from the initialisation, parameter "
        "norm."
    )

    @property
    def walks(self) -> dict[str, Experiment]:
        """The walks by the name they have in the figure."""
        fields = self.fields("gd", "isotropic")
        own = {
            name for name in IsotropicNoise.model_fields if name.startswith(("noise_", "switch_"))
        }
        known = {name: value for name, value in fields.items() if name not in own}
        base = experiment_fields(known) | {
            "probed_epochs": (),
            "evaluation_images": None,
            "evaluate_every": max(1, fields["epochs"] // 40),
        }
        sgd = fields.get("sgd_batch_size", 100)
        gd = base | {"update": "gd"}
        noisy = [
            gd | {"noise_factor": f, "noise_measure": self.noise_measure} for f in self.factors
        ]
        left = noisy[0] | {"switch_epoch": self.switch_epoch or fields["epochs"] // 2}
        return {
            "GD": Experiment(**gd),
            "SGD": Experiment(**base | {"update": "sgd", "batch_size": sgd}),
            **{
                f"GD + noise × {factor:g}": Experiment(**walk)
                for factor, walk in zip(self.factors, noisy, strict=True)
            },
            f"then rate {self.switch_learning_rate:g}": Experiment(
                **left, switch_learning_rate=self.switch_learning_rate
            ),
            "then GD": Experiment(**left, switch_update="gd"),
            "then SGD": Experiment(**left, switch_update="sgd", switch_batch_size=sgd),
        }

    @property
    def factors(self) -> list[float]:
        """Noise factors, largest first and each once."""
        return sorted(set(self.noise_factors), reverse=True)

    @property
    def experiments(self) -> list[Experiment]:
        return list(self.walks.values())

    def by_epoch(self, traces: list[xr.Dataset]) -> pd.DataFrame:
        """One row an epoch and walk: what was measured at its end, and means over its steps."""
        parts = []
        for (name, experiment), trace in zip(self.walks.items(), traces, strict=True):
            images = int(trace.attrs["training_images"])
            counts = [experiment.phase(e + 1).steps(images) for e in range(experiment.epochs)]
            epochs = pd.Series(range(1, experiment.epochs + 1)).repeat(counts).to_numpy()
            steps = trace[["cosine", "distance", "parameter_norm"]].to_dataframe().groupby(epochs)
            part = trace[["train_loss", "validation_accuracy"]].to_dataframe()
            part["cosine"] = steps["cosine"].mean()
            part["distance"] = steps["distance"].last()
            part["parameter_norm"] = steps["parameter_norm"].last()
            parts.append(part.rename_axis("epoch").reset_index().assign(walk=name))
        return pd.concat(parts, ignore_index=True)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        leaving = list(self.walks)[-3:]
        return figures.isotropic_noise(self.by_epoch(traces), leaving, self._switch)

    @property
    def _switch(self) -> int | None:
        return next(iter(reversed(self.walks.values()))).switch_epoch

    def table(self, traces: list[xr.Dataset]) -> str:
        """The walks' ends, and the loss before and after leaving the noisy walk."""
        rows = []
        measured = self.by_epoch(traces)
        for (name, experiment), trace in zip(self.walks.items(), traces, strict=True):
            end = measured[measured["walk"] == name].ffill().iloc[-1]
            noise = trace.attrs.get("noise_deviation")
            deviation = f"{noise:.3g} (variance {noise**2:.3g})" if noise else "none"
            printed = PRINTED_NORM.get(experiment.noise_factor or name, "not printed")
            if experiment.switch_epoch:
                printed = "not printed"
            rows.append(
                [
                    name,
                    deviation,
                    f"{end['train_loss']:.3g}",
                    f"{end['validation_accuracy']:.1%}",
                    f"{measured[measured['walk'] == name]['cosine'].tail(20).mean():.2f}",
                    f"{end['distance']:.3g}",
                    f"{end['parameter_norm']:.3g}",
                    printed,
                ]
            )
        header = ["walk", "noise's standard deviation", "training loss", "validation accuracy"]
        header += ["cosine, last 20 epochs", "distance", "parameter norm", "norm in the paper"]
        largest = next(
            t.attrs["gradient_variance"] for t in traces if "gradient_variance" in t.attrs
        )
        note = (
            f"Largest gradient variance at initialisation: {largest:.3g}; the paper's 0.014 and "
            "0.028 imply 0.28."
        )
        return markdown_table(header, rows) + "\n\n" + note
