"""Optimizers side by side: networks, runs, how they are kept, and what is asked of them."""

import json
import math

import nbformat
import numpy as np
import pytest
import torch
import xarray as xr

from valleywalk import analysis, measures
from valleywalk.book.build import scale_of
from valleywalk.folders import checkout
from valleywalk.paper import optimizer_questions as questions
from valleywalk.paper import optimizer_record, optimizer_runs, optimizer_settings
from valleywalk.paper.items import CLAIMS, ITEMS
from valleywalk.paper.optimizer_networks import Convolution, examples, network_of, optimizers_of
from valleywalk.paper.optimizer_runs import (
    SEARCH_SEEDS,
    keep,
    kept,
    on_the_grid,
    path_of,
    recorded_folder,
    search,
    train,
)
from valleywalk.paper.optimizer_settings import Configuration, Run, chosen_rate, run_of
from valleywalk.paper.optimizers import Optimizers, protocol, protocol_hash
from valleywalk.trace import TraceError, assemble

DECIDING = Optimizers(scale="overnight")
ADAM = Configuration("digits", "none", "Adam")
RECORDED = checkout() / "data" / "optimizers"
SMALL = {"steps": 3, "batch_size": 4, "evaluation_examples": 8}


def run(optimizer="SGD", problem="digits", normalisation="none", **more):
    fields = {"learning_rate": 0.1, "seed": 0, **SMALL, **more}
    return Run(problem=problem, normalisation=normalisation, optimizer=optimizer, **fields)


# Networks and optimizers --------------------------------------------------------------------------


def test_a_convolution_is_torch_s():
    torch.manual_seed(0)
    ours, theirs = Convolution(3, 5), torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
    theirs.weight.data = ours.weight.data.view(5, 3, 3, 3)
    theirs.bias.data = ours.bias.data
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize(("problem", "other"), [("digits", "batch"), ("text", "layer")])
def test_networks_begin_alike_with_each_normalisation(problem, other):
    found = []
    for normalisation in ("none", other):
        torch.manual_seed(3)
        network = network_of(problem, normalisation)
        found.append([p.detach() for p in network.parameters() if p.ndim == 2])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_the_transformer_does_not_see_what_comes_later():
    torch.manual_seed(0)
    network = network_of("text", "layer").eval()
    inputs, _, _ = examples("text")
    first, changed = inputs[:1], inputs[:1].clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 5
    before, after = network(first), network(changed)
    torch.testing.assert_close(before[..., :20], after[..., :20])
    assert not torch.allclose(before[..., 20:], after[..., 20:])


@pytest.mark.parametrize(("problem", "hidden"), [("digits", 2), ("cifar9k", 3), ("text", 2 * 4)])
def test_muon_takes_the_matrices_of_hidden_layers_and_adamw_the_rest(problem, hidden):
    network = network_of(problem, "layer")
    muon, adamw = optimizers_of("Muon", network, 0.1)
    own, others = (each.param_groups[0]["params"] for each in (muon, adamw))
    assert len(own) == hidden
    assert {id(p) for p in [*own, *others]} == {id(p) for p in network.parameters()}
    assert len(own) + len(others) == len([*network.parameters()])
    assert any(p is network.output.weight for p in others)


# Runs ---------------------------------------------------------------------------------------------


def test_runs_of_a_seed_begin_alike_and_see_the_same_batches():
    traces = [train(run(name, learning_rate=1e-9)) for name in ("SGD", "momentum", "Adam")]
    first = traces[0]["minibatch_loss"].values
    for trace in traces[1:]:
        np.testing.assert_allclose(trace["minibatch_loss"], first, rtol=1e-5)
    other = train(run(learning_rate=1e-9, seed=1))["minibatch_loss"].values
    assert not np.allclose(other, first)


