"""The Hessian's extremes against PyHessian and hessian-eigenthings, at equal residual."""

from contextlib import suppress

import numpy as np
import torch
from hessian_eigenthings import HessianOperator, lanczos_tridiagonal, supervised_loss
from pyhessian import hessian
from pyhessian.utils import group_product
from timing import interleaved
from torch import nn

from valleywalk.evaluation import Batches, EvaluationPlan, Evaluator, cross_entropy
from valleywalk.probes.curvature import (
    extremes,
    first_vector,
    hessian_vector_product,
    lanczos,
    multiplier,
)
from valleywalk.surroundings import trainable
from valleywalk.walks import models
from valleywalk.walks.datasets import load

RESIDUAL = 1e-3
POINTS, STEPS_BETWEEN, BATCH = 5, 20, 100
MOST_PRODUCTS = 400


def walk_points(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> list[dict]:
    """States of a network along full-batch descent, a search is made at each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    states = []
    for _ in range(POINTS):
        for _ in range(STEPS_BETWEEN):
            optimizer.zero_grad()
            cross_entropy(model.train()(inputs), targets).backward()
            optimizer.step()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    optimizer.zero_grad(set_to_none=True)
    return states


class _EnoughError(Exception):
    """The residual is small enough."""


class CountedPyHessian(hessian):
    """Counts products and stops at a residual, where the original stops at a small change."""

    def dataloader_hv_product(self, v):
        value, product = super().dataloader_hv_product(v)
        self.products += 1
        rest = [p - value * x for p, x in zip(product, v, strict=True)]
        if float(group_product(rest, rest)) ** 0.5 <= RESIDUAL * abs(value):
            raise _EnoughError
        return value, product


def pyhessian_products(model: nn.Module, batches: list) -> int:
    """Power iteration to the largest eigenvalue alone."""
    search = CountedPyHessian(model, nn.functional.cross_entropy, dataloader=batches, cuda=False)
    # It takes its parameters from the gradients of one batch that it was given.
    search.params = trainable(model)
    search.products = 0
    with suppress(_EnoughError):
        search.eigenvalues(maxIter=MOST_PRODUCTS, tol=0)
    return search.products


def eigenthings_products(operator: HessianOperator, seed: int) -> int:
    """Lanczos steps, from a random vector, until both ends of the spectrum have the residual."""
    first = torch.randn(operator.size, generator=torch.Generator().manual_seed(seed))
    for most in (25, 50, 100, 200, MOST_PRODUCTS):
        run = lanczos_tridiagonal(operator, first, min(most, operator.size))
        diagonal, beside = run.alphas.double(), [*run.betas.double(), run.last_beta]
        for count in range(3, run.iterations + 1):
            band = np.diag(diagonal[:count])
            for i, value in enumerate(beside[: count - 1]):
                band[i, i + 1] = band[i + 1, i] = value
            values, vectors = np.linalg.eigh(band)
            rest = np.abs(float(beside[count - 1]) * vectors[-1, [0, -1]])
            if (rest <= RESIDUAL * np.abs(values).max()).all():
                return count
    return MOST_PRODUCTS


def measure(name: str, dataset_name: str, width: float, images: int) -> dict[str, float | str]:
    """Products of all searches along a walk, and the time of a product, each by each way."""
    dataset = load(dataset_name)
    plan = EvaluationPlan.draw(len(dataset.train_labels), BATCH, 0, images)
    frozen = Batches(
        dataset.train_images, dataset.train_labels, lambda: plan.batches, dataset.normalise
    )
    batches = list(frozen)
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    model = models.build(name, dataset.channels, dataset.image_size, len(dataset.classes), width, 0)
    states = walk_points(model, inputs, targets)
    # Batch norm in eval mode, because one of the others knows no other.
    evaluate = Evaluator(model, cross_entropy, batches, "eval")
    operator = HessianOperator(model, batches, supervised_loss(nn.functional.cross_entropy))
    counts = {"ours": 0, "ours, largest alone": 0, "PyHessian": 0, "hessian-eigenthings": 0}
    multiply = multiplier(evaluate, lambda vector: hessian_vector_product(evaluate, vector))
    vectors = top = None
    for seed, state in enumerate(states):
        model.load_state_dict(state)
        model.eval()
        found = extremes(evaluate, tolerance=RESIDUAL, start=vectors)
        assert found.converged
        vectors = found.vectors
        counts["ours"] += found.products
        _, top, _, products = lanczos(multiply, first_vector(evaluate, top), (-1,), RESIDUAL)
        counts["ours, largest alone"] += products
        counts["hessian-eigenthings"] += eigenthings_products(operator, seed)
        torch.manual_seed(seed)
        counts["PyHessian"] += pyhessian_products(model, batches)
        model.zero_grad(set_to_none=True)
    vector = [torch.randn_like(p) for p in trainable(model)]
    flat = torch.cat([part.flatten() for part in vector])
    theirs = hessian(model, nn.functional.cross_entropy, dataloader=batches, cuda=False)
    theirs.params = trainable(model)
    times = interleaved(
        {
            "ours": lambda: hessian_vector_product(evaluate, vector),
            "PyHessian": lambda: theirs.dataloader_hv_product(vector),
            "hessian-eigenthings": lambda: operator.matvec(flat),
        },
        rounds=5,
    )
    return {
        "network": f"{name}, width {width:g}",
        **{f"products, {who}": count for who, count in counts.items()},
        **{f"product's time, {who}": times[who] / times["ours"] for who in times if who != "ours"},
    }
