import sys

import numpy as np
import pytest
import torch

from valleywalk import DatasetError, DeviceError, Experiment, WalkError, walk
from valleywalk.evaluation import Evaluator, cross_entropy
from valleywalk.probes.accuracy import LossAndAccuracy
from valleywalk.walks.datasets import load
from valleywalk.walks.loader import Loader
from valleywalk.walks.models import build

pytestmark = pytest.mark.core

MLP = {"model": "mlp", "dataset": "mnist5k", "width": 0.1, "training_images": 160}
VGG = {"model": "vgg11", "dataset": "photos", "width": 0.0625, "training_images": 60}
RESNET = {"model": "resnet56", "dataset": "photos", "width": 0.0625, "training_images": 20}
SMALL = {"batch_size": 20, "evaluation_batch_size": 20, "epochs": 2}


def quietly(**fields):
    return walk(Experiment(**fields), progress=False)


@pytest.mark.parametrize(
    "fields",
    [
        MLP | SMALL,
        MLP | SMALL | {"update": "gd", "batch_size": 45},
        MLP | SMALL | {"convention": "code"},
        VGG | SMALL | {"augmentation": True},
        VGG | SMALL | {"augmentation": True, "convention": "code"},
        VGG | SMALL | {"update": "gd"},
        VGG | SMALL | {"batch_norm": "eval"},
        RESNET | SMALL | {"batch_size": 10, "evaluation_batch_size": 10, "epochs": 1},
    ],
)
def test_probes_do_not_disturb_the_walk(fields):
    """Parameters and buffers after the walk are bit-identical with probes on and off."""
    probed = quietly(**fields, points=3)
    plain = quietly(**fields, probed_epochs=(), evaluate_every=0)
    assert probed.final_state_hash == plain.final_state_hash
    assert (probed.minibatch_loss.values == plain.minibatch_loss.values).all()
    assert np.isfinite(probed.loss).all()
    assert "loss" not in plain


