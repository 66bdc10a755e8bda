"""Gradient noise: against exact gradients of single images, dense matrices, and Equation 7."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from valleywalk.evaluation import EvaluationPlan, Evaluator
from valleywalk.paper import noise_structure
from valleywalk.paper.claim import Walked
from valleywalk.probes.noise_structure import (
    Relabelled,
    alignment,
    cross_fitted_variance,
    decompose,
    largest_gradient_variance,
)
from valleywalk.statistics import plans_for_variance

cross_entropy = nn.functional.cross_entropy


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3), nn.Tanh(), nn.Linear(3, 4)).double()


def data(images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, 8, 8, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 4, (images,), generator=generator)


def single_gradients(model, inputs, targets):
    """Gradient of each image's loss, shape (images, parameters)."""
    state = {name: p.detach() for name, p in model.named_parameters()}

    def loss(state, x, y):
        return cross_entropy(functional_call(model, state, (x[None],)), y[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))(state, inputs, targets)
    return torch.cat([part.flatten(1) for part in each.values()], dim=1).numpy()


def batches_of(inputs, targets, size, seed=0):
    plan = EvaluationPlan.draw(len(targets), size, seed)
    return [(inputs[batch], targets[batch]) for batch in plan.batches]


def test_batches_of_one_image_give_the_exact_variance():
    model, (inputs, targets) = small(), data(30)
    exact = single_gradients(model, inputs, targets).var(axis=0, ddof=1).max()
    evaluate = Evaluator(model, cross_entropy, batches_of(inputs, targets, 1)[:-1], "eval")
    first = largest_gradient_variance(evaluate)
    # The plan puts its last single image to the batch before: that batch is left out.
    single = [single_gradients(model, x, y)[0] for x, y in evaluate.batches if len(y) == 1]
    assert first == pytest.approx(np.var(single, axis=0, ddof=1).max(), rel=1e-9)
    assert first == pytest.approx(exact, rel=0.2)


def test_the_estimate_from_mini_batches_is_unbiased():
    model, (inputs, targets) = small(), data(60)
    exact = single_gradients(model, inputs, targets).var(axis=0, ddof=1)
    top = int(exact.argmax())
    estimates = []
    for seed in range(150):
        gradients = []
        for x, y in batches_of(inputs, targets, 6, seed):
            gradients.append(single_gradients(model, x, y).mean(axis=0)[top])
        estimates.append(6 * np.var(gradients, ddof=1))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(exact[top], abs=4 * error)
    # The library's number is this estimate for the parameter where it is largest.
    evaluate = Evaluator(model, cross_entropy, batches_of(inputs, targets, 6, 0), "eval")
    gradients = np.array([single_gradients(model, x, y).mean(axis=0) for x, y in evaluate.batches])
    assert largest_gradient_variance(evaluate) == pytest.approx(
        6 * gradients.var(axis=0, ddof=1).max(), rel=1e-9
    )


def test_two_batches_have_one():
    model, (inputs, targets) = small(), data(12)
    batches = batches_of(inputs, targets, 6)
    assert len(batches) == 2
    gradients = np.array([single_gradients(model, x, y).mean(axis=0) for x, y in batches])
    evaluate = Evaluator(model, cross_entropy, batches, "eval")
    assert largest_gradient_variance(evaluate) == pytest.approx(
        6 * gradients.var(axis=0, ddof=1).max(), rel=1e-9
    )


def test_a_parameter_that_the_loss_does_not_need_has_no_noise():
    model, (inputs, targets) = small(), data(60)
    batches = batches_of(inputs, targets, 5)
    expected = alignment(Evaluator(model, cross_entropy, batches, "eval"))
    variance = largest_gradient_variance(Evaluator(model, cross_entropy, batches, "eval"))
    model.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))
    evaluate = Evaluator(model, cross_entropy, batches, "eval")
    assert largest_gradient_variance(evaluate) == pytest.approx(variance, rel=1e-12)
    assert alignment(evaluate) == pytest.approx(expected, rel=0.05)


