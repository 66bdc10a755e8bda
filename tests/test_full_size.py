import re

import numpy as np
import pytest

from valleywalk import Store
from valleywalk.folders import checkout
from valleywalk.paper import full_size
from valleywalk.paper.full_size import planned, walks
from valleywalk.paper.protocol import commands

LETTERS = "ABCDEF"
RECORDED = checkout() / "data" / "traces"


def test_the_walks_are_those_that_the_protocol_prints():
    text = (checkout() / "book" / "protocol.md").read_text(encoding="utf-8")
    printed = dict(re.findall(r"^\| (\w) \| `([0-9a-f]{16})` \|", text, flags=re.MULTILINE))
    assert printed == {letter: planned(letter).hash for letter in LETTERS}


def test_the_longer_walks_extend_the_shorter_ones():
    for letter in LETTERS:
        assert walks()[f"{letter}25"].extends(walks()[letter])


def test_all_of_them_are_recorded_with_those_of_the_pages():
    assert set(walks().values()) <= set(commands("full"))


def test_which_are_there_and_on_what_they_were_walked(tmp_path):
    text = full_size.there(Store(tmp_path / "cache", RECORDED))
    rows = {row.split(" | ")[0].strip("| "): row for row in text.splitlines()[2:]}
    assert len(rows) == 12
    assert "ResNet-56, 0.3" in rows["D"]
    assert "CPU" in rows["A"]
    assert "H200" in rows["C25"]
    empty = full_size.there(Store(tmp_path / "cache", tmp_path / "recorded"))
    assert empty.count("not yet") == 12


def test_drawn_steps_are_held_against_all_of_them(tmp_path):
    store = Store(tmp_path / "cache", RECORDED)
    rows = [row.split(" | ") for row in full_size.drawn_steps(store).splitlines()[2:5]]
    # By hand: a step's height is the mean of its segment's ends less its lowest point.
    loss = store.get(walks()["C25"])["loss"].values
    for epoch, row in zip((1, 10, 25), rows, strict=True):
        steps = loss[(epoch - 1) * 450 : epoch * 450]
        height = ((steps[:, 0] + steps[:, -1]) / 2 - steps.min(axis=1)).mean()
        assert float(row[1]) == pytest.approx(height, rel=1e-3)
        drawn = store.get(walks()["A25"])["loss"].values[(epoch - 1) * 450 : epoch * 450]
        assert np.isfinite(drawn).all(axis=1).sum() >= full_size.DRAWN
    assert rows[2][2] == rows[2][3] == ""
    nowhere = Store(tmp_path / "cache", tmp_path / "recorded")
    assert full_size.drawn_steps(nowhere) == "Walk C is not there yet."
