"""The claims ledger: each claim of the paper, a number that tests it, its interval, a verdict.

How it is decided, once for the whole ledger:

- A claim gives one number for each seed, from that seed's own walks, paired where two walks are
  compared. Seeds are independent, so that nothing has to be assumed about how the steps of a walk
  depend on each other.
- The interval is Student's t over the seeds; for a ratio, over its logarithms. A share of steps
  that comes out the same in all seeds is not therefore certain: the spread over the seeds is taken
  to be at least the claim's `resolution`. All intervals of a ledger hold together with 95 %
  confidence (Bonferroni): each has the confidence 1 − 0.05 / (number of claims and networks).
- The range in which the number must lie for the claim to hold is written down here, before any
  walk. *Supported*: the whole interval lies inside. *Not supported*: the whole interval lies
  outside. *Inconclusive*: anything else, and always where there are fewer than three seeds.
- A verdict is for one network, one data set and one scale.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy import stats

from .. import analysis, measures, statistics
from ..quadratic import contraction, descend, measured_contraction
from ..statistics import Interval
from ..trace import open_trace
from ..walks.experiment import Experiment, ModelName
from ..walks.store import Store
from .claim_walks import EqualRatio, SmallRate
from .factors import Factors
from .isotropic import IsotropicNoise
from .items import NOTEBOOKS, PAGES
from .quadratic import Quadratic
from .scales import TITLES, Scale, markdown_table
from .schedules import Schedules
from .spectral import SpectralNorm
from .structure import NoiseStructure
from .tables import BarriersByEpoch, HeightTable
from .walks import EdgeOfStability, GradientDescentWalk, StochasticWalk

Verdict = Literal["supported", "not supported", "inconclusive"]
LEDGER_CONFIDENCE = 0.95
SEEDS = 5
FEWEST_SEEDS = 3
INFINITY = math.inf

# The pages of one seed, and the traces of each.
Pages = Sequence[Any]
Traces = Sequence[list[xr.Dataset]]
Value = Callable[[Pages, Traces], float]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes
    ----------
    id : str
    number : int
        Of the group of claims that say one thing.
    sentence : str
        The claim, in our words.
    source : str
        Where the paper makes it.
    statistic : str
        What is measured in each seed.
    paper : str
        The paper's own value or direction.
    low, high : float
        The range in which the statistic must lie for the claim to hold.
    page : str
        The item of the book that shows it.
    pages : tuple of type
        Whose walks are needed.
    value : callable (pages, traces of each page) → float
    models : tuple of str
        Networks for which the paper claims it and that are tested.
    logarithmic : bool
        Whether the statistic is a ratio, whose logarithm is averaged.
    resolution : float
        Smallest difference that the statistic can show, such as one step's share of all steps.
    share : bool
        Whether the statistic is a share, which an interval cannot leave.
    reasons : mapping of model → str
        Where walks contradict the claim: the likeliest reason, and what further walks showed.
    tested_on : (str, str), optional
        Model and data set of a claim that needs no walk of one of the networks.
    """

    id: str
    number: int
    sentence: str
    source: str
    statistic: str
    paper: str
    low: float
    high: float
    page: str
    pages: tuple[type, ...]
    value: Value
    models: tuple[ModelName, ...] = ("vgg11", "mlp")
    logarithmic: bool = False
    resolution: float = 0.0
    share: bool = False
    tested_on: tuple[str, str] | None = None
    reasons: Mapping[ModelName, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What walks say about a claim, for one network, data set and scale."""

    id: str
    claim: str
    source: str
    statistic: str
    estimate: float
    interval: tuple[float, float] | None
    needed: tuple[float | None, float | None]
    paper: str
    verdict: Verdict
    model: str
    dataset: str
    scale: str
    seeds: int
    page: str
    reason: str


def verdict_of(interval: Interval, low: float, high: float, seeds: int) -> Verdict:
    """Whether a whole interval lies inside a range, outside, or neither."""
    if seeds < FEWEST_SEEDS or math.isnan(interval.low) or math.isnan(interval.high):
        return "inconclusive"
    if low < interval.low and interval.high < high:
        return "supported"
    if interval.high <= low or interval.low >= high:
        return "not supported"
    return "inconclusive"


def judge(claim: Claim, values: Sequence[float], claims: int) -> tuple[Interval, Verdict]:
    """Interval and verdict from one number a seed, in a ledger of so many claims."""
    confidence = 1 - (1 - LEDGER_CONFIDENCE) / claims
    numbers = np.log(values) if claim.logarithmic else np.asarray(values, dtype=float)
    interval = statistics.mean_of_seeds(numbers, confidence, claim.resolution)
    if claim.logarithmic:
        interval = Interval(*(float(end) for end in np.exp(interval)))
    if claim.share:
        interval = Interval(*(float(end) for end in np.clip(interval, 0, 1)))
    return interval, verdict_of(interval, claim.low, claim.high, len(values))


# What is measured in each seed -------------------------------------------------------------------


def _interior_minimum(pages: Pages, traces: Traces) -> float:
    return float(analysis.has_interior_minimum(measures.measured_losses(traces[0][0])).mean())


def _convex(pages: Pages, traces: Traces) -> float:
    trace = traces[0][0]
    noise = measures.nearest_noise(trace, 1)
    if math.isnan(noise):
        return math.nan  # It was not measured, so that no dent can be told from noise.
    return float(analysis.is_convex(measures.measured_losses(trace), noise).mean())


def _barrier_share(pages: Pages, traces: Traces) -> float:
    return float(analysis.barriers(measures.measured_losses(traces[0][0])).mean())


def _largest_barrier(pages: Pages, traces: Traces) -> float:
    loss = measures.measured_losses(traces[0][0])
    return max(0.0, float((analysis.barrier_height(loss) / loss.max(axis=1)).max()))


def _gd_floor(pages: Pages, traces: Traces) -> float:
    return measures.floor_rises(traces[0][0])


def _floor_difference(pages: Pages, traces: Traces) -> float:
    return measures.floor_rises(traces[1][0]) - measures.floor_rises(traces[0][0])


def _gd_cosine(pages: Pages, traces: Traces) -> float:
    return measures.last_cosine(traces[0][0])


def _cosine_difference(pages: Pages, traces: Traces) -> float:
    return measures.last_cosine(traces[1][0]) - measures.last_cosine(traces[0][0])


def _distance_ratio(pages: Pages, traces: Traces) -> float:
    gd, sgd = (of_page[0] for of_page in traces)
    steps = min(gd.sizes["iteration"], sgd.sizes["iteration"]) - 1
    return float(sgd["distance"][steps] / gd["distance"][steps])


def _slope(factor: str, measure: str) -> Value:
    def value(pages: Pages, traces: Traces) -> float:
        return pages[0].effect(pages[0].steps(traces[0]), factor, measure).estimate

    return value


def _slope_ratio(pages: Pages, traces: Traces) -> float:
    rate = _slope("learning_rate", "cosine")(pages, traces)
    return abs(rate / _slope("batch_size", "cosine")(pages, traces))


def _height_ratio(pages: Pages, traces: Traces) -> float:
    (page,), (found,) = pages, traces
    heights = page.heights(found)
    model = page.models[0]
    first, second = page.rates(model)[:2]
    by = heights.assign(mean=heights["heights"].map(np.mean)).pivot(
        index="epoch", columns="rate", values="mean"
    )
    return float(np.exp(np.log(by[first] / by[second]).mean()))


def _eigenvalues(trace: xr.Dataset) -> xr.Dataset:
    return trace[["hessian_max", "validation_accuracy"]].dropna("epoch")


def _sharpness_falls(pages: Pages, traces: Traces) -> float:
    largest = _eigenvalues(traces[0][0])["hessian_max"].values
    return float(largest.min() / largest[0])


def _sharpness_rises(pages: Pages, traces: Traces) -> float:
    largest = _eigenvalues(traces[0][0])["hessian_max"].values
    return float(largest[-1] / largest.min())


def _sharpness_and_accuracy(pages: Pages, traces: Traces) -> float:
    known = _eigenvalues(traces[0][0])
    accuracy = known["validation_accuracy"].values
    if accuracy.min() == accuracy.max():
        return math.nan  # A constant has no rank correlation.
    return float(stats.spearmanr(known["hessian_max"].values, accuracy).statistic)


def _noise_against_gd(column: str, ratio: bool = False) -> Value:
    def value(pages: Pages, traces: Traces) -> float:
        ends = pages[0].by_epoch(traces[0]).groupby("walk")[column].last()
        quiet, noisy = ends["GD"], ends[f"GD + noise × {min(pages[0].factors):g}"]
        return float(noisy / quiet if ratio else noisy - quiet)

    return value


def _freed(walk: str) -> Value:
    def value(pages: Pages, traces: Traces) -> float:
        walks = pages[0].walks
        named = dict(zip(walks, traces[0], strict=True))
        name = next(known for known in named if known.startswith(walk))
        loss = named[name]["train_loss"]
        before = loss.sel(epoch=slice(1, walks[name].switch_epoch)).dropna("epoch")[-1]
        return float(1 - loss.dropna("epoch")[-1] / before)

    return value


def _schedules(schedule: str, other: str) -> Value:
    def value(pages: Pages, traces: Traces) -> float:
        page = pages[0]
        epochs = page.by_epoch(traces[0])
        return page.difference(epochs, schedule, other, "validation_accuracy").estimate

    return value


def _equal_ratio(pages: Pages, traces: Traces) -> float:
    heights = [
        float(analysis.height(measures.measured_losses(trace)).mean()) for trace in traces[0]
    ]
    return abs(math.log2(heights[-1] / heights[0]))


def _residual_share(pages: Pages, traces: Traces) -> float:
    return pages[0].final_residual


def _overlap(pages: Pages, traces: Traces) -> float:
    rows = pages[0].alignments(traces[0])
    return float(rows["noise_overlap"].iloc[-1] / rows["random"].iloc[-1])


def _contraction_error(pages: Pages, traces: Traces) -> float:
    eigenvalues, rate = pages[0].eigenvalues, pages[0].learning_rate
    measured = measured_contraction(descend(eigenvalues, rate, 20))
    return float(np.abs(measured - contraction(eigenvalues, rate)).max())


def _edge_of_stability(pages: Pages, traces: Traces) -> float:
    return measures.edge_share(traces[0][0])[0]


# The claims ---------------------------------------------------------------------------------------

# Why walks contradict a claim, where they do: the likeliest reason and what tested it.
_MOSTLY_DESCENT = (
    "Likeliest reason: the first 40 steps are mostly descent. Further windows: at epochs 10 "
    "and 25 the floor rises in a tenth of the MLP's steps (seeds 0 to 2)."
)
_CREEPS = (
    "Likeliest reason: at this rate gradient descent creeps down one side of the valley, "
    "since 0.1 is below 1/λ. Further walk: the code's sum of nine chunks, by which 0.1 acts "
    "as 0.9; it bounces at first, and its cosine settles at +1 all the same."
)
_FITTED_FURTHER = (
    "Likeliest reason: at the same epoch the larger rate has fitted its digits further, and "
    "the height shrinks with the loss. Further look: divided by the loss of its window, the "
    "height at the larger rate is 1.5, 1.3 and 1.0 times the other's at epochs 1, 10 and 25 "
    "(seeds 0 to 2)."
)
_EMPIRICAL_FISHER = (
    "Likeliest reason: C is quadratic in 1 − p and vanishes before the residual does. Further "
    "measurement: the Fisher information, with labels from the network's own predictions, "
    "does come nearer to H as the loss falls."
)
_HELD_UP = (
    "Likeliest reason: the noise holds the walk up, not the surface, so that the loss falls once "
    "the noise is gone. Further walk: the MLP ten times as long under noise before the switch "
    "(400 epochs, seed 0); 94 % of the loss still goes under gradient descent."
)
_FITTED_BELOW_THE_EDGE = (
    "Likeliest reason: the network fits its digits while the curvature is still far below 2/η, and "
    "cross-entropy's curvature shrinks as the fit grows confident. Further walk: three times the "
    "rate (0.3, 500 digits, 1200 steps, seed 0); the share falls from 0.09 to 0.01 all the same."
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "interior-minimum",
        1,
        "For most of training the loss has an interior minimum between two iterates of SGD.",
        "Section 3.1",
        "share of segments with an interior minimum",
        "most",
        0.5,
        INFINITY,
        "fig8",
        (BarriersByEpoch,),
        _interior_minimum,
        resolution=0.01,
        share=True,
    ),
    Claim(
        "convex-segments",
        1,
        "Between two iterates of SGD the loss is roughly convex.",
        "Section 3.1",
        "share of segments whose second differences are all above minus the noise floor",
        "roughly all",
        0.5,
        INFINITY,
        "fig8",
        (BarriersByEpoch,),
        _convex,
        resolution=0.01,
        share=True,
    ),
    Claim(
        "few-barriers",
        2,
        "SGD crosses almost no barriers.",
        "Section 3.1, Table 1",
        "share of steps that cross a barrier",
        "0 to 0.051 (0 to 23 of 450)",
        -INFINITY,
        0.06,
        "tab1",
        (BarriersByEpoch,),
        _barrier_share,
        resolution=0.01,
        share=True,
    ),
    Claim(
        "small-barriers",
        2,
        "The barriers that SGD crosses are small beside the loss.",
        "Section 3.1, Figure 8",
        "height of the highest barrier, as a share of the loss there",
        "substantially smaller",
        -INFINITY,
        0.1,
        "fig8",
        (BarriersByEpoch,),
        _largest_barrier,
        resolution=0.01,
        share=True,
    ),
    Claim(
        "gd-floor",
        3,
        "The valley floor of gradient descent falls monotonically.",
        "Section 3.1, Figure 1",
        "share of the first steps in which the floor rises",
        "0",
        -INFINITY,
        0.05,
        "fig1",
        (GradientDescentWalk,),
        _gd_floor,
        resolution=0.025,
        share=True,
    ),
    Claim(
        "sgd-floor",
        3,
        "The valley floor of SGD goes up and down.",
        "Section 3.1, Figure 2",
        "share of the first steps in which the floor rises, SGD minus gradient descent",
        "many ups and downs",
        0.1,
        INFINITY,
        "fig2",
        (GradientDescentWalk, StochasticWalk),
        _floor_difference,
        resolution=0.025,
        reasons={"mlp": _MOSTLY_DESCENT},
    ),
    Claim(
        "gd-cosine",
        4,
        "Under gradient descent the cosine of consecutive gradients goes to −1.",
        "Section 3.1, Figure 1",
        "mean cosine of the last ten of the first steps",
        "near −1",
        -INFINITY,
        -0.8,
        "fig1",
        (GradientDescentWalk,),
        _gd_cosine,
        reasons={"mlp": _CREEPS},
    ),
    Claim(
        "sgd-cosine",
        4,
        "Under SGD the cosine is much less negative.",
        "Section 3.1, Figure 2",
        "mean cosine of the last ten of the first steps, SGD minus gradient descent",
        "less negative",
        0.1,
        INFINITY,
        "fig2",
        (GradientDescentWalk, StochasticWalk),
        _cosine_difference,
        reasons={"mlp": _CREEPS},
    ),
    Claim(
        "distance",
        5,
        "SGD travels farther than gradient descent in as many updates.",
        "Section 3.1",
        "distance from the initialisation, SGD over gradient descent",
        "1.7 / 1.4 = 1.2",
        1.0,
        INFINITY,
        "fig2",
        (GradientDescentWalk, StochasticWalk),
        _distance_ratio,
        logarithmic=True,
    ),
    Claim(
        "batch-size-moves-cosine",
        6,
        "The larger the batch, the more negative the cosine.",
        "Section 3.2, Figure 4",
        "change of the mean cosine for each doubling of the batch size",
        "negative",
        -INFINITY,
        0.0,
        "fig4",
        (Factors,),
        _slope("batch_size", "cosine"),
    ),
    Claim(
        "learning-rate-leaves-cosine",
        6,
        "The learning rate does not move the cosine.",
        "Section 3.2, Figure 4",
        "change for each doubling of the rate, as a share of that for each doubling of the batch",
        "0",
        -INFINITY,
        0.5,
        "fig4",
        (Factors,),
        _slope_ratio,
    ),
    Claim(
        "learning-rate-sets-height",
        7,
        "The learning rate sets the height above the valley floor.",
        "Section 3.2, Table 2",
        "mean height at one rate over that at half of it, geometric mean over the epochs",
        "3.6 (6.1, 4.0, 3.0, 2.3)",
        1.5,
        INFINITY,
        "tab2",
        (HeightTable,),
        _height_ratio,
        logarithmic=True,
        reasons={"mlp": _FITTED_FURTHER},
    ),
    Claim(
        "large-batches-stay-near",
        8,
        "Larger batches stay nearer to the initialisation.",
        "Section 3.2",
        "change of the distance for each doubling of the batch size, after as many steps",
        "negative",
        -INFINITY,
        0.0,
        "fig4",
        (Factors,),
        _slope("batch_size", "distance"),
    ),
    Claim(
        "sharpness-falls",
        9,
        "The spectral norm falls as training goes on.",
        "Section 3.1, Figure 3",
        "its lowest value over the first one measured",
        "below 1",
        -INFINITY,
        0.8,
        "fig3",
        (SpectralNorm,),
        _sharpness_falls,
        ("vgg11",),
        logarithmic=True,
    ),
    Claim(
        "sharpness-rises",
        9,
        "The spectral norm rises again at the end.",
        "Section 3.1, Figure 3",
        "its last value over its lowest one",
        "slightly above 1",
        1.05,
        INFINITY,
        "fig3",
        (SpectralNorm,),
        _sharpness_rises,
        ("vgg11",),
        logarithmic=True,
    ),
    Claim(
        "sharpness-and-accuracy",
        9,
        "The lower the spectral norm, the better the validation accuracy.",
        "Section 3.1, Figures 3 and 7",
        "rank correlation of the two over the epochs",
        "negative, mild",
        -INFINITY,
        0.0,
        "fig3",
        (SpectralNorm,),
        _sharpness_and_accuracy,
        ("vgg11",),
    ),
    Claim(
        "noise-hinders-optimisation",
        10,
        "Isotropic noise makes optimisation worse than no noise.",
        "Section 4, Figure 5",
        "final training loss, smaller noise minus plain gradient descent",
        "above 0",
        0.0,
        INFINITY,
        "fig5",
        (IsotropicNoise,),
        _noise_against_gd("train_loss"),
    ),
    Claim(
        "noise-hinders-generalisation",
        10,
        "Isotropic noise makes generalisation worse than no noise.",
        "Section 4, Figure 5",
        "final validation accuracy, smaller noise minus plain gradient descent",
        "below 0",
        -INFINITY,
        0.0,
        "fig5",
        (IsotropicNoise,),
        _noise_against_gd("validation_accuracy"),
    ),
    Claim(
        "noise-travels-far",
        10,
        "Isotropic noise travels farther than gradient descent.",
        "Section 4, Figure 5",
        "final distance, smaller noise over plain gradient descent",
        "much larger",
        2.0,
        INFINITY,
        "fig5",
        (IsotropicNoise,),
        _noise_against_gd("distance", ratio=True),
        logarithmic=True,
    ),
    Claim(
        "noise-ends-with-large-norm",
        10,
        "Isotropic noise ends with a larger parameter norm than gradient descent.",
        "Section 4",
        "final parameter norm, smaller noise over plain gradient descent",
        "369 / 87 = 4.2",
        1.2,
        INFINITY,
        "fig5",
        (IsotropicNoise,),
        _noise_against_gd("parameter_norm", ratio=True),
        logarithmic=True,
    ),
    Claim(
        "stuck-under-smaller-rate",
        11,
        "A walk stuck under isotropic noise stays stuck when the learning rate is cut.",
        "Footnote 7",
        "share of the training loss that goes after the cut",
        "0",
        -INFINITY,
        0.2,
        "fig5",
        (IsotropicNoise,),
        _freed("then rate"),
    ),
    Claim(
        "stuck-under-gd",
        11,
        "A walk stuck under isotropic noise stays stuck under gradient descent.",
        "Footnote 7",
        "share of the training loss that goes after the noise",
        "0",
        -INFINITY,
        0.2,
        "fig5",
        (IsotropicNoise,),
        _freed("then GD"),
        reasons={"mlp": _HELD_UP, "vgg11": _HELD_UP},
    ),
    Claim(
        "freed-by-sgd",
        11,
        "SGD frees a walk stuck under isotropic noise.",
        "Footnote 7",
        "share of the training loss that goes under SGD",
        "above 0",
        0.2,
        INFINITY,
        "fig5",
        (IsotropicNoise,),
        _freed("then SGD"),
    ),
    Claim(
        "trapezoid-and-clr",
        12,
        "The trapezoid is at least as good as cyclical rates: cycles are redundant.",
        "Section 5, Figure 6",
        "final validation accuracy, trapezoid minus CLR, both tuned",
        "0 or more",
        -0.02,
        INFINITY,
        "fig6",
        (Schedules,),
        _schedules("trapezoid", "clr"),
        ("vgg11",),
    ),
    Claim(
        "trapezoid-and-stepwise",
        12,
        "The trapezoid is at least as good as stepwise annealing.",
        "Section 5, Figure 6",
        "final validation accuracy, trapezoid minus stepwise, both tuned",
        "0 or slightly more",
        -0.02,
        INFINITY,
        "fig6",
        (Schedules,),
        _schedules("trapezoid", "stepwise"),
        ("vgg11",),
    ),
    Claim(
        "clr-and-stepwise",
        12,
        "Cyclical rates are at least as good as stepwise annealing.",
        "Section 5, Figure 6",
        "final validation accuracy, CLR minus stepwise, both tuned",
        "0 or slightly more",
        -0.02,
        INFINITY,
        "fig6",
        (Schedules,),
        _schedules("clr", "stepwise"),
        ("vgg11",),
    ),
    Claim(
        "small-rate-crosses-none",
        13,
        "With a small learning rate SGD still crosses no barriers.",
        "Section 6",
        "share of steps at learning rate 0.01 that cross a barrier",
        "almost 0",
        -INFINITY,
        0.06,
        "tab1",
        (SmallRate,),
        _barrier_share,
        resolution=0.01,
        share=True,
    ),
    Claim(
        "ratio-is-not-all",
        14,
        "Walks of equal ratio of learning rate to batch size differ.",
        "Section 2, footnote 2",
        "height at rate 0.2 over that at 0.05, in doublings, without sign",
        "not 0",
        0.25,
        INFINITY,
        "tab2",
        (EqualRatio,),
        _equal_ratio,
    ),
    Claim(
        "hessian-is-covariance",
        15,
        "Near a minimum the Hessian is almost the covariance of the gradients.",
        "Section 4, Appendix D",
        "norm of the residual over the Hessian's, at the end of a small network's training",
        "0",
        -INFINITY,
        0.1,
        "appd",
        (NoiseStructure,),
        _residual_share,
        ("mlp",),
        tested_on=("64-8-10 with tanh", "8×8 digits"),
        reasons={"mlp": _EMPIRICAL_FISHER},
    ),
    Claim(
        "noise-along-sharp-directions",
        15,
        "Mini-batch noise lies along the sharp directions (which the paper leaves unconfirmed).",
        "Section 4",
        "overlap of the top three directions, over that by chance",
        "far above 1",
        100.0,
        INFINITY,
        "appd",
        (NoiseStructure,),
        _overlap,
        logarithmic=True,
    ),
    Claim(
        "quadratic-contraction",
        16,
        "Gradient descent on a quadratic contracts by |1 − λη| along each eigenvector.",
        "Section 6, Figure 28",
        "largest difference of a run from the formula, random eigenvalues and rate",
        "0",
        -INFINITY,
        1e-6,
        "fig28",
        (Quadratic,),
        _contraction_error,
        ("mlp",),
        tested_on=("quadratic", "none"),
    ),
    Claim(
        "edge-of-stability",
        17,
        "The spectral norm under gradient descent hovers at 2/η.",
        "beyond the paper: Cohen et al. 2021, Section 3",
        "spectral norm over 2/η, mean of the last half of a long walk",
        "not measured; 1 in Cohen et al.",
        0.8,
        1.25,
        "fig3",
        (EdgeOfStability,),
        _edge_of_stability,
        logarithmic=True,
        reasons={"mlp": _FITTED_BELOW_THE_EDGE},
    ),
)
# How many intervals hold together: one a claim and network.
CLAIM_COUNT = sum(len(claim.models) for claim in CLAIMS)


# The ledger ---------------------------------------------------------------------------------------


def page_of(kind: Any, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Any:
    """A page for one network and seed; `given` are parameters of one's own that it knows."""
    if kind is Quadratic:
        random = np.random.default_rng(seed)
        eigenvalues = random.uniform(0.05, 1, 20).tolist()
        return Quadratic(eigenvalues=eigenvalues, learning_rate=random.uniform(0.1, 2.5))
    known = kind.model_fields
    chosen = {name: value for name, value in given.items() if name in known}
    chosen |= {"model": model} if "model" in known else {"models": [model]}
    if "seeds" in known:
        # One seed a page, so that the ledger's seeds share no walk.
        chosen["seeds"] = 1
    return kind(**chosen | {"scale": scale, "seed": seed})


def experiments_of(claim: Claim, scale: Scale, model: ModelName, seed: int) -> list[Experiment]:
    """The walks one seed of a claim needs."""
    pages = [page_of(kind, scale, model, seed, {}) for kind in claim.pages]
    return [experiment for walks in _walks_of(claim, pages) for experiment in walks]


def _walks_of(claim: Claim, pages: Sequence[Any]) -> list[list[Experiment]]:
    """The walks of each page that a claim needs."""
    return [[] if claim.tested_on else page.experiments for page in pages]


def all_experiments(scale: Scale, seeds: int = SEEDS) -> list[Experiment]:
    """The walks that the whole ledger needs at a scale, each once."""
    needed = [
        experiment
        for claim in CLAIMS
        for model in claim.models
        for seed in range(seeds)
        for experiment in experiments_of(claim, scale, model, seed)
    ]
    return list({experiment.hash: experiment for experiment in needed}.values())


def findings(
    scale: Scale,
    *,
    store: Store | None = None,
    seeds: int = SEEDS,
    claims: Iterable[Claim] = CLAIMS,
    models: Iterable[ModelName] | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """What the traces that are there say about the claims; nothing is walked.

    Parameters
    ----------
    scale : {"smoke", "quick", "paper"}
    store : Store, optional
    seeds : int
        Seeds 0 … seeds − 1 are looked for. A claim of which no seed is there is left out.
    claims : iterable of Claim
    models : iterable of str, optional
        Default: those that each claim names.
    given : mapping, optional
        Parameters other than the scale's, such as the data set.
    """
    store, given = store or Store(), given or {}
    opened: dict[str, xr.Dataset] = {}

    def trace_of(experiment: Experiment) -> xr.Dataset | None:
        if experiment.hash not in opened and (path := store.find(experiment)):
            opened[experiment.hash] = open_trace(path, experiment.hash)
        return opened.get(experiment.hash)

    found = []
    for claim in claims:
        for model in claim.models if claim.tested_on or models is None else models:
            values, dataset = [], ""
            for seed in range(seeds):
                pages = [page_of(kind, scale, model, seed, given) for kind in claim.pages]
                walks = _walks_of(claim, pages)
                there = [[trace_of(experiment) for experiment in each] for each in walks]
                traces = [[trace for trace in each if trace is not None] for each in there]
                if any(len(own) < len(all_of) for own, all_of in zip(traces, there, strict=True)):
                    continue
                value = claim.value(pages, traces)
                if math.isfinite(value):
                    values.append(value)
                dataset = walks[0][0].dataset if walks[0] else ""
            if values:
                found.append(_finding(claim, values, scale, model, dataset))
    return found


def _finding(
    claim: Claim, values: Sequence[float], scale: Scale, model: ModelName, dataset: str
) -> Finding:
    interval, verdict = judge(claim, values, CLAIM_COUNT)
    model_name, dataset = claim.tested_on or (model, dataset)
    return Finding(
        id=claim.id,
        claim=claim.sentence,
        source=claim.source,
        statistic=claim.statistic,
        estimate=interval.estimate,
        interval=None if math.isnan(interval.low) else (interval.low, interval.high),
        needed=(_finite(claim.low), _finite(claim.high)),
        paper=claim.paper,
        verdict=verdict,
        model=model_name,
        dataset=dataset,
        scale=scale,
        seeds=len(values),
        page=claim.page,
        reason=claim.reasons.get(model, "") if verdict == "not supported" else "",
    )


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


def as_objects(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """For programs: one object a finding, ready for JSON."""
    return [asdict(finding) for finding in found]


def ledger_table(found: Sequence[Finding], link: str = "[{0}](figures/{0}.ipynb)") -> str:
    """Markdown table of findings, a row a claim; `link` says how a page is referred to."""
    by_claim: dict[str, list[Finding]] = {}
    for finding in found:
        by_claim.setdefault(finding.id, []).append(finding)
    rows = []
    for of_claim in by_claim.values():
        first = of_claim[0]
        ends = zip(("above", "below"), first.needed, strict=True)
        needed = " and ".join(f"{side} {end:g}" for side, end in ends if end is not None)
        reasons = dict.fromkeys(finding.reason for finding in of_claim if finding.reason)
        rows.append(
            [
                " ".join([f"{first.claim} *({first.source})*", *reasons]),
                f"{first.statistic}; holds if {needed}",
                first.paper,
                "<br>".join(_in_short(finding) for finding in of_claim),
                link.format(first.page),
            ]
        )
    return markdown_table(["claim", "statistic", "paper", "ours", "page"], rows)


def _in_short(finding: Finding) -> str:
    ours = Interval(finding.estimate, *(finding.interval or (math.nan, math.nan)))
    seeds = "1 seed" if finding.seeds == 1 else f"{finding.seeds} seeds"
    where = f"{TITLES.get(finding.model, finding.model)}, {finding.dataset}, {finding.scale}"
    return f"**{finding.verdict}**: {ours} ({where}, {seeds})"


def page_claims(page: Any) -> str:
    """The claims that a notebook's page bears on, for its own parameters; Markdown."""
    kind = type(page)
    claims = [
        claim
        for claim in CLAIMS
        if kind in claim.pages or kind is NOTEBOOKS[PAGES[claim.page].notebook]
    ]
    if not claims:
        return "No claim of the ledger rests on this page."
    given = page.model_dump(exclude_unset=True)
    scale = given.get("scale", "quick")
    models = [page.model] if "model" in kind.model_fields else getattr(page, "models", None)
    store = getattr(page, "store", None)
    found = findings(scale, store=store, claims=claims, models=models, given=given)
    if not found:
        return "The claims that rest on this page need walks that are not there yet."
    return ledger_table(found, "{0}")
