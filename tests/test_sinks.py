"""What a watch tells while it runs: each sink read back by the package that it writes for."""

import copy
import csv
import json
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from valleywalk import analysis, measures, sinks, watch

cross_entropy = nn.functional.cross_entropy
OF_A_SEGMENT = (
    "loss_start", "loss_end", "floor", "height", "barrier", "floor_position", "sharpness",
)  # fmt: skip


def walk(network, images, into, count=4, noted=(), each=lambda step: None, **options):
    """Walk under watch, measure every second segment, note a number after the steps `noted`."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    options = {"steps": 2, "points": 4} | options
    with watch(network, optimizer, cross_entropy, images, sinks=into, **options) as watcher:
        for step in range(count):
            optimizer.zero_grad()
            loss = cross_entropy(network(images[0]), images[1])
            loss.backward()
            optimizer.step()
            each(step)
            if step in noted:
                watcher.note(minibatch_loss=loss.item())
    return watcher.trace


def numbers_of(trace):
    """By step, what sinks are to be told, made of the trace alone."""
    segments = measures.measured_steps(trace)
    loss, along = segments["loss"].values, measures.along_step(trace)
    of_segments = {
        "loss_start": loss[:, 0],
        "loss_end": loss[:, -1],
        "floor": analysis.floor(loss),
        "height": analysis.height(loss),
        "barrier": analysis.barriers(loss).astype(float),
        "floor_position": along["floor_position"].values,
        "sharpness": along["sharpness"].values,
    }
    table = trace.drop_dims(["alpha", "batch"]).to_dataframe()
    for name, values in of_segments.items():
        table.loc[segments["iteration"].values, name] = values
    return [row.dropna().to_dict() for _, row in table.iterrows()]


def same(found, numbers):
    assert found.keys() == numbers.keys()
    # The trace keeps some of them in float32.
    assert found == pytest.approx(numbers, rel=1e-6)


@pytest.fixture
def told():
    """A sink, and what it was called with."""
    calls = []
    return (lambda step, numbers: calls.append((step, numbers))), calls


def test_a_sink_is_told_the_numbers_of_each_step(network, images, told):
    sink, calls = told
    trace = walk(network, images, [sink], count=3, noted={2})
    assert [step for step, _ in calls] == [0, 1, 2, 2]
    first, second, third = numbers_of(trace)
    assert third.keys() - second.keys() >= {*OF_A_SEGMENT, "step_length"}
    assert third.keys() - first.keys() == {"cosine", "minibatch_loss"}
    assert second.keys() == {"learning_rate", "cosine", "distance", "parameter_norm"}
    same(calls[0][1], first)
    same(calls[1][1], second)
    assert calls[3][1].keys() == {"minibatch_loss"}, "a note comes alone, after the step"
    same(calls[2][1] | calls[3][1], third)
    assert {type(number) for _, numbers in calls for number in numbers.values()} == {float}


def test_numbers_of_a_parabola(landscape):
    """θ² from 1 with η = 0.9: the floor is at α = 1 / 1.8, and the curvature 2."""
    alpha = np.linspace(0, 1, 11)
    _, trace = landscape(lambda theta: (theta**2).sum(), [1.0], 0.9)
    seen = {name: trace[name].values[0] for name in trace if "iteration" in trace[name].dims}
    numbers = sinks.scalars(seen, alpha)
    assert numbers["loss_start"] == 1
    assert numbers["loss_end"] == pytest.approx(0.64)
    assert numbers["floor_position"] == pytest.approx(1 / 1.8)
    assert numbers["sharpness"] == pytest.approx(2)
    assert numbers["height"] == pytest.approx((1 + 0.64) / 2 - numbers["floor"])
    assert numbers["barrier"] == 0
    assert sinks.scalars({"loss": np.array([1.0, 2.0, 1.0])}, alpha[:3])["barrier"] == 1


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ([np.nan, 1.0, np.nan], {"loss_start", "barrier", "sharpness"}),
        ([1.0, 2.0, np.inf], {"sharpness", "floor_position"}),
    ],
)
def test_of_a_diverged_segment_is_told_what_there_is(loss, names):
    numbers = sinks.scalars({"loss": np.array(loss), "distance": 3.0}, np.array([0, 0.5, 1]))
    assert numbers["distance"] == 3
    assert not names & numbers.keys()
    assert not np.isnan(list(numbers.values())).any()


def test_skipped_steps_and_probes_of_one_s_own_are_told(network, images, told):
    sink, calls = told
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    options = {"scaler": scaler, "probes": [lambda step: {"turned": torch.tensor(0.5)}]}
    with watch(network, optimizer, cross_entropy, images, sinks=[sink], **options):
        for factor in (1, float("inf")):
            optimizer.zero_grad()
            scaler.scale(cross_entropy(network(images[0]), images[1]) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
    (_, first), second = calls
    assert (first["turned"], first["skipped"]) == (0.5, 0)
    assert second == (1, {"skipped": 1.0})


def test_a_sink_that_fails_is_named_once_and_dropped(network, images, told):
    """Training, trace and other sinks go on as without it."""
    sink, calls = told
    twin = copy.deepcopy(network)

    class FullDisk:
        asked = 0

        def __call__(self, step, numbers):
            self.asked += 1
            numbers.clear()
            if step == 1:
                raise OSError("no space left")

    failing = FullDisk()
    with pytest.warns(UserWarning, match=r"FullDisk failed at step 1 \(OSError: no space") as said:
        trace = walk(network, images, [failing, sink])
    assert len(said) == 1
    assert failing.asked == 2
    expected = walk(twin, images, [])
    assert trace.drop_attrs().identical(expected.drop_attrs())
    state = twin.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [step for step, _ in calls] == [0, 1, 2, 3]
    for (_, numbers), known in zip(calls, numbers_of(trace), strict=True):
        same(numbers, known)


@pytest.mark.parametrize("given", [lambda step, numbers: None, [5], "walk.csv"])
def test_what_is_no_list_of_sinks_is_refused(network, images, given):
    with pytest.raises(ValueError, match="give a list of sinks, such as"):
        walk(network, images, given)


# CSV ----------------------------------------------------------------------------------------------


def test_csv(network, images, tmp_path, monkeypatch):
    """A row is there as soon as its step is; the training may go to another folder meanwhile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    sink, lines = sinks.CSV("walk.csv"), []

    def each(step):
        monkeypatch.chdir(tmp_path / "elsewhere")
        lines.append(len((tmp_path / "walk.csv").read_text().splitlines()))

    trace = walk(network, images, [sink], count=6, noted={1, 2, 5}, each=each)
    assert lines == [2, 3, 4, 5, 6, 7]
    table = pd.read_csv(tmp_path / "walk.csv", index_col="iteration")
    assert table.index.tolist() == list(range(6))
    for (_, row), numbers in zip(table.iterrows(), numbers_of(trace), strict=True):
        same(row.dropna().to_dict(), numbers)
    with (tmp_path / "walk.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["height"] == ""
    assert float(rows[2]["distance"]) == pytest.approx(trace["distance"].values[2])


def test_more_numbers_of_the_last_step_join_its_row(tmp_path):
    sink = sinks.CSV(tmp_path / "walk.csv")
    for step, numbers in (
        (0, {"a": 0.125}),
        (0, {"a": 3}),
        (1, {"a": 0.25}),
        (1, {"a": 4, "b": 5}),
    ):
        sink(step, numbers)
    assert (tmp_path / "walk.csv").read_text() == "iteration,a,b\n0,3,\n1,4,5\n"


def test_csv_replaces_nothing(tmp_path):
    (tmp_path / "walk.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"is there already; name another file, or remove it"):
        sinks.CSV(tmp_path / "walk.csv")
    with pytest.raises(ValueError, match="there is no folder"):
        sinks.CSV(tmp_path / "nowhere" / "walk.csv")


# Loggers ------------------------------------------------------------------------------------------


def test_tensorboard(network, images, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    sink = sinks.TensorBoard(tmp_path)
    trace = walk(network, images, [sink], noted={1})
    read = accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    found = [{} for _ in trace["iteration"]]
    for tag in read.Tags()["scalars"]:
        for event in read.Scalars(tag):
            found[event.step][tag.removeprefix("valleywalk/")] = event.value
    for row, numbers in zip(found, numbers_of(trace), strict=True):
        same(row, numbers)
    assert {tag.split("/")[0] for tag in read.Tags()["scalars"]} == {"valleywalk"}
    sink.writer.close()


def test_a_writer_that_is_there_is_written_to(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    board = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(board)
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_scalar("mine", 1.0, 0)
        sinks.TensorBoard(writer)(3, {f"number_{i}": i for i in range(300)})
        # All is on disk as soon as the step is over.
        read = accumulator.EventAccumulator(str(tmp_path))
        read.Reload()
    assert len(read.Tags()["scalars"]) == 301


@pytest.fixture
def wandb_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with wandb.init(mode="offline", project="walks", dir=tmp_path) as run:
            yield run


def messages(path):
    """What a run's file holds: LevelDB's log format, after a header of 7 bytes."""
    content, at, message = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while at + 7 <= len(content):
        if (left := 2**15 - at % 2**15) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        at += 7 + length
        if at > len(content):
            return  # the end of the last one is still to be written
        message += content[at - length : at]
        # Whole, first, middle, last.
        if kind in (1, 4):
            yield message
            message = b""


def rows_of(run):
    """The rows of the history of an offline run, from its file."""
    from wandb.proto.wandb_internal_pb2 import Record

    run.finish()
    began, kinds = time.monotonic(), []
    # It is written on for a moment, by another process.
    while "exit" not in kinds and time.monotonic() - began < 20:
        records = [Record.FromString(each) for each in messages(Path(run.settings.sync_file))]
        kinds = [record.WhichOneof("record_type") for record in records]
    rows = []
    for record, kind in zip(records, kinds, strict=True):
        if kind == "history":
            row = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            rows.append({n: json.loads(v) for n, v in row.items() if not n.startswith("_")})
    return rows


def own(rows):
    """Those with numbers of ours, without the prefix."""
    ours = [
        {n.removeprefix("valleywalk/"): v for n, v in row.items() if n.startswith("valleywalk/")}
        for row in rows
    ]
    return [row for row in ours if row]


@pytest.mark.parametrize(
    ("logging", "by_step"),
    [("nothing", False), ("rows", False), ("nothing", True), ("by step", True)],
)
def test_weights_and_biases(network, images, wandb_run, logging, by_step):
    """Nothing is lost of what somebody else logs to the same run, nor of ours or notes."""

    def each(step):
        if logging == "rows":
            wandb_run.log({"mine": step})
        elif logging == "by step":
            wandb_run.log({"mine": step}, step=step)

    sink = sinks.WeightsAndBiases(by_step=by_step)
    assert sink.run is wandb_run
    trace = walk(network, images, [sink], noted={1}, each=each)
    rows = rows_of(wandb_run)
    found = [{} for _ in trace["iteration"]]
    for row in own(rows):
        found[row["iteration"]] |= row
    for step, (row, numbers) in enumerate(zip(found, numbers_of(trace), strict=True)):
        same(row, numbers | {"iteration": step})
    assert len(own(rows)) == (4 if by_step else 5), "a note is a row of its own, but for by_step"
    mine = [row for row in rows if "mine" in row]
    assert [row["mine"] for row in mine] == ([] if logging == "nothing" else [0, 1, 2, 3])
    if by_step:
        assert all(row["valleywalk/iteration"] == row["mine"] for row in mine)


@pytest.fixture
def mlflow_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"file:{tmp_path}/runs")
    with mlflow.start_run() as run:
        yield run
    mlflow.set_tracking_uri(None)


def test_mlflow(network, images, mlflow_run):
    import mlflow

    trace = walk(network, images, [sinks.MLflow()], noted={1})
    client, run = mlflow.MlflowClient(), mlflow_run.info.run_id
    found = [{} for _ in trace["iteration"]]
    for name in client.get_run(run).data.metrics:
        for metric in client.get_metric_history(run, name):
            found[metric.step][name.removeprefix("valleywalk/")] = metric.value
    for row, numbers in zip(found, numbers_of(trace), strict=True):
        same(row, numbers)
    assert sinks.MLflow("another").run_id == "another"


@pytest.mark.parametrize(
    ("sink", "package", "said"),
    [
        (sinks.WeightsAndBiases, "wandb", r"no run of wandb is active; call wandb\.init"),
        (sinks.MLflow, "mlflow", r"no run of MLflow is active; call mlflow\.start_run"),
    ],
)
def test_without_a_run_it_is_said_at_once(sink, package, said):
    pytest.importorskip(package)
    with pytest.raises(ValueError, match=said):
        sink()


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [
        (lambda: sinks.TensorBoard("runs"), "torch.utils.tensorboard", "tensorboard"),
        (sinks.WeightsAndBiases, "wandb", "wandb"),
        (sinks.MLflow, "mlflow", "mlflow"),
    ],
)
def test_what_to_install_is_said(monkeypatch, tmp_path, make, module, package):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"{package} is not installed .*: pip install {package}"):
        make()
