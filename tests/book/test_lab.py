"""Each station of the lab shows what the page says, at the size at which the room runs it."""

import math

import pytest
import torch

from valleywalk import Store, watch
from valleywalk.book.lab import STATIONS, Bounds, page
from valleywalk.folders import checkout

RUNS = [
    pytest.param(station, run, id=f"{station.title}, {run.name}")
    for station in STATIONS
    for run in station.runs
]


@pytest.mark.parametrize(("station", "run"), RUNS)
def test_a_run_comes_out_within_its_bounds(station, run, monkeypatch):
    if station.recorded:
        monkeypatch.setenv("VALLEYWALK_DATA", str(checkout() / "data"))
        assert all(Store().open(each) is not None for each in run.page.experiments)
    for quantity, value in run.numbers().items():
        assert value in run.expected[quantity], f"{quantity.name}: {value}"


def test_bounds_hold_their_ends_and_nothing_beyond():
    bounds = Bounds(-0.5, 1)
    assert [value in bounds for value in (-0.51, -0.5, 0, 1, 1.01)] == [0, 1, 1, 1, 0]
    assert math.nan not in bounds
    shown = [f"{each}" for each in (bounds, Bounds(0, 0), Bounds(-math.inf, -1.01))]
    assert shown == ["−0.5 to 1", "0", "−1.01 or less"]


def test_runs_of_a_station_differ():
    """No bounds are so wide that all runs of a station keep all of them, or it shows nothing."""
    for station in STATIONS:
        for run in station.runs[1:]:
            first = station.runs[0].expected
            assert any(bounds != first[each] for each, bounds in run.expected.items())


def test_watching_ones_own_loop_changes_nothing(images, network):
    start = {name: value.clone() for name, value in network.state_dict().items()}

    def train():
        network.load_state_dict(start)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = torch.nn.functional.cross_entropy

        def steps():
            for _ in range(3):
                optimizer.zero_grad()
                loss(network(images[0]), images[1]).backward()
                optimizer.step()

        return optimizer, loss, steps

    _, _, steps = train()
    steps()
    alone = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer, loss, steps = train()
    with watch(network, optimizer, loss, images):
        steps()
    assert all(map(torch.equal, alone, network.parameters()))


def test_the_page_has_each_station_and_each_command():
    text = page()
    assert sum(station.minutes for station in STATIONS) == 90
    assert "| together | 90 |" in text
    for number, station in enumerate(STATIONS, 1):
        section = text.split(f"### {number}. {station.title}: {station.minutes} minutes\n")[1]
        section = section.split("### ")[0]
        assert station.task in section
        assert station.shows in section
        for run in station.runs:
            assert (run.command in section) == station.live
            for quantity, bounds in run.expected.items():
                assert quantity.name in section
                assert f"{bounds}" in section


def test_a_station_says_how_long_what_its_task_adds_is_walked():
    (station,) = (each for each in STATIONS if each.added)
    command = station.added.papermill(station.added.given)
    assert command.removeprefix(f"{station.runs[0].command} ") in station.task
    seeds = {walk.seed for walk in station.added.experiments}
    assert f"| {station.title} | 15 | `fig4_lr_bs` | seconds; {len(seeds)} new walks " in page()
