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

import numpy as np
import torch

from valleywalk import Experiment
from valleywalk.analysis import draw_steps
from valleywalk.datasets import load
from valleywalk.evaluation import EvaluationPlan, Evaluator, cross_entropy
from valleywalk.folders import checkout
from valleywalk.probes import Step
from valleywalk.probes.interpolation import Interpolation
from valleywalk.walk import _Keeper, _Walk, reproducible

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

    state.recorder.probes = (look,)
    with state.recorder:
        state.go(True, _Keeper(None, 0))


def begin(probed: tuple[int, ...] = EPOCHS) -> _Walk:
    """The walk at its start."""
    experiment = EXPERIMENT.model_copy(update={"probed_epochs": probed})
    return _Walk(experiment, load("cifar9k"), torch.device("cpu"))


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
        batches = state.data.planned(state.data.plan)
        batches.indices = lambda: state.data.plan.redrawn(int(random.integers(2**63))).batches
        return Evaluator(state.model, cross_entropy, batches)

    steps = state.data.steps_in_epoch
    # The same steps in all draws, so that they differ in nothing but the batches.
    probes = [Elsewhere(other(), 0.0, RESHUFFLED_SAMPLE, 0, steps) for _ in range(draws)]
    walk_with(state, *probes)
    return _together(probes)


def redrawn() -> dict[str, np.ndarray]:
    """The probe as a walk would use it, on other images, batches and steps each time."""
    state = begin()
    images, steps = len(state.data.images), state.data.steps_in_epoch
    probes = [
        Elsewhere(
            Evaluator(
                state.model,
                cross_entropy,
                state.data.planned(EvaluationPlan.draw(images, 100, 1000 + draw, IMAGES)),
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


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MEASUREMENTS:
        measured(chosen)
