"""What opens the book: the paper's findings in one picture, a grid of verdicts, and in words."""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .. import figures
from ..markdown import with_minus
from ..paper.barriers import USUAL_RATE, BarrierTable
from ..paper.claim import SUBJECTS, Claim, Subject, Verdict
from ..paper.heights import HeightTable, shown
from ..paper.items import CLAIMS, ITEMS
from ..paper.ledger import FAMILY, FAMILY_CONFIDENCE, Finding
from ..paper.ledger_text import counts, under_protocol
from ..paper.page import Page, markdown_table
from ..paper.protocol import ORDER, groups, in_a_sentence
from ..paper.scales import DECIDING, Scale
from ..statistics import CONFIDENCE
from ..walks.catalogue import NETWORKS, network_info
from ..walks.store import Store
from .prose import sentence

# A verdict's sign: it says the same without colour.
SIGNS: Mapping[Verdict, str] = {
    "supported": "●",
    "contradicted": "✕",
    "inconclusive": "○",
    "premise absent": "–",
}
MARKERS = dict(zip(SUBJECTS, "os^v", strict=True))
COLOURS = dict(zip(SUBJECTS, figures.PALETTE, strict=False))
# In inches; text is about as large on a phone as in the picture.
WIDTH, ROW, LINE, MARGIN = 4.8, 0.5, 0.15, 0.12
# Of the width, for the intervals; the rest is for the numbers.
SHARE = 0.39
FONT = 8.0
BY_ID = {claim.id: claim for claim in CLAIMS}


def named(finding: Finding) -> str:
    """The claim, with its statistic where another claim has the same words."""
    alike = [claim for claim in CLAIMS if claim.sentence == finding.claim]
    if len(alike) == 1:
        return finding.claim
    return f"{finding.claim.removesuffix('.')} ({BY_ID[finding.id].statistic})."


