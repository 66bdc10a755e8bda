"""How the package and its command start: nothing is imported before it is used."""

import json
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

import valleywalk
from valleywalk import Experiment, Store, cli
from valleywalk.folders import checkout
from valleywalk.paper import ledger, measured
from valleywalk.paper.claim import SUBJECTS
from valleywalk.paper.items import CLAIMS
from valleywalk.paper.protocol import pages_of, walks_of
from valleywalk.seeds import Share
from valleywalk.trace import TraceError, sealed
from valleywalk.walks import cost, networks

HEAVY = ("torch", "xarray", "scipy", "pandas", "matplotlib", "seaborn", "statsmodels", "h5py")
# Prints which heavy packages a program has imported.
IMPORTED = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
COMMAND = "from valleywalk.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"


def imported_by(code, *arguments):
    """The heavy packages that a process of its own imports."""
    process = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{IMPORTED}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stderr.splitlines()[-1].split()


def test_the_package_imports_what_is_used():
    assert imported_by("import valleywalk") == []
    assert imported_by("import valleywalk; valleywalk.Experiment, valleywalk.figures") == []
    assert "xarray" not in imported_by("import valleywalk; valleywalk.measures.along_step")


def test_each_name_of_the_package_is_there():
    for name in valleywalk.__all__:
        assert getattr(valleywalk, name) is not None
    assert {"watch", "walk", "measures", "lightning"} <= set(dir(valleywalk))
    # Those that share their name with a module, which `import` would put in their place.
    assert callable(valleywalk.watch)
    assert callable(valleywalk.walk)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = valleywalk.no_such_name


@pytest.mark.parametrize("arguments", [["--help"], ["data"], ["list"], ["show", "fig5"]])
def test_the_command_says_without_torch_what_it_knows(arguments, capsys):
    if arguments[0] in ("list", "show"):  # Networks are timed once.
        cli.main(arguments)
    assert imported_by(COMMAND, *arguments) == []


@pytest.mark.parametrize("arguments", [["--help"], ["data"]])
def test_what_needs_no_walk_needs_no_numpy(arguments):
    code = COMMAND + "assert 'numpy' not in sys.modules"
    assert imported_by(code, *arguments) == []


SMALL = Experiment(model="mlp", dataset="mnist5k", width=0.05)


@pytest.fixture
def known(monkeypatch):
    """As in a process that has found out nothing yet."""
    monkeypatch.setattr(networks, "_known", {})
    return networks._known


@pytest.fixture
def timed(known, monkeypatch):
    """Each network takes a second; which were timed."""
    names = []

    def timing(network, device):
        names.append(network.model)
        return 1.0

    monkeypatch.setattr(networks, "_timed", timing)
    return names


def test_a_network_is_timed_once_for_all_processes(tmp_path, timed, known):
    file = tmp_path / "cache" / "networks.json"
    with networks.remembered(file) as day:
        assert cost.seconds(SMALL) == cost.passes(SMALL).total
    assert (timed, day) == (["mlp"], date.today())
    known.clear()
    with networks.remembered(file):
        assert cost.seconds(SMALL) == cost.passes(SMALL).total
        cost.work(SMALL)
    assert timed == ["mlp"]
    known.clear()
    with networks.remembered(file):
        assert networks.size_of(cost.network(SMALL)).multiply_adds > 1
        assert len(known) == 2, "what one process found out is kept beside what another did"
    with networks.remembered(file, anew=True):
        cost.seconds(SMALL)
    assert timed == ["mlp", "mlp"]


def changed(**other):
    def change(content):
        return json.dumps(content | other)

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed(day=(date.today() - timedelta(networks.KEPT_DAYS)).isoformat()),
        changed(day=(date.today() + timedelta(1)).isoformat()),
        changed(day="yesterday"),
        changed(here={"machine": "another", "torch": "2.13.0"}),
        changed(known=3),
        lambda content: json.dumps(content)[:-20],
        lambda content: "[]",
    ],
    ids=["old", "of tomorrow", "no day", "elsewhere", "other content", "cut", "no object"],
)
def test_times_of_long_ago_or_elsewhere_or_damaged_ones_do_not_count(
    change, tmp_path, timed, known
):
    file = tmp_path / "networks.json"
    with networks.remembered(file):
        cost.seconds(SMALL)
    file.write_text(change(json.loads(file.read_bytes())))
    known.clear()
    with networks.remembered(file) as day:
        cost.seconds(SMALL)
    assert (timed, day) == (["mlp", "mlp"], date.today())
    assert json.loads(file.read_bytes())["day"] == date.today().isoformat()


def test_times_that_cannot_be_kept_are_taken_each_time(tmp_path, timed):
    (tmp_path / "file").touch()
    with networks.remembered(tmp_path / "file" / "networks.json"):
        cost.seconds(SMALL)
    assert timed == ["mlp"]


