"""The small problems, networks and optimizers of the page that sets optimizers side by side."""

import hashlib
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from ..walks import datasets
from .optimizer_settings import Normalisation, OptimizerName, Problem

MOMENTUM = 0.9
# Of AdamW and Muon, as language models are trained.
WEIGHT_DECAY = 0.1
CONTEXT = 32
# Parameters that Muon leaves to AdamW although they are matrices.
NOT_HIDDEN = ("letter", "position", "output")


# From a number of units or channels, the layer that normalises them.
Normalise = Callable[[int], nn.Module]
OF_UNITS: dict[Normalisation, Normalise] = {
    "none": lambda _: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}
OF_CHANNELS: dict[Normalisation, Normalise] = {
    "none": lambda _: nn.Identity(),
    "batch": nn.BatchNorm2d,
    # Over channels and places, as layer norm in a convolutional network is.
    "layer": lambda channels: nn.GroupNorm(1, channels),
}


class Convolution(nn.Linear):
    """A 3×3 convolution of stride 2 whose weight is a matrix, as Muon takes it."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(9 * channels_in, channels_out)

    def forward(self, images: Tensor) -> Tensor:
        kernel = self.weight.view(self.out_features, -1, 3, 3)
        return nn.functional.conv2d(images, kernel, self.bias, stride=2, padding=1)


class Block(nn.Module):
    """Causal self-attention and two dense layers, each after its normalisation."""

    def __init__(self, width: int, normalise: Normalise):
        super().__init__()
        self.before_attention, self.before_dense = normalise(width), normalise(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        seen = self.before_attention(hidden)
        later = torch.ones(2 * hidden.shape[1:2], dtype=torch.bool).triu(1)
        hidden = hidden + self.attention(seen, seen, seen, attn_mask=later, need_weights=False)[0]
        return hidden + self.dense(self.before_dense(hidden))


class Transformer(nn.Module):
    """Predicts the next letter by two blocks."""

    def __init__(self, letters: int, normalise: Normalise, width: int = 32):
        super().__init__()
        self.letter = nn.Embedding(letters, width)
        self.position = nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(Block(width, normalise), Block(width, normalise))
        self.output = nn.Linear(width, letters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the next letter, shape (windows, letters, CONTEXT), of tokens."""
        hidden = self.letter(tokens) + self.position.weight[: tokens.shape[1]]
        return self.output(self.blocks(hidden)).transpose(1, 2)


def network_of(problem: Problem, normalisation: Normalisation) -> nn.Module:
    """A fresh network. Torch's random state initialises it, alike with each normalisation."""
    if problem == "text":
        return Transformer(len(set(_text())), OF_UNITS[normalisation])
    network = nn.Sequential()
    if problem == "digits":
        normalise = OF_UNITS[normalisation]
        network.append(nn.Flatten())
        for before, after in ((28 * 28, 100), (100, 70)):
            network.extend([nn.Linear(before, after), normalise(after), nn.ReLU()])
        network.add_module("output", nn.Linear(70, 10))
    else:
        normalise = OF_CHANNELS[normalisation]
        for before, after in ((3, 16), (16, 32), (32, 32)):
            network.extend([Convolution(before, after), normalise(after), nn.ReLU()])
        network.append(nn.Flatten())
        network.add_module("output", nn.Linear(32 * 4 * 4, 10))
    return network


def _text() -> str:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer().DESCR


@cache
def examples(problem: Problem) -> tuple[Tensor, Tensor, str]:
    """All inputs and targets of a problem, and the hash of its data."""
    if problem == "text":
        text = _text()
        letters = sorted(set(text))
        tokens = torch.tensor([letters.index(letter) for letter in text])
        windows = tokens.unfold(0, CONTEXT + 1, 1)
        return windows[:, :-1], windows[:, 1:], hashlib.sha256(text.encode()).hexdigest()[:16]
    data = datasets.load("mnist5k" if problem == "digits" else problem)
    return data.normalise(data.train_images), data.train_labels, data.hash


def optimizers_of(name: OptimizerName, network: nn.Module, learning_rate: float) -> list[Optimizer]:
    """The optimizers that together make the steps: AdamW beside Muon, else one."""
    parameters = list(network.parameters())
    match name:
        case "SGD":
            return [SGD(parameters, lr=learning_rate)]
        case "momentum":
            return [SGD(parameters, lr=learning_rate, momentum=MOMENTUM)]
        case "Adam":
            return [Adam(parameters, lr=learning_rate)]
        case "AdamW":
            return [AdamW(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)]
    hidden: list[Tensor] = []
    others: list[Tensor] = []
    for of, parameter in network.named_parameters():
        matrix = parameter.ndim == 2 and not of.startswith(NOT_HIDDEN)
        (hidden if matrix else others).append(parameter)
    return [
        # Steps as long as AdamW's, so that one learning rate does for both.
        Muon(hidden, lr=learning_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=learning_rate, weight_decay=WEIGHT_DECAY),
    ]
