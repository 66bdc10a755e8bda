"""A trace that is streamed to a file: whole at each moment, whatever becomes of the process."""

import copy
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from valleywalk import open_stream, open_trace, save, watch
from valleywalk.trace import TraceError

cross_entropy = nn.functional.cross_entropy


def walk(network, images, path, count=4, noted=(), each=lambda watcher: None, **options):
    """Walk under watch, measure every second segment, note a number after the steps `noted`."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    options = {"steps": 2, "points": 4, "batch_size": 16} | options
    watcher = watch(network, optimizer, cross_entropy, images, stream=path, **options)
    with watcher:
        for step in range(count):
            optimizer.zero_grad()
            loss = cross_entropy(network(images[0]), images[1])
            loss.backward()
            optimizer.step()
            if step in noted:
                watcher.note(minibatch_loss=loss.item())
            each(watcher)
    return watcher


def as_of_now(trace, found):
    """The trace of the watch, with the wall time at which the file's last line was written."""
    assert 0 <= found.attrs["wall_seconds"] <= trace.attrs["wall_seconds"]
    return trace.assign_attrs(wall_seconds=found.attrs["wall_seconds"])


def test_after_each_step_the_stream_is_the_trace(network, images, tmp_path, monkeypatch):
    """Bit for bit: NaNs, flags, notes, numbers of probes; wherever the training goes."""
    monkeypatch.chdir(tmp_path)
    path, compared = tmp_path / "walk.jsonl", []

    def each(watcher):
        monkeypatch.chdir("/")
        found = open_stream(path)
        xr.testing.assert_identical(found, as_of_now(watcher.trace, found))
        compared.append(found.sizes["iteration"])

    probes = [lambda step: {"tensor": torch.tensor(step.iteration / 3), "wall_seconds": 7}]
    options = {"tolerance": 0.02, "points": 10, "probes": probes}
    watcher = walk(network, images, "walk.jsonl", 6, {1, 4}, each, **options)
    assert compared == [1, 2, 3, 4, 5, 6]
    assert watcher.trace["batch_images"].values.tolist() == [16, 16, 8]
    watcher.note(my_mark=2.0)
    found = open_stream(path)
    xr.testing.assert_identical(found, as_of_now(watcher.trace, found))
    save(found, tmp_path / "walk.nc")
    xr.testing.assert_identical(open_trace(tmp_path / "walk.nc"), found)


def test_skipped_steps_and_restored_ones_are_in_it(network, images, tmp_path):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    arguments, state = (network, optimizer, cross_entropy, images), ()
    for name in ("first", "second"):
        watcher = watch(*arguments, scaler=scaler, stream=tmp_path / name)
        with watcher:
            if state:
                watcher.restore(*state)
            for factor in (1, float("inf")):
                optimizer.zero_grad()
                scaler.scale(cross_entropy(network(images[0]), images[1]) * factor).backward()
                scaler.step(optimizer)
                scaler.update()
        state = watcher.state()
    found = open_stream(tmp_path / "second")
    assert found["skipped"].values.tolist() == [0, 1, 0, 1]
    xr.testing.assert_identical(found, as_of_now(watcher.trace, found))


TRAINING = """
import sys
import torch
from torch import nn
from valleywalk.watch import watch
torch.manual_seed(0)
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
inputs, targets = torch.randn(8, 3), torch.randint(0, 2, (8,))
with watch(model, optimizer, nn.functional.cross_entropy, (inputs, targets), stream=sys.argv[1]):
    for step in range(10**9):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        print(step, flush=True)
"""