def test_a_run_is_that_of_a_plain_loop_without_watching():
    """Written out once more, with Muon's two optimizers."""
    settings = run("Muon", normalisation="batch")
    inputs, targets, _ = examples("digits")
    torch.manual_seed(0)
    network = network_of("digits", "batch")
    optimizers = optimizers_of("Muon", network, 0.1)
    start = [p.detach().clone() for p in network.parameters()]
    random = np.random.default_rng(0)
    random.permutation(len(inputs))
    losses = []
    for _ in range(3):
        batch = torch.from_numpy(random.integers(len(inputs), size=4))
        network.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs[batch]), targets[batch])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    moved = [p - before for p, before in zip(network.parameters(), start, strict=True)]
    far = torch.sqrt(sum((each**2).sum() for each in moved))
    trace = train(settings)
    np.testing.assert_allclose(trace["minibatch_loss"], losses, rtol=1e-6)
    np.testing.assert_allclose(trace["distance"][-1], far.item(), rtol=1e-6)


def test_a_run_leaves_the_random_state_and_holds_what_its_steps_gain():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trace = train(run(tolerance=0))
    assert torch.equal(torch.get_rng_state(), before)
    found = measures.along_step(trace.assign(step_length=trace["step_length"].astype(float)))
    for name in ("floor_position", "gain", "curvature_penalty"):
        np.testing.assert_allclose(trace[name], found[name], rtol=1e-5)
    assert run_of(trace) == run(tolerance=0)


def test_kept_runs_come_back_as_they_were(tmp_path):
    settings = [run("SGD"), run("Adam", steps=2), run("SGD", seed=1)]
    traces = [train(each) for each in settings]
    path = tmp_path / "some.nc"
    keep(traces, path, protocol="that of a test")
    found = kept(path)
    assert [*found] == settings
    for trace, back in zip(traces, found.values(), strict=True):
        xr.testing.assert_equal(back, trace)
        assert back.attrs["git_commit"] == trace.attrs["git_commit"]
        assert back.attrs["protocol"] == "that of a test"
    assert kept(tmp_path / "none.nc") == {}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TraceError, match="damaged"):
        kept(path)


def test_runs_of_another_revision_are_run_again(tmp_path, monkeypatch):
    path = tmp_path / "some.nc"
    keep([train(run())], path)
    monkeypatch.setattr(optimizer_runs, "REVISION", optimizer_runs.REVISION + 1)
    assert kept(path) == {}


def test_a_page_takes_what_is_recorded_and_runs_the_rest(monkeypatch):
    page = Optimizers(scale="smoke", normalisations=["none"], optimizers=["SGD"], seeds=2, **SMALL)
    first, second = page.runs
    assert not page.is_there(page.store)
    assert page.made_on is None
    keep([train(first)], path_of("digits", "none"))
    assert not page.is_there(page.store), "one of two"
    trained = []
    monkeypatch.setattr(
        "valleywalk.paper.optimizer_runs.train", lambda each: trained.append(each) or train(each)
    )
    traces = page.get_traces()
    assert trained == [second]
    assert [run_of(trace) for trace in traces] == [first, second]
    keep(traces, path_of("digits", "none"))
    assert page.is_there(page.store)
    assert page.made_on.startswith("CPU (")
    assert ", 2 runs, 20" in page.made_on


def test_the_book_shows_the_deciding_runs_where_all_are_recorded(monkeypatch):
    item = ITEMS["optimizers"]
    assert scale_of(item, "recorded", item.at("quick").store) == "quick"
    monkeypatch.setattr(
        "valleywalk.paper.optimizer_runs.recorded", lambda runs: dict.fromkeys(runs)
    )
    assert scale_of(item, "recorded", item.at("quick").store) == "overnight"
    assert scale_of(item, "smoke", item.at("quick").store) == "smoke"


def test_the_rates_that_are_given_are_those_of_the_optimizers_named():
    page = Optimizers(optimizers=["Muon", "SGD"], learning_rates=[0.07, 0.2], seeds=1)
    assert {(run.optimizer, run.learning_rate) for run in page.runs} == {
        ("Muon", 0.07),
        ("SGD", 0.2),
    }
    for run in Optimizers(seeds=1).runs:
        assert run.learning_rate == chosen_rate(run.configuration)


# Learning rates -----------------------------------------------------------------------------------


def test_the_grid():
    places = [on_the_grid(place) for place in range(-4, 3)]
    assert places == [0.01, 0.03, 0.1, 0.3, 1, 3, 10]


