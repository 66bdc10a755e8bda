"""The rendered book in a real browser: from the file system, with the network off."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from valleywalk import Store
from valleywalk.folders import checkout
from valleywalk.paper.items import ITEMS

HTML = Path(os.environ.get("VALLEYWALK_BOOK", "no book")).resolve()
PAGES = [
    page
    for page in sorted(HTML.rglob("*.html"))
    if "_static" not in page.parts and page.name != "genindex.html"
]
PHONE = {"width": 360, "height": 740}
# A4 between margins of one centimetre.
PAPER = {"width": 718, "height": 1047}

pytestmark = pytest.mark.skipif(
    "VALLEYWALK_BOOK" not in os.environ, reason="VALLEYWALK_BOOK names no built book"
)
ids = [str(page.relative_to(HTML)) for page in PAGES]


@pytest.fixture
def visit(open_page):
    """Open a page of the book."""
    return lambda page, **options: open_page(HTML / page, **options)


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


def barred(tab):
    """What keeps readers out of a page as it is shown."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa"]})
    return [
        (violation["id"], node["html"][:200])
        for violation in found.response["violations"]
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_page_is_accessible(visit, page, scheme):
    assert barred(visit(page, color_scheme=scheme)) == []


@pytest.mark.parametrize("name", ITEMS)
def test_the_figure_of_a_page_is_on_the_first_screen(visit, name):
    tab = visit(f"figures/{name}.html", viewport={"width": 1400, "height": 900})
    top, bottom, width = tab.evaluate(
        "(r => [r.top, r.bottom, r.width])"
        "(document.querySelector('img.page-figure').getBoundingClientRect())"
    )
    assert 0 < top < bottom <= 900
    assert width > 400, "large enough to be read"


def test_mathematics_is_typeset(visit):
    tab = visit("reading.html")
    tab.wait_for_selector("mjx-container")
    assert tab.locator("mjx-container").count() > 10
    assert "\\theta" not in tab.inner_text("article")


def test_the_sidebar_shows_the_figures_of_one_network(visit):
    tab = visit("figures/fig9.html")
    sidebar = tab.locator(".bd-sidebar-primary")
    shown = sidebar.locator("a:visible")
    addresses = {link.get_attribute("href") for link in shown.all()}
    assert {"#", "fig7.html", "fig27.html", "fig28.html", "../networks/mlp.html"} <= addresses
    assert not {"fig1.html", "fig17.html", "fig20.html"} & addresses
    sidebar.get_by_label("Pages of MLP").locator(".toctree-toggle").click()
    sidebar.locator("a[href='fig17.html']").wait_for(state="visible")


def searched(visit, words):
    """What the search page finds: addresses without parts of pages, titles, excerpts or None."""
    tab = visit("search.html")
    tab.goto(f"{(HTML / 'search.html').as_uri()}?q={words}")
    tab.wait_for_function(
        "document.querySelector('.search-summary')?.innerText.includes('finished')"
    )
    tab.wait_for_selector("#search-results .context")
    assert tab.complaints == []
    return tab.evaluate(
        """[...document.querySelectorAll('#search-results li')].map(found => [
            found.querySelector('a').getAttribute('href').split('#')[0],
            found.querySelector('a').innerText,
            found.querySelector('.context')?.innerText,
        ])"""
    )


def test_search_finds_barrier_and_shows_where_it_stands(visit):
    found = searched(visit, "barrier")
    assert any("Barriers" in title for _, title, _ in found)
    excerpts = [excerpt for _, _, excerpt in found if excerpt]
    assert len(excerpts) > 10
    assert all("barrier" in excerpt.lower() for excerpt in excerpts)
    assert "barrier A segment crosses a barrier where" in " ".join(excerpts), "a term's own part"


def test_search_finds_how_to_install(visit):
    address, _, excerpt = searched(visit, "install")[0]
    assert address == "start.html"
    assert "install" in excerpt.lower()


PREVIEWED = {
    "figure": ("chapters/roles.html", "figures/fig4.html#fig4", "img"),
    "equation": ("chapters/quadratic.html", "#equation-best-rate", "mjx-container"),
    "term": ("chapters/course.html", "reading.html#term-valley-floor", "mjx-container"),
    "citation": ("chapters/barriers.html", "bibliography.html#", "em"),
    "page": ("chapters/course.html", "surface.html", "h1"),
}


@pytest.fixture
def previewed(visit):
    """A page, a link in it, and its preview, which is not shown yet."""

    def found(kind, **options):
        page, address, _ = PREVIEWED[kind]
        tab = visit(page, **options)
        link = tab.locator(f'article a.reference:not(.headerlink)[href*="{address}"]').first
        return tab, link, tab.locator(".tippy-content")

    return found


@pytest.mark.parametrize("kind", PREVIEWED)
def test_a_link_previews_what_it_leads_to(previewed, kind):
    tab, link, preview = previewed(kind)
    pictures = "performance.getEntriesByType('resource').filter(e => e.name.includes('_images/'))"
    assert tab.evaluate(f"{pictures}.length") == 0, "loaded when it is shown"
    link.hover()
    shown = preview.locator(PREVIEWED[kind][2]).first
    shown.wait_for(state="visible")
    tab.wait_for_function("image => image.naturalWidth !== 0", arg=shown.element_handle())
    inside, around = shown.bounding_box(), preview.bounding_box()
    assert around["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= around["x"] + around["width"]
    assert preview.locator("xpath=ancestor::article").count() == 0, "no table cuts it"
    assert "\\(" not in preview.inner_text(), "mathematics is typeset"
    assert link.get_attribute("title") is None, "the browser says nothing beside it"
    assert tab.evaluate(
        "(ids => new Set(ids).size === ids.length)"
        "([...document.querySelectorAll('[id]')].map(part => part.id))"
    )
    assert tab.complaints == []
    assert barred(tab) == []
    # It stays under the pointer, and goes when it is left.
    preview.hover()
    tab.wait_for_timeout(400)
    assert preview.is_visible()
    tab.mouse.move(0, 0)
    preview.wait_for(state="detached")


def test_a_preview_is_shown_and_closed_by_keyboard(previewed):
    tab, link, preview = previewed("term")
    link.focus()
    preview.wait_for(state="visible")
    described = tab.locator(f"#{link.get_attribute('aria-describedby')}")
    assert "with the smallest loss" in described.inner_text()
    tab.keyboard.press("Escape")
    preview.wait_for(state="detached")
    tab.keyboard.press("Tab")
    preview.wait_for(state="visible")
    assert "floor" not in preview.locator("dt").inner_text(), "the next link's"
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/reading.html#term-height")


def test_a_tap_follows_a_link_and_shows_no_preview(previewed):
    tab, link, preview = previewed("term", viewport=PHONE, has_touch=True)
    stay = "link => link.addEventListener('click', event => event.preventDefault(), {once: true})"
    link.evaluate(stay)
    link.tap()
    tab.wait_for_timeout(600)
    assert preview.count() == 0
    link.tap()
    tab.wait_for_url("**/reading.html#term-valley-floor")


EXPLORER = "chapters/explorer.html"


def said(tab):
    """What is said of each of the two walks."""
    return tab.locator("#explorer [data-part=said]").all_inner_texts()


def steps_said(tab):
    return [int(text.split()[1].rstrip(":,")) for text in said(tab)]


def last_step(tab):
    """Of the longer walk; at the smoke scale there are few."""
    return int(tab.locator("#explorer [data-part=iteration]").get_attribute("max"))


def walks_chosen(tab):
    return [choice.input_value() for choice in tab.locator("#explorer select").all()]


def chart(tab, panel, side=0):
    return tab.locator(f"#explorer [data-part={panel}] svg").nth(side)


def place_of(tab, step, panel="loss", side=0):
    """Where in a chart the middle of a step lies, by the shade of the one that is shown now."""
    shade = chart(tab, panel, side).locator(".walk-now")
    left, width = (float(shade.get_attribute(name)) for name in ("x", "width"))
    return {"x": left + (step - steps_said(tab)[side] + 0.5) * width, "y": 60}


def test_the_explorer_steps_through_two_walks_by_keyboard(visit):
    tab = visit(EXPLORER)
    assert walks_chosen(tab) == ["fig1", "fig2"]
    options = tab.locator("#explorer select").first.locator("option").all_inner_texts()
    assert [text.split(".")[0] for text in options[:3]] == ["Figure 1", "Figure 2", "Figure 9"]
    assert len(options) == 19, "15 figures, and 2 walks in both readings"
    assert steps_said(tab) == [0, 0]
    before = [chart(tab, "segment", side).inner_html() for side in (0, 1)]
    tab.locator("#explorer [data-part=iteration]").focus()
    tab.keyboard.press("ArrowRight")
    assert steps_said(tab) == [1, 1]
    assert all(chart(tab, "segment", i).inner_html() != before[i] for i in (0, 1))
    last = last_step(tab)
    tab.keyboard.press("End")
    assert steps_said(tab) == [last, last]
    # The charts have the keys, too.
    tab.locator("#explorer [data-part=columns]").focus()
    tab.keyboard.press("ArrowLeft")
    assert steps_said(tab) == [last - 1, last - 1]
    tab.keyboard.press("Home")
    assert steps_said(tab) == [0, 0]
    assert tab.complaints == []


@pytest.mark.parametrize("panel", ["loss", "cosine", "distance"])
def test_a_click_in_a_chart_goes_to_the_step_and_the_pointer_is_told_the_value(visit, panel):
    tab = visit(EXPLORER)
    # The cosine stands where its step begins, the distance where it ends.
    shift = {"loss": 0, "cosine": -0.5, "distance": 0.5}[panel]
    step = min(7, last_step(tab) - 1)
    assert step > 0
    chart(tab, panel, 1).click(position=place_of(tab, step + shift, panel, side=1))
    assert steps_said(tab) == [step, step]
    box = chart(tab, panel, 1).locator("xpath=following-sibling::div")
    tip, at, pointed = box.inner_text(), box.bounding_box(), chart(tab, panel, 1).bounding_box()
    gap = at["x"] - (pointed["x"] + place_of(tab, step + shift, panel, side=1)["x"])
    assert 0 < gap < 20 or 0 < -gap - at["width"] < 20, "beside the pointer"
    assert tip.startswith(f"step {step}")
    assert panel in tip
    if panel != "loss":
        value = tip.split()[-1]
        assert f"{panel} {value}" in said(tab)[1]
    tab.keyboard.press("ArrowRight")
    assert steps_said(tab) == [step + 1, step + 1], "the keys go on from there"


def test_a_tap_goes_to_the_step(visit):
    tab = visit(EXPLORER, viewport=PHONE, has_touch=True)
    step = min(11, last_step(tab))
    assert step > 0
    chart(tab, "loss").tap(position=place_of(tab, step))
    assert steps_said(tab) == [step, step]
    boxes = [
        chart(tab, panel, side).bounding_box() for panel in ("loss", "segment") for side in (0, 1)
    ]
    assert [box["y"] for box in boxes] == sorted(box["y"] for box in boxes), "one column"
    assert all(box["width"] > 0.8 * PHONE["width"] for box in boxes)


def test_a_shared_address_is_restored(visit):
    tab = visit(EXPLORER)
    tab.get_by_role("button", name="Epoch 1 and the latest epoch").click()
    pair = walks_chosen(tab)
    assert pair != ["fig1", "fig2"]
    tab.locator("#explorer [data-part=same]").check()
    address = f"#walks={','.join(pair)}&step=%s&axes=same"
    tab.wait_for_function("wanted => location.hash === wanted", arg=address % 0)
    step = min(5, last_step(tab))
    assert step > 0
    chart(tab, "loss").click(position=place_of(tab, step))
    tab.wait_for_function("wanted => location.hash === wanted", arg=address % step)
    shared = tab.url
    other = visit(EXPLORER)
    other.goto("about:blank")
    other.goto(shared)
    assert (walks_chosen(other), steps_said(other)) == (pair, [step, step])
    assert other.locator("#explorer [data-part=same]").is_checked()
    assert said(other) == said(tab)
    # In the page that is open already, and one that names no walk.
    other.evaluate("location.hash = 'walks=fig9,fig17&step=30'")
    other.wait_for_function("document.querySelector('#explorer select').value === 'fig9'")
    assert not other.locator("#explorer [data-part=same]").is_checked()
    other.evaluate("location.hash = 'walks=fig9,constructor&step=2'")
    other.evaluate("location.hash = 'what-to-try'")
    assert walks_chosen(other) == ["fig9", "fig17"]
    assert other.complaints == []


def test_a_shorter_walk_waits_at_its_last_step(visit):
    tab = visit(EXPLORER)
    lengths = tab.evaluate(
        "Object.fromEntries(JSON.parse(document.getElementById('explorer-data').textContent)"
        ".walks.map(walk => [walk.id, walk.loss.length]))"
    )
    short, long = min(lengths, key=lengths.get), max(lengths, key=lengths.get)
    assert lengths[short] < lengths[long]
    tab.goto(f"{tab.url.split('#')[0]}#walks={short},{long}&step=999")
    tab.wait_for_function(
        "id => document.querySelector('#explorer select').value === id", arg=short
    )
    assert steps_said(tab) == [lengths[short] - 1, lengths[long] - 1]
    assert ", the last one: " in said(tab)[0]


def tick_texts(tab, panel, side):
    return chart(tab, panel, side).locator(".walk-tick[text-anchor=end]").all_text_contents()


def test_axes_have_round_ticks_and_can_be_the_same(visit):
    tab = visit(EXPLORER)
    assert tick_texts(tab, "cosine", 0) == ["−1", "0", "1"]
    choices = tab.locator("#explorer select")
    # Far from each other at every scale.
    choices.nth(1).select_option("fig16")
    own = [tick_texts(tab, "loss", side) for side in (0, 1)]
    tab.locator("#explorer [data-part=same]").check()
    first, second = (tick_texts(tab, "loss", side) for side in (0, 1))
    assert first == second
    assert [first, second] != own
    choices.first.select_option("fig16")
    choices.nth(1).select_option("fig2")
    tab.locator("#explorer [data-part=same]").uncheck()
    for panel in ("loss", "segment", "distance"):
        for side in (0, 1):
            texts = tick_texts(tab, panel, side)
            assert max(map(len, texts)) <= 7, "a power of ten is taken out of small numbers"
            ticks = [float(text.replace("−", "-")) for text in texts]
            steps = [b - a for a, b in pairwise(ticks)]
            assert len(ticks) >= 2
            assert max(steps) == pytest.approx(min(steps)), "the digits that are shown suffice"
            assert f"{steps[0]:.2e}"[:4] in ("1.00", "2.00", "5.00")


def test_measured_points_are_filled_and_others_hollow(visit):
    tab = visit(EXPLORER)
    for name, side in (("fig1", 0), ("fig17", 1)):
        tab.locator("#explorer select").nth(side).select_option(name)
    measured = tab.evaluate(
        "JSON.parse(document.getElementById('explorer-data').textContent)"
        ".walks.filter(walk => ['fig1', 'fig17'].includes(walk.id)).map(walk => walk.measured[0])"
    )
    for side, marks in enumerate(measured):
        filled = chart(tab, "segment", side).locator(".walk-measured").count()
        hollow = chart(tab, "segment", side).locator(".walk-read-off").count()
        assert (filled, hollow) == (marks.count("1"), marks.count("0"))


def test_play_runs_and_makes_single_steps_for_whoever_wants_less_motion(visit):
    tab = visit(EXPLORER)
    play = tab.locator("#explorer [data-part=play]")
    # The time of the page stands still, so that no machine is too slow for it.
    tab.clock.install(time=0)
    tab.clock.pause_at(1_000)
    play.click()
    tab.clock.run_for(400)
    assert steps_said(tab) == [2, 2]
    assert play.inner_text() == "Pause"
    play.click()
    assert play.inner_text() == "Play"
    tab.clock.run_for(4_000)
    assert steps_said(tab) == [2, 2]
    calm = visit(EXPLORER, reduced_motion="reduce")
    play = calm.locator("#explorer [data-part=play]")
    assert play.inner_text() == "Next step"
    play.click()
    calm.wait_for_timeout(1000)
    assert steps_said(calm) == [1, 1]


@pytest.mark.parametrize("page", ["index.html", EXPLORER])
def test_barriers_come_with_the_plan_that_is_drawn_anew(visit, page):
    tab = visit(page, viewport=PHONE, has_touch=True)
    scale = tab.evaluate("JSON.parse(document.getElementById('two-plans-data').textContent).scale")
    data = checkout() / "data"
    store = Store(data / "cache", recorded=data / "traces")
    of_page = ITEMS["text_against_code"].at(scale)
    numbers = of_page.numbers([store.get(experiment) for experiment in of_page.experiments])
    toggle = tab.locator("#two-plans")
    for plan, reading in (("redrawn", "code"), ("frozen", "text"), ("redrawn", "code")):
        toggle.locator(f"input[value={plan}]").tap()
        crossed = int(getattr(numbers["barriers"], reading))
        words = f"{crossed} of {numbers['steps']} steps show a barrier."
        assert words in toggle.locator("[data-part=said]").inner_text()
        assert toggle.locator(".walk-barrier").count() == crossed
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


@pytest.mark.parametrize("name", ITEMS)
def test_the_figure_of_a_page_is_on_the_first_sheet(visit, name):
    tab = visit(f"figures/{name}.html")
    tab.emulate_media(media="print")
    tab.set_viewport_size(PAPER)
    bottom = "document.querySelector('img.page-figure').getBoundingClientRect().bottom"
    assert 0 < tab.evaluate(bottom) <= PAPER["height"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_nothing_is_cut_in_print(visit, page):
    """Nothing is wider than the paper or than what it scrolls in, no picture higher than it."""
    tab = visit(page)
    tab.emulate_media(media="print")
    tab.set_viewport_size(PAPER)
    cut = tab.evaluate(
        """paper => {
            for (const folded of document.querySelectorAll("details")) folded.open = true;
            for (const folded of document.querySelectorAll(".toggle-hidden"))
                folded.classList.remove("toggle-hidden");
            const parts = [...document.querySelectorAll("body *")].filter(part =>
                part.checkVisibility() && !part.closest("mjx-assistive-mml, .visually-hidden"));
            return parts.filter(part => {
                const scrolls = getComputedStyle(part).overflowX !== "visible";
                const box = part.getBoundingClientRect();
                return box.right > paper.width + 1
                    || part.matches("img, svg") && box.height > paper.height
                    || scrolls && part.scrollWidth > part.clientWidth + 1;
            }).map(part => part.outerHTML.slice(0, 200));
        }""",
        PAPER,
    )
    assert cut == []


def test_paper_is_light_and_shows_what_is_folded(visit):
    tab = visit("index.html", color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    folded = "document.querySelector('.bd-article details p').checkVisibility()"
    # Our own listener is there before, and so is called first.
    tab.evaluate(f"addEventListener('beforeprint', () => window.paper = {colour})")
    dark = tab.evaluate(colour)
    tab.pdf()
    assert tab.evaluate("window.paper") == "rgb(255, 255, 255)"
    assert tab.evaluate(colour) == dark != "rgb(255, 255, 255)", "on the screen all is as it was"
    assert not tab.evaluate(folded)
    tab.emulate_media(media="print")
    assert tab.evaluate(folded)


def test_solutions_are_folded_and_open(visit):
    tab = visit("chapters/answers.html")
    solution = tab.locator(".admonition.dropdown pre").first
    assert not solution.is_visible()
    tab.locator(".admonition.dropdown .admonition-title").first.click()
    solution.wait_for(state="visible")
