"""What a walk costs before it is walked: multiply-adds, and hours at a measured rate."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import models
from .experiment import TRAINING_IMAGES, Experiment

# channels, image size, classes
SHAPES = {
    "photos": (3, 32, 10),
    "photos16": (3, 16, 10),
    "photos64": (3, 64, 10),
    "mnist5k": (1, 28, 10),
    "mnist": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "cifar9k": (3, 32, 10),
    "tiny-imagenet": (3, 64, 200),
}
TINY_IMAGENET_CLASS = 500
# Forward passes to which a search for both ends of the spectrum amounts, as measured: some 25
# products of about eight passes each; and the search for the noise's and the sharpest directions.
CURVATURE_PASSES = 200
NOISE_STRUCTURE_PASSES = 1200
# Multiply-adds a second that walks reached, one core of an AMD EPYC (Zen 3) at 2.4 GHz. Narrow
# networks spend their time moving memory, so that they reach less.
RATE = {"mlp": 15e9, "vgg11": 25e9, "resnet56": 8e9}


@cache
def forward_multiply_adds(
    model: str, channels: int, image_size: int, classes: int, width: float
) -> float:
    """Multiply-adds of one image's forward pass."""
    with torch.device("meta"):
        network = models.build(model, channels, image_size, classes, width)
        images = torch.empty(2, channels, image_size, image_size)
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() / 2 / 2


def forward_passes(experiment: Experiment) -> float:
    """Images that go forward through the network, a training step's backward counted as two."""
    images = experiment.training_images or TRAINING_IMAGES.get(experiment.dataset)
    images = images or TINY_IMAGENET_CLASS * (experiment.classes or 200)
    evaluated = experiment.evaluation_images or images
    per_epoch = experiment.phase(1).steps(images)
    iterations = experiment.epochs * per_epoch
    segments = sum(experiment.probes(iteration, per_epoch) for iteration in range(iterations))
    curvature = 0.0
    if experiment.curvature_every:
        times = experiment.epochs // experiment.curvature_every
        passes = CURVATURE_PASSES + experiment.noise_structure * NOISE_STRUCTURE_PASSES
        curvature = times * (experiment.curvature_images or evaluated) * passes
    return curvature + experiment.epochs * images * 3 + segments * experiment.points * evaluated


def work(experiment: Experiment) -> float:
    """Multiply-adds of a walk."""
    shape = SHAPES.get(experiment.dataset, (3, experiment.image_size or 64, 10))
    each = forward_multiply_adds(experiment.model, *shape, experiment.width)
    return forward_passes(experiment) * each


def core_hours(experiment: Experiment) -> float:
    """Estimated hours on one CPU core."""
    return work(experiment) / RATE[experiment.model] / 3600
