"""Few points held against segments measured whole: on curves whose answer is known."""

import numpy as np
import pytest

from valleywalk import Experiment
from valleywalk.paper.few_points import held_against_whole, held_in_words
from valleywalk.trace import assemble
from valleywalk.walks.walk import walk

ALPHA = np.linspace(0, 1, 11)
FIELDS = {"model": "mlp", "dataset": "mnist5k", "sampled_iterations": 2}


def trace_of(losses, whole, **fields):
    experiment = Experiment(**FIELDS | {"tolerance": 0.02, "whole_every": 2} | fields)
    steps = [{"loss": loss, "whole": each} for loss, each in zip(losses, whole, strict=True)]
    return assemble(steps, ALPHA, attributes={"experiment": experiment.model_dump_json()})


def test_a_parabola_takes_few_points_and_comes_out_exactly():
    parabola = (ALPHA - 0.5) ** 2
    held = held_against_whole([trace_of([parabola, 9 * parabola], [True, False])])
    assert (held.segments, held.barriers, held.missed) == (1, 0, 0)
    assert held.points < 5
    assert held.height_error == pytest.approx(0, abs=1e-12)
    assert held.bounded == 1
    assert "+0.00%" in str(held)


def test_a_narrow_valley_between_the_points_is_seen_as_an_error():
    """A line's dip at α = 0.8 alone: few points see the line, whose height is half as large."""
    dipped = 1 - ALPHA
    dipped[8] = -0.5
    held = held_against_whole([trace_of([dipped], [True])])
    assert held.height_error == pytest.approx(-0.5)
    assert held.bounded == 0
    assert "−" in str(held)


def test_a_barrier_that_few_points_meet_is_measured_whole():
    bump = 1 - (ALPHA - 0.5) ** 2
    held = held_against_whole([trace_of([bump], [True])])
    assert (held.barriers, held.missed, held.points, held.bounded) == (1, 0, 11, 1)


def test_nothing_is_said_where_nothing_was_measured_whole_by_plan():
    plain = trace_of([ALPHA], [True], whole_every=0)
    assert held_against_whole([plain]) is None
    assert held_in_words([plain]) == ""
    exact = trace_of([ALPHA], [True], tolerance=0, whole_every=0)
    assert held_in_words([exact]) == ""


def test_a_walk_s_whole_segments():
    experiment = Experiment(
        **FIELDS | {"sampled_iterations": 12},
        width=0.1,
        training_images=400,
        batch_size=20,
        evaluation_batch_size=20,
        tolerance=0.02,
        whole_every=3,
    )
    held = held_against_whole([walk(experiment, progress=False)])
    assert held.segments == 4
    assert 3 <= held.points <= 11
    assert abs(held.height_error) < 0.5
