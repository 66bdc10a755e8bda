"""Each notebook runs with papermill, and refuses wrong parameters before any work."""

import ast
import re
import shlex

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import papermill
import pytest
from papermill.cli import _resolve_type
from papermill.exceptions import PapermillExecutionError

from valleywalk import Store
from valleywalk.book.build import scale_of
from valleywalk.book.notebook import check
from valleywalk.book.prose import said
from valleywalk.folders import checkout
from valleywalk.markdown import plain, with_minus
from valleywalk.paper.items import ITEMS

PAGES = {item.page.notebook: item.page for item in ITEMS.values()}
# What the book shows of these is recorded; twin walks anew.
WALKED = [item for item in ITEMS.values() if item.experiments("smoke") and item.name != "twin"]
NOTEBOOKS = sorted((checkout() / "notebooks").glob("*.ipynb"))
ids = [path.stem for path in NOTEBOOKS]


def execute(path, tmp_path, **parameters):
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        path, out, parameters=parameters, kernel_name="python3", progress_bar=False
    )
    return nbformat.read(out, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_parameters_are_documented_and_are_those_of_the_library(path):
    inferred = papermill.inspect_notebook(path)
    fields = PAGES[path.stem].model_fields
    assert set(inferred) == set(fields)
    for name, parameter in inferred.items():
        assert parameter["help"], f"{name} has no help"
        assert parameter["inferred_type_name"] in ("str", "int", "float", "bool", "list")
        assert ast.literal_eval(parameter["default"]) == fields[name].default


# A number or a word that the notebook's table must show.
SHOWN = {
    "fig1_gd_walk": "| mean height above the floor | ",
    "fig2_sgd_walk": "| mean height above the floor | ",
    "fig3_spectral_norm": "largest relative residual",
    "fig4_lr_bs": "change for each doubling of the batch size",
    "fig5_isotropic_noise": "| then SGD | ",
    "fig6_schedules": "| trapezoid − clr | ",
    "fig8_barriers": "| barriers, both, resolved | ",
    "tab1_barriers": "| MLP | 1 | 0 of 450 | ",
    "tab2_height": "| MLP | 0.05 | 1 | not printed | ",
    "appd_noise_structure": "| overlap by chance | ",
    "text_against_code": "| nothing printed |",
    "twin": "| training loss along the segment | ",
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_draws_its_figure(name, tmp_path):
    parameters = {"scale": "smoke", "traces": str(tmp_path)}
    if "models" in PAGES[name].model_fields:
        parameters["models"] = ["mlp"]
    else:
        parameters["model"] = "mlp"
    notebook = execute(checkout() / "notebooks" / f"{name}.ipynb", tmp_path, **parameters)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == 1
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert "Provenance." in shown
    assert SHOWN[name] in shown
    printed = "".join(output.get("text", "") for output in outputs)
    assert "by hand" in printed, "and it agrees with the library's, or the notebook fails"
    page = PAGES[name](**parameters)
    for walked in page.experiments:
        assert f"| `{walked.hash}` | to walk |" in shown, "before it was walked"
    assert len(list(tmp_path.glob("*.nc"))) == len(page.experiments)
    # What the notebook shows is what the library says, from the traces that it kept.
    traces = page.get_traces()
    if name != "twin":
        assert with_minus(page.table(traces)) in shown
        assert with_minus(said(page, traces)) in shown
        assert f"*Provenance.* {plain(page.provenance(traces))}." in shown
    plt.close(page.draw(traces))


@pytest.mark.parametrize("item", WALKED, ids=lambda item: item.name)
def test_by_hand_agrees_on_the_walks_that_the_book_shows(item, tmp_path):
    """With windows of later epochs, steps drawn from an epoch, and points that are read off."""
    store = Store(tmp_path, recorded=checkout() / "data" / "traces")
    page = item.at(scale_of(item, "recorded", store))
    cells = nbformat.read(checkout() / "notebooks" / f"{page.notebook}.ipynb", as_version=4).cells
    (by_hand,) = (cell.source for cell in cells if "(by_hand, library" in cell.source)
    names = {"page": page, "traces": [store.open(each) for each in page.experiments]}
    exec(by_hand, names)
    assert np.isfinite(names["by_hand"]).all(), "what is not a number agrees with anything"


@pytest.mark.parametrize(
    ("name", "alone"), [("fig1_gd_walk", {"iterations": 1}), ("fig4_lr_bs", {"batch_sizes": [10]})]
)
def test_by_hand_agrees_where_there_is_no_number(name, alone, tmp_path):
    parameters = {"scale": "smoke", "model": "mlp", "traces": str(tmp_path), **alone}
    notebook = execute(checkout() / "notebooks" / f"{name}.ipynb", tmp_path, **parameters)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert ": nan by hand, nan by the library" in printed


def test_the_quadratic_s_notebook(tmp_path):
    path = checkout() / "notebooks" / "fig28_quadratic.ipynb"
    notebook = execute(path, tmp_path, eigenvalues=[0.1, 2.0], learning_rate=0.9)
    shown = str(notebook.cells)
    assert "image/svg+xml" in shown
    assert "| 2 | under-damped | 0.8 | 0.8 |" in shown


def test_optimizers_side_by_side(tmp_path):
    path = checkout() / "notebooks" / "optimizers.ipynb"
    small = {
        "scale": "smoke",
        "problems": ["digits", "text"],
        "normalisations": ["layer"],
        "optimizers": ["momentum", "Muon"],
        "learning_rates": [0.1, 0.03],
    }
    notebook = execute(path, tmp_path, **small)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = ["image/svg+xml" in output.get("data", {}) for output in outputs]
    assert sum(pictures) == 2, "of all, and step by step"
    shown = str(notebook.cells)
    assert "4 steps of batch 10, loss on 20 examples" in shown
    page = PAGES["optimizers"](**small)
    rows = with_minus(page.table(page.get_traces())).splitlines()
    # A table a problem; that of text is the last.
    row = [each for each in rows if each.startswith("| Muon, layer norm | 0.03 |")][1]
    assert row in shown, "the same again"
    printed = "".join(output.get("text", "") for output in outputs)
    assert "digits, layer, momentum: " in printed


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"learning_rte": 0.2}, "did you mean 'learning_rate'"),
        ({"epoch": "first"}, "epoch: "),
        (
            {"training_images": 300, "evaluation_images": 400},
            "evaluation_images is 400, but there are only 300 training images",
        ),
    ],
)
def test_wrong_parameters_fail_in_the_first_cell(tmp_path, parameters, message):
    path = checkout() / "notebooks" / "fig1_gd_walk.ipynb"
    with pytest.raises(PapermillExecutionError, match="ParameterError") as caught:
        execute(path, tmp_path, **parameters, traces=str(tmp_path / "traces"))
    assert message in caught.value.evalue
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_what_the_run_shows_follows_the_figure(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    start = cells.index("page.draw(traces);")
    assert cells[start + 1 : start + 4] == [
        "notebook.provenance_line(page, traces)",
        "## What our run shows",
        "notebook.said(page, traces)",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_the_book_shows_the_code_that_computes_by_hand_and_no_other(path):
    cells = nbformat.read(path, as_version=4).cells
    folded = {"setup", "remove-input"}
    (shown,) = [
        cell.source
        for cell in cells
        if cell.cell_type == "code" and not folded & set(cell.metadata.get("tags", []))
    ]
    assert "np.testing.assert_allclose(by_hand, library" in shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_sources_have_no_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_ends_with_its_exercises(path):
    cells = nbformat.read(path, as_version=4).cells
    tagged = ["exercise" in cell.metadata.get("tags", []) for cell in cells]
    count = sum(tagged)
    assert 1 <= count <= 2
    assert all(tagged[-count:])
    for cell in cells[-count:]:
        assert cell.cell_type == "markdown"
        assert cell.source.startswith("## Exercise\n\n**")
        assert not re.search(r"\{(?:ref|doc|eq|term)\}|:::", cell.source), (
            "Jupyter shows these as they stand"
        )


def page_of(command):
    """The page that a papermill command makes: its words are read as papermill reads them."""
    words = shlex.split(command)
    notebook = words[1].removeprefix("notebooks/").removesuffix(".ipynb")
    assert words[0] == "papermill"
    starts = range(3, len(words), 3)
    assert all(words[start] == "-p" for start in starts)
    given = {words[start + 1]: _resolve_type(words[start + 2]) for start in starts}
    return check(given, PAGES[notebook])


@pytest.mark.parametrize("item", ITEMS.values(), ids=lambda item: item.name)
def test_the_command_on_a_page_makes_that_page(item):
    for scale in item.scales:
        assert page_of(item.papermill(scale)) == item.at(scale)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_commands_in_a_notebook_are_accepted(path):
    text = "".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    for command in re.findall(r"`(papermill notebooks/[^`]+)`", text):
        assert page_of(command)
