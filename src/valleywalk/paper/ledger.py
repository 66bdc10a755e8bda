"""The claims ledger: what the traces that are there say about each claim of the paper."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import xarray as xr

from ..seeds import MOST_SEEDS, SMALLEST_P, holm
from ..statistics import CONFIDENCE, Interval
from ..walks.catalogue import NETWORKS
from ..walks.experiment import Experiment
from ..walks.identity import identified
from ..walks.provenance import protocol_commits
from ..walks.store import Store
from .claim import ALPHA, SUBJECTS, Claim, Evidence, Subject, Verdict, Walked, usable
from .items import CLAIMS, ITEMS
from .page import Page, markdown_table
from .protocol import in_a_sentence, walks_of
from .scales import BY_PROTOCOL, JUDGED, Scale

# The family of tests at a scale: the primary rows, walked or not.
FAMILY = sum(len(claim.primary) for claim in CLAIMS)
FAMILY_CONFIDENCE = 1 - ALPHA / FAMILY
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
KINDS = {True: "primary", False: "exploratory"}


@dataclass(frozen=True)
class Finding:
    """What walks say about a claim, for one network, data set and scale.

    Attributes
    ----------
    id, claim, source, statistic, paper : str
        Those of the claim.
    kind : str
        "primary" if the row is one of the paper's own findings, else "exploratory".
    estimate : float or None
        None where no seed gives a number.
    interval, family_interval : (float, float) or None
        The plain 95 % interval, and Bonferroni's, so wide that those of all primary rows hold
        together with 95 % confidence.
    family_confidence : float
        That of Bonferroni's interval.
    needed : (float or None, float or None)
        The ends of the range.
    holds : str
        Where the statistic must lie, in words.
    verdict : str
    p_value, adjusted_p_value : float or None
        By its own, and adjusted by Holm for the family; None of the second for what is exploratory.
    could_have_seen : float or None
        The number nearest to the range's end that so many seeds tell from it with 80 % power.
    seeds : int
        Whose numbers the estimate is made from.
    seeds_planned : int
    seeds_needed : int or None
        For a difference from the nearer end as large as the estimate's, at 80 % power.
    notes : tuple of str
        Premises that are absent and seeds that were left out, and why.
    printed : float or None
        The paper's own number, where it prints one.
    subject : str
        What the claim was tested on, as the protocol names it.
    model, dataset : str
    scale : str or None
        None of what needs no walk.
    page : str
    reason : str
        The likeliest one, where the claim does not hold.
    """

    id: str
    claim: str
    source: str
    statistic: str
    kind: str
    estimate: float | None
    interval: tuple[float, float] | None
    family_interval: tuple[float, float] | None
    family_confidence: float
    needed: tuple[float | None, float | None]
    holds: str
    paper: str
    verdict: Verdict
    p_value: float | None
    adjusted_p_value: float | None
    could_have_seen: float | None
    seeds: int
    seeds_planned: int
    seeds_needed: int | None
    notes: tuple[str, ...]
    printed: float | None
    subject: str
    model: str
    dataset: str
    scale: Scale | None
    page: str
    reason: str


@dataclass(frozen=True)
class _Row:
    """A claim and what it is tested on, and what its seeds gave."""

    claim: Claim
    subject: Subject
    dataset: str
    evidence: Evidence | None
    notes: tuple[str, ...]
    premise_absent: bool
    primary: bool
    planned: int
    complete: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.claim.id, self.subject.name

    @property
    def tells(self) -> bool:
        """Whether there is anything to test."""
        return (
            self.complete
            and not self.premise_absent
            and self.evidence is not None
            and self.claim.quantity != "exact"
        )

    @property
    def p_value(self) -> float:
        """Of the test that decides; 1 where there is nothing to test."""
        if not self.tells or self.evidence is None:
            return 1.0
        p_value = self.evidence.p_value
        return 1.0 if math.isnan(p_value) else p_value


def findings(
    scale: Scale,
    *,
    store: Store | None = None,
    seeds: int | None = None,
    claims: Iterable[Claim] = CLAIMS,
    subjects: Iterable[Subject] | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """What the traces that are there say about the claims; nothing is walked, nothing decided
    before all seeds that were planned are there.

    Parameters
    ----------
    scale : {"smoke", "quick", "overnight", "paper"}
    store : Store, optional
    seeds : int, optional
        How many of the planned seeds are looked for; default all. A claim of which no seed is there
        is left out.
    claims : iterable of Claim
        Those that need no walk are left out: see `findings_without_walks`.
    subjects : iterable of Subject, optional
        Default: those that each claim names.
    given : mapping, optional
        Parameters other than the scale's, such as the data set.

    Returns
    -------
    list of Finding
        Adjusted for the whole family, also where only some claims are asked for.
    """
    store, given = store or Store(), given or {}
    asked = [
        (claim, subject)
        for claim in claims
        if not claim.tested_on
        for subject in (_subjects(claim) if subjects is None else subjects)
    ]
    rows = _measured(asked, scale, store, seeds, given)
    family = {row.key: row for row in rows if row.primary}
    missing = [
        (claim, SUBJECTS[name])
        for claim in CLAIMS
        for name in claim.primary
        if (claim.id, name) not in family
    ]
    # An adjusted p-value never depends on what is looked at together.
    if family and missing:
        family |= {row.key: row for row in _measured(missing, scale, store, seeds, {})}
    p_values = [row.p_value for row in family.values()]
    adjusted = dict(zip(family, holm(p_values, FAMILY), strict=True))
    return [_finding(row, scale, adjusted.get(row.key)) for row in rows]


def findings_without_walks(
    claims: Iterable[Claim] = CLAIMS, seeds: int | None = None
) -> list[Finding]:
    """What is found without any walk of the networks, the same at every scale."""
    asked = [(claim, each) for claim in claims if claim.tested_on for each in _subjects(claim)]
    return [_finding(row, None, None) for row in _measured(asked, "smoke", Store(), seeds, {})]


def _subjects(claim: Claim) -> list[Subject]:
    return [SUBJECTS[name] for name in claim.subjects]


def _measured(
    asked: Iterable[tuple[Claim, Subject]],
    scale: Scale,
    store: Store,
    seeds: int | None,
    given: Mapping[str, Any],
) -> list[_Row]:
    """Those rows of which at least one seed is there."""
    opened: dict[Experiment, xr.Dataset | None] = {}
    in_force = protocol_commits() if scale in BY_PROTOCOL else None

    def trace_of(experiment: Experiment) -> xr.Dataset | None:
        if experiment not in opened:
            opened[experiment] = store.open(experiment)
        return opened[experiment]

    rows = []
    for claim, subject in asked:
        walked, early, dataset = {}, [], ""
        planned = subject.planned_seeds(scale, seeds)
        for seed in planned:
            pages = pages_of(claim, scale, subject, seed, given)
            walks = walks_of(claim, pages)
            there = [[trace_of(experiment) for experiment in each] for each in walks]
            traces = [[trace for trace in each if trace is not None] for each in there]
            if all(len(own) == len(all_of) for own, all_of in zip(traces, there, strict=True)):
                if in_force is not None and not all(
                    trace.attrs.get("protocol_commit") in in_force
                    for own in traces
                    for trace in own
                ):
                    early.append(f"seed {seed}")
                    continue
                walked[seed] = list(map(Walked, pages, traces))
                dataset = identified(walks[0][0]).without_path.dataset if walks[0] else ""
        if walked:
            primary = subject.name in claim.primary and _as_planned(claim, scale, subject, given)
            notes = (f"{', '.join(early)} walked before the protocol",) if early else ()
            rows.append(_row(claim, subject, dataset, walked, primary, len(planned), notes))
    return rows


def pages_of(
    claim: Claim, scale: Scale, subject: Subject, seed: int, given: Mapping[str, Any]
) -> list[Page]:
    """The pages of a claim for one seed."""
    chosen = subject.given(scale) | dict(given)
    return [page.for_seed(scale, subject.model, seed, chosen) for page in claim.pages]


def _as_planned(claim: Claim, scale: Scale, subject: Subject, given: Mapping[str, Any]) -> bool:
    """Whether walks with parameters of one's own are those of the protocol all the same."""
    seed = subject.planned_seeds(scale)[0]
    own, planned = (
        [page.experiments for page in pages_of(claim, scale, subject, seed, each)]
        for each in (given, {})
    )
    return own == planned


