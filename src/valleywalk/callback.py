"""What the callbacks of trainers have in common: a watch from a training's begin to its end."""

from typing import Any

import xarray as xr

from .evaluation import Loss
from .watch import watch


class Watching:
    """Holds the watch of one training after the other.

    Attributes
    ----------
    recorder : watch or None
        That of the last training; None before the first.
    """

    def __init__(self, loss: Loss, evaluation_data: Any, **options: Any):
        self.loss, self.evaluation_data, self.options = loss, evaluation_data, options
        self.recorder: watch | None = None

    def begin(self, model: Any, optimizer: Any, scaler: Any) -> None:
        """Begin to watch; a watch that a failed training left behind is ended."""
        self.end()
        options = {"scaler": scaler} | self.options
        self.recorder = watch(
            model, optimizer, self.loss, self.evaluation_data, **options
        ).__enter__()

    def end(self) -> None:
        """End the watch."""
        if self.recorder is not None:
            self.recorder.__exit__(None, None, None)

    @property
    def trace(self) -> xr.Dataset:
        """What was seen in the last training."""
        if self.recorder is None:
            raise ValueError("nothing was trained yet; the trace is there after the training")
        return self.recorder.trace
