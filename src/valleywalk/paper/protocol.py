"""What is fixed before the walks that decide: rows, ranges, seeds, walks, their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..walks.experiment import Experiment
from . import full_size
from .barriers import BarriersByEpoch, SmallRate
from .claim import SUBJECTS, Claim, Subject
from .edge import EdgeOfStability
from .factors import Factors
from .heights import EqualRatio, HeightTable, LargerBatch
from .isotropic import IsotropicNoise
from .items import CLAIMS, ITEMS
from .noise_structure import NoiseStructure
from .page import Page
from .scales import DECIDING, Scale
from .schedules import Schedules
from .spectral import SpectralNorm
from .walks import GradientDescentWalk, StochasticTwin, StochasticWalk

# Groups of walks in the order in which they are walked, each seed by seed: what each is walked on,
# and the pages whose walks they are. What is quick and what most primary rows rest on comes first.
ORDER: Sequence[tuple[str, Sequence[type[Page]]]] = (
    ("vgg11", (StochasticWalk, Factors)),
    ("mlp", (BarriersByEpoch, HeightTable, StochasticWalk, Factors)),
    ("vgg11", (BarriersByEpoch, HeightTable, SpectralNorm)),
    ("vgg11", (IsotropicNoise,)),
    ("mlp", (GradientDescentWalk, StochasticTwin, IsotropicNoise, LargerBatch, EqualRatio)),
    ("mlp", (SmallRate, NoiseStructure, EdgeOfStability)),
    ("vgg11 on tiny-imagenet", (StochasticWalk, GradientDescentWalk, StochasticTwin, Factors)),
    ("vgg11", (GradientDescentWalk, StochasticTwin)),
    ("resnet56", (StochasticWalk, Factors)),
    ("resnet56", (BarriersByEpoch, HeightTable, SpectralNorm)),
    ("vgg11", (LargerBatch, EqualRatio, SmallRate, Schedules, NoiseStructure, EdgeOfStability)),
    ("resnet56", (GradientDescentWalk, StochasticTwin, IsotropicNoise, Schedules, NoiseStructure)),
    ("mlp", (SpectralNorm, Schedules)),
)


def pages_of(
    claim: Claim, scale: Scale, subject: Subject, seed: int, given: Mapping[str, Any]
) -> list[Page]:
    """The pages of a claim for one seed."""
    chosen = subject.given(scale) | dict(given)
    return [page.for_seed(scale, subject.model, seed, chosen) for page in claim.pages]


def walks_of(claim: Claim, pages: Sequence[Page]) -> list[list[Experiment]]:
    """The walks of each page that a claim needs."""
    return [[] if claim.tested_on else page.experiments for page in pages]


def groups(
    scale: Scale, seeds: int | None = None
) -> list[tuple[str, dict[str, dict[int, list[Experiment]]]]]:
    """The groups of `ORDER` with the walks of each page, by seed.

    Parameters
    ----------
    scale : str
    seeds : int, optional
        How many of the planned seeds; default all.

    Returns
    -------
    list of (str, dict)
        Subject; page's name → seed → experiments. Pages may share walks.
    """
    found = []
    for name, pages in ORDER:
        subject = SUBJECTS[name]
        walks: dict[str, dict[int, list[Experiment]]] = {
            page.__name__: {
                seed: page.for_seed(scale, subject.model, seed, subject.given(scale)).experiments
                for seed in subject.planned_seeds(scale, seeds)
            }
            for page in pages
        }
        found.append((name, walks))
    return found


def all_experiments(scale: Scale, seeds: int | None = None) -> list[Experiment]:
    """The walks that the whole ledger needs at a scale, each once, in the protocol's order."""
    ordered = [
        walk
        for name, pages in groups(scale, seeds)
        for seed in SUBJECTS[name].planned_seeds(scale, seeds)
        for of_page in pages.values()
        for walk in of_page[seed]
    ]
    return list({walk.hash: walk for walk in ordered}.values())


def rows() -> list[dict[str, Any]]:
    """What is decided of each claim: its statistic, range, what it is tested on, what is primary.

    Returns
    -------
    list of dict
        One a claim, ready for JSON.
    """
    told = ("id", "number", "sentence", "source", "statistic", "needed", "paper", "item")
    return [
        {name: getattr(claim, name) for name in told}
        | {
            "holds": claim.range_in_words,
            "quantity": claim.quantity,
            "pages": [page.__name__ for page in claim.pages],
            "premises": [in_a_sentence(premise.__doc__) for premise in claim.premises],
            "subjects": [] if claim.tested_on else list(claim.subjects),
            "primary": list(claim.primary),
            "tested_on": claim.tested_on,
        }
        for claim in CLAIMS
    ]


def protocol(scale: Scale = "overnight") -> dict[str, Any]:
    """All that is fixed before any walk that decides.

    Parameters
    ----------
    scale : str
        At which it is decided.

    Returns
    -------
    dict
        scale; claims (see `rows`); seeds (of each subject); order (groups of walks: the subject,
        and for each page the hashes of its walks by seed). Ready for JSON.
    """
    return {
        "scale": scale,
        "claims": rows(),
        "seeds": {name: list(each.planned_seeds(scale)) for name, each in SUBJECTS.items()},
        "order": [
            {
                "subject": name,
                "walks": {
                    page: {str(seed): [walk.hash for walk in own] for seed, own in by_seed.items()}
                    for page, by_seed in pages.items()
                },
            }
            for name, pages in groups(scale)
        ],
    }


def in_a_sentence(text: str | None) -> str:
    """A docstring's first line, to go into a sentence."""
    first = (text or "").split("\n")[0].rstrip(".")
    return first if first[1:2].isupper() else first[:1].lower() + first[1:]


def commands(scale: Scale) -> dict[Experiment, str]:
    """The walks of all pages and of the ledger at a scale, each with a command that makes it."""
    found: dict[Experiment, str] = {}
    for item in ITEMS.values():
        for experiment in item.experiments(scale) if scale in item.scales else ():
            found.setdefault(experiment, f"valleywalk figure {item.name} --scale {scale}")
    for walk in full_size.walks().values() if scale == "full" else ():
        found.setdefault(walk, full_size.command(walk))
    for experiment in all_experiments(scale) if scale in DECIDING else ():
        found.setdefault(experiment, f"valleywalk claims --scale {scale} --compute")
    return found
