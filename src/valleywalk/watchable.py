"""What a watch can look at: whole parameters in one process, stepped between two passes."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

IN_BACKWARD = (
    "steps within backward, where a parameter's gradient is gone before the next one's is there; "
    "let backward leave all gradients, and call optimizer.step() after it"
)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of what compiles or distributes it: the same parameters, no side effects.

    A forward pass of DistributedDataParallel waits for all ranks, one of a compiled model may
    compile anew.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def check_parameters(model: nn.Module) -> None:
    """Refuse parameters whose values are not there, or not all of them.

    Parameters
    ----------
    model : nn.Module

    Raises
    ------
    ValueError
        It is no module; a parameter is lazy, on the meta device, complex, a shard, or stepped
        within backward.

    Examples
    --------
    >>> from torch import nn
    >>> from valleywalk.watchable import check_parameters
    >>> check_parameters(nn.Linear(2, 1, device="meta"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: parameter 'weight' is on the meta device, without values; give the model its ...
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is {model!r:.60}; give a torch.nn.Module")
    for name, parameter in model.named_parameters():
        if problem := _problem(parameter):
            raise ValueError(f"parameter {name!r} {problem}")


def _problem(parameter: Tensor) -> str | None:
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        return (
            "is lazy and not initialised yet; run one batch through the model before you watch it"
        )
    if parameter.is_meta:
        return (
            "is on the meta device, without values; give the model its values "
            "(model.to_empty(device=…), then load or initialise) before you watch it"
        )
    if parameter.is_complex():
        return (
            "is complex, and distances and cosines are those of real numbers; make it of a real "
            "one (torch.view_as_complex in the forward pass) before you watch the model"
        )
    # What may be an instance of a class is there only once its module was imported, which takes
    # seconds.
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is not None and isinstance(parameter, distributed.DTensor):
        kind = "a DTensor, as fully_shard (FSDP2) and tensor parallelism make them"
    elif getattr(parameter, "_fsdp_flattened", False):
        kind = "flattened by FullyShardedDataParallel (FSDP)"
    else:
        kind = None
    if kind is not None:
        return (
            f"is {kind}: each process holds a part of it, and none can measure a loss alone; watch "
            "the same training under DistributedDataParallel, where rank 0 watches, or a smaller "
            "network in one process"
        )
    if hasattr(parameter, "_in_backward_optimizers"):
        return f"has an optimizer that {IN_BACKWARD}"
    return None


def check_optimizers(optimizers: Sequence[Optimizer], parameters: Sequence[Tensor]) -> None:
    """Refuse optimizers whose steps are not those of the parameters.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
    parameters : sequence of Tensor

    Raises
    ------
    ValueError
        They hold none of the parameters, or do not step when they are told to.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.watchable import check_optimizers
    >>> optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> check_optimizers([optimizer], [*nn.Linear(2, 1).parameters()])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: the optimizer holds none of the model's trainable parameters; give the ...
    """
    own = {id(parameter) for parameter in parameters}
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    if not any(id(held) in own for group in groups for held in group["params"]):
        raise ValueError(
            "the optimizer holds none of the model's trainable parameters; give the optimizer that "
            "trains this model, made of its own parameters and not of copies (as of master weights)"
        )
    for optimizer in optimizers:
        if getattr(optimizer, "_overlap_with_ddp", False):
            name = type(optimizer).__name__
            raise ValueError(
                f"{name} with overlap_with_ddp=True {IN_BACKWARD}: overlap_with_ddp=False"
            )


def within_backward() -> bool:
    """Whether autograd is going backward at this moment."""
    return torch._C._current_graph_task_id() != -1
