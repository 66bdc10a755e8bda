"""Counting steps for Figure 8 and Tables 1 and 2, on traces whose answer is known."""

import numpy as np
import pytest

from valleywalk.measures import count_steps
from valleywalk.paper.barriers import BarriersByEpoch, BarrierTable
from valleywalk.paper.factors import Factors
from valleywalk.paper.heights import HeightTable
from valleywalk.paper.schedules import Schedules
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 11)


def segment(end=0.0, bump=0.0, sag=0.0):
    """From 1 to 1 + end, with a bump of that height or a sag of that depth in the middle."""
    return 1 + end * ALPHA + 4 * ALPHA * (1 - ALPHA) * (bump - sag)


def trace_of(segments, steps_in_epoch, errors=None, experiment=None):
    """A trace with these segments; each epoch has a standard error of its barriers and bends."""
    records = [
        {"loss": loss, "cosine": 0.0, "distance": float(i)} for i, loss in enumerate(segments)
    ]
    if errors is not None:
        for i, record in enumerate(records):
            error = errors[1 + i // steps_in_epoch]
            record |= {"barrier_error": error, "loss_error": 0.0, "measured": ALPHA >= 0}
            record["second_difference_error"] = np.full(len(ALPHA), error)
    attributes = {"steps_in_epoch": steps_in_epoch, "training_images": 100, "parameters": 10}
    if experiment is not None:
        attributes |= {"experiment": experiment.model_dump_json()}
    images = () if errors is None else [5] * 10
    count = len(segments) // steps_in_epoch
    return assemble(records, ALPHA, None, count, attributes, batch_images=images)


def test_barriers_of_an_epoch_are_those_of_its_own_steps():
    falling, barrier, small, valley = (
        segment(end=-0.5),
        segment(bump=0.3),
        segment(bump=0.01),
        segment(sag=0.2),
    )
    segments = [falling, valley, barrier, small, valley, barrier]
    # Half of all 100 images: t of nine degrees of freedom, 2.26, times √½ is 1.6.
    trace = trace_of(segments, 2, {1: 0.01, 2: 0.01, 3: 0.4})
    second = count_steps(trace, 2, None)
    assert (second["steps"], second["both"]) == (2, 2)
    assert (second["resolved"], second["unresolved"]) == (1, 1)
    assert second["resolvable"] == pytest.approx(0.016, abs=1e-4)
    assert (second["convex"], second["not convex"], second["convexity open"]) == (0, 2, 0)
    assert second["largest"] == pytest.approx(0.3)
    assert second["largest share"] == pytest.approx(0.3 / 1.3)
    third = count_steps(trace, 3, None)
    assert (third["both"], third["resolved"]) == (1, 0), "that epoch's own error counts"
    # Bends are ∓8 times the bump: 1.6 and −2.4, of which −2.4 is more than 3.7 × 0.4 below 0.
    assert (third["convex"], third["not convex"], third["convexity open"]) == (1, 1, 0)
    window = count_steps(trace, 1, 6)
    assert (window["steps"], window["both"], window["either"]) == (6, 3, 4)
    assert window["heights"] == pytest.approx([0.25, 0.2, 0, 0, 0.2, 0], abs=1e-12)


def test_the_height_s_ratio():
    page = HeightTable(models=["vgg11"], epochs_shown=[1], training_images=100)
    random = np.random.default_rng(0)
    traces = []
    for experiment, depth in zip(page.experiments, (0.3, 0.1), strict=True):
        sags = depth * (1 + 0.1 * random.standard_normal(40))
        traces.append(trace_of([segment(sag=sag) for sag in sags], 1, experiment=experiment))
    heights = page.heights(traces)
    assert [row.mean() for row in heights["heights"]] == pytest.approx([0.3, 0.1], rel=0.1)
    ratio = page.ratio(heights, "vgg11", 0.05, 1)
    assert ratio.low < 3 < ratio.high
    assert ratio.high - ratio.low < 1
    table = page.table(traces)
    assert "| 0.0625 | " in table
    assert "| 6.1 | " in table
    assert len(page.draw(traces).axes) == 1


def test_figure_8_counts_each_epoch():
    page = BarriersByEpoch(epochs_shown=[1, 2, 3], training_images=100)
    segments = [segment(end=-0.1), segment(bump=0.1), segment(sag=0.1)]
    (experiment,) = page.experiments
    trace = trace_of(segments, 1, dict.fromkeys((1, 2, 3), 0.02), experiment)
    assert list(page.by_epoch([trace])["both"]) == [0, 1, 0]
    table = page.table([trace])
    assert "| barriers, both | none in most epochs | 1 of 3 |" in table
    assert "| barriers, both, resolved | not measured | 1 of 3 |" in table
    assert "| barriers, either | the captions' definition | 2 of 3 |" in table
    for which in ("segments, convex | roughly all", "segments, not convex | not measured"):
        assert f"| {which} | 1 of 3 |" in table
    assert "| segments left open | not measured | 1 of 3 |" in table, "a straight one"
    assert "Largest barrier: 0.1 in epoch 2, 9.09% of the loss there; one of 0.032 would" in table
    assert len(page.draw([trace]).axes) == 2


def test_figure_8_says_what_was_not_measured_or_found():
    page = BarriersByEpoch(epochs_shown=[1, 2], training_images=100)
    (experiment,) = page.experiments
    trace = trace_of([segment(end=-0.1), segment(sag=0.1)], 1, experiment=experiment)
    table = page.table([trace])
    for which in ("barriers, both, resolved", "segments, not convex", "segments left open"):
        assert f"| {which} | not measured | not measured |" in table
    assert "No barrier is higher than both ends; what the images resolve was not" in table
    _, labels = page.draw([trace]).axes[1].get_legend_handles_labels()
    assert labels == ["training loss"]


def test_effects_of_factors_are_found():
    """A cosine that falls by 0.1 a doubling of the batch size and ignores the rate."""
    page = Factors(batch_sizes=[50, 100, 200], learning_rates=[0.05, 0.1], iterations=40, seeds=3)
    traces = []
    for experiment in page.experiments:
        random = np.random.default_rng([experiment.seed, experiment.batch_size])
        cosine = -0.1 * np.log2(experiment.batch_size / 50) + 0.01 * random.standard_normal(40)
        records = [{"cosine": c, "distance": float(i)} for i, c in enumerate(cosine)]
        attributes = {"experiment": experiment.model_dump_json()}
        traces.append(assemble(records, ALPHA, attributes=attributes))
    steps = page.steps(traces)
    assert set(page.varied(steps, "batch_size")["learning_rate"]) == {0.1}
    assert set(page.varied(steps, "learning_rate")["batch_size"]) == {100}
    effect = page.effect(steps, "batch_size", "cosine")
    assert effect.estimate == pytest.approx(-0.1, abs=0.005)
    assert effect.high < -0.05
    assert abs(page.effect(steps, "learning_rate", "cosine").estimate) < 0.01
    assert len(page.draw(traces).axes) == 2


def test_the_tuned_rate_and_the_paired_difference():
    page = Schedules(learning_rates=[0.1, 0.2], seeds=3, epochs=2)
    traces = []
    for experiment in page.experiments:
        best = 0.1 if experiment.schedule == "clr" else 0.2
        accuracy = 0.9 - 0.1 * (experiment.learning_rate != best) + 0.01 * experiment.seed
        accuracy -= 0.05 * (experiment.schedule == "stepwise")
        epochs = {2: {"train_loss": 1 - accuracy, "validation_accuracy": accuracy}}
        # Rises and falls within an epoch: a mean over it would miss the peak.
        records = [{"learning_rate": experiment.learning_rate * step / 5} for step in range(6)]
        attributes = {"experiment": experiment.model_dump_json()}
        traces.append(assemble(records, ALPHA, epochs, 2, attributes))
    epochs = page.by_epoch(traces)
    assert page.tuned(epochs) == {"constant": 0.2, "stepwise": 0.2, "clr": 0.1, "trapezoid": 0.2}
    found = page.difference(epochs, "trapezoid", "stepwise", "validation_accuracy")
    assert found.estimate == pytest.approx(0.05)
    assert np.isnan(found.low), "the same in all seeds"
    assert page.difference(epochs, "trapezoid", "clr", "train_loss").estimate == pytest.approx(0)
    rates, *others = page.draw(traces).axes
    assert len(others) == 2
    for line, rate in zip(rates.lines, page.tuned(epochs).values(), strict=True):
        assert line.get_xdata() == pytest.approx(np.arange(6) / 3)
        assert line.get_ydata().max() == pytest.approx(rate)


def drawn_trace(depth, experiment=None):
    """One epoch of ten steps, of which four were drawn, measured on two batches of 50 images."""
    stretch = {1: 0, 3: 0, 6: 1, 9: 1}
    records = []
    for step in range(10):
        record = {"cosine": 0.0, "distance": float(step)}
        if step in stretch:
            sag = depth * (1 + 0.02 * step)
            record |= {
                "loss": segment(sag=sag),
                "measured": ALPHA >= 0,
                "loss_error": 0.0,
                "stretch": stretch[step],
            }
            record |= {"batch_height": np.array([0.95, 1.05]) * sag, "barrier_error": 0.001}
        records.append(record)
    attributes = {"steps_in_epoch": 10, "training_images": 1000, "parameters": 10}
    if experiment is not None:
        attributes |= {"experiment": experiment.model_dump_json()}
    return assemble(records, ALPHA, attributes=attributes, batch_images=[50, 50])


def test_drawn_steps_stand_for_their_epoch():
    counted = count_steps(drawn_trace(0.3), 1, None)
    assert counted["drawn"]
    assert (counted["steps"], counted["both"]) == (4, 0)
    assert (counted["resolved"], counted["unresolved"]) == (0, 0)
    assert counted["height"].value == pytest.approx(0.3 * 1.095)
    assert counted["height"].error > 0.3 * 0.05
    page = HeightTable(models=["vgg11"], epochs_shown=[1], training_images=100)
    traces = [drawn_trace(d, e) for d, e in zip((0.3, 0.1), page.experiments, strict=True)]
    heights = page.heights(traces)
    assert heights["interval"][0] == counted["height"].interval(positive=True)
    ratio = page.ratio(heights, "vgg11", 0.05, 1)
    assert ratio.estimate == pytest.approx(3)
    assert ratio.low < 3 < ratio.high
    assert len(page.draw(traces).axes) == 1
    assert str(heights["interval"][0]) in page.table(traces)
    barriers = BarrierTable(models=["vgg11"], epochs_shown=[1], training_images=100)
    assert "| 0 of 4 |" in barriers.table(traces[:1])
    assert "| 0 (0) |" in barriers.table(traces[:1])