def test_a_killed_process_loses_at_most_its_last_step(tmp_path):
    path = tmp_path / "walk.jsonl"
    command = [sys.executable, "-c", TRAINING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        # It is read while it grows.
        while (said := process.stdout.readline()) != "60\n":
            assert said, "the training ended"
        assert open_stream(path).sizes["iteration"] >= 60
        process.send_signal(signal.SIGKILL)
        whole_lines, _, _ = process.stdout.read().rpartition("\n")
        last = int(["60", *whole_lines.splitlines()][-1])
    assert process.returncode == -signal.SIGKILL
    trace = open_stream(path)
    assert trace.sizes["iteration"] - 1 in (last, last + 1)
    assert np.isfinite(trace["loss"]).all()
    assert (np.diff(trace["loss"].values[:, 0]) < 0).all()


def test_wherever_a_line_is_cut_off_the_lines_before_it_are_there(network, images, tmp_path):
    path = tmp_path / "walk.jsonl"
    trace = walk(network, images, path, 3).trace
    content = path.read_bytes()
    begins = [0, *(i + 1 for i, byte in enumerate(content) if byte == ord("\n"))]
    assert len(begins) == 5
    for count, (begin, end) in enumerate(pairwise(begins[1:])):
        for cut in (begin, begin + 1, (begin + end) // 2, end - 1):
            path.write_bytes(content[:cut])
            found = open_stream(path)
            assert found.sizes["iteration"] == count
            if count:
                assert found["loss"].identical(trace["loss"].isel(iteration=slice(count)))
    path.write_bytes(content[: begins[1] - 1])
    with pytest.raises(TraceError, match="is no stream of a watch, or damaged: line 1"):
        open_stream(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"no JSON", "damaged: line 3"),
        (b"5", "damaged: line 3"),
        (b'{"seen": {}}', "damaged"),
        (b'{"iteration": 9, "seen": {}}', "iteration 9 follows 0"),
        (b'{"iteration": 1, "seen": {"loss": [1.0, 2.0]}}', "damaged"),
        (b'{"iteration": 1, "seen": {"cosine": "high"}}', "damaged"),
        (b'{"iteration": 1, "seen": 5}', "damaged"),
        (b"[" * 10**5, "damaged"),
    ],
    ids=str,
)
def test_what_is_no_stream_is_said(network, images, tmp_path, line, said):
    path = tmp_path / "walk.jsonl"
    walk(network, images, path, 1)
    with path.open("ab") as file:
        file.write(line[:60_000] + b"\n")
    with pytest.raises(TraceError, match=said):
        open_stream(path)


def test_other_files_are_told_apart(network, images, tmp_path):
    path = tmp_path / "walk.jsonl"
    trace = walk(network, images, path, 1).trace
    with pytest.raises(TraceError, match="is the stream of a watch: open it with open_stream"):
        open_trace(path)
    save(trace, tmp_path / "walk.nc")
    for content in ((tmp_path / "walk.nc").read_bytes(), b"", b'{"schema": "other"}\n'):
        path.write_bytes(content)
        with pytest.raises(TraceError, match="is no stream of a watch"):
            open_stream(path)
    path.write_bytes(b'{"schema": "valleywalk-stream", "schema_version": 2}\n')
    with pytest.raises(TraceError, match="of version 2, this is 1"):
        open_stream(path)


def test_what_is_there_is_refused_at_once_and_kept(network, images, tmp_path):
    path = tmp_path / "walk.jsonl"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"walk\.jsonl is there already; name another file, or re"):
        walk(network, images, path)
    assert path.read_text() == "mine"


def test_a_watch_that_is_not_entered_makes_no_file(network, images, tmp_path):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watch(network, optimizer, cross_entropy, images, stream=tmp_path / "walk.jsonl")
    assert not list(tmp_path.iterdir())


def take_away(path):
    path.unlink()


def fill_disk(path):
    path.unlink()
    path.symlink_to("/dev/full")


def leave_room_for_half_a_line(path):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, most))


@contextmanager
def file_sizes_put_back():
    """Before pytest writes of the test, perhaps to a file that is larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fail", [take_away, fill_disk, leave_room_for_half_a_line])
def test_a_stream_that_fails_disturbs_nothing(network, images, tmp_path, fail):
    twin, path = copy.deepcopy(network), tmp_path / "walk.jsonl"

    def each(watcher):
        if watcher.iteration == 2:
            fail(path)

    failed = pytest.warns(UserWarning, match="Stream failed at step 2")
    with file_sizes_put_back(), failed as said:
        trace = walk(network, images, path, each=each).trace
    assert len(said) == 1
    if fail is leave_room_for_half_a_line:
        assert open_stream(path)["loss"].identical(trace["loss"][:2])
    else:
        assert not path.is_file()
    assert trace.drop_attrs().identical(walk(twin, images, None).trace.drop_attrs())
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
