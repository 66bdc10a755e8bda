"""The folder of traces: look up by experiment hash, walk what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout

from ..files import check_output, check_writable, leftovers
from ..folders import data_folder
from ..trace import save
from .cost import announcement, checkpoint_bytes, trace_bytes
from .experiment import Experiment
from .identity import identified, open_own
from .progress import say
from .resources import Resources

if TYPE_CHECKING:
    import xarray as xr


class Store:
    """Traces, one file an experiment, named by its hash.

    A recorded trace and one computed now are the same thing: recorded ones are looked up first,
    then cached ones, then the walk is walked and its trace is cached. A walk in progress keeps a
    checkpoint beside where its trace will be, and goes on from there. What will take longer than a
    minute is said before it begins, unless progress is not shown. Two processes that ask for
    the same experiment do not walk it twice: the second waits for the first.

    Parameters
    ----------
    folder : Path, optional
        Where computed traces are kept; default `cache/` in the data folder.
    recorded : Path, optional
        Where recorded traces lie, only read; default `traces/` in the data folder.
    """

    def __init__(self, folder: Path | str | None = None, recorded: Path | str | None = None):
        self.folder = Path(folder) if folder else data_folder() / "cache"
        self.recorded = Path(recorded) if recorded else data_folder() / "traces"

    def find(self, experiment: Experiment) -> Path | None:
        """The file of an experiment's trace, None if there is none.

        Raises
        ------
        DatasetError
            The experiment is on a folder of images that cannot be read.
        """
        experiment = identified(experiment)
        candidates = (where / f"{experiment.hash}.nc" for where in (self.recorded, self.folder))
        return next((path for path in candidates if path.is_file()), None)

    def begun(self, experiment: Experiment, since: float = 0.0) -> bool:
        """Whether a walk was stopped here, since a time, and goes on from its checkpoint."""
        checkpoint = beside(self.cached(experiment)).checkpoint
        return checkpoint.is_file() and checkpoint.stat().st_mtime >= since

    def open(self, experiment: Experiment) -> xr.Dataset | None:
        """The trace of an experiment, None if there is none; nothing is walked.

        Raises
        ------
        TraceError
            The file found is damaged, of another version or experiment, or was made on other
            images.
        DatasetError
            The experiment is on a folder of images that cannot be read.
        """
        experiment = identified(experiment)
        path = self.find(experiment)
        return None if path is None else open_own(path, experiment)

    def cached(self, experiment: Experiment) -> Path:
        """Where the trace of an experiment is kept that is walked here."""
        return self.folder / f"{identified(experiment).hash}.nc"

    def get(
        self,
        experiment: Experiment,
        *,
        device: str = "auto",
        recompute: bool = False,
        restart: bool = False,
        keep_state: bool = False,
        progress: bool | Callable[[], None] = True,
    ) -> xr.Dataset:
        """The trace of an experiment, walked now if there is none yet.

        Parameters
        ----------
        experiment : Experiment
        device : str
            Where to walk, if it comes to that.
        recompute : bool
            Walk again, and replace a cached trace, damaged or not; not from the end of a shorter
            walk, but from where this one was interrupted. Recorded traces are left alone.
        restart : bool
            Delete a checkpoint, damaged or not, rather than going on from it; nor go on from a
            shorter walk.
        keep_state : bool
            Keep the state of the end beside the trace, so that the walk can be extended; only where
            it is walked now.
        progress : bool or callable
            Show a progress bar, or call this after each step.

        Raises
        ------
        TraceError
            The file found is damaged, of another version or experiment, or was made on other
            images.
        DatasetError
            The images are not there, or are others.
        CheckpointError
            The same of a checkpoint.
        WalkError
            The walk diverged; what was seen until then is kept in a file that is named.
        PermissionError, OSError
            The folder cannot be written to; found out before the walk.
        """
        experiment = identified(experiment)
        path = None if recompute else self.find(experiment)
        if path is None:
            self.check_writable()
            with self._alone(experiment, progress is True):
                # Another process may have walked it in the meantime.
                path = None if recompute else self.find(experiment)
                if path is None:
                    # Nobody else writes these now.
                    for left in leftovers(self.folder, f"{experiment.hash}.*"):
                        left.unlink(missing_ok=True)
                    path = self.cached(experiment)
                    walk_into(
                        path,
                        experiment,
                        device=device,
                        restart=restart,
                        extend=not recompute,
                        keep_state=keep_state,
                        progress=progress,
                    )
        kept_state = beside(self.cached(experiment)).state
        if keep_state and not kept_state.is_file():
            say(
                f"no state is kept of {experiment.hash}: its trace was there, and nothing was "
                "walked; --recompute walks it again"
            )
        return open_own(path, experiment)

    @contextmanager
    def _alone(self, experiment: Experiment, tell: bool) -> Iterator[None]:
        """Keep other processes from walking the same. A lock ends with its process."""
        lock = self._lock(experiment.hash)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if tell:
                say(f"waiting for another process that walks {experiment.hash}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _lock(self, experiment_hash: str) -> FileLock:
        locks = self.folder / ".locks"
        locks.mkdir(exist_ok=True)
        return FileLock(locks / experiment_hash)

    def in_progress(self, experiment_hash: str) -> bool:
        """Whether a process walks this now."""
        lock = self._lock(experiment_hash)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False

    def check_writable(self) -> None:
        """Make the folder, and try it.

        Raises
        ------
        OSError
            Traces cannot be kept there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.folder / "trace")
        except OSError as error:
            raise type(error)(
                f"traces cannot be kept in {self.folder} ({error.strerror or error}); "
                "choose another folder, or set VALLEYWALK_DATA"
            ) from error


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Keep other processes from making the same file or folder meanwhile.

    Parameters
    ----------
    target : Path

    Raises
    ------
    OSError
        Another one makes it now.
    """
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(
            f"another process is writing {target}; wait until it has finished, or choose another "
            "name"
        ) from None
    try:
        yield
    finally:
        # Windows deletes it on release, and not before.
        with suppress(OSError):
            path.unlink()
        lock.release()


class Beside(NamedTuple):
    """Files that a walk may write beside its trace."""

    checkpoint: Path
    """Of a walk in progress."""
    state: Path
    """Of its end, if it is kept."""
    diverged: Path
    """What was seen until it diverged."""


def beside(path: Path) -> Beside:
    """The files beside a trace."""
    stem = path.name.removesuffix(".nc")
    return Beside(
        *(path.with_name(f"{stem}.{end}") for end in ("checkpoint", "state", "diverged.nc"))
    )


def check_outputs(path: Path, *, keep_state: bool, overwrite: bool) -> None:
    """Refuse, before a walk, to write its trace into a file that is not for it.

    Raises
    ------
    ValueError, OSError
        See `check_output`; also of a file that the walk may write beside its trace.
    """
    check_output(path, overwrite=overwrite)
    others = beside(path)
    # One that is there is gone on from, and refused if it is of something else.
    check_output(others.checkpoint, overwrite=True)
    check_output(others.diverged, overwrite=overwrite)
    if keep_state:
        check_output(others.state, overwrite=overwrite)


def walk_into(
    path: Path,
    experiment: Experiment,
    *,
    device: str = "auto",
    restart: bool = False,
    extend: bool = True,
    keep_state: bool = False,
    progress: bool | Callable[[], None] = True,
) -> xr.Dataset:
    """Walk, and save the trace in a file; until then a checkpoint is kept beside it.

    Without a checkpoint of its own the walk goes on from the kept state or the checkpoint of the
    longest walk in the folder that it extends.

    Parameters
    ----------
    path : Path
    experiment : Experiment
    device : str
    restart : bool
        Delete a checkpoint rather than going on from it; nor go on from a shorter walk.
    extend : bool
        Whether to go on from a shorter walk.
    keep_state : bool
        Keep the state of the end beside the trace, ending in .state.
    progress : bool or callable
        Show a progress bar, or call this after each step.

    Raises
    ------
    WalkError
        The walk diverged; what was seen until then is kept in a file that is named.
    OSError
        There is too little room; found out before the walk. Or the trace or the kept state cannot
        be written; then the checkpoint stays.
    """
    from .checkpoint import CheckpointError
    from .extension import longest_shorter, position_of
    from .walk import WalkError, walk

    experiment = identified(experiment)
    checkpoint, kept_state, diverged = beside(path)
    shorter = None
    if restart:
        checkpoint.unlink(missing_ok=True)
    elif extend and not checkpoint.is_file():
        shorter = longest_shorter(experiment, path.parent)
    _check_room(experiment, path.parent)
    if progress is True:
        begun = int(checkpoint.is_file() or shorter is not None)
        say(announcement([experiment], path.parent, Resources(device), begun=begun))
    try:
        if progress is True and shorter is not None:
            epoch, step = position_of(shorter)
            say(f"goes on from {shorter.name}, a shorter walk, with epoch {epoch}, step {step}")
        trace = walk(
            experiment,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
            shorter=shorter,
            kept_state=kept_state if keep_state else None,
        )
        save(trace, path)
    except (CheckpointError, FileNotFoundError):
        if shorter is None or shorter.is_file():
            raise
        # Another process has finished the shorter walk, and deleted its checkpoint.
        return walk_into(path, experiment, device=device, keep_state=keep_state, progress=progress)
    except WalkError as error:
        if error.trace is None:
            raise
        try:
            save(error.trace, diverged)
        except OSError as unwritten:
            raise WalkError(
                f"{error}; what was seen until then cannot be kept: {unwritten}", error.trace
            ) from None
        checkpoint.unlink(missing_ok=True)
        raise WalkError(f"{error}; what was seen until then is in {diverged}") from None
    except OSError as error:
        if not checkpoint.is_file():
            raise
        raise type(error)(f"{error}; asked for again, the walk goes on from {checkpoint}") from None
    checkpoint.unlink(missing_ok=True)
    return trace


def _check_room(experiment: Experiment, folder: Path) -> None:
    # A checkpoint is written beside the one before.
    needed = trace_bytes(experiment) + 2 * checkpoint_bytes(experiment)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"the trace and the checkpoints of {experiment.hash} need some {needed / 1e6:.3g} MB, "
            f"of which {folder} has {free / 1e6:.3g}; make room there, or choose another folder"
        )
