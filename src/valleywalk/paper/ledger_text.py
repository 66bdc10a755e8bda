"""Findings in words: for programs, as a table, and those that a page bears on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ..seeds import MOST_SEEDS, SMALLEST_P
from ..statistics import CONFIDENCE
from ..walks.catalogue import NETWORKS
from .claim import SUBJECTS, Claim, Subject
from .items import CLAIMS, ITEMS
from .ledger import FAMILY_CONFIDENCE, VERDICTS, Finding, findings, findings_without_walks
from .page import Page, markdown_table
from .scales import BY_PROTOCOL, JUDGED


def as_objects(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """For programs: one object a finding, ready for JSON."""
    return [asdict(finding) for finding in found]


def by_verdict(found: Iterable[Finding]) -> list[Finding]:
    """Findings in the order of their verdicts, what is primary first."""
    return sorted(
        found, key=lambda finding: (VERDICTS.index(finding.verdict), finding.kind != "primary")
    )


def counts(found: Iterable[Finding]) -> str:
    """How many findings there are of each verdict."""
    own = Counter(finding.verdict for finding in found)
    return ", ".join(f"{own[verdict]} {verdict}" for verdict in VERDICTS)


def under_protocol(found: Iterable[Finding]) -> str:
    """Of which commits the protocol is by which the walks were made; nothing where there is none at
    their scale.
    """
    by_protocol = [finding for finding in found if finding.scale in BY_PROTOCOL]
    commits = dict.fromkeys(name for one in by_protocol for name in one.protocol_commits)
    if commits:
        return f"The walks that decide began after the protocol (commits {', '.join(commits)})."
    unchecked = "Whether walks began after the protocol was not checked: its history is not there."
    return unchecked if by_protocol else ""


def ledger_table(found: Sequence[Finding], link: str = "[{0}](figures/{0}.ipynb)") -> str:
    """Markdown table of findings, a row a claim; `link` says how a page is referred to."""
    by_claim: dict[str, list[Finding]] = {}
    for finding in found:
        by_claim.setdefault(finding.id, []).append(finding)
    rows = []
    for of_claim in by_claim.values():
        first = of_claim[0]
        reasons: dict[str, list[str]] = {}
        for finding in of_claim:
            if finding.reason:
                title = SUBJECTS[finding.subject].title
                reasons.setdefault(finding.reason, []).append(title)
        told = [
            reason.replace(":", f" ({'; '.join(titles)}):", 1) for reason, titles in reasons.items()
        ]
        rows.append(
            [
                " ".join([f"{first.claim} *({first.source})*", *told]),
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
    return f"The walks of this page have one seed: they are described, not judged.\n\n{table}"


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
