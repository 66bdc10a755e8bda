"""How far off a mean height is, against the images that go through the network for it.

The walk is VGG-11 at a quarter of its width on cifar9k, the paper's rate and batch, all steps of
epochs 1, 10 and 25. Three long measurements (an hour or two each on one core) are kept in
`build/economy/` and not repeated:

    python benchmarks/economy.py reference   # every step, point and image, batch by batch
    python benchmarks/economy.py reshuffled  # the authors' procedure, on a sample of the steps
    python benchmarks/economy.py redrawn     # the probe at 2 % on plans of 1,000 images, re-drawn

`benchmarks/run.py` makes the page's table and picture of them.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
import xarray as xr

from valleywalk import Experiment, analysis, measures
from valleywalk.analysis import draw_steps
from valleywalk.evaluation import BatchMeans, EvaluationPlan, Evaluator, cross_entropy
from valleywalk.folders import checkout
from valleywalk.machine import reproducible
from valleywalk.probes import Step
from valleywalk.probes.interpolation import Interpolation
from valleywalk.trace import assemble
from valleywalk.walks.checkpoint import Checkpointer
from valleywalk.walks.datasets import load
from valleywalk.walks.walk import _Walk

EPOCHS = (1, 10, 25)
EXPERIMENT = Experiment(
    model="vgg11",
    dataset="cifar9k",
    width=0.25,
    epochs=max(EPOCHS),
    probed_epochs=EPOCHS,
    evaluate_every=0,
)
FOLDER = checkout() / "build" / "economy"
IMAGES = 1000
SAMPLE = 40
TOLERANCE = 0.02
RESHUFFLED_SAMPLE = 20
REDRAWN_PLANS = 10


class Whole(Interpolation):
    """Keeps the loss of each batch at each point of each segment."""

    def __init__(self) -> None:
        super().__init__(EXPERIMENT.points)
        self.kept: list[np.ndarray] = []

    def _batches(self, loss, by_batch):
        self.kept.append(np.array([by_batch[index] for index in sorted(by_batch)]))
        return super()._batches(loss, by_batch)


class Elsewhere:
    """Looks at drawn steps with an evaluation of its own, and keeps what it saw."""

    def __init__(self, evaluate: Evaluator, tolerance: float, count: int, draw: int, steps: int):
        self.evaluate, self.count, self.draw, self.steps = evaluate, count, draw, steps
        self.interpolation = Interpolation(EXPERIMENT.points, tolerance)
        self.seen: dict[str, list] = {}

    def __call__(self, step: Step) -> None:
        epoch, position = step.iteration // self.steps + 1, step.iteration % self.steps
        seed = np.random.SeedSequence([self.draw, epoch])
        drawn = draw_steps(self.steps, self.count, seed)
        if epoch in EPOCHS and position in drawn:
            own = Step(**{**vars(step), "evaluate": self.evaluate})
            values = {"epoch": epoch, "step": position, "stretch": drawn[position]}
            for name, value in {**values, **self.interpolation(own)}.items():
                self.seen.setdefault(name, []).append(value)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was seen, a row a step."""
        found = {name: np.array(values) for name, values in self.seen.items()}
        return found | {"batch_images": self.interpolation.batch_images}


def walk_with(state: _Walk, *probes) -> None:
    """Walk to the end with these probes in place of all others."""

    def look(step: Step) -> dict[str, float]:
        for probe in probes:
            probe(step)
        return {}

    state.watcher.probes = (look,)
    with state.watcher:
        state.go(True, Checkpointer(None, 0))


def begin() -> _Walk:
    """The walk at its start."""
    return _Walk(EXPERIMENT, load("cifar9k"), torch.device("cpu"))


def reference() -> dict[str, np.ndarray]:
    """Loss of each batch at each point of each segment: epochs × steps × points × batches."""
    state, whole = begin(), Whole()
    walk_with(state, whole)
    losses = np.array(whole.kept)
    losses = losses.reshape(len(EPOCHS), -1, *losses.shape[1:])
    return {"losses": losses, "batch_images": whole.batch_images}


