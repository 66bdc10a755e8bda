import numpy as np
import pytest
import torch
from torch import nn

from valleywalk.updates import accumulate_gradient, crop_and_flip


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
