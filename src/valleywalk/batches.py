"""What a user gives to measure on → frozen batches, and whether their loss can be measured."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .evaluation import Batches, EvaluationPlan, Evaluator, first_part
from .surroundings import random_states

# Batches that are read of what does not say how many it has, and may have no end.
MOST_BATCHES = 1000
AS_BATCHES = "such as `DataLoader(dataset, batch_size=100)`"


def frozen_batches(
    data: Any, batch_size: int, seed: int, device: torch.device
) -> Batches | list[tuple[Any, Any]]:
    """Re-iterable, frozen batches of what the user gave, on a device."""
    if isinstance(data, Batches):
        return data
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if pair and any(isinstance(part, np.ndarray) for part in data):
        raise ValueError(
            "evaluation_data is a pair of NumPy arrays; give tensors, as the model takes them: "
            "(torch.from_numpy(inputs).float(), torch.from_numpy(targets))"
        )
    if not isinstance(data, Iterable):
        raise ValueError(
            f"evaluation_data is of type {type(data).__name__}; give a pair of tensors, or "
            f"batches, {AS_BATCHES}"
        )
    if pair and all(isinstance(part, Tensor) for part in data):
        inputs, targets = data
        if not inputs.ndim or not targets.ndim:
            raise ValueError("evaluation_data is a pair of numbers; give one entry an example")
        if len(inputs) != len(targets) or not len(targets):
            raise ValueError(
                f"evaluation_data has {len(inputs)} inputs and {len(targets)} targets; "
                "give as many targets as inputs, at least one"
            )
        plan = EvaluationPlan.draw(len(targets), batch_size, seed)
        order = [torch.from_numpy(batch).to(targets.device) for batch in plan.batches]
        return [(inputs[index].to(device), targets[index].to(device)) for index in order]
    most = _most_batches(data)
    with _random_states_kept(data):
        batches = [_copied(_checked(batch), device) for batch in islice(data, most + 1)]
    if len(batches) > most:
        raise ValueError(
            f"evaluation_data has more than {most:,} batches and perhaps no end; give fewer, such "
            "as `list(itertools.islice(batches, 10))`, or a list of them all"
        )
    if not batches:
        raise ValueError("evaluation_data has no batches; give at least one (inputs, targets)")
    return batches


def _most_batches(data: Any) -> int:
    try:
        return max(len(data), MOST_BATCHES)
    except (TypeError, NotImplementedError):  # Whatever a loader's sampler raises.
        return MOST_BATCHES


def _checked(batch: Any) -> tuple[Any, ...]:
    """A batch as inputs and targets, which is both if it is a dict."""
    parts = (batch, batch) if isinstance(batch, Mapping) else _parts(batch)
    if len(parts) != 2:
        raise ValueError(
            f"a batch of evaluation_data has {len(parts)} parts; give (inputs, targets), where "
            "inputs may be a tuple or a dict, or a dict"
        )
    target = first_part(parts[1])
    if isinstance(target, (int, float)) or getattr(target, "ndim", None) == 0:
        raise ValueError(
            "evaluation_data has single examples where batches are needed, since a target is one "
            f"number; give batches, {AS_BATCHES}"
        )
    return parts


@contextmanager
def _random_states_kept(data: Any) -> Iterator[None]:
    """A loader that shuffles takes from torch's or its own, a data set that augments from any."""
    batch_sampler = getattr(data, "batch_sampler", None)
    drawing = (data, getattr(data, "sampler", None), getattr(batch_sampler, "sampler", None))
    generators = [getattr(each, "generator", None) for each in drawing]
    own = [(each, each.get_state()) for each in generators if isinstance(each, torch.Generator)]
    try:
        with random_states():
            yield
    finally:
        for generator, state in own:
            generator.set_state(state)


def _parts(batch: Any) -> tuple[Any, ...]:
    """A batch's parts; a tensor has none, though it can be iterated."""
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def _copied(data: Any, device: torch.device) -> Any:
    """A batch with its tensors on a device; a loader may use its memory again for the next one."""
    if isinstance(data, Tensor):
        return data.to(device, copy=True)
    if isinstance(data, Mapping):
        return {name: _copied(part, device) for name, part in data.items()}
    if isinstance(data, (tuple, list)):
        # A batch that is a dict stands twice in its pair.
        copied = {id(part): _copied(part, device) for part in data}
        return tuple(copied[id(part)] for part in data)
    return copy.deepcopy(data)


def check_losses(evaluate: Evaluator, batches: Sequence[tuple[Any, Any]]) -> None:
    """Measure the loss of each batch, so that what cannot work is said before the training."""
    if getattr(evaluate.loss, "reduction", "mean") == "sum":
        raise ValueError(
            "the loss is the sum over a batch (reduction='sum'); give the mean over the batch, "
            "for batches are weighed by their sizes"
        )
    # A model that stands in eval mode as a whole is yet to be put into train mode.
    waits = not any(module.training for module in evaluate.model.modules())
    mode = "train" if evaluate.batch_norm == "as trained" and waits else evaluate.batch_norm
    for number, batch in enumerate(batches, start=1):
        name = f"{'the first batch' if number == 1 else f'batch {number}'} of evaluation_data"
        advice = "look at its inputs, targets and the loss function"
        try:
            loss = Evaluator(evaluate.model, evaluate.loss, [batch], mode)()
        except (
            RuntimeError,
            ValueError,
            IndexError,
            TypeError,
            KeyError,
            AttributeError,
            ZeroDivisionError,  # Of no example.
        ) as error:
            if "more than 1 value per channel" in str(error):
                advice = (
                    "batch norm in train mode cannot take one example: leave the batch out "
                    "(drop_last=True), or choose another batch size"
                )
            raise ValueError(
                f"the loss of {name} cannot be measured ({error}); {advice}"
            ) from error
        if not math.isfinite(loss):
            raise ValueError(f"the loss of {name} is {loss}; {advice}")
