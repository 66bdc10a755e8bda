"""How the time of a walk grows with images, points, iterations and width."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy import stats
from timing import seconds

from valleywalk import Experiment, walk
from valleywalk.walks import cost
from valleywalk.walks.datasets import load

BASE = {
    "model": "vgg11",
    "dataset": "photos",
    "width": 0.125,
    "training_images": 2000,
    "batch_size": 50,
    "evaluation_images": 400,
    "epochs": 1,
    "probed_iterations": 6,
    "evaluate_every": 0,
}
# A walk of 40 steps; only what the axis names is changed. Width is shown as the work it makes.
AXES = {
    "images measured": ("evaluation_images", (200, 400, 800, 1200, 1600)),
    "points": ("points", (5, 10, 20, 30, 40)),
    "iterations measured": ("probed_iterations", (3, 6, 12, 18, 24)),
    "multiply-adds (width 1/16 to 3/8)": ("width", (0.0625, 0.125, 0.1875, 0.25, 0.375)),
}


@dataclass(frozen=True)
class Line:
    """Times along an axis, and how straight they are."""

    axis: str
    positions: list[float]
    times: list[float]

    @property
    def straightness(self) -> float:
        """R² of a straight line."""
        return float(stats.linregress(self.positions, self.times).rvalue ** 2)


def measure(rounds: int) -> list[Line]:
    """Median times; the axes' values are interleaved."""
    dataset = load(BASE["dataset"])
    lines = []
    for axis, (name, values) in AXES.items():
        experiments = [Experiment(**BASE | {name: value}) for value in values]
        times = [[] for _ in values]
        for _ in range(rounds):
            for experiment, of_value in zip(experiments, times, strict=True):
                work = lambda e=experiment: walk(e, dataset=dataset, progress=False)  # noqa: E731
                of_value.append(seconds(work))
        positions = [cost.work(e) for e in experiments] if name == "width" else list(values)
        lines.append(Line(axis, positions, [float(np.median(t)) for t in times]))
    return lines


def draw(lines: list[Line], path: Path) -> None:
    """A panel an axis."""
    with sns.axes_style("ticks"):
        figure, axes = plt.subplots(1, len(lines), figsize=(13, 3.2), layout="constrained")
        for axis, line in zip(axes, lines, strict=True):
            fit = stats.linregress(line.positions, line.times)
            ends = np.array([0, max(line.positions)])
            axis.plot(ends, fit.intercept + fit.slope * ends, color="0.6", linestyle="--")
            axis.plot(line.positions, line.times, "o", color=sns.color_palette("colorblind")[0])
            axis.set_xlabel(line.axis)
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel("seconds")
        sns.despine(figure)
        figure.savefig(path, dpi=150)
    plt.close(figure)
