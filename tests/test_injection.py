"""Texts that are not ours do nothing in a page but stand there, whichever way it is rendered."""

from html.parser import HTMLParser

import nbconvert.filters
import nbformat
import numpy as np
import pytest
from markdown_it import MarkdownIt
from myst_parser.parsers.docutils_ import Parser
from PIL import Image

from valleywalk import Store, TraceError, save
from valleywalk.book import answers, build, explorer, head, notebook, slides
from valleywalk.book.build import _markdown_of as markdown_of
from valleywalk.book.handout import Handout
from valleywalk.book.recorded import description
from valleywalk.folders import checkout
from valleywalk.markdown import plain
from valleywalk.paper.items import ITEMS
from valleywalk.paper.page import markdown_table, setting_of
from valleywalk.paper.twin import Twin
from valleywalk.paper.walks import GradientDescentWalk

LIVE = "<img src=x onerror=alert(1)>"
HOSTILE = [
    LIVE,
    f"`{LIVE}`",
    f"``` {LIVE}",
    f"\\{LIVE}",
    f"</script><script>alert(1)</script><!--{LIVE}",
    f"a\n\n{LIVE}\n\n# A title\n",
    f"a\n```{{raw}} html\n{LIVE}\n```\n",
    f"a\r\n\x0b\x85\u2028{LIVE}",
    f'">{LIVE}<a href="',
    f"--> ]]> {LIVE}",
    "[a](javascript:alert(1)) ![a](x.png) [a]: x <https://example.org>",
    "*a* _b_ **c** ~~d~~ __e__ ^f^ ~g~ ==h==",
    "$x$ $$y$$ \\(z\\) \\begin{equation}",
    "{raw}`html` {doc}`/index` {{ config }} {ref}`a <b>`",
    ":::{note}\na\n::: \n% a comment\n(label)=\n+++",
    "&lt;img src=x onerror=alert(1)&gt; &amp; &#60;b&#62;",
    "| a | b |\n|---|---|\n| c | d |",
    "a\u202eb\x00c\x1b[31md",
    "1. a\n2. b\n- c\n> d\n===\n---",
]