def _row(
    claim: Claim,
    subject: Subject,
    dataset: str,
    walked: Mapping[int, Sequence[Walked]],
    primary: bool,
    planned: int,
    remarks: tuple[str, ...],
) -> _Row:
    """A row from its seeds: those without a premise or a usable number are left out, by name.

    Where a premise is absent in half of the seeds or more, all usable ones are shown instead.
    """
    values, notes, lacking = {}, list(remarks), set()
    complete = len(walked) == planned
    if not complete:
        there = f"{len(walked)} of {_seeds(planned)} walked"
        notes.append(f"{there}: nothing is decided before the last")
    for premise in claim.premises:
        missing = {seed: premise(*each) for seed, each in walked.items()}
        absent = [seed for seed, what in missing.items() if what]
        lacking |= set(absent)
        if absent:
            seen = "; ".join(dict.fromkeys(missing[seed] for seed in absent))
            sentence = in_a_sentence(premise.__doc__)
            notes.append(f"not so in {len(absent)} of {_seeds(len(walked))}: {sentence} ({seen})")
    gone = 2 * len(lacking) >= len(walked)
    unusable: dict[str, list[str]] = {}
    for seed, each in walked.items():
        if seed in lacking and not gone:
            continue
        value = claim.measure(*each)
        if why := usable(claim, value):
            if seed not in lacking:  # Else its premise has said why.
                unusable.setdefault(why, []).append(f"seed {seed}")
        else:
            values[seed] = value
    notes += [f"{', '.join(seeds)} not usable: {why}" for why, seeds in unusable.items()]
    evidence = Evidence(claim, list(values.values())) if values else None
    return _Row(claim, subject, dataset, evidence, tuple(notes), gone, primary, planned, complete)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _finding(row: _Row, scale: Scale | None, adjusted: float | None) -> Finding:
    claim, evidence, told = row.claim, row.evidence, row.tells
    deciding = row.p_value if adjusted is None else adjusted
    verdict: Verdict = "inconclusive"
    if evidence and row.complete:
        verdict = evidence.verdict(deciding)
    if row.premise_absent and row.complete:
        verdict = "premise absent"
    alpha = ALPHA if adjusted is None else ALPHA / FAMILY
    seen, needed = evidence.power(alpha) if evidence and told else (None, None)
    model, dataset = claim.tested_on or (row.subject.model, row.dataset)
    same = evidence is not None and math.isnan(evidence.interval().low)
    few = () if not (same and told) else ("no interval: all its seeds say the same",)
    return Finding(
        id=claim.id,
        claim=claim.sentence,
        source=claim.source,
        statistic=claim.statistic,
        kind=KINDS[row.primary],
        estimate=evidence.interval().estimate if evidence else None,
        interval=_ends(evidence.interval()) if evidence else None,
        family_interval=_ends(evidence.interval(FAMILY_CONFIDENCE)) if evidence else None,
        family_confidence=FAMILY_CONFIDENCE,
        needed=claim.needed,
        holds=claim.range_in_words,
        paper=claim.paper,
        verdict=verdict,
        p_value=row.p_value if told and not same else None,
        adjusted_p_value=adjusted,
        could_have_seen=seen,
        seeds=len(evidence.values) if evidence else 0,
        seeds_planned=row.planned,
        seeds_needed=needed,
        notes=row.notes + few,
        printed=claim.printed.get(row.subject.name),
        subject=row.subject.name,
        model=model,
        dataset=dataset,
        scale=scale,
        page=_page(claim, row.subject),
        reason=claim.reasons.get(row.subject.name, "")
        if verdict in ("contradicted", "premise absent")
        else "",
    )


