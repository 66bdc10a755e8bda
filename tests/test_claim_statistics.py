"""What each claim measures, on walks whose answer is known by hand."""

import math

import numpy as np
import pytest

from valleywalk.paper import quadratic
from valleywalk.paper.claim import Walked
from valleywalk.paper.factors import Factors
from valleywalk.paper.heights import EqualRatio, HeightTable
from valleywalk.paper.isotropic import IsotropicNoise
from valleywalk.paper.items import CLAIMS
from valleywalk.paper.noise_structure import NoiseStructure
from valleywalk.paper.quadratic import Quadratic, damping
from valleywalk.paper.schedules import Schedules
from valleywalk.paper.walks import GradientDescentWalk, StochasticWalk
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 5)
# Losses along a segment at α = 0, ¼, ½, ¾, 1.
SAG = np.array([2.0, 1.25, 1.0, 1.25, 2.0])  # height 1, floor 1, convex
LINE = np.array([2.0, 1.75, 1.5, 1.25, 1.0])  # height ½, floor 1, no interior minimum
BUMP = np.array([2.0, 2.0, 2.5, 2.0, 2.0])  # a barrier of ½, a fifth of the loss there
DENT = np.array([2.0, 1.0, 1.0, 0.9, 2.0])  # sags, and a second difference of −0.1


def measure(claim):
    """What a claim measures, from pages and the traces of each."""
    return lambda pages, traces: float(claim.measure(*map(Walked, pages, traces)))


VALUE = {claim.id: measure(claim) for claim in CLAIMS}
BY_ID = {claim.id: claim for claim in CLAIMS}


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
    assert BY_ID["few-barriers"].measure(Walked(None, [trace])) == (1, 5)


def test_where_there_is_no_barrier_it_has_no_height():
    (crosses,) = BY_ID["small-barriers"].premises
    flat = [trace_of([SAG, LINE])]
    assert math.isnan(VALUE["small-barriers"]([None], [flat]))
    assert crosses(Walked(None, flat)) == "no barrier in 2 steps"
    assert crosses(Walked(None, [trace_of([SAG, BUMP])])) == ""


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
    assert VALUE["sgd-floor"]([None], [[gd]]) == 0
    assert BY_ID["sgd-floor"].measure(Walked(None, [sgd])) == (2, 4)


def test_cosines_are_those_of_the_last_ten_steps():
    gd = trace_of([SAG] * 13, cosine=[math.nan, 1.0, 1.0, *[-0.9] * 5, *[-0.7] * 5])
    # Its epoch goes on after the steps whose segments were measured.
    sgd = trace_of([SAG] * 13, cosine=[math.nan, -1.0, -1.0, *[-0.3] * 10, 1.0, 1.0])
    assert VALUE["gd-cosine"]([None], [[gd]]) == pytest.approx(-0.8)
    assert VALUE["sgd-cosine"]([None, None], [[gd], [sgd]]) == pytest.approx(0.5)


def test_a_walk_that_creeps_does_not_bounce():
    (bounces,) = BY_ID["gd-cosine"].premises
    crept = [LINE] * 5 + [SAG] * 5
    # Only the last ten count, and more than half of them must have a minimum inside.
    assert bounces(Walked(None, [trace_of([SAG] * 9 + crept)])) == "5 of 10"
    assert bounces(Walked(None, [trace_of([LINE] * 9 + crept + [SAG])])) == ""


def test_what_sgd_does_to_the_floor_is_said_of_walks_that_bounce():
    (bounces,) = BY_ID["sgd-floor"].premises
    assert bounces(Walked(None, [trace_of([SAG] * 9 + [LINE] * 10)])) == "0 of 10"
    assert bounces(Walked(None, [trace_of([LINE] * 9 + [SAG] * 10)])) == ""


def test_heights_are_compared_where_walks_bounce_at_each_rate():
    (bounces,) = BY_ID["learning-rate-sets-height"].premises
    half, more = trace_of([LINE, SAG] * 10), trace_of([LINE, SAG] * 10 + [SAG])
    assert bounces(Walked(None, [more, half])) == "50%"
    assert bounces(Walked(None, [more, more])) == ""


