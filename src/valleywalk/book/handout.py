"""Pages of the book as files of their own: Markdown in, HTML out that needs no other file.

What only a book can do becomes plain: a reference its text, a citation its authors, a formula
MathML, which browsers draw by themselves.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pybtex.database import Entry, parse_file

from ..paper.items import ITEMS

ROLE = re.compile(r"\{(ref|doc|term|eq|cite:p|cite:t)\}`(?:([^`<]*?)\s*<([^>`]*)>|([^`]*))`")
FORMULA = re.compile(
    r"^```\{math\}\n(?::label: (?P<label>\S+)\n)?(?P<latex>.*?)^```\n", re.DOTALL | re.MULTILINE
)
ADMONITION = re.compile(
    r"^:::\{admonition\} (?P<title>[^\n]*)\n(?P<options>(?::[\w-]+:[^\n]*\n)*)(?P<body>.*?)^:::$",
    re.DOTALL | re.MULTILINE,
)
# A picture that needs the book's scripts; a label; a comment.
OF_THE_BOOK = re.compile(
    r"^```\{raw\}.*?^```\n|^\([\w-]+\)=\n|^%[^\n]*\n", re.DOTALL | re.MULTILINE
)
ANSWER = re.compile(r"^\{ref\}`Answer <[^`]*`\n", re.MULTILINE)


@dataclass
class Book:
    """The book's sources, as far as other pages speak of them.

    Attributes
    ----------
    folder : Path
        `book/` of a checkout.
    """

    folder: Path
    formulas: dict[str, str] = field(init=False)
    works: dict[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        pages = [*self.folder.glob("*.md"), *self.folder.glob("chapters/*.md")]
        found = (FORMULA.finditer(page.read_text(encoding="utf-8")) for page in pages)
        self.formulas = {
            formula["label"]: formula["latex"]
            for of_page in found
            for formula in of_page
            if formula["label"]
        }
        self.works = parse_file(self.folder / "references.bib").entries

    def title(self, page: str) -> str:
        """The title of another page of the book, as a chapter names it."""
        if page.startswith("/figures/"):
            return ITEMS[page.removeprefix("/figures/")].label
        path = self.folder / (page.lstrip("/") if page.startswith("/") else f"chapters/{page}")
        return path.with_suffix(".md").read_text(encoding="utf-8").removeprefix("# ").split("\n")[0]

    def cited(self, keys: str, in_text: bool) -> str:
        """Authors and year of works."""
        return "; ".join(self._cited(self.works[key.strip()], in_text) for key in keys.split(","))

    def _cited(self, work: Entry, in_text: bool) -> str:
        names = [" ".join(map(str, person.rich_last_names)) for person in work.persons["author"]]
        authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        year = work.fields["year"]
        return f"{authors} ({year})" if in_text else f"{authors} {year}"


class Handout:
    """One document, or one set of slides: it numbers its formulas as they come.

    Parameters
    ----------
    book : Book
    """

    def __init__(self, book: Book):
        self.book = book
        self.numbers: dict[str, int] = {}
        self._formulas = 0
        self._markdown = MarkdownIt("commonmark").enable("table")
        self._markdown.use(
            dollarmath_plugin,
            renderer=lambda latex, options: mathml(latex, block=options["display_mode"]),
        )

    def html(self, text: str) -> str:
        """A part of the document; a formula of another page is put under what speaks of it."""
        text = OF_THE_BOOK.sub("", text)
        text = FORMULA.sub(lambda formula: self._formula(formula["latex"], formula["label"]), text)
        text = ADMONITION.sub(_admonition, text)
        elsewhere: list[str] = []
        text = ROLE.sub(lambda role: self._plain(role, elsewhere), text)
        return self._markdown.render("\n".join([text, *elsewhere]))

    def plain(self, text: str) -> str:
        """The same in plain Markdown, for a file that is read as it stands."""
        return ROLE.sub(lambda role: self._plain(role, []), OF_THE_BOOK.sub("", text))

    def _formula(self, latex: str, label: str | None) -> str:
        number = ""
        if label is not None:
            self._formulas += 1
            self.numbers[label] = self._formulas
            number = f'<span class="number">({self._formulas})</span>'
        shown = mathml(latex, block=True)
        return f'\n<div class="formula">{shown}{number}</div>\n\n'

    def _plain(self, role: re.Match[str], elsewhere: list[str]) -> str:
        kind, text, target, alone = role.groups()
        target = target or alone
        if kind == "eq":
            if target not in self.numbers:
                elsewhere.append(self._formula(self.book.formulas[target], target))
            return f"({self.numbers[target]})"
        if kind.startswith("cite"):
            in_text = kind == "cite:t"
            cited = self.book.cited(target, in_text)
            return cited if in_text else f"({cited})"
        if kind == "doc":
            return text or f"*{self.book.title(target)}*"
        return text or target


def mathml(latex: str, *, block: bool) -> str:
    """A formula as browsers draw it; they know a double-struck letter by its own sign alone."""
    one_line = " ".join(latex.split()).replace(r"\mathbb E", "𝔼")
    return convert(one_line, display="block" if block else "inline")


def _admonition(found: re.Match[str]) -> str:
    kind = re.search(r":class: ([\w-]+)", found["options"])
    name = kind[1] if kind else "note"
    title = f'<p class="title">{escape(found["title"])}</p>'
    return f'<div class="{name}">\n{title}\n\n{found["body"]}\n\n</div>\n'


def sections(text: str) -> Iterable[tuple[str, str]]:
    """The sections of a page in Markdown: title and text of each."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        yield title, rest


def questions_of(text: str) -> list[str]:
    """The exercises of a chapter, without the link to the answer."""
    boxes = ADMONITION.finditer(text)
    return [ANSWER.sub("", box["body"]).strip() for box in boxes if box["title"] == "Exercise"]