def test_one_batch_has_no_variance():
    evaluate = Evaluator(small(), cross_entropy, [data(10)], "eval")
    with pytest.raises(ValueError, match="at least 2 batches"):
        largest_gradient_variance(evaluate)


class Mean(nn.Module):
    """The gradient of its mean output is the mean of its inputs."""

    def __init__(self, parameters):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(parameters, dtype=torch.float64))

    def forward(self, inputs):
        return inputs @ self.weight


def redrawn(inputs, size, seed):
    """As many plans as are needed, each with the same images in other batches."""
    plan = EvaluationPlan.draw(len(inputs), size, seed)
    nothing = torch.zeros(len(inputs))
    return [
        [(inputs[batch], nothing[batch]) for batch in plan.redrawn(1000 * seed + one).batches]
        for one in range(plans_for_variance(len(plan.batches)))
    ]


@pytest.mark.parametrize("spectrum", ["spread", "equal"])
@pytest.mark.parametrize(("batches", "times"), [(2, 2.0), (3, 1.5), (9, 1.1), (40, 1.0)])
def test_a_largest_variance_that_is_known(batches, times, spectrum):
    """Of 400 parameters: the maximum is too large, the cross-fitted one lies within its error."""
    random = np.random.default_rng(0)
    variances = np.exp(random.standard_normal(400)) if spectrum == "spread" else np.ones(400)
    inputs = torch.from_numpy(random.standard_normal((360, 400)) * np.sqrt(variances))
    truth = float(inputs.var(dim=0).max())
    maxima, found = [], []
    for seed in range(25):
        plans = redrawn(inputs, 360 // batches, seed)
        evaluate = Evaluator(Mean(400), lambda output, target: output.mean(), plans[0])
        maxima.append(largest_gradient_variance(evaluate))
        found.append(cross_fitted_variance(evaluate, plans))
    values, errors = (
        np.array([getattr(one, name) for one in found]) for name in ("value", "error")
    )
    assert np.mean(maxima) > times * truth
    assert abs(values.mean() - truth) < errors.mean() < 0.5 * truth
    assert np.sqrt(np.mean((values - truth) ** 2)) < 1.7 * errors.mean()
    assert found[0].freedom == len(plans) * (batches - 1) >= 48


def test_the_parameter_is_chosen_on_other_plans_than_its_variance_is_estimated_on():
    """By hand, from the variances of each plan."""
    model, (inputs, targets) = small(), data(24)
    plans = [batches_of(inputs, targets, 8, seed) for seed in range(8)]
    each = []
    for plan in plans:
        gradients = np.array([single_gradients(model, x, y).mean(axis=0) for x, y in plan])
        each.append(8 * gradients.var(axis=0, ddof=1))
    folds = np.array(each).reshape(2, 4, -1).mean(axis=0)
    expected = [folds[k][np.delete(folds, k, axis=0).sum(axis=0).argmax()] for k in range(4)]
    found = cross_fitted_variance(Evaluator(model, cross_entropy, plans[0], "eval"), plans)
    value = np.mean(expected)
    assert found.value == pytest.approx(value, rel=1e-9)
    above = folds.mean(axis=0).max() - value
    assert found.error == pytest.approx(np.hypot(value * (2 / 16) ** 0.5, above / 2), rel=1e-9)
    assert found.freedom == 16
    for few in ([], plans[:2], plans[:5]):
        with pytest.raises(ValueError, match="multiple of 4"):
            cross_fitted_variance(Evaluator(model, cross_entropy, plans[0], "eval"), few)


@pytest.mark.parametrize("trained", [0, 200])
def test_equation_7_holds_to_rounding_at_any_point(trained):
    model, (inputs, targets) = small(), data(25)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(trained):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    found = decompose(model, inputs, targets)
    assert found.error < 1e-13
    each = single_gradients(model, inputs, targets)
    assert found.covariance == pytest.approx(np.cov(each.T, ddof=0), abs=1e-12)
    mean = each.mean(axis=0)
    assert found.mean_outer == pytest.approx(np.outer(mean, mean), abs=1e-12)
    assert 0 < found.share("residual") < 2
    # The Fisher information is the Gauss-Newton matrix of the cross-entropy: J' (diag p - pp') J.
    outputs = torch.autograd.functional.jacobian(
        lambda *values: functional_call(
            model, dict(zip(dict(model.named_parameters()), values, strict=True)), (inputs,)
        ),
        tuple(p.detach() for p in model.parameters()),
    )
    jacobian = torch.cat([part.flatten(2) for part in outputs], dim=2)
    p = model(inputs).detach().softmax(dim=1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    gauss_newton = torch.einsum("nap,nab,nbq->pq", jacobian, middle, jacobian) / len(targets)
    assert found.fisher == pytest.approx(gauss_newton.numpy(), abs=1e-12)
    away, whole = (np.linalg.norm(m) for m in (found.hessian - found.fisher, found.hessian))
    assert found.distance_from_fisher == pytest.approx(away / whole)
    assert found.share("fisher") == pytest.approx(np.linalg.norm(found.fisher) / whole)


def test_alignment_against_dense_matrices():
    model, (inputs, targets) = small(), data(60)
    batches = batches_of(inputs, targets, 5)
    gradients = np.array([single_gradients(model, x, y).mean(axis=0) for x, y in batches])
    covariance = np.cov(gradients.T, ddof=0)
    hessian = decompose(model, inputs, targets).hessian
    _, noisy = np.linalg.eigh(covariance)
    values, sharp = np.linalg.eigh(hessian)
    noisy, sharp = noisy[:, -3:], sharp[:, -3:]
    found = alignment(Evaluator(model, cross_entropy, batches, "eval"), directions=3)
    assert found["noise_overlap"] == pytest.approx(((noisy.T @ sharp) ** 2).sum() / 3, rel=0.02)
    curvature = np.trace(noisy.T @ hessian @ noisy) / values[-3:].sum()
    assert found["noise_sharpness"] == pytest.approx(curvature, rel=0.02)
    share = np.trace(sharp.T @ covariance @ sharp) / np.trace(covariance)
    assert found["noise_share"] == pytest.approx(share, rel=0.02)
    others = list(Relabelled(batches))
    assert torch.cat([y for _, y in others]).bincount().tolist() == targets.bincount().tolist()
    gradients = np.array([single_gradients(model, x, y).mean(axis=0) for x, y in others])
    _, control = np.linalg.eigh(np.cov(gradients.T, ddof=0))
    overlap = ((control[:, -3:].T @ sharp) ** 2).sum() / 3
    assert found["noise_overlap_control"] == pytest.approx(overlap, rel=0.02)


def overlaps(labels, images):
    """Of a linear model's squared loss at zero, with batches of one image."""
    model = nn.Linear(images.shape[1], 1, bias=False).double()
    nn.init.zeros_(model.weight)
    batches = [(x[None], y[None]) for x, y in zip(images, labels[:, None], strict=True)]
    evaluate = Evaluator(model, nn.functional.mse_loss, batches, "eval")
    found = alignment(evaluate, directions=1)
    return found["noise_overlap"], found["noise_overlap_control"]


def test_noise_that_knows_nothing_of_its_labels_is_as_its_control():
    """Both lie along the direction in which the images are long: that is no merit of the noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(200, 10, generator=generator, dtype=torch.float64)
    images[:, 0] *= 3
    own, control = overlaps(torch.randn(200, generator=generator, dtype=torch.float64), images)
    assert own > 0.8
    assert own / control == pytest.approx(1, abs=0.2)


def test_noise_along_the_sharp_direction_exceeds_its_control():
    """Each image lies along one axis; only those along the sharpest have labels to be fitted."""
    axes = torch.arange(200) % 10
    images = torch.eye(10, dtype=torch.float64)[axes]
    images[axes == 0] *= 1.1
    sign = (-1.0) ** (torch.arange(200) // 10)
    own, control = overlaps((sign * (axes == 0)).double(), images)
    assert own == pytest.approx(1, abs=1e-3)
    assert control < 0.5


def test_targets_that_are_no_tensor_have_no_control():
    model = nn.Linear(2, 1, bias=False)

    def loss(output, target):
        return ((output - target["y"]) ** 2).mean()

    batches = [(torch.eye(2), {"y": torch.randn(2, 1)}) for _ in range(4)]
    found = alignment(Evaluator(model, loss, batches), directions=1)
    assert set(found) == {"noise_overlap", "noise_sharpness", "noise_share"}


@pytest.mark.parametrize(
    ("loss", "same"),
    [(nn.functional.l1_loss, False), (nn.functional.mse_loss, True)],
    ids=["nothing is curved", "no noise"],
)
def test_a_training_goes_on_where_there_is_nothing_to_align(loss, same):
    """Any directions are the sharpest of a Hessian that is zero, or of a covariance."""
    x = torch.ones(4, 1, 2) if same else torch.eye(2).repeat(2, 1)[:, None]
    batches = [(image, torch.full((1, 1), 8.0)) for image in x]
    found = alignment(Evaluator(nn.Linear(2, 1, bias=False), loss, batches), directions=1)
    assert len(found) == 4
    assert np.isnan([*found.values()]).all()


def test_alignment_needs_more_batches_than_directions():
    inputs, targets = data(20)
    evaluate = Evaluator(small(), cross_entropy, batches_of(inputs, targets, 5), "eval")
    with pytest.raises(ValueError, match="more than 4 batches, there are 4"):
        alignment(evaluate, directions=3)
    with pytest.raises(ValueError, match="top 3 directions"):
        alignment(evaluate)
    inputs, targets = data(25)
    evaluate = Evaluator(small(), cross_entropy, batches_of(inputs, targets, 5), "eval")
    assert 0 < alignment(evaluate)["noise_overlap"] <= 1


@pytest.mark.parametrize("directions", [0, 3])
def test_alignment_needs_as_many_parameters_as_directions(directions):
    model = nn.Linear(2, 1, bias=False)
    batches = [(torch.eye(2), torch.randn(2, 1)) for _ in range(9)]
    evaluate = Evaluator(model, nn.functional.mse_loss, batches)
    assert alignment(evaluate, directions=2)["noise_overlap"] == pytest.approx(1)
    with pytest.raises(ValueError, match=f"^directions is {directions}; give .* from 1 to 2$"):
        alignment(evaluate, directions)


def test_the_model_is_left_as_it_was(network, images):
    batches = batches_of(*images, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    largest_gradient_variance(Evaluator(network, cross_entropy, batches))
    alignment(Evaluator(network, cross_entropy, batches), directions=1)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert network.training


def test_what_the_covariance_leaves_of_the_hessian_at_the_end_of_training(monkeypatch):
    """The claim's number, against a dense Hessian and single gradients of the trained network."""
    ends = []

    def noted(model, inputs, targets):
        ends.append((copy.deepcopy(model), inputs, targets))
        return decompose(model, inputs, targets)

    monkeypatch.setattr("valleywalk.probes.noise_structure.decompose", noted)
    page = noise_structure.NoiseStructure(digits=12, hidden=2, steps=10)
    found = noise_structure.hessian_is_covariance.measure(Walked(page, []))
    ((model, inputs, targets),) = ends
    shapes = {name: each.shape for name, each in model.named_parameters()}
    theta = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def loss(flat):
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        given = {name: p.reshape(shapes[name]) for name, p in zip(shapes, pieces, strict=True)}
        return cross_entropy(functional_call(model, given, (inputs,)), targets)

    hessian = torch.autograd.functional.hessian(loss, theta).numpy()
    each = single_gradients(model, inputs, targets)
    residual = hessian - each.T @ each / len(each)
    assert found == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(hessian), rel=1e-10)


def test_a_page_s_decomposition_keeps_to_one_thread(monkeypatch):
    """Pages are made side by side: busy threads of several processes starve each other."""
    threads = []

    def noted(model, inputs, targets):
        threads.append(torch.get_num_threads())
        return decompose(model, inputs, targets)

    monkeypatch.setattr("valleywalk.probes.noise_structure.decompose", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = noise_structure.decomposition_along_training(10, 2, 3, seed=5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}
    assert found["step"].tolist() == [0, 1, 2, 3]
