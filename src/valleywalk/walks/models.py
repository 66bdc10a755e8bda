"""The paper's three networks, each with a width factor, for any image size and class count."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..surroundings import random_states

VGG11 = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")
# Channels of a convolution that fill the vector registers of a CPU.
NARROW = 8


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def mlp(channels: int, image_size: int, classes: int, width: float = 1.0) -> nn.Module:
    """Multi-layer perceptron 784-500-350-10 with batch norm and ReLU (573,060 parameters).

    Layer sizes are those of the authors' code; the paper does not print them.
    """
    first, second = _scaled(500, width), _scaled(350, width)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * image_size**2, first),
        nn.BatchNorm1d(first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.BatchNorm1d(second),
        nn.ReLU(inplace=True),
        nn.Linear(second, classes),
    )


def vgg11(channels: int, image_size: int, classes: int, width: float = 1.0) -> nn.Module:
    """VGG-11 (Simonyan and Zisserman 2014, configuration A) with batch norm (9,756,426 parameters).

    The classifier is 512-512-512-classes, without dropout. Pooling rounds up and ends in an
    average over what is left, which changes nothing at 32 pixels and admits any other size.
    """
    layers: list[nn.Module] = []
    for entry in VGG11:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        out = _scaled(entry, width)
        layers += [
            nn.Conv2d(channels, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        ]
        channels = out
    hidden = _scaled(512, width)
    classifier = [
        nn.Linear(channels, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, classes),
    ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *classifier)
    return _initialise_convolutions(model)


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv twice, added to the input (He et al. 2016, identity mappings).

    Where the size changes the shortcut is a strided 1×1 convolution of the raw input.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.convolution1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.convolution2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.stride = stride
        self.shortcut = (
            nn.Conv2d(channels_in, channels_out, 1, bias=False) if stride != 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.convolution1(torch.relu(self.norm1(x)))
        out = self.convolution2(torch.relu(self.norm2(out)))
        # Taking each second pixel first is the same as a strided 1×1 convolution, whose backward
        # pass corrupts memory on a CPU in channels-last layout (torch 2.13, 4 channels: aborts).
        return out + self.shortcut(x[:, :, :: self.stride, :: self.stride])


def resnet56(channels: int, image_size: int, classes: int, width: float = 1.0) -> nn.Module:
    """Pre-activation ResNet-56: 3 stages of 9 blocks, 16/32/64 filters (855,578 parameters)."""
    filters = [_scaled(count, width) for count in (16, 32, 64)]
    layers: list[nn.Module] = [nn.Conv2d(channels, filters[0], 3, 1, 1, bias=False)]
    before = filters[0]
    for stage, count in enumerate(filters):
        for block in range(9):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(PreActivationBlock(before, count, stride))
            before = count
    layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, classes))
    return _initialise_convolutions(model)


def memory_format(network: nn.Module) -> torch.memory_format:
    """The layout of a network.

    Channels-last halves VGG-11's time on a CPU. In the narrowest networks it leaves vector
    registers half empty: ResNet-56 with 4 channels goes forward a third faster in the plain layout.
    On a GPU (H200, plain float32) neither is faster for all: in training, channels-last saves
    VGG-11 a sixth of its time and costs ResNet-56 a seventh.
    """
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    narrowest = min((layer.out_channels for layer in layers), default=NARROW)
    return torch.channels_last if narrowest >= NARROW else torch.contiguous_format


def _initialise_convolutions(model: nn.Module) -> nn.Module:
    """Draw convolution weights from N(0, 2 / (k² · out_channels)), set their biases to zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


# One a network of the catalogue: (channels, image_size, classes, width) → network.
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "vgg11": vgg11,
    "resnet56": resnet56,
}


def build(
    name: str, channels: int, image_size: int, classes: int, width: float = 1.0, seed: int = 0
) -> nn.Module:
    """Build a network whose initial parameters depend on `seed` alone.

    Parameters
    ----------
    name : str
        One of the catalogue's.
    channels, image_size : int
        Shape of one image, channels × image_size × image_size.
    classes : int
    width : float
        Factor on every layer's channels or units.
    seed : int
        The global random state is left as it was.
    """
    with random_states(seed=seed):
        return BUILDERS[name](channels, image_size, classes, width)
