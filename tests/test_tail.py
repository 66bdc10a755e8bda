"""A training that is looked at while it runs, as text or as a picture."""

import signal
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from valleywalk import figures, panels, tail
from valleywalk.cli import main
from valleywalk.stream import Stream
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 5)


def seen(step, measured=True):
    """A step of a walk down a valley; its segment is a parabola with the floor in the middle."""
    found = {"cosine": -0.5, "distance": 1.0 + step}
    return found | {"loss": 10.0 - step + (ALPHA - 0.5) ** 2} if measured else found


def trace_of(count, every=1):
    return assemble([seen(step, step % every == 0) for step in range(count)], ALPHA)


@pytest.fixture
def stream(tmp_path):
    """A stream, begun, that a test appends to; nobody's terminal."""
    stream = Stream(tmp_path / "walk.jsonl")
    stream.begin(ALPHA, {"wall_seconds": 0.0})
    return stream


def rows(lines, *, mark):
    """Where in a panel there is something, as (row, column) counted from its corner."""
    inside = [line[panels.MARGIN :] for line in lines]
    return [(r, c) for r, line in enumerate(inside) for c, sign in enumerate(line) if sign in mark]


def test_points_stand_where_they_belong():
    """By hand: 4 steps over 41 columns, 10 a step; cosine at their begin, distance at their end."""
    lines = panels.walk(trace_of(4), width=51, height=28, braille=False)
    assert len(lines) == 28
    loss, cosine, distance = lines[1:13], lines[14:20], lines[21:27]
    assert (lines[0], lines[13][:6], lines[20][:8]) == (
        "loss along segments, o floor", "cosine", "distance",
    )  # fmt: skip
    # From 10.25 to 7 over 12 rows.
    floors = [
        (round((10.25 - floor) / 3.25 * 11), 5 + 10 * t) for t, floor in enumerate((10, 9, 8, 7))
    ]
    assert rows(loss, mark="o") == floors
    assert (round((10.25 - 9.25) / 3.25 * 11), 10) in rows(loss, mark=".")
    assert loss[0].split()[0] == "10.25"
    assert loss[-1].split()[0] == "7"
    # −0.5 of −1 to 1 is three quarters down six rows.
    assert rows(cosine, mark=".") == [(4, 0), (4, 10), (4, 20), (4, 30)]
    assert rows(distance, mark=".") == [(0, 40), (2, 30), (3, 20), (5, 10)]
    assert lines[-1].split() == ["0", "4"]


def test_braille_dots_are_those_of_the_standard():
    """U+2800 and dots 1, 2, 3, 7 down the left column, 4, 5, 6, 8 down the right one."""
    steps = assemble([{"cosine": cosine} for cosine in (1, -1, 1, -1)], ALPHA)
    _, high, low, *_ = panels.walk(steps, width=20, height=12)
    # Twenty dots for four steps, of which the last one ends at the twentieth: 0, 5, 10, 14.
    assert high[panels.MARGIN :] == "\u2801" + 4 * " " + "\u2801"
    assert low[panels.MARGIN :] == 2 * " " + "\u2880" + 4 * " " + "\u2840"


@pytest.mark.parametrize("braille", [True, False])
@pytest.mark.parametrize(("width", "height"), [(20, 5), (80, 24), (200, 60)])
def test_panels_fit_into_the_terminal(width, height, braille):
    lines = panels.walk(trace_of(30, every=3), width, height, braille=braille)
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, panels.OTHER_LINES + 4 * panels.FEWEST_LINES)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "no step was seen yet"),
        ([{"skipped": 1.0}], "not there yet"),
        ([seen(0, measured=False)], "cosine"),
        ([{"loss": np.full(5, np.nan), "distance": np.nan, "cosine": 0.1}], "not there yet"),
        ([{"loss": np.full(5, 2.0), "distance": np.inf, "cosine": 0.1}], "loss along"),
        ([seen(0) | {"loss": np.array([1, 2, np.inf, 3, 2])}], "loss along"),
        ([seen(0), seen(1) | {"loss": np.full(5, np.inf)}], "loss along"),
        ([seen(0) | {"loss": np.full(5, np.inf)}], "not there yet"),
    ],
)
def test_whatever_was_seen_is_drawn(steps, said):
    steps = panels.last_steps(assemble(steps, ALPHA), 40)
    assert said in "\n".join(panels.walk(steps, 60, 20))


def test_the_newest_segments_are_drawn():
    trace = trace_of(30, every=5)
    assert panels.last_steps(trace, 2)["iteration"].values.tolist() == list(range(20, 30))
    assert panels.last_steps(trace, 99).sizes["iteration"] == 30


def test_once(stream, capsys):
    main(["tail", str(stream.path), "--once"])
    assert "no step was seen yet\n0 steps in 0 s, 0 segments measured" in capsys.readouterr().out
    for step in range(4):
        stream(step, {"seen": seen(step, step % 2 == 0), "wall_seconds": 1.5 * step})
    main(["tail", str(stream.path), "--once"])
    said = capsys.readouterr().out
    assert "4 steps in 4 s, 2 segments measured" in said
    assert said.count("◇") == 1 + 2
    assert "\033" not in said, "nobody's terminal is cleared"


def test_it_is_drawn_again_when_there_is_more_until_ctrl_c(stream, capsys, monkeypatch):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 4:
            raise KeyboardInterrupt
        if len(slept) != 2:
            stream(len(slept) // 2, {"seen": seen(len(slept) // 2)})

    monkeypatch.setattr(tail.time, "sleep", sleep)
    main(["tail", str(stream.path), "--every", "5"])
    said = [line for line in capsys.readouterr().out.splitlines() if "segments measured" in line]
    assert [line.split()[0] for line in said] == ["0", "1", "2"]
    assert min(slept) >= 5


def test_a_picture(stream, tmp_path, capsys, monkeypatch):
    """That of the measured segments, as `figures.walk` draws it; drawn over, but nothing else."""
    output, drawn = tmp_path / "walk.png", []
    monkeypatch.setattr(figures, "walk", lambda steps: drawn.append(steps) or plt.subplots()[0])
    main(["tail", str(stream.path), "--once", "--output", str(output)])
    assert "nothing to draw yet" in capsys.readouterr().out
    assert not output.exists()
    for step in range(6):
        stream(step, {"seen": seen(step, step % 2 == 0)})
    main(["tail", str(stream.path), "--once", "--output", str(output), "--segments", "2"])
    assert output.read_bytes().startswith(b"\x89PNG")
    (steps,) = drawn
    assert steps["iteration"].values.tolist() == [2, 4]
    assert not plt.get_fignums()
    with pytest.raises(SystemExit, match="is there already; name another file, or give --overwr"):
        main(["tail", str(stream.path), "--once", "--output", str(output)])


def test_an_axis_with_gaps_says_so(stream, tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(plt, "close", lambda figure: labels.append(figure.axes[-1].get_xlabel()))
    for step in range(4):
        stream(step, {"seen": seen(step, step != 1)})
    for segments, label in (("2", "iteration $t$ (from 2)"), ("3", "of iterations 0 to 3")):
        output = str(tmp_path / f"{segments}.png")
        main(["tail", str(stream.path), "--once", "--output", output, "--segments", segments])
        assert label in labels[-1]


def test_ctrl_c_ends_the_command_in_peace(stream):
    command = [sys.executable, "-m", "valleywalk", "tail", str(stream.path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while "segments measured" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
