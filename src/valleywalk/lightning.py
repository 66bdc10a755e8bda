"""A watch as a callback of Lightning's Trainer (extra `valleywalk[lightning]`)."""

from collections.abc import Mapping
from typing import Any

# torchmetrics, which Lightning imports, imports torchvision.
from . import torchvision_compat  # noqa: F401
from .callback import Watching
from .evaluation import Loss
from .sinks import prefixed

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]
    except ImportError as error:
        raise ImportError(
            "Lightning is not installed: pip install 'valleywalk[lightning]'"
        ) from error


class WatchCallback(Watching, Callback):
    """Watch what a Trainer trains; afterwards, `trace` is what was seen.

    Parameters
    ----------
    loss : callable (output, target) → scalar Tensor
        The mean over a batch; `output` is what the module's `forward` returns.
    evaluation_data
        As of `valleywalk.watch`.
    log : bool
        Give the numbers of each step (`sinks.scalars`) to the Trainer's loggers, as `valleywalk/…`.
        Each step is logged, whatever `log_every_n_steps` is.
    **options
        As of `valleywalk.watch`. Of several optimizers, a step is that of all of them.

    Raises
    ------
    ValueError
        When the training begins: as of `valleywalk.watch`.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.lightning import WatchCallback
    >>> inputs, targets = torch.randn(20, 4), torch.randint(0, 2, (20,))
    >>> callback = WatchCallback(nn.functional.cross_entropy, (inputs, targets), points=10)

    Then, with a module and a loader of yours::

        Trainer(callbacks=[callback]).fit(module, loader)
        valleywalk.figures.walk(callback.trace)
    """

    def __init__(self, loss: Loss, evaluation_data: Any, *, log: bool = False, **options: Any):
        super().__init__(loss, evaluation_data, **options)
        self.log = log

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch: the module is on its device and has its optimizers."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)

        def to_loggers(step: int, numbers: Mapping[str, float]) -> None:
            named = prefixed(numbers)
            for logger in trainer.loggers:
                # The steps of all that Lightning logs itself.
                logger.log_metrics(named, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

        sinks = [to_loggers] if self.log else []
        self.begin(trainer.lightning_module, trainer.optimizers, scaler, sinks)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the watch."""
        self.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the watch; what was seen until then is in `trace`."""
        self.end()
