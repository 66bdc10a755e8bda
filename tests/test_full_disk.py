"""A disk that becomes full, or cannot be written to, at any point of a walk."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import made
import pytest

from valleywalk import Experiment, Resources, Store, WalkError, compute, open_trace, save, walk
from valleywalk.book import recorded
from valleywalk.cli import main
from valleywalk.paper.items import ITEMS
from valleywalk.walks.checkpoint import load_checkpoint, save_checkpoint

resource = pytest.importorskip("resource", reason="needs POSIX limits")

FIELDS = made.FIELDS | {"epochs": 3}
STEPS = 9
WALK = ["walk", "--model", "mlp", "--dataset", "mnist5k"]


def limit(size):
    """No file may become larger; -1: as large as before. Writes fail as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else hard, hard))


@contextmanager
def full(size=0):
    limit(size)
    try:
        yield
    finally:
        limit(-1)


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after each epoch, however quick."""
    monkeypatch.setattr(sys.modules["valleywalk.walks.checkpoint"], "FIRST_COST", 0.0)
    monkeypatch.setattr(sys.modules["valleywalk.walks.checkpoint"], "CHEAP", 0.0)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache", tmp_path / "recorded")


@pytest.fixture(scope="module")
def whole():
    return walk(Experiment(**FIELDS), progress=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("size", [0, 100, 4_000, 20_000])
def test_a_trace_that_finds_no_room_is_named_and_the_one_before_is_kept(whole, tmp_path, size):
    file = tmp_path / "walk.nc"
    with full(size), pytest.raises(OSError, match=r"walk\.nc cannot be written .*; make room"):
        save(whole, file)
    assert names(tmp_path) == []
    save(whole, file)
    before = file.read_bytes()
    assert len(before) > size
    with full(size), pytest.raises(OSError, match=r"File too large\); the one before is kept"):
        save(whole, file)
    assert file.read_bytes() == before
    assert names(tmp_path) == ["walk.nc"]


@pytest.mark.parametrize("size", [0, 100])
def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path, size, whole):
    file = tmp_path / "walk.checkpoint"
    save_checkpoint(file, {}, {"number": 1}, {})
    with full(size), pytest.raises(OSError, match=r"walk\.checkpoint cannot .* before is kept"):
        save_checkpoint(file, {}, {"number": 2}, {})
    assert load_checkpoint(file, {})[1] == {"number": 1}
    assert names(tmp_path) == ["walk.checkpoint"]


# Before the first checkpoint, at the second one, at the last one.
@pytest.mark.parametrize(("step", "left"), [(2, STEPS), (5, 6), (STEPS, 3)])
def test_a_walk_goes_on_when_there_is_room_again(store, often, whole, step, left):
    experiment, seen = Experiment(**FIELDS), []

    def fill():
        seen.append(1)
        if len(seen) == step:
            limit(1000)

    with full(-1), pytest.raises(OSError, match="cannot be written"):
        store.get(experiment, progress=fill)
    kept = [] if left == STEPS else [f"{experiment.hash}.checkpoint"]
    assert names(store.folder) == kept
    seen.clear()
    trace = store.get(experiment, progress=lambda: seen.append(1))
    assert len(seen) == left
    assert trace.drop_attrs().identical(whole.drop_attrs())
    assert names(store.folder) == [f"{experiment.hash}.nc"]


@pytest.fixture
def at_the_end(monkeypatch):
    """Do something between a walk's end and the writing of its trace, once."""

    def then(do):
        def walk_and_do(*arguments, **options):
            try:
                return walk(*arguments, **options)
            finally:
                monkeypatch.setattr("valleywalk.walks.walk.walk", walk)
                do()

        monkeypatch.setattr("valleywalk.walks.walk.walk", walk_and_do)

    return then


def test_a_finished_walk_whose_trace_finds_no_room_is_not_walked_again(
    store, often, whole, at_the_end
):
    experiment, seen = Experiment(**FIELDS), []
    at_the_end(lambda: limit(1000))
    with full(-1), pytest.raises(OSError, match=r"\.nc cannot be written.*goes on from .*checkp"):
        store.get(experiment, progress=False)
    assert names(store.folder) == [f"{experiment.hash}.checkpoint"]
    trace = store.get(experiment, progress=lambda: seen.append(1))
    assert seen == []
    assert trace.drop_attrs().identical(whole.drop_attrs())
    assert names(store.folder) == [f"{experiment.hash}.nc"]


def test_a_walk_whose_state_finds_no_room_keeps_its_checkpoint(store, often, whole):
    experiment, seen = Experiment(**FIELDS), []

    def fill():
        seen.append(1)
        if len(seen) == STEPS:
            limit(1000)

    with full(-1), pytest.raises(OSError, match=r"cannot be written"):
        store.get(experiment, keep_state=True, progress=fill)
    trace = store.get(experiment, keep_state=True, progress=False)
    assert trace.drop_attrs().identical(whole.drop_attrs())
    assert names(store.folder) == [f"{experiment.hash}.nc", f"{experiment.hash}.state"]


