"""Many walks at a time, in processes here or on the workers of a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from ..machine import choose_device
from . import cluster
from .cost import announcement, work
from .experiment import Experiment
from .identity import identified
from .progress import bar, say
from .resources import Resources
from .store import Store

if TYPE_CHECKING:
    from tqdm import tqdm

# Walks that failed, each with why.
Failures = list[tuple[Experiment, BaseException]]


def compute(
    experiments: Sequence[Experiment],
    store: Store,
    resources: Resources = Resources(),
    *,
    progress: bool = True,
    in_order: bool = False,
) -> None:
    """Walk those experiments that have no trace in a store yet, each in a process of one thread.

    Parameters
    ----------
    experiments : sequence of Experiment
    store : Store
    resources : Resources, optional
        Default: all cores of this machine, or its GPU.
    progress : bool
        Say what the walks will cost, and show a progress bar.
    in_order : bool
        Begin them in the order given, rather than the longest first.

    Raises
    ------
    RuntimeError
        Some walks failed; names each with its error. The others are finished and kept.
    DatasetError
        A folder of images cannot be read.
    DeviceError
        The device is not here.
    ClusterError
        A scheduler was named, but Dask is not installed, or no scheduler answers.
    """
    experiments = [identified(experiment) for experiment in experiments]
    missing = list({e.hash: e for e in experiments if store.find(e) is None}.values())
    if not missing:
        return
    store.check_writable()
    if resources.scheduler is None:
        choose_device(resources.device)
    if not in_order:
        # Longest first, so that no long walk is left over at the end.
        missing.sort(key=work, reverse=True)
    if progress:
        begun = 0 if resources.restart else sum(map(store.begun, missing))
        say(announcement(missing, store.folder, resources, begun=begun))
    with bar(total=len(missing), unit="walk", disable=not progress) as shown:
        if resources.scheduler is None:
            failed = _compute_here(missing, store, resources, shown)
        else:
            failed = cluster.compute(missing, store.folder, resources, shown)
    if failed:
        lines = [f"{walk.hash} ({walk.model_dump_json()}): {error}" for walk, error in failed]
        raise RuntimeError(f"{len(failed)} of {len(missing)} walks failed:\n" + "\n".join(lines))


def _compute_here(
    missing: Sequence[Experiment], store: Store, resources: Resources, shown: tqdm
) -> Failures:
    """Walk all in processes of this machine."""
    began = time.time()
    failed, lost, _ = _in_pool(missing, store, resources, shown)
    # A worker that is killed, as for want of memory, takes its pool down and all walks in it. Each
    # goes on in a pool of its own, so that only the culprit fails; an old checkpoint of one that
    # was to be started over, and was not yet, is still not gone on from.
    for experiment in lost:
        restart = resources.restart and not store.begun(experiment, since=began)
        going_on = Resources(resources.device, restart=restart)
        more, lost_again, ends = _in_pool([experiment], store, going_on, shown)
        failed += more
        failed += [(each, RuntimeError(how_it_ended(ends))) for each in lost_again]
        shown.update(len(lost_again))
    return failed


def _in_pool(
    experiments: Sequence[Experiment], store: Store, resources: Resources, shown: tqdm
) -> tuple[Failures, list[Experiment], list[int | None]]:
    """Walk all in one pool of processes.

    Returns
    -------
    failed : list of (Experiment, exception)
    lost : list of Experiment
        What went down with the pool.
    ends : list of int or None
        Exit codes of its processes.
    """
    failed: Failures = []
    lost: list[Experiment] = []
    others = set(multiprocessing.active_children())
    # Spawned, because a forked child of a process that has run torch threads can hang.
    context = multiprocessing.get_context("spawn")
    steps = context.SimpleQueue()
    workers = resources.workers(len(experiments))
    with ProcessPoolExecutor(workers, context, _report_to, (steps,)) as pool:
        try:
            tasks = {
                pool.submit(_get_in_worker, store, experiment, resources): experiment
                for experiment in experiments
            }
            processes = set(multiprocessing.active_children()) - others
            waiting, walked = set(tasks), 0
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                while not steps.empty():
                    steps.get()
                    walked += 1
                shown.set_postfix_str(f"{walked} steps")
                for task in done:
                    error = task.exception()
                    if isinstance(error, BrokenProcessPool):
                        lost.append(tasks[task])
                        continue
                    if error is not None:
                        failed.append((tasks[task], error))
                    shown.update()
        except KeyboardInterrupt:
            # A worker that was still starting may not have heard it, and the pool would wait; one
            # that walks finishes its step and keeps it.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            if not shown.disable:
                say("interrupted: each walk finishes its step first; Ctrl-C again stops now")
            again = "interrupted; asked for again, the walks go on from where they were"
            raise KeyboardInterrupt(again) from None
    return failed, lost, [process.exitcode for process in processes]


def how_it_ended(exit_codes: Sequence[int | None]) -> str:
    """Why a process that was alone in its pool gave no result, as far as its exit code tells."""
    code = exit_codes[0] if exit_codes else None
    if code == -signal.SIGKILL:
        return "its process was killed, maybe for want of memory; try a smaller batch"
    if code is not None and code < 0:
        return f"its process ended with {signal.Signals(-code).name}, which is no want of memory"
    return f"its process ended with exit code {code}"


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


def _get_in_worker(store: Store, experiment: Experiment, resources: Resources) -> None:
    def report() -> None:
        _steps[0].put(None)

    try:
        store.get(experiment, device=resources.device, restart=resources.restart, progress=report)
    except KeyboardInterrupt:
        # The pool would give this process the next walk.
        signal.raise_signal(signal.SIGTERM)
