"""The ledger and the protocol in a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..seeds import POWER
from ..walks.catalogue import NETWORKS
from .claim import ALPHA, FEWEST_SEEDS, Verdict
from .ledger import FAMILY, Finding
from .ledger_text import by_verdict, counts, numbers_of, under_protocol, where

# Codes of a terminal: green, red, yellow, grey.
COLOURS: Mapping[Verdict, int] = {
    "supported": 32,
    "contradicted": 31,
    "inconclusive": 33,
    "premise absent": 90,
}
GAP = "  "
# What verdict, numbers and seeds leave of a line is shared by the claim and what it is tested on.
PLACE_SHARE, LEAST_CLAIM, LEAST_PLACE = 0.4, 12, 8
# In less than that, beginnings of different claims are alike: their ids are not.
SENTENCE_NEEDS = 24

# Under the ledger's details and under the protocol.
HOW = (
    f"Decided at p < {ALPHA}: a primary row by its p-value adjusted by Holm for the {FAMILY} "
    "primary rows of the protocol at its scale, an exploratory one by its own; nothing is decided "
    f"with fewer than {FEWEST_SEEDS} seeds. Could have seen: at {POWER:.0%} power, of a primary "
    f"row at {ALPHA / FAMILY:g}, beyond the nearer end of the range."
)


def ledger_lines(found: Sequence[Finding], *, width: int | None, colour: bool = False) -> list[str]:
    """A line a finding, by verdict: claim, network on data, estimate with interval, seeds.

    Parameters
    ----------
    found : sequence of Finding
    width : int or None
        Of the terminal. Claims and places are cut to fit, numbers never are; where little is left
        for a claim, or two claims on one place would look alike, ids stand for all sentences. None:
        nothing is cut.
    colour : bool
        Colour the verdicts.

    Returns
    -------
    list of str
        A star marks a primary row. Where findings of several scales stand together, each says its
        own.
    """
    if not found:
        return []
    ordered = by_verdict(found)
    several = len({one.scale for one in ordered if one.scale}) > 1
    verdicts = [f"{one.verdict}{'*' * (one.kind == 'primary')}" for one in ordered]
    places = [_place(one, several) for one in ordered]
    numbers = [_estimate(one) for one in ordered]
    seeds = [f"{one.seeds_walked}/{one.seeds_planned}" for one in ordered]
    first, middle, last = (max(map(len, texts)) for texts in (verdicts, numbers, seeds))
    claims = [one.claim.rstrip(".") for one in ordered]
    claim, place = (max(map(len, texts)) for texts in (claims, places))
    if width is not None:
        rest = width - first - middle - last - 4 * len(GAP)
        # What is tested without a walk has long names; it is cut before any claim is.
        walked = [text for one, text in zip(ordered, places, strict=True) if one.scale] or places
        longest = max(map(len, walked))
        place = min(longest, max(LEAST_PLACE, int(PLACE_SHARE * rest)))
        claim = max(LEAST_CLAIM, rest - place)
        if claim < SENTENCE_NEEDS or _alike(claims, places, claim):
            claims = [one.id for one in ordered]
        claim = min(claim, max(map(len, claims)))
        place = min(longest, max(LEAST_PLACE, rest - claim))
    colours = [COLOURS[one.verdict] if colour else None for one in ordered]
    return [
        GAP.join(
            (
                _coloured(f"{verdict:{first}}", code),
                f"{_cut(sentence, claim):{claim}}",
                f"{_cut(there, place):{place}}",
                f"{number:{middle}}",
                f"{seed:>{last}}",
            )
        )
        for verdict, code, sentence, there, number, seed in zip(
            verdicts, colours, claims, places, numbers, seeds, strict=True
        )
    ]


def detailed_lines(found: Sequence[Finding]) -> list[str]:
    """Two lines a finding, by verdict: the claim, and all its numbers with their names."""
    lines = []
    for one in by_verdict(found):
        lines.append(f"{one.verdict:14} {one.kind:11} {one.claim} {one.id}, {where(one)}")
        lines.append(f"{'':14} {numbers_of(one)}; holds if {one.holds}")
    return lines


def summary(found: Sequence[Finding]) -> str:
    """How many findings there are of each verdict, and by which protocol."""
    return f"{len(found)} findings: {counts(found)}. {under_protocol(found)}".rstrip()


def protocol_lines(plan: Mapping[str, Any]) -> list[str]:
    """What was fixed before the walks, three lines and an empty one a claim; then the seeds."""
    lines = []
    for row in plan["claims"]:
        networks = [
            f"{name} (primary)" if name in row["primary"] else name for name in row["subjects"]
        ]
        premises = "".join(f"; premise: {premise}" for premise in row["premises"])
        lines += [
            f"{row['number']:2}  {row['sentence']} ({row['source']})",
            f"    {row['statistic']}: {row['holds']}; paper: {row['paper']}{premises}",
            f"    {', '.join(networks or row['tested_on'])}; {row['id']}, {row['item']}",
            "",
        ]
    lines += [f"{name}: seeds {each[0]} to {each[-1]}" for name, each in plan["seeds"].items()]
    return [*lines, f"{len(plan['claims'])} claims.", HOW]


def _place(one: Finding, several: bool) -> str:
    """Network and data set, and the scale where there are several."""
    known = NETWORKS.get(one.model)
    network = known.title if known else one.model
    data = "" if one.dataset == "none" else f" on {one.dataset}"
    return f"{network}{data}" + (f", {one.scale}" if several and one.scale else "")


def _estimate(one: Finding) -> str:
    """The number, and its plain interval where there is one: to two digits of half its width."""
    if one.estimate is None:
        return "no number"
    if one.interval is None:
        return f"{one.estimate:.2g}"
    low, high = one.interval
    half = (high - low) / 2
    # One digit where it is above 3.5: the next would be of no use.
    places = max(0, -math.floor(math.log10(half / 3.5))) if half > 0 else 2
    estimate, low_end, high_end = (f"{end:z.{places}f}" for end in (one.estimate, low, high))
    return f"{estimate} [{low_end}, {high_end}]"


def _coloured(text: str, code: int | None) -> str:
    return text if code is None else f"\033[{code}m{text}\033[0m"


def _alike(claims: Sequence[str], places: Sequence[str], width: int) -> bool:
    """Whether two claims on one place have the same beginning."""
    whole = set(zip(claims, places, strict=True))
    return len({(_cut(claim, width), place) for claim, place in whole}) < len(whole)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"
