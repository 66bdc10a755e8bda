"""walk(experiment) → Trace: build everything, train under watch, return what was seen."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ..evaluation import Evaluator, cross_entropy
from ..machine import ONE_AT_A_TIME, choose_device, device_name, reproducible
from ..probes.noise_structure import cross_fitted_variance, largest_gradient_variance
from ..probes.state import gather, give_back
from ..statistics import plans_for_variance
from ..surroundings import trainable
from ..trace import assemble, environment
from ..watch import watch
from . import models
from .checkpoint import Checkpointer, load_checkpoint, save_checkpoint
from .datasets import Dataset, DatasetError, load
from .epoch_probes import epoch_probes
from .experiment import SIZES, Experiment, Phase
from .extension import begun_by
from .identity import on_images
from .interruption import interruptions
from .loader import Loader
from .progress import bar
from .provenance import protocol_commit
from .updates import accumulate_gradient, add_isotropic_noise, scheduler

CHECKPOINT_SECONDS = 120.0


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
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    shorter: str | PathLike[str] | None = None,
    kept_state: str | PathLike[str] | None = None,
) -> xr.Dataset:
    """Train as the experiment says, and return the trace of it.

    Parameters
    ----------
    experiment : Experiment
    device : str
        auto (a GPU if there is one), cpu, cuda, cuda:1, …
    threads : int
        CPU threads. One gives the same bits on any number of cores; run several walks at once
        rather than one on several threads.
    dataset : Dataset, optional
        Default: loaded by the experiment's name. Of a folder the trace keeps the images' hash, not
        the path.
    progress : bool or callable
        Show a progress bar, or call this after each step.
    checkpoint : path-like, optional
        Keep the walk's state in this file, and go on from there if it exists. A walk that goes on
        ends with the same bits on a CPU, with as many threads, as one that was never stopped.
        Whoever keeps the trace deletes the file.
    checkpoint_seconds : float
        Keep it at least so often; at the end of an epoch more often where that costs little.
    shorter : path-like, optional
        Kept state or checkpoint of a walk that this one extends (`Experiment.extends`): where there
        is no checkpoint, go on from there, with the same bits as a walk from the first step.
    kept_state : path-like, optional
        Keep the state of the end in this file, for walks that extend this one.

    Returns
    -------
    xarray.Dataset
        See `valleywalk.trace` for its variables and attributes.

    Raises
    ------
    DatasetError
        Data missing, other images than the experiment names by `data_hash`, or fewer than it needs.
    DeviceError
        The device is not there.
    WalkError
        The loss became infinite or not a number (then it has the trace so far), or memory ran out.
    CheckpointError
        The checkpoint or state is damaged or was made by something else.
    OSError
        The checkpoint or state cannot be written.
    KeyboardInterrupt
        SIGINT (Ctrl-C) or SIGTERM came. With a checkpoint, and in the main thread, the step that
        runs is finished first, and the checkpoint kept; a second SIGINT is raised at once.
    """
    chosen = choose_device(device)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    shorter = None if shorter is None else Path(shorter)
    kept_state = None if kept_state is None else Path(kept_state)
    if dataset is None:
        dataset = load(
            experiment.dataset, image_size=experiment.image_size, classes=experiment.classes
        )
    experiment = on_images(experiment, dataset)
    whole_dataset_hash = dataset.hash
    dataset = dataset.first(experiment.training_images)
    _check_sizes(experiment, dataset)
    with ONE_AT_A_TIME, reproducible(threads):
        state = _Walk(experiment, dataset, chosen, whole_dataset_hash)
        with state.watcher:
            if checkpoint is not None and checkpoint.is_file():
                state.restore(*load_checkpoint(checkpoint, state.made_by))
            elif shorter is not None:
                begun = begun_by(experiment, shorter)
                made_by = state.made_by | {"experiment": begun.hash}
                state.restore(*load_checkpoint(shorter, made_by))
            try:
                trace = state.go(progress, Checkpointer(checkpoint, checkpoint_seconds))
                if kept_state is not None:
                    save_checkpoint(kept_state, *state.state(), state.made_by)
                return trace
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                raise WalkError(
                    f"{device_name(chosen)} has too little memory ({error}); lower "
                    f"evaluation_batch_size (now {experiment.evaluation_batch_size}) or batch_size "
                    f"(now {experiment.batch_size})"
                ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or "can't allocate memory" in str(error)


class _Walk:
    """A walk in progress: everything that a checkpoint must hold to go on as if never stopped."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        device: torch.device,
        whole_dataset_hash: str,
    ):
        self.experiment, self.dataset, self.device = experiment, dataset, device
        self.whole_dataset_hash = whole_dataset_hash
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
        self.model = model.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.loader = Loader(experiment, dataset, device, seeds[1:4])
        self.optimizer = torch.optim.SGD(trainable(self.model), lr=experiment.learning_rate)
        images = len(self.loader.images)
        phases = [experiment.phase(epoch + 1) for epoch in range(experiment.epochs)]
        self.steps = sum(phase.steps(images) for phase in phases)
        self.schedule = scheduler(self.optimizer, experiment.schedule, self.steps)
        self.noise = torch.Generator().manual_seed(seeds[4])
        self.gradient_variance = 0.0
        # 0 where it is not known.
        self.gradient_variance_error = 0.0
        self.epochs: dict[int, dict[str, float]] = {}
        self.watcher = watch(
            self.model,
            self.optimizer,
            cross_entropy,
            self.loader.evaluation,
            points=experiment.points,
            tolerance=experiment.tolerance,
            steps=lambda iteration: experiment.probes(iteration, self.loader.steps_in_epoch),
            batch_norm=experiment.batch_norm,
        )
        self.epoch_probes = epoch_probes(experiment, self.loader)
        self.stretches = experiment.drawn_steps(self.loader.steps_in_epoch)
        self.whole = experiment.whole_steps(self.loader.steps_in_epoch)
        # The step that comes next, and the state of the order of images before its epoch.
        self.position = (1, 0)
        self.order = self.loader.order.bit_generator.state
        # Those of the processes that walked, in order.
        self.commits = [environment()["git_commit"]]
        # That which was in force when the first of them began.
        self.protocol_commit = protocol_commit()

    def go(self, progress: bool | Callable[[], None], checkpointer: Checkpointer) -> xr.Dataset:
        """Walk from where it stands to the end."""
        experiment = self.experiment
        if experiment.noise_factor and not self.gradient_variance:
            self._estimate_gradient_variance()
        name = f"{experiment.model} {experiment.dataset} {experiment.update} {experiment.hash[:6]}"
        shown = bar(
            total=self.steps,
            initial=self.watcher.iteration,
            desc=name,
            unit="step",
            disable=progress is not True,
        )
        advance = progress if callable(progress) else shown.update
        wanted = checkpointer.path is not None
        with shown, interruptions(wanted=wanted, tell=progress is True) as noted:
            first = self.position[0]
            for epoch in range(first, experiment.epochs + 1):
                phase = experiment.phase(epoch)
                if experiment.switch_epoch is not None:
                    for group in self.optimizer.param_groups:
                        group["lr"] = phase.learning_rate
                self.loader.order.bit_generator.state = self.order
                done = self.position[1]
                for step, indices in enumerate(self.loader.epoch(phase)):
                    if step < done:
                        continue
                    self._step(phase, indices)
                    self.position = (epoch, step + 1)
                    advance()
                    self._keep(checkpointer, stop=bool(noted), end_of_epoch=False)
                self._measure(epoch)
                self.position = (epoch + 1, 0)
                self.order = self.loader.order.bit_generator.state
                self._keep(checkpointer, stop=bool(noted), end_of_epoch=True)
        return self.trace()

    def _keep(self, checkpointer: Checkpointer, *, stop: bool, end_of_epoch: bool) -> None:
        """Save a checkpoint if it is time to; always where the walk is to stop here."""
        checkpointer.save_if_due(self.state, self.made_by, end_of_epoch=end_of_epoch, now=stop)
        if stop:
            raise KeyboardInterrupt(
                f"interrupted after step {self.watcher.iteration} of {self.steps}; asked for "
                "again, the walk goes on from there"
            )

    def _estimate_gradient_variance(self) -> None:
        loader = self.loader
        evaluate = Evaluator(self.model, cross_entropy, loader.planned(loader.plan))
        if self.experiment.noise_estimate == "maximum":
            self.gradient_variance = largest_gradient_variance(evaluate)
            return
        count = plans_for_variance(len(loader.plan.batches))
        plans = [loader.planned(loader.plan.redrawn(seed)) for seed in range(count)]
        found = cross_fitted_variance(evaluate, plans)
        self.gradient_variance, self.gradient_variance_error = found.value, found.error

    def _step(self, phase: Phase, indices: Sequence[np.ndarray]) -> None:
        experiment = self.experiment
        loss = accumulate_gradient(
            self.model,
            cross_entropy,
            self.loader.training(indices),
            sum(len(index) for index in indices),
            weight_decay=experiment.weight_decay,
            convention=experiment.convention,
        )
        if not math.isfinite(loss):
            raise WalkError(
                f"the loss became {loss} at iteration {self.watcher.iteration} with learning "
                f"rate {phase.learning_rate:g}; lower the learning rate",
                self.trace(),
            )
        if phase.noise_factor:
            add_isotropic_noise(trainable(self.model), self.noise_deviation, self.noise)
        iteration = self.watcher.iteration
        whole = iteration in self.whole
        self.watcher.interpolation.tolerance = 0.0 if whole else experiment.tolerance
        self.optimizer.step()
        self.watcher.note(minibatch_loss=loss)
        if whole and experiment.whole_every:
            self.watcher.note(whole=True)
        stretch = self.stretches.get(iteration)
        if stretch is not None:
            self.watcher.note(stretch=stretch)
        if experiment.switch_epoch is None:
            self.schedule.step()

    def _measure(self, epoch: int) -> None:
        """What is measured at the end of an epoch."""
        last = self.watcher.iteration
        iterations = range(last - self.position[1], last)
        self.epochs[epoch] = {}
        for probe, due in self.epoch_probes:
            if due(epoch, iterations):
                self.epochs[epoch] |= probe(self.watcher.evaluate)

    @property
    def noise_deviation(self) -> float:
        """Standard deviation of the isotropic noise."""
        deviation = self.experiment.noise_factor * self.gradient_variance
        return deviation**0.5 if self.experiment.noise_measure == "variance" else deviation

    def trace(self) -> xr.Dataset:
        """What was seen so far."""
        loader, attributes = self.loader, dict(self.watcher.timing)
        if self.gradient_variance:
            attributes["gradient_variance"] = self.gradient_variance
            attributes["noise_deviation"] = self.noise_deviation
        if self.gradient_variance_error:
            attributes["gradient_variance_error"] = self.gradient_variance_error
        return assemble(
            self.watcher.seen,
            self.watcher.alpha,
            self.epochs,
            self.experiment.epochs,
            attributes={
                **attributes,
                "experiment": self.experiment.model_dump_json(),
                "experiment_hash": self.experiment.hash,
                "plan_hash": loader.plan.hash,
                "dataset_hash": self.dataset.hash,
                "whole_dataset_hash": self.whole_dataset_hash,
                "dataset_description": self.dataset.description,
                "training_images": len(self.dataset.train_images),
                "evaluation_images": loader.plan.images,
                "steps_in_epoch": loader.steps_in_epoch,
                "parameters": sum(parameter.numel() for parameter in trainable(self.model)),
                "device": device_name(self.device),
                "threads": torch.get_num_threads(),
                "final_state_hash": _state_hash(self.model),
                "git_commit": ", ".join(self.commits),
                "protocol_commit": self.protocol_commit,
            },
            batch_images=self.watcher.interpolation.batch_images,
        )

    @cached_property
    def made_by(self) -> dict[str, str]:
        """What must be the same for a checkpoint to be gone on from."""
        versions = json.loads(environment()["versions"])
        return {
            "experiment": self.experiment.hash,
            "data": self.dataset.hash,
            "device": device_name(self.device),
            "torch": versions["torch"],
            "valleywalk": versions["valleywalk"],
        }

    @property
    def _prefixed(self) -> list[tuple[str, object]]:
        """The prefix of what each probe of epochs remembers, and the probe."""
        # None, as in checkpoints that were made before: so no two may use one name.
        return [("", probe) for probe, _ in self.epoch_probes]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and what JSON can hold."""
        tensors, values = self.watcher.state()
        tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors["noise"] = self.noise.get_state()
        remembered, numbers = gather(self._prefixed)
        random = {"augmentation": self.loader.augmentation, "redraw": self.loader.redraw}
        values |= {name: source.bit_generator.state for name, source in random.items()}
        return tensors | remembered, values | numbers | {
            "experiment": self.experiment.model_dump(mode="json"),
            "commits": self.commits,
            "protocol_commit": self.protocol_commit,
            "order": self.order,
            "position": self.position,
            "epochs": self.epochs,
            "gradient_variance": self.gradient_variance,
            "gradient_variance_error": self.gradient_variance_error,
        }

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from a state; within the watcher's `with`."""
        prefix = "model."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.model.load_state_dict(own)
        self.watcher.restore(tensors, values)
        self.noise.set_state(tensors["noise"])
        give_back(self._prefixed, tensors, values, self.watcher.parameters)
        self.loader.augmentation.bit_generator.state = values["augmentation"]
        self.loader.redraw.bit_generator.state = values["redraw"]
        self.order, self.position = values["order"], tuple(values["position"])
        self.epochs = {int(epoch): measured for epoch, measured in values["epochs"].items()}
        self.gradient_variance = values["gradient_variance"]
        self.gradient_variance_error = values.get("gradient_variance_error", 0.0)
        # Older checkpoints do not say by which commits they were begun.
        self.protocol_commit = values.get("protocol_commit", "unknown")
        before = values.get("commits", ["unknown"])
        self.commits = before + [commit for commit in self.commits if commit != before[-1]]
        if self.experiment.switch_epoch is None:
            with warnings.catch_warnings():
                # Torch warns that no optimizer step came before; they were made in another process.
                warnings.simplefilter("ignore")
                for _ in self.watcher.seen:
                    self.schedule.step()


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
    experiment.check_images(available)


def _state_hash(model: nn.Module) -> str:
    """16 hexadecimal digits of all parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
