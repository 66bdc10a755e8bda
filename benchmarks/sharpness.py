"""Sharpness along the step, from the curve of the segment, against double-backward products."""

import copy

import numpy as np
import torch
from interpolation import BATCH, Case
from torch import nn

from valleywalk import measures, watch
from valleywalk.evaluation import cross_entropy
from valleywalk.probes import Step
from valleywalk.surroundings import trainable
from valleywalk.walks import models
from valleywalk.walks.datasets import load

STEPS = 20
IMAGES = 200
CASES = (
    Case("MLP", "mlp", "mnist5k", IMAGES),
    Case("VGG-11, width 1/4", "vgg11", "photos", IMAGES, 0.25),
    Case("ResNet-56, width 1/4", "resnet56", "photos16", IMAGES, 0.25),
)
TOLERANCES = {"all points": 0.0, "few points, 2 %": 0.02}


class Product:
    """The Rayleigh quotient of the Hessian along the step, by double backward in train mode."""

    def __init__(self, model: nn.Module):
        self.twin = copy.deepcopy(model).train()

    def __call__(self, step: Step) -> dict[str, float]:
        parameters = trainable(self.twin)
        for parameter, value in zip(parameters, step.before, strict=True):
            parameter.data = value.clone()
        direction = [b - a for a, b in zip(step.before, step.after, strict=True)]
        batches = list(step.evaluate.batches)
        total, along = sum(len(targets) for _, targets in batches), 0.0
        with torch.enable_grad():
            for inputs, targets in batches:
                loss = cross_entropy(self.twin(inputs), targets) * len(targets) / total
                gradient = torch.autograd.grad(loss, parameters, create_graph=True)
                slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
                product = torch.autograd.grad(slope, parameters)
                along += sum(
                    (h * d).double().sum().item() for h, d in zip(product, direction, strict=True)
                )
        return {"product": along / sum((d.double() ** 2).sum().item() for d in direction)}


def measure(case: Case) -> list[dict[str, float | str]]:
    """How far the two are apart over the first steps of SGD."""
    dataset = load(case.dataset)
    rows: list[dict[str, float | str]] = []
    for title, tolerance in TOLERANCES.items():
        model = models.build(
            case.model, dataset.channels, dataset.image_size, len(dataset.classes), case.width, 0
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        order = np.random.default_rng(0)
        seen = (dataset.normalise(dataset.train_images[:IMAGES]), dataset.train_labels[:IMAGES])
        product = Product(model)
        watcher = watch(
            model, optimizer, cross_entropy, seen, tolerance=tolerance, probes=[product]
        )
        with watcher:
            for _ in range(STEPS):
                batch = torch.from_numpy(order.choice(len(dataset.train_labels), BATCH, False))
                images = dataset.normalise(dataset.train_images[batch])
                optimizer.zero_grad()
                cross_entropy(model(images), dataset.train_labels[batch]).backward()
                optimizer.step()
        found = measures.along_step(watcher.trace)
        sharpness, error = found["sharpness"].values, found["sharpness_error"].values
        exact = watcher.trace["product"].values
        off = np.abs(sharpness - exact)
        rows.append(
            {
                "network": case.title,
                "measured at": title,
                "median difference": float(np.median(off / np.abs(exact))),
                "largest": float((off / np.abs(exact)).max()),
                "median stated error": float(np.median(error / np.abs(sharpness))),
                "within the stated error": float((off <= error).mean()),
            }
        )
    return rows


if __name__ == "__main__":
    for chosen in CASES:
        for row in measure(chosen):
            print(row)
