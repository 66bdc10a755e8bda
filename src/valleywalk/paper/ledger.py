"""The claims ledger: what the traces that are there say about each claim of the paper."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import xarray as xr

from ..statistics import Interval
from ..walks.catalogue import NETWORKS
from ..walks.experiment import Experiment, ModelName
from ..walks.identity import identified
from ..walks.store import Store
from .claim import SEEDS, Claim, Verdict, Walked, judge, range_in_words
from .items import CLAIMS, ITEMS
from .page import Page, markdown_table
from .scales import JUDGED, Scale

# How many intervals hold together: one a claim and network.
CLAIM_COUNT = sum(len(claim.models) for claim in CLAIMS)


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


def protocol() -> list[dict[str, Any]]:
    """What is decided before any walk: of each claim its statistic, range, networks and seeds."""
    told = ("id", "number", "sentence", "source", "statistic", "needed", "paper", "item")
    return [
        {name: getattr(claim, name) for name in told}
        | {
            "networks": [] if claim.tested_on else list(claim.models),
            "tested_on": claim.tested_on,
            "seeds": list(range(SEEDS)),
        }
        for claim in CLAIMS
    ]


def experiments_of(claim: Claim, scale: Scale, model: ModelName, seed: int) -> list[Experiment]:
    """The walks one seed of a claim needs."""
    pages = [page.for_seed(scale, model, seed, {}) for page in claim.pages]
    return [experiment for walks in _walks_of(claim, pages) for experiment in walks]


def _walks_of(claim: Claim, pages: Sequence[Page]) -> list[list[Experiment]]:
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
    opened: dict[Experiment, xr.Dataset | None] = {}

    def trace_of(experiment: Experiment) -> xr.Dataset | None:
        if experiment not in opened:
            opened[experiment] = store.open(experiment)
        return opened[experiment]

    found = []
    for claim in claims:
        for model in claim.models if claim.tested_on or models is None else models:
            values, dataset = [], ""
            for seed in range(seeds):
                pages = [page.for_seed(scale, model, seed, given) for page in claim.pages]
                walks = _walks_of(claim, pages)
                there = [[trace_of(experiment) for experiment in each] for each in walks]
                traces = [[trace for trace in each if trace is not None] for each in there]
                if any(len(own) < len(all_of) for own, all_of in zip(traces, there, strict=True)):
                    continue
                value = claim.measure(*map(Walked, pages, traces))
                if math.isfinite(value):
                    values.append(value)
                dataset = identified(walks[0][0]).without_path.dataset if walks[0] else ""
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
        needed=claim.needed,
        paper=claim.paper,
        verdict=verdict,
        model=model_name,
        dataset=dataset,
        scale=scale,
        seeds=len(values),
        page=claim.item,
        reason=claim.reasons.get(model, "") if verdict == "not supported" else "",
    )


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
        reasons = dict.fromkeys(finding.reason for finding in of_claim if finding.reason)
        rows.append(
            [
                " ".join([f"{first.claim} *({first.source})*", *reasons]),
                f"{first.statistic}; holds if {range_in_words(first.needed)}",
                first.paper,
                "<br>".join(_in_short(finding) for finding in of_claim),
                link.format(first.page),
            ]
        )
    return markdown_table(["claim", "statistic", "paper", "ours", "page"], rows)


def _in_short(finding: Finding) -> str:
    ours = Interval(finding.estimate, *(finding.interval or (math.nan, math.nan)))
    seeds = "1 seed" if finding.seeds == 1 else f"{finding.seeds} seeds"
    known = NETWORKS.get(finding.model)
    where = f"{known.title if known else finding.model}, {finding.dataset}, {finding.scale}"
    return f"**{finding.verdict}**: {ours} ({where}, {seeds})"


def page_claims(page: Page) -> str:
    """The claims that a notebook's page bears on, for its own parameters; Markdown."""
    own = type(page)
    claims = [claim for claim in CLAIMS if own in claim.pages or own is ITEMS[claim.item].page]
    if not claims:
        return "No claim of the ledger rests on this page."
    if page.shown_scale not in JUDGED:
        return "Walks at this scale have one seed each: they are described, and judge no claim."
    found = findings(
        page.shown_scale, store=page.store, claims=claims, models=page.networks, given=page.given
    )
    if not found:
        return "The claims that rest on this page need walks that are not there yet."
    return ledger_table(found, "{0}")
