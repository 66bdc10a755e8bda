"""Building the book, but for the rendering, which tests/book looks at."""

import json
import re
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from valleywalk import Store
from valleywalk.book import build as book
from valleywalk.book import explorer
from valleywalk.book.notebook import ParameterError, check
from valleywalk.cli import main
from valleywalk.paper.items import ITEMS
from valleywalk.paper.walks import StochasticWalk

REPOSITORY = "https://github.com/owner/name"


@pytest.fixture
def commands(monkeypatch):
    """What would be run to render; a book of two pages and no explorer."""
    run = []

    def noted(command):
        run.append(command)
        return 0

    monkeypatch.setattr(book, "ITEMS", {name: ITEMS[name] for name in ("fig28", "fig18")})
    monkeypatch.setattr(book, "_render", noted)
    monkeypatch.setattr(book.explorer, "data", lambda scales, store: "")
    return run


def test_a_book_is_made_of_executed_notebooks(commands, tmp_path):
    front = book.build(
        "smoke", folder=tmp_path / "book", strict=True, processes=1, repository=REPOSITORY
    )
    assert front == tmp_path / "book" / "_build" / "html" / "index.html"
    assert commands[0][1:] == ["build", str(tmp_path / "book"), "-n", "-W", "--keep-going"]
    page = nbformat.read(tmp_path / "book" / "figures" / "fig18.ipynb", as_version=4)
    heading = page.cells[0].source
    assert heading.startswith("(fig18)=\n# Figure 18. ")
    assert ":::{admonition} Scale: *smoke*" in heading
    assert "- **Scope:** MLP at a tenth of the width" in heading
    assert "    papermill notebooks/fig2_sgd_walk.ipynb out.ipynb -p scale smoke -p model mlp" in (
        heading
    )
    assert f"({REPOSITORY}/blob/main/notebooks/fig2_sgd_walk.ipynb)" in heading
    binder = "https://mybinder.org/v2/gh/owner/name/main?labpath=notebooks%2Ffig2_sgd_walk.ipynb"
    assert f"[open in Binder]({binder})" in heading
    assert "colab.research.google.com/github/owner/name/blob/main/notebooks/fig2" in heading
    (drawn,) = [c for c in page.cells if "figure" in c.metadata.get("tags", [])]
    assert drawn.outputs
    assert re.fullmatch(
        r"\*Executed\* 20\d\d-\d\d-\d\d \d\d:\d\d UTC in \d+ s; papermill [\d.]+, valleywalk .*\.",
        page.cells[-1].source,
    )
    assert drawn.metadata["mystnb"]["figure"]["name"] == "fig18-figure"
    assert not (tmp_path / "book" / "figures" / "fig18.md").exists()
    settings = yaml.safe_load((tmp_path / "book" / "_config.yml").read_text())
    assert settings["repository"]["url"] == REPOSITORY
    assert settings["html"]["use_issues_button"] is True
    assert (tmp_path / "book" / "ledger.md").read_text(encoding="utf-8")


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


def test_a_rendering_that_fails_is_said(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(book, "_render", lambda command: 1)
    monkeypatch.setattr(book, "ITEMS", {"fig28": ITEMS["fig28"]})
    with pytest.raises(book.BookError, match="jupyter-book failed"):
        book.build("smoke", folder=tmp_path / "book", processes=1)
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


def test_the_explorer_holds_the_numbers_of_the_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "EXPLORED", ("fig18",))
    store = Store(tmp_path)
    text = explorer.data({"fig18": "smoke"}, store)
    (content,) = re.findall(r">(\[.*\])</script>", text)
    assert "<" not in content
    (walk,) = json.loads(content)
    (experiment,) = ITEMS["fig18"].experiments("smoke")
    trace = store.get(experiment)
    assert walk["name"].startswith("Figure 18. MLP on MNIST")
    assert walk["loss"][1] == pytest.approx(trace["loss"].values[1].tolist(), rel=1e-6)
    assert walk["cosine"][0] is None, "JSON has no NaN"
    assert walk["distance"] == pytest.approx(trace["distance"].values[:4].tolist(), rel=1e-6)
    assert walk["floor"] == [min(segment) for segment in walk["loss"]]


def test_a_notebook_s_parameters_are_checked_without_a_notebook():
    page = check({"scale": "smoke", "In": [], "_hidden": 1, "epoch": 2, "os": re}, StochasticWalk)
    assert (page.scale, page.epoch) == ("smoke", 2)
    with pytest.raises(ParameterError, match=r"did you mean 'epoch'\?.*allowed are batch_size"):
        check({"epok": 2}, StochasticWalk)
    with pytest.raises(ParameterError, match=r"epoch: .*valid integer.* \(given: 'first'\)"):
        check({"epoch": "first"}, StochasticWalk)
