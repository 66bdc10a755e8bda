"""The rendered book in a real browser: from the file system, with the network off."""

import os
import shutil
from pathlib import Path

import pytest

HTML = Path(os.environ.get("VALLEYWALK_BOOK", "no book")).resolve()
PAGES = [
    page
    for page in sorted(HTML.rglob("*.html"))
    if "_static" not in page.parts and page.name != "genindex.html"
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 360, "height": 740}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

pytestmark = [
    pytest.mark.skipif(
        "VALLEYWALK_BOOK" not in os.environ, reason="VALLEYWALK_BOOK names no built book"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; on Debian: apt install it"),
]
ids = [str(page.relative_to(HTML)) for page in PAGES]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Open a page; what it complains about and what it fails to load is collected."""
    contexts = []

    def opened(page, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.complaints = []
        tab.on("console", lambda m: m.type == "error" and tab.complaints.append(m.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("requestfailed", lambda request: tab.complaints.append(request.url))
        tab.goto((HTML / page).as_uri() if isinstance(page, str) else page.as_uri())
        tab.wait_for_load_state("networkidle")
        return tab

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_page_loads_without_complaint_and_fits_a_phone(visit, page):
    tab = visit(page, viewport=PHONE)
    assert tab.complaints == []
    width = tab.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE["width"] + 1, "it overflows"
    broken = tab.evaluate(
        "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    assert broken == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_page_is_accessible(visit, page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(visit(page, color_scheme=scheme), options={"runOnly": ["wcag2a", "wcag2aa"]})
    grave = [
        (violation["id"], node["html"][:200])
        for violation in found.response["violations"]
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert grave == []


def test_mathematics_is_typeset(visit):
    tab = visit("reading.html")
    tab.wait_for_selector("mjx-container")
    assert tab.locator("mjx-container").count() > 10
    assert "\\theta" not in tab.inner_text("article")


def test_search_finds_barrier(visit):
    tab = visit("search.html")
    tab.goto((HTML / "search.html").as_uri() + "?q=barrier")
    tab.wait_for_selector("#search-results li")
    found = tab.locator("#search-results li a").all_inner_texts()
    assert any("Barriers" in title for title in found)


def test_the_explorer_follows_its_slider_and_plays(visit):
    tab = visit("chapters/explorer.html")
    said = tab.locator("#explorer [data-part=said]")
    assert said.inner_text().startswith("Step 0: loss")
    first = tab.locator("#explorer [data-part=segment] path").last.get_attribute("d")
    slider = tab.locator("#explorer [data-part=iteration]")
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("Step 1: loss")
    assert tab.locator("#explorer [data-part=segment] path").last.get_attribute("d") != first
    walks = tab.locator("#explorer option").all_inner_texts()
    assert len(walks) == 6
    assert walks[0].startswith("Figure 1. ")
    tab.locator("#explorer select").select_option(index=1)
    assert said.inner_text().startswith("Step 0: loss")
    tab.locator("#explorer [data-part=play]").click()
    tab.wait_for_function("document.querySelector('#explorer [data-part=iteration]').value > 0")
    assert tab.complaints == []


def test_the_valley_says_when_it_diverges(visit):
    tab = visit("chapters/surface.html")
    said = tab.locator("#valley [data-part=said]")
    assert "bounces from wall to wall" in said.inner_text()
    tab.locator("#valley [data-part=rate]").fill("2.2")
    assert "divergence" in said.inner_text()
    tab.locator("#valley [data-part=rate]").fill("0.5")
    assert "stays on its side" in said.inner_text()
    # |1 − 0.5| and |1 − 0.025| for forty steps from (−9, 1.2).
    loss = 0.5 * (0.05 * (9 * 0.975**40) ** 2 + (1.2 * 0.5**40) ** 2)
    assert f"loss after 40 steps {loss:.3g}" in said.inner_text()


def test_a_page_prints(visit):
    assert visit("figures/fig28.html").pdf()[:4] == b"%PDF"


def test_solutions_are_folded_and_open(visit):
    tab = visit("chapters/quadratic.html")
    solution = tab.locator(".admonition.dropdown pre").first
    assert not solution.is_visible()
    tab.locator(".admonition.dropdown .admonition-title").first.click()
    solution.wait_for(state="visible")
