"""walk(experiment) → Trace: build everything, train under watch, return what was seen."""

import hashlib
import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

from ..evaluation import Batches, EvaluationPlan, Evaluator, accuracy, cross_entropy, trainable
from ..machine import choose_device, device_name, reproducible
from ..probes.curvature import extremes, power_iteration
from ..probes.noise_structure import alignment, largest_gradient_variance
from ..trace import assemble, environment
from ..watch import watch
from . import models
from .checkpoint import CheckpointError, load_checkpoint, peek, save_checkpoint
from .datasets import Dataset, DatasetError, load
from .experiment import SIZES, Experiment, Phase
from .updates import accumulate_gradient, add_isotropic_noise, crop_and_flip, scheduler

# A walk sets torch's global modes: two threads of one process would set them for each other.
ONE_AT_A_TIME = threading.Lock()

REDRAWN_PLANS = 5
VALIDATION_BATCH_SIZE = 500
CHECKPOINT_SECONDS = 120.0
# At the end of an epoch a checkpoint is kept once it costs at most one in so many seconds.
CHEAP = 20
FIRST_COST = 1.0


class WalkError(RuntimeError):
    """A walk cannot go on: its loss is no longer a finite number, or memory is wanting.

    Attributes
    ----------
    trace : xarray.Dataset or None
        What was seen until then.
    """

    def __init__(self, message: str, trace: xr.Dataset | None = None):
        super().__init__(message)
        self.trace = trace