def _page(claim: Claim, subject: Subject) -> str:
    """The item that shows a claim for a subject, or for another one where there is none for it."""
    shown = ITEMS[claim.item]
    if "model" not in shown.chosen or claim.tested_on:
        return claim.item
    dataset = subject.dataset or NETWORKS[subject.model].dataset
    return next(
        (
            name
            for name, item in ITEMS.items()
            if item.page is shown.page
            and (item.chosen.get("model"), item.chosen.get("dataset")) == (subject.model, dataset)
            and item.chosen.get("epoch") == shown.chosen.get("epoch")
        ),
        claim.item,
    )


def _ends(interval: Interval) -> tuple[float, float] | None:
    ends = interval.low, interval.high
    return ends if all(map(math.isfinite, ends)) else None


def as_objects(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """For programs: one object a finding, ready for JSON."""
    return [asdict(finding) for finding in found]


def by_verdict(found: Iterable[Finding]) -> list[Finding]:
    """Findings in the order of their verdicts, what is primary first."""
    return sorted(
        found, key=lambda finding: (VERDICTS.index(finding.verdict), finding.kind != "primary")
    )


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
                f"{first.statistic}; holds if {first.holds}",
                first.paper,
                "<br>".join(
                    f"**{finding.verdict}** ({finding.kind}): {numbers_of(finding)} "
                    f"({where(finding)})"
                    for finding in of_claim
                ),
                link.format(first.page),
            ]
        )
    return markdown_table(["claim", "statistic", "paper", "ours", "page"], rows)


