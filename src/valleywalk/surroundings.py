"""Measure a model at other parameters, and leave it and all around it as it was."""

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from .machine import exact_float32


@contextmanager
def random_states(devices: Iterable[torch.device] = (), seed: int | None = None) -> Iterator[None]:
    """Put the random states of Python, NumPy, torch and its accelerators back after.

    Parameters
    ----------
    devices : iterable of torch.device
        Accelerators; the CPU is always one of them.
    seed : int, optional
        Sets all of them, and no other: `torch.manual_seed` sets each accelerator there is.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.surroundings import random_states
    >>> before = torch.get_rng_state()
    >>> with random_states(seed=0):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    accelerators = {device for device in devices if device.type not in ("cpu", "meta")}
    python, of_numpy = random.getstate(), np.random.get_state()
    with ExitStack() as kept:
        kept.enter_context(torch.random.fork_rng(devices=[]))
        for device in accelerators:
            kept.enter_context(torch.random.fork_rng([device], device_type=device.type))
        try:
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed % 2**32)  # It takes no larger one.
                torch.default_generator.manual_seed(seed)
                for device in accelerators:
                    _seed(device, seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(of_numpy)


def _seed(device: torch.device, seed: int) -> None:
    of_its_kind: Any = torch.get_device_module(device)
    if hasattr(of_its_kind, "default_generators"):
        of_its_kind.default_generators[device.index or 0].manual_seed(seed)
    else:
        of_its_kind.manual_seed(seed)


@contextmanager
def evaluation_mode(
    model: nn.Module, batch_norm: str, dropout_mask: int | None = None, loss: object = None
) -> Iterator[None]:
    """Batch norm in the given mode, all else in eval mode; modes, buffers, RNG are put back.

    The global random states are set to a constant inside, so that a stochastic layer that ignores
    eval mode still sees the same numbers at every call. Autocast is off, and nothing runs compiled;
    batch norm that is synchronised over processes is that of this process alone, since the others
    do not measure. Hooks on gradients, such as those that clip them, are the training's: none is
    called.

    Parameters
    ----------
    model : nn.Module
    batch_norm : {"train", "eval", "as trained"}
        "as trained": each layer in the mode in which it stands.
    dropout_mask : int, optional
        All else is in train mode, and that number is the constant: the same dropout at every call.
    loss : object, optional
        If it is a module, its buffers are put back, too.

    Examples
    --------
    >>> from torch import nn
    >>> from valleywalk.surroundings import evaluation_mode
    >>> model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    >>> with evaluation_mode(model, batch_norm="train"):
    ...     [layer.training for layer in model]
    [True, False]
    >>> [layer.training for layer in model]
    [True, True]
    """
    modes = [(module, module.training) for module in model.modules()]
    modules = [*model.modules(), *(loss.modules() if isinstance(loss, nn.Module) else ())]
    # A forward pass may write into a buffer, put another tensor in its place, or add one.
    held = [(module._buffers, dict(module._buffers)) for module in modules]
    buffers = [buffer for _, own in held for buffer in own.values() if buffer is not None]
    values = [(buffer, buffer.detach().clone()) for buffer in buffers if not _expanded(buffer)]
    devices = {tensor.device for tensor in (*model.parameters(), *buffers)}
    with (
        random_states(devices, dropout_mask or 0),
        torch.no_grad(),
        exact_float32(),
        _eager(modules, {device.type for device in devices}),
        _no_gradient_hooks(modules),
    ):
        try:
            for module, _ in modes:
                if isinstance(module, _NormBase):
                    module.training = _in_train_mode(module, batch_norm)
                else:
                    module.training = dropout_mask is not None
            yield
        finally:
            for module, training in modes:
                module.training = training
            for own, before in held:
                for name in set(own.keys()) - set(before):
                    del own[name]
                for name, buffer in before.items():  # A scripted module's has no `update`.
                    own[name] = buffer
            for buffer, value in values:
                # A pass whose backward is yet to come may have saved it: its version stays.
                strided = buffer.layout == torch.strided
                (buffer.data if strided else buffer).copy_(value)


def _expanded(buffer: Tensor) -> bool:
    """Whether several entries share a place in memory, so that none can be written alone."""
    return buffer.layout == torch.strided and any(
        size > 1 and not stride for size, stride in zip(buffer.shape, buffer.stride(), strict=True)
    )


@contextmanager
def _eager(modules: Sequence[nn.Module], kinds: Iterable[str]) -> Iterator[None]:
    """No autocast, nothing compiled, batch norm of this process alone."""
    own: list[tuple[nn.Module, str, Any]] = []
    with ExitStack() as kept:
        for kind in {"cpu", *kinds} - {"meta"}:
            kept.enter_context(torch.autocast(kind, enabled=False))
        if any(hasattr(module, "_orig_mod") for module in modules):
            kept.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module in modules:
                if module._compiled_call_impl is not None:
                    own.append((module, "_compiled_call_impl", module._compiled_call_impl))
                    module._compiled_call_impl = None
                if isinstance(module, nn.SyncBatchNorm) and "forward" not in vars(module):
                    own.append((module, "forward", None))
                    module.forward = MethodType(_BatchNorm.forward, module)  # type: ignore[method-assign]
            yield
        finally:
            for module, name, value in own:
                if value is None:
                    delattr(module, name)
                else:
                    setattr(module, name, value)


@contextmanager
def _no_gradient_hooks(modules: Sequence[nn.Module]) -> Iterator[None]:
    """No hook that a backward pass would call, on a module or on a parameter."""
    held: list[dict[Any, Any] | None] = []
    for module in modules:
        held += [module._backward_hooks, module._backward_pre_hooks]
        held += [parameter._backward_hooks for parameter in module.parameters(recurse=False)]
    own = [(hooks, dict(hooks)) for hooks in held if hooks]
    try:
        # Taken out of their dictionaries, by which their handles know them.
        for hooks, _ in own:
            hooks.clear()
        yield
    finally:
        for hooks, before in own:
            hooks.update(before)


def _in_train_mode(layer: nn.Module, batch_norm: str) -> bool:
    """Whether a batch-norm layer is measured in train mode."""
    return layer.training if batch_norm == "as trained" else batch_norm == "train"


@contextmanager
def parameters_replaced(model: nn.Module, values: Sequence[Tensor]) -> Iterator[None]:
    """Let the model compute with other values of its trainable parameters, without copying.

    Parameters
    ----------
    model : nn.Module
    values : sequence of Tensor
        One a trainable parameter, of its shape.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.surroundings import parameters_replaced
    >>> model = nn.Linear(1, 1, bias=False)
    >>> with parameters_replaced(model, [torch.tensor([[3.0]])]):
    ...     model(torch.ones(1)).item()
    3.0
    """
    parameters = trainable(model)
    own = [parameter.data for parameter in parameters]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters θ of the walk: those that require a gradient, each once.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    list of nn.Parameter

    Examples
    --------
    >>> from torch import nn
    >>> from valleywalk.surroundings import trainable
    >>> model = nn.Linear(3, 2)
    >>> model.bias.requires_grad_(False).shape
    torch.Size([2])
    >>> [parameter.shape for parameter in trainable(model)]
    [torch.Size([2, 3])]
    """
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def surroundings(model: nn.Module, batch_norm: str, loss: object = None) -> list[Tensor]:
    """What a loss depends on beside the trainable parameters, to be compared with later.

    The running statistics of a batch-norm layer that is measured in train mode are left out:
    there the loss does not depend on them.

    Parameters
    ----------
    model : nn.Module
    batch_norm : {"train", "eval", "as trained"}
        As of `evaluation_mode`.
    loss : object, optional
        If it is a module, its buffers and parameters count, too, and so do its modules' numbers.

    Returns
    -------
    list of Tensor
        The modes in which batch norm is measured, checksums of the numbers and strings that modules
        have as attributes, with where frozen parameters lie and how often they were written to;
        their norms, since `.data` is written to uncounted; a copy of each buffer, and of each
        parameter of the loss.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.surroundings import surroundings
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    >>> before = surroundings(model, batch_norm="eval")
    >>> _ = model(torch.ones(2, 2))
    >>> after = surroundings(model, batch_norm="eval")
    >>> all(torch.equal(a, b) for a, b in zip(before, after))
    False
    """
    marks: list[int] = []
    buffers: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, _NormBase):
            marks.append(train_mode := _in_train_mode(module, batch_norm))
            if train_mode:
                continue
        buffers += [buffer for buffer in module._buffers.values() if buffer is not None]
    modules = [*model.modules()]
    if isinstance(loss, nn.Module):
        buffers += [*loss.buffers(), *loss.parameters()]
        modules += loss.modules()
    for module in modules:
        own = vars(module).items()
        # The mode of training is changed by many a measurement, and does not matter here.
        marks += [
            # Unlike the hash of a string it is the same where a walk goes on in another process.
            zlib.crc32(repr(value).encode())
            for name, value in own
            if isinstance(value, (int, float, str)) and name != "training"
        ]
    norms: list[Tensor] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            written = 0 if parameter.is_inference() else parameter._version
            marks += [parameter.data_ptr(), written]
            # Torch has no norm of numbers of eight bits.
            known = parameter.is_floating_point() and parameter.dtype.itemsize > 1
            if known and parameter.layout == torch.strided:
                norms.append(torch.linalg.vector_norm(parameter.detach()))
    return [torch.tensor(marks), *norms, *(buffer.detach().clone() for buffer in buffers)]
