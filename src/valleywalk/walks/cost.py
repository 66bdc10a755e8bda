"""What a walk costs before it is walked: passes, time on this machine, disk."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..evaluation import Evaluator, cross_entropy
from ..machine import choose_device, reproducible
from ..probes.noise_structure import plans_for_variance
from . import models
from .catalogue import dataset_info
from .epoch_probes import REDRAWN_PLANS
from .experiment import Experiment, Phase
from .resources import Resources
from .walk import ONE_AT_A_TIME

# Images of a class of Tiny-ImageNet, and of a folder until its files are read.
CLASS_TRAINING_IMAGES, CLASS_VALIDATION_IMAGES = 500, 50
# Forward passes to which each amounts, as measured: a training step; a search for both ends of the
# spectrum, some 25 products of about eight passes each; the authors' 16 products; the search for
# the noise's and the sharpest directions; that for its control, up to some 30 products of three.
TRAINING_PASSES = 3
CURVATURE_PASSES = 200
CODE_CURVATURE_PASSES = 128
NOISE_STRUCTURE_PASSES = 1200
NOISE_CONTROL_PASSES = 100
# Losses of a segment from few points, as measured on recorded ones at a tolerance of 2 %.
EXPECTED_PASSES = 3.6
# A trace: its attributes and layout; numbers of a step; a loss. As measured on recorded ones.
TRACE_BYTES, STEP_BYTES, NUMBER_BYTES = 30_000, 13, 8

# How long a network is timed, in batches that grow to the size that most walks have.
TIMED_SECONDS = 0.05
SMALLEST_BATCH, LARGEST_BATCH = 8, 100
# What takes longer is said before it is begun.
SAID_SECONDS = 60.0
# Multiply-adds a second below which no machine and no network here falls: what is short even so is
# not worth a measurement.
SLOWEST = 1e8


@dataclass(frozen=True)
class Passes:
    """How many images go forward through the network, or what costs as much, and what for."""

    training: float
    segments: float
    epochs: float
    curvature: float

    @property
    def total(self) -> float:
        """All together."""
        return self.training + self.segments + self.epochs + self.curvature


def shape(experiment: Experiment) -> tuple[int, int, int]:
    """Channels, image size and classes; a folder's are guessed where they are not given."""
    info = dataset_info(experiment.dataset)
    size = experiment.image_size or info.image_size
    return info.channels, size, experiment.classes or info.classes


def training_images(experiment: Experiment) -> int:
    """Training images; a folder's are guessed where they are not given."""
    images = experiment.training_images or dataset_info(experiment.dataset).training_images
    return images or CLASS_TRAINING_IMAGES * shape(experiment)[2]


def validation_images(experiment: Experiment) -> int:
    """Validation images; a folder's are guessed."""
    known = dataset_info(experiment.dataset).validation_images
    return known or CLASS_VALIDATION_IMAGES * shape(experiment)[2]


def evaluation_images(experiment: Experiment) -> int:
    """Images on which a loss is measured."""
    return experiment.evaluation_images or training_images(experiment)


