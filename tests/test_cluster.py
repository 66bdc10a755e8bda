"""Walks on a real Dask scheduler with worker processes of their own, on loopback."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from distributed import Client

from valleywalk import Experiment, Resources, Store, compute
from valleywalk.cli import main
from valleywalk.paper.factors import Factors
from valleywalk.walks.cluster import ClusterError

WAIT = 90


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"no {what} after {WAIT} s")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, each with a data folder of its own; gives address, processes."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    command += ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **quiet)]
    try:
        wait_for(file.is_file, "scheduler")
        for name in ("first", "second"):
            command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny"]
            command += ["--scheduler-file", str(file), "--nthreads", "1", "--name", name]
            command += ["--no-dashboard", "--local-directory", str(folder / name)]
            # Dask would give its workers as many torch threads as there are cores.
            own = {"VALLEYWALK_DATA": str(folder / name / "data"), "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen(command, env=os.environ | own, **quiet))
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=WAIT)
            yield client, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_figure_completes_though_a_worker_is_killed_in_mid_walk(cluster, tmp_path):
    client, _ = cluster
    address = client.scheduler.address
    fields = {"scale": "smoke", "model": "mlp", "iterations": 600}
    here, there = tmp_path / "here", tmp_path / "there"
    page = Factors(**fields, traces=str(there), scheduler=address)
    done = []
    thread = threading.Thread(target=lambda: done.append(page.get_traces()))
    thread.start()

    def busy():
        """Process number of a worker that has been at a walk for a while."""
        now = {worker: tasks for worker, tasks in client.processing().items() if tasks}
        return len(now) == 2 and next(iter(now))

    victim = wait_for(busy, "walk on a worker")
    number = client.run(os.getpid, workers=[victim])[victim]
    time.sleep(0.5)
    assert victim in client.processing(), "it is in mid-walk"
    os.kill(number, signal.SIGKILL)
    thread.join(timeout=WAIT)
    assert done, "the figure did not complete"
    local = Factors(**fields, traces=str(here))
    traces = local.get_traces()
    for far, near in zip(done[0], traces, strict=True):
        assert far.drop_attrs().identical(near.drop_attrs())
        assert far.attrs["final_state_hash"] == near.attrs["final_state_hash"]
    assert page.table(done[0]) == local.table(traces)
    assert len(list(there.glob("*.nc"))) == len(traces)
    assert len(client.scheduler_info()["workers"]) == 1, "one worker was killed"


def test_a_walk_that_fails_on_a_worker_is_named_and_the_others_come_back(cluster, tmp_path):
    client, _ = cluster
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    fields = {"model": "mlp", "dataset": "mnist5k", "width": 0.05, "training_images": 60}
    sizes = {"batch_size": 20, "evaluation_batch_size": 20}
    good, bad = Experiment(**fields, **sizes), Experiment(model="mlp", dataset="cifar10")
    resources = Resources(scheduler=client.scheduler.address)
    with pytest.raises(RuntimeError, match=rf"1 of 2 walks failed:\n{bad.hash}.*--download"):
        compute([good, bad], store, resources, progress=False)
    assert store.get(good).experiment_hash == good.hash


def test_no_scheduler_is_said_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("valleywalk.walks.cluster.CONNECT_SECONDS", 2)
    store = Store(tmp_path)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        compute(
            [Experiment(model="mlp", dataset="mnist5k")],
            store,
            Resources(scheduler="tcp://127.0.0.1:1"),
        )
    with pytest.raises(SystemExit, match="no Dask scheduler answers at 'nonsense"):
        main(["figure", "fig1", "--scale", "smoke", "--scheduler", "nonsense://x"])


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    experiment = Experiment(model="mlp", dataset="mnist5k")
    with pytest.raises(ClusterError, match=r"pip install 'valleywalk\[cluster\]'"):
        compute([experiment], Store(tmp_path), Resources(scheduler="tcp://x"))
