"""The gradient of one step: a mini-batch's, or all images' in chunks; and random augmentation."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from .evaluation import Loss, trainable


def accumulate_gradient(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[tuple[Tensor, Tensor]],
    images: int,
    *,
    weight_decay: float = 0.0,
    convention: str = "text",
) -> float:
    """Set each parameter's gradient to that of the mean loss over all batches, plus weight decay.

    One batch gives the gradient of SGD, all training images in chunks give that of GD. A chunk
    counts by its number of images, so that without batch norm the result is the full gradient for
    any chunk size.

    Parameters
    ----------
    model : nn.Module
    loss : callable (output, target) → scalar Tensor
        The mean over a batch.
    batches : iterable of (inputs, targets)
    images : int
        Number of images in all batches together.
    weight_decay : float
        Adds weight_decay · θ to the gradient.
    convention : {"text", "code"}
        "code" sums the mean gradients of the chunks without dividing by their number, as the
        authors' script does; a learning rate η then acts as η times the number of chunks.

    Returns
    -------
    float
        Mean loss over all images, before the step.
    """
    parameters = trainable(model)
    for parameter in parameters:
        parameter.grad = None
    total = 0.0
    for inputs, targets in batches:
        share = len(targets) / images
        batch_loss = loss(model(inputs), targets)
        (batch_loss if convention == "code" else batch_loss * share).backward()
        total += float(batch_loss.detach()) * share
    if weight_decay:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach(), alpha=weight_decay)
    return total


def crop_and_flip(images: Tensor, random: np.random.Generator, padding: int = 4) -> Tensor:
    """Shift each image by up to `padding` pixels (black comes in) and mirror half of them.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, channels, size, size)
    random : numpy.random.Generator
        Draws on the CPU, so that a walk sees the same images on any device.
    """
    count, _, height, width = images.shape
    shifts = torch.from_numpy(random.integers(0, 2 * padding + 1, (2, count))).to(images.device)
    flips = torch.from_numpy(random.integers(0, 2, count).astype(bool)).to(images.device)
    padded = nn.functional.pad(images, [padding] * 4)
    rows = shifts[0, :, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + shifts[1, :, None]
    each = torch.arange(count, device=images.device)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)
