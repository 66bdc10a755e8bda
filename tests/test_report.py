"""What a trace shows, in words: walks whose answer is known, and traces with parts missing."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from valleywalk import measures, report, watch
from valleywalk.callback import Watching
from valleywalk.trace import VARIABLES, assemble

pytestmark = pytest.mark.core

ALPHA = np.linspace(0, 1, 5)
# Of depth 1, symmetric.
VALLEY = (1 - 2 * ALPHA) ** 2
HILL = 1 - VALLEY
BATCHES = [100] * 10


def made(losses, batch_images=(), **values):
    """A trace of these segments, each step with these values."""
    steps = [{"loss": loss, **values} for loss in losses]
    return assemble(steps, ALPHA[: len(losses[0])], batch_images=batch_images)


def seen(trace):
    return "\n".join(report(trace).seen)


def ideas(trace):
    return "\n".join(report(trace).to_try)


# Gradient descent on a parabola of curvature 2 ----------------------------------------------------


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.1, "It slides in the second half: 0 of 12 segments"),
        (0.9, "It bounces in the second half: 12 of 12 segments"),
        (1.1, "It bounces in the second half: 12 of 12 segments"),
    ],
)
def test_gradient_descent_at_a_share_of_the_edge(landscape, share, said):
    """η = share · 2/k: it bounces from 1/2 on, and climbs from 1 on."""
    k = 2.0
    _, trace = landscape(lambda theta: k / 2 * (theta**2).sum(), [1.0], share * 2 / k, steps=24)
    text = seen(trace)
    assert said in text
    low, high = interval(text, "Sharpness along the steps", k)
    assert low == pytest.approx(k, rel=1e-3)
    assert high == pytest.approx(k, rel=1e-3)
    assert f"which is {share:.3g} [{share:.3g}, {share:.3g}] times 2/η" in text
    assert "no limit" not in text
    cosine = 1 if share < 0.5 else -1
    how = "point the same way" if share < 0.5 else "point against each other"
    assert f"gradients {how}: mean cosine {cosine} [{cosine}, {cosine}]" in text
    assert f"The floor {'rises' if share > 1 else 'falls'}" in text
    assert ("below 1." in ideas(trace)) == (share > 1)
    assert "It bounces, the floor" not in ideas(trace)
    assert "24 steps, 24 segments measured" in text


@pytest.mark.parametrize(("share", "advised"), [(0.1, False), (1.1, True)])
def test_few_steps_ask_for_a_smaller_rate_only_beyond_the_edge(landscape, share, advised):
    _, trace = landscape(lambda theta: (theta**2).sum(), [1.0], share, steps=5)
    assert ("try a smaller learning rate" in ideas(trace)) is advised


def test_flat_segments_are_not_halved():
    trace = made([np.ones(5)] * 5 + [VALLEY + t for t in range(19)])
    assert "second half" not in seen(trace)
    assert "second half" in seen(trace.isel(iteration=[*range(24), 23, 23, 23]))


def interval(text, name, estimate):
    found = re.search(rf"{name} {estimate:g} \[([^,]+), ([^\]]+)\]", text)
    return float(found[1]), float(found[2])


def test_two_over_the_rate_is_no_limit_for_other_steps(landscape):
    _, trace = landscape(lambda theta: (theta**2).sum(), [1.0], 1.1, steps=12)
    trace["learning_rate"] *= 3
    assert "times 2/η over the steps. The steps are not gradient descent" in seen(trace)
    assert "Sharpness" not in ideas(trace)


# To slide, bounce, climb --------------------------------------------------------------------------


def test_a_slope_without_curvature():
    trace = made([5 - 0.1 * (t + ALPHA) for t in range(12)])
    text = seen(trace)
    assert "It slides: 0 of 12 segments have their lowest point inside" in text
    assert "inside, a share of 0 [0, 0.49] over the steps." in text
    assert (
        "Mean height above the floor 0.05 (the trace does not tell its error). It is half" in text
    )
    assert "takes at most 0% of the gain: a larger learning rate" in ideas(trace)


def test_a_climb_is_no_slide():
    trace = made([5 + 0.1 * (t + ALPHA) for t in range(12)])
    assert "It climbs: 0 of 12" in seen(trace)
    assert "Along 12 the loss only rises." in seen(trace)
    assert "The floor rises: 5.1 (5 to 5.2) at first, 6 (5.9 to 6.1) at last" in seen(trace)
    assert "larger" not in ideas(trace)


def test_a_walk_that_slides_first_and_bounces_then():
    slide = [{"loss": 5 - 0.1 * (t + ALPHA), "cosine": 0.9} for t in range(20)]
    bounce = [{"loss": VALLEY + 3, "cosine": -0.9} for _ in range(20)]
    text = seen(assemble(slide + bounce, ALPHA))
    assert "It slides in the first half: 0 of 20" in text
    assert "mean cosine -0.9 [-0.9, -0.9]" in text
    assert "Mean height above the floor 1 (" in text
    assert "It bounces in the second half: 20 of 20" in text
    text = seen(assemble([*slide[:10], *slide, *bounce], ALPHA))
    assert "It does not clearly slide or bounce in the second half: 20 of 25" in text
    assert "From iteration 30 on, all have." in text
    assert "From iteration 30 on it stays negative." in text


def test_half_of_each_is_called_neither():
    trace = made([VALLEY if t % 2 else -0.1 * ALPHA for t in range(20)])
    assert "It does not clearly slide or bounce: 10 of 20" in seen(trace)
    trace = made([-0.1 * ALPHA if t % 4 == 1 else VALLEY for t in range(12)])
    assert "It does not clearly slide or bounce: 9 of 12" in seen(trace)


def test_so_few_that_all_bounce():
    assert "It bounces: 11 of 11" in seen(made([VALLEY] * 11))


def test_bouncing_where_nothing_is_gained():
    trace = made([VALLEY] * 12)
    assert "12 of 12 segments have their lowest point inside, a share of 1 [0.51, 1]" in seen(trace)
    assert "The floor stays: 0 (0 to 0) at first, 0 (0 to 0) at last" in seen(trace)
    assert "a smaller learning rate or larger batches" in ideas(trace)
    falling = made([VALLEY - t for t in range(12)])
    assert "smaller" not in ideas(falling)


def test_little_curvature_at_the_start_of_a_bounce_asks_for_no_larger_rate():
    alpha = np.linspace(0, 1, 11)
    trace = assemble([{"loss": 1.2 * alpha**4 - alpha}] * 12, alpha)
    assert "Gain of a step to first order 1 [1, 1], curvature penalty" in seen(trace)
    assert ideas(trace) == ""


def test_the_end_of_a_long_walk_and_the_error_of_its_curve():
    """A kink, of which no polynomial is sure."""
    kink = np.abs(1 - 2 * ALPHA)
    trace = made([VALLEY] * 150 + [kink] * 100, step_length=1.0)
    along = measures.along_step(trace.isel(iteration=[249]))
    value, error = float(along["sharpness"][0]), float(along["sharpness_error"][0])
    assert error > 1
    assert f"Sharpness along the steps {value:.3g} [{value - error:.3g}, {value + error:.3g}]." in (
        seen(trace)
    )


def test_a_cosine_is_no_more_than_one():
    trace = assemble([{"cosine": 0.9 - 0.15 * t} for t in range(13)], ALPHA)
    assert "neither agree nor disagree clearly: mean cosine" in seen(trace)
    assert "[-1, 1] over the steps" in seen(trace)


def test_cosines_near_zero_say_nothing_of_a_direction():
    trace = assemble([{"cosine": -0.01 + 0.001 * (t % 3)} for t in range(30)], ALPHA)
    assert "nearly orthogonal: mean cosine -0.009 [" in seen(trace)


def test_the_interval_of_a_share_holds_it_where_neighbours_are_alike():
    """A chain that stays with probability one half, and bounces half of the time otherwise."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        bounces = [True]
        while len(bounces) < 90:
            bounces.append(bounces[-1] if random.random() < 0.5 else random.random() < 0.5)
        text = seen(made([(VALLEY if b else -ALPHA)[::2] for b in bounces]))
        low, high = re.search(
            r"second half: .* inside, a share of \S+ \[(\S+), (\S+)\]", text
        ).groups()
        held += float(low) <= 0.5 <= float(high)
    # Wilson's alone holds it 45 times.
    assert held >= 54


