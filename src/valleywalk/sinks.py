"""Where the numbers of a watch go while it runs, beside its trace: the logger that you have."""

import csv
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import analysis, measures
from .files import check_output, write
from .trace import VARIABLES, assemble

# In loggers that others write to as well.
PREFIX = "valleywalk/"
# What the curve of a segment is made of.
_OF_A_CURVE = ("loss", "measured", "step_length")


class Sink(Protocol):
    """Is given the numbers of each step, after it. Any callable will do.

    Where `watch.note` adds numbers after a step, it is called again with the same step and these
    numbers alone. One that raises an exception is named in a warning and called no more; training
    and trace go on.

    Examples
    --------
    >>> def printed(step, numbers):
    ...     if numbers.get("barrier"):
    ...         print(f"step {step} crosses a barrier")

    With `watch(..., sinks=[printed])` it is called.
    """

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step (`scalars`), which is counted from 0."""
        ...


def scalars(seen: Mapping[str, Any], alpha: np.ndarray) -> dict[str, float]:
    """The numbers among what was seen of a step; what was not measured is left out.

    Parameters
    ----------
    seen : mapping
        Variable of a trace → number, or array along the variable's other dimension.
    alpha : ndarray, shape (points + 1,)

    Returns
    -------
    dict of str → float
        The trace's own numbers by their names (cosine, distance, parameter_norm, learning_rate,
        what probes record or was noted, …). Of a segment that was measured also

        loss_start, loss_end, floor
            Its losses at α = 0 and 1, and the lowest one.
        height
            See `analysis.height`.
        barrier
            1 where it crosses one (`analysis.barriers`), else 0.
        floor_position, sharpness
            See `measures.along_step`.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.sinks import scalars
    >>> numbers = scalars({"loss": np.array([3.0, 1.0, 2.0]), "cosine": -0.5}, np.linspace(0, 1, 3))
    >>> numbers["loss_end"], numbers["height"], numbers["barrier"], numbers["cosine"]
    (2.0, 1.5, 0.0, -0.5)
    """
    found: dict[str, Any] = {}
    if "loss" in seen:
        # A walk that diverges has losses of which nothing can be made.
        with np.errstate(all="ignore"):
            found = _of_segment(seen, alpha)
    found |= {name: v for name, v in seen.items() if len(VARIABLES.get(name, [()])[0]) < 2}
    numbers = {name: float(value) for name, value in found.items()}
    return {name: number for name, number in numbers.items() if not np.isnan(number)}


def _of_segment(seen: Mapping[str, Any], alpha: np.ndarray) -> dict[str, Any]:
    loss = np.asarray(seen["loss"])
    segment = loss[None]
    found = {
        "loss_start": loss[0],
        "loss_end": loss[-1],
        "floor": analysis.floor(segment)[0],
        "height": analysis.height(segment)[0],
    }
    if not np.isnan(loss).any():
        found["barrier"] = analysis.barriers(segment)[0]
    if np.isfinite(loss).all():
        one = {name: seen[name] for name in _OF_A_CURVE if name in seen}
        curve = measures.along_step(assemble([one], alpha))
        found |= {name: curve[name].item() for name in ("floor_position", "sharpness")}
    return found


def prefixed(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers by the names that they have in loggers that others write to as well.

    Parameters
    ----------
    numbers : mapping of str → float

    Examples
    --------
    >>> from valleywalk.sinks import prefixed
    >>> prefixed({"cosine": -0.5})
    {'valleywalk/cosine': -0.5}
    """
    return {PREFIX + name: number for name, number in numbers.items()}


def tell(sink: Callable[[int, Any], None], step: int, seen: Mapping[str, Any]) -> bool:
    """Give a sink what was seen; a failure is warned of, and the sink is to be told no more.

    Parameters
    ----------
    sink : callable
    step : int
    seen : mapping

    Returns
    -------
    bool
        Whether it took it.

    Examples
    --------
    >>> from valleywalk.sinks import tell
    >>> kept = {}
    >>> tell(kept.__setitem__, 0, {"cosine": 0.5}), kept
    (True, {0: {'cosine': 0.5}})
    """
    try:
        sink(step, dict(seen))
    # Of whatever package is behind it: no logger is worth a training.
    except Exception as error:
        name = getattr(sink, "__name__", type(sink).__name__)
        warnings.warn(
            f"{name} failed at step {step} ({type(error).__name__}: {error}) and is given nothing "
            "more; training and trace go on",
            stacklevel=2,
        )
        return False
    return True


