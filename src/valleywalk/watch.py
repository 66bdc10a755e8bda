"""Watch any training loop: hooks on the optimizer call the probes at each step."""

import time
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from numbers import Integral
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .allowed import check_whole
from .batches import check_losses, frozen_batches
from .evaluation import Batches, Evaluator, Loss
from .optimizers import (
    MarkSkipped,
    skipped_inside,
    stepping_optimizers,
    weight_decays,
    writes_into_gradients,
)
from .probes import IterateProbe, Probe, Step
from .probes.cosine import Cosine
from .probes.distance import Distance
from .probes.interpolation import Interpolation
from .probes.state import gather, give_back
from .sinks import Sink, scalars, tell
from .stream import Stream
from .surroundings import trainable
from .trace import COORDINATES, VARIABLES, assemble
from .watchable import IN_BACKWARD, check_optimizers, check_parameters, unwrapped, within_backward

if TYPE_CHECKING:
    from .report import Report

# What the probes that each watch has and the watch itself record.
NOTED = {"minibatch_loss", "whole", "stretch"}
OWN = {name for name, (along, _, _) in VARIABLES.items() if "epoch" not in along} - NOTED


class watch:
    """Watch an optimizer walk.

    Within `with`, each `optimizer.step()` is looked at; entered again, it goes on. The training is
    not changed: parameters, buffers, gradients, random state and train/eval modes are as they would
    be without the watch.

    Parameters
    ----------
    model : nn.Module
        Also one that is compiled, or wrapped by DistributedDataParallel: then rank 0 watches.
    optimizer : torch.optim.Optimizer, or a sequence of them
        Their step hooks are used; they must hold the model's parameters. Of several, a step begins
        with the first one's and ends with the last one's.
    loss : callable (output, target) → scalar Tensor
        The mean over a batch.
    evaluation_data : pair of Tensors, or an iterable of batches
        What the loss along the segment is measured on, moved to the model's device. A pair is put
        into a fixed random order and cut into batches of `batch_size`. Batches are gone through
        once, here, and copies of them kept: at most a thousand of what has no length, such as a
        generator. A batch is (inputs, targets); inputs that are a tuple or a dict are spread over
        the model's arguments. A batch that is a dict is both: `loss` is given the model's output
        and the whole batch.
    points : int
        Intervals of a segment: its loss is given at points + 1 values of α.
    tolerance : float
        0: each point is measured, `points` passes over the data a step. 0.02: some four passes; the
        other points are read off a polynomial, mostly within 2 % of the segment's range, and the
        estimated error is in the trace (see `probes.interpolation.few_points`).
    steps : int, container of int, or callable int → bool, optional
        Which iterations (from 0) have their segment measured. 10: every tenth. `range(40)`: the
        first forty. A function: those for which it returns True. Default: all. Cosine, distance
        and norm are recorded at each step.
    probes : sequence of Probe, optional
        More probes, called after the built-in ones at each step.
    iterate_probes : sequence of IterateProbe, optional
        Probes of where the model stands after a step, such as
        `valleywalk.probes.curvature.Curvature()`; what they see is recorded along `iteration`.
    every : int, container of int, or callable int → bool, optional
        After which iterations those are called, said as for `steps`; default all.
    batch_size : int
        Images batch norm sees at a time, for a pair of tensors.
    batch_norm : {"as trained", "train", "eval"}
        Mode of batch norm in the measurement; by default each layer's own, so that one which you
        froze with `.eval()` is measured with its running statistics, as it is trained.
    dropout_masks : int
        0: the loss is measured without dropout. 1: with one frozen mask, the same at every point.
        More: the mean over that many.
    weight_decay : bool
        False: the cosine is that of the gradients as backward and clipping left them. True: of
        g_t + λθ_t, with λ the `weight_decay` of each parameter group, as SGD and Adam step by it.
        An optimizer with decoupled weight decay, such as AdamW, adds nothing to its gradients; one
        of your own says so by an attribute `decoupled_weight_decay` = True. The trace's attribute
        `cosine_of` says which. Keeps θ_t at each step.
    seed : int
        Seed of the fixed order.
    scaler : torch.amp.GradScaler, optional
        That of mixed precision, so that the steps which it skips are marked by `skipped` = 1.
    sinks : sequence of Sink, optional
        Each is called with the number of a step and its numbers (`sinks.scalars`) after it, and
        with what is noted; see `valleywalk.sinks` for TensorBoard, Weights & Biases, MLflow, CSV.
    stream : path-like, optional
        A new file to which all that is seen is appended, step by step, so that it is there if the
        process is killed. `valleywalk.open_stream` reads it, `valleywalk tail FILE` draws it while
        it grows.

    Raises
    ------
    ValueError
        No trainable parameters, parameters not initialised yet, on the meta device, or sharded
        (FSDP, DTensor), an optimizer that holds other parameters or steps within backward, a scaler
        for several optimizers, a stream that is there already, no evaluation data, batches without
        end, single examples instead of batches, tensors of different lengths, a batch whose loss
        cannot be measured or is no finite number, points that are no whole number from 2 to 1000, a
        tolerance that is no share, another `batch_norm`, a negative number of masks, what is no
        model, optimizer, probe or sink. In the first step: a probe of yours that records what is no
        number, or by a name that is taken.
    RuntimeError
        In a step: the model's trainable parameters were replaced, frozen or freed since; a step
        within backward; several optimizers that step in another order.

    Examples
    --------
    Three steps of gradient descent on θ², from θ = 1 with learning rate 0.9:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk import analysis, watch
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.9)
    >>> inputs, targets = torch.ones(4, 1), torch.zeros(4, 1)
    >>> with watch(model, optimizer, nn.functional.mse_loss, (inputs, targets)) as watcher:
    ...     for step in range(3):
    ...         optimizer.zero_grad()
    ...         nn.functional.mse_loss(model(inputs), targets).backward()
    ...         optimizer.step()
    >>> trace = watcher.trace
    >>> trace["loss"].sizes
    Frozen({'iteration': 3, 'alpha': 11})
    >>> trace["cosine"].values.round(4).tolist()
    [nan, -1.0, -1.0]
    >>> trace["distance"].values.astype(float).round(2)
    array([1.8 , 0.36, 1.51])
    >>> analysis.height(trace["loss"]).round(2)
    array([0.81, 0.52, 0.33])
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        loss: Loss,
        evaluation_data: Any,
        *,
        points: int = 10,
        tolerance: float = 0.0,
        steps: int | Container[int] | Callable[[int], bool] | None = None,
        probes: Sequence[Probe] = (),
        iterate_probes: Sequence[IterateProbe] = (),
        every: int | Container[int] | Callable[[int], bool] | None = None,
        batch_size: int = 100,
        batch_norm: str = "as trained",
        dropout_masks: int = 0,
        weight_decay: bool = False,
        seed: int = 0,
        scaler: torch.amp.GradScaler | None = None,
        sinks: Sequence[Sink] = (),
        stream: str | PathLike[str] | None = None,
    ):
        model = unwrapped(model)
        check_parameters(model)
        if batch_norm not in ("as trained", "train", "eval"):
            raise ValueError(
                f"batch_norm is {batch_norm!r}; allowed are 'as trained', 'train' and 'eval'"
            )
        check_whole("dropout_masks", dropout_masks, 0)
        check_whole("batch_size", batch_size, 1)
        check_whole("seed", seed, 0)
        self.parameters = trainable(model)
        if not self.parameters:
            raise ValueError("the model has no parameter that requires a gradient")
        self.optimizers = stepping_optimizers(optimizer)
        check_optimizers(self.optimizers, self.parameters)
        if scaler is not None and len(self.optimizers) > 1:
            raise ValueError(
                f"there are {len(self.optimizers)} optimizers and a scaler, which skips the steps "
                "of each by themselves; watch one of them, or train in bfloat16 or float32"
            )
        self.scaler = scaler
        batches = frozen_batches(evaluation_data, batch_size, seed, self.parameters[0].device)
        self.evaluate = Evaluator(model, loss, batches, batch_norm, dropout_masks)
        # Those of a walk are ours, and may be drawn anew each time.
        if not isinstance(batches, Batches):
            check_losses(self.evaluate, batches)
        self.weight_decay = weight_decay
        self.steps = _chosen("steps", steps)
        self.interpolation = Interpolation(points, tolerance)
        self.alpha = self.interpolation.alpha
        self._cosine = Cosine()
        self.built_in: tuple[Probe, ...] = (self.interpolation, self._cosine, Distance())
        self.probes: list[Probe] = _callables("probes", probes, "functions of a probes.Step")
        self.iterate_probes: list[IterateProbe] = _callables(
            "iterate_probes", iterate_probes, "[valleywalk.probes.curvature.Curvature()]"
        )
        self.every = _chosen("every", every)
        self.sinks: list[Sink] = _callables(
            "sinks",
            sinks,
            "[valleywalk.sinks.CSV('walk.csv')], or of functions (step, numbers)",
        )
        self._stream = Stream(stream) if stream is not None and _first_rank() else None
        self.seen: list[dict[str, Any]] = []
        self.start: list[Tensor] = []
        self._before: list[Tensor] | None = None
        self._kept: list[Tensor] | None = None
        self._measured = self._stepping = False
        self._learning_rate = float("nan")
        self._hooks: list[Any] = []
        self._left_at: list[int] = []
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()

    def __enter__(self) -> "watch":
        if self._hooks:
            raise RuntimeError("this watch is on already; leave its block before entering it again")
        if not self.start:
            self.start = [parameter.detach().clone() for parameter in self.parameters]
            if self._stream is not None:
                self._stream.begin(self.alpha, self._attributes)
        elif self._written != self._left_at:
            self._cosine.forget()
        if not _first_rank():
            return self
        self._hooks = [
            self.optimizers[0].register_step_pre_hook(self._before_step),
            self.optimizers[-1].register_step_post_hook(self._after_step),
        ]
        if self.scaler is not None:
            (watched,) = self.optimizers
            marking = MarkSkipped(self.scaler, watched, lambda: self.iteration, self._keep_step)
            self._hooks.append(marking)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        self._left_at = self._written

    @property
    def _written(self) -> list[int]:
        """How often each parameter was written to, and where it lies."""
        return [number for p in self.parameters for number in (p._version, p.data_ptr())]

    @property
    def iteration(self) -> int:
        """Number of steps seen so far, which is the index of the next one."""
        return len(self.seen)

    def note(self, **values: float) -> None:
        """Add numbers of your own, such as `minibatch_loss`, to the step seen last.

        Parameters
        ----------
        **values : float
            Each becomes a variable of the trace, along `iteration`.

        Raises
        ------
        ValueError
            No step has been seen yet; a name that the watch itself records; what is no number.
        """
        if not self.seen:
            raise ValueError("no step has been seen yet; note it after optimizer.step()")
        numbers = _numbers("note", values, {})
        self.seen[-1].update(numbers)
        self._tell(numbers)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if within_backward():
            raise RuntimeError(f"the optimizer {IN_BACKWARD}")
        check_optimizers(self.optimizers, self.parameters)
        self._stepping = True
        self._learning_rate = float(self.optimizers[0].param_groups[0].get("lr", float("nan")))
        self._measured = self.steps(self.iteration)
        self._kept = None
        if any(map(writes_into_gradients, self.optimizers)):
            if any(callable(each) for each in (*args[1:], *kwargs.values())):
                raise RuntimeError(
                    "with nesterov=True and foreach, SGD writes into the gradients, and with a "
                    "closure they are there only within the step; make it with foreach=False"
                )
            self._kept = [_dense_gradient(parameter).clone() for parameter in self.parameters]
        if not (self._measured or self.weight_decay):
            return
        values = [parameter.detach() for parameter in self.parameters]
        if self._before is None:
            self._before = [torch.empty_like(value) for value in values]
        torch._foreach_copy_(self._before, values)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._stepping:
            raise RuntimeError(
                "the last optimizer has stepped before the first one; give the optimizers in the "
                "order in which they step, each once a step"
            )
        self._stepping = False
        if skipped_inside(self.optimizers):
            self._keep_step({"skipped": 1.0})
            return
        now = trainable(self.evaluate.model)
        if any(p is not own for p, own in zip_longest(now, self.parameters)):
            raise RuntimeError(
                "the model's trainable parameters are others than when the watch began; begin a "
                "new watch after they are replaced, frozen or freed"
            )
        step = Step(
            iteration=self.iteration,
            start=self.start,
            before=self._before if self._measured else None,
            after=[parameter.detach() for parameter in self.parameters],
            gradient=self._gradient(),
            evaluate=self.evaluate,
        )
        seen: dict[str, Any] = {"learning_rate": self._learning_rate}
        if self.scaler is not None:
            seen["skipped"] = 0.0
        try:
            self._look(step, seen)
        except BaseException:
            # The optimizer has made the step, and it is not kept: it counts as one not seen.
            self._cosine.forget()
            raise
        self._keep_step(seen)

    @torch.no_grad()
    def _look(self, step: Step, seen: dict[str, Any]) -> None:
        """Add what all probes see of a step."""
        for probe in self.built_in:
            seen.update(probe(step))
        for probe in self.probes:
            _keep("probe", probe, probe(step), seen)
        if self.every(self.iteration):
            for iterate_probe in self.iterate_probes:
                _keep("iterate probe", iterate_probe, iterate_probe(self.evaluate), seen)

    def _keep_step(self, seen: dict[str, Any]) -> None:
        self.seen.append(seen)
        self._tell(seen)

    def _tell(self, seen: Mapping[str, Any]) -> None:
        """Let stream and sinks have what was seen of the last step, or noted after it."""
        self._append(seen)
        if self.sinks:
            numbers = scalars(seen, self.alpha)
            self.sinks = [sink for sink in self.sinks if tell(sink, self.iteration - 1, numbers)]

    def _append(self, seen: Mapping[str, Any]) -> None:
        if self._stream is not None:
            line: dict[str, Any] = {"wall_seconds": self.timing["wall_seconds"], "seen": seen}
            if "loss" in seen:
                line["batch_images"] = self.interpolation.batch_images
            self._stream = self._stream if tell(self._stream, self.iteration - 1, line) else None

    def _gradient(self) -> list[Tensor]:
        gradient = self._kept or [_dense_gradient(parameter) for parameter in self.parameters]
        if not self.weight_decay or self._before is None:
            return gradient
        decays = weight_decays(self.optimizers)
        return [
            g.add(before, alpha=decays[p])
            # A parameter without gradient is left alone by the optimizer.
            if p.grad is not None and decays.get(p)
            else g
            for p, g, before in zip(self.parameters, gradient, self._before, strict=True)
        ]

    @property
    def _prefixed(self) -> list[tuple[str, object]]:
        """The prefix of what each probe remembers, and the probe."""
        of_steps = [
            (f"probe.{i}.", probe) for i, probe in enumerate((*self.built_in, *self.probes))
        ]
        of_iterates = [(f"iterate_probe.{i}.", p) for i, p in enumerate(self.iterate_probes)]
        return [*of_steps, *of_iterates]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that was seen so far and that probes remember, for a checkpoint.

        Returns
        -------
        tensors : dict of str → Tensor
        values : dict
            What JSON can hold.
        """
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = dict(self.timing)
        for name in {name: None for step in self.seen for name in step}:
            first = next(step[name] for step in self.seen if name in step)
            missing = np.full(np.shape(first), np.nan)
            seen = np.array([step.get(name, missing) for step in self.seen], dtype=float)
            tensors[f"seen.{name}"] = torch.from_numpy(seen)
        remembered, numbers = gather(self._prefixed)
        tensors |= remembered
        values |= numbers
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from a state, as if this watch had seen all of it.

        Within `with`, which must have been entered where the walk began.

        Parameters
        ----------
        tensors, values : mapping
            As `state` gave them.
        """
        seen = {
            name.removeprefix("seen."): tensor.numpy()
            for name, tensor in tensors.items()
            if name.startswith("seen.")
        }
        count = len(next(iter(seen.values()), ()))
        give_back(self._prefixed, tensors, values, self.parameters)
        self._started = datetime.fromisoformat(values["started"])
        self._clock = time.perf_counter() - values["wall_seconds"]
        self.seen = []
        for i in range(count):
            self.seen.append({name: column[i] for name, column in seen.items()})
            self._append(self.seen[-1])

    @property
    def trace(self) -> xr.Dataset:
        """What was seen so far, as an xarray.Dataset whose variables stand in `trace.VARIABLES`."""
        return assemble(
            self.seen,
            self.alpha,
            attributes=self._attributes,
            batch_images=self.interpolation.batch_images,
        )

    @property
    def _attributes(self) -> dict[str, Any]:
        return {
            **self.timing,
            "device": str(self.parameters[0].device),
            "cosine_of": "gradient with weight decay" if self.weight_decay else "gradient",
            "precision": self._precision,
        }

    @property
    def _precision(self) -> str:
        """The coarsest format of the parameters, such as "bfloat16"."""
        kinds = {parameter.dtype for parameter in self.parameters}
        return str(max(kinds, key=lambda kind: torch.finfo(kind).eps)).removeprefix("torch.")

    def report(self) -> "Report":
        """Say in words what was seen so far (see `valleywalk.report`).

        Returns
        -------
        Report
        """
        # Imports what makes intervals, which a training does without.
        from .report import report

        return report(self.trace)

    @property
    def timing(self) -> dict[str, str | float]:
        """When the watch was made (UTC) and seconds since then, for a trace's attributes."""
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "wall_seconds": time.perf_counter() - self._clock,
        }


