"""The lab of a course: its stations, what to run at each, and within which bounds it comes out.

The page *For a course* is made from these, and so is the test that holds them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from .. import analysis, measures
from ..markdown import with_minus
from ..paper.factors import NAMES, Factor, Factors
from ..paper.items import ITEMS
from ..paper.page import Page, WalksPage, markdown_table
from ..paper.quadratic import Quadratic, descend
from ..paper.walks import GradientDescentWalk, StochasticWalk, WalkPage
from ..walks.cost import duration, seconds

Traces = list[xr.Dataset]
# The ends of a walk, which say how it goes there. Its first step has no cosine.
EARLY, LATE = slice(0, 10), slice(-10, None)


@dataclass(frozen=True)
class Quantity:
    """A number of a page's walks; `of` takes the page and its traces."""

    name: str
    of: Callable[[Any, Traces], float]


@dataclass(frozen=True)
class Bounds:
    """What a number of a run must lie between, both ends allowed."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low == self.high:
            text = f"{self.low:g}"
        elif np.isinf(self.low):
            text = f"{self.high:g} or less"
        else:
            text = f"{self.low:g} to {self.high:g}"
        return with_minus(text)


@dataclass(frozen=True)
class Run:
    """A page with its parameters, and where its numbers must lie.

    Attributes
    ----------
    name : str
        What tells it from the other runs of its station.
    page : Page
    expected : mapping of Quantity → Bounds
    """

    name: str
    page: Page
    expected: Mapping[Quantity, Bounds]

    @property
    def command(self) -> str:
        """Runs its notebook."""
        return self.page.papermill(dict(sorted(self.page.given.items())))

    def numbers(self) -> dict[Quantity, float]:
        """The numbers that are bounded, from its walks, walked now where they are not there."""
        traces = self.page.get_traces()
        return {quantity: quantity.of(self.page, traces) for quantity in self.expected}


@dataclass(frozen=True)
class Station:
    """A part of the lab.

    Attributes
    ----------
    title : str
    minutes : int
    task : str
        What to do there; Markdown.
    shows : str
        What the numbers mean.
    runs : tuple of Run
    recorded : bool
        The walks of its runs come with the project, so that nothing is walked.
    added : WalksPage, optional
        What its task asks for beside its runs. Walks that these do not have are walked anew.
    live : bool
        Its runs are commands of their own; otherwise they are what a page of the book shows.
    """

    title: str
    minutes: int
    task: str
    shows: str
    runs: tuple[Run, ...] = field(default=())
    recorded: bool = False
    added: WalksPage | None = None
    live: bool = True


def _window(page: WalkPage, traces: Traces) -> xr.Dataset:
    return measures.window(traces[0], page.epoch, page.length)


def _inside(page: WalkPage, traces: Traces, part: slice) -> float:
    loss = _window(page, traces)["loss"].values
    return float(analysis.has_interior_minimum(loss)[part].mean())


def _cosine(page: WalkPage, traces: Traces, part: slice) -> float:
    return float(np.nanmean(_window(page, traces)["cosine"].values[part]))


def _steepest(page: Quadratic, traces: Traces) -> float:
    path = descend([max(page.eigenvalues)], page.learning_rate, 1)
    return float(path[1, 0] / path[0, 0])


def _doubling(factor: Factor, measure: str) -> Quantity:
    return Quantity(
        f"change of the {measure} for a doubling of the {NAMES[factor]}",
        lambda page, traces: page.effect(page.steps(traces), factor, measure).estimate,
    )


EARLY_INSIDE = Quantity(
    "share of the first ten segments with a minimum inside", lambda p, t: _inside(p, t, EARLY)
)
LATE_INSIDE = Quantity(
    "share of the last ten segments with a minimum inside", lambda p, t: _inside(p, t, LATE)
)
EARLY_COSINE = Quantity("mean cosine of the first ten steps", lambda p, t: _cosine(p, t, EARLY))
LATE_COSINE = Quantity("mean cosine of the last ten steps", lambda p, t: _cosine(p, t, LATE))
FACTOR = Quantity("factor of a step along the steepest direction", _steepest)
DOUBLINGS = tuple(
    _doubling(factor, measure) for measure in ("cosine", "distance") for factor in NAMES
)
FROZEN = Quantity("barriers on the frozen plan", lambda p, t: p.numbers(t)["barriers"].text)
REDRAWN = Quantity("barriers on plans drawn anew", lambda p, t: p.numbers(t)["barriers"].code)


def _descent(learning_rate: float, *bounds: tuple[float, float]) -> Run:
    quantities = (EARLY_INSIDE, LATE_INSIDE, EARLY_COSINE, LATE_COSINE)
    page = GradientDescentWalk(learning_rate=learning_rate, training_images=200)
    return Run(f"learning rate {learning_rate:g}", page, _bounded(quantities, bounds))


def _stochastic(batch_size: int, *bounds: tuple[float, float]) -> Run:
    page = StochasticWalk(batch_size=batch_size, evaluation_images=100)
    return Run(f"batch size {batch_size}", page, _bounded((EARLY_COSINE, LATE_COSINE), bounds))


def _quadratic(learning_rate: float, low: float, high: float) -> Run:
    page = Quadratic.model_validate({"learning_rate": learning_rate})
    return Run(f"learning rate {learning_rate:g}", page, {FACTOR: Bounds(low, high)})


def _bounded(
    quantities: tuple[Quantity, ...], bounds: tuple[tuple[float, float], ...]
) -> dict[Quantity, Bounds]:
    return {each: Bounds(*pair) for each, pair in zip(quantities, bounds, strict=True)}


def _shown(name: str, *bounds: tuple[float, float]) -> Run:
    quantities = (EARLY_INSIDE, LATE_INSIDE, LATE_COSINE)
    return Run(ITEMS[name].label, ITEMS[name].at("overnight"), _bounded(quantities, bounds))


# Bounds hold for other seeds and machines; a run of one's own lies well inside.
STATIONS = (
    Station(
        "Read a walk",
        10,
        "In {doc}`explorer`, in the browser, step through Figure 1 and then Figure 2. At each step "
        "say aloud: did it slide, or did it land on the other wall? Point at the "
        "{term}`floor <valley floor>` and the {term}`height`.",
        "Both walks slide first and bounce in the end. Under gradient descent the cosine shows it "
        "clearly, under SGD hardly at all.",
        (
            _shown("fig1", (0, 0.2), (0.8, 1), (-1, -0.4)),
            _shown("fig2", (0, 0.3), (0.7, 1), (-0.4, 0)),
        ),
        recorded=True,
        live=False,
    ),
    Station(
        "One direction",
        10,
        "Before each run predict what the walk will do along the steepest direction, where the "
        "curvature is one.",
        "The factor is $1-\\eta\\lambda$: if positive the walk slides, if negative it bounces, and "
        "below minus one it climbs.",
        (_quadratic(0.9, 0, 0.99), _quadratic(1.6, -0.99, 0), _quadratic(2.1, -np.inf, -1.01)),
    ),
    Station(
        "Slide, turn, bounce",
        15,
        "A narrow VGG-11 on photographs, under full-batch gradient descent. Look at the dashed "
        "line: does the floor lie at the end of its segment, or inside?",
        "At the smallest rate the walk slides to the end, at the middle one it turns on the way, "
        "at the largest it bounces almost at once.",
        (
            _descent(0.02, (0, 0.1), (0, 0.3), (0.8, 1), (0, 1)),
            _descent(0.05, (0, 0.3), (0.6, 1), (0.3, 0.95), (-0.8, -0.05)),
            _descent(0.3, (0.4, 1), (0.7, 1), (-0.5, 0.3), (-0.8, -0.15)),
        ),
    ),
    Station(
        "What noise does to the cosine",
        15,
        "The same network under SGD, with three batch sizes. Compare the cosine in the first ten "
        "steps with that in the last ten.",
        "The surface gives the cosine its sign: plus in the slide, minus in the bounce. The "
        "noise of small batches draws it towards zero in both.",
        (
            _stochastic(10, (-0.2, 0.2), (-0.2, 0.2)),
            _stochastic(50, (-0.1, 0.4), (-0.5, 0.1)),
            _stochastic(250, (0.2, 0.8), (-0.8, -0.15)),
        ),
    ),
    Station(
        "Two roles",
        15,
        "Each batch size at one rate and each rate at one batch size, with three seeds, all "
        "recorded. Read the last two rows of the table: both knobs on one scale, each with its "
        "interval. Then predict what a batch of 400 will do, and add "
        "`-p batch_sizes '[25, 50, 100, 200, 400]'`: its walks, one per seed, are not recorded "
        "and are walked now.",
        "It is the learning rate that moves the distance. The batch size moves the cosine, but at "
        "this size the rate moves it, too, against the paper's reading. What does the ledger say?",
        (
            Run(
                "recorded",
                Factors(),
                _bounded(
                    DOUBLINGS,
                    ((-0.2, -0.03), (-0.2, -0.03), (-0.3, 0.3), (0.8, 1.6)),
                ),
            ),
        ),
        recorded=True,
        added=Factors(batch_sizes=[25, 50, 100, 200, 400]),
    ),
    Station(
        "Noise that looks like barriers",
        10,
        "Read {doc}`/figures/text_against_code`: one walk, measured twice. Then try the "
        "presets *Frozen plan* and *Re-drawn plan* in {doc}`play`.",
        "The steps are the same, the barriers are not: they come from the measurement.",
        (
            Run(
                "recorded",
                ITEMS["text_against_code"].at("quick"),
                _bounded((FROZEN, REDRAWN), ((0, 0), (3, 40))),
            ),
        ),
        recorded=True,
        live=False,
    ),
    Station(
        "Your own loop",
        15,
        "Put `watch` around your own training, as in {doc}`/training`, or around the loop that is "
        "shown there. Train twice from one seed, with and without `watch`, and compare the "
        "parameters.",
        "They are equal, bit for bit: measuring has not disturbed the training.",
    ),
)


def page() -> str:
    """The stations in Markdown, for the page *For a course* to include."""
    total = sum(station.minutes for station in STATIONS)
    parts = [
        markdown_table(
            ["", "station", "minutes", "where", "each run takes"],
            [
                [number, station.title, station.minutes, _where(station), _time(station)]
                for number, station in enumerate(STATIONS, 1)
            ]
            + [["", "together", total, "", ""]],
        )
    ]
    parts += [_section(number, station) for number, station in enumerate(STATIONS, 1)]
    return "\n\n".join(parts) + "\n"


def _where(station: Station) -> str:
    if not station.runs:
        return "your own code"
    return f"`{station.runs[0].page.notebook}`" if station.live else "in the browser"


def _time(station: Station) -> str:
    """How long a run takes, estimated on the machine that builds the book."""
    if not station.live:
        return "–"
    walked = [run.page for run in station.runs if isinstance(run.page, WalksPage)]
    if station.added:
        there = {experiment.hash for page in walked for experiment in page.experiments}
        new = [each for each in station.added.experiments if each.hash not in there]
        return f"seconds; {len(new)} new walks {duration(sum(map(seconds, new)))}"
    if station.recorded or not walked:
        return "seconds" if station.runs else "–"
    return duration(max(sum(map(seconds, each.experiments)) for each in walked))


def _section(number: int, station: Station) -> str:
    parts = [f"### {number}. {station.title}: {station.minutes} minutes", station.task]
    if station.live and station.runs:
        parts.append("\n".join(["```bash", *(run.command for run in station.runs), "```"]))
    if station.runs:
        quantities = list(station.runs[0].expected)
        rows = [[run.name, *(run.expected[each] for each in quantities)] for run in station.runs]
        parts.append(markdown_table(["", *(each.name for each in quantities)], rows))
    return "\n\n".join([*parts, f"*What it shows:* {station.shows}"])
