"""A segment from few points: exact on polynomials, honest on kinks, whole at a barrier."""

import json

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from torch import nn

from valleywalk import analysis, watch
from valleywalk.evaluation import BatchMeans, Evaluator
from valleywalk.folders import checkout
from valleywalk.probes import Step
from valleywalk.probes.interpolation import (
    MOST_POINTS,
    Interpolation,
    few_points,
    through,
)

ALPHA = np.linspace(0, 1, 11)
EPSILON = float(np.finfo(np.float32).eps)


def measuring(loss):
    """The losses of a segment as something that can be asked, and what was asked for."""
    asked = []

    def measure(index):
        assert index not in asked, "asked for twice"
        asked.append(index)
        return float(loss[index])

    return measure, asked


def few(loss, tolerance=0.02, epsilon=EPSILON):
    measure, asked = measuring(loss)
    return few_points(measure, np.linspace(0, 1, len(loss)), tolerance, epsilon), asked


@given(st.floats(0.15, 0.85), st.floats(0.01, 100))
def test_a_parabola_takes_ends_middle_and_its_minimum(lowest, curvature):
    loss = 1 + curvature * (ALPHA - lowest) ** 2
    curve, asked = few(loss)
    assert curve.loss == pytest.approx(loss)
    assert curve.error < 1e-9 + analysis.EARLIER_MOVE * np.ptp(loss)
    assert asked[:3] == [0, 10, 5]
    assert len(asked) <= 5
    assert curve.loss[asked[3:]] == pytest.approx(loss[asked[3:]])
    # The middle may be the minimum, or (where both lie as low) the point beside it.
    assert loss[asked].min() == pytest.approx(loss.min())
    assert analysis.height([curve.loss]) == pytest.approx(analysis.height([loss]))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=4), st.sampled_from([0.05, 0.02, 1e-3]))
def test_where_it_ends_the_polynomial_is_within_its_error(coefficients, tolerance):
    """Of degree 5 at most, so that the seven points that are allowed would give it exactly."""
    loss = 1 + 0.3 * Polynomial([0, *coefficients])(ALPHA)
    curve, asked = few(loss, tolerance)
    assert curve.measured.sum() == len(asked)
    assert (curve.loss[curve.measured] == loss[curve.measured]).all(), "measured to the bit"
    if len(asked) == 11:
        assert (curve.loss == loss).all()
        assert curve.error == 0
    else:
        assert len(asked) <= MOST_POINTS


def test_a_straight_line_takes_three_points():
    curve, asked = few(np.linspace(2, 1, 11))
    assert asked == [0, 10, 5]
    assert curve.error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (1 - 4 * (ALPHA - 0.5) ** 2, "a barrier between equal ends"),
        (1 + 0.4 * ALPHA - 2 * ALPHA**2, "a barrier at α = 0.1 alone"),
        (1 + 0.2 * np.sin(9 * np.pi * ALPHA), "no polynomial of low degree"),
        (np.polynomial.Chebyshev.basis(7)(1.8 * ALPHA - 0.8) - 3 * ALPHA, "eight points would do"),
        (2 + 1e-7 * (ALPHA - 0.5) ** 2, "the range is that of rounding"),
        (np.where(ALPHA == 0.3, np.nan, ALPHA**2), "not a number at one point"),
        (np.where(ALPHA == 1, np.inf, ALPHA**2), "infinite at the end"),
    ],
)
def test_the_whole_grid_is_measured_where(loss, why):
    curve, asked = few(loss)
    if why.startswith("not a number"):
        assert not np.isnan(curve.loss).any() or len(asked) == 11
        return
    assert sorted(asked) == list(range(11)), why
    assert curve.measured.all()
    assert curve.error == 0
    assert np.array_equal(curve.loss, loss)


def test_a_point_that_may_lie_as_high_as_the_lower_end_is_measured():
    """At α = 0.9 it is exactly as high: no barrier over one end, and only a measurement tells."""
    loss = ALPHA * (ALPHA - 0.9)
    curve, asked = few(loss)
    assert 9 in asked
    assert not analysis.barriers([curve.loss], "either", threshold=1e-12)[0]


def test_double_precision_bears_a_small_range():
    loss = 2 + 1e-7 * (ALPHA - 0.3) ** 2
    assert len(few(loss, epsilon=float(np.finfo(np.float64).eps))[1]) < 6


@pytest.mark.parametrize("height", [-0.02, -0.005, 0.0, 0.005, 0.02])
def test_a_barrier_that_the_curve_could_hide_is_looked_for(height):
    """A bump just before the higher end, that lies near the end's own height."""
    loss = np.interp(ALPHA, [0, 0.5, 0.9, 1], [0.2, 0.0, 1 + height, 1.0])
    curve, _ = few(loss)
    assert analysis.barriers([curve.loss])[0] == analysis.barriers([loss])[0]