class CSV:
    """A table in a file: a row a step, a column a number; empty where it was not measured.

    A row is in the file as soon as its step is over. A column that comes later is put at the end.

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
    >>> from valleywalk.sinks import CSV
    >>> path = Path(mkdtemp()) / "walk.csv"
    >>> sink = CSV(path)
    >>> sink(0, {"distance": 0.5})
    >>> sink(1, {"distance": 0.75, "cosine": -0.5})
    >>> print(path.read_text())
    iteration,distance,cosine
    0,0.5,
    1,0.75,-0.5
    """

    def __init__(self, path: str | PathLike[str]):
        self.path = Path(path).absolute()
        check_output(self.path, remedy="remove it")
        self._names: list[str] = []
        self._row: dict[str, float] = {}
        self._start = 0

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of a step; more numbers of the last one join its row."""
        again = self._row.get("iteration") == step
        self._row = {**(self._row if again else {}), "iteration": step, **numbers}
        more = [name for name in self._row if name not in self._names]
        if not more:
            with self.path.open("r+", newline="") as file:
                self._start = file.seek(self._start) if again else file.seek(0, 2)
                file.truncate()
                file.write(self._lines(self._row))
            return
        rows: list[Mapping[str, Any]] = []
        if self._names:
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
        self._names += more
        above = self._lines(
            dict(zip(self._names, self._names, strict=True)), *rows[: -again or None]
        )
        self._start = len(above.encode())
        write(self.path, (above + self._lines(self._row)).encode())

    def _lines(self, *rows: Mapping[str, Any]) -> str:
        text = StringIO(newline="")
        csv.DictWriter(text, self._names, lineterminator="\n").writerows(rows)
        return text.getvalue()


class TensorBoard:
    """Scalars in TensorBoard, as `valleywalk/…`.

    Parameters
    ----------
    where : path-like or SummaryWriter
        A folder, or the writer to which you log already.

    Raises
    ------
    ImportError
        The package tensorboard is not installed.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from valleywalk.sinks import TensorBoard
    >>> TensorBoard(mkdtemp())(0, {"cosine": -0.5})

    With a writer of yours::

        writer = torch.utils.tensorboard.SummaryWriter("runs/first")
        watch(..., sinks=[TensorBoard(writer)])
    """

    def __init__(self, where: Any):
        if isinstance(where, (str, PathLike)):
            where = _imported("torch.utils.tensorboard", "tensorboard").SummaryWriter(where)
        self.writer = where

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        for name, number in prefixed(numbers).items():
            self.writer.add_scalar(name, number, step)
        self.writer.flush()


class WeightsAndBiases:
    """Metrics of a run of Weights & Biases, as `valleywalk/…` over `valleywalk/iteration`.

    Parameters
    ----------
    run : wandb.Run, optional
        Default: the active one.
    by_step : bool
        False: each step makes a row of its own. That takes wandb's own count of steps on, which
        leaves out what you log by a smaller `step=…`. True: the numbers are logged by
        `step=iteration`, and stand in one row with what you log by that.

    Raises
    ------
    ImportError
        The package wandb is not installed.
    ValueError
        No run is active.

    Examples
    --------
    >>> import wandb
    >>> from valleywalk.sinks import WeightsAndBiases
    >>> run = wandb.init(mode="disabled")
    >>> WeightsAndBiases(run)(0, {"cosine": -0.5})

    With the run that is active::

        with wandb.init(project="walks", mode="offline"):
            watch(..., sinks=[WeightsAndBiases()])
    """

    def __init__(self, run: Any = None, *, by_step: bool = False):
        self.run, self.by_step = run or _imported("wandb", "wandb").run, by_step
        if self.run is None:
            raise ValueError("no run of wandb is active; call wandb.init(...) first, or give a run")
        self.run.define_metric(PREFIX + "iteration")
        self.run.define_metric(PREFIX + "*", step_metric=PREFIX + "iteration")

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        row = {PREFIX + "iteration": step, **prefixed(numbers)}
        self.run.log(row, step=step if self.by_step else None)


class MLflow:
    """Metrics of a run of MLflow, as `valleywalk/…`.

    Parameters
    ----------
    run_id : str, optional
        Default: the active run's.

    Raises
    ------
    ImportError
        The package mlflow is not installed.
    ValueError
        No run is active.

    Examples
    --------
    >>> from valleywalk.sinks import MLflow
    >>> sink = MLflow(run_id="0123456789abcdef0123456789abcdef")

    With the run that is active::

        with mlflow.start_run():
            watch(..., sinks=[MLflow()])
    """

    def __init__(self, run_id: str | None = None):
        self._mlflow = _imported("mlflow", "mlflow")
        active = self._mlflow.active_run()
        if run_id is None and active is None:
            raise ValueError(
                "no run of MLflow is active; call mlflow.start_run() first, or give a run's run_id"
            )
        self.run_id = run_id or active.info.run_id

    def __call__(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self._mlflow.log_metrics(prefixed(numbers), step=step, run_id=self.run_id)


def _imported(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{package} is not installed ({error}): pip install {package}") from error
