import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from valleywalk.paper.quadratic import (
    Quadratic,
    contraction,
    damping,
    descend,
    measured_contraction,
)


@given(st.floats(0.01, 10), st.floats(0.01, 3), st.integers(1, 20))
def test_runs_of_gradient_descent_land_on_the_formula(eigenvalue, product, steps):
    rate = product / eigenvalue
    path = descend([eigenvalue], rate, steps)
    assert path[:, 0] == pytest.approx(
        (1 - eigenvalue * rate) ** np.arange(steps + 1), rel=1e-9, abs=1e-12
    )
    measured = measured_contraction(path)[0]
    assert measured == pytest.approx(contraction(eigenvalue, rate), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("product", "kind", "bounces", "shrinks"),
    [
        (0.5, "over-damped", False, True),
        (1.0, "critical", False, True),
        (1.5, "under-damped", True, True),
        (2.0, "marginal", True, False),
        (2.5, "divergent", True, False),
    ],
)
def test_damping_says_what_a_run_does(product, kind, bounces, shrinks):
    assert damping(2.0, product / 2.0) == kind
    path = descend([2.0], product / 2.0, 1)[:, 0]
    assert (path[1] < 0) == bounces
    assert (abs(path[1]) < abs(path[0])) == shrinks


def test_the_fastest_rate_is_where_the_lines_cross():
    rates = np.linspace(0.01, 2, 2000)
    slowest = np.maximum(contraction(0.2, rates), contraction(1.0, rates))
    assert rates[slowest.argmin()] == pytest.approx(2 / 1.2, abs=2e-3)


def test_the_figure_shows_formula_and_runs():
    axis = Quadratic(steps=5).draw([]).axes[0]
    lines = {line.get_label(): line for line in axis.lines}
    for name, eigenvalue in ((r"\max", 1.0), (r"\min", 0.2)):
        line = lines[rf"$\lambda_{{{name}}} = {eigenvalue:g}$"]
        assert line.get_ydata() == pytest.approx(np.abs(1 - eigenvalue * line.get_xdata()))
    circles = [line for line in axis.lines if line.get_marker() == "o"]
    for line, eigenvalue in zip(circles, (1.0, 0.2), strict=True):
        assert line.get_ydata() == pytest.approx(np.abs(1 - eigenvalue * line.get_xdata()))
    diamonds = [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "D"]
    assert np.array(diamonds) == pytest.approx(np.array([[1.6, 0.6], [1.6, 0.68]]))


def test_table():
    rows = Quadratic(eigenvalues=[0.2, 1.0], learning_rate=1.6, steps=10).table([]).splitlines()
    assert rows[2] == "| 0.2 | over-damped | 0.68 | 0.68 |"
    assert rows[3] == "| 1 | under-damped | 0.6 | 0.6 |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eigenvalues": [1.0]}, "at least 2"),
        ({"eigenvalues": [1.0, -1.0]}, "greater than 0"),
        ({"learning_rates": 1}, "did you mean 'learning_rate'"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValidationError, match=message):
        Quadratic(**change)