@pytest.mark.parametrize("bump", [-0.01, -0.002, 0.002, 0.01])
def test_a_barrier_over_the_lower_end_alone_is_looked_for(bump):
    """The segment rises from 0 to 1; whether it first dips below its start is the question."""
    loss = np.interp(ALPHA, [0, 0.1, 1], [0.0, bump, 1.0])
    curve, _ = few(loss)
    assert analysis.has_interior_minimum([curve.loss])[0] == (bump < 0) or curve.error > abs(bump)
    assert analysis.barriers([curve.loss], "either")[0]


def test_a_kink_is_an_error_that_is_said():
    """Where two lines meet no polynomial is right; few points see it in their last moves."""
    off, said = [], []
    for place in np.linspace(0.15, 0.85, 29):
        for other in (-0.9, -0.3, 0.2, 0.8):
            loss = np.where(place > ALPHA, place - ALPHA, other * (ALPHA - place))
            curve, _ = few(loss, tolerance=0.05)
            off.append(np.abs(curve.loss - loss).max())
            said.append(curve.error)
    off, said = np.array(off), np.array(said)
    assert off.max() < 0.15
    assert (off[said == 0] == 0).all()
    assert (off <= 2 * said).mean() > 0.9


@pytest.mark.parametrize("points", [1, 2, 3, 4, 7])
def test_short_grids(points):
    alpha = np.linspace(0, 1, points + 1)
    loss = (alpha - 0.4) ** 2
    curve, asked = few(loss)
    assert curve.loss == pytest.approx(loss)
    assert len(asked) <= points + 1


def test_through_takes_nothing_from_numpy_s_random_state():
    before = np.random.get_state()
    columns = np.stack([ALPHA**2, ALPHA**3], axis=1)
    chosen = [0, 3, 5, 10]
    assert through(ALPHA, chosen, columns[chosen]) == pytest.approx(columns)
    after = np.random.get_state()
    assert before[2] == after[2]
    assert np.array_equal(before[1], after[1])


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_what_is_no_tolerance(tolerance):
    with pytest.raises(ValueError, match=r"0\.02 is a good choice"):
        Interpolation(10, tolerance)


class Quadratics:
    """An evaluator of three batches, whose losses are parabolas of the first parameter."""

    batch_norm = "train"
    images = np.array([100, 100, 50])
    lowest = np.array([0.2, 0.5, 0.9])

    def __init__(self):
        self.passes = 0

    def surroundings(self):
        return []

    def losses(self, values):
        self.passes += 1
        return BatchMeans((float(values[0]) - self.lowest) ** 2, self.images)


def step(begin, end, evaluate):
    before, after = ([torch.tensor([x], dtype=torch.float64)] for x in (begin, end))
    return Step(0, before, before, after, before, evaluate)


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_the_heights_of_the_batches_make_the_height(tolerance):
    evaluate = Quadratics()
    seen = Interpolation(10, tolerance)(step(-0.5, 2.0, evaluate))
    weights = evaluate.images / evaluate.images.sum()
    height = analysis.height([seen["loss"]])[0]
    assert weights @ seen["batch_height"] == pytest.approx(height)
    floor = -0.5 + 2.5 * ALPHA[np.argmin(seen["loss"])]
    ends = ((-0.5 - evaluate.lowest) ** 2 + (2.0 - evaluate.lowest) ** 2) / 2
    assert seen["batch_height"] == pytest.approx(ends - (floor - evaluate.lowest) ** 2)
    assert seen["step_length"] == pytest.approx(2.5)
    # Highest inside is next to the higher end, α = 0.9 against α = 1.
    inside = (1.75 - evaluate.lowest) ** 2 - (2.0 - evaluate.lowest) ** 2
    error = analysis.standard_error_over_batches(inside, evaluate.images)
    assert seen["barrier_error"] == pytest.approx(error)
    lower = (1.75 - evaluate.lowest) ** 2 - (-0.5 - evaluate.lowest) ** 2
    error = analysis.standard_error_over_batches(lower, evaluate.images)
    assert seen["barrier_error_either"] == pytest.approx(error)
    # All batches bend alike: whatever their levels, no second difference is in doubt.
    measured = seen["measured"].copy()
    measured[[0, -1]] = False
    assert np.array_equal(~np.isnan(seen["second_difference_error"]), measured)
    assert seen["second_difference_error"][measured] == pytest.approx(0, abs=1e-12)


class Bends(Quadratics):
    """Three batches that bend differently, and are anywhere."""

    bend = np.array([1.0, 2.0, 6.0])

    def losses(self, values):
        losses = self.bend / 2 * float(values[0]) ** 2 - self.lowest * float(values[0])
        return BatchMeans(losses + 9 * self.lowest, self.images)


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_the_error_of_second_differences_is_that_of_the_bends_of_the_batches(tolerance):
    seen = Interpolation(10, tolerance)(step(-0.5, 2.0, Bends()))
    # L″ along α is 2.5² times that along the parameter, by whichever points.
    error = 2.5**2 * analysis.standard_error_over_batches(Bends.bend, Bends.images)
    found = seen["second_difference_error"]
    assert found[~np.isnan(found)] == pytest.approx(error)
    assert (~np.isnan(found)).sum() == seen["measured"].sum() - 2


