"""What is asked of runs of several optimizers, and by what it is decided.

Questions of this project, not claims of the paper, which looks at SGD alone: exploratory, and one
family of their own, whose p-values are adjusted by Holm. Else they are decided as the paper's
claims are (see `claim`): a number a seed, a range, and a verdict from the interval over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import analysis
from ..seeds import Share, holm
from ..statistics import Interval
from .claim import Claim, Evidence, Verdict, claim, usable
from .optimizer_settings import Configuration

if TYPE_CHECKING:
    import xarray as xr

# Steps of which this share is left behind before bouncing, heights and gains are looked at.
EARLY = 0.5
COMMON: Mapping[str, Any] = {
    "source": "Section 6",
    "paper": "left open",
    "item": "optimizers",
    "pages": (),
}


def late(trace: xr.Dataset) -> xr.Dataset:
    """The second half of a run, or the longer part of it."""
    return trace.isel(iteration=slice(int(EARLY * trace.sizes["iteration"]), None))


# What each configuration is described by; where there is a range, it is a question, too.


@claim(
    id="bounces",
    number=1,
    sentence="It bounces between the walls of a valley.",
    above=0.5,
    quantity="share",
    **COMMON,
)
def bounces(trace: xr.Dataset) -> Share:
    """Share of the segments of the second half with a minimum inside."""
    return Share.of(analysis.has_interior_minimum(late(trace)["loss"].values))


@claim(
    id="crosses",
    number=2,
    sentence="It crosses barriers.",
    above=0.06,
    quantity="share",
    **COMMON,
)
def crosses(trace: xr.Dataset) -> Share:
    """Share of all steps that cross a barrier, higher than both ends."""
    return Share.of(analysis.barriers(trace["loss"].values))


@claim(id="floor", number=3, sentence="Position of the floor.", **COMMON)
def floor(trace: xr.Dataset) -> float:
    """Mean position α* of the segment's minimum, second half."""
    return float(late(trace)["floor_position"].mean())


@claim(id="height", number=4, sentence="Height above the floor.", quantity="ratio", **COMMON)
def height(trace: xr.Dataset) -> float:
    """Mean height above the floor, second half."""
    return float(analysis.height(late(trace)["loss"].values).mean())


@claim(id="gain", number=5, sentence="First-order gain.", **COMMON)
def gain(trace: xr.Dataset) -> float:
    """Mean first-order gain of a step, second half."""
    return float(late(trace)["gain"].mean())


@claim(id="penalty", number=6, sentence="Curvature penalty.", **COMMON)
def penalty(trace: xr.Dataset) -> float:
    """Mean curvature penalty of a step, second half."""
    return float(late(trace)["curvature_penalty"].mean())


@claim(id="loss", number=7, sentence="Loss.", quantity="ratio", **COMMON)
def loss(trace: xr.Dataset) -> float:
    """Loss at the end, on the examples of the evaluation."""
    return float(trace["loss"].values[-1, -1])


DESCRIBED: tuple[Claim, ...] = (bounces, floor, height, gain, penalty, crosses, loss)

# What two configurations are compared by, seed by seed.


@claim(
    id="normalised",
    number=8,
    sentence="With normalisation it bounces more than without.",
    above=0.0,
    **COMMON,
)
def normalised(with_it: xr.Dataset, without: xr.Dataset) -> float:
    """Difference of the shares of the segments of the second half with a minimum inside."""
    return float(bounces.measure(with_it)) - float(bounces.measure(without))


@claim(
    id="higher",
    number=9,
    sentence="It rides higher above the floor than SGD.",
    above=1.0,
    quantity="ratio",
    **COMMON,
)
def higher(trace: xr.Dataset, of_sgd: xr.Dataset) -> float:
    """Ratio of the mean heights above the floor of the second half."""
    return float(height.measure(trace)) / float(height.measure(of_sgd))


# Those that have a range.
ASKED: tuple[Claim, ...] = (bounces, normalised, higher, crosses)


@dataclass(frozen=True)
class Question:
    """A claim of one configuration, or of one beside another.

    Attributes
    ----------
    claim : Claim
    of : tuple of Configuration
        Those whose runs it takes; the first is the one that it is about.
    """

    claim: Claim
    of: tuple[Configuration, ...]


@dataclass(frozen=True)
class Answer:
    """What runs say of a question.

    Attributes
    ----------
    question : Question
    interval : Interval or None
        Estimate and interval over seeds; None where no seed gives a number.
    seeds : int
        Whose numbers it is made from.
    p_value : float
        Adjusted by Holm for all questions that are asked together.
    verdict : str
    """

    question: Question
    interval: Interval | None
    seeds: int
    p_value: float
    verdict: Verdict


# Configuration and seed → trace.
Runs = Mapping[tuple[Configuration, int], "xr.Dataset"]


def asked(configurations: Sequence[Configuration]) -> Iterator[Question]:
    """The questions that some configurations are asked, in a fixed order."""
    for own in configurations:
        yield Question(bounces, (own,))
        yield Question(crosses, (own,))
        without = own._replace(normalisation="none")
        if without != own and without in configurations:
            yield Question(normalised, (own, without))
        of_sgd = own._replace(optimizer="SGD")
        if of_sgd != own and of_sgd in configurations:
            yield Question(higher, (own, of_sgd))


def evidence(claim: Claim, of: Sequence[Configuration], runs: Runs) -> Evidence | None:
    """A number a seed; seeds without a usable one, such as of a run that diverged, are left out."""
    values = []
    for seed in dict.fromkeys(seed for _, seed in runs):
        traces = [runs[each, seed] for each in of]
        if all(np.isfinite(trace["loss"]).all() for trace in traces):
            value = claim.measure(*traces)
            values += [] if usable(claim, value) else [value]
    return Evidence(claim, values) if values else None


def answers(questions: Iterable[Question], runs: Runs) -> list[Answer]:
    """What some runs say of the questions that are asked of them, all one family.

    Where half of the seeds or more have no usable number, nothing is decided.
    """
    seeds = len({seed for _, seed in runs})
    found = [(question, evidence(question.claim, question.of, runs)) for question in questions]
    deciding = [each if each and 2 * len(each.values) > seeds else None for _, each in found]
    own = [each.p_value if each else math.nan for each in deciding]
    adjusted = holm([1.0 if math.isnan(p) else p for p in own], family=len(found))
    return [
        Answer(
            question=question,
            interval=each.interval() if each else None,
            seeds=len(each.values) if each else 0,
            p_value=p_value,
            verdict=decides.verdict(p_value) if decides else "inconclusive",
        )
        for (question, each), decides, p_value in zip(found, deciding, adjusted, strict=True)
    ]
