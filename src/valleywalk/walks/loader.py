"""The batches that a walk trains and is measured on, from images on its device."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..evaluation import Batches, EvaluationPlan
from .datasets import Dataset
from .experiment import Experiment, Phase
from .updates import crop_and_flip

VALIDATION_BATCH_SIZE = 500


class Loader:
    """A walk's images on its device, and the batches it trains and is measured on."""

    def __init__(
        self, experiment: Experiment, dataset: Dataset, device: torch.device, seeds: Sequence[int]
    ):
        self.experiment, self.dataset = experiment, dataset
        self.images, self.labels = dataset.train_images.to(device), dataset.train_labels.to(device)
        self.order, self.augmentation, self.redraw = (_generator(seeds[i], i) for i in range(3))
        count, size = len(self.images), experiment.evaluation_batch_size
        self.plan_seed = seeds[2]
        self.plan = EvaluationPlan.draw(count, size, self.plan_seed, experiment.evaluation_images)
        self.evaluation = self.measured(self.plan)
        validation = np.arange(len(dataset.validation_labels))
        pieces = np.split(
            validation, range(VALIDATION_BATCH_SIZE, len(validation), VALIDATION_BATCH_SIZE)
        )
        self.validation = Batches(
            dataset.validation_images.to(device),
            dataset.validation_labels.to(device),
            lambda: pieces,
            dataset.normalise,
        )

    @property
    def steps_in_epoch(self) -> int:
        """Steps of an epoch before any switch."""
        return self.experiment.phase(1).steps(len(self.images))

    def epoch(self, phase: Phase) -> Iterator[Sequence[np.ndarray]]:
        """Indices of the batches of each step of one epoch; sgd's in a fresh random order."""
        count, size = len(self.images), phase.batch_size
        if phase.update == "gd":
            # The chunks of gd are drawn as the evaluation plan is: with equal batch size and all
            # images, the loss that is descended is the very function that is measured.
            yield EvaluationPlan.draw(count, size, self.plan_seed).batches
            return
        order = self.order.permutation(count)
        for step in range(phase.steps(count)):
            yield [order[step * size : (step + 1) * size]]

    def training(self, indices: Sequence[np.ndarray]) -> Batches:
        """Batches of one step."""
        return Batches(self.images, self.labels, lambda: indices, self._prepare(self.augmentation))

    def planned(self, plan: EvaluationPlan) -> Batches:
        """Batches of a plan, never augmented."""
        return Batches(self.images, self.labels, lambda: plan.batches, self.dataset.normalise)

    def measured(self, plan: EvaluationPlan) -> Batches:
        """Batches for a measurement: the plan's; by the code's convention drawn at each pass."""
        if self.experiment.convention == "text":
            return self.planned(plan)
        return Batches(
            self.images,
            self.labels,
            lambda: plan.redrawn(int(self.redraw.integers(2**63))).batches,
            self._prepare(self.redraw),
        )

    def _prepare(self, random: np.random.Generator) -> Callable[[Tensor], Tensor]:
        if not self.experiment.augmentation:
            return self.dataset.normalise
        return lambda images: self.dataset.normalise(crop_and_flip(images, random))


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, stream]))
