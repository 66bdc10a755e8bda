"""Numbers from traces: closed forms, an independent double-backward product, and coverage."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from valleywalk import Experiment, analysis, measures, statistics, walk, watch
from valleywalk.trace import open_trace, save

pytestmark = pytest.mark.core

SMALL = {
    "model": "mlp",
    "dataset": "mnist5k",
    "width": 0.1,
    "training_images": 400,
    "batch_size": 20,
    "evaluation_batch_size": 20,
}


# What the curve tells about its step ----------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
@pytest.mark.parametrize("rate", [0.05, 0.25, 0.35])
def test_along_a_step_of_gradient_descent_on_a_parabola(tolerance, rate):
    """α* = 1/(ηk), gain ηg², penalty ½η²kg², sharpness k = 1/(ηα*)."""
    k, start = 5.0, 1.6
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, start)
    data = (torch.ones(6, 1, dtype=torch.float64), torch.zeros(6))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def loss(output, target):
        return 0.5 * k * (output**2).mean()

    with watch(model, optimizer, loss, data, tolerance=tolerance, batch_size=3) as watcher:
        for _ in range(4):
            optimizer.zero_grad()
            loss(model(data[0]), data[1]).backward()
            optimizer.step()
    found = measures.along_step(watcher.trace)
    theta = start * (1 - rate * k) ** np.arange(4)
    gradient = k * theta
    assert found["gain"].values == pytest.approx(rate * gradient**2)
    assert found["curvature_penalty"].values == pytest.approx(0.5 * rate**2 * k * gradient**2)
    assert found["sharpness"].values == pytest.approx(k, rel=1e-6)
    assert found["floor_position"].values == pytest.approx(min(1.0, 1 / (rate * k)), rel=1e-6)
    if rate * k > 1:
        assert 1 / (rate * found["floor_position"].values) == pytest.approx(k, rel=1e-6)
    if not tolerance:
        assert (found["sharpness_error"].values < 1e-4).all()
    # Taylor: the loss's change is minus gain plus penalty, exactly for a parabola.
    change = watcher.trace["loss"].values[:, -1] - watcher.trace["loss"].values[:, 0]
    assert found["curvature_penalty"].values - found["gain"].values == pytest.approx(change)


def smooth_network(kind=torch.float64):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 16, 4),
    )
    return network.to(kind)


def double_backward(model, loss, batches, direction):
    """Gradient along a direction, and curvature, by double backward: shares nothing with ours."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    slope = bend = 0.0
    total = sum(len(targets) for _, targets in batches)
    buffers = [b.clone() for b in model.buffers()]
    for inputs, targets in batches:
        value = loss(model(inputs), targets) * len(targets) / total
        gradient = torch.autograd.grad(value, parameters, create_graph=True)
        along = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
        product = torch.autograd.grad(along, parameters)
        slope += along.item()
        bend += sum((h * d).sum().item() for h, d in zip(product, direction, strict=True))
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(value)
    return slope, bend


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
@pytest.mark.parametrize(("tolerance", "allowed"), [(0.0, 0.02), (0.002, 0.1)])
def test_along_a_step_agrees_with_double_backward_products(images, kind, tolerance, allowed):
    """A smooth network with batch norm in train mode: within 2 % from all points."""
    model, loss = smooth_network(kind), nn.functional.cross_entropy
    data = (images[0].to(kind), images[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watcher = watch(model, optimizer, loss, data, batch_size=8, tolerance=tolerance)
    expected = []
    with watcher:
        for step in range(8):
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad()
            chosen = slice(step * 5, step * 5 + 20)
            loss(model(data[0][chosen]), data[1][chosen]).backward()
            optimizer.step()
            after = [p.detach().clone() for p in model.parameters()]
            delta = [b - a for a, b in zip(before, after, strict=True)]
            with torch.no_grad():
                for p, value in zip(model.parameters(), before, strict=True):
                    p.copy_(value)
            slope, bend = double_backward(model, loss, watcher.evaluate.batches, delta)
            with torch.no_grad():
                for p, value in zip(model.parameters(), after, strict=True):
                    p.copy_(value)
            length = sum((d.double() ** 2).sum().item() for d in delta) ** 0.5
            expected.append((-slope, bend / 2, bend / length**2, length))
    found = measures.along_step(watcher.trace)
    gain, penalty, sharpness, length = np.array(expected).T
    assert watcher.trace["step_length"].values == pytest.approx(length, rel=1e-5)
    assert found["gain"].values == pytest.approx(gain, rel=allowed, abs=allowed * gain.max())
    assert found["curvature_penalty"].values == pytest.approx(penalty, rel=allowed)
    assert found["sharpness"].values == pytest.approx(sharpness, rel=allowed)
    off, said = np.abs(found["sharpness"].values - sharpness), found["sharpness_error"].values
    assert (off <= said + 1e-3 * sharpness).mean() >= 0.8
    assert np.median(said / sharpness) < 0.5


def test_the_error_of_a_curvature_holds_under_rounding():
    """A cubic with noise of a thousandth on each loss: the truth is within the error, mostly."""
    random, alpha = np.random.default_rng(0), np.linspace(0, 1, 11)
    loss = (alpha - 0.6) ** 2 + 0.05 * alpha**3 + random.normal(0, 1e-3, (300, 11))
    trace = xr.Dataset(
        {"loss": (("iteration", "alpha"), loss)}, {"alpha": alpha, "iteration": np.arange(300)}
    )
    found = measures.along_step(trace)
    off = np.abs(found["curvature_penalty"].values - 1)
    assert (off <= found["curvature_penalty_error"].values).mean() > 0.9
    assert found["curvature_penalty_error"].values.mean() < 0.3
    assert np.median(off) < 0.05


def test_a_trace_without_step_length_has_no_sharpness():
    loss = [np.linspace(1, 0, 11) ** 2]
    trace = xr.Dataset(
        {"loss": (("iteration", "alpha"), loss)}, {"alpha": np.linspace(0, 1, 11), "iteration": [0]}
    )
    found = measures.along_step(trace)
    assert np.isnan(found["sharpness"]).all()
    assert found["gain"].item() == pytest.approx(2.0)
    assert found["curvature_penalty"].item() == pytest.approx(1.0)
    assert found["floor_position"].item() == 1.0


def test_a_segment_of_two_points_tells_nothing_about_its_step():
    trace = xr.Dataset(
        {"loss": (("iteration", "alpha"), [[1.0, 0.5]])}, {"alpha": [0.0, 1.0], "iteration": [0]}
    )
    assert np.isnan(measures.along_step(trace)["gain"]).all()


def test_a_loss_without_limit_has_no_curve_and_spoils_no_other_height():
    trace = made_trace(np.ones((2, 2)), [100, 100], 4000)
    trace["loss"].values[1, 1:] = np.inf
    trace["batch_height"].values[1] = np.inf
    along = measures.along_step(trace.assign(step_length=("iteration", [1.0, 1.0])))
    for name in along.data_vars:
        np.testing.assert_array_equal(np.isnan(along[name].values), [False, True], err_msg=name)
    found = measures.window_height(trace, interior=True)
    assert (found.value, found.error) == (1.0, 0.0)


# Heights with their errors --------------------------------------------------------------------


def made_trace(heights, images, training_images, drawn=None, falling=()):
    """A trace whose step t has the given height on each batch: parabolas with the floor at ½.

    A falling segment is a straight line of twice the height.
    """
    steps = len(heights)
    total = np.asarray(heights) @ (np.asarray(images) / np.sum(images))
    alpha = np.linspace(0, 1, 11)
    loss = total[:, None] * 4 * (alpha - 0.5) ** 2
    for t in falling:
        loss[t] = total[t] * 2 * (1 - alpha)
    variables = {
        "loss": (("iteration", "alpha"), loss),
        "loss_error": ("iteration", np.zeros(steps)),
        "batch_height": (("iteration", "batch"), np.asarray(heights)),
        "batch_images": ("batch", np.asarray(images)),
    }
    if drawn is not None:
        stretch = np.full(steps, np.nan)
        stretch[list(drawn)] = list(drawn.values())
        variables["stretch"] = ("iteration", stretch)
        variables["loss"][1][np.isnan(stretch)] = np.nan
        variables["batch_height"] = (
            ("iteration", "batch"),
            np.where(np.isnan(stretch)[:, None], np.nan, heights),
        )
    coordinates = {"alpha": alpha, "iteration": np.arange(steps)}
    attributes = {"steps_in_epoch": steps, "training_images": training_images}
    return xr.Dataset(variables, coordinates, attributes)


def test_the_error_of_a_window_is_the_spread_of_the_batches_means_over_steps():
    heights = np.array([[1.0, 2.0, 3.0, 6.0], [3.0, 2.0, 5.0, 6.0]])
    found = measures.window_height(made_trace(heights, [100] * 4, 1000))
    means = heights.mean(axis=0)
    assert found.value == pytest.approx(means.mean())
    expected = means.std(ddof=1) / 2 * np.sqrt(1 - 400 / 1000)
    assert found.error == pytest.approx(expected)
    assert found.freedom == 3
    low, high = means.mean() + 3.182446 * expected * np.array([-1, 1])
    assert found.interval()[1:] == pytest.approx((low, high), rel=1e-6)
    assert measures.window_height(made_trace(heights, [100] * 4, 400)).error == 0


def test_heights_where_the_floor_lies_inside_alone():
    heights = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    trace = made_trace(heights, [100, 100], 1000, falling=[1])
    assert measures.window_height(trace).value == pytest.approx(heights.mean())
    found = measures.window_height(trace, interior=True)
    assert found.value == pytest.approx((1.5 + 7) / 2)
    assert found.error == pytest.approx(np.sqrt(0.8) * 1.25)
    assert np.isnan(measures.window_height(trace.isel(iteration=[1]), interior=True).value)


def test_a_whole_epoch_has_no_error_of_its_steps():
    heights = np.random.default_rng(0).gamma(3, 1, (40, 5))
    trace = made_trace(heights, [100] * 5, 4000)
    assert measures.epoch_height(trace, 1) == measures.window_height(trace)


def test_every_so_many_th_segment_is_measured_whole():
    """By plan in each epoch, and nothing else changes: neither the walk nor the other segments."""
    few = Experiment(
        **SMALL, epochs=3, probed_epochs=(1, 3), sampled_iterations=6, tolerance=0.3, points=10
    )
    some = few.model_copy(update={"whole_every": 4})
    steps = some.probed_steps(20)
    assert some.whole_steps(20) == {steps[0], steps[4], steps[6], steps[10]}
    assert few.whole_steps(20) == frozenset()
    assert Experiment(**SMALL, probed_iterations=3).whole_steps(20) == {0, 1, 2}
    plain, sampled = (walk(experiment, progress=False) for experiment in (few, some))
    whole = measures.whole_steps(sampled)
    assert set(whole["iteration"].values) == some.whole_steps(20)
    assert whole["measured"].values.all()
    assert (whole["loss_error"] == 0).all()
    others = np.setdiff1d(steps, whole["iteration"])
    for name in ("loss", "measured", "loss_error"):
        same = (trace[name].sel(iteration=others).values for trace in (plain, sampled))
        np.testing.assert_array_equal(*same)
    assert (plain["measured"].sel(iteration=others).sum("alpha") < 11).any(), "few points elsewhere"
    np.testing.assert_array_equal(plain["distance"], sampled["distance"])
    assert list(measures.whole_steps(plain)["iteration"]) == list(steps), "no plan: all of them"


def test_neither_drawn_nor_whole_is_said():
    trace = made_trace(np.ones((40, 5)), [100] * 5, 4000)
    trace["loss"].values[7] = np.nan
    with pytest.raises(ValueError, match="walk with sampled_iterations"):
        measures.epoch_height(trace, 1)
    with pytest.raises(ValueError, match="of the 40 steps of epoch 3 the walk has 0"):
        measures.epoch_height(trace, 3)


@pytest.mark.parametrize("drawn", [None, {0: 0, 3: 0, 10: 1, 12: 1, 20: 2, 21: 2}])
def test_an_epoch_that_the_walk_ends_in_does_not_stand_for_a_whole_one(drawn):
    trace = made_trace(np.ones((40, 5)), [100] * 5, 4000, drawn=drawn)
    with pytest.raises(ValueError, match="of the 40 steps of epoch 1 the walk has 25"):
        measures.epoch_height(trace.isel(iteration=slice(25)), 1)


def test_a_trace_that_knows_no_epochs_has_no_second_one():
    trace = made_trace(np.ones((4, 5)), [100] * 5, 4000)
    del trace.attrs["steps_in_epoch"]
    assert measures.window(trace).sizes["iteration"] == 4
    with pytest.raises(ValueError, match="there is no epoch 2"):
        measures.window(trace, 2)


def test_a_batch_of_fewer_images_weighs_less():
    heights = np.array([[1.0, 2.0, 9.0]])
    found = measures.window_height(made_trace(heights, [100, 100, 50], np.inf))
    mean = (100 + 200 + 450) / 250
    assert found.value == pytest.approx(mean)
    squares = 0.4 * (1 - mean) ** 2 + 0.4 * (2 - mean) ** 2 + 0.2 * (9 - mean) ** 2
    assert found.error == pytest.approx(np.sqrt(squares / 2))


@pytest.mark.parametrize("images", [[100, 2], [64, 64, 4], [100] * 10 + [3], [50, 50]])
def test_the_interval_over_unequal_batches_holds_the_truth(images):
    random, draws = np.random.default_rng(0), 4000
    batches = random.standard_normal((draws, len(images))) / np.sqrt(images)
    ends = np.array([statistics.mean_over_batches(each, images).interval() for each in batches])
    assert np.mean((ends[:, 1] <= 0) & (ends[:, 2] >= 0)) == pytest.approx(0.95, abs=0.011)
    errors = [statistics.mean_over_batches(each, images).error for each in batches]
    assert np.mean(np.square(errors)) == pytest.approx(1 / sum(images), rel=0.08)


def test_a_trace_without_batches_has_a_value_and_no_interval():
    trace = made_trace(np.ones((4, 5)), [100] * 5, 4000).drop_vars("batch_height")
    found = measures.window_height(trace)
    assert found.value == pytest.approx(1.0)
    assert np.isnan(found.interval().low)


def epoch_of_heights(random, steps=450, batches=450, steps_vary=0.55, batches_vary=0.13):
    """Heights of an epoch: autocorrelated and skewed over steps, with a trend; skewed over batches.

    As much as those of VGG-11 on cifar9k vary.
    """
    memory, log = np.empty(steps), np.sqrt(np.log(1 + steps_vary**2))
    memory[0] = random.normal()
    for t in range(1, steps):
        memory[t] = 0.6 * memory[t - 1] + 0.8 * random.normal()
    of_steps = np.exp(log * memory - log**2 / 2 - np.arange(steps) / steps)
    of_batches = random.gamma(1 / batches_vary**2, batches_vary**2, batches)
    own = np.exp(0.5 * random.normal(size=(steps, batches)) - 0.125)
    return of_steps[:, None] * of_batches * own


@pytest.mark.parametrize(
    ("shape", "falling_share", "wider"),
    [
        ({}, 0.0, 1.2),
        ({"steps": 80, "batches": 80}, 0.0, 1.2),
        ({"batches_vary": 0.4}, 0.0, 1.2),
        # Some twelve of the 40 steps do not count: the fewer, the wider.
        ({}, 0.3, 1.25),
    ],
)
def test_the_interval_of_an_epoch_holds_the_truth_as_often_as_it_says(shape, falling_share, wider):
    """40 of the steps, 10 of the batches, 2,000 draws: at least 93 %, at most 1.2 times as wide as
    an interval that knew the true spread."""
    random = np.random.default_rng(0)
    heights = epoch_of_heights(random, **shape)
    steps, batches = heights.shape
    falling = np.flatnonzero(random.random(steps) < falling_share)
    counted = np.setdiff1d(np.arange(steps), falling)
    truth = heights[counted].mean()
    held, values, widths = 0, [], []
    for draw in range(2000):
        drawn = analysis.draw_steps(steps, 40, np.random.SeedSequence(draw))
        chosen = random.choice(batches, 10, replace=False)
        trace = made_trace(
            heights[:, chosen], [100] * 10, 100 * batches, drawn, np.intersect1d(falling, [*drawn])
        )
        found = measures.epoch_height(trace, 1, interior=bool(falling_share))
        interval = found.interval(positive=True)
        held += interval.low <= truth <= interval.high
        values.append(found.value)
        widths.append(interval.high - interval.low)
    assert held / 2000 >= 0.93
    assert np.mean(values) == pytest.approx(truth, rel=0.01)
    assert np.mean(widths) / (2 * 1.96 * np.std(values)) <= wider


def test_steps_of_longer_stretches_weigh_more():
    random = np.random.default_rng(2)
    heights = random.gamma(3, 1, (7, 4))
    drawn = {0: 0, 1: 0, 2: 1, 3: 1, 5: 2, 6: 2}  # Of stretches of two, three and two steps.
    trace = made_trace(heights, [100] * 4, np.inf, drawn)
    found = measures.epoch_height(trace, 1)
    weights = np.array([2, 2, 3, 3, 2, 2]) / 14
    by_batch = weights @ heights[list(drawn)]
    assert found.value == pytest.approx(by_batch.mean())
    of_images = by_batch.std(ddof=1) / 2
    means = heights.mean(axis=1)
    # The stretches of two steps are measured whole: all the error is that of the middle one, by
    # its own difference or by the mean relative one of the three.
    pairs = means[list(drawn)].reshape(3, 2)
    relative = np.mean(((pairs[:, 0] - pairs[:, 1]) / pairs.mean(axis=1)) ** 2) ** 0.5
    difference = max(abs(pairs[1, 0] - pairs[1, 1]), relative * pairs[1].mean())
    of_steps = (3 / 7) * np.sqrt(1 - 2 / 3) * difference / 2
    assert found.error == pytest.approx(np.hypot(of_images, of_steps))


def test_the_error_of_a_window_holds_as_often_as_it_says():
    """The images alone: 10 of the batches, a window of 40 steps."""
    random = np.random.default_rng(1)
    heights = epoch_of_heights(random, steps=40)
    held, values, widths = 0, [], []
    for _ in range(2000):
        chosen = random.choice(450, 10, replace=False)
        trace = made_trace(heights[:, chosen], [100] * 10, 45_000)
        found = measures.window_height(trace)
        interval = found.interval(positive=True)
        held += interval.low <= heights.mean() <= interval.high
        values.append(found.value)
        widths.append(interval.high - interval.low)
    assert held / 2000 >= 0.93
    assert np.mean(widths) / (2 * 1.96 * np.std(values)) <= 1.2


# Barriers -------------------------------------------------------------------------------------


def test_a_barrier_is_resolved_or_not_by_the_error_of_its_height():
    alpha = np.linspace(0, 1, 5)
    loss = np.array([[1, 1, 1 + h, 1, 1] for h in (0.5, 0.1, -0.1, -0.5)])
    trace = xr.Dataset(
        {
            "loss": (("iteration", "alpha"), loss),
            "measured": (("iteration", "alpha"), np.ones((4, 5), dtype=bool)),
            "loss_error": ("iteration", np.zeros(4)),
            "barrier_error": ("iteration", np.full(4, 0.1)),
            "barrier_error_either": ("iteration", np.full(4, 0.01)),
            "batch_images": ("batch", np.full(10, 100)),
        },
        {"alpha": alpha, "iteration": np.arange(4)},
        {"training_images": 45_000},
    )
    trace["loss"].values[2:, [1, 3]] -= 0.6
    # t of nine degrees of freedom is 2.26: 0.22 is the border.
    assert measures.barrier_signs(trace).tolist() == [1, 0, 0, -1]
    assert measures.barrier_signs(trace, "either").tolist() == [1, 1, -1, -1]
    # Images that are all there are leave nothing open, a curve's error does.
    trace.attrs["training_images"] = 1000
    assert measures.barrier_signs(trace).tolist() == [1, 1, -1, -1]
    trace["loss_error"].values[1] = 0.2
    assert measures.barrier_signs(trace).tolist() == [1, 1, -1, -1], "its highest was measured"
    trace["measured"].values[1, 2] = False
    assert measures.barrier_signs(trace).tolist() == [1, 0, -1, -1]
    old = trace.drop_vars("barrier_error")
    assert np.isnan(measures.barrier_signs(old)).all()
    assert np.isnan(measures.resolvable_barriers(old)).all()
    assert measures.resolvable_barriers(trace)[1] == pytest.approx(0.2), "the curve's error alone"
    assert np.isinf(measures.resolvable_barriers(trace.isel(batch=[0]))).all()


def test_a_resolved_sign_is_seldom_wrong():
    """Batches with known truth: of segments without a barrier at most 2.5 % seem to have one."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        seen = random.normal(0.0, 1.0, 10)  # The true height of the barrier is 0.
        error = analysis.standard_error_over_batches(seen, np.full(10, 100))
        loss = np.array([[0.0, seen.mean(), 0.0]])
        trace = xr.Dataset(
            {
                "loss": (("iteration", "alpha"), loss),
                "measured": (("iteration", "alpha"), [[True, True, True]]),
                "loss_error": ("iteration", [0.0]),
                "barrier_error": ("iteration", [error]),
                "batch_images": ("batch", np.full(10, 100)),
            },
            {"alpha": [0.0, 0.5, 1.0], "iteration": [0]},
        )
        wrong += measures.barrier_signs(trace)[0] == 1
    assert 0.015 < wrong / 2000 < 0.035


# Convexity --------------------------------------------------------------------------------------


def by_batches(losses, measured=None):
    """Segments from the losses of each batch, shape (segments, points, batches)."""
    count = losses.shape[1]
    known = np.ones(count, dtype=bool) if measured is None else measured
    alpha, images = np.linspace(0, 1, count), np.full(losses.shape[2], 100)
    errors = np.full(losses.shape[:2], np.nan)
    places = np.flatnonzero(known)
    for segment, row in zip(losses, errors, strict=True):
        bends = analysis.second_differences(segment[places].T, alpha[places])
        row[places[1:-1]] = [analysis.standard_error_over_batches(b, images) for b in bends.T]
    along = ("iteration", "alpha")
    return xr.Dataset(
        {
            "loss": (along, losses.mean(axis=2)),
            "measured": (along, np.tile(known, (len(losses), 1))),
            "second_difference_error": (along, errors.astype(np.float32)),
            "batch_images": ("batch", images),
        },
        {"alpha": alpha, "iteration": np.arange(len(losses))},
    )


PARABOLA = (1 - 2 * np.linspace(0, 1, 11)) ** 2


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_parabolas_either_way_up_and_noise_around_them(level):
    """However much the batches' levels differ, which says nothing of their bends."""
    random = np.random.default_rng(0)
    levels = level * random.standard_normal((300, 1, 10))
    noise = random.standard_normal((300, 11, 10))

    def signs(curve, spread):
        found = measures.convexity_signs(by_batches(curve[:, None] + spread * noise + levels))
        return np.array([(found == sign).mean() for sign in (1, 0, -1)])

    assert signs(PARABOLA, 0.001).tolist() == [1, 0, 0]
    assert signs(-PARABOLA, 0.001).tolist() == [0, 0, 1]
    # A second difference of it is 8, one of noise has a standard error of √6 / √10 · 0.1 / 0.01.
    convex, left_open, dented = signs(PARABOLA, 0.1)
    assert convex < 0.05
    assert left_open > 0.9
    assert dented < 0.03
    convex, left_open, dented = signs(0 * PARABOLA, 1.0)
    assert convex == 0
    assert 0.002 < dented < 0.05, "in 2.5 % of straight segments, of nine differences together"
    # Somewhere dented, elsewhere convex.
    bump = PARABOLA + 0.3 * (np.arange(11) == 5)
    assert signs(bump, 0.001).tolist() == [0, 0, 1]


def test_few_points_are_judged_alone():
    """Where a dent was not measured, nothing is said of it; what was measured counts."""
    some = np.isin(np.arange(11), [0, 2, 5, 10])
    steps = np.array([PARABOLA, -PARABOLA, PARABOLA + 0.3 * (np.arange(11) == 7)])
    exact = by_batches(np.repeat(steps[..., None], 4, axis=2), some)
    assert measures.convexity_signs(exact).tolist() == [1, -1, 1]
    whole = by_batches(np.repeat(steps[..., None], 4, axis=2))
    assert measures.convexity_signs(whole).tolist() == [1, -1, -1]


def test_what_says_nothing_of_convexity():
    steps = by_batches(np.repeat(PARABOLA[None, :, None], 4, axis=2))
    assert np.isnan(measures.convexity_signs(steps.drop_vars("second_difference_error"))).all()
    assert measures.convexity_signs(steps.isel(batch=[0])).tolist() == [0]
    assert measures.convexity_signs(steps.isel(alpha=[0, 10])).tolist() == [0]
    # Images that are all there are leave the batches' bends as they are.
    noise = np.random.default_rng(1).standard_normal((1, 11, 4))
    steps = by_batches(noise)
    before = measures.convexity_signs(steps)
    steps.attrs["training_images"] = 400
    assert np.array_equal(before, measures.convexity_signs(steps))


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_segments_of_a_real_walk_do_not_pass_upside_down(tolerance):
    """Against the noise of the loss's level most did, both ways up."""
    trace = walk(Experiment(**SMALL, epochs=2, tolerance=tolerance), progress=False)
    signs = measures.convexity_signs(trace)
    flipped = measures.convexity_signs(trace.assign(loss=-trace["loss"]))
    assert (signs == 1).mean() > 0.5
    assert (flipped == 1).mean() < 0.05
    assert (flipped[signs == 1] == -1).mean() > 0.9
    noise, loss = float(trace["loss_noise"][0]), trace["loss"].values
    assert analysis.is_convex(-loss, noise).mean() > 0.5


# Steps that are drawn -------------------------------------------------------------------------


def test_a_walk_with_drawn_steps():
    experiment = Experiment(**SMALL, epochs=3, probed_epochs=(1, 3), sampled_iterations=6, seed=4)
    trace = walk(experiment, progress=False)
    known = np.flatnonzero(analysis.measured(trace["loss"].values))
    assert len(known) == 12
    assert not ((known >= 20) & (known < 40)).any(), "epoch 2 is not probed"
    for epoch in (1, 3):
        steps = measures.drawn_steps(trace, epoch)
        assert steps["stretch"].values.tolist() == [0, 0, 1, 1, 2, 2]
        borders = analysis.stretches(20, 6)
        inside = steps["iteration"].values - 20 * (epoch - 1)
        assert (np.searchsorted(borders, inside, "right") - 1 == steps["stretch"]).all()
        found = measures.epoch_height(trace, epoch)
        assert found.interval().low < found.value < found.interval().high
    first, last = (measures.drawn_steps(trace, e)["iteration"].values % 20 for e in (1, 3))
    assert first.tolist() != last.tolist(), "drawn anew in each epoch"
    other = experiment.model_copy(update={"seed": 5})
    assert experiment.drawn_steps(20) != other.drawn_steps(20), "drawn anew with each seed"
    nowhere = experiment.model_copy(update={"probed_epochs": ()})
    assert nowhere.drawn_steps(20) == {}, "no epoch is probed"


def test_drawn_steps_beside_a_window_are_measured_once_and_alike():
    plain = walk(Experiment(**SMALL, probed_iterations=5), progress=False)
    both = walk(Experiment(**SMALL, probed_iterations=5, sampled_iterations=4), progress=False)
    assert plain.final_state_hash == both.final_state_hash
    assert np.array_equal(both["loss"][:5], plain["loss"][:5])
    known = np.flatnonzero(analysis.measured(both["loss"].values))
    drawn = np.flatnonzero(~np.isnan(both["stretch"].values))
    assert sorted({*range(5), *drawn}) == known.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampled_iterations": 22}, "22 of 20 steps cannot be drawn"),
        ({"sampled_iterations": 5}, "multiple of 2"),
        ({"sampled_iterations": 2, "update": "gd"}, "an epoch of gd is one step"),
        ({"tolerance": 1.0}, "less than 1"),
    ],
)
def test_bad_samples_are_refused_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**SMALL | change)


