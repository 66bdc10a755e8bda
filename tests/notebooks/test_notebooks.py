"""Each notebook runs with papermill, and refuses wrong parameters before any work."""

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from valleywalk.folders import checkout
from valleywalk.paper import WalkParameters

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
    assert list(inferred) == list(WalkParameters.model_fields)
    for name, parameter in inferred.items():
        assert parameter["help"], f"{name} has no help"
        assert parameter["inferred_type_name"] in ("str", "int", "float")
        default = WalkParameters.model_fields[name].default
        assert parameter["default"].strip('"') == str(default)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_draws_its_figure(path, tmp_path):
    notebook = execute(path, tmp_path, scale="smoke", model="mlp", traces=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert "Provenance." in shown
    assert "| mean height above the floor | " in shown
    assert len(list(tmp_path.glob("*.nc"))) == 1


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
