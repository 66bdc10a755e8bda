"""The probe at its edges: state that moves by itself, precision, layers that are frozen."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk import watch
from valleywalk.checkpoint import load_checkpoint, save_checkpoint
from valleywalk.evaluation import Evaluator
from valleywalk.probes import Step, norm
from valleywalk.probes.cosine import Cosine
from valleywalk.probes.distance import Distance
from valleywalk.probes.interpolation import Interpolation

cross_entropy = nn.functional.cross_entropy


@pytest.fixture
def data():
    """24 examples of 5 numbers, of 3 classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=generator), torch.arange(24) % 3


def step_on(model, optimizer, data, batch=slice(None)):
    optimizer.zero_grad()
    cross_entropy(model(data[0][batch]), data[1][batch]).backward()
    optimizer.step()


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


# Layers that are frozen ---------------------------------------------------------------------------


def test_batch_norm_is_measured_in_the_mode_in_which_it_stands(network, images):
    network.insert(3, nn.BatchNorm2d(6))
    network(images[0] * 3 + 1)  # running statistics that are not those of the images
    batches = [(images[0], images[1])]
    network[1].eval()
    modes = [module.training for module in network.modules()]
    measured = Evaluator(network, cross_entropy, batches, "as trained")()
    with torch.no_grad():
        expected = cross_entropy(copy.deepcopy(network)(images[0]), images[1]).item()
    assert measured == pytest.approx(expected, rel=1e-6)
    assert [module.training for module in network.modules()] == modes
    for mode in ("train", "eval"):
        assert Evaluator(network, cross_entropy, batches, mode)() != measured
    assert watch(network, sgd(network), cross_entropy, batches).evaluate() == measured


