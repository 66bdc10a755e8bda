"""Where progress is shown: on standard error, or where papermill runs a notebook in a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from tqdm import tqdm


def bar(**options: Any) -> tqdm:
    """A progress bar.

    Parameters
    ----------
    **options
        As tqdm takes them.
    """
    return tqdm(file=_stream(), **options)


def say(note: str | None) -> None:
    """Say something above any progress bar."""
    if note:
        tqdm.write(note, file=_stream())


def _stream() -> TextIO:
    """Standard error; of a kernel that papermill started in a terminal, that terminal.

    A kernel's own standard error goes into the notebook, which nobody sees before the end.
    """
    # What it was before the kernel took it; others than ipykernel's have none.
    before = getattr(sys.stderr, "_original_stdstream_copy", None)
    if not isinstance(before, int) or not os.isatty(before) or not _under_papermill():
        return sys.stderr
    return os.fdopen(os.dup(before), "w", encoding="utf-8", errors="replace")


def _under_papermill() -> bool:
    import psutil  # type: ignore[import-untyped]  # Comes with ipykernel.

    parent = psutil.Process().parent()
    words = parent.cmdline()[:3] if parent else []
    return any(os.path.basename(word).startswith("papermill") for word in words)
