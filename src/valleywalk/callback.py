"""What the callbacks of trainers have in common: a watch from begin to end of a training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from .evaluation import Loss
from .sinks import Sink
from .watch import watch

if TYPE_CHECKING:
    from .report import Report


class Watching:
    """Holds the watch of one training after the other.

    For a trainer of your own: call `begin` where the training begins and `end` where it ends.

    Parameters
    ----------
    loss, evaluation_data, **options
        As of `valleywalk.watch`.

    Attributes
    ----------
    watcher : watch or None
        That of the last training; None before the first.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.callback import Watching
    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> inputs, targets = torch.ones(6, 4), torch.zeros(6, dtype=torch.int64)
    >>> watching = Watching(nn.functional.cross_entropy, (inputs, targets), points=2)
    >>> watching.begin(model, optimizer, scaler=None)
    >>> nn.functional.cross_entropy(model(inputs), targets).backward()
    >>> optimizer.step()
    >>> watching.end()
    >>> watching.trace["loss"].shape
    (1, 3)
    """

    def __init__(self, loss: Loss, evaluation_data: Any, **options: Any):
        self.loss, self.evaluation_data, self.options = loss, evaluation_data, options
        self.watcher: watch | None = None

    def begin(self, model: Any, optimizer: Any, scaler: Any, sinks: Sequence[Sink] = ()) -> None:
        """Begin to watch; a watch that a failed training left behind is ended.

        Parameters
        ----------
        model : nn.Module
        optimizer : torch.optim.Optimizer, or a sequence of them
        scaler : torch.amp.GradScaler or None
        sinks : sequence of Sink, optional
            Beside those among the options.

        Raises
        ------
        ValueError
            As of `valleywalk.watch`.
        """
        self.end()
        options = {"scaler": scaler} | self.options
        options["sinks"] = [*options.get("sinks", ()), *sinks]
        self.watcher = watch(
            model, optimizer, self.loss, self.evaluation_data, **options
        ).__enter__()

    def end(self) -> None:
        """End the watch."""
        if self.watcher is not None:
            self.watcher.__exit__(None, None, None)

    @property
    def trace(self) -> xr.Dataset:
        """What was seen in the last training.

        Raises
        ------
        ValueError
            Nothing was trained yet.
        """
        return self._last.trace

    def report(self) -> "Report":
        """Say in words what was seen in the last training (see `valleywalk.report`).

        Returns
        -------
        Report

        Raises
        ------
        ValueError
            Nothing was trained yet.
        """
        return self._last.report()

    @property
    def _last(self) -> watch:
        if self.watcher is None:
            raise ValueError("nothing was trained yet; the trace is there after the training")
        return self.watcher
