"""Floors, heights and barriers of curves whose values are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from valleywalk import analysis

pytestmark = pytest.mark.core

ALPHA = np.linspace(0, 1, 11)


@given(
    curvature=st.floats(0.1, 100),
    length=st.floats(0.1, 10),
    lowest=st.integers(0, 10),
    offset=st.floats(-5, 5),
)
def test_height_of_a_parabola(curvature, length, lowest, offset):
    minimum = ALPHA[lowest]
    loss = 0.5 * curvature * length**2 * (ALPHA - minimum) ** 2 + offset
    expected = 0.25 * curvature * length**2 * (minimum**2 + (1 - minimum) ** 2)
    assert analysis.height([loss])[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert analysis.floor([loss])[0] == pytest.approx(offset)
    assert analysis.floor_alpha([loss], ALPHA)[0] == minimum
    assert not analysis.barriers([loss])[0]
    assert analysis.has_interior_minimum([loss])[0] == (0 < lowest < 10)


def test_a_straight_line_has_half_its_drop_as_height_and_no_interior_minimum():
    loss = [np.linspace(3, 1, 11)]
    assert analysis.height(loss)[0] == pytest.approx(1.0)
    assert not analysis.has_interior_minimum(loss)[0]
    assert not analysis.barriers(loss)[0]


def test_a_bump_is_a_barrier_of_its_height_over_the_higher_end():
    loss = [[1.0, 1.5, 0.5]]
    assert analysis.barrier_height(loss)[0] == pytest.approx(0.5)
    assert analysis.barrier_height(loss, "either")[0] == pytest.approx(1.0)
    assert analysis.barriers(loss)[0]
    assert not analysis.barriers(loss, threshold=0.6)[0]


def test_between_the_ends_is_a_barrier_only_by_the_definition_of_either():
    loss = [[1.0, 0.8, 0.5]]
    assert not analysis.barriers(loss, "both")[0]
    assert analysis.barriers(loss, "either")[0]


def test_the_highest_interior_point_decides():
    loss = [[1.0, 0.5, 1.5, 0.2, 1.0]]
    assert analysis.barrier_height(loss)[0] == pytest.approx(0.5)
    assert analysis.barriers(loss)[0]


def test_a_segment_without_interior_points_has_no_interior_minimum():
    assert analysis.has_interior_minimum([[1.0, 0.5], [0.5, 1.0]]).tolist() == [False, False]


def test_as_low_as_an_end_is_no_interior_minimum():
    assert not analysis.has_interior_minimum([[1.0, 1.0, 2.0]])[0]
    assert analysis.has_interior_minimum([[1.0, 0.9, 2.0]])[0]


def test_as_high_as_an_end_is_no_barrier():
    assert not analysis.barriers([[1.0, 1.0, 1.0]], "both")[0]
    assert not analysis.barriers([[1.0, 1.0, 1.0]], "either")[0]


@given(arrays(float, (7, 11), elements=st.floats(-10, 10)))
def test_facts_of_any_segment(loss):
    assert (analysis.height(loss) >= 0).all()
    assert (analysis.floor(loss)[:, None] <= loss).all()
    both, either = analysis.barriers(loss), analysis.barriers(loss, "either")
    assert (either | ~both).all(), "higher than both ends is higher than either"
    shifted = analysis.barrier_height(loss + 3.0)
    assert shifted == pytest.approx(analysis.barrier_height(loss), abs=1e-9)
    assert (analysis.barriers(loss[:, ::-1]) == both).all(), "walking back crosses the same"


def test_segments_that_were_not_measured():
    loss = np.full((2, 11), np.nan)
    loss[1] = (ALPHA - 0.5) ** 2
    loss[0, 3] = 1.0  # A single loss is no segment.
    assert analysis.measured(loss).tolist() == [False, True]
    assert np.isnan(analysis.height(loss)[0])
    assert np.isnan(analysis.floor_alpha(loss, ALPHA)[0])
    assert analysis.barriers(loss).tolist() == [False, False]
    assert analysis.has_interior_minimum(loss).tolist() == [False, True]


@pytest.mark.parametrize(
    ("cosine", "first"),
    [
        ([0.5, -0.1, -0.9], 1),
        ([0.5, -0.1, 0.2], None),
        ([-1, -1], 0),
        ([-1, 0, -1], 2),
        ([np.nan, -1], 1),
        ([], None),
    ],
)
def test_first_negative(cosine, first):
    assert analysis.first_negative(cosine) == first


def test_bad_input():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        analysis.height([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="'both' and 'either'"):
        analysis.barriers([[1.0, 2.0, 3.0]], "neither")
    with pytest.raises(ValueError, match="points >= 2"):
        analysis.barriers([[1.0, 2.0]])


def test_convex_up_to_a_tolerance():
    """A parabola is; one with a dent of second difference −0.5 only within a tolerance of it."""
    parabola = np.linspace(-1, 1, 11) ** 2
    dented = np.array([1.0, 0.5, 0.5, 0.0, 1.0])
    assert np.diff(dented, n=2).min() == -0.5
    assert analysis.is_convex([parabola]).tolist() == [True]
    assert analysis.is_convex([dented]).tolist() == [False]
    assert analysis.is_convex([dented], tolerance=0.5).tolist() == [True]
    assert analysis.is_convex([dented], tolerance=0.49).tolist() == [False]
    assert analysis.is_convex([np.full(5, np.nan)], tolerance=9).tolist() == [False]


def test_second_differences_are_the_second_derivative_of_a_parabola_at_any_distances():
    alpha = np.array([0.0, 0.1, 0.5, 0.8, 1.0])
    for bend in (-3.0, 0.0, 5.0):
        parabola = bend / 2 * alpha**2 - 2 * alpha + 1
        assert analysis.second_differences(parabola, alpha) == pytest.approx([bend] * 3, abs=1e-12)
    grid = np.linspace(0, 1, 11)
    loss = np.random.default_rng(0).standard_normal((4, 11))
    expected = np.diff(loss, n=2, axis=1) / 0.1**2
    assert analysis.second_differences(loss, grid) == pytest.approx(expected)
    assert analysis.second_differences([[1.0, 2.0]], [0, 1]).shape == (1, 0)
