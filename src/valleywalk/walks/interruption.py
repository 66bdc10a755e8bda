"""Ctrl-C during a walk: the step that runs is finished first, so that it can be kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from .progress import say


@contextmanager
def interruptions(*, wanted: bool, tell: bool) -> Iterator[list[int]]:
    """Within it SIGINT and SIGTERM are only noted, in the list given; a second SIGINT acts at once.

    Nothing is changed in other threads than the main one, which alone hears signals, nor of a
    signal that is ignored, as in a job in the background.

    Parameters
    ----------
    wanted : bool
        Whether to note them at all.
    tell : bool
        Say that one was noted.

    Raises
    ------
    KeyboardInterrupt
        At the second SIGINT; at the end where one was noted and nobody raised it.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.append(number)
        # One that comes while something is being written cannot be told of.
        with suppress(RuntimeError):
            say("interrupted: this step is finished first; Ctrl-C again stops now" * tell)

    before = {}
    if wanted and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # None: not set by Python, which could not set it again.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt
