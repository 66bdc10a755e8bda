"""What was measured of walks before, so that the ledger opens each trace once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..files import write
from ..seeds import Share
from ..trace import seal_of
from ..walks.progress import bar

PACKAGE = Path(__file__).parents[1]

# Seconds before the bar is shown.
MOMENT = 2.0

# What is called after each number that is measured.
_after: list[Callable[[], object]] = []


@contextmanager
def progress(shown: bool = True) -> Iterator[None]:
    """Within it a bar counts the numbers that are measured, once that takes longer than a moment.

    Parameters
    ----------
    shown : bool
    """
    options = {"unit": " numbers", "delay": MOMENT, "leave": False, "disable": not shown}
    with bar(desc="measuring the walks that are here, once", **options) as counted:
        _after.append(counted.update)
        try:
            yield
        finally:
            _after.pop()


class Measured:
    """Numbers of traces, kept in a file of the store's folder.

    They count for the code that measured them and for the very traces that it measured: both are
    part of what a number is known by.

    Parameters
    ----------
    folder : Path
        Of computed traces. A file there that cannot be read is as good as none, and one that cannot
        be written does not matter.
    """

    def __init__(self, folder: Path):
        self.file = folder / "measured.json"
        self.known: dict[str, Any] = {}
        self.found_out = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self.file.read_bytes())
            if kept["code"] == code():
                self.known = dict(kept["known"])

    def get(
        self,
        what: Sequence[str],
        traces: Sequence[Path],
        measure: Callable[[], float | Share | str],
    ) -> Any:
        """A number or text that is known, else measured now.

        Parameters
        ----------
        what : sequence of str
            Says, with the traces, what is measured.
        traces : sequence of Path
        measure : callable
        """
        seals = [seal_of(path) for path in traces]
        key = hashlib.sha256(json.dumps([*what, *seals]).encode()).hexdigest()[:24]
        if key not in self.known:
            found = measure()
            if isinstance(found, Share):
                self.known[key] = list(map(int, found))
            else:
                self.known[key] = found if isinstance(found, str) else float(found)
            self.found_out = True
            for call in _after:
                call()
        found = self.known[key]
        return Share(*found) if isinstance(found, list) else found

    def keep(self) -> None:
        """Write the file if anything was found out."""
        if self.found_out:
            content = {"code": code(), "known": self.known}
            with suppress(OSError):
                write(self.file, json.dumps(content).encode())
            self.found_out = False


@cache
def code() -> str:
    """Hash of the package's code and of the versions of what it computes with."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(path.read_bytes())
    for name in ("numpy", "pandas", "scipy", "torch", "xarray"):
        found.update(version(name).encode())
    return found.hexdigest()[:16]
