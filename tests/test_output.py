"""What `--output` names: refused before any work where it must not be written, and kept."""

import os
import socket

import pytest

from valleywalk import open_trace
from valleywalk.cli import main
from valleywalk.walks.store import only_one

WALK = ["walk", "--model", "mlp", "--dataset", "mnist5k", "--width", "0.05"]
WALK += ["--training-images", "60", "--batch-size", "20", "--evaluation-batch-size", "20"]
COMMANDS = {"walk": WALK, "figure": ["figure", "fig1", "--scale", "smoke"]}


@pytest.fixture
def no_work(monkeypatch):
    for work in ("walks.walk.walk", "walks.parallel.compute"):
        monkeypatch.setattr(f"valleywalk.{work}", lambda *a, **k: pytest.fail("it began"))


def refused(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return str(caught.value)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


THERE = {
    "a file": (lambda path: path.write_text("mine"), "is there already"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a link": (lambda path: path.symlink_to("mine"), "is a link to mine"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "is a link to nowhere"),
    "a link to a folder": (lambda path: path.symlink_to("."), "is a link to ."),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a link to out.png"),
    "a link to a device": (lambda path: path.symlink_to("/dev/null"), "is a link to /dev/null"),
    "a pipe": (lambda path: os.mkfifo(path), "not a plain file"),
    "a socket": (a_socket, "not a plain file"),
}


def everything(folder):
    """What lies in a folder, without following or opening anything special."""
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.iterdir()
    }


@pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and sockets")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("make", "said"), THERE.values(), ids=THERE)
def test_what_is_there_is_kept_and_said(command, make, said, tmp_path, monkeypatch, no_work):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    make(tmp_path / "out.png")
    before = everything(tmp_path)
    given = [*COMMANDS[command], "--output", "out.png"]
    assert said in refused(given)
    if said != "is there already":
        assert said in refused([*given, "--overwrite"])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("nowhere/out.png", "there is no folder nowhere"),
        ("mine/out.png", "there is no folder mine"),
        (".", "is a folder"),
        ("", "is a folder"),
        ("x" * 251 + ".png", "File name too long"),
        # Its name is short enough, but not with what is added while it is written.
        ("x" * 246 + ".png", "cannot be written (File name too long)"),
    ],
)
def test_what_cannot_be_written_is_said(command, output, said, tmp_path, monkeypatch, no_work):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    assert said in refused([*COMMANDS[command], "--output", output])
    assert everything(tmp_path).keys() == {"mine"}


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="there is no /dev/null")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_is_no_output(command, no_work):
    given = [*COMMANDS[command], "--overwrite", "--output"]
    assert "not a plain file" in refused([*given, "/dev/null"])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_protected_file_is_not_replaced(command, tmp_path, no_work):
    file = tmp_path / "out.png"
    file.write_text("mine")
    file.chmod(0o444)
    if os.access(file, os.W_OK):
        pytest.skip("to this user no file is protected")
    given = [*COMMANDS[command], "--overwrite", "--output", str(file)]
    assert "is protected" in refused(given)


@pytest.mark.parametrize("beside", ["out.diverged.nc", "out.state", "out.checkpoint"])
def test_files_beside_a_walk_are_kept(beside, tmp_path):
    file = tmp_path / beside
    given = [*WALK, "--keep-state", "--output", str(tmp_path / "out.nc")]
    file.mkdir()
    assert f"{beside} is a folder" in refused([*given, "--overwrite"])
    file.rmdir()
    file.write_text("mine")
    said = "is damaged, or no checkpoint" if beside == "out.checkpoint" else "is there already"
    assert f"{beside} {said}" in refused(given)
    assert everything(tmp_path).keys() == {beside}


def test_two_processes_do_not_walk_into_the_same_file(tmp_path, no_work):
    file = tmp_path / "out.nc"
    with only_one(file):
        assert "out.nc; wait until it has finished" in refused([*WALK, "--output", str(file)])
    assert everything(tmp_path) == {}


def test_overwrite_replaces_a_file(tmp_path):
    file = tmp_path / "out.nc"
    file.write_text("mine")
    main([*WALK, "--overwrite", "--output", str(file)])
    assert len(open_trace(file)["iteration"]) == 3
    picture = tmp_path / "out.svg"
    picture.write_text("mine")
    main(["figure", "fig28", "--overwrite", "--output", str(picture)])
    assert "</svg>" in picture.read_text()
    assert everything(tmp_path).keys() == {"out.nc", "out.svg"}


@pytest.mark.parametrize("name", ["out", "out.", "out.xyz", ".png", "out.png.bak", "out.nc"])
def test_a_picture_of_no_known_kind(name, tmp_path, no_work):
    said = refused([*COMMANDS["figure"], "--output", str(tmp_path / name)])
    assert "does not end like a picture" in said
    assert ".pdf, " in said
    assert everything(tmp_path) == {}


def test_a_kind_that_cannot_be_made_here(tmp_path, monkeypatch, no_work):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *a, **k: 1 / 0)
    said = refused([*COMMANDS["figure"], "--output", str(tmp_path / "out.svg")])
    assert "need what is not there (division by zero); choose another kind, such as .png" in said
