import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import xarray as xr
from made import FIELDS

from valleywalk import Experiment, Resources, Store, TraceError, compute, open_trace, save, walk
from valleywalk.evaluation import EvaluationPlan
from valleywalk.trace import VARIABLES, assemble
from valleywalk.walks.provenance import experiment_of, provenance


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with one trace, its file and its experiment."""
    store = Store(tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("recorded"))
    experiment = Experiment(**FIELDS)
    store.get(experiment, progress=False)
    return store, store.find(experiment), experiment


def test_a_trace_comes_back_as_it_was(kept, tmp_path):
    _, path, experiment = kept
    trace = open_trace(path, experiment.hash)
    save(trace, tmp_path / "copy.nc")
    assert open_trace(tmp_path / "copy.nc").identical(trace)
    assert experiment_of(trace) == experiment
    for name, variable in trace.data_vars.items():
        assert variable.dims == VARIABLES[name][0]
        assert variable.attrs["units"]
        assert variable.attrs["long_name"]
    for attribute in ("plan_hash", "dataset_hash", "versions", "git_commit", "device", "started"):
        assert trace.attrs[attribute]
    line = provenance(trace)
    for part in ("trained on 60 images", "width 0.05", experiment.hash, "seed 0", "batches of 20"):
        assert part in line
    assert ", no augmentation; convention text" in line


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": "clr"}, ", no augmentation, schedule clr; convention"),
        ({"curvature_every": 1, "curvature_images": 5}, "curvature on 20 of them each 1 epochs"),
        ({"curvature_every": 1, "curvature_images": 50}, "curvature on 40 of them each 1 epochs"),
        ({"curvature_every": 1}, "curvature on 60 of them each 1 epochs"),
        (
            {"update": "gd", "noise_factor": 0.1, "switch_epoch": 1, "switch_learning_rate": 0.01}
            | {"epochs": 2},
            ", isotropic noise whose variance is 0.1 times the largest gradient variance "
            "(maximum); after epoch 1 gd with learning rate 0.01, batch size 20, with noise; conv",
        ),
        (
            {"update": "gd", "switch_epoch": 1, "switch_update": "sgd", "switch_batch_size": 30}
            | {"epochs": 2},
            "; after epoch 1 sgd with learning rate 0.1, batch size 30, no noise; convention",
        ),
    ],
)
def test_provenance_says_what_a_walk_does_in_its_own_way(fields, said):
    trace = walk(Experiment(**FIELDS | {"probed_epochs": ()} | fields), progress=False)
    assert said in provenance(trace)
    if "curvature_every" in fields:
        measured = int(said.split()[2])
        plan = EvaluationPlan.draw(60, 20, seed=0)
        assert plan.first(fields.get("curvature_images")).images == measured


def test_a_kept_trace_is_not_walked_again(kept, monkeypatch):
    store, _, experiment = kept
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked again"))
    assert store.get(experiment).experiment_hash == experiment.hash
    compute([experiment], store)


def test_recorded_traces_come_first_and_are_never_written(kept, tmp_path):
    _, path, experiment = kept
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    trace = open_trace(path).assign_attrs(device="recorded elsewhere")
    save(trace, recorded / path.name)
    store = Store(path.parent, recorded)
    assert store.get(experiment).device == "recorded elsewhere"
    store.get(experiment, recompute=True, progress=False)
    assert store.get(experiment).device == "recorded elsewhere"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "not sealed"])
def test_a_damaged_trace_is_refused_by_name_and_recomputed_only_on_request(kept, tmp_path, damage):
    _, path, experiment = kept
    content = path.read_bytes()
    middle = len(content) // 2
    broken = {
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
        "text": b"no trace at all",
        "not sealed": content[:-50],
    }[damage]
    file = tmp_path / path.name
    file.write_bytes(broken)
    store = Store(tmp_path, tmp_path / "recorded")
    with pytest.raises(TraceError, match=path.name):
        store.get(experiment)
    assert file.read_bytes() == broken
    store.get(experiment, recompute=True, progress=False)
    assert store.get(experiment).experiment_hash == experiment.hash


def test_other_programs_read_a_trace(kept):
    _, path, _ = kept
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        assert opened.identical(open_trace(path))


def test_a_file_takes_little_more_than_its_numbers(tmp_path):
    """In the older format of HDF5 this one takes 21 kB."""
    steps = np.arange(480)
    records = [{"cosine": math.cos(step), "distance": step**0.5} for step in steps]
    trace = assemble(records, alpha=[0, 1])
    trace["learning_rate"] = ("iteration", np.full(480, 0.1))
    numbers = trace.cosine.nbytes + trace.distance.nbytes
    save(trace, tmp_path / "walk.nc")
    assert open_trace(tmp_path / "walk.nc").identical(trace)
    assert (tmp_path / "walk.nc").stat().st_size < numbers + 10_000


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"schema": "other"}, "no trace of valleywalk"),
        ({"experiment_hash": "0" * 16}, "holds experiment 0000"),
    ],
)
def test_a_trace_of_another_kind_is_refused(kept, tmp_path, attributes, message):
    _, path, experiment = kept
    save(open_trace(path).assign_attrs(attributes), tmp_path / path.name)
    with pytest.raises(TraceError, match=message):
        Store(tmp_path, tmp_path).get(experiment)


def test_a_folder_that_cannot_be_made_is_said_before_the_walk(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    store = Store(tmp_path / "file" / "cache")
    with pytest.raises(OSError, match="traces cannot be kept in"):
        store.get(Experiment(**FIELDS))


def test_parallel_walks_give_the_same_and_a_failing_one_does_not_stop_the_others(kept, tmp_path):
    _, path, experiment = kept
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    missing = Experiment(model="mlp", dataset="cifar10")
    with pytest.raises(RuntimeError, match=rf"1 of 2 walks failed:\n{missing.hash}.*--download"):
        compute([experiment, missing, experiment], store, Resources(processes=2), progress=False)
    computed = store.get(experiment)
    assert computed.drop_attrs().identical(open_trace(path).drop_attrs())


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX process groups")
def test_ctrl_c_keeps_the_steps_and_leaves_no_process_behind(tmp_path):
    code = (
        "from valleywalk import *\n"
        "if __name__ == '__main__':\n"
        f"    fields = {FIELDS | {'epochs': 100_000}}\n"
        f"    store = Store({str(tmp_path / 'cache')!r}, {str(tmp_path)!r})\n"
        "    walks = [Experiment(**fields, seed=s) for s in (1, 2)]\n"
        "    compute(walks, store, Resources(processes=2))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    shown = (tmp_path / "shown").open("w+")
    process = subprocess.Popen(
        [sys.executable, script],
        start_new_session=True,
        stderr=shown,
        # A job in the background ignores SIGINT and hands that on to its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not re.search(r"[1-9]\d* steps", (tmp_path / "shown").read_text()):
        assert process.poll() is None, "still walking"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    said = (tmp_path / "shown").read_text()
    assert "the walks go on from where they were" in said
    assert list((tmp_path / "cache").glob("*.checkpoint"))
    for _ in range(50):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    pytest.fail("a process of the group is still there")


KILLED = """
import os, sys
os.environ["VALLEYWALK_DATA"] = sys.argv[1]
from valleywalk import Experiment, Resources, Store, compute
if __name__ == "__main__":
    fields = {"model": "mlp", "dataset": "mnist5k", "width": 0.1, "evaluate_every": 0}
    walks = [Experiment(**fields, epochs=2000, seed=seed) for seed in range(2)]
    compute(walks, Store(), Resources(processes=2), progress=False)
