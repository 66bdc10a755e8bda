"""Walks on the workers of a Dask scheduler; the traces come back into the local store."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..files import atomic_path
from .experiment import Experiment
from .resources import Resources
from .store import Store

CONNECT_SECONDS = 15


class ClusterError(RuntimeError):
    """Dask is not installed, or no scheduler answers."""


def compute(
    experiments: Sequence[Experiment], folder: Path, resources: Resources, bar: tqdm
) -> list[tuple[Experiment, BaseException]]:
    """Walk each experiment on some worker, and write its trace into a folder here.

    A walk whose worker is lost is walked again by another one. Workers keep traces and
    checkpoints in their own data folder; where they share it, a walk goes on from where it was.

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
        Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ClusterError(
            "walking on a cluster needs Dask: pip install 'valleywalk[cluster]'"
        ) from None
    try:
        client = Client(resources.scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {resources.scheduler!r} ({error}); start one with `dask "
            "scheduler`, and give the address that it prints, such as tcp://10.0.0.1:8786"
        ) from None
    failed: list[tuple[Experiment, BaseException]] = []
    device = resources.device
    with client:
        tasks = {
            client.submit(
                walk_on_worker,
                experiment.model_dump_json(),
                device,
                key=f"valleywalk-{experiment.hash}",
                priority=-position,
                resources={"GPU": 1} if device.startswith("cuda") else None,
            ): experiment
            for position, experiment in enumerate(experiments)
        }
        for task in as_completed(tasks, loop=client.loop):
            experiment = tasks[task]
            try:
                content = task.result()
            except Exception as error:
                failed.append((experiment, error))
            else:
                with atomic_path(folder / f"{experiment.hash}.nc") as temporary:
                    temporary.write_bytes(content)
            # What is here need not stay in the worker's memory.
            task.release()
            bar.update()
    return failed


def walk_on_worker(experiment: str, device: str) -> bytes:
    """On a worker: the file of an experiment's trace."""
    store, wanted = Store(), Experiment.model_validate_json(experiment)
    store.get(wanted, device=device, progress=False)
    path = store.find(wanted)
    assert path is not None
    return path.read_bytes()
