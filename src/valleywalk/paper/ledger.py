"""The claims ledger: what the traces that are there say about each claim of the paper."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..seeds import Share, holm
from ..statistics import Interval
from ..walks.catalogue import NETWORKS
from ..walks.experiment import Experiment
from ..walks.identity import identified
from ..walks.provenance import protocol_commits
from ..walks.store import Store
from .claim import ALPHA, FEWEST_SEEDS, SUBJECTS, Claim, Evidence, Subject, Verdict, Walked, usable
from .items import CLAIMS, ITEMS
from .measured import Measured
from .page import Page
from .protocol import in_a_sentence, pages_of, walks_of
from .scales import BY_PROTOCOL, Scale

if TYPE_CHECKING:
    import xarray as xr

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
    seeds_walked, seeds_planned : int
        How many are there, usable or not, and how many the protocol has.
    seeds_needed : int or None
        For a difference from the nearer end as large as the estimate's, at 80 % power.
    notes : tuple of str
        Premises that are absent and seeds that were left out, and why; the claim's caution.
    walks : tuple of str
        Hashes of the walks that were looked at.
    protocol_commits : tuple of str
        Those of the protocol by which they were made; none at a scale without one.
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
    seeds_walked: int
    seeds_planned: int
    seeds_needed: int | None
    notes: tuple[str, ...]
    walks: tuple[str, ...]
    protocol_commits: tuple[str, ...]
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
    censored: bool
    primary: bool
    as_planned: bool
    walks: tuple[str, ...]
    commits: tuple[str, ...]
    walked: int
    planned: int

    @property
    def complete(self) -> bool:
        """Whether all seeds are there."""
        return self.walked == self.planned

    @property
    def key(self) -> tuple[str, str]:
        return self.claim.id, self.subject.name

    @property
    def tells(self) -> bool:
        """Whether there is anything to test."""
        return (
            self.complete
            and not self.premise_absent
            and not self.censored
            and self.evidence is not None
            and len(self.evidence.values) >= FEWEST_SEEDS
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
        As if so many had been planned, the first; default all. A claim of which no seed is there
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
    return [_finding(row, scale, adjusted[row.key] if row.primary else None) for row in rows]


def findings_without_walks(
    claims: Iterable[Claim] = CLAIMS, seeds: int | None = None
) -> list[Finding]:
    """What is found without any walk of the networks, the same at every scale."""
    asked = [(claim, each) for claim in claims if claim.tested_on for each in _subjects(claim)]
    return [_finding(row, None, None) for row in _measured(asked, "smoke", Store(), seeds, {})]


def _subjects(claim: Claim) -> list[Subject]:
    return [SUBJECTS[name] for name in claim.subjects]


class _Opened:
    """The traces of a store, each opened once where it is wanted, and what was measured of them."""

    def __init__(self, store: Store):
        self.store = store
        self.measured = Measured(store.folder)
        self._traces: dict[Path, xr.Dataset] = {}
        self._commits: dict[Path, str] = {}

    def trace(self, path: Path, experiment: Experiment) -> xr.Dataset:
        if path not in self._traces:
            trace = self.store.open(experiment)
            assert trace is not None
            self._traces[path] = trace
        return self._traces[path]

    def commit(self, path: Path, experiment: Experiment) -> str:
        """Of the protocol by which a trace was made."""

        def read() -> str:
            return str(self.trace(path, experiment).attrs.get("protocol_commit"))

        # Asked for by each claim that rests on a walk.
        if path not in self._commits:
            self._commits[path] = str(self.measured.get(["protocol_commit"], [path], read))
        return self._commits[path]


@dataclass(frozen=True)
class _Seed:
    """A claim's walks of one seed, and what is measured of them."""

    claim: Claim
    pages: Sequence[Page]
    walks: Sequence[Sequence[tuple[Path, Experiment]]]
    opened: _Opened

    def walked(self) -> list[Walked]:
        traces = [[self.opened.trace(*walk) for walk in each] for each in self.walks]
        return list(map(Walked, self.pages, traces))

    def premise(self, number: int) -> str:
        """What is missing of a premise."""
        return str(self._get(f"premise {number}", self.claim.premises[number]))

    def value(self) -> float | Share:
        found: float | Share = self._get("value", self.claim.measure)
        return found

    def _get(self, what: str, measure: Callable[..., Any]) -> Any:
        # One that is not of the paper may share its name with one that is.
        if all(self.claim is not each for each in CLAIMS):
            return measure(*self.walked())
        pages = [f"{type(page).__name__} {page.model_dump_json()}" for page in self.pages]
        files = [path for each in self.walks for path, _ in each]
        about = [self.claim.id, what, *pages]
        return self.opened.measured.get(about, files, lambda: measure(*self.walked()))


