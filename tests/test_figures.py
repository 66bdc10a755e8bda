import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from valleywalk import analysis, figures, measures
from valleywalk.paper.spectral import SpectralNorm
from valleywalk.paper.walks import GradientDescentWalk
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 11)


def bouncing(steps=12, first=0, steps_in_epoch=1):
    """A trace of parabolic segments from step `first` on, their floor at α = 0.6."""
    records = [
        {"loss": 3 - 0.1 * t + (ALPHA - 0.6) ** 2, "cosine": -0.9, "distance": 0.1 * t}
        if t >= first
        else {"cosine": 0.1, "distance": 0.1 * t}
        for t in range(steps)
    ]
    return assemble(records, ALPHA, attributes={"steps_in_epoch": steps_in_epoch})


def test_the_three_panels_show_the_trace():
    trace = bouncing()
    figure = figures.walk(trace)
    assert isinstance(figure, Figure)
    top, middle, bottom = figure.axes
    lines = {line.get_label(): line for line in top.lines}
    along, loss = lines[r"$L(\theta^\alpha)$"].get_data()
    assert along[[0, 11, -1]] == pytest.approx([0, 1, 12])
    assert loss == pytest.approx(trace.loss.values.ravel())
    floor = lines[r"valley floor $L(\theta_t^{\min})$"]
    assert floor.get_linestyle() == "--"
    assert floor.get_xdata() == pytest.approx(np.arange(12) + 0.6)
    assert floor.get_ydata() == pytest.approx(analysis.floor(trace.loss))
    grey = [line.get_xdata()[0] for line in top.lines if line.get_color() == figures.GREY]
    assert grey == list(range(13)), "a grey line at each iterate"
    assert top.get_shared_x_axes().joined(top, bottom)
    for axis, label in zip((top, middle, bottom), ("L(", "cos", "theta_0"), strict=True):
        assert label in axis.get_ylabel()
    assert "iteration" in bottom.get_xlabel()


def test_spectral_norm_marks_what_has_not_converged():
    epochs = {
        epoch: {
            "hessian_max": 10.0 + epoch,
            "hessian_min": -1.0,
            "hessian_residual": 0.5 if epoch == 4 else 1e-4,
            "validation_accuracy": 0.1 * epoch,
        }
        for epoch in (2, 4, 6)
    }
    trace = assemble([{"learning_rate": 0.1}] * 6, ALPHA, epochs, 6)
    top, bottom = SpectralNorm().draw([trace]).axes
    line, hollow, edge = top.lines
    assert line.get_xydata().tolist() == [[2, 12], [4, 14], [6, 16]]
    assert hollow.get_xdata().tolist() == [4]
    assert hollow.get_markerfacecolor() == "white"
    assert edge.get_ydata()[0] == pytest.approx(20)
    assert bottom.lines[0].get_ydata() == pytest.approx([0.2, 0.4, 0.6])


def test_gradient_descent_is_laid_over_the_spectral_norm_and_under_the_walk():
    epochs = {e: {"hessian_max": 20.0 + e, "hessian_residual": 1e-4} for e in (10, 20)}
    edge = assemble([{"learning_rate": 0.1}] * 20, ALPHA, epochs, 20)
    own = {1: {"hessian_max": 1.0, "hessian_residual": 1e-4, "validation_accuracy": 0.5}}
    trace = assemble([{"learning_rate": 0.1}], ALPHA, own, 1)
    top, _, over = SpectralNorm().draw([trace, edge]).axes
    assert over.lines[0].get_xydata().tolist() == [[10, 30], [20, 40]]
    assert top.get_ylim()[0] == 0
    assert top.get_ylim()[1] > 40, "both walks and the line are in the picture"
    *_, last = GradientDescentWalk(iterations=12).draw([bouncing(), edge]).axes
    line, limit = last.lines
    assert line.get_xydata().tolist() == [[10, 30], [20, 40]]
    assert limit.get_ydata()[0] == pytest.approx(20)


def test_window_begins_at_the_epoch_and_ends_where_measuring_ends():
    trace = bouncing(first=8, steps_in_epoch=4)
    assert measures.window(trace, epoch=3)["iteration"].values.tolist() == [8, 9, 10, 11]
    assert len(measures.window(trace, epoch=3, iterations=2)["iteration"]) == 2
    with pytest.raises(ValueError, match="measured: iterations 8 to 11"):
        measures.window(trace, epoch=1)


def test_pictures_are_drawn_onto_the_axes_that_are_given():
    figure, axes = plt.subplots(3, 2)
    assert figures.walk(bouncing(), axes=axes[:, 0]) is figure
    assert len(figure.axes) == 6, "no axes of its own"
    assert [len(axis.lines) > 0 for axis in axes.flat] == [True, False] * 3
    assert figures.side_by_side([bouncing()], ["one"], axes=axes[:, 1:]) is figure
    assert axes[0, 1].get_title() == "one"
    plt.close(figure)
