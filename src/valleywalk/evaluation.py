"""The loss of a model at any parameter vector, always on the same images in the same batches.

Redrawing the batches for every α turns evaluation noise into barriers and height that are not
there. So the images, their order and the batches that batch norm sees are drawn once and frozen.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .surroundings import evaluation_mode, parameters_replaced, surroundings, trainable

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class EvaluationPlan:
    """Frozen indices, order and batches.

    Attributes
    ----------
    batches : tuple of ndarray of int64
        Indices into the training images, one array a batch. The order is a random permutation:
        in batches sorted by class, batch norm in train mode makes the loss meaningless.

    Examples
    --------
    >>> from valleywalk.evaluation import EvaluationPlan
    >>> plan = EvaluationPlan.draw(available=1000, batch_size=100, seed=0, images=250)
    >>> [len(batch) for batch in plan.batches], plan.images
    ([100, 100, 50], 250)
    >>> plan.hash == EvaluationPlan.draw(1000, 100, seed=0, images=250).hash
    True
    """

    batches: tuple[np.ndarray, ...]

    @classmethod
    def draw(
        cls, available: int, batch_size: int, seed: int, images: int | None = None
    ) -> "EvaluationPlan":
        """Draw `images` of `available` images in batches of `batch_size`.

        A last batch of a single image joins the batch before it, because batch norm in train mode
        cannot take one image.

        Parameters
        ----------
        available, batch_size, seed : int
        images : int, optional
            Default: all.

        Returns
        -------
        EvaluationPlan
        """
        order = np.random.Generator(np.random.PCG64(seed)).permutation(available)[:images]
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [np.concatenate(batches[-2:])]
        return cls(tuple(batches))

    def redrawn(self, seed: int) -> "EvaluationPlan":
        """The same images in another order, so in other batches.

        Parameters
        ----------
        seed : int

        Returns
        -------
        EvaluationPlan
        """
        order = np.random.Generator(np.random.PCG64(seed)).permutation(np.concatenate(self.batches))
        borders = np.cumsum([len(batch) for batch in self.batches])[:-1]
        return EvaluationPlan(tuple(np.split(order, borders)))

    def first(self, images: int | None) -> "EvaluationPlan":
        """The first whole batches of at most so many images, at least one.

        Parameters
        ----------
        images : int or None
            None: all.

        Returns
        -------
        EvaluationPlan
        """
        if images is None:
            return self
        ends = np.cumsum([len(batch) for batch in self.batches])
        return EvaluationPlan(self.batches[: max(1, int(np.searchsorted(ends, images, "right")))])

    @property
    def images(self) -> int:
        """Number of images the loss is measured on."""
        return sum(len(batch) for batch in self.batches)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of indices, order and batches."""
        digest = hashlib.sha256()
        for batch in self.batches:
            digest.update(len(batch).to_bytes(8, "little"))
            digest.update(batch.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


class Batches:
    """Batches of images in memory, made ready for the model each time they are gone through.

    Parameters
    ----------
    images, labels : Tensor
        All images (uint8) and labels, on the device of the model.
    indices : callable () → sequence of ndarray
        One array of indices a batch. Asked at the start of each pass: a frozen plan answers the
        same each time, the authors' procedure reshuffles.
    prepare : callable
        Images of a batch (uint8) → input of the model.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from valleywalk.evaluation import Batches
    >>> images, labels = torch.arange(4, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    >>> plan = [np.array([2, 0]), np.array([3, 1])]
    >>> for inputs, targets in Batches(images, labels, lambda: plan, torch.Tensor.float):
    ...     print(inputs, targets)
    tensor([2., 0.]) tensor([0, 0])
    tensor([3., 1.]) tensor([1, 1])
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Callable[[], Sequence[np.ndarray]],
        prepare: Callable[[Tensor], Tensor],
    ):
        self.images, self.labels, self.indices, self.prepare = images, labels, indices, prepare

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.indices():
            index = torch.from_numpy(batch).to(self.images.device)
            yield self.prepare(self.images.index_select(0, index)), self.labels[index]


class BatchMeans(NamedTuple):
    """Means over the batches of an evaluation.

    Attributes
    ----------
    values : ndarray, shape (batches,)
        One mean a batch.
    images : ndarray of int, shape (batches,)
        Images in each batch.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.evaluation import BatchMeans
    >>> BatchMeans(np.array([1.0, 2.0]), np.array([30, 10])).mean
    1.25
    """

    values: np.ndarray
    images: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over all images, added up batch by batch in float64."""
        total = sum((self.values * self.images).tolist())
        return total / int(self.images.sum())


class Evaluator:
    """Mean loss over fixed batches at any parameters, leaving the model as it was.

    Parameters
    ----------
    model : nn.Module
    loss : callable (output, target) → scalar Tensor
        The mean over a batch.
    batches : iterable of (inputs, targets)
        Gone through once a call, so it must be re-iterable.
    batch_norm : {"train", "eval", "as trained"}
        Mode of batch norm. The paper measures in train mode (footnote 6), which is what the
        optimizer sees. "as trained": each layer in the mode in which it stands at the measurement.
        Running statistics are not touched.
    dropout_masks : int
        0: without dropout. Else the mean over that many masks, the same ones at every call.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batches = [(torch.eye(2), torch.tensor([[1.0], [3.0]]))]
    >>> evaluate = Evaluator(model, nn.functional.mse_loss, batches)
    >>> evaluate([torch.tensor([[1.0, 1.0]])])
    2.0
    >>> evaluate([torch.tensor([[1.0, 3.0]])])
    0.0
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Iterable[tuple[Any, Tensor]],
        batch_norm: str = "train",
        dropout_masks: int = 0,
    ):
        self.model = model
        self.loss = loss
        self.batches = batches
        self.batch_norm = batch_norm
        self.masks: Sequence[int | None] = range(dropout_masks) if dropout_masks else (None,)

    def on(
        self, batches: Iterable[tuple[Any, Tensor]] | None = None, batch_norm: str | None = None
    ) -> "Evaluator":
        """The same on other batches, or in another mode of batch norm; None: as here."""
        other = copy.copy(self)
        other.batches = self.batches if batches is None else batches
        other.batch_norm = batch_norm or self.batch_norm
        return other

    def __call__(self, parameters: Sequence[Tensor] | None = None) -> float:
        """Mean loss.

        Parameters
        ----------
        parameters : sequence of Tensor, optional
            θ; default: where the model stands.

        Returns
        -------
        float
        """
        return self.losses(parameters).mean

    def losses(self, parameters: Sequence[Tensor] | None = None) -> BatchMeans:
        """Mean loss of each batch.

        Parameters
        ----------
        parameters : sequence of Tensor, optional
            θ; default: where the model stands.

        Returns
        -------
        BatchMeans
        """
        return self.by_batch(self.loss, parameters=parameters)[0]

    def surroundings(self) -> list[Tensor]:
        """What the loss depends on beside θ, as `valleywalk.surroundings.surroundings` has it."""
        return surroundings(self.model, self.batch_norm, self.loss)

    def means(
        self, *metrics: Callable[[Any, Tensor], Tensor], parameters: Sequence[Tensor] | None = None
    ) -> list[float]:
        """Mean of each metric over all images, summed in float64.

        Parameters
        ----------
        *metrics : callable (output, target) → scalar Tensor
            The mean over a batch.
        parameters : sequence of Tensor, optional
            θ; default: where the model stands.

        Returns
        -------
        list of float
        """
        return [found.mean for found in self.by_batch(*metrics, parameters=parameters)]

    def by_batch(
        self, *metrics: Callable[[Any, Tensor], Tensor], parameters: Sequence[Tensor] | None = None
    ) -> list[BatchMeans]:
        """Each metric's mean over each batch; with dropout masks, the mean over them.

        Parameters
        ----------
        *metrics : callable (output, target) → scalar Tensor
            The mean over a batch.
        parameters : sequence of Tensor, optional
            θ; default: where the model stands.

        Returns
        -------
        list of BatchMeans

        Raises
        ------
        ValueError
            A metric gives for a batch what is no tensor, or has more than one number.
        """
        values = parameters if parameters is not None else [p.data for p in trainable(self.model)]
        found: list[Tensor] = []
        images: list[int] = []
        for mask in self.masks:
            with (
                evaluation_mode(self.model, self.batch_norm, mask, self.loss),
                parameters_replaced(self.model, values),
            ):
                for inputs, targets in self.batches:
                    output = predict(self.model, inputs)
                    images.append(count_of(targets))
                    found.extend(_one_number(metric(output, targets)) for metric in metrics)
        masks = len(self.masks)
        # Fetched together: a GPU goes on with the next batch meanwhile.
        table = torch.stack(found).cpu().numpy().reshape(masks, -1, len(metrics)).mean(axis=0)
        counts = np.array(images[: len(images) // masks])
        return [BatchMeans(column, counts) for column in table.T]


def _one_number(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(
            f"it is of type {type(value).__name__}; return a scalar tensor, without .item()"
        )
    if value.numel() != 1:
        raise ValueError(
            f"it has {value.numel()} numbers for a batch; give one, the mean over the batch"
        )
    return value.double()


def predict(model: nn.Module, inputs: Any) -> Any:
    """The model's output; a tuple or a dict of inputs is spread over its arguments.

    Parameters
    ----------
    model : callable
    inputs : Tensor, tuple, list or mapping

    Examples
    --------
    >>> from valleywalk.evaluation import predict
    >>> predict(lambda a, b: a - b, {"b": 1, "a": 3})
    2
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def count_of(targets: Any) -> int:
    """Number of examples in a batch.

    Parameters
    ----------
    targets : Tensor, or a tuple, list or mapping of Tensors
        Of several, the first counts.

    Returns
    -------
    int

    Examples
    --------
    >>> import torch
    >>> from valleywalk.evaluation import count_of
    >>> count_of({"labels": torch.zeros(8)})
    8
    """
    return len(first_part(targets))


def first_part(targets: Any) -> Any:
    """Of several targets the first, else the one.

    Parameters
    ----------
    targets : Tensor, or a tuple, list or mapping of Tensors

    Examples
    --------
    >>> from valleywalk.evaluation import first_part
    >>> first_part({"labels": (3, 4)})
    3
    """
    while isinstance(targets, (Mapping, tuple, list)):
        targets = next(iter(targets.values() if isinstance(targets, Mapping) else targets), None)
    return targets


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of a batch, reduced in float64.

    Parameters
    ----------
    output : Tensor, shape (images, classes)
    target : Tensor of int64, shape (images,)

    Returns
    -------
    Tensor
        A scalar, in nat.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.evaluation import cross_entropy
    >>> cross_entropy(torch.zeros(5, 10), torch.arange(5)).item()
    2.303
    """
    return nn.functional.cross_entropy(output.double(), target)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Share of a batch whose largest output is the target's.

    Parameters
    ----------
    output : Tensor, shape (images, classes)
    target : Tensor of int64, shape (images,)

    Returns
    -------
    Tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.evaluation import accuracy
    >>> accuracy(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1])).item()
    0.5
    """
    return (output.argmax(dim=1) == target).double().mean()
