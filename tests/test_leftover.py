"""`valleywalk clean` deletes what is left over, and nothing that took long to walk."""

import os
import shutil
import subprocess
import time

import pytest
from made import FIELDS

from valleywalk import Experiment, Store
from valleywalk.cli import main
from valleywalk.files import atomic_path, leftovers
from valleywalk.folders import checkout, datasets_folder
from valleywalk.walks.leftover import IN_USE_SECONDS

DONE, BEGUN, STATE, DIVERGED, ORPHAN = (f"{digit}" * 16 for digit in "abcde")
LEFT = (f".{DONE}.nc.abcd_123.part", f".{BEGUN}.checkpoint.00000000.part")
FINISHED = {f"{DONE}.nc", f"{ORPHAN}.nc", f"{STATE}.state", f"{DIVERGED}.diverged.nc"}
# Looks like ours, and is not.
FOREIGN = {
    "own.nc",
    "notes.md",
    "movie.part",
    ".movie.part",
    f"{DONE}.nc.bak",
    "ABCDEF0123456789.nc",
}


@pytest.fixture
def store():
    store = Store()
    store.folder.mkdir(parents=True)
    store.recorded.mkdir()
    ours = {*LEFT, *FINISHED, f"{BEGUN}.checkpoint", f"{ORPHAN}.checkpoint"}
    for name in ours | FOREIGN:
        put(store.folder / name)
    put(store.recorded / f"{DONE}.nc")
    put(store.recorded / f".{BEGUN}.nc.abcdefgh.part")
    return store


def put(path, seconds=2 * IN_USE_SECONDS):
    path.write_text("some bytes")
    os.utime(path, (time.time() - seconds,) * 2)


def names(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "deleted"),
    [
        ([], {*LEFT, f"{ORPHAN}.checkpoint"}),
        (["--checkpoints"], {*LEFT, f"{ORPHAN}.checkpoint", f"{BEGUN}.checkpoint"}),
        (["--traces"], {*LEFT, f"{ORPHAN}.checkpoint"} | FINISHED),
    ],
)
def test_it_shows_and_with_yes_deletes(store, capsys, flags, deleted):
    before = names(store.folder)
    main(["clean", *flags])
    shown = capsys.readouterr().out
    assert names(store.folder) == before, "it was only shown"
    assert f"{len(deleted) + 1} files to delete with --yes" in shown
    assert all(f"{store.folder / name}  (" in shown for name in deleted)
    main(["clean", *flags, "--yes"])
    assert f"{len(deleted) + 1} files deleted" in capsys.readouterr().out
    assert names(store.folder) == before - deleted
    assert names(store.recorded) == {f"{DONE}.nc"}
    main(["clean", *flags, "--yes"])
    assert "0 files deleted" in capsys.readouterr().out


def test_what_is_in_use_stays(store):
    fresh = store.folder / f".{DONE}.nc.12345678.part"
    put(fresh, seconds=60)
    with store._lock(BEGUN), store._lock(DONE):
        main(["clean", "--traces", "--checkpoints", "--yes"])
    left = {fresh.name, f"{BEGUN}.checkpoint", f"{DONE}.nc"}
    assert names(store.folder) == left | FOREIGN


def test_what_a_killed_decoding_left_is_found():
    decoded = datasets_folder() / "decoded"
    decoded.mkdir(parents=True)
    put(decoded / ".0123456789abcdef.npz.abcdefgh.part")
    main(["clean", "--yes"])
    assert names(decoded) == set()


def test_nothing_is_made_where_nothing_is(tmp_path, capsys):
    main(["clean", "--yes"])
    assert "0 files deleted" in capsys.readouterr().out
    assert not Store().folder.exists()


def test_what_a_killed_writer_leaves_is_known(tmp_path):
    """By the name that it has, not by one made up here."""
    target = tmp_path / "0123456789abcdef.nc"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        kept = temporary.read_bytes()
    temporary.write_bytes(kept)
    assert leftovers(tmp_path) == [temporary]
    assert leftovers(tmp_path, "0123456789abcdef.*") == [temporary]
    assert leftovers(tmp_path, "other.*") == []


def test_the_next_walk_sweeps_what_a_killed_one_left():
    store = Store()
    experiment = Experiment(**FIELDS)
    store.folder.mkdir(parents=True)
    for name in (experiment.hash, DONE):
        put(store.folder / f".{name}.nc.abcdefgh.part", seconds=0)
    store.get(experiment, progress=False)
    assert names(store.folder) == {f"{experiment.hash}.nc", f".{DONE}.nc.abcdefgh.part"}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_clean_deletes_no_walk(tmp_path):
    """Also where nothing is set up."""
    shutil.copy(checkout() / "Makefile", tmp_path)
    walks = [tmp_path / folder / "cache" / f"{DONE}.nc" for folder in ("data", "build/try")]
    for walk in walks:
        walk.parent.mkdir(parents=True)
        put(walk)
    (tmp_path / "build" / "book").mkdir()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert all(walk.is_file() for walk in walks)
    assert not (tmp_path / "build" / "book").exists()
    command = tmp_path / ".venv" / "bin" / "valleywalk"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "$@" > called\n')
    command.chmod(0o755)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "called").read_text() == "clean --yes\n"
