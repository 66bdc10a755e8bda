"""A watch as a callback of Lightning's Trainer (extra `valleywalk[lightning]`)."""

from typing import Any

import xarray as xr

# torchmetrics, which Lightning imports, imports torchvision.
from . import torchvision_compat  # noqa: F401
from .evaluation import Loss
from .watch import watch

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]
    except ImportError as error:
        raise ImportError(
            "Lightning is not installed: pip install 'valleywalk[lightning]'"
        ) from error


class WatchCallback(Callback):
    """Watch what a Trainer trains.

        callback = WatchCallback(nn.functional.cross_entropy, (images, labels), points=10)
        Trainer(callbacks=[callback]).fit(module, loader)
        callback.trace

    Parameters
    ----------
    loss : callable (output, target) → scalar Tensor
        The mean over a batch; `output` is what the module's `forward` returns.
    evaluation_data, **options
        As of `valleywalk.watch`. Of several optimizers, a step is that of all of them.

    Attributes
    ----------
    recorder : watch or None
        That of the last fit; None before the first.
    """

    def __init__(self, loss: Loss, evaluation_data: Any, **options: Any):
        self.loss, self.evaluation_data, self.options = loss, evaluation_data, options
        self.recorder: watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch: the module is on its device and has its optimizers."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        options: dict[str, Any] = {"scaler": scaler} | self.options
        module = trainer.lightning_module
        self.recorder = watch(
            module, trainer.optimizers, self.loss, self.evaluation_data, **options
        ).__enter__()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the watch."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the watch; what was seen until then is in `trace`."""
        self._end()

    def _end(self) -> None:
        if self.recorder is not None:
            self.recorder.__exit__(None, None, None)

    @property
    def trace(self) -> xr.Dataset:
        """What was seen in the last fit."""
        if self.recorder is None:
            raise ValueError("nothing was trained yet; the trace is there after Trainer.fit")
        return self.recorder.trace
