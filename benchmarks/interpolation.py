"""The interpolation probe against what a user would pick instead, and against the machine."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import loss_landscapes
import loss_landscapes.metrics
import numpy as np
import torch
from timing import seconds
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from valleywalk import Dataset
from valleywalk.evaluation import Batches, EvaluationPlan, Evaluator, cross_entropy
from valleywalk.folders import datasets_folder
from valleywalk.probes import Step
from valleywalk.probes.interpolation import Interpolation
from valleywalk.surroundings import trainable
from valleywalk.torchvision_compat import torchvision  # noqa: F401, before what follows
from valleywalk.walks import models
from valleywalk.walks.catalogue import DATASETS
from valleywalk.walks.datasets import load
from valleywalk.walks.networks import Network, size_of

# isort: split
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

POINTS = 10
TOLERANCE = 0.02
SEGMENTS = 40
# A plain loop and the limit are asked for each so many segments.
SLOW_EVERY = 4
# Photographs where the images of CIFAR-10 are not there.
PICTURES = "cifar9k" if (datasets_folder() / "cifar9k.npz").is_file() else "photos"
BATCH = 100


@dataclass(frozen=True)
class Case:
    """A network at a width, and as many images as the segments are measured on."""

    title: str
    model: str
    dataset: str
    images: int
    width: float = 1.0


CASES = (
    Case("VGG-11", "vgg11", PICTURES, 200),
    Case("ResNet-56", "resnet56", PICTURES, 200),
    Case("MLP", "mlp", "mnist5k", 2000),
    Case("VGG-11, width 1/8", "vgg11", "photos", 500, 0.125),
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


def walk(case: Case, dataset: Dataset, device: torch.device) -> list[nn.Module]:
    """A network at the start and after each of `SEGMENTS` steps of SGD."""
    model = models.build(
        case.model, dataset.channels, dataset.image_size, len(dataset.classes), case.width, 0
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = np.random.default_rng(0)
    iterates = [copy.deepcopy(model)]
    for _ in range(SEGMENTS):
        batch = torch.from_numpy(order.choice(len(dataset.train_labels), BATCH, replace=False))
        images = dataset.normalise(dataset.train_images[batch].to(device))
        optimizer.zero_grad()
        cross_entropy(model(images), dataset.train_labels[batch].to(device)).backward()
        optimizer.step()
        iterates.append(copy.deepcopy(model))
    return iterates


class Ours:
    """The probe, as a walk calls it: each segment begins where the one before ended."""

    def __init__(self, case: Case, dataset: Dataset, plan: EvaluationPlan, tolerance: float, start):
        device = next(start.parameters()).device
        self.layout = models.memory_format(start, device)
        self.model = copy.deepcopy(start).to(memory_format=self.layout)
        images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
        batches = Batches(images, labels, lambda: plan.batches, dataset.normalise)
        self.evaluate = Evaluator(self.model, cross_entropy, batches)
        self.probe, self.points = Interpolation(POINTS, tolerance), 0

    def values(self, model: nn.Module) -> list[torch.Tensor]:
        """A network's parameters, in the layout in which a walk has them."""
        return [p.detach() for p in trainable(copy.deepcopy(model).to(memory_format=self.layout))]

    def __call__(self, before: list[torch.Tensor], after: list[torch.Tensor]) -> np.ndarray:
        seen = self.probe(Step(0, before, before, after, before, self.evaluate))
        self.points += int(seen["measured"].sum()) - 1
        return seen["loss"][1:]


def plain_loop(dataset: Dataset, plan: EvaluationPlan, start: nn.Module):
    """What a researcher writes: interpolate the state, load it, go through a DataLoader."""
    order = np.concatenate(plan.batches)
    loader = DataLoader(Pictures(dataset, order), batch_size=BATCH)
    model, device = copy.deepcopy(start), next(start.parameters()).device

    def work(first: nn.Module, second: nn.Module) -> np.ndarray:
        losses = []
        model.train()
        start, end = first.state_dict(), second.state_dict()
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


def packaged(dataset: Dataset, plan: EvaluationPlan, device: torch.device):
    """loss-landscapes' linear interpolation with its own metric, on the same images at once."""
    order = torch.from_numpy(np.concatenate(plan.batches))
    inputs = dataset.normalise(dataset.train_images[order].to(device))
    targets = dataset.train_labels[order].to(device)
    metric = loss_landscapes.metrics.Loss(nn.functional.cross_entropy, inputs, targets)

    def work(first: nn.Module, second: nn.Module) -> np.ndarray:
        return loss_landscapes.linear_interpolation(
            first, second, metric, steps=POINTS, deepcopy_model=True
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


def measure(case: Case, device: torch.device) -> dict[str, float | str]:
    """Seconds for consecutive segments by each way, in turns, and that the losses agree."""
    dataset = load(case.dataset)
    plan = EvaluationPlan.draw(len(dataset.train_labels), BATCH, 0, case.images)
    iterates = walk(case, dataset, device)
    start = iterates[0]
    data = DATASETS[case.dataset]
    shape = (data.channels, data.image_size, data.classes)
    each = size_of(Network(case.model, *shape, case.width)).multiply_adds
    exact, few = (Ours(case, dataset, plan, tolerance, start) for tolerance in (0.0, TOLERANCE))
    plain, package = plain_loop(dataset, plan, start), packaged(dataset, plan, device)
    limit = matrix_products(2 * each * case.images * POINTS, device)
    plain(*iterates[:2])  # To warm up.
    spent = {name: {} for name in ("exact", "few", "packaged", "plain", "limit")}
    for number, (first, second) in enumerate(pairwise(iterates)):
        begin, end = exact.values(first), exact.values(second)
        found: dict[str, np.ndarray] = {}
        ways = {
            "exact": lambda begin=begin, end=end: exact(begin, end),
            "few": lambda begin=begin, end=end: few(begin, end),
            "packaged": lambda first=first, second=second: package(first, second),
        }
        if number % SLOW_EVERY == 0:
            ways["plain"] = lambda first=first, second=second: plain(first, second)
            ways["limit"] = limit
        for name, way in ways.items():

            def run(name=name, way=way, found=found) -> None:
                found[name] = way()

            spent[name][number] = seconds(run, device)
        if "plain" in found:
            difference = np.abs(found["exact"] - found["plain"]).max()
            assert difference < 1e-4, f"the two ways measure different losses: {difference}"

    def over(name: str, other: str) -> float:
        """How many times as long a way takes as another, on the segments that both measured."""
        both = spent[name].keys() & spent[other].keys()
        return sum(spent[name][i] for i in both) / sum(spent[other][i] for i in both)

    return {
        "network": f"{case.title}, {case.images} images of {case.dataset}",
        "images a second": SEGMENTS * case.images * POINTS / sum(spent["exact"].values()),
        "plain loop": over("plain", "exact"),
        "loss-landscapes": over("packaged", "exact"),
        "share of the limit": over("limit", "exact"),
        "passes a step at 2 %": few.points / SEGMENTS,
        "plain loop, at 2 %": over("plain", "exact") * over("exact", "few"),
        "loss-landscapes, at 2 %": over("packaged", "few"),
    }
