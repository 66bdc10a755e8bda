"""A training looked at while it runs, by what its watch streams to a file."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from .allowed import check_whole
from .files import check_output, write

if TYPE_CHECKING:
    import xarray as xr

# Of a terminal that does not say its size.
WIDTH, HEIGHT = 80, 24
# How many times as long as looking took it is waited before the next look.
REST = 9
A_DAY = 86_400
CLEAR = "\033[H\033[2J"


def tail(
    stream: Positional[Path],
    output: Path | None = None,
    segments: int = 40,
    every: float = 2.0,
    once: bool = False,
    overwrite: bool = False,
) -> None:
    """Draw what a watch streams while it runs: losses with their floor, cosine, distance.

    As text or into a picture, again when there is more to see, until Ctrl-C.

    Args:
        stream: File that `watch(..., stream=FILE)` writes.
        output: Draw into this file; its suffix says the kind. Default: as text, here.
        segments: How many of the newest measured segments to draw.
        every: Seconds between two looks; more if drawing takes long.
        once: Draw once.
        overwrite: Replace the output if it is there.
    """
    from .stream import open_stream

    check_whole("segments", segments, 1)
    if not 0 < every <= A_DAY:
        raise ValueError(f"every is {every:g}; give seconds, more than 0 and at most {A_DAY:,}")
    kind = ""
    if output is not None:
        from .figures import kind_of_picture

        check_output(output, overwrite=overwrite)
        kind = kind_of_picture(output)
    drawn = -1
    with suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            trace = open_stream(stream)
            if (size := trace.sizes["iteration"]) != drawn:
                _draw(trace, segments, output, kind)
                drawn = size
            if once:
                break
            time.sleep(max(every, REST * (time.monotonic() - began)))


def _draw(trace: xr.Dataset, segments: int, output: Path | None, kind: str) -> None:
    from . import panels

    steps, said = panels.last_steps(trace, segments), _status(trace)
    if output is None:
        width, height = shutil.get_terminal_size((WIDTH, HEIGHT))
        braille = (sys.stdout.encoding or "").lower().startswith("utf")
        # A line is left for the cursor.
        text = [*panels.walk(steps, width, height - 2, braille=braille), said]
        print((CLEAR if sys.stdout.isatty() else "") + "\n".join(text), flush=True)
        return
    picture = _picture(steps, kind)
    if picture is not None:
        write(output, picture)
    print(f"{said}; {output if picture is not None else 'nothing to draw yet'}", flush=True)


def _status(trace: xr.Dataset) -> str:
    from . import analysis

    count = int(analysis.measured(trace["loss"].values).sum()) if "loss" in trace else 0
    seconds = trace.attrs.get("wall_seconds", 0.0)
    return f"{trace.sizes['iteration']} steps in {seconds:.0f} s, {count} segments measured"


def _picture(steps: xr.Dataset, kind: str) -> bytes | None:
    """The measured segments side by side; None if there are none."""
    import matplotlib.pyplot as plt

    from . import figures, measures

    if "loss" not in steps or not len(segments := measures.measured_steps(steps)["iteration"]):
        return None
    figure = figures.walk(steps.sel(iteration=segments))
    first, last = int(segments[0]), int(segments[-1])
    if last - first >= len(segments):
        figure.axes[-1].set_xlabel(f"measured step, of iterations {first} to {last}")
    picture = BytesIO()
    figure.savefig(picture, format=kind, dpi=150)
    plt.close(figure)
    return picture.getvalue()
