"""A walk's own progress, where papermill runs a notebook in a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from valleywalk.folders import checkout

PAPERMILL = Path(sys.executable).with_name("papermill")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")
def test_papermill_in_a_terminal_shows_the_steps_of_the_walk(tmp_path):
    import pty

    own, terminal = pty.openpty()
    command = [PAPERMILL, checkout() / "notebooks" / "fig1_gd_walk.ipynb", tmp_path / "out.ipynb"]
    process = subprocess.Popen(
        [*command, "-p", "scale", "smoke", "-p", "seed", "7"],
        env={**os.environ, "VALLEYWALK_DATA": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    # A terminal whose other end is closed is an error, not an end.
    try:
        while more := os.read(own, 1000):
            shown += more
    except OSError:
        pass
    assert process.wait(timeout=60) == 0
    assert "3/3" in shown.decode()
    assert "step/s" in shown.decode()
    assert "step/s" not in (tmp_path / "out.ipynb").read_text(encoding="utf-8")
