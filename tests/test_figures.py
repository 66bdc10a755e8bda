import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from valleywalk import Store, analysis, figures, measures
from valleywalk.folders import checkout
from valleywalk.paper.items import OF_THE_PAPER
from valleywalk.paper.spectral import SpectralNorm
from valleywalk.paper.walks import GradientDescentWalk, StochasticWalk
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
    (iterates,) = (line for line in top.lines if line.get_marker() == "o")
    assert iterates.get_xdata() == pytest.approx(np.arange(13))
    assert iterates.get_ydata() == pytest.approx([*trace.loss.values[:, 0], 3 - 1.1 + 0.16])
    floor = lines[r"valley floor $L(\theta_t^{\min})$"]
    assert floor.get_marker() == "D"
    assert floor.get_linestyle() == "--"
    assert floor.get_xdata() == pytest.approx(np.arange(12) + 0.6)
    assert floor.get_ydata() == pytest.approx(analysis.floor(trace.loss))
    grey = [line.get_xdata()[0] for line in top.lines if line.get_color() == figures.GREY]
    assert grey == list(range(13)), "a grey line at each iterate"
    assert top.get_shared_x_axes().joined(top, bottom)
    for axis, label in zip((top, middle, bottom), ("L(", "cos", "theta_0"), strict=True):
        assert label in axis.get_ylabel()
    assert "iteration" in bottom.get_xlabel()


def test_segments_that_hardly_sag_are_drawn_without_their_chord_too():
    sagging = 0.01 * ALPHA * (ALPHA - 1) - ALPHA
    descending = [{"loss": 9.0 - t + sagging, "cosine": 0, "distance": t} for t in range(8)]
    trace = assemble(descending, ALPHA)
    assert figures.hardly_sags(trace)
    assert not figures.hardly_sags(bouncing())
    top, chord, *_ = figures.walk(trace).axes
    assert "chord" in chord.get_ylabel()
    along, above = chord.lines[-1].get_data()
    assert along == pytest.approx(top.lines[-3].get_xdata())
    assert above.min() == pytest.approx(-0.0025)
    assert above[[0, 10, 11, -1]] == pytest.approx(0, abs=1e-12)


def test_an_axis_has_no_offset_to_be_added():
    far = [{"loss": 5 + 1e-7 * ALPHA, "cosine": 0, "distance": 18.5 + 1e-6 * t} for t in range(9)]
    figure = figures.walk(assemble(far, ALPHA))
    figure.canvas.draw()
    for axis in figure.axes:
        assert "+" not in axis.yaxis.get_offset_text().get_text()


def test_legends_stand_off_the_data():
    figure = figures.walk(bouncing())
    figure.canvas.draw()
    top = figure.axes[0]
    assert top.get_legend().get_window_extent().y0 >= top.get_window_extent().y1


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


def test_the_spectral_norm_along_a_watch():
    seen = {"hessian_max": 3.0, "hessian_residual": 1e-4}
    trace = assemble([{"learning_rate": 0.5} | (seen if t % 2 else {}) for t in range(4)], ALPHA)
    (axes,) = figures.sharpness(trace).axes
    line, edge = axes.lines
    assert line.get_xydata().tolist() == [[1, 3], [3, 3]]
    assert edge.get_ydata()[0] == 4


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


@pytest.mark.parametrize(
    "asked",
    [
        figures.along,
        figures.hardly_sags,
        figures.walk,
        lambda trace: figures.side_by_side([trace], ["one"]),
        measures.along_step,
        measures.barrier_signs,
        measures.convexity_signs,
        measures.floor_rises,
        measures.last_cosine,
        measures.measured_losses,
        measures.resolvable_barriers,
        measures.walk_numbers,
        measures.whole_steps,
        measures.window,
        measures.window_height,
        lambda trace: measures.count_steps(trace, 1, None),
        lambda trace: measures.epoch_height(trace, 1),
    ],
)
def test_a_trace_without_a_measured_segment_says_so(asked):
    """As of a watch whose `steps` were never taken."""
    steps = [{"cosine": 0.5, "distance": 1.0}] * 12
    trace = assemble(steps, alpha=[0, 0.5, 1], attributes={"steps_in_epoch": 12})
    with pytest.raises(ValueError, match="no segment was measured; choose `steps` that are taken"):
        asked(trace)
    plt.close("all")


