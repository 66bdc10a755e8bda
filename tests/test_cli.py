import json

import pytest

from valleywalk import open_trace
from valleywalk.cli import main
from valleywalk.paper import ITEMS
from valleywalk.store import Store

WALK = ["walk", "--model", "mlp", "--dataset", "mnist5k", "--width", "0.05"]
WALK += ["--training-images", "60", "--batch-size", "20", "--evaluation-batch-size", "20"]


def refused(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("valleywalk: ")
    return caught.value.code


@pytest.mark.parametrize("command", [[], ["list"], ["figure"], ["walk"], ["data"], ["book"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: valleywalk" in capsys.readouterr().out


def test_list_shows_every_item_and_what_is_there(capsys):
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    for item in ITEMS.values():
        assert any(line.startswith(f"{item.label} ") and item.title in line for line in lines)
    assert all("  none " in line for line in lines if "_walk" in line)


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


def test_a_divergent_walk_keeps_its_trace_beside_the_file_that_was_asked_for(tmp_path):
    output = tmp_path / "own.nc"
    assert "own.diverged.nc" in refused([*WALK, "--learning-rate", "1e20", "--output", str(output)])
    assert len(open_trace(tmp_path / "own.diverged.nc")["iteration"]) >= 1
    assert not output.exists()


def test_figure_writes_a_picture_and_its_provenance(capsys, tmp_path):
    main(["figure", "fig18", "--scale", "smoke", "--output", str(tmp_path / "own.png")])
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")
    assert "Provenance" not in capsys.readouterr().err
    (experiment,) = ITEMS["fig18"].experiments("smoke")
    assert Store().find(experiment) is not None
    main(["list"])
    row = next(line for line in capsys.readouterr().out.splitlines() if "Figure 18 " in line)
    assert "  smoke " in row


def test_data(capsys):
    main(["data"])
    printed = capsys.readouterr().out
    assert "mnist5k        ready" in printed
    assert "valleywalk data cifar10 --download" in printed
    main(["data", "mnist5k"])
    assert (
        "4000 training and 1000 validation images, 1×28×28, 10 classes" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*WALK, "--learning-rate", "-1"], "learning_rate"),
        ([*WALK, "--dataset", "mnits"], "did you mean 'mnist"),
        ([*WALK, "--output", "nowhere/trace.nc"], "no folder nowhere"),
        ([*WALK, "--device", "warp"], "'warp' cannot be used"),
        (["figure", "fig99"], "fig99"),
        (["figure", "fig1", "--output", "nowhere/fig1.png"], "no folder nowhere"),
        (["data", "cifar10"], "--download"),
        (["data", "--download"], "name the data set"),
    ],
)
def test_bad_input_is_refused_in_a_line(arguments, message):
    assert message in refused(arguments)