def test_new_variables_are_kept_and_old_traces_open(tmp_path):
    trace = walk(Experiment(**SMALL, sampled_iterations=4, tolerance=0.02), progress=False)
    save(trace, tmp_path / "new.nc")
    again = open_trace(tmp_path / "new.nc")
    assert again.identical(trace)
    assert again["measured"].dtype == bool
    assert again["batch_height"].dtype == np.float32
    assert json.loads(again.attrs["experiment"])["sampled_iterations"] == 4


@pytest.mark.parametrize(("steps", "count"), [(20, 22), (20, 5), (20, 0)])
def test_what_cannot_be_drawn(steps, count):
    with pytest.raises(ValueError, match="two from each of equal stretches"):
        analysis.stretches(steps, count)


@pytest.mark.parametrize(("steps", "count"), [(20, 20), (450, 40), (81, 40), (7, 2), (7, 6)])
def test_stretches_differ_by_one_step_and_each_gives_two(steps, count):
    borders = analysis.stretches(steps, count)
    assert borders[0] == 0
    assert borders[-1] == steps
    assert np.ptp(np.diff(borders)) <= 1
    middle = steps * np.arange(count // 2 + 1) / (count // 2)
    assert np.abs(borders - middle).max() <= 0.5
    drawn = analysis.draw_steps(steps, count, np.random.SeedSequence(1))
    assert len(drawn) == count
    for step, stretch in drawn.items():
        assert borders[stretch] <= step < borders[stretch + 1]


def test_all_steps_drawn_leave_no_error_of_steps():
    values = np.random.default_rng(0).random(20)
    found = statistics.mean_of_drawn_steps(
        values, np.repeat(range(10), 2), analysis.stretches(20, 20)
    )
    assert found.value == pytest.approx(values.mean())
    assert found.error == 0


def test_two_unlike_draws_of_a_stretch_are_refused():
    with pytest.raises(ValueError, match="two steps must have been drawn"):
        statistics.mean_of_drawn_steps([1.0, 2.0], [0, 1], [0, 10, 20])


def test_a_single_step_that_counts_says_nothing_of_its_error():
    borders, stretch = analysis.stretches(40, 4), np.repeat(range(2), 2)
    found = statistics.mean_of_drawn_steps([1.0, 2.0, 3.0, 4.0], stretch, borders, [0, 1, 0, 0])
    assert found.value == 2.0
    assert np.isnan(found.error)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_interval_of_few_steps_that_count_holds_the_truth(count):
    random = np.random.default_rng(0)
    borders, stretch = analysis.stretches(450, 40), np.repeat(range(20), 2)
    held = []
    for _ in range(2000):
        counted = random.permutation(40) < count
        found = statistics.mean_of_drawn_steps(
            random.standard_normal(40), stretch, borders, counted
        ).interval()
        held.append(found.low <= 0 <= found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_freedom_of_equal_stretches_is_their_number_on_average():
    random = np.random.default_rng(0)
    borders, stretch = analysis.stretches(4000, 40), np.repeat(range(20), 2)
    found = [
        statistics.mean_of_drawn_steps(random.standard_normal(40), stretch, borders)
        for _ in range(2000)
    ]
    assert np.median([each.freedom for each in found]) == pytest.approx(20, rel=0.25)
    covered = np.mean([each.interval().low <= 0 <= each.interval().high for each in found])
    assert covered == pytest.approx(0.95, abs=0.015)
    errors = np.array([each.error for each in found])
    assert (errors**2).mean() == pytest.approx(1 / 40, rel=0.05)


def test_alike_steps_of_the_stretch_that_matters_do_not_hide_its_error():
    """One stretch holds nearly all; its two steps are alike by chance, those of the others not."""
    borders, stretch = analysis.stretches(4000, 40), np.repeat(range(20), 2)
    values = np.ones(40)
    values[2::2], values[:2] = 2.0, 1000.0
    found = statistics.mean_of_drawn_steps(values, stretch, borders)
    relative = 19 / 20 * (1 / 1.5) ** 2
    expected = np.sqrt((1000**2 + 19 * 1.5**2) / 400 * (1 - 2 / 200) * relative / 4)
    assert found.error == pytest.approx(expected)
    assert found.freedom == 20
    mirrored = statistics.mean_of_drawn_steps(-values, stretch, borders)
    assert mirrored.error < found.error / 100, "what can be negative does not spread like that"


def test_errors_add_and_freedom_is_satterthwaite_s():
    parts = statistics.Estimate(1.0, 3.0, 9.0), statistics.Estimate(2.0, 4.0, 4.0)
    found = statistics.together(5.0, *parts)
    assert found.value == 5.0
    assert found.error == pytest.approx(5.0)
    assert found.freedom == pytest.approx(625 / (81 / 9 + 256 / 4))


def test_a_positive_interval_is_that_of_the_logarithm():
    low, high = statistics.Estimate(2.0, 0.5, np.inf).interval(positive=True)[1:]
    assert np.log([low, high]) == pytest.approx(np.log(2) + 1.959964 * 0.25 * np.array([-1, 1]))


def test_a_walk_s_batches_make_its_height():
    experiment = Experiment(**SMALL, probed_iterations=1, evaluation_images=100, points=4)
    trace = walk(experiment, progress=False)
    assert trace["batch_images"].values.tolist() == [20] * 5
    assert trace["batch_height"].values[0].mean() == pytest.approx(
        analysis.height(trace["loss"].values[:1])[0], rel=1e-5
    )
