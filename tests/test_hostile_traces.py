"""Trace files that others made: a whole one opens, any other is refused with what is wrong."""

import json

import h5py
import numpy as np
import pytest
from made import SAID

from valleywalk import Experiment, Store, TraceError, open_trace, provenance, save
from valleywalk.trace import ALWAYS_PROBED, OF_A_WALK, assemble, sealed

EXPERIMENT = Experiment(model="mlp", dataset="mnist5k")
STEPS = [{"loss": [3.0, 1.0, 2.0], "cosine": 0.5, "distance": 1.0}] * 2


def made(**attributes):
    said = SAID | {
        "experiment": EXPERIMENT.model_dump_json(),
        "experiment_hash": EXPERIMENT.hash,
    }
    return assemble(STEPS, np.linspace(0, 1, 3), attributes=said | attributes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / f"{EXPERIMENT.hash}.nc"


def refused(path, trace, said):
    save(trace, path)
    before = path.read_bytes()
    with pytest.raises(TraceError, match=said):
        open_trace(path)
    assert path.read_bytes() == before


def test_a_whole_one_opens(path):
    save(made(), path)
    assert open_trace(path).identical(made())
    assert EXPERIMENT.hash in provenance(open_trace(path))


@pytest.mark.parametrize("name", OF_A_WALK)
def test_an_attribute_that_is_not_there_or_of_another_kind(path, name):
    other = 1.5 if OF_A_WALK[name] is str else "many"
    for value in (other, np.array([1.0, 2.0])):
        refused(path, made(**{name: value}), f"attribute '{name}' is .*, not a ")
    if name == "experiment":
        return  # Without, it is a trace of another loop.
    trace = made()
    del trace.attrs[name]
    refused(path, trace, f"attribute '{name}' is None, not a ")


@pytest.mark.parametrize("name", ["git_commit", "platform"])
def test_what_every_trace_says(path, name):
    trace = assemble(STEPS, np.linspace(0, 1, 3))
    del trace.attrs[name]
    refused(path, trace, f"attribute '{name}' is None, not a text")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_time_that_is_none(path, value):
    refused(path, made(wall_seconds=value), "attribute 'wall_seconds' is .*, not a number")


@pytest.mark.parametrize(
    "versions",
    ["", "{}", "[]", '["torch", "valleywalk"]', '{"torch": "2"}', "null", 3, "[" * 100_000],
)
def test_versions_that_are_none(path, versions):
    for trace in (made(), assemble(STEPS, np.linspace(0, 1, 3))):
        refused(path, trace.assign_attrs(versions=versions), "not say the versions of torch and")
    trace = made()
    del trace.attrs["versions"]
    refused(path, trace, "does not say the versions")


@pytest.mark.parametrize("name", [*ALWAYS_PROBED, "alpha", "iteration"])
def test_a_walk_without_a_variable(path, name):
    refused(path, made().drop_vars(name), f"has no variable '{name}'")


def test_dimensions_of_others(path):
    trace = made()
    trace["distance"] = ("alpha", np.zeros(3))
    refused(path, trace, r"distance is along \('alpha',\), not \('iteration',\)")
    trace = made()
    trace["loss"] = (("alpha", "iteration"), np.zeros((3, 2)))
    refused(path, trace, "loss is along")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "experiment cannot be read"),
        ("no JSON", "experiment cannot be read"),
        ("[" * 100_000, "experiment cannot be read"),
        (EXPERIMENT.model_dump_json().replace("mlp", "vgg99"), "cannot be read"),
        (EXPERIMENT.model_copy(update={"seed": 7}).model_dump_json(), "settings of another"),
    ],
)
def test_settings_of_another_experiment(path, text, said):
    save(made(experiment=text), path)
    with pytest.raises(TraceError, match=said):
        Store(path.parent).open(EXPERIMENT)


def test_a_trace_that_no_watch_made_has_no_provenance():
    with pytest.raises(TraceError, match="does not say how it was made: it has no cosine_of"):
        provenance(assemble(STEPS, np.linspace(0, 1, 3)))


# What HDF5 can hold -------------------------------------------------------------------------------


def fill(name, *shape, **options):
    return lambda file: file.create_dataset(name, shape, "f8", **options)


def another_file(file):
    (file_name := file.filename + ".other")
    with open(file_name, "wb") as stream:
        stream.write(b"not to be told")
    file.create_dataset("loss", (1,), "f8", external=[(file_name, 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((10**11,), "f8")
    file.create_virtual_dataset("loss", layout)


@pytest.mark.parametrize(
    ("add", "said"),
    [
        (fill("loss", 20 * 2**30, chunks=(2**20,), compression="gzip"), "unpacks to 172 GB"),
        (fill("iteration", 20 * 2**30, chunks=(2**20,)), "unpacks to 172 GB"),
        (fill("loss", 10**6, 10**6, 10**6, chunks=(99, 99, 99)), "unpacks to"),
        (fill("loss", 1, chunks=(2**28,), maxshape=(None,)), "unpacks to 2.15 GB"),
        (fill("loss", 10**7, chunks=(10**6,), compression="gzip"), "unpacks to 0.08 GB"),
        (another_file, "loss is no array of numbers"),
        (virtual, "loss is no array of numbers"),
        (lambda file: file.create_group("loss"), "loss is no array of numbers"),
        (lambda file: file.create_dataset("loss", data="text"), "loss is no array of numbers"),
        (lambda file: file.create_dataset("loss", data=h5py.Empty("f8")), "no array of numbers"),
        (lambda file: file.create_dataset("t", data=np.void(b"x")), "t is no array of numbers"),
        (lambda file: file.__setitem__("x", h5py.SoftLink("/nowhere")), "x is no array of num"),
        (lambda file: file.__setitem__("x", h5py.ExternalLink("o.h5", "/")), "x is no array of"),
        (lambda file: file.__setitem__("x", file["/"]), "x is no array of numbers"),
        (lambda file: None, "is no trace of valleywalk"),
    ],
)
def test_what_no_trace_holds_is_not_unpacked(tmp_path, add, said):
    path = tmp_path / "walk.nc"
    with h5py.File(path, "w") as file:
        add(file)
    path.write_bytes(sealed(path.read_bytes()))
    with pytest.raises(TraceError, match=f"is no trace of valleywalk.*{said}|{said}"):
        open_trace(path)


def test_traces_of_any_length_and_density_open(tmp_path):
    """All that is measured is nought, or is not there: nothing is packed denser."""
    for value in (0.0, np.nan):
        step = {"loss": np.full(11, value), "cosine": value, "distance": value, "own": value}
        trace = assemble([step] * 20_000, np.linspace(0, 1, 11))
        save(trace, tmp_path / "walk.nc")
        assert open_trace(tmp_path / "walk.nc").identical(trace)


def test_units_of_time_are_not_counted_in(tmp_path):
    trace = assemble([{"own": 3.0}], np.linspace(0, 1, 3))
    trace["own"].attrs["units"] = "days since 2000-01-01"
    save(trace, tmp_path / "walk.nc")
    assert open_trace(tmp_path / "walk.nc")["own"].values.tolist() == [3.0]


def test_versions_are_those_of_the_environment():
    assert {"torch", "valleywalk"} <= {*json.loads(made().attrs["versions"])}
