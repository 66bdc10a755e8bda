"""Building the book, but for the rendering, which tests/book looks at."""

import json
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import yaml
from jupyter_client.manager import KernelManager

from valleywalk import Store, analysis, measures
from valleywalk.book import build as book
from valleywalk.book import explorer, notebook
from valleywalk.book.notebook import ParameterError, check
from valleywalk.book.prose import out_of, typed_numbers
from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper.conventions import READINGS, Conventions
from valleywalk.paper.items import ITEMS
from valleywalk.paper.walks import StochasticWalk
from valleywalk.walks.store import only_one

REPOSITORY = "https://github.com/owner/name"


@pytest.fixture
def commands(monkeypatch):
    """What would be run to render; a book of two pages without walks to explore or to answer by."""
    run = []

    def noted(command):
        run.append(command)
        return 0

    monkeypatch.setattr(book, "ITEMS", {name: ITEMS[name] for name in ("fig28", "fig18")})
    monkeypatch.setattr(book, "_render", noted)
    monkeypatch.setattr(book.answers, "with_output", lambda *text_page_folder: "# Run\n")
    monkeypatch.setattr(book.explorer, "data", lambda scales, store: "")
    monkeypatch.setattr(book.explorer, "two_plans", lambda scales, store: "")
    monkeypatch.setattr(book.explorer, "plans_beside", lambda store: "")
    return run


def test_a_book_is_made_of_executed_notebooks(commands, tmp_path):
    front = book.build(
        "smoke", folder=tmp_path / "book", strict=True, processes=1, repository=REPOSITORY
    )
    assert front == tmp_path / "book" / "_build" / "html" / "index.html"
    building = str(tmp_path / "book-building")
    assert commands[0][1:] == ["build", building, "-n", "-W", "--keep-going"]
    assert [path.name for path in tmp_path.iterdir()] == ["book"]
    page = nbformat.read(tmp_path / "book" / "figures" / "fig18.ipynb", as_version=4)
    assert page.cells[0].source.startswith("(fig18)=\n# Figure 18. ")
    shown = [c for c in page.cells if "remove-cell" not in c.metadata.get("tags", [])]
    drawn, head, *_, run, made, exercises = shown[1:]
    assert drawn.outputs
    assert drawn.metadata["mystnb"]["figure"]["name"] == "fig18-figure"
    assert "mnist5k in place of MNIST" in drawn.metadata["mystnb"]["image"]["alt"]
    assert ":::{admonition} Scale: *smoke*" in head.source
    assert "- **Scope:** MLP at a tenth of the width" in head.source
    titles = [c.source.splitlines()[0] for c in shown if c.source.startswith("## ")]
    assert titles == [
        *("## What our run shows", "## Numbers", "## What the paper shows"),
        *("## How to read the figure", "## By hand", "## Claims", "## Run it"),
        *("## How this page was made", "## Exercises"),
    ]
    assert (tmp_path / "book" / "chapters" / "answers.md").read_text(encoding="utf-8") == "# Run\n"
    command = "    papermill notebooks/fig2_sgd_walk.ipynb out.ipynb -p scale smoke -p model mlp"
    assert command in run.source
    assert f"({REPOSITORY}/blob/main/notebooks/fig2_sgd_walk.ipynb)" in run.source
    binder = "https://mybinder.org/v2/gh/owner/name/main?labpath=notebooks%2Ffig2_sgd_walk.ipynb"
    assert f"[open in Binder]({binder})" in run.source
    assert "colab.research.google.com/github/owner/name/blob/main/notebooks/fig2" in run.source
    executed = (
        r"\*Executed\* 20\d\d-\d\d-\d\d \d\d:\d\d UTC in \d+ s; papermill [\d.]+, valleywalk .*\."
    )
    assert re.search(executed, made.source)
    for part in ("page = notebook.check", 'scale = "smoke"', "*Provenance.*", "| experiment |"):
        assert part in made.source
    assert f"`{ITEMS['fig18'].experiments('smoke')[0].hash}`" in made.source
    (asked, also) = exercises.source.split(":::{admonition} Exercise\n")[1:]
    assert asked.startswith(":class: exercise\n**How much of a step is signal?**")
    assert asked.endswith("\n\n{ref}`Answer <answer-fig2_sgd_walk-1>`\n:::\n\n")
    assert also.endswith("\n\n{ref}`Answer <answer-fig2_sgd_walk-2>`\n:::")
    assert not (tmp_path / "book" / "figures" / "fig18.md").exists()
    settings = yaml.safe_load((tmp_path / "book" / "_config.yml").read_text())
    assert settings["repository"]["url"] == REPOSITORY
    assert settings["html"]["use_issues_button"] is True
    assert (tmp_path / "book" / "ledger.md").read_text(encoding="utf-8")
    for network in ("vgg11", "resnet56", "mlp", "vgg11-tiny-imagenet"):
        page = tmp_path / "book" / "networks" / f"{network}.md"
        (included,) = re.findall(r"\{include\} (\S+)", page.read_text(encoding="utf-8"))
        assert "| {ref}`Figure\N{NO-BREAK SPACE}" in (page.parent / included).read_text(
            encoding="utf-8"
        )
    other = nbformat.read(tmp_path / "book" / "figures" / "fig28.ipynb", as_version=4)
    assert_runs_in_its_own_order(other, "fig28_quadratic")
    assert ":class: exercise\n:name: exercise-fig28_quadratic-1\n" in other.cells[-1].source
    (drawn,) = [c for c in other.cells if "figure" in c.metadata.get("tags", [])]
    alternative = drawn.metadata["mystnb"]["image"]["alt"]
    assert alternative.startswith("Figure 28 at the smoke scale: ")
    assert ITEMS["fig28"].page.alternative_text in alternative
    assert "Runs and formula differ by at most " in alternative, "the result"
    assert "*" not in alternative


