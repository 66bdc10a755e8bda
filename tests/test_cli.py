import json
import subprocess
import sys

import pytest
from made import FIELDS

import valleywalk
from valleywalk import Experiment, open_trace
from valleywalk.cli import main
from valleywalk.paper.items import ITEMS
from valleywalk.walks.catalogue import DATASETS
from valleywalk.walks.store import Store

WALK = ["walk", "--model", "mlp", "--dataset", "mnist5k", "--width", "0.05"]
WALK += ["--training-images", "60", "--batch-size", "20", "--evaluation-batch-size", "20"]
# The same.
EXPERIMENT = FIELDS


def refused(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("valleywalk: ")
    return caught.value.code


@pytest.mark.parametrize(
    "command", [[], ["list"], ["show"], ["figure"], ["walk"], ["data"], ["book"], ["course"]]
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: valleywalk" in capsys.readouterr().out


def test_list_shows_every_item_and_what_is_there(capsys):
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    for name, item in ITEMS.items():
        assert any(line.startswith(f"{name} ") and item.title in line for line in lines)
    assert all("  none " in line for line in lines if "_walk" in line)


@pytest.mark.parametrize("scale", ["smoke", "overnight", "paper"])
@pytest.mark.parametrize("name", ["fig2", "fig3", "fig5", "tab1", "appd", "fig28"])
def test_show_says_what_an_item_walks_and_what_that_costs(name, scale, capsys):
    main(["show", name, "--scale", scale])
    printed = capsys.readouterr().out
    item = ITEMS[name]
    experiments = item.experiments(scale)
    assert printed.startswith(f"{item.label}. {item.title}\n{scale}: {item.setting(scale)}\n")
    assert f"notebooks/{item.page.notebook}.ipynb" in printed
    assert f"valleywalk figure {name}" in printed
    assert all(experiment.hash in printed for experiment in experiments)
    rows = {line.split()[0] for line in printed.splitlines() if line.strip()}
    assert rows >= ({"time", "passes", "disk", "data", "settings"} if experiments else {"run"})
    if experiments:
        assert f"0 of {len(experiments)} walks: {len(experiments)} to walk" in printed
    segments = [e for e in experiments if e.probed_epochs != ()]
    assert ("losses" in rows) == bool(segments)


def test_show_names_the_fields_in_which_walks_differ(capsys):
    main(["show", "fig5", "--scale", "quick"])
    common, *walks = capsys.readouterr().out.split("\n\n")[-2:]
    assert "settings  model vgg11; dataset photos;" in common
    assert "noise_factor" not in common
    assert "noise_factor 0.1; switch_epoch 40; switch_update sgd;" in walks[0]
    main(["show", "fig14", "--scale", "quick"])
    assert "probed_epochs 1 to 40, 100" in " ".join(capsys.readouterr().out.split())


def test_show_says_which_walks_are_there(capsys):
    store = Store()
    first, second, third, *_ = experiments = ITEMS["fig5"].experiments("smoke")
    for folder, name in (
        (store.recorded, f"{first.hash}.nc"),
        (store.folder, f"{second.hash}.nc"),
        (store.folder, f"{third.hash}.checkpoint"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    main(["show", "fig5", "--scale", "smoke"])
    left = len(experiments) - 3
    expected = f"2 of 7 walks: 1 recorded, 1 cached, 1 begun, {left} to walk"
    assert expected in capsys.readouterr().out


def test_walk_keeps_its_trace_and_says_what_it_saw(capsys, tmp_path):
    main(WALK)
    printed = capsys.readouterr().out
    path = printed.splitlines()[-1]
    trace = open_trace(type(tmp_path)(path))
    assert json.loads(trace.experiment)["batch_size"] == 20
    assert "3 segments measured" in printed
    assert trace.experiment_hash in path
    # Whatever the file is called, it is not taken for the checkpoint beside it.
    for name in ("own.nc", "own.checkpoint"):
        main([*WALK, "--output", str(tmp_path / name)])
        assert open_trace(tmp_path / name).final_state_hash == trace.final_state_hash


def test_what_is_walked_again_is_named_where_it_is_kept(capsys):
    main(WALK)
    store, experiment = Store(), Experiment(**EXPERIMENT)
    store.recorded.mkdir()
    store.find(experiment).rename(store.recorded / f"{experiment.hash}.nc")
    capsys.readouterr()
    main([*WALK, "--recompute"])
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed == str(store.cached(experiment))
    assert store.cached(experiment).is_file()


def test_a_divergent_walk_keeps_its_trace_beside_the_file_that_was_asked_for(tmp_path):
    output = tmp_path / "own.nc"
    assert "own.diverged.nc" in refused([*WALK, "--learning-rate", "1e20", "--output", str(output)])
    assert len(open_trace(tmp_path / "own.diverged.nc")["iteration"]) >= 1
    assert not output.exists()


def test_a_walk_goes_on_where_a_shorter_one_ended(capsys):
    main([*WALK, "--epochs", "2", "--keep-state"])
    short = Experiment(**EXPERIMENT, epochs=2)
    kept = Store().folder / f"{short.hash}.state"
    assert kept.is_file()
    assert not Store().begun(short)
    assert "shorter walk" not in capsys.readouterr().err
    main([*WALK, "--epochs", "3"])
    said = f"goes on from {kept.name}, a shorter walk, with epoch 3, step 0"
    assert said in capsys.readouterr().err
    long = Experiment(**EXPERIMENT, epochs=3)
    extended = Store().get(long)
    assert not (Store().folder / f"{long.hash}.state").exists(), "it was not asked for"
    main([*WALK, "--epochs", "3", "--keep-state", "--quiet"])
    assert "no state is kept" in capsys.readouterr().err
    main([*WALK, "--epochs", "3", "--recompute"])
    assert "shorter walk" not in capsys.readouterr().err
    assert Store().get(long).drop_attrs().identical(extended.drop_attrs())


def test_a_walk_into_a_file_keeps_its_state_beside_it(tmp_path, capsys):
    main([*WALK, "--output", str(tmp_path / "short.nc"), "--keep-state"])
    main([*WALK, "--epochs", "2", "--output", str(tmp_path / "long.nc")])
    assert "goes on from short.state" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.nc", "short.nc", "short.state"]


def test_figure_writes_a_picture_and_its_provenance(capsys, tmp_path):
    main(["figure", "fig18", "--scale", "smoke", "--output", str(tmp_path / "own.png")])
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")
    assert "Provenance" not in capsys.readouterr().err
    (experiment,) = ITEMS["fig18"].experiments("smoke")
    assert Store().find(experiment) is not None
    main(["list"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fig18 "))
    assert "  smoke " in row


def test_data(capsys):
    main(["data"])
    printed = capsys.readouterr().out
    assert "mnist5k        ready" in printed
    assert "valleywalk data cifar10 --download" in printed
    assert "cifar10-jpeg   not there: it has no download; put its files into" in printed
    main(["data", "mnist5k"])
    assert (
        "4000 training and 1000 validation images, 1×28×28, 10 classes" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*WALK, "--learning-rate", "-1"], "learning_rate"),
        ([*WALK, "--dataset", "mnits"], "did you mean 'mnist"),
        ([*WALK, "--model", "mpl"], "valleywalk: model: unknown network 'mpl' (did you mean 'mlp'"),
        (["claims", "--scale", "full"], "valleywalk: there are no walks of this page"),
        ([*WALK, "--output", "nowhere/trace.nc"], "no folder nowhere"),
        ([*WALK, "--device", "warp"], "'warp' cannot be used"),
        (["figure", "fig99"], "fig99"),
        (["show", "fgi2"], "unknown item 'fgi2' (did you mean 'fig2'?)"),
        (["show", "fig2", "--device", "warp"], "'warp' cannot be used"),
        (["figure", "fig1", "--output", "nowhere/fig1.png"], "no folder nowhere"),
        (["data", "cifar10"], "--download"),
        (["data", "--download"], "name the data set"),
    ],
)
def test_bad_input_is_refused_in_a_line(arguments, message):
    assert message in refused(arguments)


def test_quiet_shows_no_progress(tmp_path, capsys):
    walk = ["walk", "--model", "mlp", "--dataset", "mnist5k", "--width", "0.05"]
    walk += ["--training-images", "60", "--batch-size", "20", "--evaluation-batch-size", "20"]
    main([*walk, "--output", str(tmp_path / "shown.nc")])
    assert "step" in capsys.readouterr().err
    main([*walk, "--output", str(tmp_path / "quiet.nc"), "--quiet"])
    printed = capsys.readouterr()
    assert (printed.err, "provenance" in printed.out) == ("", False)
    assert str(tmp_path / "quiet.nc") in printed.out


def test_programs_read_json(capsys):
    main(["show", "fig8", "--scale", "smoke", "--json"])
    shown = json.loads(capsys.readouterr().out)
    walks = ITEMS["fig8"].experiments("smoke")
    assert [walk["hash"] for walk in shown["walks"]] == [walk.hash for walk in walks]
    assert (shown["scale"], shown["notebook"]) == ("smoke", "fig8_barriers")
    main(["show", "fig28", "--json"])
    assert json.loads(capsys.readouterr().out)["walks"] == []
    main(["data", "--json"])
    assert json.loads(capsys.readouterr().out)["datasets"].keys() == DATASETS.keys()
    main(["data", "mnist5k", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["training_images"], told["image_size"], told["classes"]) == (4000, 28, 10)


def test_version_is_said_at_once():
    command = [sys.executable, "-m", "valleywalk", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"valleywalk {valleywalk.__version__}\n"


def test_completion_of_a_shell_knows_commands_and_flags(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--tyro-print-completion", "bash"])
    assert not end.value.code
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("claims", "notebooks", "--sampled-iterations"))
