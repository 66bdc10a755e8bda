"""What probes remember, as a checkpoint holds it: named tensors, and what JSON can hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import Stateful


def gather(probes: Iterable[tuple[str, object]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values that probes remember.

    Parameters
    ----------
    probes : iterable of (prefix, probe)
        Each name is put behind its probe's prefix. Probes without state are passed over.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for prefix, probe in probes:
        if not isinstance(probe, Stateful):
            continue
        for name, value in probe.state().items():
            if isinstance(value, list):
                tensors |= {f"{prefix}{name}.{i}": tensor for i, tensor in enumerate(value)}
            elif not isinstance(value, Tensor):
                values[f"{prefix}{name}"] = value
            elif value.numel():
                tensors[f"{prefix}{name}"] = value
    return tensors, values


def give_back(
    probes: Iterable[tuple[str, object]],
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    parameters: Sequence[Tensor],
) -> None:
    """Let probes go on from what they remembered, lists of tensors laid out as the parameters are.

    Parameters
    ----------
    probes : iterable of (prefix, probe)
        New ones, as those were that were gathered.
    tensors, values : mapping
    parameters : sequence of Tensor
    """
    for prefix, probe in probes:
        if not isinstance(probe, Stateful):
            continue
        state: dict[str, Any] = {}
        for name, value in probe.state().items():
            key = f"{prefix}{name}"
            if isinstance(value, list):
                state[name] = _listed(key, tensors, parameters)
            elif isinstance(value, Tensor):
                state[name] = tensors.get(key, value)
            else:
                state[name] = values[key]
        probe.restore(state)


def _listed(key: str, tensors: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    found: list[Tensor] = []
    while (tensor := tensors.get(f"{key}.{len(found)}")) is not None:
        parameter = parameters[min(len(found), len(parameters) - 1)]
        # A parameter's layout in memory decides the last bits of a convolution.
        copy = (
            torch.empty_like(parameter, dtype=tensor.dtype)
            if tensor.shape == parameter.shape
            else torch.empty_like(tensor, device=parameter.device)
        )
        found.append(copy.detach().copy_(tensor))
    return found