"""


def test_a_killed_process_leaves_no_workers(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    parent = psutil.Popen([sys.executable, str(script), str(tmp_path)])
    try:
        deadline = time.monotonic() + 120
        workers = []
        # Two walkers and the tracker of shared resources.
        while len(workers) < 3 and time.monotonic() < deadline:
            workers = parent.children(recursive=True)
            time.sleep(0.2)
        assert len(workers) >= 2
        time.sleep(5)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert not alive


SAME = """
import sys
from valleywalk import Experiment, Store, walk
import valleywalk.walks.walk
def counted(*args, **options):
    print("walks", flush=True)
    sys.stdin.readline()
    return walk(*args, **options)
valleywalk.walks.walk.walk = counted
store = Store(sys.argv[2], sys.argv[2] + "-recorded")
print(store.get(Experiment.model_validate_json(sys.argv[1]), progress=True).experiment_hash)
"""


def test_two_processes_that_ask_for_the_same_walk_it_once(kept, tmp_path):
    """The second waits for the first, says so, and then has the same trace."""
    experiment = Experiment(**FIELDS)
    command = [sys.executable, "-c", SAME, experiment.model_dump_json(), str(tmp_path / "cache")]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")} | {"text": True}
    first = subprocess.Popen(command, **pipes)
    assert first.stdout.readline() == "walks\n"
    second = subprocess.Popen(command, **pipes)
    assert any("waiting for another process" in line for line in second.stderr)
    # Only now the first one walks on.
    assert first.communicate("\n", timeout=120)[0] == f"{experiment.hash}\n"
    assert second.communicate(timeout=120)[0] == f"{experiment.hash}\n", "it did not walk"
    assert first.returncode == second.returncode == 0
    open_trace(tmp_path / "cache" / f"{experiment.hash}.nc", experiment.hash)


def test_a_lock_of_a_killed_process_holds_up_nobody(kept, tmp_path):
    experiment = Experiment(**FIELDS)
    command = [sys.executable, "-c", SAME, experiment.model_dump_json(), str(tmp_path / "cache")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "walks\n"
    process.kill()
    process.wait()
    assert (tmp_path / "cache" / ".locks" / experiment.hash).exists()
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    with store._alone(experiment, tell=False):
        pass


def walk_and_be_killed(store, experiment, resources):
    """What a worker does; the process of the longest walk is killed at its third step."""
    steps = []

    def step():
        steps.append(1)
        if experiment.epochs > 100 and len(steps) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    store.get(experiment, restart=resources.restart, progress=step)


@pytest.mark.parametrize("restart", [False, True])
def test_a_walk_whose_process_is_killed_takes_no_other_down(restart, kept, tmp_path, monkeypatch):
    """Its pool breaks; the others go on in pools of their own, or start over there."""
    monkeypatch.setattr("valleywalk.walks.parallel._get_in_worker", walk_and_be_killed)
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    victim = Experiment(**FIELDS, epochs=1000)
    others = [Experiment(**FIELDS, seed=seed) for seed in (1, 2)]
    if restart:
        store.folder.mkdir()
        for experiment in others:
            (store.folder / f"{experiment.hash}.checkpoint").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=rf"(?s)1 of 3 walks failed:\n{victim.hash}.*killed"):
        compute([victim, *others], store, Resources(processes=1, restart=restart), progress=False)
    assert all(store.find(experiment) for experiment in others)
