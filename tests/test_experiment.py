import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from valleywalk import Experiment, walk
from valleywalk.evaluation import EvaluationPlan
from valleywalk.walks.datasets import load

pytestmark = pytest.mark.core

BASE = {"model": "mlp", "dataset": "mnist5k"}


def test_json_round_trip_keeps_the_hash():
    experiment = Experiment(**BASE, probed_epochs=(1,), learning_rate=0.3)
    again = Experiment.model_validate_json(experiment.model_dump_json())
    assert again == experiment
    assert again.hash == experiment.hash


def test_golden_hash_in_this_and_another_process():
    """Hashes name the traces on disk: another hash would orphan them all."""
    expected = "d5c38dc3a6934004"
    assert Experiment(**BASE).hash == expected
    code = f"from valleywalk.walks.experiment import Experiment; print(Experiment(**{BASE}).hash)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"model": "vgg11"},
        {"dataset": "mnist"},
        {"update": "gd"},
        {"learning_rate": 0.1000001},
        {"seed": 1},
        {"points": 11},
        {"probed_epochs": ()},
        {"convention": "code"},
        {"training_images": 3999},
    ],
)
def test_each_field_counts_in_the_hash(change):
    assert Experiment(**(BASE | change)).hash != Experiment(**BASE).hash


def test_a_default_given_or_left_out_is_the_same_experiment():
    """So a field that is added later, with a default, renames no recorded trace."""
    assert Experiment(**BASE, points=10, curvature_every=0).hash == Experiment(**BASE).hash


def test_equal_numbers_of_other_types_are_the_same_experiment():
    assert Experiment(**BASE, learning_rate=1).hash == Experiment(**BASE, learning_rate=1.0).hash


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Experiment(**BASE).seed = 3


NOISY = {"noise_structure": True, "curvature_every": 1, "evaluation_batch_size": 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "vgg"}, "did you mean 'vgg11'"),
        ({"dataset": "mnist5"}, "did you mean 'mnist5k'"),
        ({"dataset": "folder:"}, "needs a path"),
        ({"learning_rte": 0.1}, "did you mean 'learning_rate'"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"batch_size": 1}, "at least 2 images"),
        ({"evaluation_batch_size": 1}, "at least 2 images"),
        ({"evaluation_images": 1}, "at least 2 images"),
        (
            {"epochs": 2, "probed_epochs": (), "switch_epoch": 1, "switch_batch_size": 1},
            "switch_batch_size is 1, but batch norm needs at least 2 images",
        ),
        ({"noise_structure": True}, "set curvature_every"),
        (NOISY | {"convention": "code"}, "use convention 'text'"),
        (NOISY | {"evaluation_images": 80}, "needs 5 or more batches .* these are 4"),
        (NOISY | {"curvature_images": 99}, "needs 5 or more batches .* these are 4"),
        (
            {"update": "gd", "noise_factor": 0.1, "evaluation_images": 100},
            "are one batch, but the gradient's variance",
        ),
        ({"batch_size": 5000}, "only 4000 training images"),
        ({"training_images": 50, "batch_size": 51}, "only 50 training images"),
        ({"training_images": 4001}, "'mnist5k' has 4000"),
        ({"evaluation_images": 4001}, "only 4000"),
        ({"points": 1}, "greater than or equal to 2"),
        ({"epochs": 2, "probed_epochs": (3,)}, "raise epochs to 3"),
        ({"image_size": 64}, "folder:PATH only"),
        ({"classes": 3}, "tiny-imagenet only"),
        ({"convention": "paper"}, "'text' or 'code'"),
        ({"convention": "code", "tolerance": 0.02}, "on a plan of its own"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_impossible_experiments_are_refused_by_name(change, message):
    with pytest.raises(ValidationError, match=message):
        Experiment(**(BASE | change))


WINDOWS = {
    "epochs": st.integers(1, 7),
    "probed": st.none() | st.lists(st.integers(1, 7), max_size=4),
    "iterations": st.none() | st.integers(1, 12),
    "steps": st.integers(1, 5),
}


@given(**WINDOWS)
def test_probed_iterations_against_a_plain_listing(epochs, probed, iterations, steps):
    """Windows may overlap, and reach into the next epochs, but not beyond the walk."""
    probed = probed if probed is None else [epoch for epoch in probed if epoch <= epochs]
    experiment = Experiment(
        **BASE,
        epochs=epochs,
        probed_epochs=probed if probed is None else tuple(probed),
        probed_iterations=iterations,
    )
    if probed is None:
        expected = [t for t in range(epochs * steps) if t % steps < (iterations or steps)]
    else:
        starts = [(epoch - 1) * steps for epoch in probed]
        length = iterations or steps
        expected = [t for t in range(epochs * steps) if any(s <= t < s + length for s in starts)]
    assert experiment.probed_steps(steps).tolist() == expected
    assert [t for t in range(epochs * steps) if experiment.probes(t, steps)] == expected


def test_all_epochs_are_probed_by_default():
    assert all(Experiment(**BASE, epochs=3).probes(i, 4) for i in range(12))
    some = Experiment(**BASE, epochs=3, probed_iterations=1)
    assert some.probed_steps(4).tolist() == [0, 4, 8]


SHORT = {"epochs": 4, "probed_epochs": (1, 4), "probed_iterations": 40}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (SHORT, {"epochs": 5}),
        (SHORT, {"epochs": 9, "probed_epochs": (9, 4, 1)}),
        ({"epochs": 4}, {"epochs": 5}),
        ({"epochs": 2}, {"epochs": 5, "probed_epochs": (1, 2)}),
        ({"epochs": 2, "probed_epochs": (2, 1)}, {"epochs": 5, "probed_epochs": None}),
        ({"epochs": 2, "probed_epochs": ()}, {"epochs": 5, "probed_epochs": (3,)}),
        ({"epochs": 2, "sampled_iterations": 10}, {"epochs": 3}),
        # A window may reach into the next epoch, where the walk has one.
        (SHORT | {"probed_epochs": (1, 3), "probed_iterations": 80}, {"epochs": 5}),
        ({"update": "gd", "epochs": 3, "noise_factor": 0.1}, {"epochs": 4}),
        ({"dataset": "folder:a", "epochs": 3, "probed_iterations": 1}, {"epochs": 4}),
    ],
)
def test_a_longer_walk_extends_a_shorter_one(short, long):
    shorter, longer = Experiment(**BASE | short), Experiment(**BASE | short | long)
    assert longer.extends(shorter)
    assert not shorter.extends(longer)
    assert not shorter.extends(shorter)
    assert not Experiment(**BASE | short | long | {"seed": 7}).extends(shorter)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (SHORT, {"epochs": 3, "probed_epochs": (1,)}),
        (SHORT, {"epochs": 5, "probed_epochs": (1, 3, 4)}),
        (SHORT, {"epochs": 5, "probed_epochs": (1, 5)}),
        (SHORT, {"epochs": 5, "probed_epochs": None}),
        (SHORT, {"epochs": 5, "probed_iterations": 39}),
        ({"epochs": 2}, {"epochs": 5, "learning_rate": 0.2}),
        ({"epochs": 2, "schedule": "clr"}, {"epochs": 5}),
        (
            {"epochs": 4, "probed_epochs": (), "switch_epoch": 2, "switch_learning_rate": 0.01},
            {"epochs": 5},
        ),
        # 40 steps an epoch: the window is cut off by the end of the shorter walk.
        (SHORT | {"probed_iterations": 41}, {"epochs": 5}),
        # Of a folder the steps are not known.
        ({"dataset": "folder:a", "epochs": 3, "probed_iterations": 2}, {"epochs": 4}),
    ],
)
def test_what_is_no_extension(short, long):
    shorter, longer = Experiment(**BASE | short), Experiment(**BASE | short | long)
    assert not longer.extends(shorter)