def walk(
    experiment: Experiment,
    *,
    device: str = "auto",
    threads: int = 1,
    dataset: Dataset | None = None,
    progress: bool | Callable[[], None] = True,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    shorter: Path | None = None,
    kept_state: Path | None = None,
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
    checkpoint : Path, optional
        Keep the walk's state in this file, and go on from there if it exists. A walk that goes on
        ends with the same bits on a CPU as one that was never stopped. Whoever keeps the trace
        deletes the file.
    checkpoint_seconds : float
        Keep it at least so often; at the end of an epoch more often where that costs little.
    shorter : Path, optional
        Kept state or checkpoint of a walk that this one extends (`Experiment.extends`): where there
        is no checkpoint, go on from there, with the same bits as a walk from the first step.
    kept_state : Path, optional
        Keep the state of the end in this file, for walks that extend this one.

    Returns
    -------
    xarray.Dataset
        See `valleywalk.trace` for its variables and attributes.

    Raises
    ------
    DatasetError
        Data missing, or fewer images than the experiment needs.
    DeviceError
        The device is not there.
    WalkError
        The loss became infinite or not a number (then it has the trace so far), or memory ran out.
    CheckpointError
        The checkpoint or state is damaged or was made by something else.
    OSError
        The checkpoint or state cannot be written.
    """
    place = choose_device(device)
    if dataset is None:
        dataset = load(
            experiment.dataset, image_size=experiment.image_size, classes=experiment.classes
        )
    dataset = dataset.first(experiment.training_images)
    _check_sizes(experiment, dataset)
    with ONE_AT_A_TIME, reproducible(threads):
        state = _Walk(experiment, dataset, place)
        with state.recorder:
            if checkpoint is not None and checkpoint.is_file():
                state.restore(*load_checkpoint(checkpoint, state.made_by))
            elif shorter is not None:
                begun = _begun(experiment, shorter)
                made_by = state.made_by | {"experiment": begun.hash}
                state.restore(*load_checkpoint(shorter, made_by))
            try:
                trace = state.go(progress, _Keeper(checkpoint, checkpoint_seconds))
                if kept_state is not None:
                    save_checkpoint(kept_state, *state.state(), state.made_by)
                return trace
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                raise WalkError(
                    f"{device_name(place)} has too little memory ({error}); lower "
                    f"evaluation_batch_size (now {experiment.evaluation_batch_size}) or batch_size "
                    f"(now {experiment.batch_size})"
                ) from error


def longest_shorter(experiment: Experiment, folder: Path) -> Path | None:
    """Of the kept states and checkpoints in a folder, the furthest that an experiment extends."""
    found: list[tuple[tuple[int, int], Path]] = []
    for path in (*folder.glob("*.state"), *folder.glob("*.checkpoint")):
        try:
            _begun(experiment, path)
            found.append((position_of(path), path))
        except (ValueError, KeyError, TypeError, OSError):
            # Of another walk, of an older version, damaged, or deleted just now.
            continue
    return max(found)[1] if found else None


def position_of(path: Path) -> tuple[int, int]:
    """Epoch, counted from 1, and step, from 0, with which a kept state or checkpoint goes on."""
    epoch, step = peek(path)["position"]
    return epoch, step


def _begun(experiment: Experiment, path: Path) -> Experiment:
    """The experiment of a kept state or checkpoint, if the one that is given extends it."""
    try:
        begun = Experiment.model_validate(peek(path)["experiment"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no state of a walk that can be extended ({error}); delete it, "
            "or start over with --restart"
        ) from error
    if not experiment.extends(begun):
        raise CheckpointError(
            f"{path} is of walk {begun.hash}, which {experiment.hash} does not extend; only its "
            "epochs may be more, and probed_epochs the same up to there"
        )
    return begun


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or "can't allocate memory" in str(error)


class _Walk:
    """A walk in progress: everything that a checkpoint must hold to go on as if never stopped."""

    def __init__(self, experiment: Experiment, dataset: Dataset, place: torch.device):
        self.experiment, self.dataset, self.place = experiment, dataset, place
        seeds = [int(seed) for seed in np.random.SeedSequence(experiment.seed).generate_state(5)]
        model = models.build(
            experiment.model,
            dataset.channels,
            dataset.image_size,
            len(dataset.classes),
            experiment.width,
            seeds[0],
        )
        layout = models.memory_format(model)
        self.model = model.to(place).to(memory_format=layout)  # type: ignore[call-overload]
        self.data = _Data(experiment, dataset, place, seeds[1:4])
        self.optimizer = torch.optim.SGD(trainable(self.model), lr=experiment.learning_rate)
        images = len(self.data.images)
        phases = [experiment.phase(epoch + 1) for epoch in range(experiment.epochs)]
        self.steps = sum(phase.steps(images) for phase in phases)
        self.schedule = scheduler(self.optimizer, experiment.schedule, self.steps)
        self.noise = torch.Generator().manual_seed(seeds[4])
        self.gradient_variance = 0.0
        self.epochs: dict[int, dict[str, float]] = {}
        self.recorder = watch(
            self.model,
            self.optimizer,
            cross_entropy,
            self.data.evaluation,
            points=experiment.points,
            tolerance=experiment.tolerance,
            steps=lambda iteration: experiment.probes(iteration, self.data.steps_in_epoch),
            batch_norm=experiment.batch_norm,
        )
        self.stretches = experiment.drawn_steps(self.data.steps_in_epoch)
        # The step that comes next, and the state of the order of images before its epoch.
        self.position = (1, 0)
        self.order = self.data.order.bit_generator.state
        # Those of the processes that walked, in order.
        self.commits = [environment()["git_commit"]]

    def go(self, progress: bool | Callable[[], None], keeper: "_Keeper") -> xr.Dataset:
        """Walk from where it stands to the end."""
        experiment = self.experiment
        if experiment.noise_factor and not self.gradient_variance:
            planned = self.data.planned(self.data.plan)
            evaluate = Evaluator(self.model, cross_entropy, planned)
            self.gradient_variance = largest_gradient_variance(evaluate)
        name = f"{experiment.model} {experiment.dataset} {experiment.update} {experiment.hash[:6]}"
        bar = tqdm(
            total=self.steps,
            initial=self.recorder.iteration,
            desc=name,
            unit="step",
            disable=progress is not True,
        )
        advance = progress if callable(progress) else bar.update
        with bar:
            first = self.position[0]
            for epoch in range(first, experiment.epochs + 1):
                phase = experiment.phase(epoch)
                if experiment.switch_epoch is not None:
                    for group in self.optimizer.param_groups:
                        group["lr"] = phase.learning_rate
                self.data.order.bit_generator.state = self.order
                done = self.position[1]
                for step, indices in enumerate(self.data.epoch(phase)):
                    if step < done:
                        continue
                    self._step(phase, indices)
                    self.position = (epoch, step + 1)
                    advance()
                    keeper.maybe(self, end_of_epoch=False)
                self._measure(epoch)
                self.position = (epoch + 1, 0)
                self.order = self.data.order.bit_generator.state
                keeper.maybe(self, end_of_epoch=True)
        return self.trace()

    def _step(self, phase: Phase, indices: Sequence[np.ndarray]) -> None:
        experiment = self.experiment
        loss = accumulate_gradient(
            self.model,
            cross_entropy,
            self.data.training(indices),
            sum(len(index) for index in indices),
            weight_decay=experiment.weight_decay,
            convention=experiment.convention,
        )
        if not math.isfinite(loss):
            raise WalkError(
                f"the loss became {loss} at iteration {self.recorder.iteration} with learning "
                f"rate {phase.learning_rate:g}; lower the learning rate",
                self.trace(),
            )
        if phase.noise_factor:
            add_isotropic_noise(trainable(self.model), self.noise_deviation, self.noise)
        self.optimizer.step()
        self.recorder.record(minibatch_loss=loss)
        stretch = self.stretches.get(self.recorder.iteration - 1)
        if stretch is not None:
            self.recorder.record(stretch=stretch)
        if experiment.switch_epoch is None:
            self.schedule.step()

    def _measure(self, epoch: int) -> None:
        """What is measured at the end of an epoch."""
        experiment = self.experiment
        measured: dict[str, float] = {}
        if experiment.evaluate_every and epoch % experiment.evaluate_every == 0:
            steps, last = self.data.steps_in_epoch, self.recorder.iteration
            of_epoch = range(last - self.position[1], last)
            probed = any(experiment.probes(iteration, steps) for iteration in of_epoch)
            measured |= self.data.measure(self.model, noise=probed)
        if experiment.curvature_every and epoch % experiment.curvature_every == 0:
            measured |= self.data.measure_curvature(self.model)
        self.epochs[epoch] = measured

    @property
    def noise_deviation(self) -> float:
        """Standard deviation of the isotropic noise."""
        deviation = self.experiment.noise_factor * self.gradient_variance
        return deviation**0.5 if self.experiment.noise_measure == "variance" else deviation

    def trace(self) -> xr.Dataset:
        """What was seen so far."""
        data, attributes = self.data, dict(self.recorder.timing)
        if self.gradient_variance:
            attributes["gradient_variance"] = self.gradient_variance
            attributes["noise_deviation"] = self.noise_deviation
        return assemble(
            self.recorder.records,
            self.recorder.alpha,
            self.epochs,
            self.experiment.epochs,
            attributes={
                **attributes,
                "experiment": self.experiment.model_dump_json(),
                "experiment_hash": self.experiment.hash,
                "plan_hash": data.plan.hash,
                "dataset_hash": self.dataset.hash,
                "dataset_description": self.dataset.description,
                "training_images": len(self.dataset.train_images),
                "evaluation_images": data.plan.images,
                "steps_in_epoch": data.steps_in_epoch,
                "parameters": sum(parameter.numel() for parameter in trainable(self.model)),
                "device": device_name(self.place),
                "threads": torch.get_num_threads(),
                "final_state_hash": _state_hash(self.model),
                "git_commit": ", ".join(self.commits),
            },
            batch_images=self.recorder.interpolation.batch_images,
        )

    @property
    def made_by(self) -> dict[str, str]:
        """What must be the same for a checkpoint to be gone on from."""
        versions = json.loads(environment()["versions"])
        return {
            "experiment": self.experiment.hash,
            "data": self.dataset.hash,
            "device": device_name(self.place),
            "torch": versions["torch"],
            "valleywalk": versions["valleywalk"],
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and what JSON can hold."""
        tensors, values = self.recorder.state()
        tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors["noise"] = self.noise.get_state()
        if self.data.eigenvectors is not None:
            tensors["eigenvectors"] = torch.from_numpy(self.data.eigenvectors)
        random = {"augmentation": self.data.augmentation, "redraw": self.data.redraw}
        values |= {name: source.bit_generator.state for name, source in random.items()}
        return tensors, values | {
            "experiment": self.experiment.model_dump(mode="json"),
            "commits": self.commits,
            "order": self.order,
            "position": self.position,
            "epochs": self.epochs,
            "gradient_variance": self.gradient_variance,
        }

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from a state; within the recorder's `with`."""
        prefix = "model."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.model.load_state_dict(own)
        self.recorder.restore(tensors, values)
        self.noise.set_state(tensors["noise"])
        if "eigenvectors" in tensors:
            self.data.eigenvectors = tensors["eigenvectors"].numpy()
        self.data.augmentation.bit_generator.state = values["augmentation"]
        self.data.redraw.bit_generator.state = values["redraw"]
        self.order, self.position = values["order"], tuple(values["position"])
        self.epochs = {int(epoch): measured for epoch, measured in values["epochs"].items()}
        self.gradient_variance = values["gradient_variance"]
        # Older checkpoints do not say by which commit they were begun.
        before = values.get("commits", ["unknown"])
        self.commits = before + [commit for commit in self.commits if commit != before[-1]]
        if self.experiment.switch_epoch is None:
            with warnings.catch_warnings():
                # Torch warns that no optimizer step came before; they were made in another process.
                warnings.simplefilter("ignore")
                for _ in self.recorder.records:
                    self.schedule.step()


class _Keeper:
    """Keeps a walk's checkpoint, often enough that little is lost and seldom enough to be cheap."""

    def __init__(self, path: Path | None, seconds: float):
        self.path, self.seconds = path, seconds
        self.last, self.cost = time.monotonic(), FIRST_COST

    def maybe(self, walk: _Walk, end_of_epoch: bool) -> None:
        """Keep a checkpoint if it is time for one."""
        since = time.monotonic() - self.last
        cheap = end_of_epoch and since >= CHEAP * self.cost
        if self.path is None or not (cheap or since >= self.seconds):
            return
        started = time.monotonic()
        save_checkpoint(self.path, *walk.state(), walk.made_by)
        self.last = time.monotonic()
        self.cost = self.last - started


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

    def _prepare(self, random: np.random.Generator) -> Callable[[Tensor], Tensor]:
        if not self.experiment.augmentation:
            return self.dataset.normalise
        return lambda images: self.dataset.normalise(crop_and_flip(images, random))

    def measure(self, model: nn.Module, noise: bool) -> dict[str, float]:
        """Training and validation loss and accuracy; the noise of re-drawn evaluation plans."""
        mode = self.experiment.batch_norm
        train = Evaluator(model, cross_entropy, self.planned(self.plan), mode)
        validation = Evaluator(model, cross_entropy, self.validation, "eval")
        measured: dict[str, float] = {}
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


def _state_hash(model: nn.Module) -> str:
    """16 hexadecimal digits of all parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