def test_list_says_how_old_its_times_are_and_times_anew(capsys, timed):
    cli.main(["list", "--anew"])
    assert f"timed on {date.today()}" in " ".join(capsys.readouterr().out.split())
    first = len(timed)
    cli.main(["list"])
    assert len(timed) == first
    cli.main(["list", "--anew"])
    assert len(timed) == 2 * first


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.nc"
    path.write_bytes(sealed(b"content"))
    return path


@pytest.mark.parametrize("number", [0.1 + 0.2, float("nan"), float("inf"), Share(3, 40), "", "why"])
def test_a_number_is_measured_once_for_all_processes(number, tmp_path, trace):
    first = measured.Measured(tmp_path)
    found = first.get(["height"], [trace], lambda: number)
    assert repr(found) == repr(number)
    first.keep()
    again = measured.Measured(tmp_path).get(["height"], [trace], pytest.fail)
    assert (repr(again), type(again)) == (repr(number), type(number))


def test_what_is_measured_is_counted_where_it_takes_longer(tmp_path, trace, monkeypatch, capsys):
    monkeypatch.setattr(measured, "MOMENT", 0.0)
    monkeypatch.setattr(measured, "bar", partial(measured.bar, mininterval=0))
    index = measured.Measured(tmp_path)
    with measured.progress():
        index.get(["height"], [trace], lambda: 1.0)
        index.get(["cosine"], [trace], lambda: 1.0)
    assert "measuring the walks that are here, once: 2 numbers" in capsys.readouterr().err
    with measured.progress(shown=False):
        index.get(["barriers"], [trace], lambda: 1.0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(measured, "MOMENT", 60.0)
    with measured.progress():
        index.get(["height"], [trace], pytest.fail)
    assert capsys.readouterr().err == ""


def test_a_number_of_other_code_another_trace_or_another_kind_does_not_count(
    tmp_path, trace, monkeypatch
):
    first = measured.Measured(tmp_path)
    first.get(["height"], [trace], lambda: 1.0)
    assert first.get(["cosine"], [trace], lambda: 2.0) == 2
    trace.write_bytes(sealed(b"another content"))
    assert first.get(["height"], [trace], lambda: 3.0) == 3
    first.keep()
    monkeypatch.setattr(measured, "code", lambda: "other")
    assert measured.Measured(tmp_path).get(["height"], [trace], lambda: 4.0) == 4


@pytest.mark.parametrize("content", ["", "[]", '{"code": 3}', '{"known": {}}'])
def test_a_damaged_index_is_as_good_as_none(content, tmp_path, trace):
    (tmp_path / "measured.json").write_text(content)
    index = measured.Measured(tmp_path)
    assert index.get(["height"], [trace], lambda: 1.0) == 1
    index.keep()
    assert measured.Measured(tmp_path).get(["height"], [trace], pytest.fail) == 1


def test_an_index_that_cannot_be_written_does_not_matter(tmp_path, trace):
    (tmp_path / "file").touch()
    index = measured.Measured(tmp_path / "file")
    assert index.get(["height"], [trace], lambda: 1.0) == 1
    index.keep()


def test_the_code_of_the_package_is_part_of_what_a_number_is_known_by(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "measures.py").write_text("1")
    monkeypatch.setattr(measured, "PACKAGE", package)
    first = measured.code.__wrapped__()
    assert measured.code.__wrapped__() == first
    (package / "measures.py").write_text("2")
    assert measured.code.__wrapped__() != first


def test_a_ledger_that_was_found_opens_no_trace_again(tmp_path, monkeypatch):
    """Two claims on recorded walks; the second time none of their files is read."""
    claims = [each for each in CLAIMS if each.id in ("sharpness-rises", "gd-cosine")]
    recorded = checkout() / "data" / "traces"
    first = ledger.findings("overnight", store=Store(tmp_path, recorded), claims=claims)
    assert any(finding.estimate is not None for finding in first)
    monkeypatch.setattr(Store, "open", pytest.fail)
    assert ledger.findings("overnight", store=Store(tmp_path, recorded), claims=claims) == first
    assert Path(tmp_path / "measured.json").is_file()


def test_a_trace_that_was_cut_off_is_named(tmp_path):
    (claim,) = (each for each in CLAIMS if each.id == "sgd-floor")
    subject = SUBJECTS["mlp"]
    (walks,) = walks_of(claim, pages_of(claim, "overnight", subject, 10, {}))
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    for walk in walks:
        (recorded / f"{walk.hash}.nc").write_bytes(b"CDF")
    store = Store(tmp_path, recorded)
    with pytest.raises(TraceError, match=rf"{walks[0].hash}\.nc is damaged.*delete it"):
        ledger.findings("overnight", store=store, claims=[claim], subjects=[subject], seeds=1)


def test_what_this_process_knows_is_kept_for_others_too(tmp_path, timed):
    cost.seconds(SMALL)
    with networks.remembered(tmp_path / "networks.json"):
        cost.seconds(SMALL)
    assert list(json.loads((tmp_path / "networks.json").read_bytes())["known"].values()) == [1.0]
