"""What a network costs, found out by building and timing it; kept for `valleywalk list`."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import write
from ..machine import ONE_AT_A_TIME, choose_device, device_name, reproducible

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# How long a network is timed, in batches that grow to the size that most walks have.
TIMED_SECONDS = 0.05
SMALLEST_BATCH, LARGEST_BATCH = 8, 100
# What was found out before counts for so long: machines get other work, and other parts.
KEPT_DAYS = 7

# What was found out in this process, or by one before: what of → what.
_known: dict[str, Any] = {}


class Network(NamedTuple):
    """A network of the catalogue for some images."""

    model: str
    channels: int
    image_size: int
    classes: int
    width: float


class Size(NamedTuple):
    """How large a network is."""

    multiply_adds: float
    """Of one image's forward pass."""
    parameter_bytes: int
    state_bytes: int
    """With running statistics."""


def size_of(network: Network) -> Size:
    """How large a network is; built once in a process."""
    return Size(*_once(("size", *network), lambda: _size(network)))


def _size(network: Network) -> Size:
    import torch
    from torch import nn

    from . import models

    counted = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer.weight, torch.Tensor)
        counted.append(output.numel() * layer.weight[0].numel())

    with torch.device("meta"):
        built = models.build(*network).eval()
        for layer in built.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        with torch.no_grad():
            built(torch.zeros(1, network.channels, network.image_size, network.image_size))
    state = sum(t.numel() * t.element_size() for t in built.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in built.parameters())
    return Size(float(sum(counted)), parameters, state)


def image_seconds(network: Network, device: str = "auto") -> float:
    """Seconds of one image's forward pass on this machine, on one thread.

    A network is timed for about a twentieth of a second, once in a process. Of batches that grow,
    the quickest counts by image: other programs on the machine only make it slower.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    return float(_once(("seconds", device, *network), lambda: _timed(network, device)))


def _timed(network: Network, device: str) -> float:
    import torch

    from . import models

    chosen = choose_device(device)
    generator = torch.Generator().manual_seed(0)
    spent, quickest, size = 0.0, math.inf, SMALLEST_BATCH
    with ONE_AT_A_TIME, reproducible(threads=1):
        built = models.build(*network).to(chosen)
        built.to(memory_format=models.memory_format(built))  # type: ignore[call-overload]
        if chosen.type == "cuda":
            # Its libraries are loaded at the first pass.
            _seconds_of_batch(built, network, size, generator, chosen)
        while spent < TIMED_SECONDS:
            took = _seconds_of_batch(built, network, size, generator, chosen)
            quickest = min(quickest, took / size)
            size = min(2 * size, LARGEST_BATCH)
            spent += took
    return quickest


def _seconds_of_batch(
    built: nn.Module,
    network: Network,
    size: int,
    generator: torch.Generator,
    device: torch.device,
) -> float:
    import torch

    from ..evaluation import Evaluator, cross_entropy

    shape = (size, network.channels, network.image_size, network.image_size)
    images = torch.rand(shape, generator=generator).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    evaluate = Evaluator(built, cross_entropy, [(images, labels)])
    started = time.perf_counter()
    # Gives a number, so that a GPU's work is waited for.
    evaluate()
    return time.perf_counter() - started


def device_named(device: str) -> str:
    """The model of a device, as `machine.device_name` says it.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    return str(_once(("device", device), lambda: device_name(choose_device(device))))


def _once(what: tuple[Any, ...], find_out: Callable[[], Any]) -> Any:
    key = json.dumps(what)
    if key not in _known:
        _known[key] = find_out()
    return _known[key]


@contextmanager
def remembered(file: Path, *, anew: bool = False) -> Iterator[date]:
    """Within it, what was found out here by a process before is not found out again.

    So that what a walk would cost is said without building a network, or importing torch.

    Parameters
    ----------
    file : Path
        Where it is kept. One that cannot be read is as good as none, and one that cannot be written
        does not matter.
    anew : bool
        Forget what was found out before.

    Yields
    ------
    date
        The day on which it was found out.
    """
    there: dict[str, Any] = {}
    here = {"machine": platform.node(), "torch": version("torch")}
    day = date.today()
    if anew:
        _known.clear()
    else:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_bytes())
            found = date.fromisoformat(kept["day"])
            if kept["here"] == here and day - timedelta(KEPT_DAYS) < found <= day:
                day, there = found, dict(kept["known"])
                _known.update({**there, **_known})
    yield day
    if anew or _known.keys() > there.keys():
        content = {"here": here, "day": day.isoformat(), "known": _known}
        with suppress(OSError):
            write(file, json.dumps(content, indent=1).encode())
