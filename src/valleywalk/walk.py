"""walk(experiment) → Trace: build everything, train under watch, return what was seen."""

import ctypes
import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm import tqdm

from . import models
from .datasets import Dataset, DatasetError, load
from .evaluation import (
    Batches,
    EvaluationPlan,
    Evaluator,
    accuracy,
    cross_entropy,
    exact_float32,
    trainable,
)
from .experiment import SIZES, Experiment, Phase
from .probes.curvature import extremes, power_iteration
from .probes.noise_structure import alignment, largest_gradient_variance
from .trace import assemble
from .updates import accumulate_gradient, add_isotropic_noise, crop_and_flip, scheduler
from .watch import watch

REDRAWN_PLANS = 5
VALIDATION_BATCH_SIZE = 500


class WalkError(RuntimeError):
    """A walk cannot go on: its loss is no longer a finite number, or its device is not there."""


def walk(
    experiment: Experiment,
    *,
    device: str = "auto",
    threads: int = 1,
    dataset: Dataset | None = None,
    progress: bool | Callable[[], None] = True,
) -> xr.Dataset:
    """Train as the experiment says and record the trace.

    Parameters
    ----------
    experiment : Experiment
    device : str
        auto (a GPU if there is one), cpu, cuda, cuda:1, …
    threads : int
        CPU threads. One gives the same bits on any number of cores; run several walks at once
        rather than one on several threads.
    dataset : Dataset, optional
        Default: loaded by the experiment's name.
    progress : bool or callable
        Show a progress bar, or call this after each step.

    Returns
    -------
    xarray.Dataset
        See `valleywalk.trace` for its variables and attributes.

    Raises
    ------
    DatasetError
        Data missing, or fewer images than the experiment needs.
    WalkError
        Device not there, or the loss became infinite or not a number.
    """
    place = choose_device(device)
    if dataset is None:
        dataset = load(
            experiment.dataset, image_size=experiment.image_size, classes=experiment.classes
        )
    dataset = dataset.first(experiment.training_images)
    _check_sizes(experiment, dataset)
    with _reproducible(threads):
        return _walk(experiment, dataset, place, progress)


def _walk(
    experiment: Experiment,
    dataset: Dataset,
    place: torch.device,
    progress: bool | Callable[[], None],
) -> xr.Dataset:
    seeds = [int(seed) for seed in np.random.SeedSequence(experiment.seed).generate_state(5)]
    model = models.build(
        experiment.model,
        dataset.channels,
        dataset.image_size,
        len(dataset.classes),
        experiment.width,
        seeds[0],
    ).to(place, memory_format=models.memory_format(experiment.model, experiment.width))
    data = _Data(experiment, dataset, place, seeds[1:4])
    optimizer = torch.optim.SGD(trainable(model), lr=experiment.learning_rate)
    images = len(data.images)
    steps = sum(experiment.phase(epoch + 1).steps(images) for epoch in range(experiment.epochs))
    schedule = scheduler(optimizer, experiment.schedule, steps)
    noise = torch.Generator().manual_seed(seeds[4])
    variance = deviation = 0.0
    if experiment.noise_factor:
        planned = data.planned(data.plan)
        variance = largest_gradient_variance(Evaluator(model, cross_entropy, planned))
        deviation = experiment.noise_factor * variance
        if experiment.noise_measure == "variance":
            deviation **= 0.5
    epochs: dict[int, dict[str, float]] = {}
    recorder = watch(
        model,
        optimizer,
        cross_entropy,
        data.evaluation,
        points=experiment.points,
        steps=lambda iteration: experiment.probes(iteration, data.steps_in_epoch),
        batch_norm=experiment.batch_norm,
    )
    bar = tqdm(
        total=steps,
        desc=f"{experiment.model} {experiment.dataset} {experiment.update} {experiment.hash[:6]}",
        unit="step",
        disable=progress is not True,
    )
    advance = progress if callable(progress) else bar.update
    with recorder, bar:
        for epoch in range(1, experiment.epochs + 1):
            phase = experiment.phase(epoch)
            if epoch - 1 == experiment.switch_epoch:
                for group in optimizer.param_groups:
                    group["lr"] = phase.learning_rate
            for indices in data.epoch(phase):
                loss = accumulate_gradient(
                    model,
                    cross_entropy,
                    data.training(indices),
                    sum(len(index) for index in indices),
                    weight_decay=experiment.weight_decay,
                    convention=experiment.convention,
                )
                if not math.isfinite(loss):
                    raise WalkError(
                        f"the loss became {loss} at iteration {recorder.iteration} with learning "
                        f"rate {phase.learning_rate:g}; lower the learning rate"
                    )
                if phase.noise_factor:
                    add_isotropic_noise(trainable(model), deviation, noise)
                optimizer.step()
                recorder.record(minibatch_loss=loss)
                if experiment.switch_epoch is None:
                    schedule.step()
                advance()
            epochs[epoch] = {}
            if experiment.evaluate_every and epoch % experiment.evaluate_every == 0:
                probed = experiment.probes(recorder.iteration - 1, data.steps_in_epoch)
                epochs[epoch] |= data.measure(model, noise=probed)
            if experiment.curvature_every and epoch % experiment.curvature_every == 0:
                epochs[epoch] |= data.measure_curvature(model)
    return assemble(
        recorder.records,
        recorder.alpha,
        epochs,
        experiment.epochs,
        attributes={
            **recorder.timing,
            "experiment": experiment.model_dump_json(),
            "experiment_hash": experiment.hash,
            "plan_hash": data.plan.hash,
            "dataset_hash": dataset.hash,
            "dataset_description": dataset.description,
            "training_images": len(dataset.train_images),
            "evaluation_images": data.plan.images,
            "steps_in_epoch": data.steps_in_epoch,
            **({"gradient_variance": variance, "noise_deviation": deviation} if variance else {}),
            "parameters": sum(parameter.numel() for parameter in trainable(model)),
            "device": device_name(place),
            "threads": torch.get_num_threads(),
            "final_state_hash": _state_hash(model),
        },
    )