def _first_rank() -> bool:
    """Whether this process is the one that watches."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not (distributed and torch.distributed.get_rank())


def _dense_gradient(parameter: Tensor) -> Tensor:
    """Zero where backward left none."""
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    gradient = parameter.grad.detach()
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def _chosen(
    name: str, steps: int | Container[int] | Callable[[int], bool] | None
) -> Callable[[int], bool]:
    if steps is None:
        return lambda iteration: True
    if isinstance(steps, Integral):
        every = int(steps)
        if every < 1:
            raise ValueError(f"{name} is {every}; measure every so many steps, 1 or more")
        return lambda iteration: iteration % every == 0
    # In a string, no number is ever found.
    if isinstance(steps, Container) and not isinstance(steps, str):
        return lambda iteration: iteration in steps
    if not callable(steps):
        raise ValueError(f"{name} is {steps!r}; give a number, a range or set, or a function")
    return steps


def _callables(name: str, given: Any, such_as: str) -> list[Any]:
    if not isinstance(given, Sequence) or not all(callable(each) for each in given):
        raise ValueError(f"{name} is {given!r}; give a list of {name}, such as {such_as}")
    return list(given)


def _keep(kind: str, probe: object, found: Any, seen: dict[str, Any]) -> None:
    """Add what a probe of the user's found to what is seen of a step."""
    name = getattr(probe, "__name__", type(probe).__name__)
    seen.update(_numbers(f"{kind} {name}", found, seen))


def _numbers(whose: str, found: Any, seen: Container[str]) -> dict[str, float]:
    """What was found as numbers of this moment: a parameter would go on with the training.

    Refuses what cannot be kept, or would replace what is kept by that name.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"{whose} gave {found!r}; give a mapping of names to numbers")
    numbers = {}
    for name, value in found.items():
        if name in OWN or name in COORDINATES or name in seen:
            raise ValueError(
                f"{whose} records {name!r}, a name that is taken; choose another, such as "
                f"'my_{name}'"
            )
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{whose} records {name!r} as {value!r}; give one number a step"
            ) from error
    return numbers
