"""The trace of a walk: a labelled array, saved as netCDF with its full provenance.

Its variables, their dimensions and units stand in `VARIABLES`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import write
from .folders import checkout

if TYPE_CHECKING:
    import xarray as xr

SCHEMA = "valleywalk-trace"
SCHEMA_VERSION = 1
# What a watch appends to while it runs.
STREAM, STREAM_VERSION = "valleywalk-stream", 1
# Bytes: to compress smaller variables, too, would save a hundredth of the recorded traces.
WORTH_COMPRESSING = 1024
# The format of HDF5 1.10: the one before takes some kilobytes more for each compressed variable.
HDF5_FORMAT = "v110"
_MARK = b"valleywalk-sha256:"
REMEDY = "delete it, or ask for it to be recomputed"

# name: (dimensions, units, long name)
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "loss": (("iteration", "alpha"), "nat", "training loss along the segment"),
    "measured": (("iteration", "alpha"), "1", "whether that loss was measured, not read off"),
    "whole": (("iteration",), "1", "whether each loss of the segment was measured by plan"),
    "loss_error": (("iteration",), "nat", "estimate of the largest error of a segment's losses"),
    "step_length": (("iteration",), "1", "length of the step, ‖θ_{t+1} − θ_t‖"),
    "batch_height": (("iteration", "batch"), "nat", "height of each evaluation batch at the floor"),
    "barrier_error": (
        ("iteration",),
        "nat",
        "standard error over batches of the highest interior loss minus the higher end's",
    ),
    "barrier_error_either": (
        ("iteration",),
        "nat",
        "standard error over batches of the highest interior loss minus the lower end's",
    ),
    "second_difference_error": (
        ("iteration", "alpha"),
        "nat",
        "standard error over batches of the second divided difference of measured points",
    ),
    "stretch": (("iteration",), "1", "stretch of the epoch, from 0, that a drawn step stands for"),
    "batch_images": (("batch",), "1", "images in each evaluation batch"),
    "cosine": (("iteration",), "1", "cosine of this and the previous gradient"),
    "distance": (("iteration",), "1", "distance of the step's end from the initialisation"),
    "parameter_norm": (("iteration",), "1", "norm of the parameters at the step's end"),
    "minibatch_loss": (("iteration",), "nat", "loss of the mini-batch before the step"),
    "learning_rate": (("iteration",), "1", "learning rate of the step"),
    "skipped": (("iteration",), "1", "1 where the gradient scaler skipped the step"),
    "train_loss": (("epoch",), "nat", "training loss on the evaluation plan"),
    "train_accuracy": (("epoch",), "1", "training accuracy on the evaluation plan"),
    "validation_loss": (("epoch",), "nat", "validation loss, batch norm in eval mode"),
    "validation_accuracy": (("epoch",), "1", "validation accuracy, batch norm in eval mode"),
    "hessian_max": (("epoch",), "nat", "largest eigenvalue of the Hessian"),
    "hessian_min": (("epoch",), "nat", "smallest eigenvalue of the Hessian"),
    "hessian_residual": (("epoch",), "1", "larger relative residual of the two eigenvalues"),
    "noise_overlap": (("epoch",), "1", "overlap of the top subspaces of noise and Hessian"),
    "noise_overlap_control": (("epoch",), "1", "the same of noise from labels dealt out anew"),
    "noise_sharpness": (("epoch",), "1", "curvature along the noise, share of the largest"),
    "noise_share": (("epoch",), "1", "share of the noise along the sharpest directions"),
    "loss_noise": (("epoch",), "nat", "standard deviation of the loss over re-drawn plans"),
}
COORDINATES = {
    "iteration": "update, counted from 0",
    "alpha": "position on the segment from θ_t (0) to θ_{t+1} (1)",
    "epoch": "epoch, counted from 1",
    "batch": "batch of the evaluation plan, counted from 0",
}
# Kinds of what is no float64. Steps and batches differ in all digits, so that they hardly compress.
KINDS = {
    "measured": np.dtype(bool),
    "whole": np.dtype(bool),
    "cosine": np.dtype(np.float32),
    "distance": np.dtype(np.float32),
    "parameter_norm": np.dtype(np.float32),
    "minibatch_loss": np.dtype(np.float32),
    "batch_height": np.dtype(np.float32),
    "second_difference_error": np.dtype(np.float32),
}
# Of the trace of a walk, beside what every trace has: attributes and their kinds, variables.
OF_A_WALK: dict[str, type] = {
    **dict.fromkeys(("experiment", "experiment_hash", "plan_hash", "dataset_hash"), str),
    **dict.fromkeys(("dataset_description", "device", "started", "final_state_hash"), str),
    **dict.fromkeys(("training_images", "evaluation_images", "steps_in_epoch"), Integral),
    **dict.fromkeys(("parameters", "threads"), Integral),
    "wall_seconds": Real,
}
KINDS_OF_ATTRIBUTES: dict[type, str] = {str: "a text", Integral: "a whole number", Real: "a number"}
HASHES = ("experiment_hash", "plan_hash", "final_state_hash")
ALWAYS_PROBED = ("cosine", "distance")
# Bytes that a trace may unpack to, in all and for each byte of its file: deflate packs no denser.
MOST_UNPACKED = 2**32
DENSEST = 1032
_PACKAGES = ("valleywalk", "torch", "torchvision", "numpy", "xarray")


class TraceError(ValueError):
    """A trace file is damaged, of another version, or of another experiment."""


def assemble(
    steps: Sequence[Mapping[str, Any]],
    alpha: np.ndarray,
    epochs: Mapping[int, Mapping[str, float]] | None = None,
    epoch_count: int = 0,
    attributes: Mapping[str, Any] | None = None,
    batch_images: Sequence[int] | np.ndarray = (),
) -> xr.Dataset:
    """Put what was recorded into one labelled Dataset; what was not probed is NaN (or False).

    Parameters
    ----------
    steps : sequence of mapping
        One a step: variable → number, or array along the variable's other dimension. A name that is
        not in `VARIABLES` is a number a step.
    alpha : ndarray, shape (points + 1,)
    epochs : mapping of epoch (from 1) → mapping of variable → number, optional
    epoch_count : int
        Length of the epoch dimension.
    attributes : mapping, optional
        Beside the schema and what `environment` gives.
    batch_images : sequence of int, optional
        Images in each batch of the evaluation plan.

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> from valleywalk.trace import assemble
    >>> trace = assemble([{"loss": [3.0, 1.0, 2.0]}, {"cosine": -0.9}], alpha=[0, 0.5, 1])
    >>> trace["loss"].values
    array([[ 3.,  1.,  2.],
           [nan, nan, nan]])
    >>> trace["loss"].attrs["units"]
    'nat'
    """
    import xarray as xr

    coordinates = {"iteration": np.arange(len(steps)), "alpha": np.asarray(alpha)}
    names = {name: None for step in steps for name in step}
    variables: dict[str, Any] = {}
    if len(batch_images):
        coordinates["batch"] = np.arange(len(batch_images))
        dimensions, units, long_name = VARIABLES["batch_images"]
        labels = {"units": units, "long_name": long_name}
        variables["batch_images"] = (dimensions, np.asarray(batch_images), labels)
    for name in names:
        dimensions, units, long_name = VARIABLES.get(name, (("iteration",), "", name))
        # What a walk sees at the end of epochs, a watch may see after any step.
        if dimensions == ("epoch",):
            dimensions = ("iteration",)
        shape = tuple(len(coordinates[dimension]) for dimension in dimensions)
        kind = KINDS.get(name, np.dtype(float))
        flags = kind.kind == "b"
        values = np.full(shape, False if flags else np.nan, dtype=kind)
        for index, step in enumerate(steps):
            if name in step:
                # A resumed walk's steps hold NaN where nothing was seen.
                seen = step[name]
                with np.errstate(over="ignore"):  # Infinite, where it has no room.
                    values[index] = np.equal(seen, 1) if flags else seen
        variables[name] = (dimensions, values, {"units": units, "long_name": long_name})
    if epoch_count:
        coordinates["epoch"] = np.arange(1, epoch_count + 1)
        for name in {name: None for measured in (epochs or {}).values() for name in measured}:
            values = np.full(epoch_count, np.nan)
            for epoch, measured in (epochs or {}).items():
                values[epoch - 1] = measured.get(name, np.nan)
            _, units, long_name = VARIABLES[name]
            variables[name] = (("epoch",), values, {"units": units, "long_name": long_name})
    trace = xr.Dataset(variables, coordinates)
    for name in coordinates:
        trace[name].attrs = {"units": "1", "long_name": COORDINATES[name]}
    trace.attrs = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **environment(),
        **(attributes or {}),
    }
    return trace


@cache
def environment() -> dict[str, str]:
    """Versions (as JSON), git commit and platform, for a trace's attributes.

    Returns
    -------
    dict of str → str

    Examples
    --------
    >>> from valleywalk.trace import environment
    >>> sorted(environment())
    ['git_commit', 'platform', 'versions']
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": json.dumps(versions),
        "git_commit": _git_commit(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _git_commit() -> str:
    root = checkout()
    if root is None:
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def save(trace: xr.Dataset, path: str | PathLike[str]) -> None:
    """Write a trace as compressed netCDF, sealed with a checksum: whole or not at all.

    Parameters
    ----------
    trace : xarray.Dataset
    path : path-like
        Its folder is made if need be.

    Raises
    ------
    OSError
        It cannot be written, as on a full disk; what was there before still is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from valleywalk.trace import assemble, open_trace, save
    >>> trace = assemble([{"loss": [3.0, 1.0, 2.0]}], alpha=[0, 0.5, 1])
    >>> path = Path(mkdtemp()) / "walk.nc"
    >>> save(trace, path)
    >>> open_trace(path).identical(trace)
    True
    """
    import xarray as xr

    encoding = {
        name: {"zlib": True, "complevel": 4, "shuffle": True}
        for name in trace.variables
        if trace[name].nbytes > WORTH_COMPRESSING
    }
    # In memory first: HDF5 that writes into a file crashes on a full disk. Not by `to_netcdf`: it
    # asks the scheduler of a Dask client for a lock, where there is one, and fails for no file.
    stream = BytesIO()
    store = xr.backends.H5NetCDFStore.open(
        stream, mode="w", lock=False, driver_kwds={"libver": HDF5_FORMAT}
    )
    trace.dump_to_store(store, encoding=encoding)
    store.close()
    write(Path(path), sealed(stream.getvalue()))


def sealed(content: bytes) -> bytes:
    """A file's content with mark and SHA-256; readers of netCDF ignore what follows its end.

    Parameters
    ----------
    content : bytes

    Examples
    --------
    >>> from valleywalk.trace import sealed
    >>> sealed(b"content")[:25]
    b'contentvalleywalk-sha256:'
    """
    return content + _MARK + hashlib.sha256(content).digest()


def _is_sealed(content: bytes) -> bool:
    border = len(content) - len(_MARK) - hashlib.sha256().digest_size
    if border < 0:
        return False
    return content == sealed(content[:border])


def seal_of(path: Path) -> str:
    """The checksum at the end of a trace's file, unchecked: two files that share it are the same.

    Parameters
    ----------
    path : Path

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from valleywalk.trace import seal_of, sealed
    >>> path = Path(mkdtemp()) / "walk.nc"
    >>> _ = path.write_bytes(sealed(b"content"))
    >>> seal_of(path)[:8]
    'ed7002b4'
    """
    with path.open("rb") as file:
        # A damaged file may be shorter; it is for who opens it to say so.
        file.seek(max(0, file.seek(0, os.SEEK_END) - hashlib.sha256().digest_size))
        return file.read().hex()


def open_trace(path: str | PathLike[str], experiment_hash: str | None = None) -> xr.Dataset:
    """Read a trace into memory.

    Parameters
    ----------
    path : path-like
    experiment_hash : str, optional
        Of the experiment whose trace it must be.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TraceError
        The file is damaged, is no trace, is of another schema version, or is of another
        experiment. Nothing is changed or recomputed.

    Notes
    -----
    Open only traces from people you trust. The checksum finds damage; it does not stop someone
    who forges a whole file, and a forged file can keep HDF5 busy for ever.

    Examples
    --------
    >>> from valleywalk import open_trace
    >>> open_trace("nowhere.nc")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no trace nowhere.nc
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no trace {path}")
    try:
        return read_trace(path.read_bytes(), str(path), experiment_hash)
    except TraceError as error:
        raise TraceError(f"{error}; {REMEDY}") from error


def read_trace(content: bytes, name: str, experiment_hash: str | None = None) -> xr.Dataset:
    """A trace from what its file holds, or would hold; see `open_trace`.

    Parameters
    ----------
    content : bytes
    name : str
        What the file is called in what is said of it.
    experiment_hash : str, optional

    Examples
    --------
    >>> from valleywalk.trace import read_trace, sealed
    >>> read_trace(sealed(b"no netCDF"), "walk.nc")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    TraceError: walk.nc is no trace of valleywalk
    """
    import xarray as xr

    # Checked before the file is parsed: a single wrong bit can keep an HDF5 reader busy for hours.
    if not _is_sealed(content):
        if STREAM.encode() in content[:100]:
            raise TraceError(f"{name} is the stream of a watch: open it with open_stream")
        raise TraceError(f"{name} is damaged, or no trace of valleywalk: its checksum does not fit")
    try:
        _check_content(content)
        with xr.open_dataset(BytesIO(content), engine="h5netcdf", decode_times=False) as opened:
            trace = opened.load()
    # Whatever its readers stumble over in a file that others made.
    except Exception as error:
        raise TraceError(f"{name} is no trace of valleywalk ({error})") from error
    if trace.attrs.get("schema") != SCHEMA:
        raise TraceError(f"{name} is no trace of valleywalk")
    found = trace.attrs.get("schema_version")
    if found != SCHEMA_VERSION:
        raise TraceError(
            f"{name} is a trace of schema version {found}, this is version {SCHEMA_VERSION}"
        )
    if experiment_hash not in (None, trace.attrs.get("experiment_hash")):
        raise TraceError(
            f"{name} holds experiment {trace.attrs.get('experiment_hash')}, not {experiment_hash}"
        )
    if problem := _lacking(trace):
        raise TraceError(f"{name} is no whole trace: {problem}")
    return trace


def _check_content(content: bytes) -> None:
    """Refuse what no trace holds, and more than its file can, before anything is unpacked."""
    import h5py

    size = 0
    with h5py.File(BytesIO(content)) as file:
        for name in file:
            own = isinstance(file.get(name, getlink=True), h5py.HardLink)
            variable = file[name] if own else None
            # Not what lies in other files either.
            if (
                not isinstance(variable, h5py.Dataset)
                or variable.shape is None
                or variable.dtype.kind not in "biuf"
                or variable.is_virtual
                or variable.external
            ):
                raise ValueError(f"{name} is no array of numbers")
            lengths = (variable.size, math.prod(variable.chunks or ()))
            size += max(lengths) * variable.dtype.itemsize
    if size > min(MOST_UNPACKED, DENSEST * len(content)):
        raise ValueError(f"it unpacks to {size / 1e9:.3g} GB")


def _lacking(trace: xr.Dataset) -> str | None:
    """What a trace must have and has not, or has in another form."""
    try:
        versions = json.loads(trace.attrs["versions"])
        if not {"torch", "valleywalk"} <= {*versions} or not isinstance(versions, dict):
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        return "it does not say the versions of torch and valleywalk"
    for name, variable in trace.variables.items():
        dimensions = VARIABLES[str(name)][0] if name in VARIABLES else variable.dims
        # What a walk sees at the end of epochs, a watch may see after any step.
        if variable.dims != dimensions and (variable.dims, dimensions) != (
            ("iteration",),
            ("epoch",),
        ):
            return f"{name} is along {variable.dims}, not {dimensions}"
    needed: dict[str, type] = {"git_commit": str, "platform": str}
    if "experiment" in trace.attrs:
        needed |= OF_A_WALK
        absent = [name for name in ("alpha", "iteration", *ALWAYS_PROBED) if name not in trace]
        if absent:
            return f"it has no variable {absent[0]!r}"
    for name, kind in needed.items():
        value: Any = trace.attrs.get(name)
        fits = isinstance(value, kind)
        if not fits or not (isinstance(value, str) or math.isfinite(value)):
            return f"its attribute {name!r} is {value!r:.40}, not {KINDS_OF_ATTRIBUTES[kind]}"
        if name in HASHES and not re.fullmatch("[0-9a-f]{16}", value):
            return f"its attribute {name!r} is {value!r:.40}, not a hash"
    return None
