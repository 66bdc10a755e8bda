"""A walk that is stopped at any moment and started again ends as if it had never been stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from valleywalk import Experiment, Store, WalkError, compute, open_trace, walk
from valleywalk.evaluation import predict
from valleywalk.probes.interpolation import Interpolation
from valleywalk.walks.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from valleywalk.walks.interruption import interruptions
from valleywalk.walks.provenance import provenance

MLP = {"model": "mlp", "dataset": "mnist5k", "width": 0.1, "training_images": 160}
VGG = {"model": "vgg11", "dataset": "photos", "width": 0.0625, "training_images": 40}
SMALL = {"batch_size": 20, "evaluation_batch_size": 20, "epochs": 3, "points": 3}
GD = MLP | SMALL | {"update": "gd", "probed_epochs": (), "epochs": 6}

WALKS = {
    "sgd": MLP | SMALL,
    "window": MLP | SMALL | {"probed_epochs": (2,), "probed_iterations": 3},
    "code": MLP | SMALL | {"convention": "code"},
    "augmented": VGG | SMALL | {"augmentation": True, "convention": "code"},
    "few points": MLP | SMALL | {"points": 10, "tolerance": 0.02, "sampled_iterations": 4},
    "eval mode": VGG | SMALL | {"batch_norm": "eval"},
    "curvature": MLP | SMALL | {"curvature_every": 1, "curvature_images": 40, "probed_epochs": ()},
    "schedule": MLP | SMALL | {"schedule": "trapezoid", "probed_epochs": ()},
    "clr": MLP | SMALL | {"schedule": "clr", "probed_epochs": ()},
    "noise": GD | {"noise_factor": 0.1},
    "cross-fitted": GD | {"noise_factor": 0.1, "noise_estimate": "cross-fitted"},
    "switch": GD
    | {"noise_factor": 0.1, "switch_epoch": 2, "switch_update": "sgd", "switch_batch_size": 40},
}


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def stop_after(steps):
    left = [steps]

    def step():
        left[0] -= 1
        if not left[0]:
            raise StoppedError

    return step


@pytest.mark.parametrize("fields", WALKS.values(), ids=WALKS)
def test_a_resumed_walk_ends_with_the_same_bits(fields, tmp_path):
    experiment = Experiment(**fields)
    whole = walk(experiment, progress=False)
    file = tmp_path / "walk.checkpoint"
    steps = len(whole["iteration"])
    # Stopped in each stretch anew, each time in another step of an epoch, and just before its end.
    for stretch in (2, 3, steps - 6, 2):
        with pytest.raises(StoppedError):
            walk(
                experiment,
                progress=stop_after(max(2, stretch)),
                checkpoint=file,
                checkpoint_seconds=0,
            )
    resumed = walk(experiment, progress=False, checkpoint=str(file), checkpoint_seconds=0)
    assert resumed.drop_attrs().identical(whole.drop_attrs())
    for name in ("final_state_hash", "plan_hash", "gradient_variance", "noise_deviation"):
        assert resumed.attrs.get(name) == whole.attrs.get(name)


def test_a_resumed_walk_does_not_walk_again_what_was_walked(tmp_path):
    experiment, file, seen = Experiment(**MLP, **SMALL), tmp_path / "c", []
    with pytest.raises(StoppedError):
        walk(experiment, progress=stop_after(10), checkpoint=file, checkpoint_seconds=0)
    walk(experiment, progress=lambda: seen.append(1), checkpoint=file)
    # 24 steps in all; the tenth was stopped before its checkpoint.
    assert len(seen) == 24 - 9


def test_a_finished_epoch_is_kept_when_it_is_cheap(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["valleywalk.walks.checkpoint"], "FIRST_COST", 0.0)
    file = tmp_path / "c"
    with pytest.raises(StoppedError):
        walk(Experiment(**MLP, **SMALL), progress=stop_after(12), checkpoint=file)
    header = json.loads(_header(file)["values"])
    assert header["position"] == [2, 0]


def test_probes_that_remember_are_given_back_what_they_knew():
    probe = Interpolation(2)
    other = Interpolation(2)
    other.restore(probe.state())
    assert other.state()["losses"] == ()
    assert other.state()["end"] == []


@pytest.fixture
def interrupted(monkeypatch):
    """Walk, and raise signals in the midst of a measurement: that of the so many-th batch."""
    heard = (signal.SIGINT, signal.SIGTERM)
    # A test run in the background ignores Ctrl-C.
    before = [signal.signal(number, signal.default_int_handler) for number in heard]

    def run(experiment, at, *numbers, **options):
        left = [at]

        def interrupting(model, inputs):
            left[0] -= 1
            for number in numbers if not left[0] else ():
                signal.raise_signal(number)
            return predict(model, inputs)

        with monkeypatch.context() as patched:
            patched.setattr("valleywalk.evaluation.predict", interrupting)
            return walk(experiment, progress=False, **options)

    yield run
    assert {signal.getsignal(number) for number in heard} == {signal.default_int_handler}
    for number, handler in zip(heard, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fields", ["sgd", "few points", "switch"])
def test_an_interrupted_walk_finishes_its_step_and_keeps_it(fields, number, interrupted, tmp_path):
    """Minutes before a checkpoint is due, also in the midst of an epoch's measurements."""
    experiment, file = Experiment(**WALKS[fields]), tmp_path / "c"
    whole = walk(experiment, progress=False)
    steps = len(whole["iteration"])
    for at in (10, 1, 4):
        with pytest.raises(KeyboardInterrupt, match=rf"after step \d+ of {steps}; asked for again"):
            interrupted(experiment, at, number, checkpoint=file)
    same(walk(experiment, progress=False, checkpoint=file), whole)


