"""Recorded walks that are fetched, and notebooks that are written."""

import json
from http.client import IncompleteRead, InvalidURL
from io import BytesIO
from urllib.error import URLError

import pytest

from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper.items import ITEMS
from valleywalk.trace import sealed
from valleywalk.walks import fetch as module
from valleywalk.walks.fetch import CHECKSUMS, checksums, fetch

TRACES = checkout() / "data" / "traces"
NAMES = ["0123456789abcdef.nc", "fedcba9876543210.nc"]


@pytest.fixture
def kept(tmp_path):
    """A folder with two files, and their checksums."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(sealed(name.encode()))
    (folder / CHECKSUMS).write_text(checksums(folder))
    return folder


def test_checksums_are_as_sha256sum_writes_them(kept):
    first = (kept / CHECKSUMS).read_text().splitlines()[0]
    assert first.endswith("  0123456789abcdef.nc")
    (kept / "empty.nc").touch()
    assert (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty.nc\n"
        in checksums(kept)
    )


def test_those_of_the_recorded_walks_are_true():
    assert (TRACES / CHECKSUMS).read_text() == checksums(TRACES)


def test_what_is_not_here_is_fetched_once(kept, tmp_path):
    here = tmp_path / "here"
    (first,) = fetch(str(kept), here, [NAMES[1][:16], "no such walk"], progress=False)
    assert first == here / NAMES[1]
    assert first.read_bytes() == (kept / NAMES[1]).read_bytes()
    (kept / NAMES[1]).write_bytes(b"damaged since; not looked at, for it is here")
    assert fetch(str(kept), here, progress=False) == [here / NAMES[0]]
    assert fetch(str(kept), here, progress=False) == []


def test_from_the_web(kept, tmp_path, monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        return BytesIO((kept / address.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(module, "urlopen", answer)
    fetch("https://example.org/traces/", tmp_path / "here", progress=False)
    assert asked == [f"https://example.org/traces/{name}" for name in (CHECKSUMS, *NAMES)]
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == NAMES


def gone(address, timeout):
    raise URLError("Name or service not known")


def broken_off(address, timeout):
    raise IncompleteRead(b"half", 100)


def no_address(address, timeout):
    raise InvalidURL("nonnumeric port: 'port'")


@pytest.mark.parametrize("answer", [gone, broken_off, no_address])
def test_an_address_that_does_not_answer(answer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "urlopen", answer)
    with pytest.raises(OSError, match="SHA256SUMS cannot be fetched"):
        fetch("https://example.org", tmp_path, progress=False)


@pytest.mark.parametrize("address", ["http://example.org", "file:///tmp", "ftp://example.org"])
def test_other_addresses_are_refused_before_anything_is_read(address, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "urlopen", pytest.fail)
    with pytest.raises(ValueError, match="neither a folder nor an address that begins with https"):
        fetch(address, tmp_path, progress=False)


@pytest.mark.parametrize(
    "text",
    ["", "<html>not found</html>\n", f"{'0' * 64}  ../../{NAMES[0]}\n", f"{'0' * 64}  x.nc\n"],
)
def test_checksums_that_name_no_traces_or_other_paths_are_refused(text, kept, tmp_path):
    (kept / CHECKSUMS).write_text(text)
    with pytest.raises(ValueError, match="has no recorded traces"):
        fetch(str(kept), tmp_path / "here", progress=False)


def test_a_file_that_is_damaged_on_the_way_is_not_kept(kept, tmp_path):
    (kept / NAMES[1]).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{NAMES[1]} is damaged"):
        fetch(str(kept), tmp_path / "here", progress=False)
    assert [path.name for path in (tmp_path / "here").iterdir()] == [NAMES[0]]


def test_a_missing_file_is_named(kept, tmp_path):
    (kept / NAMES[0]).unlink()
    with pytest.raises(OSError, match=f"{kept} has no {NAMES[0]}"):
        fetch(str(kept), tmp_path / "here", progress=False)


def test_a_figure_is_drawn_from_what_was_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    main(["fetch", "fig1", "fig28", "--scale", "quick", "--address", str(TRACES)])
    walks = {walk.hash for walk in ITEMS["fig1"].experiments("quick")}
    assert {path.stem for path in (tmp_path / "data" / "traces").iterdir()} == walks
    assert f"{len(walks)} more walks in {tmp_path}" in capsys.readouterr().out
    main(["figure", "fig1", "--output", str(tmp_path / "fig1.png")])
    assert (tmp_path / "fig1.png").is_file()
    capsys.readouterr()
    main(["list", "--json"])
    there = {each["name"]: each["traces"] for each in json.loads(capsys.readouterr().out)}
    assert (there["fig1"], there["fig2"]) == (["quick"], [])
    monkeypatch.setenv("VALLEYWALK_RECORDED", str(TRACES))
    main(["fetch", "fig1", "--scale", "quick"])
    said = capsys.readouterr().out
    assert "0 more walks" in said
    assert f"which has {len(walks)} of the {len(walks)} asked for" in said


def test_without_an_address_nothing_is_fetched(monkeypatch):
    monkeypatch.delenv("VALLEYWALK_RECORDED", raising=False)
    with pytest.raises(SystemExit, match="say where recorded walks are kept"):
        main(["fetch"])


def test_where_there_are_no_recorded_walks_it_is_said_how_to_get_them(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path))
    main(["claims", "--scale", "quick"])
    assert (
        "`valleywalk fetch --address PLACE` gets those that the project has"
        in capsys.readouterr().err
    )

    def stop(*given, **more):
        raise ValueError("here it would walk")

    monkeypatch.setattr("valleywalk.walks.parallel.compute", stop)
    with pytest.raises(SystemExit, match="here it would walk"):
        main(["figure", "fig1", "--scale", "quick", "--output", str(tmp_path / "fig1.png")])
    assert (
        "`valleywalk fetch fig1 --scale quick --address PLACE` gets those"
        in capsys.readouterr().err
    )


def test_notebooks_are_written_whole_and_over_nothing(tmp_path, capsys):
    folder = tmp_path / "my own" / "notebooks"
    main(["notebooks", str(folder)])
    sources = {path.name: path.read_bytes() for path in (checkout() / "notebooks").glob("*.ipynb")}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == sources
    assert f"papermill '{folder / 'fig2_sgd_walk.ipynb'}' out.ipynb" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is there already"):
        main(["notebooks", str(folder)])
