"""A trace that is on disk while it is still seen: a line of JSON a step, appended to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import check_output
from .trace import STREAM, STREAM_VERSION, TraceError, assemble, environment

if TYPE_CHECKING:
    import xarray as xr


class Stream:
    """A file that a watch appends to.

    The system has a line as soon as its step is over. Of a process that is killed, no more is lost
    than the line that it was writing.

    Parameters
    ----------
    path : path-like
        A new file.

    Raises
    ------
    ValueError, OSError
        It is there already, or cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from valleywalk.stream import Stream, open_stream
    >>> path = Path(mkdtemp()) / "walk.jsonl"
    >>> stream = Stream(path)
    >>> stream.begin(alpha=[0, 0.5, 1], attributes={})
    >>> stream(0, {"seen": {"loss": [3.0, 1.0, 2.0]}})
    >>> open_stream(path)["loss"].values
    array([[3., 1., 2.]])
    """

    def __init__(self, path: str | PathLike[str]):
        self.path = Path(path).absolute()
        check_output(self.path, remedy="remove it")

    def begin(self, alpha: Any, attributes: Mapping[str, Any]) -> None:
        """Make the file, with what is known before the first step.

        Parameters
        ----------
        alpha : array_like, shape (points + 1,)
        attributes : mapping
            Of the trace, beside those of `trace.environment`.

        Raises
        ------
        OSError
            It is there, or cannot be written.
        """
        head = {"schema": STREAM, "schema_version": STREAM_VERSION, "alpha": np.asarray(alpha)}
        with self.path.open("xb") as file:
            file.write(_line(head | {"attributes": {**environment(), **attributes}}))

    def __call__(self, step: int, line: Mapping[str, Any]) -> None:
        """Append what was seen of a step, or noted of the last one.

        Parameters
        ----------
        step : int
        line : mapping
            `seen`, as a step of `trace.assemble`; for the whole trace, as of now, `wall_seconds`
            and `batch_images`.

        Raises
        ------
        OSError
            The file is not there any more, or has no room.
        """
        # Not made anew: a file without its first line would be of no use.
        with self.path.open("rb+", buffering=0) as file:
            file.seek(0, 2)
            content = _line({"iteration": step, **line})
            if file.write(content) < len(content):
                raise OSError("there is no room for the whole line")


def _line(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """What JSON can hold of an array, or of what counts as a number."""
    return value.tolist() if isinstance(value, np.ndarray) else float(value)


def open_stream(path: str | PathLike[str]) -> xr.Dataset:
    """Read what a watch has appended to a file so far, as a trace.

    Parameters
    ----------
    path : path-like
        What `watch` was given as `stream`; it may still be written to.

    Returns
    -------
    xarray.Dataset
        As `watch.trace` was after the last step in the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TraceError
        It is no stream of a watch, of another version, or damaged.

    Examples
    --------
    >>> from valleywalk import open_stream
    >>> open_stream("nowhere.jsonl")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no stream nowhere.jsonl
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no stream {path}")
    # What follows the last end of a line was being written, or will never be.
    lines = path.read_bytes().split(b"\n")[:-1]
    if not lines:
        raise TraceError(f"{path} is no stream of a watch, or damaged: line 1 is not whole")
    line_number = 1
    try:
        head = json.loads(lines[0])
        if head["schema"] != STREAM:
            raise ValueError(f"its schema is {head['schema']!r}")
        version = head["schema_version"]
        if version == STREAM_VERSION:
            seen: list[dict[str, Any]] = []
            of_all: dict[str, Any] = {}
            for line in lines[1:]:
                line_number += 1
                of_all |= _taken(json.loads(line), seen)
            images = np.array(of_all.pop("batch_images", ()), dtype=int)
            attributes = head["attributes"] | of_all
            return assemble(
                seen,
                np.array(head["alpha"], dtype=float),
                attributes=attributes,
                batch_images=images,
            )
    # Whatever it is that others made, or a damaged disk, which is stumbled over.
    except Exception as error:
        raise TraceError(
            f"{path} is no stream of a watch, or damaged: line {line_number} ({error})"
        ) from error
    raise TraceError(f"{path} is a stream of version {version}, this is {STREAM_VERSION}")


def _taken(line: dict[str, Any], seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a line's numbers where they belong; the rest is of the whole trace."""
    step, found = line.pop("iteration"), line.pop("seen")
    if step == len(seen):
        seen.append({})
    elif step != len(seen) - 1:
        raise ValueError(f"iteration {step} follows {len(seen) - 1}")
    seen[-1] |= found
    return line
