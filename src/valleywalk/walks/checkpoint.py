"""A walk's checkpoint: tensors in a safetensors file, everything else as JSON in its header.

Nothing in it is ever executed. It is written whole or not at all, and carries a checksum.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..files import write

FORMAT = 2
# At the end of an epoch a checkpoint is kept once it costs at most one in so many seconds.
CHEAP = 20
FIRST_COST = 1.0


class CheckpointError(ValueError):
    """A checkpoint is damaged, or of another version, machine or experiment."""


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any], made_by: Mapping[str, str]
) -> None:
    """Write a checkpoint, replacing the one before.

    Parameters
    ----------
    path : Path
    tensors : mapping of name → Tensor
    values : mapping
        What JSON can hold, numbers with all their digits.
    made_by : mapping
        Versions, device and experiment that must be the same when it is read.

    Raises
    ------
    OSError
        It cannot be written, such as on a full disk; the one before is still there.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "values": json.dumps(values),
        "made_by": json.dumps({"format": str(FORMAT), **made_by}, sort_keys=True),
    }
    header["sha256"] = _digest(plain, header)
    write(path, save(plain, header))


def load_checkpoint(
    path: Path, made_by: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and values of a checkpoint.

    Raises
    ------
    CheckpointError
        Damaged, or made by something else than `made_by`. Nothing is changed.
    """
    advice = "delete it, or start over with --restart"
    try:
        with safe_open(path, framework="pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        told = header.pop("sha256")
        if told != _digest(tensors, header):
            raise ValueError("its checksum does not fit")
        values, found = json.loads(header["values"]), json.loads(header["made_by"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no checkpoint of valleywalk ({error}); {advice}"
        ) from error
    needed = {"format": str(FORMAT), **made_by}
    for name in needed:
        if found.get(name) != needed[name]:
            raise CheckpointError(
                f"{path} was made with {name} {found.get(name)}, this is {name} {needed[name]}; "
                f"{advice}"
            )
    return tensors, values


def peek(path: Path) -> dict[str, Any]:
    """Values of a checkpoint, read from its header alone and not checked against its checksum.

    Raises
    ------
    ValueError, OSError
        It cannot be read, or is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            return json.loads((opened.metadata() or {})["values"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is no checkpoint of valleywalk ({error})") from error


class Checkpointer:
    """Saves a walk's state often enough that little is lost and seldom enough to be cheap.

    Parameters
    ----------
    path : Path or None
        None: never.
    seconds : float
        Save at least so often; at the end of an epoch more often where that costs little.
    """

    def __init__(self, path: Path | None, seconds: float):
        self.path, self.seconds = path, seconds
        self.last, self.cost = time.monotonic(), FIRST_COST

    def save_if_due(
        self,
        state: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        made_by: Mapping[str, str],
        *,
        end_of_epoch: bool,
        now: bool = False,
    ) -> None:
        """Save the state, which is asked for only then, if it is time to or is to be now."""
        since = time.monotonic() - self.last
        cheap = end_of_epoch and since >= CHEAP * self.cost
        if self.path is None or not (now or cheap or since >= self.seconds):
            return
        started = time.monotonic()
        save_checkpoint(self.path, *state(), made_by)
        self.last = time.monotonic()
        self.cost = self.last - started


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """SHA-256 of all tensors with their names, kinds and shapes, and of the header."""
    digest = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
