"""The rendered book whose folder $VALLEYWALK_BOOK names; skipped where it names none."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from valleywalk.paper.items import ITEMS as MADE

HTML = Path(os.environ.get("VALLEYWALK_BOOK", "no book"))
PAGES = [page for page in sorted(HTML.rglob("*.html")) if "_static" not in page.parts]

pytestmark = pytest.mark.skipif(
    "VALLEYWALK_BOOK" not in os.environ, reason="VALLEYWALK_BOOK names no built book"
)


def test_there_are_pages():
    assert (HTML / "index.html") in PAGES


class Assets(HTMLParser):
    """What a page loads by itself, and what it links to."""

    def __init__(self):
        super().__init__()
        self.loaded, self.links = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video") and attributes.get("src"):
            self.loaded.append(attributes["src"])
        if tag == "link" and "stylesheet" in attributes.get("rel", ""):
            self.loaded.append(attributes["href"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


def parse(page):
    assets = Assets()
    assets.feed(page.read_text(encoding="utf-8"))
    return assets


def test_no_page_needs_another_host():
    for page in PAGES:
        for address in parse(page).loaded:
            assert not urlsplit(address).netloc, f"{page.name} loads {address}"
            assert not address.endswith(".js") or "thebe" not in address


def test_everything_that_is_loaded_or_linked_is_there():
    for page in PAGES:
        assets = parse(page)
        for address in assets.loaded + assets.links:
            parts = urlsplit(address)
            if not parts.netloc and not parts.scheme and parts.path:
                assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: {address}"


@pytest.mark.parametrize("item", MADE.values(), ids=lambda item: item.name)
def test_each_item_has_its_figure_numbers_and_provenance(item):
    text = (HTML / "figures" / f"{item.name}.html").read_text(encoding="utf-8")
    assert item.label in text
    assert re.search(r'<img alt="[^"]{30,}"', text)
    parts = ["What the paper shows", "What our run shows", "Provenance.", "Executed"]
    for part in parts + (["experiment"] if item.experiments("smoke") else []):
        assert part in text
    assert "Traceback" not in text
    assert "<table" in text, "numbers as a table"
    assert "| ---" not in text
    assert "| —" not in text
    assert "caption-number" not in text, "numbered as in the paper, not by counting"
    assert (HTML / "_sources" / "figures" / f"{item.name}.ipynb").is_file(), "for download"


def test_the_front_page_opens_with_the_ledger():
    text = (HTML / "index.html").read_text(encoding="utf-8")
    assert "The ledger" in text
    # What needs no walk has a verdict at any scale.
    for words in ("contracts by", "<strong>supported</strong>", "<strong>contradicted</strong>"):
        assert words in text
    for page in ("fig28", "appd"):
        assert f'href="figures/{page}.html"' in text
