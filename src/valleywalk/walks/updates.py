"""One step: a mini-batch's gradient, or all images' in chunks, and noise; schedules; crops."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from ..evaluation import Loss
from ..surroundings import trainable
from .experiment import Schedule

# The paper says that its schedules are apparent from Figure 6 and prints no numbers. These are
# ours: CLR goes three times up and down between a tenth of the rate and the rate (each half-cycle a
# sixth of the steps, rounded down, so that a short walk has a little more); the trapezoid rises as
# CLR's first half-cycle does and spends the last third of the walk coming down to zero; the steps,
# to a tenth, come at half and three quarters of the walk.
CLR_CYCLES = 3
LOWEST_SHARE = 0.1
STEPS_AT = (1 / 2, 3 / 4)
ANNEALED_SHARE = 1 / 3


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


def add_isotropic_noise(
    parameters: Iterable[nn.Parameter], deviation: float, generator: torch.Generator
) -> None:
    """Add Gaussian noise of the same standard deviation to each entry of the gradient.

    Drawn on the CPU, so that a walk sees the same noise on any device (paper, Section 4).
    """
    for parameter in parameters:
        if parameter.grad is not None:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad.add_(noise.to(parameter.grad), alpha=deviation)


def scheduler(optimizer: Optimizer, schedule: Schedule, steps: int) -> lr_scheduler.LRScheduler:
    """Torch's scheduler for a walk of `steps` steps (paper, Section 5 and Figure 6).

    The optimizer's learning rate is the largest that the schedule reaches. To be stepped after
    each optimizer step.

    Parameters
    ----------
    optimizer : Optimizer
    schedule : {"constant", "stepwise", "clr", "trapezoid"}
        clr: cyclical (Smith 2017), linear up and down. trapezoid: the first half of clr's first
        cycle, then flat, then linear to zero.
    steps : int
    """
    (rate,) = {group["lr"] for group in optimizer.param_groups}
    half_cycle = max(1, steps // (2 * CLR_CYCLES))
    if schedule == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    if schedule == "stepwise":
        milestones = [max(1, round(share * steps)) for share in STEPS_AT]
        return lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    if schedule == "clr":
        return lr_scheduler.CyclicLR(
            optimizer, LOWEST_SHARE * rate, rate, half_cycle, cycle_momentum=False
        )
    annealed = max(1, round(ANNEALED_SHARE * steps))
    flat_until = max(half_cycle + 1, steps - annealed)
    parts = [
        lr_scheduler.LinearLR(optimizer, LOWEST_SHARE, 1.0, half_cycle),
        lr_scheduler.ConstantLR(optimizer, 1.0, 0),
        lr_scheduler.LinearLR(optimizer, 1.0, 0.0, annealed),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [half_cycle, flat_until])


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