def test_random_state_threads_and_precision_are_as_before():
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    precision = torch.backends.cudnn.conv.fp32_precision
    quietly(**MLP, **SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.backends.cudnn.conv.fp32_precision == precision
    assert not torch.backends.cudnn.deterministic


def test_a_walk_is_its_own_repetition_and_its_seed_s():
    first, again = quietly(**MLP, **SMALL), quietly(**MLP, **SMALL)
    assert first.drop_attrs().identical(again.drop_attrs())
    other = quietly(**MLP, **SMALL, seed=1)
    assert other.plan_hash != first.plan_hash
    assert other.final_state_hash != first.final_state_hash


def test_golden_walk():
    """Last of all: a number that should not change unnoticed (any CPU, so not to the last bit)."""
    trace = quietly(**MLP, **SMALL)
    assert trace.loss.values[-1, -1] == pytest.approx(1.042873, rel=1e-3)
    assert trace.distance.values[-1] == pytest.approx(1.528306, rel=1e-3)


def test_segments_join_exactly():
    for convention in ("text", "code"):
        trace = quietly(**MLP, **SMALL, convention=convention)
        assert (trace.loss.values[1:, 0] == trace.loss.values[:-1, -1]).all()


def test_reshuffled_evaluation_fakes_barriers():
    """Near-zero steps cross nothing; the code's reshuffling shows barriers all the same."""
    tiny = MLP | SMALL | {"learning_rate": 1e-9}
    frozen, reshuffled = (quietly(**tiny, convention=c) for c in ("text", "code"))
    spread = [np.ptp(trace.loss.values, axis=1).max() for trace in (frozen, reshuffled)]
    assert spread[0] < 1e-6
    assert spread[1] > 1e-3


def test_full_batch_descent_does_not_depend_on_the_order_of_steps():
    """Each epoch of gd is one step on all images; sgd leaves out an incomplete last batch."""
    gd = quietly(**MLP, **(SMALL | {"update": "gd", "epochs": 3}))
    assert len(gd.iteration) == 3
    assert len(gd.epoch) == 3
    sgd = quietly(**MLP, **(SMALL | {"batch_size": 45}))
    assert len(sgd.iteration) == 2 * (160 // 45)


def test_gd_descends_the_very_function_that_is_measured():
    """With equal batches, the loss before a step is the loss at α = 0."""
    gd = quietly(**VGG, **(SMALL | {"update": "gd", "epochs": 3}))
    assert gd.minibatch_loss.values == pytest.approx(gd.loss.values[:, 0], rel=1e-6)


def test_what_a_trace_says_about_its_epochs():
    trace = quietly(**MLP, **SMALL, evaluate_every=2)
    assert np.isnan(trace.train_loss.values[0])
    assert trace.train_loss.values[1] == trace.loss.values[-1, -1]
    for name in ("train_accuracy", "validation_accuracy"):
        assert 0 <= trace[name].values[1] <= 1
    assert 0 < trace.loss_noise.values[1] < 0.1
    # Also where the window of measured segments is shorter than the epoch; not where there is none.
    window = {"probed_epochs": (2,), "probed_iterations": 3, "evaluate_every": 1}
    noise = quietly(**MLP, **SMALL, **window).loss_noise.values
    assert np.isnan(noise[0])
    assert noise[1] == trace.loss_noise.values[1]
    assert trace.steps_in_epoch == 8
    assert trace.attrs["training_images"] == 160


def test_curvature_along_a_walk():
    fields = MLP | SMALL | {"curvature_every": 2, "curvature_images": 50, "epochs": 4}
    trace = quietly(**fields)
    measured = np.isfinite(trace.hessian_max.values)
    assert measured.tolist() == [False, True, False, True]
    assert (trace.hessian_residual.values[measured] < 1e-3).all()
    assert (trace.hessian_max.values > trace.hessian_min.values)[measured].all()
    assert trace.final_state_hash == quietly(**(MLP | SMALL | {"epochs": 4})).final_state_hash


def test_evaluation_on_some_of_the_images():
    trace = quietly(**MLP, **SMALL, evaluation_images=60)
    assert trace.attrs["evaluation_images"] == 60
    assert trace.final_state_hash == quietly(**MLP, **SMALL).final_state_hash


def test_a_walk_that_diverges_says_where():
    with pytest.raises(WalkError, match=r"at iteration \d+ with learning rate 1e\+20"):
        quietly(**MLP, **SMALL, learning_rate=1e20)


def test_a_device_that_is_not_there():
    with pytest.raises(DeviceError, match="'warp' cannot be used"):
        walk(Experiment(**MLP), device="warp", progress=False)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="use 'cpu' or 'auto'"):
            walk(Experiment(**MLP), device="cuda", progress=False)


def test_sizes_that_only_the_files_tell():
    experiment = Experiment(model="mlp", dataset="folder:somewhere", batch_size=200)
    with pytest.raises(DatasetError, match="choose at most 100"):
        walk(experiment, dataset=load("mnist5k").first(100), progress=False)


def test_validation_is_measured_in_eval_mode_and_training_in_train_mode():
    """Against a plain evaluation of the same network."""
    dataset = load("mnist5k").first(160)
    experiment = Experiment(**MLP, **SMALL)
    loader = Loader(experiment, dataset, torch.device("cpu"), [1, 2, 3])
    model = build("mlp", 1, 28, 10, 0.1)
    model(dataset.normalise(dataset.train_images))  # running statistics that are not the start's
    evaluate = Evaluator(model, cross_entropy, loader.evaluation)
    validation = LossAndAccuracy("validation", loader.validation, batch_norm="eval")
    measured = {**LossAndAccuracy("train")(evaluate), **validation(evaluate)}
    model.eval()
    with torch.no_grad():
        output = model(dataset.normalise(dataset.validation_images))
    labels = dataset.validation_labels
    expected = torch.nn.functional.cross_entropy(output, labels).item()
    assert measured["validation_loss"] == pytest.approx(expected, rel=1e-5)
    share = (output.argmax(1) == labels).double().mean().item()
    assert measured["validation_accuracy"] == pytest.approx(share)
    model.train()
    batches = [dataset.normalise(dataset.train_images[i]) for i in loader.plan.batches]
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(model(x), dataset.train_labels[i]).item()
            for x, i in zip(batches, loader.plan.batches, strict=True)
        ]
    assert measured["train_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


GD = MLP | SMALL | {"update": "gd", "probed_epochs": ()}


def test_schedules_are_in_the_trace():
    fields = MLP | SMALL | {"epochs": 3, "probed_epochs": (), "learning_rate": 0.3}
    steps = 3 * 8
    seen = quietly(**fields, schedule="trapezoid")["learning_rate"].values
    expected = np.interp(np.arange(steps), [0, 4, 16, 24], [0.03, 0.3, 0.3, 0.0])
    assert seen == pytest.approx(expected)
    seen = quietly(**fields)["learning_rate"].values
    assert seen == pytest.approx(np.full(steps, 0.3))


def test_isotropic_noise_moves_the_walk_by_its_deviation():
    """One step of GD with noise differs from one without by η times the noise, all else equal."""
    plain = quietly(**GD | {"epochs": 1})
    noisy = quietly(**GD | {"epochs": 1, "noise_factor": 0.1})
    deviation = noisy.attrs["noise_deviation"]
    assert deviation == pytest.approx((0.1 * noisy.attrs["gradient_variance"]) ** 0.5)
    expected = 0.1 * deviation * noisy.attrs["parameters"] ** 0.5
    squared = float(noisy["distance"][0]) ** 2 - float(plain["distance"][0]) ** 2
    assert squared == pytest.approx(expected**2, rel=0.05)
    code = quietly(**GD | {"epochs": 1, "noise_factor": 0.1, "noise_measure": "deviation"})
    assert code.attrs["noise_deviation"] == pytest.approx(0.1 * code.attrs["gradient_variance"])
    assert "noise_deviation" not in plain.attrs


def test_the_noise_has_the_size_of_the_estimate_that_is_asked_for():
    """Cross-fitted it is smaller than the maximum of 160 images in 8 batches, and has an error."""
    largest = quietly(**GD | {"epochs": 1, "noise_factor": 0.1}).attrs
    assert "gradient_variance_error" not in largest
    crossed = quietly(**GD | {"epochs": 1, "noise_factor": 0.1, "noise_estimate": "cross-fitted"})
    variance, error = (crossed.attrs[f"gradient_variance{end}"] for end in ("", "_error"))
    assert 0 < error < variance < largest["gradient_variance"]
    assert crossed.attrs["noise_deviation"] == pytest.approx((0.1 * variance) ** 0.5)


def test_noise_repeats_and_depends_on_the_seed():
    def hashed(**more):
        return quietly(**GD | {"noise_factor": 0.1} | more).attrs["final_state_hash"]

    assert hashed() == hashed()
    assert hashed() != hashed(seed=1)


def test_a_switch_changes_what_it_names_and_nothing_before():
    base = GD | {"noise_factor": 0.1, "epochs": 4}
    straight = quietly(**base)
    for change, steps in (
        ({"switch_learning_rate": 0.01}, 4),
        ({"switch_update": "gd"}, 4),
        ({"switch_update": "sgd", "switch_batch_size": 40}, 2 + 2 * 4),
    ):
        trace = quietly(**base, switch_epoch=2, **change)
        assert len(trace["iteration"]) == steps
        before = trace["distance"].values[:2]
        assert (before == straight["distance"].values[:2]).all()
        rates = [0.1, 0.1] + [change.get("switch_learning_rate", 0.1)] * (steps - 2)
        assert trace["learning_rate"].values == pytest.approx(rates)
        moved = np.diff(trace["distance"].values)[1:]
        assert trace["distance"].values[2] != straight["distance"].values[2], change
        assert np.isfinite(moved).all()
    # Without noise the distance hardly grows in a step; with it, it grows by η σ √P.
    quiet = quietly(**base, switch_epoch=2, switch_update="gd")["distance"].values
    assert quiet[2] - quiet[1] < 0.2 * (straight["distance"].values[2] - quiet[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_factor": 0.1}, "full gradient only"),
        ({"switch_update": "gd"}, "needs switch_epoch"),
        ({"switch_epoch": 1}, "but no change"),
        ({"switch_epoch": 2, "switch_update": "gd"}, "choose at most 1"),
        ({"switch_epoch": 1, "switch_update": "gd", "schedule": "clr"}, "cannot be switched"),
        ({"switch_epoch": 1, "switch_update": "gd", "probed_epochs": None}, "probed_epochs="),
        ({"noise_structure": True}, "set curvature_every"),
        ({"switch_epoch": 1, "switch_batch_size": 500}, "only 160 training images"),
    ],
)
def test_impossible_updates(change, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**MLP | SMALL | {"probed_epochs": ()} | change)


def test_the_code_s_curvature_is_its_power_iteration():
    fields = MLP | SMALL | {"probed_epochs": (), "curvature_every": 1, "curvature_images": 80}
    text, code = quietly(**fields), quietly(**fields, convention="code")
    assert text.attrs["final_state_hash"] == code.attrs["final_state_hash"], "the same walk"
    assert "hessian_min" not in code
    assert (text["hessian_residual"] <= 1e-3).all()
    assert (code["hessian_residual"] > 1e-3).all()
    assert code["hessian_max"].values == pytest.approx(text["hessian_max"].values, rel=0.5)


def test_the_structure_of_the_noise_is_recorded():
    fields = MLP | SMALL | {"probed_epochs": (), "curvature_every": 2, "evaluation_batch_size": 10}
    trace = quietly(**fields, noise_structure=True)
    assert np.isnan(trace["noise_overlap"].values[0])
    for name in ("noise_overlap", "noise_share"):
        assert 0 < trace[name].values[1] <= 1
    assert -1 <= trace["noise_sharpness"].values[1] <= 1


def test_too_little_memory_is_said_with_what_to_lower(monkeypatch):
    def too_large(*given, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 EB")

    monkeypatch.setattr(sys.modules["valleywalk.walks.walk"], "accumulate_gradient", too_large)
    with pytest.raises(WalkError, match=r"too little memory \(.*lower evaluation_batch_size"):
        walk(Experiment(**MLP, **SMALL), progress=False)

    def wrong(*given, **options):
        raise RuntimeError("another thing")

    monkeypatch.setattr(sys.modules["valleywalk.walks.walk"], "accumulate_gradient", wrong)
    with pytest.raises(RuntimeError, match="another thing"):
        walk(Experiment(**MLP, **SMALL), progress=False)
