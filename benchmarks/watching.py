"""What watching costs beyond the evaluations: time of a step, and vectors in memory."""

import gc
import weakref

import torch
from interpolation import BATCH, Case
from timing import interleaved

from valleywalk import watch
from valleywalk.evaluation import cross_entropy
from valleywalk.surroundings import trainable
from valleywalk.walks import models
from valleywalk.walks.datasets import load


def measure(case: Case, rounds: int, device: torch.device) -> dict[str, float | str]:
    """A training step with and without a watch that evaluates nothing; vectors with one that does.

    Parameters and gradients are the training's own and are not counted.
    """
    dataset = load(case.dataset)
    model, twin = (
        models.build(
            case.model, dataset.channels, dataset.image_size, len(dataset.classes), case.width, 0
        )
        for _ in range(2)
    )
    layout = models.memory_format(model, device)
    for network in (model, twin):
        network.to(device, memory_format=layout)
    images = dataset.normalise(dataset.train_images[:BATCH].to(device))
    labels = dataset.train_labels[:BATCH].to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    plain = torch.optim.SGD(twin.parameters(), lr=1e-3)

    def step(model: torch.nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)
        cross_entropy(model(images), labels).backward()
        optimizer.step()

    with watch(model, optimizer, cross_entropy, (images, labels), steps=lambda step: False):
        times = interleaved({"plain": lambda: step(twin, plain), "watched": step}, rounds, device)
    size = sum(parameter.numel() for parameter in trainable(model))
    gc.collect()
    before = _numbers()
    with watch(model, optimizer, cross_entropy, (images, labels), points=2):
        for _ in range(2):
            step()
        gc.collect()
        vectors = (_numbers() - before - images.numel()) / size
    return {
        "network": case.title,
        "time beyond evaluations": times["watched"] / times["plain"] - 1,
        "parameter vectors": vectors,
    }


def _numbers() -> int:
    """Floating-point numbers in all tensors that are alive, each storage once."""
    storages = {}
    for found in gc.get_objects():
        if isinstance(found, weakref.ProxyTypes) or not isinstance(found, torch.Tensor):
            continue
        if found.is_floating_point():
            storages[found.untyped_storage().data_ptr()] = found.untyped_storage().nbytes()
    return sum(storages.values()) // 4