@pytest.mark.parametrize("best", [0.0003, 0.01, 0.3])
def test_the_search_widens_the_grid_until_the_best_is_inside(best, monkeypatch):
    def loss(configuration, rate, seed):
        return math.inf if rate > 1 else abs(math.log(rate / best)) + seed

    monkeypatch.setattr(optimizer_runs, "_last_loss", loss)
    found = search(ADAM)
    rates = sorted({each.learning_rate for each in found})
    assert {each.seed for each in found} == set(SEARCH_SEEDS)
    assert min(found, key=lambda each: each.loss).learning_rate == best
    assert rates[0] < best < rates[-1]
    assert 0.01 in rates, "where it began"
    monkeypatch.setattr(optimizer_settings, "tried", lambda: tuple(found))
    assert chosen_rate.__wrapped__(ADAM) == best


def test_the_seeds_of_the_search_decide_nothing():
    assert not {each.seed for each in DECIDING.runs} & {*SEARCH_SEEDS}


def test_each_chosen_rate_has_a_worse_neighbour_on_either_side():
    tried = optimizer_settings.tried()
    for configuration in DECIDING.configurations:
        rates = sorted({t.learning_rate for t in tried if t.configuration == configuration})
        assert rates[0] < chosen_rate(configuration) < rates[-1]


# Questions ----------------------------------------------------------------------------------------


def trace_of(segments, **more):
    steps = [{"loss": loss, "floor_position": 0.5, "gain": 2.0} for loss in segments]
    return assemble(steps, alpha=[0, 0.5, 1])


BOUNCE, SLIDE, BARRIER = [3.0, 1.0, 2.0], [2.0, 1.5, 1.0], [1.0, 4.0, 2.0]


def test_what_is_measured():
    trace = trace_of([BARRIER, BARRIER, BOUNCE, SLIDE])
    assert questions.bounces.measure(trace) == (1, 2), "of the second half"
    assert questions.crosses.measure(trace) == (2, 4), "of all"
    assert questions.height.measure(trace) == pytest.approx((1.5 + 0.5) / 2)
    assert questions.floor.measure(trace) == 0.5
    assert questions.gain.measure(trace) == 2
    assert questions.loss.measure(trace) == 1
    slides = trace_of([BOUNCE, BOUNCE, SLIDE, SLIDE])
    assert questions.normalised.measure(trace, slides) == 0.5
    assert questions.higher.measure(trace, slides) == pytest.approx(2)


def test_what_is_asked():
    asked = [*questions.asked(DECIDING.configurations)]
    counts = {claim.id: 0 for claim in questions.ASKED}
    for question in asked:
        counts[question.claim.id] += 1
    # 40 configurations; 8 of SGD; 5 of three, of three and of two problems are normalised.
    assert counts == {"bounces": 40, "crosses": 40, "normalised": 25, "higher": 32}
    for question in asked:
        if question.claim.id == "higher":
            own, other = question.of
            assert other == own._replace(optimizer="SGD") != own
        if question.claim.id == "normalised":
            own, other = question.of
            assert other == own._replace(normalisation="none") != own
    assert not {claim.id for claim in questions.ASKED} & {claim.id for claim in CLAIMS}


def test_answers_follow_the_runs():
    momentum = ADAM._replace(optimizer="momentum")
    bounces, slides = trace_of([BOUNCE] * 40), trace_of([SLIDE] * 40)
    runs = {(ADAM, seed): bounces for seed in range(10)}
    runs |= {(momentum, seed): slides for seed in range(10)}
    found = questions.answers(questions.asked([ADAM, momentum]), runs)
    verdicts = {(a.question.claim.id, a.question.of[0]): a.verdict for a in found}
    assert verdicts[("bounces", ADAM)] == "supported"
    assert verdicts[("bounces", momentum)] == "contradicted"
    assert verdicts[("crosses", ADAM)] == "contradicted"
    alone = questions.answers([questions.Question(questions.bounces, (ADAM,))], runs)[0]
    assert found[0].p_value == pytest.approx(len(found) * alone.p_value), "adjusted by Holm"


