"""What a walk costs: counted by hand, by listing, and against walks that are walked."""

import random
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import FIELDS

from valleywalk import Experiment, Resources, Store, compute
from valleywalk.evaluation import predict
from valleywalk.walks import cost, networks
from valleywalk.walks.datasets import load
from valleywalk.walks.networks import Network, image_seconds, size_of
from valleywalk.walks.store import walk_into
from valleywalk.walks.updates import accumulate_gradient
from valleywalk.walks.walk import walk

TINY = FIELDS | {"evaluation_images": 40}


@pytest.fixture
def slow_machine(monkeypatch):
    """A second for each image's forward pass, so that any walk is a long one."""
    monkeypatch.setattr(cost, "SLOWEST", 1.0)
    monkeypatch.setattr(cost, "image_seconds", lambda *network: 1.0)


def test_multiply_adds_of_the_networks():
    """By hand: 784·500 + 500·350 + 350·10 for the perceptron; 9 k c per output pixel for VGG-11."""
    assert size_of(Network("mlp", 1, 28, 10, 1.0)).multiply_adds == 784 * 500 + 500 * 350 + 3500
    layers = [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8)]
    layers += [(256, 512, 4), (512, 512, 4), (512, 512, 2), (512, 512, 2)]
    convolutions = sum(9 * a * b * side**2 for a, b, side in layers)
    total = convolutions + 2 * 512 * 512 + 5120
    assert size_of(Network("vgg11", 3, 32, 10, 1.0)).multiply_adds == total


def test_passes_of_a_walk_by_hand():
    """3 epochs of 3 steps; 2 steps measured in each; epochs 2's losses also on 5 re-drawn plans."""
    counted = cost.passes(Experiment(**TINY, epochs=3, probed_iterations=2, evaluate_every=2))
    assert counted.training == 3 * 60 * 3
    assert counted.segments == 3 * (1 + 2 * 10) * 40
    assert counted.epochs == 40 + 1000 + 5 * 40
    assert counted.curvature == 0
    assert counted.total == counted.training + counted.segments + counted.epochs


def test_of_a_folder_more_steps_are_drawn_than_were_guessed():
    """Its images are counted when it is walked; until then there are enough for what is drawn."""
    experiment = Experiment(model="mlp", dataset="folder", data_hash="0" * 16, image_size=8)
    experiment = experiment.model_copy(update={"classes": 2, "batch_size": 10})
    assert cost.steps_in_epoch(experiment) == 100
    drawn = experiment.model_copy(update={"sampled_iterations": 110})
    assert cost.measured_segments(drawn) == 110
    assert cost.work(drawn) > 0


@given(
    epochs=st.integers(1, 7),
    probed=st.none() | st.sets(st.integers(1, 7)),
    iterations=st.none() | st.integers(1, 12),
    batch_size=st.sampled_from([12, 20, 30, 60]),
    mode=st.sampled_from(["train", "eval"]),
)
def test_segments_and_their_runs_against_a_plain_count(
    epochs, probed, iterations, batch_size, mode
):
    experiment = Experiment(
        **TINY | {"batch_size": batch_size},
        epochs=epochs,
        probed_epochs=probed if probed is None else tuple(e for e in probed if e <= epochs),
        probed_iterations=iterations,
        batch_norm=mode,
    )
    steps = 60 // batch_size
    segments = runs = 0
    before = False
    for iteration in range(epochs * steps):
        now = experiment.probes(iteration, steps)
        segments += now
        runs += now and (not before or mode == "eval")
        before = now
    assert cost.steps_in_epoch(experiment) == steps
    assert cost.all_steps(experiment) == epochs * steps
    assert cost.measured_segments(experiment) == segments
    assert cost.segment_runs(experiment) == runs
    assert cost.losses(experiment) == segments * 10 + runs


WALKS = {
    "everything": {},
    "windows": {"epochs": 4, "probed_epochs": (1, 3), "probed_iterations": 2},
    "windows that overlap": {"epochs": 5, "probed_epochs": (2, 3), "probed_iterations": 5},
    "a window that the walk ends": {"epochs": 2, "probed_epochs": (2,), "probed_iterations": 9},
    "eval mode": {"batch_norm": "eval", "points": 3},
    "code": {"convention": "code"},
    "an incomplete last batch": {"batch_size": 25, "epochs": 2},
    "gradient descent": {"update": "gd", "epochs": 5, "evaluate_every": 2},
    "noise": {"update": "gd", "noise_factor": 0.1, "epochs": 2, "probed_epochs": ()},
    "cross-fitted": {
        "update": "gd",
        "noise_factor": 0.1,
        "noise_estimate": "cross-fitted",
        "epochs": 1,
        "probed_epochs": (),
    },
    "switch": {
        "update": "gd",
        "epochs": 5,
        "probed_epochs": (),
        "switch_epoch": 2,
        "switch_update": "sgd",
        "switch_batch_size": 25,
    },
    "no probes": {"epochs": 2, "probed_epochs": (), "evaluate_every": 0},
}


