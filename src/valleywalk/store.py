"""The folder of traces: look up by experiment hash, compute what is missing."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import xarray as xr
from tqdm import tqdm

from .cost import work
from .experiment import Experiment
from .folders import data_folder
from .trace import open_trace, save
from .walk import walk


class Store:
    """Traces, one file an experiment, named by its hash.

    A recorded trace and one computed now are the same thing: recorded ones are looked up first,
    then cached ones, then the walk is walked and its trace is cached.

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
        """The file of an experiment's trace, None if there is none."""
        candidates = (where / f"{experiment.hash}.nc" for where in (self.recorded, self.folder))
        return next((path for path in candidates if path.is_file()), None)

    def get(
        self,
        experiment: Experiment,
        *,
        device: str = "auto",
        recompute: bool = False,
        progress: bool = True,
    ) -> xr.Dataset:
        """The trace of an experiment, walked now if there is none yet.

        Parameters
        ----------
        experiment : Experiment
        device : str
            Where to walk, if it comes to that.
        recompute : bool
            Walk again, and replace a cached trace, damaged or not. Recorded traces are left alone.
        progress : bool

        Raises
        ------
        TraceError
            The file found is damaged, of another version or of another experiment.
        PermissionError, OSError
            The folder cannot be written to; found out before the walk.
        """
        path = None if recompute else self.find(experiment)
        if path is None:
            path = self.folder / f"{experiment.hash}.nc"
            self._check_writable()
            save(walk(experiment, device=device, progress=progress), path)
        return open_trace(path, experiment)

    def compute(
        self,
        experiments: Sequence[Experiment],
        *,
        device: str = "auto",
        processes: int | None = None,
        progress: bool = True,
    ) -> None:
        """Walk those experiments that have no trace yet, in parallel processes of one thread each.

        Raises
        ------
        RuntimeError
            Some walks failed; names each with its error. The others are finished and kept.
        """
        missing = list({e.hash: e for e in experiments if self.find(e) is None}.values())
        if not missing:
            return
        self._check_writable()
        # Longest first, so that no long walk is left over at the end.
        missing.sort(key=work, reverse=True)
        workers = min(len(missing), processes or cores())
        failed: list[str] = []
        others = set(multiprocessing.active_children())
        # Spawned, because a forked child of a process that has run torch threads can hang.
        context = multiprocessing.get_context("spawn")
        steps = context.SimpleQueue()
        with (
            ProcessPoolExecutor(workers, context, _report_to, (steps,)) as pool,
            tqdm(total=len(missing), unit="walk", disable=not progress) as bar,
        ):
            try:
                tasks = {pool.submit(_walk_and_save, e, self.folder, device): e for e in missing}
                waiting, walked = set(tasks), 0
                while waiting:
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    while not steps.empty():
                        steps.get()
                        walked += 1
                    bar.set_postfix_str(f"{walked} steps")
                    bar.update(len(done))
                    for task in done:
                        if (error := task.exception()) is not None:
                            e = tasks[task]
                            failed.append(f"{e.hash} ({e.model_dump_json()}): {error}")
            except KeyboardInterrupt:
                # A worker that was still starting may not have heard it, and the pool would wait.
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                raise
        if failed:
            raise RuntimeError(
                f"{len(failed)} of {len(missing)} walks failed:\n" + "\n".join(failed)
            )

    def _check_writable(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise type(error)(
                f"traces cannot be kept in {self.folder} ({error}); "
                "choose another folder, or set VALLEYWALK_DATA"
            ) from error


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _report_to(queue: Any) -> None:
    """In a worker: remember where to report each step, and end when the parent does."""
    _steps.append(queue)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent was killed would walk on for nobody.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_steps: list[Any] = []


def _walk_and_save(experiment: Experiment, folder: Path, device: str) -> None:
    def report() -> None:
        _steps[0].put(None)

    save(walk(experiment, device=device, progress=report), folder / f"{experiment.hash}.nc")
