"""The interpolation probe against what a user would pick instead, and against the machine."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import loss_landscapes
import loss_landscapes.metrics
import numpy as np
import torch
from timing import interleaved
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from valleywalk import Dataset, models
from valleywalk.cost import SHAPES, forward_multiply_adds
from valleywalk.datasets import load
from valleywalk.evaluation import Batches, EvaluationPlan, Evaluator, cross_entropy, trainable
from valleywalk.probes import Step
from valleywalk.probes.interpolation import Interpolation
from valleywalk.torchvision_compat import torchvision  # noqa: F401, before what follows

# isort: split
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

POINTS = 10
BATCH = 100


@dataclass(frozen=True)
class Case:
    """A network at a width, and images enough that a call takes seconds."""

    title: str
    model: str
    dataset: str
    images: int
    width: float = 1.0


CASES = (
    Case("VGG-11", "vgg11", "photos", 200),
    Case("ResNet-56", "resnet56", "photos", 200),
    Case("MLP", "mlp", "mnist5k", 4000),
    Case("VGG-11, width 1/8", "vgg11", "photos", 1000, 0.125),
)


class Pictures(TorchDataset):
    """Images as a data set of torchvision has them: PIL images, transformed one by one."""

    def __init__(self, dataset: Dataset, order: np.ndarray):
        self.images = [to_pil_image(dataset.train_images[index]) for index in order]
        self.labels = [int(dataset.train_labels[index]) for index in order]
        mean, deviation = list(dataset.mean), list(dataset.std)
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(mean, deviation),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), self.labels[index]


def two_iterates(case: Case, dataset: Dataset, device: torch.device) -> list[nn.Module]:
    """A network and the same one step of SGD later."""
    build = lambda: models.build(  # noqa: E731
        case.model, dataset.channels, dataset.image_size, len(dataset.classes), case.width, 0
    ).to(device)
    first, second = build(), build()
    images, labels = dataset.train_images[:BATCH], dataset.train_labels[:BATCH]
    cross_entropy(second(dataset.normalise(images.to(device))), labels.to(device)).backward()
    torch.optim.SGD(second.parameters(), lr=0.1).step()
    return [first, second]


def ours(case: Case, dataset: Dataset, pair: list[nn.Module], plan: EvaluationPlan, device):
    """The probe, as a walk calls it."""
    layout = models.memory_format(case.model, case.width)
    first, second = (copy.deepcopy(model).to(memory_format=layout) for model in pair)
    images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
    batches = Batches(images, labels, lambda: plan.batches, dataset.normalise)
    ends = [[p.detach() for p in trainable(model)] for model in (first, second)]
    evaluate, probe = Evaluator(first, cross_entropy, batches), Interpolation(POINTS)

    def work() -> np.ndarray:
        # There and back: as in a walk, each segment begins where the one before ended.
        before, after = ends
        ends.reverse()
        return probe(Step(0, before, before, after, before, evaluate))["loss"][1:]

    return work


def plain_loop(dataset: Dataset, pair: list[nn.Module], plan: EvaluationPlan, device):
    """What a researcher writes: interpolate the state, load it, go through a DataLoader."""
    order = np.concatenate(plan.batches)
    loader = DataLoader(Pictures(dataset, order), batch_size=BATCH)
    start, end = (copy.deepcopy(model.state_dict()) for model in pair)
    model = copy.deepcopy(pair[0])

    def work() -> np.ndarray:
        losses = []
        model.train()
        for alpha in np.linspace(0, 1, POINTS + 1)[1:]:
            between = {
                name: (1 - alpha) * value + alpha * end[name]
                if value.is_floating_point()
                else value
                for name, value in start.items()
            }
            model.load_state_dict(between)
            total, count = 0.0, 0
            with torch.no_grad():
                for images, labels in loader:
                    images, labels = images.to(device), labels.to(device)
                    loss = nn.functional.cross_entropy(model(images), labels)
                    total += loss.item() * len(labels)
                    count += len(labels)
            losses.append(total / count)
        return np.array(losses)

    return work


def packaged(dataset: Dataset, pair: list[nn.Module], plan: EvaluationPlan, device):
    """loss-landscapes' linear interpolation with its own metric, on the same images at once."""
    order = torch.from_numpy(np.concatenate(plan.batches))
    inputs = dataset.normalise(dataset.train_images[order].to(device))
    targets = dataset.train_labels[order].to(device)
    metric = loss_landscapes.metrics.Loss(nn.functional.cross_entropy, inputs, targets)

    def work() -> np.ndarray:
        return loss_landscapes.linear_interpolation(
            *pair, metric, steps=POINTS, deepcopy_model=True
        )

    return work


def matrix_products(operations: float, device: torch.device) -> Callable[[], None]:
    """As many floating-point operations in large matrix products."""
    side = 1024 if device.type == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    out = torch.empty(side, side, device=device)
    times = max(1, round(operations / (2 * side**3)))

    def work() -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    return work


def measure(case: Case, rounds: int, device: torch.device) -> dict[str, float | str]:
    """Median seconds of a segment by each way, and that the losses agree."""
    dataset = load(case.dataset)
    plan = EvaluationPlan.draw(len(dataset.train_labels), BATCH, 0, case.images)
    pair = two_iterates(case, dataset, device)
    each = forward_multiply_adds(case.model, *SHAPES[case.dataset], case.width)
    candidates = {
        "ours": ours(case, dataset, pair, plan, device),
        "plain": plain_loop(dataset, pair, plan, device),
        "packaged": packaged(dataset, pair, plan, device),
        "limit": matrix_products(2 * each * case.images * POINTS, device),
    }
    difference = np.abs(candidates["ours"]() - candidates["plain"]()).max()
    assert difference < 1e-4, f"the two ways measure different losses: {difference}"
    times = interleaved(candidates, rounds, device)
    return {
        "network": case.title,
        "images a second": case.images * POINTS / times["ours"],
        "plain loop": times["plain"] / times["ours"],
        "loss-landscapes": times["packaged"] / times["ours"],
        "share of the limit": times["limit"] / times["ours"],
    }