@pytest.mark.parametrize("more", WALKS.values(), ids=WALKS.keys())
def test_passes_are_those_that_a_walk_makes(more, monkeypatch):
    measured, trained, at_start = [], [], []

    def counting_start(model, inputs):
        at_start.append(len(inputs))
        return predict(model, inputs)

    def counting_predict(model, inputs):
        measured.append(len(inputs))
        return predict(model, inputs)

    def counting_gradient(model, loss, batches, images, **options):
        trained.append(images)
        return accumulate_gradient(model, loss, batches, images, **options)

    monkeypatch.setattr("valleywalk.evaluation.predict", counting_predict)
    monkeypatch.setattr("valleywalk.probes.noise_structure.predict", counting_start)
    # The package's `walk` is the function.
    monkeypatch.setattr(
        sys.modules["valleywalk.walks.walk"], "accumulate_gradient", counting_gradient
    )
    experiment = Experiment(**TINY | more)
    walk(experiment, progress=False)
    predicted = cost.passes(experiment)
    assert predicted.segments + predicted.epochs == sum(measured)
    assert predicted.training == 3 * (sum(trained) + sum(at_start))
    assert bool(at_start) == bool(experiment.noise_factor)
    assert cost.all_steps(experiment) == len(trained)


@pytest.mark.parametrize(
    "more", [{}, {"probed_epochs": ()}, {"curvature_every": 1}], ids=["probed", "not", "curvature"]
)
def test_disk_is_what_a_walk_takes(more, tmp_path):
    experiment = Experiment(**TINY | {"width": 0.5, "epochs": 2} | more)
    kept = tmp_path / "walk.checkpoint"
    walk(experiment, progress=False, checkpoint=kept, checkpoint_seconds=0)
    assert kept.stat().st_size == pytest.approx(cost.checkpoint_bytes(experiment), rel=0.1)
    walk_into(tmp_path / "walk.nc", experiment, progress=False)
    assert 1 / 2 < (tmp_path / "walk.nc").stat().st_size / cost.trace_bytes(experiment) < 2


def test_a_measurement_leaves_random_numbers_and_settings_as_they_were(monkeypatch):
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    threads = torch.get_num_threads()
    monkeypatch.setattr(networks, "_known", {})
    assert 0 < image_seconds(Network("mlp", 1, 28, 10, 0.05), "cpu") < 1
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert torch.get_num_threads() == threads


def test_walks_side_by_side_take_as_long_as_the_longest_or_their_share():
    assert cost.seconds_together([10, 1, 1], 2, "cpu") == 10
    assert cost.seconds_together([4, 4, 4], 2, "cpu") == 6
    assert cost.seconds_together([], 2, "cpu") == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7100, "118 min"),
        (9000, "2 h"),
        (864_000, "10 days"),
    ],
)
def test_times_in_words(seconds, words):
    assert cost.duration(seconds) == words


def test_a_long_walk_is_announced(slow_machine, tmp_path, capsys):
    experiment = Experiment(**TINY)
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    store.get(experiment)
    said = capsys.readouterr().err.splitlines()[0]
    expected = cost.duration(cost.passes(experiment).total)
    assert said.startswith(f"1 walk, about {expected} in 1 process; traces are kept in {tmp_path}")
    assert said.endswith("asked for again, it goes on")
    store.get(experiment)
    assert "walk, about" not in capsys.readouterr().err, "it is there"
    walk_into(tmp_path / "own.nc", experiment)
    assert f"traces are kept in {tmp_path};" in capsys.readouterr().err
    walk_into(tmp_path / "own.nc", experiment, progress=False)
    assert capsys.readouterr().err == ""


def test_long_walks_are_announced_together(slow_machine, tmp_path, capsys, monkeypatch):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    walks = [Experiment(**TINY, seed=seed) for seed in range(3)]
    each = cost.passes(walks[0]).total
    monkeypatch.setattr("valleywalk.walks.parallel._compute_here", lambda *given: [])
    store.folder.mkdir(parents=True)
    (store.folder / f"{walks[0].hash}.checkpoint").touch()
    compute(walks, store, Resources(processes=2))
    expected = f"3 walks (1 begun before), about {cost.duration(1.5 * each)} in 2 processes;"
    assert capsys.readouterr().err.startswith(expected)
    compute(walks, store, Resources(processes=2, restart=True))
    assert "3 walks, about" in capsys.readouterr().err
    compute(walks, store, Resources(processes=2), progress=False)
    assert capsys.readouterr().err == ""


def test_of_a_scheduler_s_walks_only_the_work_is_said(slow_machine, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cost, "image_seconds", lambda *network: pytest.fail("timed here"))
    monkeypatch.setattr("valleywalk.walks.cluster.compute", lambda *given: [])
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    experiment = Experiment(**TINY)
    compute([experiment], store, Resources(scheduler="tcp://x"))
    said = capsys.readouterr().err
    assert said.startswith(f"1 walk, {cost.work(experiment):.1e} multiply-adds in all;")


def test_for_a_short_walk_nothing_is_timed_and_nothing_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cost, "image_seconds", lambda *network: pytest.fail("timed"))
    Store(tmp_path / "cache", tmp_path / "recorded").get(Experiment(**TINY))
    assert "walk, about" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_walk_takes_about_as_long_as_was_said():
    """Within a factor of three; timed before and after, since other programs come and go."""
    experiment = Experiment(
        model="vgg11",
        dataset="photos",
        width=0.125,
        training_images=1000,
        evaluation_images=400,
        epochs=6,
        probed_epochs=(1, 3),
    )
    dataset = load("photos")
    said = []
    networks._known.clear()
    said.append(cost.seconds(experiment))
    started = time.perf_counter()
    walk(experiment, dataset=dataset, progress=False)
    took = time.perf_counter() - started
    networks._known.clear()
    said.append(cost.seconds(experiment))
    assert took > 1
    assert min(said) / 3 < took < max(said) * 3
