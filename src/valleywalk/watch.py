"""Watch any training loop: hooks on the optimizer call the probes at each step."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from .evaluation import Batches, EvaluationPlan, Evaluator, Loss, trainable
from .probes import Probe, Step
from .probes.cosine import Cosine
from .probes.distance import Distance
from .probes.interpolation import Interpolation
from .trace import assemble


class watch:
    """Watch an optimizer walk.

    Between `__enter__` and `__exit__` each `optimizer.step()` is looked at. The training is not
    changed: parameters, buffers, gradients, random state and train/eval modes are as they would be
    without the watch.

        with watch(model, optimizer, loss, (images, labels), points=10) as recorder:
            train()                     # your loop, unchanged
        recorder.trace                  # an xarray.Dataset

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer
        Its step hooks are used; it must hold the model's parameters.
    loss : callable (output, target) → scalar Tensor
        The mean over a batch.
    evaluation_data : pair of Tensors, or an iterable of (inputs, targets) batches
        What the loss along the segment is measured on. A pair is put into a fixed random order and
        cut into batches of `batch_size`. Batches are gone through once, here, and kept.
    points : int
        Intervals of a segment.
    steps : callable int → bool, optional
        Which iterations (from 0) have their segment measured; default all. Cosine, distance and
        norm are recorded at each step.
    probes : sequence of Probe, optional
        More probes, called after the built-in ones at each step.
    batch_size : int
        Images batch norm sees at a time, for a pair of tensors.
    batch_norm : {"train", "eval"}
        Mode of batch norm in the measurement.
    seed : int
        Seed of the fixed order.

    Raises
    ------
    ValueError
        No trainable parameters, parameters not initialised yet, an optimizer that holds other
        parameters, no evaluation data, tensors of different lengths, points below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        evaluation_data: Any,
        *,
        points: int = 10,
        steps: Callable[[int], bool] | None = None,
        probes: Sequence[Probe] = (),
        batch_size: int = 100,
        batch_norm: str = "train",
        seed: int = 0,
    ):
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
            raise ValueError(
                "the model has lazy parameters that are not initialised yet; "
                "run one batch through it before you watch it"
            )
        if batch_norm not in ("train", "eval"):
            raise ValueError(f"batch_norm is {batch_norm!r}; allowed are 'train' and 'eval'")
        self.parameters = trainable(model)
        if not self.parameters:
            raise ValueError("the model has no parameter that requires a gradient")
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in held for p in self.parameters):
            raise ValueError(
                "the optimizer holds none of the model's trainable parameters; "
                "give the optimizer that trains this model"
            )
        self.optimizer = optimizer
        self.evaluate = Evaluator(
            model, loss, _batches(evaluation_data, batch_size, seed), batch_norm
        )
        self.steps = steps or (lambda iteration: True)
        interpolation = Interpolation(points)
        self.alpha = interpolation.alpha
        self.probes: tuple[Probe, ...] = (interpolation, Cosine(), Distance(), *probes)
        self.records: list[dict[str, Any]] = []
        self.start: list[Tensor] = []
        self._before: list[Tensor] | None = None
        self._measured = False
        self._learning_rate = float("nan")
        self._hooks: list[Any] = []
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()

    def __enter__(self) -> "watch":
        self.start = [parameter.detach().clone() for parameter in self.parameters]
        self._hooks = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def iteration(self) -> int:
        """Number of steps seen so far, which is the index of the next one."""
        return len(self.records)

    def record(self, **values: float) -> None:
        """Add numbers of your own, such as `minibatch_loss`, to the step seen last."""
        if not self.records:
            raise ValueError("no step has been seen yet; record after optimizer.step()")
        self.records[-1].update(values)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self._measured = self.steps(self.iteration)
        if not self._measured:
            return
        values = [parameter.detach() for parameter in self.parameters]
        if self._before is None:
            self._before = [torch.empty_like(value) for value in values]
        torch._foreach_copy_(self._before, values)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        step = Step(
            iteration=self.iteration,
            start=self.start,
            before=self._before if self._measured else None,
            after=[parameter.detach() for parameter in self.parameters],
            gradient=[
                torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in self.parameters
            ],
            evaluate=self.evaluate,
        )
        seen: dict[str, Any] = {"learning_rate": self._learning_rate}
        with torch.no_grad():
            for probe in self.probes:
                seen.update(probe(step))
        self.records.append(seen)

    @property
    def trace(self) -> xr.Dataset:
        """What was seen so far, as an xarray.Dataset (see `valleywalk.trace`)."""
        device = str(self.parameters[0].device)
        return assemble(self.records, self.alpha, attributes={**self.timing, "device": device})

    @property
    def timing(self) -> dict[str, str | float]:
        """When the watch was made (UTC) and seconds since then, for a trace's attributes."""
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "wall_seconds": time.perf_counter() - self._clock,
        }


def _batches(data: Any, batch_size: int, seed: int) -> Iterable[tuple[Any, Tensor]]:
    """Re-iterable, frozen batches of what the user gave."""
    if isinstance(data, Batches):
        return data
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if pair and all(isinstance(part, Tensor) for part in data):
        inputs, targets = data
        if len(inputs) != len(targets) or not len(targets):
            raise ValueError(
                f"evaluation_data has {len(inputs)} inputs and {len(targets)} targets; "
                "give as many targets as inputs, at least one"
            )
        plan = EvaluationPlan.draw(len(targets), batch_size, seed)
        order = [torch.from_numpy(batch).to(targets.device) for batch in plan.batches]
        return [(inputs[index], targets[index]) for index in order]
    batches = [(inputs, targets) for inputs, targets in data]
    if not batches:
        raise ValueError("evaluation_data has no batches; give at least one (inputs, targets)")
    return batches
