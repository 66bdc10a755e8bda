"""A watch as a callback of Hugging Face's Trainer (extra `valleywalk[huggingface]`)."""

from typing import Any

import xarray as xr
from torch import Tensor

from .evaluation import Loss
from .watch import watch

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "transformers is not installed: pip install 'valleywalk[huggingface]'"
    ) from error


def own_loss(output: Any, batch: Any) -> Tensor:
    """The loss that a model of transformers computes itself where the batch has labels."""
    if output.loss is None:
        raise ValueError(
            f"the model returned no loss for a batch with {', '.join(batch)}; give batches with "
            "labels, or a loss"
        )
    return output.loss


class WatchCallback(TrainerCallback):
    """Watch what a Trainer trains.

        batches = [collator(rows) for rows in chunks]
        callback = WatchCallback(batches, points=10)
        Trainer(model, arguments, train_dataset=dataset, callbacks=[callback]).train()
        callback.trace

    Parameters
    ----------
    evaluation_data : iterable of dict
        Batches as the model takes them.
    loss : callable (output, batch) → scalar Tensor, optional
        Default: the loss that the model computes.
    **options
        As of `valleywalk.watch`.

    Attributes
    ----------
    recorder : watch or None
        That of the last training; None before the first.
    """

    def __init__(self, evaluation_data: Any, loss: Loss = own_loss, **options: Any):
        self.loss, self.evaluation_data, self.options = loss, evaluation_data, options
        self.recorder: watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch: the model is on its device and has its optimizer."""
        # The Trainer tells nobody when training ends with an exception.
        self._end()
        options: dict[str, Any] = {
            "scaler": getattr(kwargs["optimizer"], "scaler", None)
        } | self.options
        self.recorder = watch(
            kwargs["model"], kwargs["optimizer"], self.loss, self.evaluation_data, **options
        ).__enter__()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the watch."""
        self._end()

    def _end(self) -> None:
        if self.recorder is not None:
            self.recorder.__exit__(None, None, None)

    @property
    def trace(self) -> xr.Dataset:
        """What was seen in the last training."""
        if self.recorder is None:
            raise ValueError("nothing was trained yet; the trace is there after Trainer.train")
        return self.recorder.trace
