"""Beyond the paper: SGD, momentum and Adam walk side by side, watched by `valleywalk.watch`."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn

from .. import figures, measures
from ..machine import reproducible
from ..walks import datasets, models
from ..walks.experiment import Points
from ..watch import watch
from .page import Page, PositiveFloat, markdown_table

Problem = Literal["digits", "text"]
MOMENTUM = 0.9
CONTEXT = 32
# A rate for SGD, momentum and Adam: of six on a grid of 1, 2, 5, 10, … (up to 2, 0.2 and 0.02) that
# of the lowest loss after 60 steps.
RATES: dict[Problem, tuple[float, float, float]] = {
    "digits": (0.5, 0.1, 0.02),
    "text": (0.5, 0.2, 0.02),
}


class Transformer(nn.Module):
    """Predicts the next letter: two layers of causal self-attention."""

    def __init__(self, letters: int, width: int = 32):
        super().__init__()
        self.letter = nn.Embedding(letters, width)
        self.position = nn.Embedding(CONTEXT, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(width, letters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the next letter, shape (windows, letters, CONTEXT), of tokens."""
        hidden = self.letter(tokens) + self.position.weight[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.output(self.layers(hidden, mask=mask, is_causal=True)).transpose(1, 2)


def prepare(problem: Problem) -> tuple[nn.Module, Tensor, Tensor]:
    """A fresh network, all inputs and all targets. Torch's random state initialises it."""
    if problem == "digits":
        data = datasets.load("mnist5k")
        network = models.build("mlp", data.channels, data.image_size, 10, 0.2)
        return network, data.normalise(data.train_images), data.train_labels
    from sklearn.datasets import load_breast_cancer

    text = load_breast_cancer().DESCR
    letters = sorted(set(text))
    tokens = torch.tensor([letters.index(letter) for letter in text])
    windows = tokens.unfold(0, CONTEXT + 1, 1)
    return Transformer(len(letters)), windows[:, :-1], windows[:, 1:]


class Optimizers(Page):
    """Parameters of the notebook `optimizers`; the same at every scale."""

    problem: Problem = "digits"
    learning_rates: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)] | None = None
    steps: Annotated[int, Field(ge=2, le=100_000)] = 60
    batch_size: Annotated[int, Field(ge=2, le=1000)] = 100
    evaluation_examples: Annotated[int, Field(ge=2, le=2000)] = 200
    points: Points = 10
    seed: Annotated[int, Field(ge=0)] = 0

    notebook: ClassVar[str] = "optimizers"
    subject: ClassVar[str] = "three optimizers on a small problem"
    alternative_text: ClassVar[str] = (
        "Three columns, one an optimizer: the loss along each segment with the valley floor, the "
        "same minus the segment's chord, the cosine of consecutive gradients, the distance from "
        "the initialisation."
    )

    def optimizers(self, network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        """Each optimizer for a network, by name."""
        sgd, momentum, adam = self.learning_rates or RATES[self.problem]
        parameters = list(network.parameters())
        return {
            f"SGD, {sgd:g}": torch.optim.SGD(parameters, lr=sgd),
            f"momentum {MOMENTUM:g}, {momentum:g}": torch.optim.SGD(
                parameters, lr=momentum, momentum=MOMENTUM
            ),
            f"Adam, {adam:g}": torch.optim.Adam(parameters, lr=adam),
        }

    def get_traces(self) -> list[xr.Dataset]:
        """Train with each optimizer from the same start on the same batches, and watch."""
        with reproducible(threads=1):
            return [self._train(number) for number in range(3)]

    def _train(self, number: int) -> xr.Dataset:
        torch.manual_seed(self.seed)
        network, inputs, targets = prepare(self.problem)
        name, optimizer = list(self.optimizers(network).items())[number]
        order = np.random.default_rng(self.seed)
        measured = torch.from_numpy(order.permutation(len(inputs))[: self.evaluation_examples])
        loss = nn.functional.cross_entropy
        with watch(
            network, optimizer, loss, (inputs[measured], targets[measured]), points=self.points
        ) as watcher:
            for _ in range(self.steps):
                batch = torch.from_numpy(order.integers(len(inputs), size=self.batch_size))
                optimizer.zero_grad()
                value = loss(network(inputs[batch]), targets[batch])
                value.backward()
                optimizer.step()
                watcher.note(minibatch_loss=value.item())
        return watcher.trace.assign_attrs(optimizer=name)

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        windows = [measures.window(trace) for trace in traces]
        return figures.side_by_side(windows, [trace.attrs["optimizer"] for trace in traces])

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each optimizer's walk, and of its second half."""
        walks = []
        for trace in traces:
            late = trace.isel(iteration=slice(self.steps // 2, None))
            walks.append(
                measures.walk_numbers(trace)
                | {
                    "name": trace.attrs["optimizer"],
                    "loss": float(trace["loss"].values[-1, -1]),
                    "late_cosine": float(late["cosine"].values.mean()),
                    "late_inside": float(measures.walk_numbers(late)["interior_minimum"] or 0),
                    "floor_share": measures.floor_rises(trace),
                }
            )
        return {
            "steps": self.steps,
            "late_from": self.steps // 2,
            "walks": walks,
            "bouncing": [each["name"] for each in walks if each["late_inside"] > 0.5],
            "lowest": min(walks, key=lambda each: each["loss"]),
            "farthest": max(walks, key=lambda each: each["distance"]),
            "barriers": sum(each["barriers"] for each in walks),
            "all_steps": self.steps * len(walks),
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """What the optimizers do differently."""
        walks = self.numbers(traces)["walks"]
        header = ["", *(each["name"] for each in walks)]
        lines = {
            "loss at the end": [f"{each['loss']:.3f}" for each in walks],
            "mean height above the floor": [f"{each['height']:.2g}" for each in walks],
            "mean cosine, second half": [f"{each['late_cosine']:.2f}" for each in walks],
            "segments with an interior minimum, second half": [
                f"{each['late_inside']:.0%}" for each in walks
            ],
            "steps in which the floor rises": [f"{each['floor_share']:.0%}" for each in walks],
            "barriers crossed": [f"{each['barriers']}" for each in walks],
            "distance at the end": [f"{each['distance']:.3g}" for each in walks],
        }
        return markdown_table(header, [[name, *cells] for name, cells in lines.items()])

    def provenance(self, traces: list[xr.Dataset]) -> str:
        data = {
            "digits": "an MLP at width 0.2 on mnist5k",
            "text": "a transformer of two layers on the letters of scikit-learn's description of "
            "its breast-cancer data",
        }[self.problem]
        return (
            f"{data[0].upper()}{data[1:]}; {self.steps} steps of batch {self.batch_size}, loss on "
            f"{self.evaluation_examples} examples, seed {self.seed}; walked when this page was "
            f"made, on {traces[0].attrs['device']}; torch {torch.__version__}"
        )
