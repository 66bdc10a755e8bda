"""Slides of a chapter, from its own source, in one file.

A section's slide has what its comment "On the slide" says, its formulas and its tables; its prose
is in the notes. The figure that the comment names is drawn from the best recorded walks.
"""

import io
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
from jinja2 import Template

from ..markdown import plain
from ..paper.items import ITEMS
from ..walks.store import Store
from .build import scale_of
from .handout import ADMONITION, FORMULA, Book, Handout, questions_of, sections
from .prose import said

ON_THE_SLIDE = re.compile(r"^% On the slide:\n(?P<lines>(?:%.*\n)+)", re.MULTILINE)
FIGURE = re.compile(r"^Figure: (\w+)$", re.MULTILINE)
TABLE = re.compile(r"^\|.*\n(?:\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Slide:
    """One slide, its parts in HTML."""

    title: str
    body: str
    notes: str = ""
    kind: str = ""


def slides(chapter: Path, book: Book, store: Store, template: Template) -> str:
    """A chapter's slides as a page of HTML.

    Parameters
    ----------
    chapter : Path
        Its Markdown.
    book : Book
    store : Store
        Has the recorded walks that figures are drawn from.
    template : Template
        Of `book/course/slides.html.j2`.
    """
    text = chapter.read_text(encoding="utf-8")
    shown = list(_slides(text, Handout(book), store))
    return template.render(title=shown[0].title, slides=shown)


def _slides(text: str, handout: Handout, store: Store) -> Iterator[Slide]:
    title, _, rest = text.removeprefix("# ").partition("\n")
    boxes = list(ADMONITION.finditer(rest))
    goals = next(box for box in boxes if "goals" in box["options"])
    body = handout.html(f"**{goals['title']}**\n\n{goals['body']}")
    yield Slide(_inline(title, handout), body, kind="first")
    for heading, section in sections(ADMONITION.sub("", rest)):
        told = ON_THE_SLIDE.search(section)
        if told is None:
            continue
        lines = re.sub(r"^% ?", "", told["lines"], flags=re.MULTILINE)
        figure = FIGURE.search(lines)
        shown = [found[0] for pattern in (FORMULA, TABLE) for found in pattern.finditer(section)]
        prose = TABLE.sub("", FORMULA.sub("", section))
        body = handout.html("\n\n".join([FIGURE.sub("", lines), *shown]))
        yield Slide(_inline(heading, handout), body, handout.html(prose))
        if figure is not None:
            yield _figure(figure[1], handout, store)
    exercises = questions_of(rest)
    for number, asked in enumerate(exercises, 1):
        title = f"Exercise {number}" if len(exercises) > 1 else "Exercise"
        yield Slide(title, handout.html(asked))
    for box in boxes:
        if box["title"] == "To discuss":
            yield Slide("To discuss", handout.html(box["body"]))


def _inline(title: str, handout: Handout) -> str:
    return handout.html(title).strip().removeprefix("<p>").removesuffix("</p>")


def _figure(name: str, handout: Handout, store: Store) -> Slide:
    """An item's figure, from its recorded walks, with what they show in the notes."""
    item = ITEMS[name]
    scale = scale_of(item, "recorded", store)
    more = {"traces": str(store.recorded)} if "traces" in item.page.model_fields else {}
    page = item.at(scale, **more)
    traces = page.get_traces()
    picture = io.BytesIO()
    drawn = page.draw(traces)
    drawn.savefig(picture, format="png", dpi=130)
    plt.close(drawn)
    image = b64encode(picture.getvalue()).decode()
    alternative = escape(page.alternative_text)
    body = f'<img alt="{alternative}" src="data:image/png;base64,{image}">'
    caption = handout.html(f"At the {scale} scale: {item.setting(scale)}.")
    notes = handout.html(f"{said(page, traces)}\n\n{plain(page.provenance(traces))}.")
    return Slide(f"{item.label}. {item.title}", f"{body}\n{caption}", notes, "figure")
