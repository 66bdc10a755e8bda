"""What a walk costs before it is walked: passes, time on this machine, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .catalogue import dataset_info
from .experiment import REDRAWN_PLANS, Experiment, Phase
from .networks import Network, device_named, image_seconds, size_of
from .resources import Resources

if TYPE_CHECKING:
    import numpy as np

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
    """Training images; a folder's are guessed where they are neither given nor counted."""
    return experiment.training_images or _images(experiment)[0]


def validation_images(experiment: Experiment) -> int:
    """Validation images; a folder's are guessed where they are not counted."""
    return _images(experiment)[1]


def _images(experiment: Experiment) -> tuple[int, int]:
    """Training and validation images that there are."""
    if experiment.counted is not None:
        return experiment.counted
    info, classes = dataset_info(experiment.dataset), shape(experiment)[2]
    return (
        info.training_images or CLASS_TRAINING_IMAGES * classes,
        info.validation_images or CLASS_VALIDATION_IMAGES * classes,
    )


def evaluation_images(experiment: Experiment) -> int:
    """Images on which a loss is measured."""
    return experiment.evaluation_images or training_images(experiment)


def evaluation_batches(experiment: Experiment) -> int:
    """Batches on which a loss is measured."""
    return experiment.evaluation_batches(evaluation_images(experiment))


def steps_in_epoch(experiment: Experiment) -> int:
    """Steps of an epoch before any switch; of a folder no fewer than are drawn of them."""
    steps = experiment.phase(1).steps(training_images(experiment))
    return max(steps, experiment.sampled_iterations or 0)


def all_steps(experiment: Experiment) -> int:
    """Steps of the whole walk."""
    images = training_images(experiment)
    return sum(epochs * phase.steps(images) for phase, epochs in _phases(experiment))


def measured_segments(experiment: Experiment) -> int:
    """Segments along which the loss is measured."""
    return len(_measured_steps(experiment, steps_in_epoch(experiment)))


def segment_runs(experiment: Experiment) -> int:
    """Runs of measured segments one after the other: each run measures one more loss, at its start.

    Within a run a segment begins where the one before ended, whose loss is known. Batch norm in
    eval mode also depends on running statistics, which a step moves: there each stands alone.
    """
    steps = _measured_steps(experiment, steps_in_epoch(experiment))
    if experiment.batch_norm == "eval" or not len(steps):
        return len(steps)
    return 1 + int((steps[1:] - steps[:-1] > 1).sum())


@lru_cache(maxsize=8)
def _measured_steps(experiment: Experiment, in_epoch: int) -> np.ndarray:
    """Iterations whose segments are measured; asked for several times in a row."""
    return experiment.probed_steps(in_epoch)


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
    from ..statistics import plans_for_variance

    crossed = experiment.noise_estimate == "cross-fitted"
    plans = plans_for_variance(evaluation_batches(experiment)) if crossed else 1
    return trained + plans * evaluated


def _measured_at_epochs(experiment: Experiment, evaluated: int) -> int:
    """Images whose loss and accuracy is measured at the end of epochs."""
    every = experiment.evaluate_every
    if not every:
        return 0
    measured = experiment.epochs // every
    in_epoch = steps_in_epoch(experiment)
    probed = {int(step) // in_epoch + 1 for step in _measured_steps(experiment, in_epoch)}
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


def network(experiment: Experiment) -> Network:
    """The network that is walked."""
    return Network(experiment.model, *shape(experiment), experiment.width)


def work(experiment: Experiment) -> float:
    """Multiply-adds of a walk."""
    return passes(experiment).total * size_of(network(experiment)).multiply_adds


def seconds(experiment: Experiment, device: str = "auto") -> float:
    """Seconds that a walk takes here, on one thread or on a device."""
    return passes(experiment).total * image_seconds(network(experiment), device)


def seconds_together(each: Sequence[float], processes: int, device: str = "auto") -> float:
    """Seconds that walks take side by side; those on one GPU share it."""
    if not device_named(device).startswith("CPU"):
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
    size = size_of(network(experiment))
    segments = measured_segments(experiment)
    ends = bool(experiment.curvature_every) and experiment.convention == "text"
    # The two eigenvectors are in float64.
    vectors = 1 + bool(segments) + 4 * ends
    of_step = 5 + bool(segments) * (
        3 * (experiment.points + 1) + 4 + evaluation_batches(experiment)
    )
    numbers = all_steps(experiment) * of_step
    return size.state_bytes + vectors * size.parameter_bytes + numbers * NUMBER_BYTES


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
