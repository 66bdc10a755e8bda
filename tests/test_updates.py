import numpy as np
import pytest
import torch
from torch import nn

from valleywalk.walks.updates import (
    accumulate_gradient,
    add_isotropic_noise,
    crop_and_flip,
    scheduler,
)

pytestmark = pytest.mark.core


def smooth_network():
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(192, 10), nn.Tanh(), nn.Linear(10, 4)]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("chunk", [1, 3, 7, 16, 39, 40])
def test_micro_batched_gradient_is_the_full_gradient_for_any_chunk(images, chunk):
    inputs, targets = images[0].double(), images[1]
    model = smooth_network()
    full_loss = nn.functional.cross_entropy(model(inputs), targets)
    full = torch.autograd.grad(full_loss, list(model.parameters()))
    batches = list(zip(inputs.split(chunk), targets.split(chunk), strict=True))
    loss = accumulate_gradient(model, nn.functional.cross_entropy, batches, 40)
    assert loss == pytest.approx(full_loss.item(), rel=1e-12)
    for parameter, expected in zip(model.parameters(), full, strict=True):
        assert parameter.grad.numpy() == pytest.approx(expected.numpy(), rel=1e-10, abs=1e-14)


def test_the_code_s_convention_sums_the_chunks(images):
    inputs, targets = images[0].double(), images[1]
    model = smooth_network()
    batches = list(zip(inputs.split(10), targets.split(10), strict=True))
    accumulate_gradient(model, nn.functional.cross_entropy, batches, 40)
    text = [p.grad.clone() for p in model.parameters()]
    accumulate_gradient(model, nn.functional.cross_entropy, batches, 40, convention="code")
    for parameter, expected in zip(model.parameters(), text, strict=True):
        assert parameter.grad.numpy() == pytest.approx(4 * expected.numpy(), rel=1e-10, abs=1e-14)


def test_weight_decay_is_added_to_the_gradient_once(images):
    inputs, targets = images[0].double(), images[1]
    model = smooth_network()
    batches = [(inputs[:20], targets[:20]), (inputs[20:], targets[20:])]
    accumulate_gradient(model, nn.functional.cross_entropy, batches, 40)
    plain = [p.grad.clone() for p in model.parameters()]
    accumulate_gradient(model, nn.functional.cross_entropy, batches, 40, weight_decay=0.3)
    for parameter, without in zip(model.parameters(), plain, strict=True):
        assert torch.allclose(parameter.grad, without + 0.3 * parameter, rtol=1e-12)


def test_crop_and_flip_against_a_loop_over_images():
    images = torch.arange(6 * 3 * 8 * 8).reshape(6, 3, 8, 8).remainder(251).to(torch.uint8)
    shifted = crop_and_flip(images, np.random.default_rng(3))
    random = np.random.default_rng(3)
    shifts, flips = random.integers(0, 9, (2, 6)), random.integers(0, 2, 6).astype(bool)
    for n in range(6):
        padded = np.pad(images[n].numpy(), ((0, 0), (4, 4), (4, 4)))
        top, left = shifts[:, n]
        crop = padded[:, top : top + 8, left : left + 8]
        assert (shifted[n].numpy() == (crop[:, :, ::-1] if flips[n] else crop)).all()
    assert flips.any()
    assert not flips.all()


def rates(schedule, steps, rate=0.4):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=rate)
    stepper = scheduler(optimizer, schedule, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        stepper.step()
    return np.array(seen)


def test_schedules_against_their_formulas():
    steps, rate = 120, 0.4
    t = np.arange(steps)
    assert rates("constant", steps) == pytest.approx(np.full(steps, rate))
    expected = np.where(t < 60, rate, np.where(t < 90, rate / 10, rate / 100))
    assert rates("stepwise", steps) == pytest.approx(expected)
    # Three cycles of 40 steps, each a triangle from 0.04 to 0.4.
    triangle = 1 - np.abs(t % 40 / 20 - 1)
    assert rates("clr", steps) == pytest.approx(0.04 + 0.36 * triangle)
    # Up in 20 steps as CLR's first half-cycle, flat to 80, then down to zero at 120.
    expected = np.interp(t, [0, 20, 80, 120], [0.04, 0.4, 0.4, 0.0])
    assert rates("trapezoid", steps) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "stepwise", "clr", "trapezoid"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_schedules_of_very_short_walks(schedule, steps):
    assert (rates(schedule, steps) >= 0).all()
    assert rates(schedule, steps).max() <= 0.4 * (1 + 1e-9)


def test_isotropic_noise_has_its_deviation_in_every_direction():
    parameters = [torch.nn.Parameter(torch.zeros(300, 100)), torch.nn.Parameter(torch.zeros(20000))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 2.0)
    add_isotropic_noise(parameters, 0.3, torch.Generator().manual_seed(0))
    for parameter in parameters:
        assert float(parameter.grad.mean()) == pytest.approx(2, abs=0.01)
        assert float(parameter.grad.std()) == pytest.approx(0.3, rel=0.02)
    first, second = (p.grad.flatten()[:1000] - 2 for p in parameters)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.15