class _Data:
    """A walk's images on its device, and the batches it trains and is measured on."""

    def __init__(
        self, experiment: Experiment, dataset: Dataset, place: torch.device, seeds: Sequence[int]
    ):
        self.experiment, self.dataset = experiment, dataset
        self.images, self.labels = dataset.train_images.to(place), dataset.train_labels.to(place)
        self.order, self.augmentation, self.redraw = (_generator(seeds[i], i) for i in range(3))
        count, size = len(self.images), experiment.evaluation_batch_size
        self.plan_seed = seeds[2]
        self.plan = EvaluationPlan.draw(count, size, self.plan_seed, experiment.evaluation_images)
        self.evaluation = self.measured(self.plan)
        self.eigenvectors: np.ndarray | None = None
        validation = np.arange(len(dataset.validation_labels))
        pieces = np.split(
            validation, range(VALIDATION_BATCH_SIZE, len(validation), VALIDATION_BATCH_SIZE)
        )
        self.validation = Batches(
            dataset.validation_images.to(place),
            dataset.validation_labels.to(place),
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

    def _prepare(self, random: np.random.Generator):
        if not self.experiment.augmentation:
            return self.dataset.normalise
        return lambda images: self.dataset.normalise(crop_and_flip(images, random))

    def measure(self, model: nn.Module, noise: bool) -> dict[str, float]:
        """Training and validation loss and accuracy; the noise of re-drawn evaluation plans."""
        mode = self.experiment.batch_norm
        train = Evaluator(model, cross_entropy, self.planned(self.plan), mode)
        validation = Evaluator(model, cross_entropy, self.validation, "eval")
        measured = {}
        for split, evaluator in (("train", train), ("validation", validation)):
            loss, share = evaluator.means(cross_entropy, accuracy)
            measured |= {f"{split}_loss": loss, f"{split}_accuracy": share}
        if noise:
            losses = [
                Evaluator(model, cross_entropy, self.planned(self.plan.redrawn(seed)), mode)()
                for seed in range(REDRAWN_PLANS)
            ]
            measured["loss_noise"] = float(np.std(losses, ddof=1))
        return measured

    def measure_curvature(self, model: nn.Module) -> dict[str, float]:
        """Both ends of the Hessian's spectrum, searched from where they were last found."""
        experiment = self.experiment
        plan = self.plan.first(experiment.curvature_images)
        evaluator = Evaluator(model, cross_entropy, self.measured(plan), experiment.batch_norm)
        if experiment.convention == "code":
            value, residual = power_iteration(evaluator)
            return {"hessian_max": value, "hessian_residual": residual}
        found = extremes(evaluator, start=self.eigenvectors)
        if found.converged:
            self.eigenvectors = found.vectors
        measured = {
            "hessian_max": found.largest,
            "hessian_min": found.smallest,
            "hessian_residual": max(found.residuals),
        }
        return measured | (alignment(evaluator) if experiment.noise_structure else {})


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, stream]))


def _check_sizes(experiment: Experiment, dataset: Dataset) -> None:
    """What the experiment could not know before the data were read."""
    available = len(dataset.train_images)
    for name in SIZES:
        value = getattr(experiment, name)
        if value is not None and value > available:
            raise DatasetError(
                f"{name} is {value}, but data set {dataset.name!r} gives {available} training "
                f"images; choose at most {available}"
            )


def choose_device(name: str) -> torch.device:
    """The device named, or for "auto" a GPU if there is one.

    Raises
    ------
    WalkError
        Unknown name, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise WalkError(
            f"device {name!r} cannot be used ({reason}); use 'cpu' or 'auto'"
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """The device's model, for the trace."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU ({line.split(':', 1)[1].strip()})"
    return f"CPU ({platform.processor() or platform.machine()})"


@contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    """Plain float32, deterministic convolutions, a fixed number of threads; put back after."""
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark, torch.get_num_threads())
    try:
        _keep_memory()
        cudnn.deterministic, cudnn.benchmark = True, False
        torch.set_num_threads(threads)
        with exact_float32():
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before[:2]
        torch.set_num_threads(before[2])


def _keep_memory() -> None:
    """Let the C library keep freed memory: activations come and go, and fresh pages cost more.

    Narrow ResNet-56 and VGG-11 evaluate up to 1.5 times as fast. glibc only; elsewhere nothing.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**27)


def _state_hash(model: nn.Module) -> str:
    """16 hexadecimal digits of all parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
