"""The head of a page says what its walks were, on what they were made, and what came of them."""

import dataclasses

import pytest

from valleywalk import Experiment, Store
from valleywalk.book import head as heads
from valleywalk.book.head import head, made_on, scope, verdict
from valleywalk.paper.items import ITEMS
from valleywalk.paper.ledger import findings_without_walks
from valleywalk.trace import assemble
from valleywalk.walks import cost

RUN = {"start_time": "2026-11-25T15:00:00", "duration": 3.2}


def scope_of(name, scale):
    return scope(ITEMS[name].at(scale), ITEMS[name].at("paper"))


@pytest.mark.parametrize(
    ("name", "scale", "ours", "paper"),
    [
        (
            "fig2",
            "overnight",
            "VGG-11 at half of the width, 8,068 images of `cifar9k`, 40 of 80 steps measured on "
            "1,000 images, seed 10",
            "the scale *paper*: full width, 45,000 images of CIFAR-10, augmented, 40 of 450 "
            "steps measured on all images",
        ),
        (
            "fig2",
            "full",
            "VGG-11, 45,000 images of `cifar10-jpeg`, augmented, 77 of 450 steps in 4 of 25 "
            "epochs measured on 1,000 images, seed 0",
            "the scale *paper*: 45,000 images of CIFAR-10, 40 of 450 steps measured on all images",
        ),
        (
            "fig4",
            "overnight",
            "VGG-11 at a quarter of the width, 8,068 images of `cifar9k`, 400 to 644 steps, seeds "
            "10 to 19",
            "the scale *paper*: full width, 45,000 images of CIFAR-10, augmented, 4,500 to 4,592 "
            "steps",
        ),
        (
            "fig18",
            "paper",
            "MLP, 45,000 images of MNIST, 40 of 450 steps measured on all images, seed 0",
            "as at the scale *paper*",
        ),
    ],
)
def test_the_scope_is_ours_and_where_the_paper_s_differs(name, scale, ours, paper):
    assert scope_of(name, scale) == f"{ours}; {paper}"


def test_the_scope_of_several_networks_has_each_once_and_ranges():
    text = scope_of("tab1", "overnight")
    assert text.startswith(
        "VGG-11 and ResNet-56 at a quarter of the width, MLP, 8,068 images of `cifar9k`, 45,000 of "
        "MNIST, 20 to 40 steps in 3 to 41 epochs measured on 1,000 images, seed 10; the scale "
        "*paper*: full"
    )
    text = scope_of("tab1", "quick")
    assert text.startswith(
        "VGG-11 at an eighth, ResNet-56 at a quarter of the width, MLP, 1,000 images"
    )
    assert "; the scale *paper*: also MLP, 45,000" in scope_of("tab1", "full")


def test_a_walk_that_the_paper_has_not_is_told_apart():
    ours, paper, beyond = scope_of("fig1", "quick").split("; ")
    assert "all 40 steps measured" in ours
    assert beyond == "beyond the paper, 100 steps of gradient descent on 300 images"
    assert paper == "the scale *paper*: full width, 45,000 images of CIFAR-10"


def made_trace(device, seconds, started, **fields):
    experiment = Experiment(model="mlp", dataset="mnist5k", **fields)
    about = {"device": device, "wall_seconds": seconds, "started": started}
    about |= {"experiment": experiment.model_dump_json()}
    return assemble([{"cosine": 0.5}], alpha=[0.0, 1.0], attributes=about), experiment


def test_what_a_page_was_made_on_is_added_up():
    one, first = made_trace("CPU (A)", 100.0, "2026-11-23T23:00:00", evaluation_images=1000)
    two, second = made_trace("CPU (B)", 500.0, "2026-11-24T01:00:00", seed=1, evaluate_every=0)
    passes = [cost.passes(each) for each in (first, second)]
    total = sum(each.total for each in passes)
    measuring = 1 - sum(each.training for each in passes) / total
    assert made_on([one, two]) == (
        f"CPU (A), CPU (B), 2 walks, 10 min, about {cost.many(total)} forward passes "
        f"({measuring:.0%} to measure), 2026-11-23 to 2026-11-24"
    )
    assert made_on([one]).startswith("CPU (A), 1 walk, 100 s, about ")
    assert made_on([one]).endswith(", 2026-11-23")