def test_a_second_interruption_stops_a_walk_at_once(interrupted, tmp_path):
    experiment, file = Experiment(**MLP | SMALL), tmp_path / "c"
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        interrupted(experiment, 40, signal.SIGINT, signal.SIGINT, checkpoint=file)
    assert not file.exists()
    # A segment takes three losses of eight batches, the first one four.
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 24"):
        interrupted(experiment, 40, signal.SIGINT, signal.SIGTERM, checkpoint=file)


def test_without_a_checkpoint_an_interruption_stops_a_walk_at_once(interrupted):
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        interrupted(Experiment(**MLP | SMALL), 40, signal.SIGINT)


def test_an_ignored_interruption_stays_so(interrupted, tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupted(Experiment(**MLP | SMALL), 40, signal.SIGINT, checkpoint=tmp_path / "c")
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_walk_in_another_thread_hears_no_signals(interrupted, tmp_path):
    options = {"progress": False, "checkpoint": tmp_path / "c"}
    traces = []
    other = threading.Thread(
        target=lambda: traces.append(walk(Experiment(**MLP | SMALL), **options))
    )
    other.start()
    other.join()
    assert len(traces) == 1


def test_an_interrupted_walk_says_that_it_is_finishing_its_step(interrupted, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), interruptions(wanted=True, tell=True):
        signal.raise_signal(signal.SIGINT)
    assert "this step is finished first; Ctrl-C again stops now" in capsys.readouterr().err


KILLED = """
import sys
from pathlib import Path
from valleywalk import Experiment, walk
experiment = Experiment.model_validate_json(sys.argv[1])
print("ready", flush=True)
walk(experiment, progress=False, checkpoint=Path(sys.argv[2]), checkpoint_seconds=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_at_random_moments(tmp_path):
    experiment = Experiment(**MLP, **(SMALL | {"epochs": 20, "curvature_every": 4}))
    file = tmp_path / "walk.checkpoint"
    random = np.random.default_rng(int(time.time()))
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, experiment.model_dump_json(), str(file)],
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(float(random.uniform(0.3, 2.0)))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills, "the walk is too short to be killed"
    resumed = walk(experiment, progress=False, checkpoint=file)
    whole = walk(experiment, progress=False)
    assert resumed.drop_attrs().identical(whole.drop_attrs())
    assert resumed.attrs["final_state_hash"] == whole.attrs["final_state_hash"]
    # What a kill in the midst of writing leaves is no checkpoint, and is never read.
    assert all(path.suffix in (".checkpoint", ".part") for path in tmp_path.iterdir())


@pytest.fixture
def stopped(tmp_path):
    """A store in which a walk was stopped, its experiment and its checkpoint."""
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    experiment = Experiment(**MLP, **SMALL)
    store.folder.mkdir()
    file = store.folder / f"{experiment.hash}.checkpoint"
    with pytest.raises(StoppedError):
        walk(experiment, progress=stop_after(10), checkpoint=file, checkpoint_seconds=0)
    return store, experiment, file


def test_the_store_goes_on_and_cleans_up(stopped):
    store, experiment, file = stopped
    trace = store.get(experiment, progress=False)
    assert trace.drop_attrs().identical(walk(experiment, progress=False).drop_attrs())
    assert not file.exists()


def test_an_interrupted_recompute_is_gone_on_with_and_from_no_shorter_walk(stopped):
    store, experiment, _ = stopped
    short = Experiment(**MLP | SMALL | {"epochs": 1})
    store.get(short, keep_state=True, progress=False)
    walked = []
    store.get(experiment, recompute=True, progress=lambda: walked.append(1))
    assert len(walked) == 24 - 9, "the stopped one kept nine of its steps"
    walked.clear()
    store.get(experiment, recompute=True, progress=lambda: walked.append(1))
    assert len(walked) == 24


def test_a_state_that_cannot_be_kept_leaves_the_checkpoint(stopped, monkeypatch):
    store, experiment, file = stopped
    module = sys.modules["valleywalk.walks.walk"]
    keep = module.save_checkpoint

    def full(path, *given):
        if path.suffix == ".state":
            raise OSError(f"{path} cannot be written (no room)")
        keep(path, *given)

    monkeypatch.setattr(module, "save_checkpoint", full)
    with pytest.raises(OSError, match=r"\.state cannot be written .no room.; asked for again, the"):
        store.get(experiment, keep_state=True, progress=False)
    assert file.is_file()


def _header(file):
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def damage(file, how):
    content = file.read_bytes()
    middle = len(content) - 500
    if how == "another tensor":
        tensors = load_file(file)
        tensors["model.1.weight"] = tensors["model.1.weight"] + 1
        save_file(tensors, file, metadata=_header(file))
    else:
        file.write_bytes(
            {
                "truncated": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "empty": b"",
                "text": b"no checkpoint",
            }[how]
        )


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "text", "another tensor"])
def test_a_damaged_checkpoint_is_refused_by_name_and_restart_starts_over(stopped, how):
    store, experiment, file = stopped
    damage(file, how)
    broken = file.read_bytes()
    with pytest.raises(CheckpointError, match=rf"{file.name} is damaged.*--restart"):
        store.get(experiment, progress=False)
    assert file.read_bytes() == broken
    trace = store.get(experiment, restart=True, progress=False)
    assert trace.drop_attrs().identical(walk(experiment, progress=False).drop_attrs())
    assert not file.exists()


@pytest.mark.parametrize("name", ["format", "torch", "valleywalk", "device", "experiment", "data"])
def test_a_checkpoint_of_something_else_is_refused(stopped, name):
    store, experiment, file = stopped
    made_by = json.loads(_header(file)["made_by"])
    tensors, values = load_checkpoint(file, made_by)
    if name == "format":
        made_by["format"] = "0"
    save_checkpoint(file, tensors, values, made_by | {name: "other"})
    with pytest.raises(CheckpointError, match=f"{file.name} was made with {name} other"):
        store.get(experiment, progress=False)


def test_a_checkpoint_holds_no_pickle_and_keeps_every_bit(tmp_path):
    file = tmp_path / "c"
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor([1, 2], dtype=torch.uint8)}
    values = {"big": 2**127 + 1, "third": 1 / 3, "nan": float("nan")}
    save_checkpoint(file, tensors, values, {})
    found, known = load_checkpoint(file, {})
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert (known["big"], known["third"]) == (values["big"], values["third"])
    assert np.isnan(known["nan"])
    torch.save(tensors, file)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(file, {})


def test_a_divergent_walk_keeps_what_was_seen(tmp_path):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    experiment = Experiment(**MLP, **SMALL, learning_rate=1e20)
    with pytest.raises(
        WalkError, match=r"at iteration (\d+) with .*1e\+20.*diverged\.nc"
    ) as raised:
        store.get(experiment, progress=False)
    (file,) = store.folder.glob("*.diverged.nc")
    trace = open_trace(file, experiment.hash)
    assert f"iteration {len(trace['iteration'])} " in str(raised.value)
    assert len(trace["iteration"]) >= 1
    assert store.find(experiment) is None, "it is no trace of the whole walk"
    with pytest.raises(RuntimeError, match=r"1 of 1 walks failed:\n.*diverged\.nc"):
        compute([experiment], store, progress=False)


# A walk of three epochs, and what it is extended by.
EXTENSIONS = {
    "sgd": (MLP | SMALL, {"epochs": 5}),
    "window": (WALKS["window"], {"epochs": 6, "probed_epochs": (2, 5)}),
    "drawn": (
        WALKS["few points"] | {"probed_epochs": (1, 3), "probed_iterations": 2},
        {"epochs": 5, "probed_epochs": (1, 3, 5)},
    ),
    "augmented": (WALKS["augmented"] | {"evaluate_every": 2}, {"epochs": 4}),
    "eval mode": (WALKS["eval mode"], {"epochs": 4}),
    "curvature": (WALKS["curvature"], {"epochs": 5}),
    "probed later": (MLP | SMALL | {"probed_epochs": ()}, {"epochs": 5, "probed_epochs": (4,)}),
    "noise": (WALKS["noise"], {"epochs": 9}),
}


def same(trace, other):
    assert trace.drop_attrs().identical(other.drop_attrs())
    for name in ("final_state_hash", "plan_hash", "gradient_variance", "experiment_hash"):
        assert trace.attrs.get(name) == other.attrs.get(name)


@pytest.mark.parametrize(("fields", "more"), EXTENSIONS.values(), ids=EXTENSIONS)
def test_an_extended_walk_ends_with_the_bits_of_the_long_one(fields, more, tmp_path):
    short, long = Experiment(**fields), Experiment(**fields | more)
    store, kept = Store(tmp_path / "cache", tmp_path / "recorded"), f"{short.hash}.state"
    first = store.get(short, keep_state=True, progress=False)
    seen = []
    extended = store.get(long, progress=lambda: seen.append(1))
    whole = walk(long, progress=False)
    assert len(seen) == len(whole["iteration"]) - len(first["iteration"])
    same(extended, whole)
    names = {path.name for path in store.folder.iterdir() if path.is_file()}
    assert names == {f"{short.hash}.nc", f"{long.hash}.nc", kept}


def test_an_extended_walk_that_is_stopped_goes_on_from_its_own_checkpoint(tmp_path):
    short, long = Experiment(**MLP | SMALL), Experiment(**MLP | SMALL | {"epochs": 5})
    kept, file, seen = tmp_path / "a.state", tmp_path / "b.checkpoint", []
    walk(short, progress=False, kept_state=kept)
    own = {"checkpoint": file, "checkpoint_seconds": 0, "shorter": kept}
    with pytest.raises(StoppedError):
        walk(long, progress=stop_after(5), **own)
    same(walk(long, progress=lambda: seen.append(1), **own), walk(long, progress=False))
    assert len(seen) == 16 - 4


def test_the_longest_of_shorter_walks_is_taken(stopped, capsys):
    """Kept states and walks in progress; what cannot be read is no hindrance."""
    store, experiment, file = stopped
    long = Experiment(**MLP | SMALL | {"epochs": 5})
    (store.folder / "damaged.state").write_bytes(b"nothing")
    other = Experiment(**MLP | SMALL | {"epochs": 2, "seed": 1})
    store.get(other, keep_state=True, progress=False)
    store.get(Experiment(**MLP | SMALL | {"epochs": 1}), keep_state=True, progress=False)
    trace = store.get(long)
    assert f"goes on from {file.name}, a shorter walk, with epoch 2, step 1" in (
        capsys.readouterr().err
    )
    same(trace, walk(long, progress=False))
    assert file.is_file(), "the shorter walk can still go on"
    store.get(experiment, keep_state=True, progress=False)
    longer = Experiment(**MLP | SMALL | {"epochs": 6})
    store.get(longer)
    assert f"goes on from {experiment.hash}.state" in capsys.readouterr().err


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_shorter_walk_that_ends_meanwhile_is_no_hindrance(stopped, monkeypatch, kept, progress):
    """Its checkpoint is gone between the moment it is chosen and the one it is read."""
    store, _, file = stopped
    long, seen = Experiment(**MLP | SMALL | {"epochs": 5}), []
    module = sys.modules["valleywalk.walks.extension"]
    longest = module.longest_shorter

    def chosen(*given):
        seen.append(longest(*given))
        if file.is_file():
            content = file.read_bytes()
            file.unlink()
            if kept:
                file.with_suffix(".state").write_bytes(content)
        return seen[-1]

    monkeypatch.setattr(module, "longest_shorter", chosen)
    same(store.get(long, progress=progress), walk(long, progress=False))
    assert seen == [file, file.with_suffix(".state") if kept else None]


def test_restart_begins_at_the_first_step(tmp_path, capsys):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    store.get(Experiment(**MLP | SMALL), keep_state=True, progress=False)
    store.get(Experiment(**MLP | SMALL | {"epochs": 4}), restart=True)
    assert "goes on" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["format", "torch", "valleywalk", "device", "data"])
def test_a_kept_state_of_something_else_is_refused(tmp_path, name):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    short = Experiment(**MLP | SMALL)
    store.get(short, keep_state=True, progress=False)
    file = store.folder / f"{short.hash}.state"
    made_by = json.loads(_header(file)["made_by"])
    tensors, values = load_checkpoint(file, made_by)
    save_checkpoint(file, tensors, values, made_by | {name: "other"})
    with pytest.raises(CheckpointError, match=f"{file.name} was made with {name} other"):
        store.get(Experiment(**MLP | SMALL | {"epochs": 4}), progress=False)


def test_a_state_of_another_walk_is_no_beginning(tmp_path):
    file = tmp_path / "a.state"
    walk(Experiment(**MLP | SMALL), progress=False, kept_state=file)
    with pytest.raises(CheckpointError, match=r"does not extend; only its epochs may be more"):
        walk(Experiment(**MLP | SMALL | {"epochs": 4, "seed": 1}), progress=False, shorter=file)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"a\.state is damaged, or no state of a walk"):
        walk(Experiment(**MLP | SMALL | {"epochs": 4}), progress=False, shorter=file)


def test_a_trace_names_the_commits_that_walked_it_in_order(tmp_path, monkeypatch):
    module, file = sys.modules["valleywalk.walks.walk"], tmp_path / "c"
    known = module.environment()
    experiment = Experiment(**MLP | SMALL)

    def at(commit):
        monkeypatch.setattr(module, "environment", lambda: known | {"git_commit": commit})

    def stopped_at(commit):
        at(commit)
        with pytest.raises(StoppedError):
            walk(experiment, progress=stop_after(5), checkpoint=file, checkpoint_seconds=0)

    stopped_at("abc")
    stopped_at("abc")
    stopped_at("def")
    at("abc")
    # A commit that is made while it walks is not the walk's.
    trace = walk(experiment, progress=lambda: at("later"), checkpoint=file)
    assert trace.attrs["git_commit"] == "abc, def, abc"
    assert "(abc, def, abc; protocol " in provenance(trace)
    at("abc")
    assert walk(experiment, progress=lambda: at("later")).attrs["git_commit"] == "abc"


def test_a_checkpoint_from_before_commits_were_kept_is_gone_on_from(stopped):
    store, experiment, file = stopped
    made_by = json.loads(_header(file)["made_by"])
    tensors, values = load_checkpoint(file, made_by)
    del values["commits"], values["experiment"]
    save_checkpoint(file, tensors, values, made_by)
    store.get(Experiment(**MLP | SMALL | {"epochs": 4}), progress=False)
    trace = store.get(experiment, progress=False)
    assert trace.attrs["git_commit"].startswith("unknown")
    same(trace, walk(experiment, progress=False))