# Heights and barriers -----------------------------------------------------------------------------

# Batches whose mean is 1, spread by s: a standard error of s over ten of them.
SPREAD = np.array([-1.0, 1.0] * 5) * 3


def test_a_height_with_the_error_of_the_images():
    """Student's t with 9 degrees of freedom is 2.262."""
    trace = made([VALLEY] * 12, BATCHES, batch_height=1 + 0.1 * SPREAD, **WHOLE)
    assert "floor 1 [0.774, 1.23] over the images." in seen(trace)
    assert "more evaluation images" not in ideas(trace)


def test_a_height_on_all_training_images_has_no_error_of_the_images():
    trace = made([VALLEY] * 12, BATCHES, batch_height=1 + 0.1 * SPREAD, **WHOLE)
    trace.attrs["training_images"] = int(trace["batch_images"].sum())
    assert "Mean height above the floor 1, on all training images." in seen(trace)


WHOLE = {"measured": [True] * 5, "loss_error": 0.0}


def test_a_height_within_the_noise_of_the_images():
    trace = made([VALLEY] * 12, BATCHES, batch_height=1 + SPREAD, **WHOLE)
    assert "The images cannot tell it from zero." in seen(trace)
    assert "no larger than the error of the images: use more evaluation images" in ideas(trace)