def where(finding: Finding) -> str:
    """Network, data set, scale and seeds of a finding."""
    known = NETWORKS.get(finding.model)
    place = [known.title if known else finding.model, finding.dataset]
    seeds = f"{finding.seeds} of {finding.seeds_planned} seeds"
    return ", ".join([*place, *([finding.scale] if finding.scale else []), seeds])


def numbers_of(finding: Finding) -> str:
    """A finding's numbers in words, each with its name.

    Both intervals of a primary row are labelled; one that is exploratory has the plain one alone.
    """
    parts = ["no number" if finding.estimate is None else f"{finding.estimate:.3g}"]
    intervals = [(finding.interval, f"{CONFIDENCE:.0%}")]
    if finding.kind == "primary":
        intervals.append((finding.family_interval, f"family-wise {FAMILY_CONFIDENCE:.1%}"))
    parts += [f"{label} [{ends[0]:.3g}, {ends[1]:.3g}]" for ends, label in intervals if ends]
    if finding.p_value is not None and finding.interval:
        adjusted = finding.adjusted_p_value
        least = finding.p_value <= SMALLEST_P
        parts.append(f"p {'below' if least else '='} {finding.p_value:.2g}")
        parts += [] if adjusted is None else [f"adjusted {adjusted:.2g}"]
    if finding.could_have_seen is not None:
        parts.append(f"could have seen {finding.could_have_seen:.3g}")
    if finding.could_have_seen is not None or finding.seeds_needed is not None:
        needed = finding.seeds_needed
        parts.append(f"seeds needed {needed if needed else f'over {MOST_SEEDS:,}'}")
    return "; ".join([", ".join(parts), *finding.notes])


def claims_of(page: Page) -> list[Claim]:
    """The claims that a page bears on."""
    own = type(page)
    return [claim for claim in CLAIMS if own in claim.pages or own is ITEMS[claim.item].page]


def findings_of(page: Page) -> list[Finding]:
    """What is found of the claims that a page bears on.

    Returns
    -------
    list of Finding
        Those at the page's own scale and for its own parameters, then those by the protocol, then
        those that need no walk.
    """
    claims, subjects, store = claims_of(page), _subjects_of(page), page.store
    if not claims:
        return []
    found = []
    if page.shown_scale in JUDGED:
        found = findings(
            page.shown_scale, store=store, claims=claims, subjects=subjects, given=page.given
        )
    (by_protocol,) = BY_PROTOCOL
    if page.shown_scale != by_protocol:
        tested = None if subjects is None else {subject.name for subject in subjects}
        found += [
            finding
            for finding in findings(by_protocol, store=store, claims=claims)
            if tested is None or finding.subject in tested
        ]
    return found + findings_without_walks(claims)


def page_claims(page: Page) -> str:
    """The claims that a notebook's page bears on: for its own parameters, and as they are decided
    by the protocol; Markdown.
    """
    if not claims_of(page):
        return "No claim of the ledger rests on this page."
    found = findings_of(page)
    if not found:
        return "The claims that rest on this page need walks that are not there yet."
    table = ledger_table(found, "{0}")
    if page.shown_scale in JUDGED:
        return table
    return f"One walk of a kind is described here, and judges nothing.\n\n{table}"


def _subjects_of(page: Page) -> list[Subject] | None:
    """What a page shows; None where it is whichever a claim names."""
    if page.networks is None:
        return None
    dataset, scale = page.given.get("dataset"), page.shown_scale
    return [
        next(
            (
                subject
                for subject in SUBJECTS.values()
                if subject.model == model and subject.given(scale).get("dataset") == dataset
            ),
            SUBJECTS.get(model, Subject(model, seeds=10)),
        )
        for model in page.networks
    ]