def test_walks_on_other_images_are_not_compared():
    gd = GradientDescentWalk.for_seed("quick", "vgg11", 0, {}).experiments[0]
    sgd = StochasticWalk.for_seed("quick", "vgg11", 0, {}).experiments[0]
    _, same = BY_ID["sgd-cosine"].premises

    def found(first, second):
        return same(*(Walked(None, [trace_of([SAG], experiment=e)]) for e in (first, second)))

    assert BY_ID["distance"].premises == (same,)
    assert found(gd, sgd) == "", "their losses are measured on other images, which says nothing"
    fewer = gd.model_copy(update={"training_images": 900})
    assert found(fewer, sgd) == "training images 900 against 1000"
    assert found(fewer, sgd.model_copy(update={"training_images": None})).endswith("against all")
    assert "width" in found(gd.model_copy(update={"width": 0.5}), sgd)


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
    (bounces,) = BY_ID["batch-size-moves-cosine"].premises
    assert bounces(Walked(page, traces)) == "up to 0"
    for trace in traces:
        trace["cosine"] -= 0.05
    assert bounces(Walked(page, traces)) == ""
    pages, traces = [page], [traces]
    assert VALUE["batch-size-moves-cosine"](pages, traces) == pytest.approx(-0.1)
    assert VALUE["learning-rate-leaves-cosine"](pages, traces) == pytest.approx(0.02)
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
    # A segment that only descends has a height, too, but not one with a floor inside.
    losses = [*[8 * SAG] * (length - 1), 999 * LINE, *[27 * SAG] * length]
    traces[0] = traces[0].assign(loss=(("iteration", "alpha"), np.array(losses)))
    assert VALUE["learning-rate-sets-height-inside"]([page], [traces]) == pytest.approx(6)
    assert VALUE["learning-rate-sets-height"]([page], [traces]) > 7
    (bounces,) = BY_ID["learning-rate-sets-height"].premises
    assert bounces(Walked(page, traces)) == ""
    traces[1] = trace_of([SAG, LINE, LINE, LINE])
    assert bounces(Walked(page, traces)) == "25%"


def parabola(bottom, bend=3.0):
    return 1 + bend * (ALPHA - bottom) ** 2


def in_epochs(*epochs):
    """A walk with these segments in epochs 1, 2, …; each has as many steps."""
    trace = trace_of([segment for epoch in epochs for segment in epoch])
    return trace.assign_attrs(steps_in_epoch=len(epochs[0]))


def test_how_far_the_floor_lies_along_the_step():
    """In epoch 1 at 0.5 (median), in epoch 10 at 1.25, beyond the segment; others do not count."""
    first = [parabola(0.5), parabola(0.4), parabola(0.5, bend=-1.0)]
    tenth = [parabola(1.25, bend=0.1), parabola(9.0), parabola(0.3)]
    usual = in_epochs(first, *[[parabola(7.0)] * 3] * 8, tenth)
    value = VALUE["steps-end-at-the-floor"]([None], [[usual]])
    assert value == pytest.approx((0.5 + 1.25) / 2, rel=1e-3)
    # With batches twice as large: 2 and 3 times as far.
    fewer = in_epochs([parabola(1.0)] * 2, *[[parabola(7.0)] * 2] * 8, [parabola(3.75)] * 2)
    value = VALUE["larger-batch-is-smaller-rate"]([None], [[usual, fewer]])
    assert value == pytest.approx(math.sqrt(2 * 3), rel=1e-3)
    # Most of it upside down: nothing can be said.
    above = in_epochs([parabola(0.5, bend=-1.0)] * 3)
    assert not math.isfinite(VALUE["steps-end-at-the-floor"]([None], [[above]]))


def test_the_spectral_norm_along_training():
    sharpness = {2: 16.0, 4: 4.0, 6: 2.0, 8: 6.0}
    accuracy = {2: 0.1, 4: 0.5, 6: 0.4, 8: 0.3}
    # Four epochs in thirds: two, one, one. The geometric mean of 16 and 4 is 8.
    epochs = {
        e: {"hessian_max": sharpness[e], "validation_accuracy": accuracy[e]} for e in sharpness
    }
    # Epochs in which only one of the two was measured do not count.
    epochs |= {1: {"hessian_max": 99.0}, 9: {"validation_accuracy": 0.9}}
    traces = [[trace_of(epochs=epochs, distance=[1.0])]]
    assert VALUE["sharpness-falls"]([None], traces) == pytest.approx(2 / 8)
    assert VALUE["sharpness-rises"]([None], traces) == pytest.approx(6 / 2)
    # Ranks 4, 2, 1, 3 and 1, 4, 3, 2: 1 − 6 Σ d² / (n (n² − 1)) with Σ d² = 9 + 4 + 4 + 1.
    expected = 1 - 6 * 18 / (4 * 15)
    assert VALUE["sharpness-and-accuracy"]([None], traces) == pytest.approx(expected)
    for measured in epochs.values():
        measured["validation_accuracy"] = 0.5
    constant = [[trace_of(epochs=epochs, distance=[1.0])]]
    assert math.isnan(VALUE["sharpness-and-accuracy"]([None], constant))
    del epochs[1]
    for measured in epochs.values():
        measured["validation_accuracy"] = -measured.get("hessian_max", 0.0)
    opposite = [[trace_of(epochs=epochs, distance=[1.0])]]
    # A perfect one of four ranks, half way to the next one: −1 + 6 / (4³ − 4).
    assert VALUE["sharpness-and-accuracy"]([None], opposite) == pytest.approx(-0.9)
    epochs[4]["hessian_max"] = -1.0
    negative = [[trace_of(epochs=epochs, distance=[1.0])]]
    assert math.isnan(VALUE["sharpness-falls"]([None], negative))


