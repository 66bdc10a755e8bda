"""Walks on a real Dask scheduler with worker processes of their own, on loopback."""

import logging
import logging.handlers
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from valleywalk import Experiment, Resources, Store, compute, open_trace, save, walk
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


FIELDS = {"model": "mlp", "dataset": "mnist5k", "width": 0.05, "training_images": 60}
FIELDS |= {"batch_size": 20, "evaluation_batch_size": 20}
# In a worker's process.
MODULE = "from valleywalk.walks import cluster\n"
OTHER = MODULE + (
    "cluster.revision = lambda own=cluster.revision(): own | {'code': 'abc', 'torch': '1.0'}\n"
    "cluster.TURNED_AWAY_SECONDS = 0.2\n"
)
SAME = MODULE + "import importlib\nimportlib.reload(cluster)\n"


@contextmanager
def changed(client, code, workers=None):
    """Run code in workers, and undo it."""
    client.run(exec, code, workers=workers)
    try:
        yield
    finally:
        client.run(exec, SAME, workers=workers)


def test_workers_of_another_revision_are_named_before_anything_is_walked(cluster, tmp_path):
    client, _ = cluster
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    worker, _ = client.scheduler_info()["workers"]
    resources = Resources(scheduler=client.scheduler.address)
    said = rf"1 of 2 workers are of another revision.*{worker} \(code abc, here \w+, torch 1\.0, "
    with changed(client, OTHER, [worker]), pytest.raises(ClusterError, match=said):
        compute([Experiment(**FIELDS)], store, resources, progress=False)
    assert not list(store.folder.glob("*"))


def test_a_worker_that_joins_with_another_revision_gets_no_walk(
    cluster, tmp_path, monkeypatch, capsys
):
    client, _ = cluster
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    worker, _ = client.scheduler_info()["workers"]
    # As if it were not there yet.
    monkeypatch.setattr("valleywalk.walks.cluster._check_workers", lambda *a: None)
    experiments = [Experiment(**FIELDS, seed=seed) for seed in range(4)]
    with changed(client, OTHER, [worker]):
        compute(experiments, store, Resources(scheduler=client.scheduler.address), progress=False)
        folder = client.run(os.getenv, "VALLEYWALK_DATA", workers=[worker])[worker]
    for experiment in experiments:
        open_trace(store.folder / f"{experiment.hash}.nc", experiment.hash)
    assert capsys.readouterr().err.count(f"worker {worker} is of another revision") == 1
    walked = {path.stem for path in Path(folder).glob("cache/*.nc")}
    assert not walked & {experiment.hash for experiment in experiments}


@pytest.mark.parametrize("what", ["another walk", "truncated", "nothing", "no bytes"])
def test_what_a_worker_returns_is_checked_before_it_is_kept(cluster, tmp_path, what):
    client, _ = cluster
    wanted = Experiment(**FIELDS, seed=10)
    file = tmp_path / "returned"
    save(walk(Experiment(**FIELDS), progress=False), file)
    content = file.read_bytes()
    file.write_bytes({"truncated": content[:-10], "nothing": b""}.get(what, content))
    returned = "None" if what == "no bytes" else f"open({str(file)!r}, 'rb').read()"
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    resources = Resources(scheduler=client.scheduler.address)
    said = {
        "another walk": f"returned holds experiment .*, not {wanted.hash}",
        "no bytes": "",
    }.get(what, "returned is damaged")
    with (
        changed(client, MODULE + f"cluster.walk_on_worker = lambda *a: {returned}\n"),
        pytest.raises(RuntimeError, match=rf"1 of 1 walks failed:\n{wanted.hash}.*{said}"),
    ):
        compute([wanted], store, resources, progress=False)
    assert store.find(wanted) is None
    assert not [path for path in store.folder.iterdir() if path.is_file()]
    compute([wanted], store, resources, progress=False)
    assert store.get(wanted).experiment_hash == wanted.hash


def test_a_walk_that_fails_on_a_worker_is_named_and_the_others_come_back(cluster, tmp_path):
    client, _ = cluster
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    good, bad = Experiment(**FIELDS), Experiment(model="mlp", dataset="cifar10")
    resources = Resources(scheduler=client.scheduler.address)
    with pytest.raises(RuntimeError, match=rf"1 of 2 walks failed:\n{bad.hash}.*--download"):
        compute([good, bad], store, resources, progress=False)
    assert store.get(good).experiment_hash == good.hash


def test_restart_holds_on_a_worker(cluster, tmp_path):
    client, _ = cluster
    experiment = Experiment(**FIELDS, seed=30)
    for data in client.run(os.getenv, "VALLEYWALK_DATA").values():
        folder = Path(data) / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{experiment.hash}.checkpoint").write_bytes(b"damaged")
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    scheduler = client.scheduler.address
    with pytest.raises(RuntimeError, match=r"is damaged.*--restart"):
        compute([experiment], store, Resources(scheduler=scheduler), progress=False)
    compute([experiment], store, Resources(scheduler=scheduler, restart=True), progress=False)
    assert store.find(experiment)


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
    assert victim not in client.scheduler_info()["workers"], "it was killed"


def test_a_killed_scheduler_is_said_in_one_line(cluster, tmp_path, monkeypatch):
    client, (scheduler, *_) = cluster
    monkeypatch.setattr("valleywalk.walks.cluster.CONNECT_SECONDS", 2)
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    long = Experiment(**FIELDS, epochs=100_000, seed=20)
    short = Experiment(**FIELDS, seed=21)
    errors = []

    def ask():
        try:
            resources = Resources(scheduler=client.scheduler.address)
            compute([short, long], store, resources, progress=False, in_order=True)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: store.find(short), "first walk")
    logged = logging.handlers.BufferingHandler(1000)
    logging.getLogger("distributed.client").addHandler(logged)
    scheduler.kill()
    thread.join(timeout=WAIT)
    logging.getLogger("distributed.client").removeHandler(logged)
    (error,) = errors
    assert isinstance(error, ClusterError)
    assert "is lost; start one with" in str(error)
    assert "\n" not in str(error)
    assert store.get(short).experiment_hash == short.hash
    assert not logged.buffer