def test_a_run_that_diverged_is_left_out():
    diverged = trace_of([[1.0, 2.0, math.nan]])
    runs = {(ADAM, 0): trace_of([BOUNCE]), (ADAM, 1): diverged, (ADAM, 2): trace_of([SLIDE])}
    assert questions.evidence(questions.bounces, [ADAM], runs).values == [(1, 1), (0, 1)]
    assert questions.evidence(questions.bounces, [ADAM], {(ADAM, 1): diverged}) is None
    (answer,) = questions.answers(
        [questions.Question(questions.bounces, (ADAM,))], {(ADAM, 1): diverged}
    )
    assert (answer.verdict, answer.seeds, answer.interval) == ("inconclusive", 0, None)


@pytest.mark.parametrize(("gone", "verdict"), [(4, "supported"), (5, "inconclusive")])
def test_nothing_is_decided_where_half_of_the_seeds_diverged(gone, verdict):
    diverged, bounce = trace_of([[1.0, 2.0, math.nan]]), trace_of([BOUNCE] * 40)
    runs = {(ADAM, seed): diverged if seed < gone else bounce for seed in range(10)}
    (answer,) = questions.answers([questions.Question(questions.bounces, (ADAM,))], runs)
    assert (answer.verdict, answer.seeds) == (verdict, 10 - gone)
    assert answer.interval is not None
    assert (answer.p_value < 0.05) == (verdict == "supported")


def test_steps_of_a_run_that_diverged_are_not_counted():
    page = Optimizers(scale="smoke", normalisations=["none"], optimizers=["SGD"], seeds=3)
    traces = [
        trace_of(segments).assign_attrs(run=run.model_dump_json())
        for run, segments in zip(
            page.runs, ([BARRIER, SLIDE], [BARRIER, [1.0, 2.0, math.nan]], [SLIDE] * 2), strict=True
        )
    ]
    for trace in traces:
        trace["curvature_penalty"] = trace["gain"]
    numbers = page.numbers(traces)
    assert (numbers["barriers"], numbers["all_steps"]) == (1, 4)
    assert [each["optimizer"] for each in numbers["diverged"]] == ["SGD"]


def test_a_device_is_escaped_once(monkeypatch):
    """Here for the head of the page; the provenance is escaped as a whole."""
    page = Optimizers(scale="smoke", normalisations=["none"], optimizers=["SGD"], seeds=1)
    said = {"device": "CPU (A @ 2 GHz)", "started": "2026-11-23T00:00:00+00:00"}
    trace = trace_of([SLIDE]).assign_attrs(said, run=page.runs[0].model_dump_json())
    assert "CPU (A @ 2 GHz), 1 run, 2026-11-23" in page.provenance([trace])
    monkeypatch.setattr(Optimizers, "_all_recorded", [trace])
    assert page.made_on == "CPU (A &#64; 2 GHz), 1 run, 2026-11-23"


def test_of_one_seed_there_are_numbers_without_intervals():
    page = Optimizers(scale="smoke", normalisations=["none"], optimizers=["SGD"], seeds=1)
    trace = trace_of([BARRIER, SLIDE]).assign_attrs(run=page.runs[0].model_dump_json())
    table = page.table([trace.assign(curvature_penalty=trace["gain"])])
    assert "| SGD, no normalisation | ○\N{NO-BREAK SPACE}0 |" in table
    assert "nan" not in table


# What is recorded ---------------------------------------------------------------------------------


def test_the_protocol_that_was_written_is_the_code_s():
    written = json.loads((RECORDED / "protocol.json").read_text(encoding="utf-8"))
    assert written == protocol()


def test_all_deciding_runs_are_recorded_under_the_protocol(monkeypatch):
    monkeypatch.setenv("VALLEYWALK_DATA", str(checkout() / "data"))
    assert recorded_folder() == RECORDED
    files = {path_of(each.problem, each.normalisation) for each in DECIDING.runs}
    assert {*RECORDED.glob("*.nc")} == files
    found = {run: trace for path in files for run, trace in kept(path).items()}
    assert {*found} == {*DECIDING.runs}
    assert {trace.attrs["protocol"] for trace in found.values()} == {protocol_hash()}
    commits = {trace.attrs["git_commit"] for trace in found.values()}
    assert len(commits) == 1
    assert not any(commit.endswith("-dirty") or commit == "unknown" for commit in commits)
    assert sum(path.stat().st_size for path in files) < 4e6


