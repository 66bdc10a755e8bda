"""What can be deleted of what walks left behind."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from ..files import leftovers
from ..folders import datasets_folder
from .store import Store, beside

# A process writes a temporary file for seconds; one that was touched since may still be written.
IN_USE_SECONDS = 3600.0
# What files of the store begin with, and a dot after it; others are not ours.
_HASH = re.compile(r"[0-9a-f]{16}(?=\.)")


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
    now, images = time.time(), datasets_folder()
    found = [
        Removable(path, "left by a process that was killed", path.stat().st_size)
        for folder in (store.folder, store.recorded, images, images / "decoded")
        for path in leftovers(folder)
        if now - path.stat().st_mtime > IN_USE_SECONDS
    ]
    names = filter(None, (_HASH.match(path.name) for path in store.folder.glob("*")))
    for experiment_hash in sorted({name[0] for name in names}):
        trace = store.folder / f"{experiment_hash}.nc"
        others, finished = beside(trace), trace.is_file()
        begun = "of a walk that is finished" if finished else "a walk that was begun"
        wanted = [
            (path, what)
            for path, what, asked in (
                (others.checkpoint, begun, checkpoints or finished),
                (others.diverged, "a walk that diverged", traces),
                (trace, "a finished walk", traces),
                (others.state, "the kept end of a walk", traces),
            )
            if asked and path.is_file()
        ]
        if wanted and not store.in_progress(experiment_hash):
            found += [Removable(path, what, path.stat().st_size) for path, what in wanted]
    return found
