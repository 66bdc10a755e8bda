"""Each notebook runs with papermill, and refuses wrong parameters before any work."""

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from valleywalk.folders import checkout
from valleywalk.paper import SpectralParameters, WalkParameters
from valleywalk.quadratic import QuadraticParameters

NOTEBOOKS = sorted((checkout() / "notebooks").glob("*.ipynb"))
WALKS = [path for path in NOTEBOOKS if path.stem.endswith("_walk")]
MODELS = {
    "fig3_spectral_norm": SpectralParameters,
    "fig28_quadratic": QuadraticParameters,
}
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
    fields = MODELS.get(path.stem, WalkParameters).model_fields
    assert set(inferred) == set(fields)
    for name, parameter in inferred.items():
        assert parameter["help"], f"{name} has no help"
        assert parameter["inferred_type_name"] in ("str", "int", "float", "list")
        default = fields[name].default
        assert parameter["default"].strip('"') == str(default)


@pytest.mark.parametrize("path", WALKS, ids=lambda path: path.stem)
def test_a_walk_notebook_draws_its_figure(path, tmp_path):
    notebook = execute(path, tmp_path, scale="smoke", model="mlp", traces=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert "Provenance." in shown
    assert "| mean height above the floor | " in shown
    assert len(list(tmp_path.glob("*.nc"))) == 1


def test_the_spectral_notebook(tmp_path):
    path = checkout() / "notebooks" / "fig3_spectral_norm.ipynb"
    notebook = execute(path, tmp_path, scale="smoke", model="mlp", traces=str(tmp_path))
    shown = str(notebook.cells)
    assert "image/png" in shown
    assert "Provenance." in shown
    assert "largest relative residual" in shown


def test_the_quadratic_s_notebook(tmp_path):
    path = checkout() / "notebooks" / "fig28_quadratic.ipynb"
    notebook = execute(path, tmp_path, eigenvalues=[0.1, 2.0], learning_rate=0.9)
    shown = str(notebook.cells)
    assert "image/png" in shown
    assert "| 2 | under-damped | 0.8 | 0.8 |" in shown


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"learning_rte": 0.2}, "did you mean 'learning_rate'"), ({"epoch": "first"}, "epoch: ")],
)
def test_wrong_parameters_fail_in_the_first_cell(tmp_path, parameters, message):
    with pytest.raises(PapermillExecutionError, match="ParameterError") as caught:
        execute(NOTEBOOKS[0], tmp_path, **parameters, traces=str(tmp_path / "traces"))
    assert message in caught.value.evalue
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_sources_have_no_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