def test_the_height_of_bounces_alone_stands_beside_the_mean():
    trace = made([VALLEY, -ALPHA] * 6)
    assert "floor 0.75 (the trace does not tell its error), 1 of the segments" in seen(trace)


def test_what_reading_off_adds():
    measured = [True, False, True, True, True]
    trace = made([VALLEY] * 12, measured=measured, loss_error=0.02)
    assert "adds an error of about 0.02 at most" in seen(trace)
    assert "adds an error" not in seen(made([VALLEY] * 12, measured=[True] * 5, loss_error=0.02))


def test_barriers_that_the_images_resolve_and_those_they_do_not():
    """A barrier of ½ and a bound of 1 leave it open; four times the images halve the bound."""
    steps = [{"loss": HILL / 2, "barrier_error": 0.1, **WHOLE}] * 3
    steps += [{"loss": HILL / 2, "barrier_error": 1 / 2.2621571628, **WHOLE}] * 4
    steps += [{"loss": VALLEY, "barrier_error": 0.01, **WHOLE}] * 5
    trace = assemble(steps, ALPHA, batch_images=BATCHES)
    assert "3 of 12 segments cross a barrier that the images resolve; in 4 they leave it open." in (
        seen(trace)
    )
    assert (
        "The images leave 4 of 12 barriers open: use more evaluation images, at least 4.0 times"
        in (ideas(trace))
    )
    none = assemble(steps[7:], ALPHA, batch_images=BATCHES)
    assert "No segment crosses a barrier that the images resolve; they leave none open." in (
        seen(none)
    )
    assert "barriers" not in ideas(none)
    ends = {"loss": [0.0, 0.5, 1.0, 0.5, 1.0], "barrier_error": 0.1, **WHOLE}
    level = assemble([ends] * 12, ALPHA, batch_images=BATCHES)
    assert "The images leave 12 of 12 barriers open: use more evaluation images." in ideas(level)


def test_a_single_batch_tells_no_error():
    trace = made([VALLEY] * 12, [1000], batch_height=[1.0], barrier_error=0.0, **WHOLE)
    assert "floor 1 (the trace does not tell its error)" in seen(trace)
    assert "divide the same images into ten" in ideas(trace)
    assert "barriers open" not in ideas(trace)


def test_half_precision_is_rounding_which_more_images_do_not_help():
    """bfloat16 has 8 significant bits: at 1 its numbers are 2⁻⁷ apart."""
    noisy = {"batch_height": 1 + SPREAD, "barrier_error": 10.0, **WHOLE}
    trace = made([VALLEY] * 12, BATCHES, **noisy)
    assert ideas(trace).count("use more evaluation images") == 2
    assert "are rounded" not in seen(trace)
    trace.attrs["precision"] = "float32"
    assert ideas(trace).count("use more evaluation images") == 2
    trace.attrs["precision"] = "bfloat16"
    assert "The parameters are bfloat16" in seen(trace)
    assert "by up to 0.4%, a loss of 1 by 0.004." in seen(trace)
    assert "use more evaluation images" not in ideas(trace)
    assert "keep the parameters in float32 and train under torch.autocast" in ideas(trace)
    trace.attrs["precision"] = "float16"
    assert "by up to 0.05%, a loss of 1 by 0.0005." in seen(trace)


@pytest.mark.parametrize(
    ("dtypes", "precision"),
    [
        ((torch.float32, torch.float64), "float32"),
        ((torch.float32, torch.bfloat16), "bfloat16"),
        ((torch.float16, torch.float32), "float16"),
    ],
)
def test_a_watch_says_the_coarsest_format_of_its_parameters(dtypes, precision):
    class Cast(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs.to(self.weight.dtype))

    first, second = dtypes
    model = nn.Sequential(Cast(4, 4, dtype=first), Cast(4, 3, dtype=second))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = (torch.randn(20, 4), torch.arange(20) % 3)
    with watch(model, optimizer, nn.functional.cross_entropy, data) as watcher:
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    assert watcher.trace.attrs["precision"] == precision
    assert (f"are {precision}" in str(watcher.report())) == (precision != "float32")