def assert_runs_in_its_own_order(page, notebook):
    source = nbformat.read(checkout() / "notebooks" / f"{notebook}.ipynb", as_version=4)
    own = [cell.source for cell in source.cells if cell.cell_type == "code"]
    assert [cell.source for cell in page.cells if cell.source in own] == own


def test_what_is_no_book_is_not_built_over(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "compute", lambda *a: pytest.fail("walked"))
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    for folder in (tmp_path, tmp_path / "mine", tmp_path / "link"):
        with pytest.raises(book.BookError, match="is there and is no book; move it away"):
            book.build("smoke", folder=folder)
    with pytest.raises(OSError, match="mine"):
        book.build("smoke", folder=tmp_path / "mine" / "book")
    with only_one(tmp_path / "book"), pytest.raises(OSError, match="another process is writing"):
        book.build("smoke", folder=tmp_path / "book")
    assert (tmp_path / "mine").read_text() == "kept"


def test_what_an_interruption_left_in_the_own_place_is_built_over(tmp_path, monkeypatch):
    left = tmp_path / "build" / "book-building"
    left.mkdir(parents=True)
    monkeypatch.setattr(book, "checkout", lambda: tmp_path)
    monkeypatch.setattr(book, "_build", lambda root, folder, *a, **k: folder.mkdir(exist_ok=True))
    book.build("smoke")
    assert [path.name for path in left.parent.iterdir()] == ["book"]


def test_a_notebook_that_fails_is_named_and_never_in_the_book(commands, tmp_path, monkeypatch):
    item = ITEMS["fig28"]
    broken = SimpleNamespace(
        **{name: getattr(item, name) for name in ("name", "label", "title", "page")},
        parameters=lambda scale: {"learning_rate": -1.0},
        experiments=lambda scale: [],
    )
    root, target = book.checkout(), tmp_path
    (target / "fig28.md").write_text("prose")
    with pytest.raises(Exception, match="Input should be greater than 0"):
        book.execute_page(root, target, broken, "smoke")
    assert not (target / "fig28.ipynb").exists()


def test_a_kernel_that_is_done_calls_nothing_an_error(capfd):
    kernel = KernelManager(kernel_name="python3")
    kernel.start_kernel(extra_arguments=book.KERNEL_ARGUMENTS)
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    # As ipykernel says it, where the interrupt at its end finds it at work.
    told = "IPKernelApp.instance().log.error('KeyboardInterrupt caught in kernel.'); print('done')"
    client.execute_interactive(f"from ipykernel.kernelapp import IPKernelApp; {told}", timeout=60)
    client.stop_channels()
    kernel.shutdown_kernel()
    captured = capfd.readouterr()
    assert captured.out == "done\n"
    assert "KeyboardInterrupt" not in captured.err