@pytest.mark.parametrize("name", ["sharpness-falls", "sharpness-rises"])
def test_pure_noise_neither_falls_nor_rises(name):
    """Minimum over first and last over minimum would say that it does both."""
    random = np.random.default_rng(0)
    logarithms = []
    for _ in range(400):
        drawn = np.exp(0.5 * random.standard_normal(10))
        epochs = {
            epoch + 1: {"hessian_max": value, "validation_accuracy": 0.5}
            for epoch, value in enumerate(drawn)
        }
        value = VALUE[name]([None], [[trace_of(epochs=epochs, distance=[1.0])]])
        logarithms.append(math.log(value))
    error = np.std(logarithms) / 20
    assert abs(np.mean(logarithms)) < 3 * error
    assert error < 0.03


def test_gradient_descent_with_noise_and_what_frees_it():
    page = IsotropicNoise(
        model="mlp",
        epochs=12,
        switch_epoch=3,
        noise_factors=[0.1, 0.05],
        training_images=1000,
    )
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
        # The noisy walk is left after epoch 3, at a loss of 4. The last tenth are two of the
        # eleven epochs that were measured, and of the first three it is one.
        epochs = {
            1: {"train_loss": 7.0, "validation_accuracy": 0.2},
            2: {"train_loss": 6.0, "validation_accuracy": 0.2},
            3: {"train_loss": 4.0, "validation_accuracy": 0.3},
        }
        epochs |= {e: {"train_loss": 99.0, "validation_accuracy": 0.0} for e in range(4, 10)}
        epochs[10] = {"train_loss": loss - 0.05, "validation_accuracy": accuracy - 0.05}
        epochs[11] = {"train_loss": loss + 0.05, "validation_accuracy": accuracy + 0.05}
        epochs[12] = {}
        steps = sum(experiment.phase(epoch + 1).steps(1000) for epoch in range(12))
        traces.append(
            trace_of(
                epochs=epochs,
                experiment=experiment,
                cosine=[0.0] * steps,
                distance=[distance] * steps,
                parameter_norm=[norm] * steps,
            )
        )
    (stuck,) = BY_ID["stuck-under-gd"].premises
    assert stuck(Walked(page, traces)) == "", "5 is left of 4"
    pages, traces = [page], [traces]
    # The smaller noise beside plain gradient descent.
    assert VALUE["noise-hinders-optimisation"](pages, traces) == pytest.approx(1.5)
    assert VALUE["noise-hinders-generalisation"](pages, traces) == pytest.approx(-0.3)
    assert VALUE["noise-travels-far"](pages, traces) == pytest.approx(10)
    assert VALUE["noise-ends-with-large-norm"](pages, traces) == pytest.approx(3)
    # What is left of the loss of 4 after the switch.
    assert VALUE["stuck-under-smaller-rate"](pages, traces) == pytest.approx(0.9)
    assert VALUE["stuck-under-gd"](pages, traces) == pytest.approx(0.25)
    assert VALUE["freed-by-sgd"](pages, traces) == pytest.approx(0.1)
    # The page shows what the claims count, not the last epoch alone.
    ends = {end["label"]: end for end in page.ends(traces[0])}
    assert ends["GD + noise × 0.05"]["train_loss"] == pytest.approx(2.0)
    assert ends["GD"]["validation_accuracy"] == pytest.approx(0.9)
    for trace in traces[0]:
        trace["train_loss"][:3] = 10.0
    assert stuck(Walked(page, traces[0])) == "0.5 is left", "it falls under the noise as well"


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


def test_walks_of_equal_ratio_are_compared_at_equal_images_seen():
    page = EqualRatio(model="mlp")
    # Measured at other epochs, as walks of other lengths are: epoch 8 is the last of both.
    measured = ({2: 0.1, 4: 0.2, 8: 0.4, 10: 0.9}, {3: 0.0, 6: 0.0}, {4: 0.1, 8: 0.3, 12: 0.7})
    traces = []
    for accuracy in measured:
        epochs = {
            epoch: {"validation_accuracy": value, "train_loss": 1 / (value + 0.1)}
            for epoch, value in accuracy.items()
        }
        # The heights of their segments differ, as those of steps of other lengths do.
        traces.append(trace_of([len(traces) * SAG], epochs=epochs))
    pages, both = [page], [traces]
    assert VALUE["ratio-is-not-all-accuracy"](pages, both) == pytest.approx(-0.1)
    assert VALUE["ratio-is-not-all-loss"](pages, both) == pytest.approx(0.5 / 0.4)
    traces[0] = trace_of(epochs={5: {"validation_accuracy": 0.2, "train_loss": 1.0}}, distance=[1])
    assert math.isnan(VALUE["ratio-is-not-all-accuracy"](pages, both))


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


def test_some_directions_of_each_quadratic_diverge():
    for seed in range(10):
        page = Quadratic.for_seed("quick", "mlp", seed, {})
        found = {damping(value, page.learning_rate) for value in page.eigenvalues}
        assert found >= {"under-damped", "divergent"}
        assert min(page.eigenvalues) > 0


def test_every_claim_is_measured_above():
    """A claim that is added must be added here."""
    with open(__file__, encoding="utf-8") as stream:
        source = stream.read()
    untested = {claim.id for claim in CLAIMS if f'VALUE["{claim.id}"]' not in source}
    assert untested == {"hessian-is-covariance"}, "it is tested in test_noise_structure"