@pytest.mark.parametrize(
    ("most", "one_more", "message"),
    [
        # 40 steps an epoch.
        ({"epochs": 250_000, "probed_epochs": ()}, {"epochs": 250_001}, "10,000,040 steps"),
        (
            {"epochs": 1_000_000, "probed_epochs": (), "batch_size": 400},
            {"epochs": 1_000_001},
            "equal to 1000000",
        ),
        ({"epochs": 2500, "points": 999}, {"epochs": 2501}, "100,040,000 losses"),
        (
            {"epochs": 50_000, "points": 999, "probed_iterations": 2},
            {"probed_iterations": 3},
            "150,000,000 losses",
        ),
        (
            {"epochs": 50_000, "points": 999, "sampled_iterations": 2},
            {"sampled_iterations": 4},
            "200,000,000 losses",
        ),
    ],
)
def test_the_longest_walks(most, one_more, message):
    Experiment(**BASE, **most)
    with pytest.raises(ValidationError, match=message):
        Experiment(**BASE, **(most | one_more))


def test_the_images_of_a_folder_are_counted_before_the_walk():
    digits = load("mnist5k").first(400)
    folder = replace(digits, name="folder:digits")
    experiment = Experiment(model="mlp", dataset="folder:digits", epochs=1_000_000, batch_size=2)
    with pytest.raises(ValueError, match="200,000,000 steps"):
        walk(experiment, dataset=folder)
    few = Experiment(model="mlp", dataset="folder:digits", batch_size=20, **NOISY)
    with pytest.raises(ValueError, match="needs 5 or more batches"):
        walk(few, dataset=replace(folder.first(80), name=folder.name))


@pytest.mark.parametrize(("images", "size", "batches"), [(81, 20, 4), (82, 20, 5), (100, 20, 5)])
def test_the_batches_that_are_counted_are_those_of_the_plan(images, size, batches):
    assert len(EvaluationPlan.draw(4000, size, seed=0, images=images).batches) == batches
    noisy = BASE | NOISY | {"evaluation_images": images, "evaluation_batch_size": size}
    if batches < 5:
        with pytest.raises(ValidationError, match=f"these are {batches}"):
            Experiment(**noisy)
    else:
        Experiment(**noisy)
