"""Faster arithmetic, and the error that it makes in the height above the valley floor."""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from interpolation import BATCH, POINTS
from timing import interleaved

from valleywalk import analysis
from valleywalk.evaluation import Batches, EvaluationPlan, Evaluator, cross_entropy
from valleywalk.surroundings import trainable
from valleywalk.walks import models
from valleywalk.walks.datasets import load
from valleywalk.walks.updates import accumulate_gradient

SEGMENTS, IMAGES = 6, 400


@contextmanager
def tf32():
    """TF32 for convolutions and matrix products, inside the evaluator's own setting."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def measure(device: torch.device, rounds: int) -> list[dict[str, float | str]]:
    """The heights of some segments of VGG-11 (width 1/8) in float64, and in each faster mode."""
    dataset = load("photos")
    model = models.build("vgg11", 3, 32, 10, 0.125, 0)
    model.to(device, memory_format=models.memory_format(model, device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
    order = np.random.default_rng(0)
    iterates = []
    for step in range(20 + SEGMENTS):
        batch = order.choice(len(labels), BATCH, replace=False)
        if step >= 20:
            iterates.append([p.detach().clone() for p in trainable(model)])
        one = Batches(images, labels, lambda b=batch: [b], dataset.normalise)
        accumulate_gradient(model, cross_entropy, one, BATCH)
        optimizer.step()
    plan = EvaluationPlan.draw(len(labels), BATCH, 0, IMAGES)
    batches = list(Batches(images, labels, lambda: plan.batches, dataset.normalise))
    exact = [(inputs.double(), targets) for inputs, targets in batches]

    def heights(evaluate, kind=torch.float32) -> np.ndarray:
        losses = []
        for left, right in pairwise(iterates):
            points = [
                [
                    torch.lerp(a.to(kind), b.to(kind), float(alpha))
                    for a, b in zip(left, right, strict=True)
                ]
                for alpha in np.linspace(0, 1, POINTS + 1)
            ]
            losses.append([evaluate(point) for point in points])
        return analysis.height(np.array(losses))

    class Mode(torch.nn.Module):
        """The network within a context."""

        def __init__(self, context):
            super().__init__()
            self.inner, self.context = model, context

        def forward(self, inputs):
            with self.context():
                return self.inner(inputs)

    bfloat16 = lambda: torch.autocast(device.type, torch.bfloat16)  # noqa: E731
    modes = {"float32": Evaluator(model, cross_entropy, batches)}
    modes["bfloat16 autocast"] = Evaluator(Mode(bfloat16), cross_entropy, batches)
    if device.type == "cuda":
        modes["TF32"] = Evaluator(Mode(tf32), cross_entropy, batches)
    times = interleaved({n: lambda e=e: heights(e) for n, e in modes.items()}, rounds, device)
    found = {name: heights(evaluate) for name, evaluate in modes.items()}
    model.double()
    truth = heights(Evaluator(model, cross_entropy, exact), torch.float64)
    return [
        {
            "mode": name,
            "speed": times["float32"] / times[name],
            "largest error of a height": f"{np.abs(found[name] - truth).max():.1e}",
            "mean height": f"{truth.mean():.1e}",
        }
        for name in modes
    ]
