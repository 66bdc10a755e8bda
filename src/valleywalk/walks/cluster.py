"""Walks on the workers of a Dask scheduler; the traces come back into the local store."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..extras import require
from ..files import write
from ..trace import environment
from .experiment import Experiment
from .identity import read_own
from .progress import say
from .resources import Resources
from .store import Store

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 15
# A worker of another revision gives a walk back only then, so that others are quicker to take it.
TURNED_AWAY_SECONDS = 5.0
TURNED_AWAY = "valleywalk-turned-away"


class ClusterError(RuntimeError):
    """Dask is not installed, no scheduler answers, or workers are of another revision."""


def compute(
    experiments: Sequence[Experiment], folder: Path, resources: Resources, bar: tqdm
) -> list[tuple[Experiment, BaseException]]:
    """Walk each experiment on some worker, and write its trace into a folder here.

    A walk whose worker is lost is walked again by another one. Workers keep traces and
    checkpoints in their own data folder; where they share it, a walk goes on from where it was.
    Nothing is walked by a worker of another revision: if one is there at the beginning, nothing
    begins; one that joins later is named, and its walks go to others.

    Parameters
    ----------
    experiments : sequence of Experiment
        In the order in which they should be begun.
    folder : Path
    resources : Resources
        Its scheduler's address, such as tcp://10.0.0.1:8786; its device: for "cuda" a task asks for
        one of the worker's resource GPU.
    bar : tqdm
        Advanced by one a walk.

    Returns
    -------
    list of (Experiment, exception)
        What failed, and why.

    Raises
    ------
    ClusterError
        Dask is not installed, no scheduler answers, the scheduler is lost, or a worker is of
        another revision.
    """
    failed: list[tuple[Experiment, BaseException]] = []
    device, here = resources.device, revision()
    with _connected(resources.scheduler) as client:
        from distributed import as_completed

        _check_workers(client, here)
        client.subscribe_topic(TURNED_AWAY, _Told())
        tasks = {
            client.submit(
                walk_on_worker,
                experiment.model_dump_json(),
                device,
                resources.restart,
                here,
                # What another revision asked for under the same hash may be another walk.
                key=f"valleywalk-{experiment.hash}-{here['code']}",
                priority=-position,
                resources={"GPU": 1} if device.startswith("cuda") else None,
            ): experiment
            for position, experiment in enumerate(experiments)
        }
        for task in as_completed(tasks, loop=client.loop):
            experiment = tasks[task]
            try:
                content = task.result()
                read_own(content, "what its worker returned", experiment)
                write(folder / f"{experiment.hash}.nc", content)
            except CancelledError:
                raise
            except Exception as error:
                failed.append((experiment, error))
            # What is here need not stay in the worker's memory.
            task.release()
            bar.update()
    return failed


@contextmanager
def _connected(scheduler: str | None) -> Iterator["Client"]:
    """A client of a scheduler; that none answers, or that it is lost, is said in one line."""
    try:
        require("cluster")
    except ModuleNotFoundError as error:
        raise ClusterError(str(error)) from None
    from distributed import Client

    start = "start one with `dask scheduler`, and give the address that it prints"
    with _silent("distributed", "distributed.client"):
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); {start}, such as "
                "tcp://10.0.0.1:8786"
            ) from None
        try:
            with client:
                yield client
        except (CancelledError, OSError) as error:
            raise ClusterError(
                f"the Dask scheduler at {scheduler!r} is lost; {start}, and ask again: "
                "finished walks are kept, begun ones go on where a worker has their checkpoint"
            ) from error


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Dask logs each attempt to connect again, with its traceback."""
    loggers = {name: logging.getLogger(name) for name in names}
    levels = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])


def _check_workers(client: "Client", here: Mapping[str, str]) -> None:
    """Refuse workers of another revision that are there now."""
    found = client.run(revision, on_error="return")
    others = {
        worker: f"{there}" if isinstance(there, Exception) else differing(there, here)
        for worker, there in found.items()
    }
    told = [f"{worker} ({how})" for worker, how in others.items() if how]
    if told:
        raise ClusterError(
            f"{len(told)} of {len(found)} workers are of another revision, and nothing was walked: "
            f"{'; '.join(told)}; install the same on all, and start the workers again"
        )


@cache
def revision() -> dict[str, str]:
    """What must be the same on a worker: the versions of packages, and this package's code."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return json.loads(environment()["versions"]) | {"code": digest.hexdigest()[:12]}


def differing(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """In what two revisions differ, in words; empty if they do not."""
    return ", ".join(
        f"{name} {there.get(name, 'none')}, here {here.get(name, 'none')}"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    )


def walk_on_worker(
    experiment: str, device: str, restart: bool, asked_by: Mapping[str, str]
) -> bytes:
    """On a worker: the file of an experiment's trace."""
    if how := differing(revision(), asked_by):
        _turn_away(how)
    store, wanted = Store(), Experiment.model_validate_json(experiment)
    store.get(wanted, device=device, restart=restart, progress=False)
    path = store.find(wanted)
    assert path is not None
    return path.read_bytes()


def _turn_away(how: str) -> None:
    """On a worker that joined with another revision: give the walk back, and say so."""
    from distributed import Reschedule, get_worker

    worker = get_worker()
    worker.log_event(TURNED_AWAY, {"worker": worker.address, "how": how})
    time.sleep(TURNED_AWAY_SECONDS)
    raise Reschedule


class _Told:
    """Says once of each worker that it is turned away."""

    def __init__(self) -> None:
        self.workers: set[str] = set()

    def __call__(self, event: tuple[float, Any]) -> None:
        _, told = event
        if told["worker"] not in self.workers:
            self.workers.add(told["worker"])
            say(
                f"worker {told['worker']} is of another revision and gets no walk "
                f"({told['how']}); install the same there, and start it again"
            )