def evaluation_batches(experiment: Experiment) -> int:
    """Batches on which a loss is measured."""
    return -(-evaluation_images(experiment) // experiment.evaluation_batch_size)


def steps_in_epoch(experiment: Experiment) -> int:
    """Steps of an epoch before any switch."""
    return experiment.phase(1).steps(training_images(experiment))


def all_steps(experiment: Experiment) -> int:
    """Steps of the whole walk."""
    images = training_images(experiment)
    return sum(epochs * phase.steps(images) for phase, epochs in _phases(experiment))


def measured_segments(experiment: Experiment) -> int:
    """Segments along which the loss is measured."""
    return len(experiment.probed_steps(steps_in_epoch(experiment)))


def segment_runs(experiment: Experiment) -> int:
    """Runs of measured segments one after the other: each run measures one more loss, at its start.

    Within a run a segment begins where the one before ended, whose loss is known. Batch norm in
    eval mode also depends on running statistics, which a step moves: there each stands alone.
    """
    steps = experiment.probed_steps(steps_in_epoch(experiment))
    if experiment.batch_norm == "eval" or not len(steps):
        return len(steps)
    return 1 + int((steps[1:] - steps[:-1] > 1).sum())


def passes_a_segment(experiment: Experiment) -> float:
    """Losses that are measured along a segment, that at its start left out."""
    return min(EXPECTED_PASSES, experiment.points) if experiment.tolerance else experiment.points


def losses(experiment: Experiment) -> float:
    """Losses that are measured along all segments."""
    segments = measured_segments(experiment)
    whole = len(experiment.whole_steps(steps_in_epoch(experiment)))
    along = whole * experiment.points + (segments - whole) * passes_a_segment(experiment)
    return along + segment_runs(experiment)


def passes(experiment: Experiment) -> Passes:
    """Forward passes of one image that a walk amounts to."""
    images, evaluated = training_images(experiment), evaluation_images(experiment)
    return Passes(
        training=TRAINING_PASSES * _trained(experiment, images, evaluated),
        segments=losses(experiment) * evaluated,
        epochs=_measured_at_epochs(experiment, evaluated),
        curvature=_curvature(experiment, evaluated),
    )


def _phases(experiment: Experiment) -> list[tuple[Phase, int]]:
    """How it is walked before and after any switch, and for how many epochs."""
    switch = experiment.switch_epoch or experiment.epochs
    parts = (
        (experiment.phase(1), switch),
        (experiment.phase(switch + 1), experiment.epochs - switch),
    )
    return [(phase, epochs) for phase, epochs in parts if epochs]


def _trained(experiment: Experiment, images: int, evaluated: int) -> int:
    """Images whose gradient is taken."""
    trained = sum(
        epochs * (images if phase.update == "gd" else phase.steps(images) * phase.batch_size)
        for phase, epochs in _phases(experiment)
    )
    # The gradient's variance at the start gives the isotropic noise its size.
    if not experiment.noise_factor:
        return trained
    crossed = experiment.noise_estimate == "cross-fitted"
    plans = plans_for_variance(evaluation_batches(experiment)) if crossed else 1
    return trained + plans * evaluated


def _measured_at_epochs(experiment: Experiment, evaluated: int) -> int:
    """Images whose loss and accuracy is measured at the end of epochs."""
    every = experiment.evaluate_every
    if not every:
        return 0
    measured = experiment.epochs // every
    steps = experiment.probed_steps(steps_in_epoch(experiment))
    probed = {int(epoch) + 1 for epoch in steps // steps_in_epoch(experiment)}
    redrawn = REDRAWN_PLANS * sum(epoch % every == 0 for epoch in probed)
    each = evaluated + validation_images(experiment)
    return measured * each + redrawn * evaluated


def _curvature(experiment: Experiment, evaluated: int) -> float:
    if not experiment.curvature_every:
        return 0.0
    noise = NOISE_STRUCTURE_PASSES + NOISE_CONTROL_PASSES
    each = CURVATURE_PASSES + experiment.noise_structure * noise
    if experiment.convention == "code":
        each = CODE_CURVATURE_PASSES
    times = experiment.epochs // experiment.curvature_every
    return float(times * each * (experiment.curvature_images or evaluated))


@cache
def forward_multiply_adds(
    model: str, channels: int, image_size: int, classes: int, width: float
) -> float:
    """Multiply-adds of one image's forward pass."""
    network = models.build(model, channels, image_size, classes, width).eval()
    counted = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        counted.append(output.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, channels, image_size, image_size))
    return float(sum(counted))


def work(experiment: Experiment) -> float:
    """Multiply-adds of a walk."""
    each = forward_multiply_adds(experiment.model, *shape(experiment), experiment.width)
    return passes(experiment).total * each


@cache
def image_seconds(
    model: str, channels: int, image_size: int, classes: int, width: float, device: str = "auto"
) -> float:
    """Seconds of one image's forward pass here and now, on one thread.

    A network is timed for about a twentieth of a second, once in a process. Of batches that grow,
    the quickest counts by image: other programs on the machine only make it slower.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    chosen = choose_device(device)
    generator = torch.Generator().manual_seed(0)
    spent, quickest, size = 0.0, math.inf, SMALLEST_BATCH
    with ONE_AT_A_TIME, reproducible(threads=1):
        network = models.build(model, channels, image_size, classes, width).to(chosen)
        network.to(memory_format=models.memory_format(network))  # type: ignore[call-overload]
        if chosen.type == "cuda":
            # Its libraries are loaded at the first pass.
            _seconds_of_batch(network, size, channels, image_size, generator, chosen)
        while spent < TIMED_SECONDS:
            took = _seconds_of_batch(network, size, channels, image_size, generator, chosen)
            quickest = min(quickest, took / size)
            size = min(2 * size, LARGEST_BATCH)
            spent += took
    return quickest


def _seconds_of_batch(
    network: nn.Module,
    size: int,
    channels: int,
    image_size: int,
    generator: torch.Generator,
    device: torch.device,
) -> float:
    images = torch.rand(size, channels, image_size, image_size, generator=generator).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    evaluate = Evaluator(network, cross_entropy, [(images, labels)])
    started = time.perf_counter()
    # Gives a number, so that a GPU's work is waited for.
    evaluate()
    return time.perf_counter() - started


def seconds(experiment: Experiment, device: str = "auto") -> float:
    """Seconds that a walk takes here, on one thread or on a device."""
    each = image_seconds(experiment.model, *shape(experiment), experiment.width, device)
    return passes(experiment).total * each


def seconds_together(each: Sequence[float], processes: int, device: str = "auto") -> float:
    """Seconds that walks take side by side; those on one GPU share it."""
    if choose_device(device).type != "cpu":
        return sum(each)
    return max(max(each, default=0.0), sum(each) / max(1, processes))


def trace_bytes(experiment: Experiment) -> int:
    """About how large a walk's trace is on disk."""
    segments = measured_segments(experiment)
    # The heights of the batches and the errors of second differences are in float32.
    numbers = segments * (1.5 * (experiment.points + 1) + evaluation_batches(experiment) / 2)
    return int(TRACE_BYTES + STEP_BYTES * all_steps(experiment) + NUMBER_BYTES * numbers)


def checkpoint_bytes(experiment: Experiment) -> int:
    """How large a walk's checkpoint becomes.

    It holds the network with its running statistics, the last gradient, the end of the segment
    measured last, the eigenvectors found last, and all numbers that were seen.
    """
    with torch.device("meta"):
        network = models.build(experiment.model, *shape(experiment), experiment.width)
    state = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in network.parameters())
    segments = measured_segments(experiment)
    ends = bool(experiment.curvature_every) and experiment.convention == "text"
    # The two eigenvectors are in float64.
    vectors = 1 + bool(segments) + 4 * ends
    of_step = 5 + bool(segments) * (
        3 * (experiment.points + 1) + 4 + evaluation_batches(experiment)
    )
    numbers = all_steps(experiment) * of_step
    return state + vectors * parameters + numbers * NUMBER_BYTES


