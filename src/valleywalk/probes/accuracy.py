"""Loss and accuracy where the model stands, and what the loss owes to its batches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..evaluation import Evaluator, accuracy


class LossAndAccuracy:
    """Mean loss of a split, and the share of it whose largest output is the target's.

    Seen as `train_loss` and `train_accuracy` for the split "train".

    Parameters
    ----------
    split : str
    batches : iterable of (inputs, targets), optional
        Those of the split, on the model's device; default the evaluation's.
    batch_norm : {"train", "eval", "as trained"}, optional
        Mode of batch norm; default the evaluation's.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.accuracy import LossAndAccuracy
    >>> data = [(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))]
    >>> seen = LossAndAccuracy("train")(Evaluator(nn.Identity(), nn.functional.cross_entropy, data))
    >>> seen["train_accuracy"]
    0.5
    """

    def __init__(
        self,
        split: str,
        batches: Iterable[tuple[Any, Tensor]] | None = None,
        batch_norm: str | None = None,
    ):
        self.split, self.batches, self.batch_norm = split, batches, batch_norm

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        evaluate = evaluate.on(self.batches, self.batch_norm)
        loss, share = evaluate.means(evaluate.loss, accuracy)
        return {f"{self.split}_loss": loss, f"{self.split}_accuracy": share}


class LossNoise:
    """Standard deviation of the loss over plans that differ in their batches alone.

    Seen as `loss_noise`.

    Parameters
    ----------
    plans : sequence of iterables of (inputs, targets)
        The batches of each plan, at least two.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.accuracy import LossNoise
    >>> plans = [[(torch.full((1, 1), x), torch.zeros(1, 1))] for x in (1.0, 2.0)]
    >>> LossNoise(plans)(Evaluator(nn.Identity(), nn.functional.l1_loss, plans[0]))
    {'loss_noise': 0.7071067}
    """

    def __init__(self, plans: Sequence[Iterable[tuple[Any, Tensor]]]):
        self.plans = plans

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        losses = [evaluate.on(batches)() for batches in self.plans]
        return {"loss_noise": float(np.std(losses, ddof=1))}
