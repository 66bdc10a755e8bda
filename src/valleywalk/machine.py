"""The machine: its devices, cores, threads and memory, and exact float32 on it."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Who sets torch's global modes holds it: two threads of one process would set them for each other.
ONE_AT_A_TIME = threading.Lock()


class DeviceError(RuntimeError):
    """A device is not there, or its name is unknown."""


def choose_device(name: str) -> torch.device:
    """The device named, or for "auto" a GPU if there is one.

    Parameters
    ----------
    name : str
        "auto", or as torch takes it: "cpu", "cuda", "cuda:1".

    Returns
    -------
    torch.device

    Raises
    ------
    DeviceError
        Unknown name, or a device that is not there.

    Examples
    --------
    >>> from valleywalk.machine import choose_device
    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(
            f"device {name!r} cannot be used ({reason}); use 'cpu' or 'auto'"
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """The device's model, for the trace.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    str

    Examples
    --------
    >>> import torch
    >>> from valleywalk.machine import device_name
    >>> device_name(torch.device("cpu")).startswith("CPU (")
    True
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU ({line.split(':', 1)[1].strip()})"
    return f"CPU ({platform.processor() or platform.machine()})"


def cores() -> int:
    """Processor cores that this process may use.

    Returns
    -------
    int

    Examples
    --------
    >>> from valleywalk.machine import cores
    >>> cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switch TF32 and other reduced modes of float32 off, and put the settings back.

    θ_t and θ_{t+1} differ by about a part in a thousand; TF32 rounds at that size.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.machine import exact_float32
    >>> with exact_float32():
    ...     torch.backends.cuda.matmul.fp32_precision
    'ieee'
    """
    import torch

    mkldnn: Any = torch.backends.mkldnn
    cudnn: Any = torch.backends.cudnn
    own = (mkldnn.matmul, mkldnn.conv, mkldnn.rnn, cudnn.conv, cudnn.rnn)
    # What holds for all of a library comes first: it may be handed down.
    backends: tuple[Any, ...] = (mkldnn, cudnn, *own, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    older = _older_setting()
    try:
        if older:
            cudnn.allow_tf32 = False
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        if older:
            cudnn.allow_tf32 = True
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _older_setting() -> bool:
    """Whether torch's older setting lets cuDNN use TF32, and agrees with the newer ones.

    Where it does not, torch refuses `torch.backends.cudnn.flags`, which a model may use.
    """
    import torch

    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:  # So it is already.
        return False


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Plain float32, deterministic convolutions, a fixed number of threads; put back after.

    Parameters
    ----------
    threads : int
        Of torch, within an operation.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.machine import reproducible
    >>> with reproducible(threads=1):
    ...     torch.get_num_threads()
    1
    """
    import torch

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