def test_recorded_runs_are_what_is_run_now(monkeypatch):
    """To where another processor's rounding has not grown yet."""
    recorded = kept(RECORDED / "digits-batch.nc")
    first = next(iter(recorded))
    again = train(first)
    assert again.attrs["dataset_hash"] == recorded[first].attrs["dataset_hash"]
    for name in ("minibatch_loss", "distance"):
        np.testing.assert_allclose(again[name][:5], recorded[first][name][:5], rtol=1e-3)
    np.testing.assert_allclose(
        analysis.height(again["loss"])[:5], analysis.height(recorded[first]["loss"])[:5], rtol=0.02
    )


def test_nothing_is_recorded_from_a_tree_with_changes(monkeypatch):
    monkeypatch.setattr(optimizer_record, "environment", lambda: {"git_commit": "abc-dirty"})
    with pytest.raises(ValueError, match="commit abc-dirty; commit it first"):
        optimizer_record.runs()
    assert not recorded_folder().exists()


def test_rates_and_runs_are_written_as_they_are_read(monkeypatch, tmp_path):
    few = Optimizers(scale="smoke", normalisations=["none"], optimizers=["SGD"], seeds=1, **SMALL)
    monkeypatch.setattr(optimizer_record, "Optimizers", lambda scale: few)
    monkeypatch.setattr(optimizer_record, "environment", lambda: {"git_commit": "abc"})
    optimizer_record.runs()
    assert [*kept(path_of("digits", "none"))] == few.runs
    monkeypatch.setattr(optimizer_record, "train", None)
    optimizer_record.runs()  # What is there stays.
    tried = [t for t in optimizer_settings.tried() if t.configuration == few.configurations[0]]
    monkeypatch.setattr(optimizer_record, "search", lambda configuration: tried)
    monkeypatch.setattr(optimizer_record, "__file__", str(tmp_path / "module.py"))
    optimizer_record.rates()
    lines = (tmp_path / optimizer_settings.RATES).read_text().splitlines()
    whole = (
        (checkout() / "src/valleywalk/paper" / optimizer_settings.RATES).read_text().splitlines()
    )
    assert lines == whole[: len(lines)]


def test_what_the_book_shows_was_fixed_before(monkeypatch):
    monkeypatch.setenv("VALLEYWALK_DATA", str(checkout() / "data"))
    numbers = DECIDING.numbers(DECIDING.get_traces())
    assert numbers["fixed_before"]
    assert (numbers["runs"], numbers["seeds"]) == (400, 10)
    assert len(numbers["answers"]) == numbers["questions"] == protocol()["family"]
    page = Optimizers(scale="overnight", normalisations=["none"], optimizers=["SGD"])
    traces = page.get_traces()
    assert not page.numbers(traces)["fixed_before"], "another family"
    known = protocol_hash()
    monkeypatch.setattr("valleywalk.paper.optimizers.protocol_hash", lambda: known)
    monkeypatch.setattr("valleywalk.paper.optimizers.protocol", lambda: {"family": 3 * 2})
    assert page.numbers(traces)["fixed_before"]
    changed = [*traces[:-1], traces[-1].assign_attrs(protocol="another")]
    assert not page.numbers(changed)["fixed_before"]


def test_by_hand_agrees_on_what_the_book_shows(monkeypatch):
    monkeypatch.setenv("VALLEYWALK_DATA", str(checkout() / "data"))
    cells = nbformat.read(checkout() / "notebooks" / "optimizers.ipynb", as_version=4).cells
    (by_hand,) = (cell.source for cell in cells if "(by_hand, library" in cell.source)
    page = Optimizers(scale="overnight", problems=["text"], optimizers=["Adam"])
    names = {"page": page, "traces": page.get_traces()}
    exec(by_hand, names)
    assert 0.1 < names["by_hand"] < 0.9