def reshuffled(draws: int = 3) -> dict[str, np.ndarray]:
    """The authors' procedure: other batches of all images at each point."""
    state = begin()
    random = np.random.Generator(np.random.PCG64(1))

    def other() -> Evaluator:
        batches = state.loader.planned(state.loader.plan)
        batches.indices = lambda: state.loader.plan.redrawn(int(random.integers(2**63))).batches
        return Evaluator(state.model, cross_entropy, batches)

    steps = state.loader.steps_in_epoch
    # The same steps in all draws, so that they differ in nothing but the batches.
    probes = [Elsewhere(other(), 0.0, RESHUFFLED_SAMPLE, 0, steps) for _ in range(draws)]
    walk_with(state, *probes)
    return _together(probes)


def redrawn() -> dict[str, np.ndarray]:
    """The probe as a walk would use it, on other images, batches and steps each time."""
    state = begin()
    images, steps = len(state.loader.images), state.loader.steps_in_epoch
    probes = [
        Elsewhere(
            Evaluator(
                state.model,
                cross_entropy,
                state.loader.planned(EvaluationPlan.draw(images, 100, 1000 + draw, IMAGES)),
            ),
            TOLERANCE,
            SAMPLE,
            draw,
            steps,
        )
        for draw in range(REDRAWN_PLANS)
    ]
    walk_with(state, *probes)
    return _together(probes)


def _together(probes: list[Elsewhere]) -> dict[str, np.ndarray]:
    found = [probe.arrays for probe in probes]
    return {name: np.array([arrays[name] for arrays in found]) for name in found[0]}


MEASUREMENTS = {"reference": reference, "reshuffled": reshuffled, "redrawn": redrawn}


def is_measured() -> bool:
    """Whether all measurements are kept."""
    return all((FOLDER / f"{name}.npz").is_file() for name in MEASUREMENTS)


def measured(name: str) -> dict[str, np.ndarray]:
    """A measurement, made now if it is not kept yet."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with reproducible(threads=1):
            found = MEASUREMENTS[name]()
        np.savez_compressed(path, **found)
    with np.load(path) as kept:
        return dict(kept)


# What the measurements say -----------------------------------------------------------------------

# The authors' epoch: images, steps and points of a step.
AUTHORS = 45_000 * 450 * 10
DRAWS = 200


class Looked:
    """An evaluator that looks its losses up: the only parameter is α itself."""

    batch_norm = "train"

    def __init__(self, images: np.ndarray):
        self.images, self.passes = images, 0
        self.losses_of_step = np.empty(0)

    def surroundings(self) -> list[torch.Tensor]:
        """Nothing."""
        return []

    def losses(self, values: list[torch.Tensor]) -> BatchMeans:
        self.passes += 1
        point = round(float(values[0]) * EXPERIMENT.points)
        return BatchMeans(self.losses_of_step[point], self.images)


def looked_up(
    losses: np.ndarray, images: np.ndarray, population: int, tolerance: float, drawn: dict[int, int]
) -> tuple[xr.Dataset, int]:
    """What the probe would have seen of an epoch on some batches, and the images it would take.

    Parameters
    ----------
    losses : ndarray, shape (steps, points + 1, batches)
    images : ndarray of int, shape (batches,)
    population : int
        Images the batches were drawn from.
    tolerance : float
    drawn : dict of step → stretch
        Steps that are measured; empty: all.
    """
    evaluate = Looked(images)
    begin, end = [torch.zeros(1)], [torch.ones(1)]
    records: list[dict[str, object]] = []
    joined = 0
    for step, of_step in enumerate(losses):
        if drawn and step not in drawn:
            records.append({})
            continue
        evaluate.losses_of_step = of_step
        # All segments look alike to this evaluator: which go on from the last is counted here.
        probe = Interpolation(EXPERIMENT.points, tolerance)
        seen = dict(probe(Step(step, begin, begin, end, begin, evaluate)))
        records.append(seen | ({"stretch": drawn[step]} if drawn else {}))
        joined += step > 0 and (not drawn or step - 1 in drawn)
    trace = assemble(
        records,
        probe.alpha,
        attributes={"steps_in_epoch": len(losses), "training_images": population},
        batch_images=images,
    )
    return trace, int((evaluate.passes - joined) * images.sum())


@dataclass
class Way:
    """A way to measure an epoch's mean height, and how it fared over epochs and draws."""

    title: str
    passes: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    stated: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    barriers: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, trace: xr.Dataset, passes: int, loss: np.ndarray, truth: float) -> None:
        """Count one draw; `loss` is the truth of each step, `truth` of the epoch."""
        found = measures.epoch_height(trace, 1)
        interval = found.interval(positive=True)
        self.passes.append(passes)
        self.errors.append(found.value / truth - 1)
        if found.error:
            self.stated.append(found.error / found.value)
            self.held.append(bool(interval.low <= truth <= interval.high))
        steps = measures.measured_steps(trace)
        signs = measures.barrier_signs(steps)
        real = analysis.barriers(loss[steps["iteration"].values])
        wrong = ((signs == 1) & ~real).sum() + ((signs == -1) & real).sum()
        self.barriers.append((len(real), int(real.sum()), int((signs == 0).sum()), int(wrong)))

    @property
    def row(self) -> dict[str, float | str]:
        """Its row of the table."""
        counted = np.sum(self.barriers, axis=0) if self.barriers else None
        passes = float(np.mean(self.passes))
        return {
            "way": self.title,
            "image passes an epoch": passes,
            "mean error": float(np.mean(self.errors)),
            "error, root mean square": float(np.sqrt(np.mean(np.square(self.errors)))),
            "largest error": float(np.abs(self.errors).max()),
            "stated standard error": float(np.mean(self.stated)) if self.stated else "none",
            "truth within the 95 % interval": (
                f"{np.mean(self.held):.1%} of {len(self.held)}" if self.held else "no interval"
            ),
            "barrier or none: left open, wrong": (
                f"{counted[2] / counted[0]:.1%}, {counted[3] / counted[0]:.2%}"
                if counted is not None
                else ""
            ),
        }


