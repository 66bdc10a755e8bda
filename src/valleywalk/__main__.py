"""Start of the `valleywalk` command, or of `python -m valleywalk`."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from . import __version__
from .extras import require


def main() -> None:
    """Run the command; Ctrl-C, and a reader that has enough, end it without a traceback."""
    # A sign that the terminal's encoding does not have is shown by its number.
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
    try:
        try:
            if sys.argv[1:] == ["--version"]:
                print(f"valleywalk {__version__}")
            else:
                _imported()()
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt as interrupt:
        # A walk says how far it came.
        sys.exit(f"valleywalk: {str(interrupt) or 'interrupted'}")
    except ModuleNotFoundError as error:
        sys.exit(f"valleywalk: {error}")
    except OSError as error:
        # Else Python would try again to write what is left, and complain.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # A pipe without a reader: as if ended by the signal SIGPIPE.
        sys.exit(141 if isinstance(error, BrokenPipeError) else f"valleywalk: {error}")


def _imported() -> Callable[[], None]:
    """The command itself; Ctrl-C ends its imports, in which some would swallow an exception."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    require("paper")
    from .cli import main

    signal.signal(signal.SIGINT, interrupt)
    return main


if __name__ == "__main__":
    main()
