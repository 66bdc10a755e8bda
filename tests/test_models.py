import pytest
import torch
from torch import nn

from valleywalk.walks import models
from valleywalk.walks.models import PreActivationBlock, build


@pytest.mark.parametrize(
    ("name", "channels", "size", "parameters"),
    [("mlp", 1, 28, 573_060), ("vgg11", 3, 32, 9_756_426), ("resnet56", 3, 32, 855_578)],
)
def test_parameter_counts_of_the_paper_s_networks(name, channels, size, parameters):
    model = build(name, channels, size, 10)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet56"])
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 64, 20), (3, 8, 2)])
def test_any_image_size_and_class_count(name, channels, size, classes):
    model = build(name, channels, size, classes, width=0.125)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_random_state(monkeypatch):
    state = torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("sets a GPU's"))
    first = build("vgg11", 3, 32, 10, 0.125, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.undo()
    torch.manual_seed(99)
    again = build("vgg11", 3, 32, 10, 0.125, seed=3)
    other = build("vgg11", 3, 32, 10, 0.125, seed=4)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_convolutions_are_drawn_with_variance_two_over_fan_out():
    model = build("vgg11", 3, 32, 10)
    last = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    assert last.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert not last.bias.any()
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


def test_the_shortcut_is_a_strided_convolution_of_the_raw_input():
    torch.manual_seed(0)
    block = PreActivationBlock(4, 8, stride=2).double()
    x = torch.randn(3, 4, 9, 9, dtype=torch.float64)
    nn.init.zeros_(block.convolution2.weight)
    expected = nn.functional.conv2d(x, block.shortcut.weight, stride=2)
    assert torch.allclose(block(x), expected, rtol=1e-12)


def test_resnet56_is_as_deep_as_its_name():
    model = build("resnet56", 3, 32, 10, 0.125)
    deep = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(deep) + 1 == 56
    blocks = [m for m in model.modules() if isinstance(m, models.PreActivationBlock)]
    assert len(blocks) == 27


@pytest.mark.parametrize(
    ("width", "layout"), [(1.0, torch.channels_last), (0.25, torch.contiguous_format)]
)
def test_the_layout_goes_by_the_narrowest_layer(width, layout):
    assert models.memory_format(build("resnet56", 3, 32, 10, width)) == layout