def by_claim(found: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each claim, in the order of the claims and of what they are tested on."""
    names, order = list(BY_ID), list(SUBJECTS)
    rows: dict[str, list[Finding]] = {}
    ordered = sorted(found, key=lambda f: (names.index(f.id), order.index(f.subject)))
    for finding in ordered:
        rows.setdefault(finding.id, []).append(finding)
    return rows


def forest(found: Iterable[Finding], name: str) -> str:
    """A row a claim, each on a scale of its own: intervals, the range that is needed, the paper.

    Parameters
    ----------
    found : iterable of Finding
    name : str
        Of the picture; makes the names inside it its own.

    Returns
    -------
    str
        SVG to stand in a page. Each mark links to the page that shows it.
    """
    rows = by_claim(found)
    if not rows:
        return ""
    with (
        figures.style(),
        plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": FONT}),
    ):
        figure = _drawn(rows)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        plt.close(figure)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    said = escape(_in_words(rows))
    svg = re.sub(r'width="[^"]+" height="[^"]+"', 'width="100%"', svg, count=1)
    return svg.replace("<svg ", f'<svg class="forest" role="img" aria-label="{said}" ', 1)


def _drawn(rows: Mapping[str, Sequence[Finding]]) -> Figure:
    heights = [ROW + LINE * len(of_claim) for of_claim in rows.values()]
    total = sum(heights) + 0.35
    figure = plt.figure(figsize=(WIDTH, total))
    top = total - 0.3
    _legend(figure, (top + 0.1) / total)
    for height, (identity, of_claim) in zip(heights, rows.items(), strict=True):
        claim = BY_ID[identity]
        top -= height
        length = LINE * len(of_claim) + 0.08
        bottom = (top + 0.2) / total
        axes = figure.add_axes((MARGIN / WIDTH, bottom, SHARE, length / total))
        figure.text(
            MARGIN / WIDTH,
            bottom + (length + 0.05) / total,
            claim.sentence,
            fontweight="bold" if any(f.kind == "primary" for f in of_claim) else "normal",
            va="bottom",
        )
        _row(axes, claim, of_claim)
        for place, finding in enumerate(reversed(of_claim)):
            figure.text(
                MARGIN / WIDTH + SHARE + 0.02,
                bottom + (0.04 + LINE * (place + 0.5)) / total,
                f"{SIGNS[finding.verdict]} {finding.verdict}: {_number(finding)}",
                color=COLOURS[finding.subject],
                va="center",
                url=f"figures/{finding.page}.html",
            )
    return figure


def _legend(figure: Figure, top: float) -> None:
    for column, subject in enumerate(SUBJECTS):
        left = MARGIN / WIDTH + (0.0, 0.16, 0.35, 0.48)[column]
        figure.text(left + 0.02, top, SUBJECTS[subject].title, color=COLOURS[subject], va="center")
        figure.add_artist(
            Line2D([left + 0.005], [top], marker=MARKERS[subject], color=COLOURS[subject], ms=4)
        )
    left = MARGIN / WIDTH + 0.81
    figure.text(left + 0.02, top, "the paper", va="center")
    figure.add_artist(Line2D([left + 0.005], [top], marker="D", color="0.2", mfc="w", ms=4))


def _row(axes: Axes, claim: Claim, of_claim: Sequence[Finding]) -> None:
    """Intervals of one claim: the plain one thick, the family-wise one thin."""
    low, high = _limits(claim, of_claim)
    if claim.quantity == "ratio":
        axes.set_xscale("log")
        subs = (1.0, 2.0, 5.0) if high < 30 * low else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: with_minus(f"{value:g}")))
    inside = [(max(claim.above, low), min(claim.below, high))]
    if claim.outside:
        inside = [(low, claim.above), (claim.below, high)]
    for left, right in inside:
        if left < right:
            axes.axvspan(left, right, color="0.9", lw=0, zorder=0)
    for place, finding in enumerate(reversed(of_claim)):
        colour = COLOURS[finding.subject]
        for ends, width in ((finding.family_interval, 0.8), (finding.interval, 2.5)):
            if ends is not None and (width > 1 or finding.kind == "primary"):
                axes.plot(np.clip(ends, low, high), [place, place], color=colour, lw=width)
        if finding.estimate is not None:
            decided = finding.verdict in ("supported", "contradicted")
            (mark,) = axes.plot(
                np.clip(finding.estimate, low, high),
                place,
                MARKERS[finding.subject],
                color=colour,
                mfc=colour if decided else "white",
                ms=4,
            )
            mark.set_url(f"figures/{finding.page}.html")
        if finding.printed is not None:
            axes.plot(finding.printed, place, "D", color="0.2", mfc="none", ms=4)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.7, len(of_claim) - 0.3)
    axes.set_yticks([])
    axes.tick_params(length=2, pad=1, labelsize=FONT - 1)
    sns.despine(ax=axes, left=True)


def _limits(claim: Claim, of_claim: Sequence[Finding]) -> tuple[float, float]:
    """What a row spans: its intervals, the range's ends, the paper, and a margin."""
    seen = [end for end in (claim.above, claim.below) if math.isfinite(end)]
    for finding in of_claim:
        seen += [*(finding.interval or ())]
        if finding.kind == "primary":
            seen += [*(finding.family_interval or ())]
        seen += [each for each in (finding.estimate, finding.printed) if each is not None]
    if claim.quantity == "ratio":
        logarithms = np.log([each for each in seen if each > 0])
        margin = 0.1 * np.ptp(logarithms) or 0.5
        return float(np.exp(logarithms.min() - margin)), float(np.exp(logarithms.max() + margin))
    margin = 0.1 * float(np.ptp(seen)) or 0.5
    low, high = min(seen) - margin, max(seen) + margin
    if claim.quantity == "share":
        return max(low, -0.02), min(high, 1.02)
    return low, high


def _number(finding: Finding) -> str:
    if finding.estimate is None:
        return "no number"
    text = f"{finding.estimate:.2g}"
    if finding.interval is not None:
        text += f" [{finding.interval[0]:.2g}, {finding.interval[1]:.2g}]"
    if finding.seeds_walked < finding.seeds_planned:
        text += f", {finding.seeds_walked}/{finding.seeds_planned} seeds"
    return with_minus(text)


def _in_words(rows: Mapping[str, Sequence[Finding]]) -> str:
    """What the picture says, for who cannot see it."""
    return " ".join(
        f"{of_claim[0].claim} "
        + "; ".join(f"{SUBJECTS[f.subject].title}: {f.verdict}, {_number(f)}" for f in of_claim)
        + "."
        for of_claim in rows.values()
    )


def grid(found: Iterable[Finding]) -> str:
    """A table, claim by what it is tested on, of verdicts that link to their pages; Markdown."""
    rows = []
    for of_claim in by_claim(found).values():
        cells = {
            finding.subject: f"[{SIGNS[finding.verdict]}\N{NO-BREAK SPACE}{finding.verdict}]"
            f"(figures/{finding.page}.ipynb)"
            for finding in of_claim
        }
        mark = "**" if any(finding.kind == "primary" for finding in of_claim) else ""
        first = f"{mark}{named(of_claim[0])}{mark}"
        rows.append([first, *(cells.get(subject, "") for subject in SUBJECTS)])
    return markdown_table(["claim", *(subject.title for subject in SUBJECTS.values())], rows)


def pages(found: Sequence[Finding], subject: str) -> str:
    """A table of the pages of one network and data set, each with its verdicts; Markdown.

    Parameters
    ----------
    found : sequence of Finding
    subject : str
        What claims are tested on, as `SUBJECTS` names it.
    """
    about = SUBJECTS[subject]
    shown = {"model": about.model, "dataset": about.dataset or NETWORKS[about.model].dataset}
    rows = []
    for name, item in ITEMS.items():
        own = [one for one in found if (one.page, one.subject) == (name, subject)]
        if own or shown.items() <= item.chosen.items():
            title = item.title.split(": ")[-1]
            verdicts = [
                f"{SIGNS[one.verdict]} {one.verdict}: "
                + (f"**{one.claim}**" if one.kind == "primary" else one.claim)
                for one in own
            ]
            label = item.label.replace(" ", "\N{NO-BREAK SPACE}")
            link = f"{{ref}}`{label} <{name}>`"
            rows.append([link, title[0].upper() + title[1:], "<br>".join(verdicts)])
    words = (
        "Verdicts are those of {doc}`the ledger </index>`; primary claims are in bold. A page "
        "without a verdict has no claim of its own, or the walks that decide it are still missing."
    )
    return f"{words}\n\n{markdown_table(['page', 'what it shows', 'verdicts'], rows)}\n"


def summary(found: Sequence[Finding]) -> str:
    """What became of the paper's own findings, and of all rows, in a few sentences; Markdown."""
    primary = [finding for finding in found if finding.kind == "primary"]
    lines = []
    for verdict, one, several in (
        ("supported", "holds", "hold"),
        ("contradicted", "does not hold", "do not hold"),
        (
            "premise absent",
            "is about something that does not happen here",
            "are about something that does not happen here",
        ),
        ("inconclusive", "is not decided", "are not decided"),
    ):
        own = [finding for finding in primary if finding.verdict == verdict]
        if own:
            words = one if len(own) == 1 else several
            lines.append(f"- **{len(own)} of {FAMILY} {words}:**")
            lines += [f"  - {_in_a_line(finding)}" for finding in own]
    missing = FAMILY - len(primary)
    if missing:
        words = "is" if missing == 1 else "are"
        lines.append(f"- **{missing} of {FAMILY} {words} not walked yet.**")
    waiting = sum(finding.seeds_walked < finding.seeds_planned for finding in found)
    left = f"still waiting for seeds, and undecided until then: {waiting} of them"
    lines.append(
        f"\nOf the {len(found)} rows of the scale *{DECIDING[0]}* that have walks, including those "
        f"of other networks and data sets: {counts(found)}; "
        f"{left if waiting else 'none still waits for seeds'}."
    )
    return "\n".join(lines)


def _in_a_line(finding: Finding) -> str:
    """A claim, what was measured of it, and what one must know to read that; Markdown."""
    line = (
        f"{finding.claim} *{sentence(finding.statistic)}*: {_number(finding)}; "
        f"the claim holds if it is {with_minus(finding.holds)}."
    )
    caution = BY_ID[finding.id].cautions.get(finding.subject)
    return line if caution is None else f"{line} {sentence(caution)}."


def front(found: Sequence[Finding]) -> str:
    """What opens the book, from what was found at the scale that decides; Markdown."""
    if not found:
        return "No walk that decides has been made yet.\n"
    primary = {finding.id for finding in found if finding.kind == "primary"}
    first = [finding for finding in found if finding.id in primary]
    others = [finding for finding in found if finding.id not in primary]
    key = (
        f"*Thick*: the {CONFIDENCE:.0%} interval over seeds. *Thin*: the family-wise "
        f"{FAMILY_CONFIDENCE:.1%} one of the primary rows (VGG-11). *Shaded*: where the number "
        "must lie for the claim to hold. *Filled*: decided. Each mark links to its page. "
        f"{under_protocol(found)}"
    )
    words = summary(found)
    parts = [
        _raw(forest(first, "primary")),
        key,
        f":::{{admonition}} The paper's own findings, on VGG-11\n:class: summary\n{words}\n:::",
        grid(found),
        "An empty cell: not tested on it, or not one of its walks is there yet "
        "({doc}`protocol` says which).",
    ]
    if others:
        more = _raw(forest(others, "others"))
        parts.append(f"::::{{dropdown}} The other claims in one picture\n{more}\n::::")
    return "\n\n".join(parts) + "\n"


def progress(store: Store, scale: Scale = DECIDING[0]) -> str:
    """How many walks of each group of the protocol are there, in its order; Markdown.

    Parameters
    ----------
    store : Store
    scale : str
    """
    counted: set[str] = set()
    rows = []
    for (_, kinds), (subject, pages) in zip(ORDER, groups(scale), strict=True):
        walks = {
            walk.hash: walk
            for by_seed in pages.values()
            for of_seed in by_seed.values()
            for walk in of_seed
            if walk.hash not in counted
        }
        counted |= walks.keys()
        there = sum(store.find(walk) is not None for walk in walks.values())
        about = SUBJECTS[subject]
        shown_in = "; ".join(_shown_in(kind, about) for kind in kinds)
        rows.append([about.title, shown_in, f"{there} of {len(walks)}"])
    return markdown_table(["walked on", "for", "walked"], rows)


def _shown_in(kind: type[Page], about: Subject) -> str:
    """The figures and tables that show a page's walks; where there is none, what they are."""
    own = {"model": about.model, "dataset": about.dataset or NETWORKS[about.model].dataset}
    shown = [item for item in ITEMS.values() if item.page is kind]
    labels = [
        item.label
        for item in shown
        if all(item.chosen.get(name, value) == value for name, value in own.items())
    ]
    if shown and not labels:
        return f"as in {shown[0].label}"
    return ", ".join(labels) or in_a_sentence(kind.__doc__).split(";")[0]


def beside_the_paper(store: Store) -> str:
    """Tables 1 and 2 of the paper beside the walks at its own size, once all are there; Markdown.

    Parameters
    ----------
    store : Store
    """
    heights, barriers = (ITEMS[name].at("full") for name in ("tab2", "tab1"))
    assert isinstance(heights, HeightTable)
    assert isinstance(barriers, BarrierTable)
    if not all(map(store.find, heights.experiments + barriers.experiments)):
        return "They are not all there yet.\n"
    traces, counted = (
        [store.get(walk) for walk in page.experiments] for page in (heights, barriers)
    )
    rows: dict[tuple[str, float, int], list[str]] = {}
    for row in heights.heights(traces).to_dict("records"):
        cells = [shown(row["paper"], ".4f", ""), str(row["interval"]), "", ""]
        rows[row["model"], row["rate"], row["epoch"]] = cells
    for row in barriers.counts(counted).to_dict("records"):
        cells = rows.setdefault((row["model"], USUAL_RATE, row["epoch"]), [""] * 4)
        cells[2:] = [shown(row["paper"], ".0f", ""), f"{row['both']} of {row['steps']}"]
    networks = list(dict.fromkeys(model for model, _, _ in rows))
    table = [
        [network_info(model).title, f"{rate:g}", str(epoch), *rows[model, rate, epoch]]
        for model, rate, epoch in sorted(
            rows, key=lambda key: (networks.index(key[0]), -key[1], key[2])
        )
    ]
    of_the_paper = ["height, paper", "height, ours", "barriers, paper", "barriers, ours"]
    return markdown_table(["network", "rate", "epoch", *of_the_paper], table) + "\n"


def _raw(svg: str) -> str:
    return f"```{{raw}} html\n{svg}\n```"
