"""Sentences about a page's walks: the templates of `paper/said`, filled with the page's numbers.

A template says in words what the numbers say, and takes its wording from them, so that it is true
of any walk. It has no number of its own: `typed_numbers` finds one that was typed, and a test
refuses it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from ..paper.page import Page
from ..statistics import CONFIDENCE, Interval

# All but "one".
NUMBER_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|dozen|hundred|thousand|"
    "million|half|halves|third|quarter|fifth|tenth|twice|thrice|double|doubled|triple"
)
TYPED = re.compile(rf"[-−]?\d+(?:[.,]\d+)*|\b(?:{NUMBER_WORDS})s?\b", re.IGNORECASE)
# What may be typed, since it is no number of a walk.
ALLOWED = tuple(
    re.compile(pattern)
    for pattern in (
        # What the paper prints, with its source; first, since it holds a cross-reference.
        r"\(the paper: [^()]*, (?:Table|Figure|Section|footnote) [\w.]+\)",
        r"\b(?:VGG|ResNet|CIFAR)-\d+\b",  # names of networks and data sets
        r"\b(?:Table|Figure|Section|Equation|footnote|Footnote) \d+(?:\.\d+)?",  # cross-references
        r"\{(?:ref|doc|cite:p)\}`[^`]*`",
        r"\$[^$]+\$",  # formulas between dollars
        r"\b[12]/[ηλ]|\b1 − p\b|[+−]1\b",  # formulas without; ±1 as a bound of cosines
        r"Cohen et al\. \d{4}",  # years of publications
        r"\b_\w+\.md\.j2\b",  # templates that another one includes
    )
)
# As an argument of a filter: a format.
FORMAT = re.compile(r"[\"']\.\d[fg%][\"']")


class ProseError(ValueError):
    """A template asks for a number that its page does not give, or cannot be read."""


def said(page: Page, traces: Sequence[xr.Dataset]) -> str:
    """What a page's walks show, in sentences; Markdown.

    Parameters
    ----------
    page : Page
    traces : sequence of Dataset
        Its own.

    Raises
    ------
    ProseError
        As of `in_words`.
    """
    return in_words(page, page.numbers(list(traces)))


def in_words(page: Page, numbers: Mapping[str, Any]) -> str:
    """A page's numbers in sentences, by the template that has the name of its notebook.

    Raises
    ------
    ProseError
        Names the page, its template and the name that is unknown there.
    """
    name = f"{page.notebook}.md.j2"
    try:
        text = SENTENCES.get_template(name).render(numbers)
    except TemplateError as error:
        raise ProseError(f"{type(page).__name__}, in paper/said/{name}: {error.message}") from None
    return tidy(text)


def tidy(text: str) -> str:
    """One line a paragraph or bullet, however a template was broken into lines."""
    blocks = re.split(r"\n\s*\n|\n\s*(?=- )", text)
    lines = (" ".join(block.split()) for block in blocks)
    found = [re.sub(r" ([.,;:)])", r"\1", line).replace("( ", "(") for line in lines if line]
    text = ""
    for before, line in zip(["", *found], found, strict=False):
        close = before.startswith("- ") and line.startswith("- ")
        text += ("" if not before else "\n" if close else "\n\n") + line
    return f"{text}\n"


def number(value: float | Interval | None, form: str = ".3g") -> str:
    """A number as the tables have it, an interval with its ends; "not measured" where there is
    none.
    """
    if value is None or math.isnan(value[0] if isinstance(value, Interval) else value):
        return "not measured"
    if isinstance(value, Interval):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    shown = f"{value:z{form}}"  # z: zero has no sign
    return f"{float(shown):,.0f}" if "e+" in shown else shown


def plural(count: int, noun: str) -> str:
    """A count with its noun: no steps, one step, 40 steps."""
    if count == 1:
        return f"one {noun}"
    return f"{count:,} {noun}s" if count else f"no {noun}s"


def out_of(count: int, total: int, noun: str) -> str:
    """A count of a total: none of 40 steps, one of 40 steps, 3 of 39 steps, each of 40 steps."""
    if not total:
        return f"no {noun}"
    if total == 1:
        return f"the one {noun}" if count else f"no {noun} of one"
    if count == total:
        return f"each of {total:,} {noun}s"
    some = {0: "none", 1: "one"}.get(count, f"{count:,}")
    return f"{some} of {total:,} {noun}s"


def numbered(items: Sequence[Any], noun: str) -> str:
    """Things by their numbers: epoch 1; epochs 1 and 10."""
    return f"{noun}{'s' * (len(items) != 1)} {listed(items)}"


def listed(items: Iterable[Any]) -> str:
    """A list with "and": 1, 10 and 25."""
    *first, last = [str(item) for item in items] or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def printed(text: Any) -> str:
    """What the paper prints, with its source, to stand beside ours; nothing where it is silent."""
    if text is None:
        return ""
    words = re.sub(r" \(([^()]*)\)$", r", \1", str(text))
    return f"(the paper: {words})"


def sentence(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def side(value: Interval, of: float = 0.0) -> str:
    """Where an interval lies to a number: above, below, around; unknown without an interval."""
    if math.isnan(value.low) or math.isnan(value.high):
        return "unknown"
    if value.low > of:
        return "above"
    return "below" if value.high < of else "around"


SENTENCES = Environment(
    loader=PackageLoader("valleywalk.paper", "said"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)
SENTENCES.filters |= {
    "number": number,
    "plural": plural,
    "out_of": out_of,
    "numbered": numbered,
    "listed": listed,
    "printed": printed,
    "sentence": sentence,
    "side": side,
}
SENTENCES.tests["known"] = lambda value: value is not None and not math.isnan(value)
SENTENCES.globals |= {"confidence": f"{CONFIDENCE:.0%}".replace("%", " %")}


def typed_numbers(template: str) -> list[str]:
    """Digits and number words that stand in a template's own text, or in what its expressions
    print; "one" may.

    Numbers that conditions compare with are left out, and so is what `ALLOWED` lists.

    Parameters
    ----------
    template : str
        Its source; a plain text is one without expressions.
    """
    found, printing = [], False
    text = ""
    for _, kind, value in SENTENCES.lex(template):
        if kind == "variable_begin":
            printing, text = True, text + " … "  # What is printed here stands between.
        elif kind in ("variable_end", "block_end"):
            printing = False
        elif kind == "name" and value == "set":
            printing = True
        elif kind == "data":
            text += value
        elif kind == "string" and not FORMAT.fullmatch(value):
            found += _typed(value)
        elif kind in ("integer", "float") and printing:
            found.append(value)
    return found + _typed(text)


def _typed(text: str) -> list[str]:
    text = " ".join(text.split())
    for pattern in ALLOWED:
        text = pattern.sub(" ", text)
    return TYPED.findall(text)
