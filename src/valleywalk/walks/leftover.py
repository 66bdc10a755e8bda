"""What can be deleted of what walks left behind."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from ..files import leftovers
from ..folders import datasets_folder
from .store import Store

# A process writes a temporary file for seconds; one that was touched since may still be written.
IN_USE_SECONDS = 3600.0
# Files of the store, by the hash of their experiment; others are not ours.
_OURS = re.compile(r"([0-9a-f]{16})\.(nc|state|diverged\.nc|checkpoint)")
_WHAT = {
    "nc": "a finished walk",
    "state": "the kept end of a walk",
    "diverged.nc": "a walk that diverged",
    "checkpoint": "a walk that was begun",
}


@dataclass(frozen=True)
class Removable:
    """A file that can be deleted.

    Attributes
    ----------
    path : Path
    what : str
        In words.
    size : int
        In bytes.
    """

    path: Path
    what: str
    size: int


def removable(store: Store, *, traces: bool = False, checkpoints: bool = False) -> list[Removable]:
    """Files that can be deleted; nothing of a walk that is in progress.

    Temporary files of processes that were killed, and checkpoints of walks that are finished. No
    recorded walk is among them.

    Parameters
    ----------
    store : Store
    traces : bool
        Also finished walks: their traces, kept states, and what was seen of those that diverged.
    checkpoints : bool
        Also checkpoints of walks that can go on.
    """
    now = time.time()
    found = [
        Removable(path, "left by a process that was killed", path.stat().st_size)
        for folder in (store.folder, store.recorded, datasets_folder())
        for path in leftovers(folder)
        if now - path.stat().st_mtime > IN_USE_SECONDS
    ]
    for path in sorted(store.folder.glob("*")):
        ours = _OURS.fullmatch(path.name)
        if ours is None or not path.is_file():
            continue
        experiment_hash, kind = ours.groups()
        what = _WHAT[kind]
        wanted = checkpoints if kind == "checkpoint" else traces
        if kind == "checkpoint" and path.with_name(f"{experiment_hash}.nc").is_file():
            what, wanted = "of a walk that is finished", True
        if wanted and not store.in_progress(experiment_hash):
            found.append(Removable(path, what, path.stat().st_size))
    return found
