"""A watch as a callback of Hugging Face's Trainer (extra `valleywalk[huggingface]`)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .callback import Watching
from .evaluation import Loss
from .sinks import prefixed

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "transformers is not installed: pip install 'valleywalk[huggingface]'"
    ) from error


def own_loss(output: Any, batch: Any) -> Tensor:
    """The loss that a model of transformers computes itself where the batch has labels.

    Parameters
    ----------
    output : transformers.utils.ModelOutput
    batch : dict

    Returns
    -------
    Tensor
        A scalar, the mean over the batch.

    Raises
    ------
    ValueError
        The model returned no loss.

    Examples
    --------
    >>> import torch
    >>> from transformers.modeling_outputs import SequenceClassifierOutput
    >>> from valleywalk.huggingface import own_loss
    >>> own_loss(SequenceClassifierOutput(loss=torch.tensor(0.5)), {"labels": torch.tensor([1])})
    tensor(0.5000)
    """
    if output.loss is None:
        raise ValueError(
            f"the model returned no loss for a batch with {', '.join(batch)}; give batches with "
            "labels, or a loss"
        )
    return output.loss


class WatchCallback(Watching, TrainerCallback):
    """Watch what a Trainer trains; afterwards, `trace` is what was seen.

    Parameters
    ----------
    evaluation_data : iterable of dict
        Batches as the model takes them.
    loss : callable (output, batch) → scalar Tensor, optional
        Default: the loss that the model computes (`own_loss`).
    log : callable (numbers by name), optional
        The Trainer's own `log`: whenever it logs (`logging_steps`), it then logs the newest of each
        number that was seen since it logged last (`sinks.scalars`), as `valleywalk/…`.
    **options
        As of `valleywalk.watch`.

    Raises
    ------
    ValueError
        When the training begins: as of `valleywalk.watch`.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.huggingface import WatchCallback
    >>> batch = {"input_ids": torch.tensor([[5, 2, 7]]), "labels": torch.tensor([1])}
    >>> callback = WatchCallback([batch], points=10)

    Then, with a model and data of yours::

        Trainer(model, arguments, train_dataset=dataset, callbacks=[callback]).train()
        valleywalk.figures.walk(callback.trace)

    So that they are logged, too::

        trainer.add_callback(WatchCallback([batch], log=trainer.log))
    """

    def __init__(
        self,
        evaluation_data: Any,
        loss: Loss = own_loss,
        *,
        log: Callable[[dict[str, float]], None] | None = None,
        **options: Any,
    ):
        super().__init__(loss, evaluation_data, **options)
        self.log = log
        self._newest: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch: the model is on its device and has its optimizer."""
        optimizer = kwargs["optimizer"]
        self._newest = {}

        def keep(step: int, numbers: Mapping[str, float]) -> None:
            self._newest |= prefixed(numbers)

        sinks = [keep] if self.log else []
        self.begin(kwargs["model"], optimizer, getattr(optimizer, "scaler", None), sinks)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log what was seen since the Trainer logged last."""
        newest, self._newest = self._newest, {}
        # Logging, this is called again, with nothing left.
        if self.log and newest:
            self.log(newest)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the watch. The Trainer tells nobody when training ends with an exception."""
        self.end()