def test_pictures_are_drawn_onto_the_axes_that_are_given():
    figure, axes = plt.subplots(4, 2)
    assert figures.walk(bouncing(), axes=axes[:3, 0]) is figure
    assert len(figure.axes) == 8, "no axes of its own"
    assert [len(axis.lines) > 0 for axis in axes[:, 0]] == [True] * 3 + [False]
    assert figures.side_by_side([bouncing()], ["one"], axes=axes[:, 1:]) is figure
    assert all(len(axis.lines) for axis in axes[:, 1])
    assert axes[0, 1].get_title() == "one"
    plt.close(figure)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_walk_needs_three_axes_or_four(count):
    figure, axes = plt.subplots(count, 1)
    with pytest.raises(ValueError, match=f"there are {count} axes; give three, or four"):
        figures.walk(bouncing(), axes=axes)
    plt.close(figure)


def test_axes_that_share_their_iterations_already():
    _, axes = plt.subplots(3, 1, sharex=True)
    figure = figures.walk(bouncing(), axes=axes)
    assert figures.walk(bouncing(), axes=axes) is figure, "once more onto the same"
    assert len({axis.get_xlim() for axis in axes}) == 1
    plt.close(figure)


def test_the_epochs_of_a_walk_stand_side_by_side_on_equal_axes():
    page = StochasticWalk(epoch=2, iterations=4, training_images=400)
    trace = bouncing(steps=420, steps_in_epoch=4)
    assert page.other_epochs == [1, 2, 10, 25, 100]
    figure = page.draw_epochs([trace])
    axes = np.reshape(figure.axes, (4, 5))
    assert [axis.get_title() for axis in axes[0]] == [f"epoch {e}" for e in page.other_epochs]
    for row in axes:
        assert len({axis.get_ylim() for axis in row}) == 1
    for axis, epoch in zip(axes[1], page.other_epochs, strict=True):
        steps = measures.window(trace, epoch, 4)
        expected = analysis.above_chord(steps.loss, ALPHA)
        assert axis.lines[-1].get_ydata() == pytest.approx(expected.ravel())
    alone = StochasticWalk(scale="overnight")
    assert alone.other_epochs == [], "its walk opens one window"
    plt.close(figure)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The figure of an item, from its recorded walks at the quick scale."""
    store = Store(tmp_path_factory.mktemp("cache"), checkout() / "data" / "traces")

    def drawn(name):
        page = OF_THE_PAPER[name].at("quick")
        return page.draw([store.open(walked) for walked in page.experiments])

    yield drawn
    plt.close("all")


@pytest.mark.parametrize("name", ["fig5", "fig25", "fig26"])
def test_each_walk_under_isotropic_noise_has_a_colour_of_its_own(recorded, name):
    for axis in recorded(name).axes:
        colours = [to_hex(line.get_color()) for line in axis.lines if len(line.get_xdata())]
        assert len(set(colours)) == len(colours) >= 3
        assert set(colours) <= {to_hex(colour) for colour in figures.PALETTE}


def test_what_chance_gives_is_drawn_for_each_network(recorded):
    left, right = recorded("appd").axes
    networks = {to_hex(line.get_color()) for line in right.lines if line.get_marker() == "o"}
    chance = {to_hex(line.get_color()) for line in right.lines if line.get_linestyle() == ":"}
    assert chance == networks
    assert len(chance) == 3
    assert to_hex(left.lines[0].get_color()) == to_hex(figures.BLUE), "one palette"


def test_ticks_of_a_logarithmic_axis_are_plain_numbers():
    _, axis = plt.subplots()
    axis.plot([0, 1], [0.02, 0.07])
    figures.logarithmic(axis)
    axis.figure.canvas.draw()
    labels = [tick.get_text() for tick in axis.get_yticklabels(which="both")]
    assert (
        {"0.02", "0.03", "0.04", "0.06"}
        <= {*labels}
        <= {"", *(f"{n / 100:g}" for n in range(1, 11))}
    )