def test_where_nothing_but_training_costs_no_share_is_said():
    trace, _ = made_trace("CPU", 1.0, "2026-11-23", probed_epochs=(), evaluate_every=0)
    assert made_on([trace]) == ("CPU, 1 walk, 1 s, about 12 thousand forward passes, 2026-11-23")


def finding(verdict, claim, kind="exploratory", seeds=10, planned=10):
    (some, *_) = findings_without_walks()
    changed = {"verdict": verdict, "claim": claim, "kind": kind, "seeds": seeds}
    changed = {"seeds_walked": changed.get("seeds", 10)} | changed
    return dataclasses.replace(some, **changed, seeds_planned=planned)


def test_few_claims_are_named_and_many_counted(monkeypatch):
    found = [finding("inconclusive", f"{number}.", seeds=5 + number) for number in range(3)]
    found += [finding("supported", "Small.", "primary"), finding("contradicted", "Large.")]
    monkeypatch.setattr(heads, "findings_of", lambda page: found)
    page = ITEMS["fig2"].at("smoke")
    assert verdict(page) == (
        "supported: “Small” (primary); contradicted: “Large”; inconclusive: 3 exploratory "
        "(5 to 7 of 10 seeds)"
    )
    found += [finding("supported", "Other.", seeds=1, planned=5)]
    assert verdict(page).startswith(
        "supported: “Small” (primary), 1 exploratory (1 of 5 seeds); contra"
    )
    found += [finding("inconclusive", "4.", seeds=1, planned=5)]
    assert verdict(page).endswith("inconclusive: 4 exploratory (1 of 5 to 7 of 10 seeds)")


def test_a_page_of_full_size_is_described_and_one_without_claims_says_so():
    waiting = "the walks that decide are not there yet"
    assert verdict(ITEMS["fig2"].at("full")) == f"described here, not judged; elsewhere {waiting}"
    assert verdict(ITEMS["twin"].at("smoke")) == "no claim rests on this page"
    assert verdict(ITEMS["fig2"].at("smoke")) == waiting


def test_the_head_of_a_page_is_four_lines_from_its_trace():
    item = ITEMS["fig18"]
    with pytest.raises(ValueError, match=r"no trace is there of [0-9a-f]{16}"):
        head(item, "smoke", RUN)
    (experiment,) = item.experiments("smoke")
    trace = Store().get(experiment, progress=False)
    first, classes, *lines, last = head(item, "smoke", RUN).splitlines()
    assert first.startswith(":::{admonition} Scale: *smoke*, see {doc}`the scales </reading>`")
    assert (classes, last) == (":class: note page-head", ":::")
    walked, made, judged = lines
    assert walked == f"- **Scope:** {scope_of('fig18', 'smoke')}"
    assert made == f"- **Made on:** {made_on([trace])}"
    # The walk of another scale, and of a seed that was seen before, decides nothing.
    assert (
        judged == "- **Verdict:** the walks that decide are not there yet ({doc}`ledger </index>`)"
    )


def test_the_head_of_a_page_without_walks_says_what_applies():
    text = head(ITEMS["fig28"], "quick", RUN)
    assert "Scale: none, the same at {doc}`all scales </reading>`" in text
    assert "- **Scope:** a quadratic\n" in text
    assert "as the page was bound: 3 s, 2026-11-25" in text
    assert "- **Verdict:** supported: “Gradient descent on a quadratic contracts" in text
    text = head(ITEMS["optimizers"], "quick", RUN)
    assert "Scale: *quick*, see {doc}`the scales </reading>`" in text
    scope = "25 configurations of SGD, momentum, Adam, AdamW, Muon on digits, text, 3 seeds each"
    assert f"- **Scope:** {scope}\n" in text
    assert "as the page was bound: 3 s, 2026-11-25" in text
    assert "no claim rests on this page" in text


def test_the_head_of_a_page_of_recorded_runs_says_what_they_were_made_on(monkeypatch):
    page = ITEMS["optimizers"].page
    monkeypatch.setattr(page, "made_on", "CPU (of a test), 400 runs")
    assert "- **Made on:** CPU (of a test), 400 runs\n" in head(ITEMS["optimizers"], "quick", RUN)