def test_a_step_that_goes_on_costs_one_pass_less_and_gives_the_same():
    """Also where the point that was measured last is not the segment's end."""
    evaluate, again = Quadratics(), Quadratics()
    probe = Interpolation(10, 0.02)
    probe(step(-0.5, 2.0, evaluate))
    passes, evaluate.passes = evaluate.passes, 0
    seen = probe(step(2.0, -0.4, evaluate))
    alone = Interpolation(10, 0.02)(step(2.0, -0.4, again))
    assert evaluate.passes == again.passes - 1
    assert passes == again.passes == 4, "0, 1, ½, and one more, which a parabola does not move"
    assert np.array_equal(seen["loss"], alone["loss"])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_few_points_see_what_all_points_see(network, images, kind):
    model, loss = network.to(kind), nn.functional.cross_entropy
    data = (images[0].to(kind), images[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    whole = Interpolation(10)

    class Whole:
        def __call__(self, step):
            return {f"whole_{i}": x for i, x in enumerate(whole(step)["loss"])}

    with watch(
        model, optimizer, loss, data, tolerance=0.02, batch_size=8, probes=[Whole()]
    ) as watcher:
        for _ in range(12):
            optimizer.zero_grad()
            loss(model(data[0][:20]), data[1][:20]).backward()
            optimizer.step()
    trace = watcher.trace
    truth = np.stack([trace[f"whole_{i}"].values for i in range(11)], axis=1)
    known = trace["measured"].values
    assert known.mean() < 0.6
    assert (trace["loss"].values[known] == truth[known]).all(), "measured to the bit"
    assert trace["batch_images"].values.tolist() == [8] * 5
    off = np.abs(trace["loss"].values - truth).max(axis=1)
    assert (off <= trace["loss_error"].values + 1e-7).mean() >= 0.8
    assert analysis.height(trace["loss"]).mean() == pytest.approx(
        analysis.height(truth).mean(), rel=0.02
    )


def test_exact_traces_say_so(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watch(network, optimizer, nn.functional.cross_entropy, images, steps={1}) as watcher:
        for _ in range(3):
            nn.functional.cross_entropy(network(images[0]), images[1]).backward()
            optimizer.step()
    trace = watcher.trace
    assert trace["measured"].dtype == bool
    assert trace["measured"].values.all(axis=1).tolist() == [False, True, False]
    assert trace["loss_error"].values[1] == 0
    assert np.isnan(trace["loss_error"].values[[0, 2]]).all()


def test_losses_by_batch_make_the_mean_to_the_bit(network, images):
    inputs, targets = images
    batches = [(inputs[:16], targets[:16]), (inputs[16:37], targets[16:37])]
    evaluate = Evaluator(network, nn.functional.cross_entropy, batches)
    found = evaluate.losses()
    total = 0.0
    for value, count in zip(found.values, (16, 21), strict=True):
        total += value * count
    assert found.mean == evaluate() == total / 37
    assert found.images.tolist() == [16, 21]
    masked = Evaluator(network, nn.functional.cross_entropy, batches, dropout_masks=3)
    assert masked.losses().images.tolist() == [16, 21]
    assert masked() == pytest.approx(evaluate())


RECORDED = sorted((checkout() / "data" / "traces").glob("*.nc"))


@pytest.mark.slow
def test_recorded_walks_from_few_points():
    """All recorded segments that were measured on all points, at 2 % (see the page on speed)."""
    passes, segments, bounded, heights, missed, barriers = 0, 0, 0, [], 0, 0
    for path in RECORDED:
        with h5py.File(path) as opened:
            if "loss" not in opened or opened["loss"].shape[1] != 11:
                continue
            loss = opened["loss"][:]
            if json.loads(opened.attrs["experiment"]).get("tolerance"):
                # Those that were measured whole by plan.
                if "whole" not in opened:
                    continue
                loss = loss[opened["whole"][:].astype(bool)]
        loss = loss[analysis.measured(loss)]
        if not len(loss):
            continue
        curves = []
        for row in loss:
            curve, asked = few(row)
            curves.append(curve.loss)
            passes += len(asked) - 1
            bounded += np.abs(curve.loss - row).max() <= curve.error or curve.error == 0
        segments += len(loss)
        seen = analysis.barriers(np.array(curves))
        barriers += analysis.barriers(loss).sum()
        missed += (analysis.barriers(loss) != seen).sum()
        heights.append(analysis.height(np.array(curves)).mean() / analysis.height(loss).mean() - 1)
    assert segments > 2_000
    assert passes / segments < 4.5
    assert bounded / segments > 0.925
    assert np.abs(heights).max() < 0.03
    assert missed == 0
    assert barriers > 10
