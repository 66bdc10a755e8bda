import re

import numpy as np
import pytest

from valleywalk import Store
from valleywalk.folders import checkout
from valleywalk.paper import full_size
from valleywalk.paper.full_size import command, planned, walks
from valleywalk.paper.items import ITEMS
from valleywalk.paper.protocol import commands
from valleywalk.walks.experiment import Experiment

LETTERS = "ABCDEF"
RECORDED = checkout() / "data" / "traces"


def test_the_walks_are_those_that_the_protocol_prints():
    text = (checkout() / "book" / "protocol.md").read_text(encoding="utf-8")
    printed = dict(re.findall(r"^\| (\w) \| `([0-9a-f]{16})` \|", text, flags=re.MULTILINE))
    assert printed == {letter: planned(letter).hash for letter in LETTERS}
    commands = dict(re.findall(r"^    # (\w)\n    (valleywalk walk .*)$", text, flags=re.MULTILINE))
    assert {name: sorted(words.split()) for name, words in commands.items()} == {
        letter: sorted(command(planned(letter)).split()) for letter in LETTERS
    }


def test_the_longer_walks_extend_the_shorter_ones():
    for letter in LETTERS:
        assert walks()[f"{letter}25"].extends(walks()[letter])


@pytest.mark.parametrize("name", ["fig2", "fig14", "tab1", "tab2"])
def test_who_has_cifar_10_itself_walks_the_same_on_it(name):
    """Augmentation and all; only the pixels are others."""
    ours, own = ITEMS[name].at("full"), ITEMS[name].at("full", dataset="cifar10")
    assert [walk.dataset for walk in own.experiments] == ["cifar10"] * len(ours.experiments)
    for jpeg, original in zip(ours.experiments, own.experiments, strict=True):
        assert original == Experiment(**jpeg.model_dump() | {"dataset": "cifar10"})


def test_all_of_them_are_recorded_with_those_of_the_pages():
    assert set(walks().values()) <= set(commands("full"))


def test_which_are_there_and_on_what_they_were_walked(tmp_path):
    text = full_size.there(Store(tmp_path / "cache", RECORDED))
    rows = {row.split(" | ")[0].strip("| "): row for row in text.splitlines()[2:]}
    assert len(rows) == 12
    assert "ResNet-56, 0.3" in rows["D"]
    assert "CPU" in rows["A"]
    assert "H200" in rows["C25"]
    assert rows["C"].split(" | ")[4] == "4.7"
    empty = full_size.there(Store(tmp_path / "cache", tmp_path / "recorded"))
    assert empty.count("not yet") == 12


def test_what_is_left_stands_with_its_command_and_cost(tmp_path):
    recorded = Store(tmp_path / "cache", RECORDED)
    text = full_size.left(recorded)
    left = [letter for letter, walk in walks().items() if recorded.find(walk) is None]
    assert re.findall(r"# (\w+):", text) == [*left, *(f"{each}100" for each in LETTERS)]
    assert f"\n# C100: 19 million\n{command(planned('C', 100))}\n" in text
    for label, cost in (("Figure 1", 26), ("Figure 9", 26), ("Figure 11", 69)):
        assert f"\n# {label}: {cost} million\npapermill notebooks/" in text
    assert text.count("cifar10-jpeg") == text.count("# ")
    assert full_size.left(Store(tmp_path / "cache", tmp_path)).count("# ") == 12 + 6 + 3


def test_drawn_steps_are_held_against_all_of_them(tmp_path):
    store = Store(tmp_path / "cache", RECORDED)
    rows = [row.split(" | ") for row in full_size.drawn_steps(store).splitlines()[2:5]]
    # By hand: a step's height is the mean of its segment's ends less its lowest point.
    loss = store.get(walks()["C25"])["loss"].values
    for epoch, row in zip((1, 10, 25), rows, strict=True):
        steps = loss[(epoch - 1) * 450 : epoch * 450]
        height = ((steps[:, 0] + steps[:, -1]) / 2 - steps.min(axis=1)).mean()
        assert float(row[1]) == pytest.approx(height, rel=1e-3)
        for letter, interval, inside in (("A", *row[2:4]), ("A25", *row[4:])):
            if (letter, epoch) == ("A", 25):
                assert interval == inside == ""
                continue
            trace = store.get(walks()[letter]).isel(iteration=slice((epoch - 1) * 450, epoch * 450))
            drawn = trace["loss"].values[~np.isnan(trace["stretch"].values)]
            mean = ((drawn[:, 0] + drawn[:, -1]) / 2 - drawn.min(axis=1)).mean()
            estimate, low, high = map(float, re.findall(r"[\d.]+", interval))
            assert estimate == pytest.approx(mean, rel=5e-3)
            assert low < estimate < high
            assert inside.strip(" |") == ("yes" if low <= height <= high else "no")
    text = full_size.drawn_steps(store)
    assert text.endswith("\n\nA25 and C25 end in one state, to the last bit.")
    nowhere = Store(tmp_path / "cache", tmp_path / "recorded")
    assert full_size.drawn_steps(nowhere) == "Walk C25 is not there yet."


def test_the_check_says_no_where_all_steps_lie_outside(monkeypatch, tmp_path):
    """As if C25 had been a walk of ten times the height."""
    store = Store(tmp_path / "cache", RECORDED)
    higher = store.get(walks()["C25"])
    higher["loss"] = higher["loss"] * 10
    given = {walks()["C25"].hash: higher.assign_attrs(final_state_hash="0" * 16)}
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, e: given.get(e.hash) or get(self, e))
    text = full_size.drawn_steps(store)
    assert "yes" not in text
    assert text.count(" no |") == 5
    assert text.endswith("A25 and C25 end in different states.")
