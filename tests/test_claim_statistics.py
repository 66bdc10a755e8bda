"""What each claim measures, on walks whose answer is known by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from valleywalk.paper import quadratic
from valleywalk.paper.claim import Walked, judge
from valleywalk.paper.factors import Factors
from valleywalk.paper.heights import EqualRatio, HeightTable
from valleywalk.paper.isotropic import IsotropicNoise
from valleywalk.paper.items import CLAIMS
from valleywalk.paper.noise_structure import NoiseStructure
from valleywalk.paper.quadratic import Quadratic
from valleywalk.paper.schedules import Schedules
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 5)
# Losses along a segment at α = 0, ¼, ½, ¾, 1.
SAG = np.array([2.0, 1.25, 1.0, 1.25, 2.0])  # height 1, floor 1, convex
LINE = np.array([2.0, 1.75, 1.5, 1.25, 1.0])  # height ½, floor 1, no interior minimum
BUMP = np.array([2.0, 2.0, 2.5, 2.0, 2.0])  # a barrier of ½, a fifth of the loss there
DENT = np.array([2.0, 1.0, 1.0, 0.9, 2.0])  # sags, and a second difference of −0.1


def measure(claim):
    """What a claim measures, from pages and the traces of each."""
    return lambda pages, traces: claim.measure(*map(Walked, pages, traces))


VALUE = {claim.id: measure(claim) for claim in CLAIMS}


def trace_of(losses=(), epochs=None, experiment=None, **series):
    """A trace with these segments, numbers a step, and numbers an epoch."""
    length = max([len(losses), *(len(values) for values in series.values())])
    records = [{} for _ in range(length)]
    for record, loss in zip(records, losses, strict=False):
        record["loss"] = loss
    for name, values in series.items():
        for record, value in zip(records, values, strict=True):
            record[name] = value
    attributes = {}
    if experiment is not None:
        attributes = {"experiment": experiment.model_dump_json(), "training_images": 1000}
    count = max(epochs) if epochs else 0
    return assemble(records, ALPHA, epochs, count, attributes)


def test_shares_of_segments():
    # A segment that was not measured does not count.
    trace = trace_of([SAG, LINE, BUMP, DENT, SAG, np.full(5, np.nan)])
    pages, traces = [None], [[trace]]
    assert VALUE["interior-minimum"](pages, traces) == pytest.approx(3 / 5)
    assert VALUE["few-barriers"](pages, traces) == pytest.approx(1 / 5)
    assert VALUE["small-rate-crosses-none"](pages, traces) == pytest.approx(1 / 5)
    assert VALUE["small-barriers"](pages, traces) == pytest.approx(0.5 / 2.5)
    assert VALUE["small-barriers"](pages, [[trace_of([SAG, LINE])]]) == 0


def test_convex_segments_of_those_that_are_resolved():
    """A straight one is left open; a dent counts where its own error is small enough."""
    losses = [SAG, LINE, DENT, BUMP]
    # Second differences of the dent are 16, −1.6, 19.2: its error is t of 3 tests, 2.93, times.
    for error, share in ((0.5, 1 / 3), (0.6, 1 / 2)):
        trace = trace_of(losses, second_difference_error=[np.full(5, error)] * 4)
        trace["batch_images"] = ("batch", [100] * 10)
        assert VALUE["convex-segments"]([None], [[trace]]) == pytest.approx(share)
    assert math.isnan(VALUE["convex-segments"]([None], [[trace.isel(iteration=[1])]]))
    assert math.isnan(VALUE["convex-segments"]([None], [[trace_of(losses)]]))


def test_floors_that_rise():
    gd = trace_of([SAG + shift for shift in (4, 3, 2, 1, 1)])
    sgd = trace_of([SAG + shift for shift in (4, 5, 2, 3, 1)])
    assert VALUE["gd-floor"]([None], [[gd]]) == 0
    assert VALUE["gd-floor"]([None], [[sgd]]) == pytest.approx(2 / 4)
    assert VALUE["sgd-floor"]([None, None], [[sgd], [gd]]) == pytest.approx(-2 / 4)
    assert VALUE["sgd-floor"]([None, None], [[gd], [sgd]]) == pytest.approx(2 / 4)


def test_cosines_are_those_of_the_last_ten_steps():
    gd = trace_of([SAG] * 13, cosine=[math.nan, 1.0, 1.0, *[-0.9] * 5, *[-0.7] * 5])
    # Its epoch goes on after the steps whose segments were measured.
    sgd = trace_of([SAG] * 13, cosine=[math.nan, -1.0, -1.0, *[-0.3] * 10, 1.0, 1.0])
    assert VALUE["gd-cosine"]([None], [[gd]]) == pytest.approx(-0.8)
    assert VALUE["sgd-cosine"]([None, None], [[gd], [sgd]]) == pytest.approx(0.5)


def test_distances_are_compared_after_as_many_steps():
    gd = trace_of(distance=[1.0, 2.0, 4.0])
    sgd = trace_of(distance=[1.0, 3.0, 5.0, 7.0, 9.0])
    assert VALUE["distance"]([None, None], [[gd], [sgd]]) == pytest.approx(5 / 4)
    assert VALUE["distance"]([None, None], [[sgd], [gd]]) == pytest.approx(4 / 5)


def test_slopes_over_doublings():
    """Cosine −0.1 a doubling of the batch and 0.02 of the rate; distance −3 and 5."""
    page = Factors(
        model="mlp", learning_rates=[0.1, 0.4], batch_sizes=[25, 100], iterations=9, seeds=1
    )
    traces = []
    for experiment in page.experiments:
        batch = math.log2(experiment.batch_size / 25)
        rate = math.log2(experiment.learning_rate / 0.1)
        cosine = -0.1 * batch + 0.02 * rate
        distance = 50 - 3 * batch + 5 * rate
        # Only the second half of the walk counts, and the distance at its end.
        traces.append(
            trace_of(
                experiment=experiment,
                cosine=[math.nan, *[7.0] * 4, *[cosine] * 4],
                distance=[*[0.0] * 8, distance],
            )
        )
    pages, traces = [page], [traces]
    assert VALUE["batch-size-moves-cosine"](pages, traces) == pytest.approx(-0.1)
    assert VALUE["learning-rate-leaves-cosine"](pages, traces) == pytest.approx(0.2)
    assert VALUE["large-batches-stay-near"](pages, traces) == pytest.approx(-3)


def test_height_at_one_rate_over_that_at_another():
    """Four and nine times as high in two epochs: geometric mean six. A third rate is not asked."""
    rates = [0.1, 0.05, 0.01]
    page = HeightTable(models=["mlp"], learning_rates=rates, epochs_shown=[1, 2])
    length = page.fields_of("mlp")["iterations"]
    heights = {0.1: (8.0, 27.0), 0.05: (2.0, 3.0), 0.01: (1.0, 1.0)}
    traces = []
    for experiment in page.experiments:
        first, second = heights[experiment.learning_rate]
        losses = [*[first * SAG] * length, *[second * SAG] * length]
        trace = trace_of(losses, experiment=experiment)
        trace.attrs["steps_in_epoch"] = length
        traces.append(trace)
    assert VALUE["learning-rate-sets-height"]([page], [traces]) == pytest.approx(6)


def test_the_spectral_norm_along_training():
    sharpness = {2: 16.0, 4: 4.0, 6: 2.0, 8: 6.0}
    accuracy = {2: 0.1, 4: 0.5, 6: 0.4, 8: 0.3}
    epochs = {
        e: {"hessian_max": sharpness[e], "validation_accuracy": accuracy[e]} for e in sharpness
    }
    # Epochs in which only one of the two was measured do not count.
    epochs |= {1: {"hessian_max": 99.0}, 9: {"validation_accuracy": 0.9}}
    traces = [[trace_of(epochs=epochs, distance=[1.0])]]
    assert VALUE["sharpness-falls"]([None], traces) == pytest.approx(2 / 16)
    assert VALUE["sharpness-rises"]([None], traces) == pytest.approx(6 / 2)
    # Ranks 4, 2, 1, 3 and 1, 4, 3, 2: 1 − 6 Σ d² / (n (n² − 1)) with Σ d² = 9 + 4 + 4 + 1.
    expected = 1 - 6 * 18 / (4 * 15)
    assert VALUE["sharpness-and-accuracy"]([None], traces) == pytest.approx(expected)
    for measured in epochs.values():
        measured["validation_accuracy"] = 0.5
    constant = [[trace_of(epochs=epochs, distance=[1.0])]]
    assert math.isnan(VALUE["sharpness-and-accuracy"]([None], constant))


def test_gradient_descent_with_noise_and_what_frees_it():
    page = IsotropicNoise(model="mlp", epochs=6, noise_factors=[0.1, 0.05], training_images=1000)
    ends = {
        # training loss, validation accuracy, distance, parameter norm at the end
        "GD": (0.5, 0.9, 2.0, 10.0),
        "SGD": (0.1, 0.95, 3.0, 11.0),
        "GD + noise × 0.1": (5.0, 0.1, 90.0, 80.0),
        "GD + noise × 0.05": (2.0, 0.6, 20.0, 30.0),
        "then rate 0.01": (3.6, 0.5, 9.0, 9.0),
        "then GD": (1.0, 0.5, 9.0, 9.0),
        "then SGD": (0.4, 0.5, 9.0, 9.0),
    }
    traces = []
    for walk, (name, end) in zip(page.walks, ends.items(), strict=True):
        assert walk.label == name
        experiment = walk.experiment
        loss, accuracy, distance, norm = end
        # The noisy walk is left after epoch 3, at a loss of 4.
        epochs = {
            1: {"train_loss": 7.0, "validation_accuracy": 0.2},
            2: {"train_loss": 6.0, "validation_accuracy": 0.2},
            3: {"train_loss": 4.0, "validation_accuracy": 0.3},
            6: {"train_loss": loss, "validation_accuracy": accuracy},
        }
        steps = sum(experiment.phase(epoch + 1).steps(1000) for epoch in range(6))
        traces.append(
            trace_of(
                epochs=epochs,
                experiment=experiment,
                cosine=[0.0] * steps,
                distance=np.linspace(0, distance, steps),
                parameter_norm=np.linspace(5, norm, steps),
            )
        )
    pages, traces = [page], [traces]
    # The smaller noise beside plain gradient descent.
    assert VALUE["noise-hinders-optimisation"](pages, traces) == pytest.approx(1.5)
    assert VALUE["noise-hinders-generalisation"](pages, traces) == pytest.approx(-0.3)
    assert VALUE["noise-travels-far"](pages, traces) == pytest.approx(10)
    assert VALUE["noise-ends-with-large-norm"](pages, traces) == pytest.approx(3)
    # What goes of the loss of 4 after the switch.
    assert VALUE["stuck-under-smaller-rate"](pages, traces) == pytest.approx(0.1)
    assert VALUE["stuck-under-gd"](pages, traces) == pytest.approx(0.75)
    assert VALUE["freed-by-sgd"](pages, traces) == pytest.approx(0.9)


def test_schedules_are_compared_at_their_own_best_rates():
    page = Schedules(model="mlp", learning_rates=[0.1, 0.2], epochs=2, seeds=1)
    best = {
        ("trapezoid", 0.1): 0.80,
        ("trapezoid", 0.2): 0.91,
        ("clr", 0.1): 0.86,
        ("clr", 0.2): 0.50,
        ("stepwise", 0.1): 0.84,
        ("stepwise", 0.2): 0.83,
    }
    traces = []
    for experiment in page.experiments:
        accuracy = best.get((experiment.schedule, experiment.learning_rate), 0.3)
        epochs = {
            1: {"train_loss": 1.0, "validation_accuracy": 0.99},
            2: {"train_loss": 1.0, "validation_accuracy": accuracy},
        }
        trace = trace_of(epochs=epochs, experiment=experiment, learning_rate=[0.1, 0.1])
        traces.append(trace)
    pages, traces = [page], [traces]
    assert VALUE["trapezoid-and-clr"](pages, traces) == pytest.approx(0.05)
    assert VALUE["trapezoid-and-stepwise"](pages, traces) == pytest.approx(0.07)
    assert VALUE["clr-and-stepwise"](pages, traces) == pytest.approx(0.02)


@pytest.mark.parametrize("heights", [(2, 5, 16), (16, 5, 2)])
def test_walks_of_equal_ratio_are_compared_in_doublings(heights):
    page = EqualRatio(model="mlp")
    traces = [trace_of([height * SAG] * (2 + height)) for height in heights]
    assert VALUE["ratio-is-not-all"]([page], [traces]) == pytest.approx(3)


def test_overlap_over_that_of_other_labels():
    """The last epoch counts; an older trace, without the control, has no number."""
    page = NoiseStructure.for_seed("quick", "mlp", 0, {})
    names = ("noise_sharpness", "noise_share", "hessian_max", "train_loss")
    rest = dict.fromkeys(names, 1.0) | {"noise_overlap_control": 0.1}
    trace = trace_of(
        epochs={
            e: {"noise_overlap": overlap} | rest for e, overlap in ((2, 0.9), (4, 0.6), (6, 0.3))
        },
        distance=[1.0],
    )
    trace.attrs["parameters"] = 1000
    value = VALUE["noise-along-sharp-directions"]([page], [[trace]])
    assert value == pytest.approx(3)
    older = trace.drop_vars("noise_overlap_control")
    assert math.isnan(VALUE["noise-along-sharp-directions"]([page], [[older]]))
    assert "| 0.3 | 0.1 | 0.003 |" in page.table([trace])
    assert "| 0.3 | not measured | 0.003 |" in page.table([older])


def test_the_edge_counts_from_the_crossing_until_the_images_are_fitted():
    """The half that is farther from it; 2/η is 20."""
    norms = [10.0, 22.0, 18.0, 30.0, 30.0, 2.0]
    epochs = {1 + i: {"hessian_max": norm} for i, norm in enumerate(norms)}
    losses = [2.3, 2.0, 1.5, 1.0, 0.5, 0.2, 0.05]
    trace = trace_of(epochs=epochs | {7: {}}, learning_rate=[0.1] * 7, minibatch_loss=losses)
    assert VALUE["edge-of-stability"]([None], [[trace]]) == pytest.approx(30 / 20)
    never = trace_of(epochs={1: {"hessian_max": 5.0}}, learning_rate=[0.1], minibatch_loss=[2.0])
    assert math.isnan(VALUE["edge-of-stability"]([None], [[never]]))


def test_the_contraction_that_is_farthest_from_the_formula_counts(monkeypatch):
    page = Quadratic.for_seed("quick", "mlp", 0, {})
    assert VALUE["quadratic-contraction"]([page], [[]]) < 1e-12
    off = np.zeros(20)
    off[7] = 0.25
    measured = quadratic.measured_contraction
    monkeypatch.setattr(quadratic, "measured_contraction", lambda run: measured(run) - off)
    assert VALUE["quadratic-contraction"]([page], [[]]) == pytest.approx(0.25)


def test_every_claim_is_measured_above():
    """A claim that is added must be added here."""
    with open(__file__, encoding="utf-8") as stream:
        source = stream.read()
    untested = {claim.id for claim in CLAIMS if f'VALUE["{claim.id}"]' not in source}
    assert untested == {"hessian-is-covariance"}, "it is tested in test_noise_structure"


@pytest.mark.parametrize("confidence_of", [1, 56])
def test_the_interval_is_student_s_at_the_ledger_s_confidence(confidence_of):
    values = [1.0, 2.0, 4.0]
    (claim,) = (claim for claim in CLAIMS if claim.id == "sgd-cosine")
    interval, _ = judge(claim, values, confidence_of)
    confidence = 1 - 0.05 / confidence_of
    half = stats.t.ppf((1 + confidence) / 2, 2) * np.std(values, ddof=1) / math.sqrt(3)
    mean = np.mean(values)
    assert interval == pytest.approx((mean, mean - half, mean + half))