def test_what_to_try_against_rounding_helps():
    """Parameters in bfloat16 leave few different losses, those in float32 under autocast all."""

    def losses(dtype):
        torch.manual_seed(0)
        model = nn.Linear(10, 3).to(dtype)
        inputs, targets = torch.randn(40, 10).to(dtype), torch.arange(40) % 3
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        loss = nn.functional.cross_entropy
        with watch(model, optimizer, loss, (inputs, targets)) as watcher:
            with torch.autocast("cpu", torch.bfloat16):
                loss(model(inputs), targets).backward()
            optimizer.step()
        return len(np.unique(watcher.trace["loss"]))

    assert losses(torch.bfloat16) <= 3
    assert losses(torch.float32) == 11


# Traces with parts missing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        (assemble([], ALPHA), "No step was seen"),
        (assemble([{"cosine": 0.1}] * 3, ALPHA), "steps=10 for every tenth"),
        (assemble([{}], ALPHA, attributes={"experiment": "{}"}), "probed_epochs=(1,)"),
        (made([VALLEY]), "It bounces: 1 of 1 segment has its lowest point inside.\n"),
        (made([VALLEY] * 2), "2 segments tell too little for an interval over the steps"),
        (made([VALLEY[:2]] * 12), "as far as the two ends of a segment tell"),
        (made([np.full(5, np.nan)]), "No segment was measured"),
        (made([np.full(5, np.inf)]), "No measured segment has finite losses"),
        (made([np.ones(5)] * 12), "is the learning rate zero"),
        (made([np.ones(5), *[VALLEY] * 11]), "Along 1 segment the loss does not change at all."),
        (
            made([VALLEY] * 12, BATCHES, batch_height=SPREAD, **WHOLE).drop_vars("batch_images"),
            "the trace does not tell its error",
        ),
        (made([VALLEY * 1e38] * 12), "It bounces"),
    ],
)
def test_a_partial_trace(trace, said):
    text = str(report(trace))
    assert said in text
    assert "nan" not in text


def test_a_divergence_is_told_with_its_iteration():
    trace = assemble([{"loss": VALLEY, "distance": 1.0}] * 12 + [{"distance": np.nan}] * 2, ALPHA)
    assert "The training diverged: from iteration 12 on" in seen(trace)
    assert "It diverged: try a smaller learning rate" in ideas(trace)
    assert "It got 1 away from its start." in seen(trace)


def test_skipped_steps_are_no_divergence():
    trace = assemble([{"distance": 1.0, "skipped": 0.0}, {"skipped": 1.0}], ALPHA)
    assert "The gradient scaler skipped 1 of 2 steps." in seen(trace)
    assert "diverged" not in str(report(trace))


def test_how_far_it_came_on_which_path():
    trace = made([VALLEY] * 12, distance=0.5, step_length=2.0)
    assert "It got 0.5 away from its start, on a path 24 long." in seen(trace)
    trace["step_length"][3] = np.nan
    assert "It got 0.5 away from its start." in seen(trace)


finite = st.floats(-1e3, 1e3, width=32)
number = finite | st.sampled_from([np.nan, np.inf])
OF_A_STEP = [
    name
    for name, (along, _, _) in VARIABLES.items()
    if along == ("iteration",) and name not in ("stretch", "whole")
]
MANY = {
    "loss": st.lists(finite, min_size=5, max_size=5)
    | st.just([np.nan] * 5)
    | st.just([np.inf] * 5),
    "measured": st.lists(st.booleans(), min_size=5, max_size=5),
    "batch_height": st.lists(finite, min_size=10, max_size=10) | st.just([np.nan] * 10),
}
step = st.fixed_dictionaries({}, optional=dict.fromkeys(OF_A_STEP, number) | MANY)


@settings(max_examples=40)
@given(st.lists(step, max_size=30), st.sampled_from([(), BATCHES]))
def test_whatever_a_trace_holds_is_told_without_nan(steps, batch_images):
    if not batch_images:
        steps = [{n: v for n, v in each.items() if n != "batch_height"} for each in steps]
    with np.errstate(all="ignore"):
        assert "nan" not in str(report(assemble(steps, ALPHA, batch_images=batch_images)))


# Where it is asked for ----------------------------------------------------------------------------


def test_a_watch_and_a_callback_report_what_their_trace_shows():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = (torch.randn(20, 4), torch.arange(20) % 3)
    loss = nn.functional.cross_entropy
    watching = Watching(loss, data)
    with pytest.raises(ValueError, match="nothing was trained yet"):
        watching.report()
    watching.begin(model, optimizer, scaler=None)
    with watch(model, optimizer, loss, data, points=4) as watcher:
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
        assert "1 step, 1 segment measured" in str(watcher.report()), "before the end, too"
    watching.end()
    assert watcher.report() == report(watcher.trace)
    assert watching.report() == report(watching.trace)
    assert repr(watcher.report()) == str(watcher.report()), "as the last line of a cell"