def announcement(
    experiments: Sequence[Experiment],
    folder: Path,
    resources: Resources,
    *,
    begun: int = 0,
) -> str | None:
    """A line that says what walks will cost, None if they surely last less than a minute.

    Parameters
    ----------
    experiments : sequence of Experiment
    folder : Path
        Where their traces and checkpoints are kept.
    resources : Resources
        With a scheduler other machines walk, whose speed is not known here: then only the work is
        said.
    begun : int
        How many of them go on from a checkpoint.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    multiply_adds = sum(map(work, experiments))
    if multiply_adds < SAID_SECONDS * SLOWEST:
        return None
    count = f"{len(experiments)} walk{'s' * (len(experiments) > 1)}"
    if begun:
        count += f" ({begun} begun before)"
    kept = f"traces are kept in {folder}"
    if resources.scheduler is not None:
        return f"{count}, {multiply_adds:.1e} multiply-adds in all; {kept}"
    processes = resources.workers(len(experiments))
    each = [seconds(experiment, resources.device) for experiment in experiments]
    took = seconds_together(each, processes, resources.device)
    if took < SAID_SECONDS:
        return None
    side_by_side = f"{processes} process{'es' * (processes > 1)}"
    again = "interrupt as you like: asked for again, it goes on"
    return f"{count}, about {duration(took)} in {side_by_side}; {kept}; {again}"


def duration(seconds: float) -> str:
    """A time in words: seconds, minutes, hours or days."""
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"


def many(number: float) -> str:
    """A large number in words."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:.0f}"