class Seen(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def by_myst(text):
    """As the book's pages are: with the extensions that Jupyter Book switches on."""
    from docutils.core import publish_string

    extensions = ["colon_fence", "dollarmath", "substitution", "tasklist", "amsmath"]
    settings = {
        "myst_enable_extensions": extensions,
        "report_level": 5,
        "halt_level": 6,
        "embed_stylesheet": False,
        "stylesheet_path": None,
        "math_output": "MathJax",
    }
    html = publish_string(
        text, parser=Parser(), writer_name="html5", settings_overrides=settings
    ).decode()
    return html[html.index("<main") :]


def by_handout(text):
    return Handout(None).html(text)


def by_nbconvert(text):
    return nbconvert.filters.markdown2html(text)


def by_github(text):
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


RENDERERS = [by_myst, by_handout, by_nbconvert, by_github]
# What our own Markdown is made of.
OURS = {"p", "code", "em", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "br"}
OURS |= {"main", "span", "colgroup", "col", "div", "tt", "pre"}


def harmless(markdown, *texts):
    for render in RENDERERS:
        seen = Seen(render(markdown))
        assert seen.elements <= OURS, render
        assert not {name for name in seen.attributes if name.startswith(("on", "src"))}, render
        shown = " ".join(seen.text.split())
        for text in texts:
            assert text in shown, render


def test_the_renderers_would_show_it():
    """What is not escaped is alive."""
    for render in RENDERERS:
        text = f"a\n\n{LIVE}\n"
        if render is by_myst:
            text = f"```{{raw}} html\n{LIVE}\n```\n"
        assert "img" in Seen(render(text)).elements, render


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_as_it_stands(text):
    line = " ".join(text.split())
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in line)
    for around in ("{}", "*Provenance.* {}.", "- {} ({})", "**{}**"):
        harmless(around.replace("{}", plain(text)), shown)
    harmless(markdown_table(["what"], [[plain(text)]]), shown)
    assert "\n" not in plain(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_data_of_a_script_do_not_end_it(text):
    import json

    html = explorer.script("a", {"text": text})
    assert html.count("<") == 2
    seen = Seen(html)
    assert seen.elements == {"script"}
    assert json.loads(seen.text) == {"text": text}


def test_alternative_texts_are_plain():
    assert build.first_finding(f"- The floor of {plain(LIVE)} rises.") == (
        f"The floor of {LIVE} rises."
    )


@pytest.mark.parametrize(
    "text", [*HOSTILE[:10], f"a\n```\n{LIVE}\n````\n{LIVE}", f"```\n\n{LIVE}\n```"]
)
def test_what_code_prints_stays_in_its_block(text):
    page = f"Code:\n\n```python\nprint({text!r})\n```\n"
    shown = answers.with_output(page, "a page", checkout())
    assert shown != page
    harmless(shown.replace("```python", "```text"), "".join(text.split()[:1]))


# Pages --------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path):
    """A page on a folder of images that has a hostile name."""
    root = tmp_path / f"{LIVE}`$x$ {{ref}}`a`|"
    for name in ("train/a", "train/b", "val/a", "val/b"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number).integers(0, 255, (4, 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return GradientDescentWalk(
        scale="smoke", model="mlp", dataset=f"folder:{root}", training_images=40
    )


@pytest.fixture
def traces(page):
    """Its walk, and the same with a hostile text wherever a trace has one of its own."""
    (trace,) = page.get_traces()
    attributes = dict.fromkeys(
        ("device", "started", "git_commit", "platform", "dataset_description", "dataset_hash"),
        LIVE,
    )
    attributes["versions"] = f'{{"torch": "{LIVE}", "valleywalk": "{LIVE}"}}'
    attributes["protocol_commit"] = LIVE
    return [trace, trace.assign_attrs(attributes)]


def test_what_a_notebook_shows_is_harmless(page, traces):
    own, _ = traces
    assert own.attrs["dataset_description"].startswith(LIVE), "the folder's name is told"
    planned = notebook.planned(page).data
    harmless(planned, LIVE)
    for trace in traces:
        harmless(notebook.provenance_line(page, [trace]).data, LIVE)
        harmless(notebook.said(page, [trace]).data, LIVE)
        harmless(notebook.table(page, [trace]).data)
    harmless(notebook.provenance_line(page, traces).data, LIVE)
    harmless(notebook.claims(page).data)


def test_the_head_of_a_page_is_harmless(page, traces):
    harmless(head.scope(page, page), LIVE)
    harmless(head.made_on(traces), LIVE)
    harmless(setting_of(page.experiments[0]), LIVE)


def test_the_index_of_walks_is_harmless(traces):
    for trace in traces:
        harmless(markdown_table([""] * 7, [description(trace)]))


def test_the_twin_of_a_hostile_walk_is_harmless(traces):
    own, hostile = traces
    hostile = hostile.assign({LIVE: ("iteration", hostile["cosine"].values)})
    hostile["cosine"].attrs["long_name"] = LIVE
    twin = Twin(scale="smoke", model="mlp")
    live = own.assign({LIVE: hostile["cosine"]})
    for kept in (hostile, hostile.assign(more=hostile["cosine"])):
        numbers = twin.numbers([kept, live])
        assert "more" not in {each["name"] for each in numbers["variables"]}
        harmless(twin.table([kept, live]), LIVE)
        harmless(notebook.said(twin, [kept, live]).data, LIVE)


@pytest.mark.parametrize("name", ["plan_hash", "final_state_hash"])
def test_hashes_are_hashes(page, traces, tmp_path, name):
    (experiment,) = page.experiments
    store = Store(tmp_path)
    (trace, _) = traces
    save(trace.assign_attrs({name: f"`{LIVE}`"}), tmp_path / f"{trace.experiment_hash}.nc")
    with pytest.raises(TraceError, match=f"attribute '{name}' is .*, not a hash"):
        store.open(experiment)


def test_a_page_of_the_book_and_a_slide_are_harmless(tmp_path, monkeypatch):
    """From a recorded walk that others made."""
    item, store = ITEMS["fig18"], Store()
    for experiment in item.experiments("smoke"):
        trace = store.get(experiment, progress=False)
        path = store.folder / f"{experiment.hash}.nc"
        texts = ("device", "started", "git_commit", "platform", "dataset_description")
        versions = f'{{"torch": "{LIVE}", "valleywalk": "{LIVE}"}}'
        hostile = dict.fromkeys(texts, LIVE) | {"versions": versions, "protocol_commit": LIVE}
        save(trace.assign_attrs(hostile), path)
    (tmp_path / "fig18.md").write_text("Prose.")
    build.execute_page(checkout(), tmp_path, item, "smoke")
    page = nbformat.read(tmp_path / "fig18.ipynb", as_version=4)
    shown = [cell.source for cell in page.cells if cell.cell_type == "markdown"]
    shown += [text for cell in page.cells if "outputs" in cell if (text := markdown_of(cell))]
    assert sum(plain(LIVE) in text for text in shown) >= 3, "head, provenance, how it was made"
    for text in shown:
        assert LIVE not in text
        seen = Seen(by_myst(text))
        assert not {"img", "script"} & seen.elements
        assert not {name for name in seen.attributes if name.startswith("on")}
    monkeypatch.setattr(slides, "scale_of", lambda item, scale, store: "smoke")
    slide = slides._figure("fig18", Handout(None), Store(recorded=store.folder))
    seen = Seen(slide.notes)
    assert LIVE in seen.text
    assert not {"img", "script"} & seen.elements