def truths(losses: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss of each step on all images, and each epoch's mean height."""
    whole = losses @ (images / images.sum())
    return whole, np.array([analysis.height(of_epoch).mean() for of_epoch in whole])


def ways() -> list[Way]:
    """All ways, each over all epochs and several draws."""
    kept = measured("reference")
    losses, images = kept["losses"], kept["batch_images"]
    population = int(images.sum())
    whole, truth = truths(losses, images)
    steps, full = losses.shape[1], np.flatnonzero(images == images[0])
    random = np.random.default_rng(0)
    found = [_authors(whole, steps, population)]

    def looked(title: str, count: int | None, tolerance: float, sample: int, draws: int) -> Way:
        way = Way(title)
        for draw in range(draws):
            chosen = random.choice(full, count, replace=False) if count else np.arange(len(images))
            for epoch, loss, true in zip(EPOCHS, whole, truth, strict=True):
                seed = np.random.SeedSequence([draw, epoch])
                drawn = draw_steps(steps, sample, seed) if sample else {}
                of_epoch = losses[EPOCHS.index(epoch)][:, :, chosen]
                trace, passes = looked_up(of_epoch, images[chosen], population, tolerance, drawn)
                way.add(trace, passes, loss, true)
        return way

    batch = int(images[0])
    for count in (400, 1000, 4000):
        found.append(looked(f"all points, {count:,} images", count // batch, 0.0, 0, DRAWS // 4))
    found.append(looked("few points, all images", None, TOLERANCE, 0, 1))
    for count in (400, 1000, 4000):
        title = f"few points, {count:,} images"
        found.append(looked(title, count // batch, TOLERANCE, 0, DRAWS // 4))
    for sample in (SAMPLE // 2, SAMPLE):
        title = f"few points, {IMAGES:,} images, {sample} of {steps} steps"
        found.append(looked(title, IMAGES // batch, TOLERANCE, sample, DRAWS))
    return [*found, _redrawn(whole, truth, steps, population)]


def _authors(whole: np.ndarray, steps: int, population: int) -> Way:
    """Reshuffled batches, against the truth of the very steps that were measured."""
    way, kept = Way("the authors' procedure (reshuffled)"), measured("reshuffled")
    for loss, epochs, chosen in zip(kept["loss"], kept["epoch"], kept["step"], strict=True):
        for number, epoch in enumerate(EPOCHS):
            rows = epochs == epoch
            real = whole[number][chosen[rows]]
            heights = analysis.height(loss[rows]).mean() / analysis.height(real).mean()
            way.passes.append(steps * EXPERIMENT.points * population)
            way.errors.append(heights - 1)
            barriers = analysis.barriers(real)
            wrong = int((analysis.barriers(loss[rows]) != barriers).sum())
            way.barriers.append((int(rows.sum()), int(barriers.sum()), 0, wrong))
    return way


def _redrawn(whole: np.ndarray, truth: np.ndarray, steps: int, population: int) -> Way:
    """The probe itself on plans of its own, whose batches the reference has not seen."""
    kept = measured("redrawn")
    way = Way(f"the same, walked anew on {REDRAWN_PLANS} other plans")
    for draw in range(len(kept["epoch"])):
        seen = {name: values[draw] for name, values in kept.items()}
        for number, epoch in enumerate(EPOCHS):
            rows = np.flatnonzero(seen["epoch"] == epoch)
            records: list[dict[str, object]] = [{} for _ in range(steps)]
            names = set(seen) - {"epoch", "step", "batch_images"}
            for row in rows:
                records[seen["step"][row]] = {name: seen[name][row] for name in names}
            trace = assemble(
                records,
                np.linspace(0, 1, EXPERIMENT.points + 1),
                attributes={"steps_in_epoch": steps, "training_images": population},
                batch_images=seen["batch_images"],
            )
            chosen = seen["step"][rows]
            joined = np.isin(chosen - 1, chosen).sum()
            points = seen["measured"][rows].sum() - joined
            way.add(trace, int(points * seen["batch_images"].sum()), whole[number], truth[number])
    return way


def draw(found: Iterable[Way], path: Path) -> None:
    """Error of an epoch's mean height against image passes, both logarithmic."""
    kinds = {
        "the authors' procedure": ("o", "authors' procedure (reshuffled)", (8, -3)),
        "all points": ("s", "all points, all steps", (8, 2)),
        "few points": ("^", "few points, all steps", (-12, -24)),
        "drawn": ("D", f"few points, {IMAGES:,} images, a sample of the steps", (-14, 11)),
        "the same": ("v", "the same, walked anew", (8, 4)),
    }
    groups: dict[str, list[Way]] = {name: [] for name in kinds}
    for way in found:
        name = next(name for name in kinds if way.title.startswith(name))
        groups["drawn" if " steps" in way.title else name].append(way)
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
        for (name, members), colour in zip(
            groups.items(), sns.color_palette("colorblind"), strict=False
        ):
            marker, label, offset = kinds[name]
            rows = [way.row for way in members]
            x = [row["image passes an epoch"] for row in rows]
            y = [row["error, root mean square"] for row in rows]
            axis.plot(x, y, marker, color=colour, markersize=8, label=label)
            for way, row, *place in zip(members, rows, x, y, strict=True):
                if way.stated:
                    axis.plot(place[0], row["stated standard error"], "_", color=colour, ms=18)
                if name in ("all points", "few points", "drawn"):
                    text = way.title.rsplit(", ", 1)[-1]
                    axis.annotate(
                        text, place, offset, textcoords="offset points", fontsize=8, color="0.3"
                    )
        axis.plot([], [], "_", color="0.3", ms=18, label="standard error that it states")
        axis.set(xscale="log", yscale="log")
        axis.set_xlabel("images that go forward through the network, for one epoch")
        axis.set_ylabel("relative error of its mean height")
        axis.margins(0.15)
        axis.legend(frameon=False, loc="lower left", fontsize="small")
        sns.despine(figure)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def headline(found: list[Way]) -> str:
    """How many times fewer images go through the network than in the authors' whole procedure."""
    ours = next(way.row for way in found if f"{SAMPLE} of" in way.title)["image passes an epoch"]
    return (
        "The authors' procedure for one of their epochs takes 450 steps × 10 points × 45,000 "
        f"images, {AUTHORS:.3g} image passes; {SAMPLE} steps from few points on {IMAGES:,} images "
        f"take {ours:.3g}, each pass counted: {AUTHORS / ours:,.0f} times fewer."
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MEASUREMENTS:
        measured(chosen)
