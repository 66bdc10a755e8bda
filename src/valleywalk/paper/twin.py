"""A recorded walk, walked again when the page is made: how far do the two differ?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import figures, measures
from ..markdown import plain
from ..trace import VARIABLES, TraceError
from ..walks.catalogue import dataset_info
from ..walks.experiment import Experiment
from ..walks.provenance import experiment_of, provenance
from ..walks.store import Store
from .page import ModelPage, markdown_table
from .walks import StochasticWalk

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# What is set, or where a walk is measured whole: it cannot differ.
GIVEN = {"batch_images", "learning_rate", "measured", "loss_error"}
# A seed that no figure shows.
TWIN_SEED = 1


class Twin(ModelPage):
    """Parameters of the notebook `twin`: the walk of Figure 2, recorded and live."""

    seed: int = TWIN_SEED

    notebook: ClassVar[str] = "twin"
    alternative_text: ClassVar[str] = (
        "Two panels over the iteration: the losses along the segments of both walks, one drawn "
        "over the other, and the difference of the two."
    )

    @property
    def experiments(self) -> list[Experiment]:
        return StochasticWalk(**self.given | {"seed": self.seed}).experiments

    def is_there(self, store: Store) -> bool:
        """Whether it is recorded or cached, on images that are everywhere to be walked on again."""
        (experiment,) = self.experiments
        return dataset_info(experiment.dataset).file is None and super().is_there(store)

    def get_traces(self) -> list[xr.Dataset]:
        """The trace that is kept, and one that is walked now.

        Raises
        ------
        TraceError
            The two are on other images.
        """
        from ..walks.walk import walk

        (experiment,) = self.experiments
        kept = self.store.get(experiment, device=self.device)
        live = walk(experiment, device=self.device, progress=False)
        kept_on, live_on = (trace.attrs["dataset_hash"] for trace in (kept, live))
        if kept_on != live_on:
            raise TraceError(
                f"the trace of {experiment.dataset!r} was made on other images: the hash of those "
                f"it was made on is {kept_on}, of those that are here {live_on}"
            )
        return [kept, live]

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The losses along the segments of both, and their difference."""
        import matplotlib.pyplot as plt
        import seaborn as sns

        with figures.style():
            figure, (top, bottom) = plt.subplots(
                2, 1, figsize=(8, 5), height_ratios=(2, 1), sharex=True, layout="constrained"
            )
            losses = []
            for trace, colour, style, label in zip(
                traces,
                (figures.BLUE, figures.ORANGE),
                ("-", ":"),
                ("recorded", "live"),
                strict=True,
            ):
                along, loss = figures.along(measures.window(trace))
                top.plot(along, loss, color=colour, linestyle=style, linewidth=2, label=label)
                losses.append(loss)
            top.set_ylabel(r"training loss $L(\theta^\alpha)$")
            figures.legend_above(top)
            bottom.plot(along, losses[1] - losses[0], color=figures.GREEN, linewidth=1.2)
            bottom.set_ylabel("live − recorded")
            bottom.set_xlabel("iteration $t$")
            sns.despine(figure)
        return figure

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """The largest difference in each variable that is computed."""
        kept, live = traces
        variables = {}
        for name, variable in kept.data_vars.items():
            if name not in live or name in GIVEN:
                continue
            # Flags count as 0 and 1.
            before, now = (v.values.astype(float) for v in (variable, live[name]))
            difference = np.abs(before - now)
            largest = float(np.nanmax(difference)) if np.isfinite(difference).any() else np.nan
            variables[name] = {
                "name": VARIABLES[str(name)][-1] if name in VARIABLES else plain(name),
                "value": float(np.nanmax(np.abs(before))),
                "difference": largest,
                "same": bool(np.array_equal(before, now, equal_nan=True)),
            }
        recorded_on, live_on = (plain(trace.attrs["device"]) for trace in traces)
        return {
            "variables": [*variables.values()],
            "same": sum(each["same"] for each in variables.values()),
            "loss": variables["loss"],
            "same_end": kept.attrs["final_state_hash"] == live.attrs["final_state_hash"],
            "seconds": [float(trace.attrs["wall_seconds"]) for trace in traces],
            "recorded_on": recorded_on,
            "live_on": live_on,
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """The largest difference in each variable that both have."""
        numbers = self.numbers(traces)
        rows = [
            [
                each["name"],
                f"{each['value']:.4g}",
                "none, to the last bit" if each["same"] else f"{each['difference']:.2g}",
            ]
            for each in numbers["variables"]
        ]
        table = markdown_table(["variable", "largest value", "largest difference"], rows)
        same, seconds = numbers["same_end"], numbers["seconds"]
        return (
            f"{table}\n\nThe parameters at the end are {'the same' if same else 'not the same'} "
            f"to the last bit. The recorded walk took {seconds[0]:.0f} s, the live one "
            f"{seconds[1]:.0f} s."
        )

    def provenance(self, traces: list[xr.Dataset]) -> str:
        assert experiment_of(traces[0]) == experiment_of(traces[1])
        return f"Recorded: {provenance(traces[0])}. Live: {provenance(traces[1])}"