def test_a_rendering_that_fails_is_said_and_keeps_the_book_before(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(book, "_render", lambda command: 1)
    monkeypatch.setattr(book, "ITEMS", {"fig28": ITEMS["fig28"]})
    before = tmp_path / "book"
    before.mkdir()
    (before / "_toc.yml").write_text("before")
    with pytest.raises(book.BookError, match=r"jupyter-book failed.*book-building"):
        book.build("smoke", folder=before, processes=1)
    assert (before / "_toc.yml").read_text() == "before"
    with pytest.raises(SystemExit, match="repository is 'github'; give https://HOST/OWNER/NAME"):
        main(["book", "--repository", "github"])
    monkeypatch.setattr(book, "checkout", lambda: None)
    with pytest.raises(book.BookError, match="from a checkout of the project"):
        book.build("smoke")


def test_without_a_repository_no_page_links_to_one():
    text = book._ways_to_run(ITEMS["fig2"], "quick", None)
    assert "papermill notebooks/fig2_sgd_walk.ipynb out.ipynb -p scale quick" in text
    assert "http" not in text
    elsewhere = book._ways_to_run(ITEMS["fig2"], "quick", "https://code.example/owner/name")
    assert "https://code.example/owner/name/blob/main/notebooks/fig2_sgd_walk.ipynb" in elsewhere
    assert "Binder" not in elsewhere
    hosted = book._ways_to_run(ITEMS["fig2"], "quick", "https://github.com/owner/name")
    assert "`%pip install 'valleywalk[notebooks] @ git+https://github.com/owner/name'`" in hosted


def test_the_front_page_says_by_which_constants_it_decides(monkeypatch):
    text = (checkout() / "book" / "index.md").read_text(encoding="utf-8")
    own = re.sub(r"^:.*$|\{cite:t\}`\w+`", "", text, flags=re.MULTILINE)  # directives, keys
    assert [number for number in typed_numbers(own) if number.strip("-−")[0].isdigit()] == []
    shown = " ".join(book.with_constants(text).split())
    for constant in ("below 0.05", "95 % interval", "correlation of 0.05", "80 % power"):
        assert constant in shown
    for count in (
        "All 28 figures",
        "one row in 20 is",
        "more than 20 independent",
        "fewer than 3 seeds",
    ):
        assert count in shown
    monkeypatch.setattr(book, "ALPHA", 0.01)
    assert "p is below 0.01" in book.with_constants(text)


def content(html):
    """What a page's script reads from what Python wrote."""
    (text,) = re.findall(r'<script type="application/json" id="[a-z-]+">(.*)</script>', html)
    assert "<" not in text
    return json.loads(text)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """The explorer's data from recorded walks, the scales they are at, and the store."""
    store = Store(tmp_path_factory.mktemp("cache"), recorded=checkout() / "data" / "traces")
    scales = {name: book.scale_of(item, "recorded", store) for name, item in ITEMS.items()}
    return content(explorer.data(scales, store)), scales, store


def test_the_explorer_holds_the_numbers_of_each_trace(explored):
    shown, scales, store = explored
    walks = {walk["id"]: walk for walk in shown["walks"]}
    assert list(walks) == [f"fig{n}" for n in (1, 2, *range(9, 22))] + ["gd-text", "gd-code"]
    for name in explorer.EXPLORED:
        page, walk = ITEMS[name].at(scales[name]), walks[name]
        steps = measures.window(store.get(page.experiments[0]), page.epoch, page.length)
        loss = steps["loss"].values
        span = np.ptp(loss, axis=1)[:, None]
        assert np.all(np.abs(np.array(walk["loss"]) - loss) <= 1e-3 * span), name
        lowest = np.take_along_axis(loss, np.array(walk["lowest"])[:, None], axis=1)[:, 0]
        np.testing.assert_array_equal(lowest, analysis.floor(loss))
        np.testing.assert_allclose(walk["height"], analysis.height(loss), rtol=1e-7)
        np.testing.assert_array_equal(walk["barrier"], analysis.barriers(loss))
        assert walk["start"] == steps["iteration"][0]
        cosine = np.array(walk["cosine"], dtype=float)
        np.testing.assert_allclose(cosine, steps["cosine"], rtol=1e-6)
        np.testing.assert_allclose(walk["distance"], steps["distance"], rtol=1e-6)
        marks = [[mark == "1" for mark in segment] for segment in walk["measured"]]
        np.testing.assert_array_equal(marks, steps.get("measured", np.ones_like(loss)))
    assert walks["fig1"]["cosine"][0] is None, "JSON has no NaN"
    assert walks["fig1"]["title"].startswith("VGG-11 on CIFAR-10")


def test_the_explorer_compares_walks_that_belong_together(explored):
    shown, scales, store = explored
    pairs = {pair["name"]: pair["walks"] for pair in shown["pairs"]}
    assert pairs["Gradient descent and SGD"] == ["fig1", "fig2"]
    assert pairs["Text and code"] == ["gd-text", "gd-code"]
    first, later = pairs["Epoch 1 and the latest epoch"]
    pages = [ITEMS[name].at(scales[name]) for name in (first, later)]
    assert pages[0].epoch == 1 < pages[1].epoch
    shown_first, shown_later = set(), {}
    for name in explorer.EXPLORED:
        page, where = ITEMS[name].at(scales[name]), ITEMS[name].setting(scales[name])
        if page.update == "sgd" and page.epoch == 1:
            shown_first.add(where)
        shown_later[where] = max(page.epoch, shown_later.get(where, 0))
    assert pages[1].epoch == max(shown_later[where] for where in shown_first)
    one, other = (store.get(page.experiments[0])["distance"].values for page in pages)
    shared = min(len(one), len(other))
    np.testing.assert_array_equal(one[:shared], other[:shared], "one walk, in two windows")


def test_two_plans_measure_the_same_steps(explored):
    _, scales, store = explored
    shown = content(explorer.two_plans(scales, store))
    frozen, redrawn = shown["walks"]
    assert frozen["cosine"] == redrawn["cosine"]
    assert frozen["distance"] == redrawn["distance"]
    assert frozen["loss"] != redrawn["loss"]
    page = ITEMS["text_against_code"].at(shown["scale"])
    counted = page.numbers([store.get(experiment) for experiment in page.experiments])["barriers"]
    assert (sum(frozen["barrier"]), sum(redrawn["barrier"])) == counted
    assert counted.text < counted.code, "what the page says"


def test_beside_the_two_plans_stands_what_more_images_show(explored, tmp_path):
    store = explored[2]
    page = Conventions(scale=explorer.MORE_IMAGES)
    frozen, redrawn = (
        measures.walk_numbers(measures.window(store.get(page.walks["sgd", each]), 1, 40))
        for each in READINGS
    )
    beside = explorer.plans_beside(store)
    assert "mean over 200 images. Over 1,000 images" in beside
    for walk, where in ((frozen, "on the frozen plan"), (redrawn, "where the plan is drawn anew")):
        assert f"in {out_of(walk['barriers'], 40, 'step')} {where}" in beside
    assert explorer.plans_beside(Store(tmp_path, recorded=tmp_path / "none")) == ""


def test_no_title_ends_the_script(explored, monkeypatch):
    monkeypatch.setitem(explorer.TITLES, ("sgd", "code"), "drawn </script> anew")
    shown = content(explorer.two_plans(*explored[1:]))
    assert shown["walks"][1]["title"] == "drawn </script> anew"


def test_what_the_explorer_s_page_says_to_try_is_so(explored):
    walks = {walk["id"]: walk for walk in explored[0]["walks"]}

    def unlike(walk):
        """By step: does the next cosine's sign not fit the floor, and how far is it from zero."""
        cosine = np.array(walk["cosine"][1:])
        return (cosine < 0) != analysis.has_interior_minimum(walk["loss"])[:-1], np.abs(cosine)

    for name in ("fig1", "fig9", "fig17", "fig20"):
        wrong, size = unlike(walks[name])
        assert (size[wrong] < 0.1).all(), name
        assert wrong.mean() < 0.1, name
    assert 0 < analysis.has_interior_minimum(walks["fig1"]["loss"])[:-1].mean() < 1
    assert unlike(walks["fig2"])[0].mean() > 0.1
    rises = {name: analysis.floor_rises(np.array(walks[name]["loss"])).sum() for name in walks}
    assert rises["fig2"] > 3 * rises["fig1"]


def test_other_epochs_are_shown_where_a_walk_opens_more_than_one(explored, monkeypatch):
    _, scales, store = explored
    shown = []
    monkeypatch.setattr(notebook, "display", shown.append)
    several, one = (ITEMS[name].at(scales[name]) for name in ("fig11", "fig18"))
    assert not one.other_epochs
    notebook.epochs(one, [store.get(one.experiments[0])])
    assert shown == []
    notebook.epochs(several, [store.get(several.experiments[0])])
    words, figure = shown
    assert words.data.startswith("**Beside the other epochs.**")
    titles = [axis.get_title() for axis in figure.axes]
    assert [title for title in titles if title] == [f"epoch {e}" for e in several.other_epochs]
    assert not plt.fignum_exists(figure.number), "or the notebook shows it twice"


def test_a_notebook_s_parameters_are_checked_without_a_notebook():
    page = check({"scale": "smoke", "In": [], "_hidden": 1, "epoch": 2, "os": re}, StochasticWalk)
    assert (page.scale, page.epoch) == ("smoke", 2)
    with pytest.raises(ParameterError, match=r"^unknown parameter .*mean 'epoch'\?.*allowed are"):
        check({"epok": 2}, StochasticWalk)
    with pytest.raises(ParameterError, match=r"epoch: .*valid integer.* \(given: 'first'\)"):
        check({"epoch": "first"}, StochasticWalk)
