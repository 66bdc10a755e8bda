"""Hessian products and extremes against dense matrices whose entries are known another way."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from valleywalk.evaluation import Evaluator
from valleywalk.probes.curvature import (
    extremes,
    hessian_vector_product,
    power_iteration,
)
from valleywalk.probes.lanczos import lanczos
from valleywalk.surroundings import trainable

cross_entropy = nn.functional.cross_entropy


def small(batch_norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 2, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 4)]
    if batch_norm:
        layers.insert(1, nn.BatchNorm2d(2))
    return nn.Sequential(*layers).double()


def batches_of(images, size):
    inputs, targets = images[0].double(), images[1]
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def dense_hessian(model, batches):
    """The whole matrix by torch.func (reverse over reverse), batch by batch."""
    names = [name for name, p in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    shapes = [p.shape for p in model.parameters()]
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    total, count = 0.0, sum(len(targets) for _, targets in batches)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    for inputs, targets in batches:

        def loss(theta, inputs=inputs, targets=targets):
            pieces = [p.view(s) for p, s in zip(theta.split(sizes), shapes, strict=True)]
            state = dict(zip(names, pieces, strict=True)) | {
                k: b.clone() for k, b in buffers.items()
            }
            return cross_entropy(functional_call(model, state, (inputs,)), targets)

        matrix = torch.autograd.functional.hessian(loss, flat)
        total = total + matrix * (len(targets) / count)
    return total.numpy()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_products_and_extremes_against_the_dense_hessian(images, batch_norm, mode):
    model = small(batch_norm)
    model(images[0].double())  # running statistics that are not the start's
    batches = batches_of(images, 16)
    evaluate = Evaluator(model, cross_entropy, batches, mode)
    buffers = [b.clone() for b in model.buffers()]
    model.train(mode == "train")
    matrix = dense_hessian(model, batches)
    model.train()
    for old, new in zip(buffers, model.buffers(), strict=True):
        new.copy_(old)
    scale = np.abs(matrix).max()
    assert matrix == pytest.approx(matrix.T, abs=1e-10 * scale)
    vector = [torch.randn_like(p) for p in trainable(model)]
    product = torch.cat([p.flatten() for p in hessian_vector_product(evaluate, vector)])
    expected = matrix @ torch.cat([v.flatten() for v in vector]).numpy()
    assert np.linalg.norm(product.numpy() - expected) <= 1e-6 * np.linalg.norm(expected)
    values = np.linalg.eigvalsh(matrix)
    found = extremes(evaluate, tolerance=1e-8)
    assert found.converged
    assert found.largest == pytest.approx(values[-1], rel=1e-6)
    assert found.smallest == pytest.approx(values[0], rel=1e-6, abs=1e-9 * values[-1])
    assert max(found.residuals) < 1e-6


def test_product_against_finite_differences_of_the_gradient(images):
    model = small(batch_norm=True)
    batches = batches_of(images, 10)
    evaluate = Evaluator(model, cross_entropy, batches)
    parameters = trainable(model)
    vector = [torch.randn_like(p) for p in parameters]

    def gradient(step):
        with torch.no_grad():
            for p, v in zip(parameters, vector, strict=True):
                p.add_(v, alpha=step)
        total = sum(cross_entropy(model(x), y) * len(y) for x, y in batches) / 40
        result = torch.autograd.grad(total, parameters)
        with torch.no_grad():
            for p, v in zip(parameters, vector, strict=True):
                p.sub_(v, alpha=step)
        return torch.cat([g.flatten() for g in result])

    step = 1e-5
    expected = (gradient(step) - gradient(-step)) / (2 * step)
    product = torch.cat([p.flatten() for p in hessian_vector_product(evaluate, vector)])
    assert torch.linalg.norm(product - expected) <= 1e-6 * torch.linalg.norm(expected)


def test_the_quadratic_s_spectrum():
    curvature = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    data = [(torch.eye(4, dtype=torch.float64), torch.zeros(4))]

    def loss(output, target):
        return 0.5 * (curvature * output[:, 0] ** 2).sum()

    found = extremes(Evaluator(model, loss, data), tolerance=1e-10)
    assert (found.largest, found.smallest) == pytest.approx((3.0, -1.0))
    assert np.abs(found.vectors[0]) == pytest.approx([1, 0, 0, 0], abs=1e-6)


def symmetric(values, seed=0):
    """A dense matrix with the given eigenvalues, and its eigenvectors."""
    random = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(random.standard_normal((len(values), len(values))))
    return vectors * values @ vectors.T, vectors


@pytest.mark.parametrize("max_vectors", [12, 30, 300])
def test_lanczos_finds_the_ends_with_and_without_restarts(max_vectors):
    values = np.concatenate([[-3.0, -2.5], np.linspace(-0.5, 0.5, 190), [4.0, 4.2, 9.0]])
    matrix, vectors = symmetric(values)
    first = np.random.default_rng(1).standard_normal(len(values))
    found, basis, residuals, products = lanczos(
        lambda v: matrix @ v, first, (-1, -2, 0), 1e-9, max_vectors=max_vectors
    )
    assert found == pytest.approx([9.0, 4.2, -3.0])
    assert np.abs(basis @ vectors[:, [-1, -2, 0]]) == pytest.approx(np.eye(3), abs=1e-6)
    true = np.linalg.norm(matrix @ basis.T - basis.T * found, axis=0) / 9
    assert residuals == pytest.approx(true, abs=1e-12)
    assert products < 100


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_lanczos_on_matrices_with_fewer_directions_than_wanted(rank):
    values = [5.0, 4.0, 3.0][:rank]
    matrix, _ = symmetric(values + [0.0] * (10 - rank))
    first = np.random.default_rng(1).standard_normal(10)
    found, basis, _, _ = lanczos(lambda v: matrix @ v, first, (-3, -2, -1), 1e-6)
    assert found == pytest.approx([0.0] * (3 - rank) + values[::-1], abs=1e-6)
    assert basis @ basis.T == pytest.approx(np.eye(3), abs=1e-6)


def counted(matrix):
    """The product with a matrix, and a list that grows by one at each."""
    calls = []

    def multiply(vector):
        calls.append(1)
        return matrix @ vector

    return multiply, calls


def test_lanczos_counts_its_products_and_stops_where_it_must():
    matrix, _ = symmetric(np.linspace(-1, 1, 50))
    multiply, calls = counted(matrix)
    first = np.random.default_rng(1).standard_normal(50)
    assert lanczos(multiply, first, (-1, 0), 1e-9)[3] == len(calls)
    calls.clear()
    assert lanczos(multiply, first, (-1, 0), 0.0, max_products=7)[3] == len(calls) == 7
    calls.clear()
    multiply, calls = counted(np.diag([1.0, 2.0, 3.0]))
    found, _, _, products = lanczos(multiply, np.array([0.0, 0.0, 1.0]), (-1,), 1e-9)
    assert products == len(calls) == 1, "it began at the answer, and nothing is left over"
    assert found.tolist() == [3.0]


def test_a_model_of_one_parameter():
    found = extremes(quadratic_of([3.0]))
    assert (found.largest, found.smallest, found.converged) == (3.0, 3.0, True)


@pytest.mark.parametrize("products", [0, 2, 2.5])
def test_so_few_products_that_nothing_is_found(products):
    evaluate = quadratic_of(np.arange(10.0))
    assert extremes(evaluate, max_products=3).products == 3
    with pytest.raises(ValueError, match=rf"^max_products is {products}; give .* of 3 or more$"):
        extremes(evaluate, max_products=products)


def test_lanczos_does_not_take_the_first_eigenvector_it_meets():
    """It begins so near to one in the middle that its residual is below the tolerance."""
    matrix, vectors = symmetric([*np.linspace(0.5, 0.9, 40), 1.0, 9.0])
    first = vectors[:, -2] + 1e-3 * vectors[:, -1]
    assert np.linalg.norm(matrix @ first - first) < 0.01
    (found,), *_ = lanczos(lambda v: matrix @ v, first, (-1,), 0.01)
    assert found == pytest.approx(9.0, rel=0.01)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_lanczos_on_small_and_large_numbers(size):
    matrix, _ = symmetric([size * value for value in (5.0, 4.0, *[0.0] * 8)])
    first = np.random.default_rng(1).standard_normal(10)
    found, basis, _, _ = lanczos(lambda v: matrix @ v, first, (-3, -2, -1), 1e-6)
    assert found == pytest.approx([0.0, 4.0 * size, 5.0 * size], abs=1e-6 * size)
    assert basis @ basis.T == pytest.approx(np.eye(3), abs=1e-6)


def quadratic_of(curvature):
    """Evaluator whose Hessian is diagonal with these entries."""
    curvature = torch.as_tensor(curvature, dtype=torch.float64)
    model = nn.Linear(len(curvature), 1, bias=False).double()
    data = [(torch.eye(len(curvature), dtype=torch.float64), torch.zeros(len(curvature)))]
    return Evaluator(
        model, lambda output, target: 0.5 * (curvature * output[:, 0] ** 2).sum(), data
    )


def test_both_ends_must_have_converged():
    """The top stands out and is found in a few products; the bottom is one of many."""
    found = extremes(
        quadratic_of([*np.linspace(-1, 1, 199), 1000.0]), tolerance=1e-6, max_products=5
    )
    assert found.residuals[0] < 1e-6 < found.residuals[1]
    assert not found.converged
    assert found.products == 5


def test_a_warm_start_is_mostly_the_old_vectors():
    curvature = [*np.linspace(-1, 1, 197), -2.0, 2.0, 3.0]
    evaluate = quadratic_of(curvature)
    cold = extremes(evaluate, tolerance=0.05)
    warm = extremes(evaluate, tolerance=0.05, start=np.eye(200)[[199, 197]])
    assert warm.products <= 3 < cold.products / 2
    assert (warm.largest, warm.smallest) == pytest.approx((3, -2), rel=0.05)


def test_documented_defaults():
    def default(function, name):
        return inspect.signature(function).parameters[name].default

    assert default(power_iteration, "iterations") == 15, "the authors' number"
    assert default(extremes, "tolerance") == 1e-3
    assert default(extremes, "max_products") == default(lanczos, "max_products") == 400
    assert default(lanczos, "max_vectors") == 64


def test_a_parameter_without_curvature_beside_one_that_has_it():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.bent = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
            self.straight = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))

        def forward(self, inputs):
            return (self.bent**2).sum() * 2 + self.straight.sum()

    evaluate = Evaluator(Model(), lambda output, target: output, [(torch.ones(1), torch.zeros(1))])
    vector = [torch.ones(2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)]
    bent, straight = hessian_vector_product(evaluate, vector)
    assert bent.tolist() == [4.0, 4.0]
    assert straight.tolist() == [0.0]


def test_the_authors_power_iteration_step_by_step():
    """Value and residual after three steps, against the same written for a diagonal matrix."""
    curvature = np.array([3.0, 2.0, -2.5, 0.1])
    vector = np.random.Generator(np.random.PCG64(0)).standard_normal(4)
    for _ in range(3):
        vector = curvature * vector
        value = vector[np.argmax(np.abs(vector))]
        vector = vector / value
    vector /= np.linalg.norm(vector)
    residual = np.linalg.norm(curvature * vector - value * vector) / abs(value)
    found = power_iteration(quadratic_of(curvature), iterations=3)
    assert found == pytest.approx((value, residual), rel=1e-9)


def test_a_warm_start_does_not_miss_a_new_sharpest_direction():
    """It grew where the start has nothing: only the random share can find it."""
    curvature = torch.ones(200, dtype=torch.float64)
    curvature[0], curvature[1], curvature[2] = 3.0, -1.0, 7.0
    model = nn.Linear(200, 1, bias=False).double()
    data = [(torch.eye(200, dtype=torch.float64), torch.zeros(200))]
    loss = lambda output, target: 0.5 * (curvature * output[:, 0] ** 2).sum()  # noqa: E731
    start = np.eye(200)[[0, 1]]
    found = extremes(Evaluator(model, loss, data), tolerance=1e-6, start=start)
    assert (found.largest, found.smallest) == pytest.approx((7.0, -1.0))


def test_a_warm_start_needs_fewer_products(images):
    model = small(batch_norm=True)
    evaluate = Evaluator(model, cross_entropy, batches_of(images, 20))
    cold = extremes(evaluate, tolerance=1e-4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.001)
    warm = extremes(evaluate, tolerance=1e-4, start=cold.vectors)
    assert warm.products <= cold.products
    assert warm.largest == pytest.approx(cold.largest, rel=0.05)


def test_what_has_not_converged_is_marked_so(images):
    evaluate = Evaluator(small(batch_norm=False), cross_entropy, batches_of(images, 40))
    assert not extremes(evaluate, tolerance=1e-14, max_products=5).converged


def test_the_model_is_left_as_it_was(images, network):
    network(images[0])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    extremes(Evaluator(network, cross_entropy, [images]), tolerance=1e-2)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)


def test_products_against_curvlinops(images):
    """Where that is valid: without batch norm in train mode."""
    from curvlinops import HessianLinearOperator

    model = small(batch_norm=True).eval()
    model[1].running_mean += 0.1
    batches = batches_of(images, 16)
    parameters = list(model.parameters())
    operator = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, batches)
    vector = [torch.randn_like(p) for p in model.parameters()]
    expected = operator @ torch.cat([v.flatten() for v in vector])
    evaluate = Evaluator(model, cross_entropy, batches, "eval")
    product = torch.cat([p.flatten() for p in hessian_vector_product(evaluate, vector)])
    # It weighs batches by its own reduction: all but a common factor must agree.
    factor = float(product @ expected / (expected @ expected))
    assert torch.linalg.norm(product - factor * expected) <= 1e-6 * torch.linalg.norm(product)
    assert factor == pytest.approx(1, rel=1e-6)


def test_the_authors_power_iteration_converges_only_where_the_spectrum_lets_it():
    data = [(torch.eye(3, dtype=torch.float64), torch.zeros(3))]

    def estimate(curvature, iterations=15):
        model = nn.Linear(3, 1, bias=False).double()
        curvature = torch.tensor(curvature, dtype=torch.float64)
        loss = lambda output, target: 0.5 * (curvature * output[:, 0] ** 2).sum()  # noqa: E731
        return power_iteration(Evaluator(model, loss, data), iterations)

    value, residual = estimate([-4.0, 1.0, 0.5])
    assert value == pytest.approx(-4, rel=1e-6), "of largest size, whatever its sign"
    assert residual < 1e-6
    value, residual = estimate([3.0, 2.95, -2.9])
    assert residual > 0.01, "close eigenvalues: 15 steps are not enough, and the residual says so"
    value, residual = estimate([3.0, 2.95, -2.9], iterations=2000)
    assert value == pytest.approx(3, rel=1e-3)


def test_a_loss_without_curvature_has_none():
    model = nn.Linear(3, 1, bias=False).double()
    data = [(torch.eye(3, dtype=torch.float64), torch.zeros(3))]
    evaluate = Evaluator(model, lambda output, target: output.sum(), data)
    (product,) = hessian_vector_product(evaluate, [torch.ones(1, 3, dtype=torch.float64)])
    assert (product == 0).all()