def test_what_a_divergent_walk_saw_is_in_its_error_when_no_file_takes_it(store, at_the_end):
    at_the_end(lambda: limit(1000))
    experiment = Experiment(**FIELDS | {"learning_rate": 1e20})
    message = r"the loss became .* cannot be kept: .*diverged\.nc cannot be written"
    with full(-1), pytest.raises(WalkError, match=message) as caught:
        store.get(experiment, progress=False)
    assert len(caught.value.trace["iteration"]) >= 1
    assert names(store.folder) == []


def test_a_pool_names_the_file_that_found_no_room(store):
    with full(1000), pytest.raises(RuntimeError, match=r"1 of 1 walks failed:\n.*File too large"):
        compute([Experiment(**FIELDS)], store, Resources(processes=1), progress=False)
    assert names(store.folder) == []


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or mount(folder, "size=2m"):
        pytest.skip("cannot mount a disk here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def mount(folder, options):
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


def fill(folder, *, but=0):
    with (folder / "filler").open("wb", buffering=0) as stream:
        stream.write(bytes(shutil.disk_usage(folder).free - but))


@pytest.mark.parametrize("free", [0, 4096, 16384])
def test_a_disk_that_becomes_full(disk, often, whole, free, at_the_end):
    store, experiment, seen = Store(disk / "cache", disk / "recorded"), Experiment(**FIELDS), []
    at_the_end(lambda: fill(disk, but=free))
    with pytest.raises(OSError, match=r"\.nc cannot be written \(No space left.*asked for again"):
        store.get(experiment, progress=False)
    assert names(store.folder) == [f"{experiment.hash}.checkpoint"]
    (disk / "filler").unlink()
    trace = store.get(experiment, progress=lambda: seen.append(1))
    assert seen == []
    assert trace.drop_attrs().identical(whole.drop_attrs())
    assert open_trace(store.find(experiment), experiment.hash)


def test_too_little_room_is_said_before_the_walk(disk, monkeypatch):
    store = Store(disk / "cache", disk / "recorded")
    fill(disk, but=16384)
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    with pytest.raises(OSError, match=r"need some 0\.\d+ MB, of which .*cache has 0\.\d+; make"):
        store.get(Experiment(**FIELDS), progress=False)


def test_a_disk_that_cannot_be_written_to(disk, monkeypatch):
    store = Store(disk / "cache", disk / "recorded")
    store.folder.mkdir()
    assert mount(disk, "remount,ro") == 0
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    with pytest.raises(OSError, match=r"kept in .*cache \(Read-only file system\).*another folder"):
        store.get(Experiment(**FIELDS), progress=False)


@pytest.mark.parametrize("command", [["figure", "fig1"], WALK])
def test_an_output_that_cannot_be_written_to(disk, monkeypatch, command):
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    assert mount(disk, "remount,ro") == 0
    with pytest.raises(SystemExit, match=r"out\.png cannot be written \(Read-only file system\)"):
        main([*command, "--output", str(disk / "out.png")])


def test_a_picture_that_finds_no_room(tmp_path):
    file = tmp_path / "out.png"
    file.write_text("before")
    given = ["figure", "fig28", "--overwrite", "--output", str(file)]
    main(given)
    drawn = file.read_bytes()
    assert len(drawn) > 1000
    with full(1000), pytest.raises(SystemExit, match=r"out\.png cannot .*the one before is kept"):
        main(given)
    assert file.read_bytes() == drawn
    assert names(tmp_path) == ["out.png"]


def test_a_walk_that_finds_no_room_among_the_recorded_ones(tmp_path, monkeypatch):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    (experiment,) = ITEMS["fig18"].experiments("smoke")
    trace = store.get(experiment, progress=False).assign_attrs(git_commit="0123456789ab")
    save(trace, store.find(experiment))
    store.recorded.mkdir()
    (store.recorded / "README.md").write_text("before")
    kept = rf"{experiment.hash}\.nc cannot be written \(File too large\); make room"
    with full(1000), pytest.raises(OSError, match=kept):
        recorded.record(("smoke",), store)
    assert names(store.recorded) == ["README.md"]
    introduction = recorded.INTRODUCTION
    monkeypatch.setattr(recorded, "INTRODUCTION", "x" * 60_000)
    with full(50_000), pytest.raises(OSError, match=r"README\.md cannot .*the one before is kept"):
        recorded.record(("smoke",), store)
    monkeypatch.setattr(recorded, "INTRODUCTION", introduction)
    assert (store.recorded / "README.md").read_text() == "before"
    assert store.get(experiment).identical(trace)
    recorded.record(("smoke",), store)
    assert experiment.hash in (store.recorded / "README.md").read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_folder_for_what_is_no_folder(tmp_path):
    (tmp_path / "cache").symlink_to("/dev/full")
    with pytest.raises(OSError, match="traces cannot be kept in"):
        Store(tmp_path / "cache").get(Experiment(**FIELDS), progress=False)