def _measured(
    asked: Iterable[tuple[Claim, Subject]],
    scale: Scale,
    store: Store,
    seeds: int | None,
    given: Mapping[str, Any],
) -> list[_Row]:
    """Those rows of which at least one seed is there."""
    opened = _Opened(store)
    in_force = protocol_commits() if scale in BY_PROTOCOL else None
    rows = []
    for claim, subject in asked:
        walked, early, dataset = {}, [], ""
        planned = subject.planned_seeds(scale, seeds)
        for seed in planned:
            pages = pages_of(claim, scale, subject, seed, given)
            walks = walks_of(claim, pages)
            there = [
                [(path, walk) for walk in each if (path := store.find(walk))] for each in walks
            ]
            if any(len(own) < len(all_of) for own, all_of in zip(there, walks, strict=True)):
                continue
            if in_force is not None and not all(
                opened.commit(*walk) in in_force for each in there for walk in each
            ):
                early.append(f"seed {seed}")
                continue
            walked[seed] = _Seed(claim, pages, there, opened)
            dataset = identified(walks[0][0]).without_path.dataset if walks[0] else ""
        if walked:
            rows.append(
                _row(
                    claim,
                    subject,
                    dataset,
                    walked,
                    len(planned),
                    remarks=[f"{', '.join(early)} walked before the protocol"] if early else [],
                    as_planned=not given or _as_planned(claim, scale, subject, given),
                    in_force=in_force or (),
                )
            )
    opened.measured.keep()
    return rows


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
    walked: Mapping[int, _Seed],
    planned: int,
    *,
    remarks: Sequence[str],
    as_planned: bool,
    in_force: Sequence[str],
) -> _Row:
    """A row from its seeds: those without a premise or a usable number are left out, by name.

    Where a premise is absent in half of the seeds or more, all usable ones are shown instead. Where
    half of the numbers or more cannot be used, what is left is no sample of the seeds.
    """
    values, notes, lacking = {}, list(remarks), set()
    if len(walked) < planned:
        there = f"{len(walked)} of {_seeds(planned)} walked"
        notes.append(f"{there}: nothing is decided before the last")
    for number, premise in enumerate(claim.premises):
        missing = {seed: each.premise(number) for seed, each in walked.items()}
        absent = [seed for seed, what in missing.items() if what]
        lacking |= set(absent)
        if absent:
            told = Counter(missing[seed] for seed in absent).items()
            seen = "; ".join(f"{what} in {_seeds(n)}" if n > 1 else what for what, n in told)
            sentence = in_a_sentence(premise.__doc__)
            where = f"{len(absent)} of {_seeds(len(walked))}"
            notes.append(f"premise not met in {where}: {sentence} (there: {seen})")
    gone = 2 * len(lacking) >= len(walked)
    unusable: dict[str, list[str]] = {}
    for seed, each in walked.items():
        if seed in lacking and not gone:
            continue
        value = each.value()
        if why := usable(claim, value):
            if seed not in lacking:  # Else its premise has said why.
                unusable.setdefault(why, []).append(f"seed {seed}")
        else:
            values[seed] = value
    notes += [f"{', '.join(seeds)} not usable: {why}" for why, seeds in unusable.items()]
    lost = sum(map(len, unusable.values()))
    censored = not gone and lost >= len(values) > 0
    if censored:
        notes.append("half of the seeds or more have no usable number: nothing is decided")
    opened = [(each, walk) for each in walked.values() for own in each.walks for walk in own]
    commits = {each.opened.commit(*walk) for each, walk in opened} if in_force else set()
    return _Row(
        claim=claim,
        subject=subject,
        dataset=dataset,
        evidence=Evidence(claim, list(values.values())) if values else None,
        notes=tuple(notes),
        premise_absent=gone,
        censored=censored,
        primary=as_planned and subject.name in claim.primary,
        as_planned=as_planned,
        # Named by their files: a folder's images are part of what a walk on them is.
        walks=tuple(dict.fromkeys(path.stem for _, (path, _) in opened)),
        commits=tuple(commit for commit in in_force if commit in commits),
        walked=len(walked),
        planned=planned,
    )


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
    # What is written beside a claim is about the walks that decide it.
    about_these = row.as_planned and (scale is None or scale in BY_PROTOCOL)
    caution = claim.cautions.get(row.subject.name) if about_these else None
    reason = claim.reasons.get(row.subject.name, "") if about_these else ""
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
        seeds_walked=row.walked,
        seeds_planned=row.planned,
        seeds_needed=needed,
        notes=row.notes + few + (() if caution is None else (caution,)),
        walks=row.walks,
        protocol_commits=row.commits,
        printed=claim.printed.get(row.subject.name),
        subject=row.subject.name,
        model=model,
        dataset=dataset,
        scale=scale,
        page=_page(claim, row.subject),
        reason=reason if verdict in ("contradicted", "premise absent") else "",
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
