"""The ledger against a second one that shares no code with it (`independent_ledger.py`)."""

import dataclasses
import json
import math
import re
import sys
import zlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from independent_ledger import PROTOCOL, STATISTICS, ledger, main, opener
from made import SAID

from valleywalk import Store
from valleywalk.folders import checkout
from valleywalk.paper.claim import SUBJECTS
from valleywalk.paper.items import CLAIMS
from valleywalk.paper.ledger import VERDICTS, findings, findings_without_walks
from valleywalk.paper.ledger_text import as_objects, ledger_table
from valleywalk.paper.protocol import groups
from valleywalk.trace import KINDS, VARIABLES, assemble, save
from valleywalk.walks.provenance import experiment_of, protocol_commits

WRITTEN = json.loads(PROTOCOL.read_text(encoding="utf-8"))
TRACES = checkout() / "data" / "traces"
ALPHA = np.linspace(0, 1, 11)
COMMIT = "made"
# An odd number, so that the stretches from which four are drawn differ in length.
STEPS, DRAWN = 9, (1, 3, 4, 8)


def compared(store, open_walk, commits, seeds=None):
    """Findings of the first ledger and rows of the second, whose numbers are the same."""
    measured = defaultdict(list)

    def kept(claim):
        def measure(*walked):
            value = claim.measure(*walked)
            measured[claim.id].append(float(value))
            return value

        return dataclasses.replace(claim, measure=measure)

    first = findings("overnight", store=store, seeds=seeds, claims=map(kept, CLAIMS))
    second = ledger(open_walk, WRITTEN, commits, seeds)
    networks = [f"{f.model} on {f.dataset}" if "tiny" in f.dataset else f.model for f in first]
    assert [(f.id, network) for f, network in zip(first, networks, strict=True)] == [
        (row.claim, row.subject) for row in second
    ]
    for claim in CLAIMS:
        numbers = [x for row in second if row.claim == claim.id for x in row.numbers.values()]
        assert measured[claim.id] == near(numbers), claim.id
    for finding, row in zip(first, second, strict=True):
        name = (row.claim, row.subject)
        assert finding.seeds == len(row.seeds), name
        assert finding.seeds_planned == row.planned, name
        unusable = {f"seed {seed}" for seed in {*row.numbers} - {*row.seeds} - {*row.absent}}
        notes = [note for note in finding.notes if " not usable: " in note]
        assert {seed for note in notes for seed in note.split(" not")[0].split(", ")} == unusable
        assert (finding.kind == "primary") == row.primary, name
        assert finding.estimate == near(row.estimate), name
        assert finding.interval == near(row.interval), name
        assert finding.p_value == near(row.p_value, 1e-3, 1e-11), name
        assert finding.adjusted_p_value == near(row.adjusted, 1e-3, 1e-11), name
        assert finding.verdict == row.verdict, name
    return first, second


def near(number, share=1e-6, least=3e-7):
    """The library takes means and ratios of cosines and distances in float32.

    That moves p-values by a larger share of themselves, where seeds differ little.
    """
    return None if number is None else pytest.approx(number, rel=share, abs=least, nan_ok=True)


# Made walks ---------------------------------------------------------------------------------------


class Made:
    """Walks with random numbers, in place of a store.

    Networks of one ledger differ from each other, and seeds mostly less than networks.
    """

    def __init__(self, number, folder, share=1.0):
        self.folder = folder
        self.random = np.random.default_rng(number)
        self.number, self.traces = number, {}
        # Not all is there; some walks are from before the protocol; all seeds may be alike.
        absent, early = self.random.choice([0, 0, 0.01], 2)
        self.alike = self.random.random() < 0.15
        for subject, pages in planned():
            self.likes = {}
            for by_seed in pages.values():
                if self.random.random() < share:
                    for walk in (walk for walks in by_seed.values() for walk in walks):
                        if walk.hash not in self.traces and self.random.random() >= absent:
                            commit = "other" if self.random.random() < early else COMMIT
                            self.traces[walk.hash] = self.trace(subject, walk, commit)

    def open(self, experiment):
        """As a store does."""
        return self.traces.get(experiment.hash)

    def find(self, experiment):
        """As a store does: a file, of which no more than the seal at its end is looked at."""
        if experiment.hash not in self.traces:
            return None
        path = self.folder / experiment.hash
        path.write_text(2 * f"{experiment.hash:>32}")
        return path

    def like(self, name, low, high):
        """Where a network's number lies."""
        return self.likes.setdefault(name, self.random.uniform(low, high))

    def rarely(self, name):
        """Whether something is so in this seed; in most ledgers it never is."""
        chance = self.likes.setdefault(name, self.random.choice([0, 0, 0, 0.1, 0.6]))
        return self.own.random() < chance

    def trace(self, subject, walk, commit):
        kind = walk.model_copy(update={"seed": 0}).hash if self.alike else walk.hash
        self.own = np.random.default_rng([self.number, zlib.crc32(kind.encode())])
        self.level = self.like("spread", 0.2, 1) ** 3
        own = walk
        if self.rarely("other images") and walk.update == "gd":
            own = walk.model_copy(update={"training_images": 6000})
        attributes = SAID | {
            "experiment": own.model_dump_json(),
            "experiment_hash": walk.hash,
            "dataset_hash": f"{own.dataset} {own.training_images} {own.classes}",
            "protocol_commit": commit,
            "training_images": 100,
            "steps_in_epoch": 1,
            "parameters": 1000,
        }
        variables = self.epochs(walk)
        if walk.probed_epochs:
            attributes["steps_in_epoch"] = STEPS if walk.sampled_iterations else 1
            variables |= self.segments(walk)
        else:
            variables |= self.series(walk, self.length(walk))
        trace = assemble([], ALPHA, attributes=attributes, batch_images=[100] * 10)
        lengths = {"iteration": len(variables["cosine"]), "epoch": walk.epochs}
        return trace.drop_dims("iteration").assign(
            {
                name: (VARIABLES[name][0], np.asarray(values, dtype=KINDS.get(name, float)))
                for name, values in variables.items()
            }
        ).assign_coords(
            iteration=np.arange(lengths["iteration"]), epoch=np.arange(1, lengths["epoch"] + 1)
        )  # fmt: skip

    def length(self, walk):
        """Steps: of those to be compared with others as many as the shortest has, or more."""
        if walk.evaluate_every or walk.update == "gd":
            return walk.epochs
        shortest = {"mlp": 900, "resnet56": 200}.get(walk.model, 400)
        shortest = 200 if walk.dataset == "tiny-imagenet" else shortest
        return shortest + (walk.batch_size == 25) * 30

    def varied(self, name, low, high):
        """A number of this seed."""
        return self.like(name, low, high) + self.level * self.own.normal() * (high - low) / 4

    def series(self, walk, length):
        """Numbers of each step."""
        batch, rate = math.log2(walk.batch_size / 100), math.log2(walk.learning_rate / 0.1)
        noise = walk.noise_factor > 0
        cosine = self.varied("cosine", -1, 0.2) + 0.1 * self.own.normal(size=length)
        cosine += self.like("batch", -0.1, 0.1) * batch + self.like("rate", -0.05, 0.05) * rate
        cosine[0] = math.nan
        grows = np.exp(self.varied("distance", -0.5, 1) + self.like("far", -0.3, 0.6) * batch)
        grows *= np.exp(self.varied("travels", 0, 1.5)) if noise else 1
        distance = np.sqrt(np.arange(1, length + 1)) * grows
        norm = 10 + distance * np.exp(self.varied("norm", 0, 1))
        loss = 2 * np.exp(-np.arange(length) / length * self.varied("falls", 0.5, 3))
        return {
            "cosine": cosine,
            "distance": 0 * distance if noise and self.rarely("stays") else distance,
            "parameter_norm": norm,
            "minibatch_loss": loss,
            "learning_rate": np.full(length, walk.learning_rate),
        }

    def epochs(self, walk):
        """Numbers of each epoch, where they were measured."""
        epoch = np.arange(1, walk.epochs + 1)
        evaluated = epoch % (walk.evaluate_every or 10**6) == 0
        switched = walk.switch_learning_rate or walk.switch_update
        loss = 2 * np.exp(-epoch / walk.epochs * self.varied(f"loss {switched}", -0.5, 3))
        loss = loss * np.exp(0.05 * self.own.normal(size=len(loss)))
        loss += self.varied("noisy", -0.5, 0.5) * (walk.noise_factor > 0 and not switched)
        loss += self.varied("fast", -0.5, 0.5) * (walk.learning_rate > 0.1)
        accuracy = self.varied(f"accuracy {walk.schedule} {walk.learning_rate}", 0.5, 0.6)
        accuracy = accuracy + 0.02 * self.own.normal(size=len(epoch))
        accuracy += self.varied("worse", -0.1, 0.1) * (walk.noise_factor > 0)
        if self.rarely("constant"):
            accuracy[:] = 0.5
        if self.rarely("not measured") and walk.evaluate_every == 10:
            evaluated = epoch == walk.evaluate_every - walk.learning_rate / 0.05
        found = {
            "train_loss": np.where(evaluated, loss, np.nan),
            "validation_accuracy": np.where(evaluated, accuracy.round(3), np.nan),
        }
        if walk.curvature_every:
            searched = epoch % walk.curvature_every == 0
            part = epoch / walk.epochs
            shape = self.varied("first", -2, 1) * part + self.varied("then", -3, 3) * part**2
            norm = np.exp(shape + 0.2 * self.own.normal(size=len(epoch)))
            norm *= np.exp(self.like("edge", -1, 1))
            if self.like("hovers", 0, 1) > 0.5:
                norm = np.minimum(norm * part * 4, self.varied("near the edge", 0.7, 1.3))
                norm = norm * np.exp(0.1 * self.own.normal(size=len(epoch)))
            norm *= 2 / walk.learning_rate
            norm *= -1 if self.rarely("negative") else 1
            if self.rarely("goes with accuracy"):
                norm = 100 * (1 - found["validation_accuracy"])
            found["hessian_max"] = np.where(searched, norm, np.nan)
        if walk.noise_structure:
            overlap = np.where(searched, self.own.uniform(0.5, 1, len(epoch)), np.nan)
            found["noise_overlap"] = overlap
            found["noise_sharpness"] = found["noise_share"] = overlap
            control = self.varied("control", 0, 2) + 0.1 * self.own.normal(size=len(epoch))
            control = np.nan if self.rarely("older") else np.exp(-control)
            found["noise_overlap_control"] = overlap * control
        return found

    def segments(self, walk):
        """Those of drawn steps, or of the first steps."""
        drawn = bool(walk.sampled_iterations)
        if drawn:
            epochs = [epoch for epoch in (1, 2, 10, 25, 100) if epoch in walk.probed_epochs]
            steps = [(epoch - 1) * STEPS + step for epoch in epochs for step in DRAWN]
            length = walk.epochs * STEPS
        else:
            length = 20 if walk.update == "gd" else 23
            steps = list(range(18))
        found = self.series(walk, length)
        # Where every other segment has no minimum inside, just half of the last ten have one.
        creeps = np.arange(length) % 2 == 0 if self.rarely("creeps") else 0
        centre = self.like("centre", 0.2, 1.3) + 0.5 * self.own.normal(size=length) * self.level
        centre += 2 * creeps + 0.2 * (walk.batch_size > 100) * self.like("doubled", -1, 1)
        steep = np.exp(self.varied("steep", -2, 1)) * walk.learning_rate * 10
        steep *= np.where(self.own.random(length) < self.like("upside down", 0, 0.3) ** 2, -1, 1)
        loss = steep[:, None] * (ALPHA - centre[:, None]) ** 2
        loss += self.like("third", -1, 1) * (ALPHA - 0.3) ** 3
        bumps = self.own.random(length) < max(0, self.like("bumps", -0.2, 0.4))
        loss += (bumps * np.exp(self.own.normal(size=length)))[:, None] * np.sin(np.pi * ALPHA)
        rough = self.like("rough", -0.1, 0.1)
        loss += max(0, rough) * self.own.normal(size=loss.shape)
        rises = self.like("rises", -1, 0.3) + self.own.normal(size=length) * self.like("up", 0, 1)
        floor = 1 + np.exp(0.1 * np.cumsum(rises[: len(steps)]))
        rows = np.full((length, len(ALPHA)), np.nan)
        rows[steps] = loss[steps] - loss[steps].min(axis=1, keepdims=True) + floor[:, None]
        whole = np.zeros(length, dtype=bool)
        whole[steps[::2]] = drawn
        seen = self.own.random(rows.shape) < 0.4
        seen[:, [0, 5, -1]] = True
        seen = (seen | whole[:, None]) & np.isfinite(rows)
        error = np.exp(self.varied("error", -3, 3) + self.own.normal(size=rows.shape))
        found |= {"loss": rows, "measured": seen, "second_difference_error": error}
        found |= {"loss_error": np.zeros(length), "barrier_error": np.full(length, 0.01)}
        found["batch_height"] = np.ones((length, 10))
        if drawn:
            stretch = np.full(length, np.nan)
            stretch[steps] = np.resize([0, 0, 1, 1], len(steps))
            found |= {"stretch": stretch, "whole": whole}
        return found


@cache
def planned():
    """Groups of walks, as in the protocol."""
    return groups("overnight")


@pytest.fixture
def counts_made_walks(monkeypatch):
    """The protocol has one commit, which most made walks name."""
    monkeypatch.setattr("valleywalk.paper.ledger.protocol_commits", lambda: [COMMIT])


# What is looked at at small p-values is no number for a ratio whose seeds differ much.
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.usefixtures("counts_made_walks")
class TestMadeWalks:
    def test_each_claim_is_found_the_same_by_both_ledgers(self, tmp_path):
        """In one ledger that has of everything: verdicts, absent premises, unusable numbers."""
        made = Made(0, tmp_path)
        _, rows = compared(made, made.traces.get, [COMMIT], seeds=4)
        claims = {claim["id"] for claim in WRITTEN["claims"] if claim["subjects"]}
        assert {row.claim for row in rows if row.p_value is not None} == claims == {*STATISTICS}
        assert {row.verdict for row in rows} == {*VERDICTS}
        assert {row.claim for row in rows if row.absent} == {
            claim["id"] for claim in WRITTEN["claims"] if claim["premises"]
        }
        assert any(row.absent and row.p_value is not None for row in rows)
        assert any(row.complete and 2 * len(row.absent) == row.planned for row in rows)
        decided = {row.claim for row in rows if row.verdict in ("supported", "contradicted")}
        assert any(claim.outside for claim in CLAIMS if claim.id in decided)
        assert any(row.numbers.keys() - row.seeds for row in rows)
        assert any(row.complete for row in rows)
        assert not all(row.complete for row in rows)

    @pytest.mark.parametrize("number", range(4))
    def test_rows_are_found_the_same_by_both_ledgers(self, number, tmp_path):
        """Some groups of walks of each of several random ledgers."""
        made = Made(100 + number, tmp_path, share=0.1)
        compared(made, made.traces.get, [COMMIT])

    def test_seeds_that_are_all_alike_are_found_the_same_by_both_ledgers(self, tmp_path):
        made = Made(43, tmp_path, share=0.3)
        assert made.alike
        _, rows = compared(made, made.traces.get, [COMMIT], seeds=3)
        assert any(row.seeds and row.interval is None for row in rows)

    def test_files_are_read_the_same_by_both_ledgers(self, tmp_path, capsys):
        made = Made(16, tmp_path)
        for subject, page in (
            ("vgg11 on tiny-imagenet", "GradientDescentWalk"),
            ("vgg11 on tiny-imagenet", "StochasticTwin"),
            ("mlp", "BarriersByEpoch"),
            ("mlp", "NoiseStructure"),
        ):
            (by_seed,) = (
                pages[page] for name, pages in planned() if name == subject and page in pages
            )
            for (walk,) in by_seed.values():
                trace = made.traces[walk.hash]
                # A file that says the settings of another one is refused by ours.
                if experiment_of(trace) == walk:
                    save(trace, tmp_path / f"{walk.hash}.nc")
        _, rows = compared(Store(tmp_path, tmp_path), opener([tmp_path]), [COMMIT])
        assert len(rows) == 13
        main([str(tmp_path), "--commits", COMMIT])
        assert len(capsys.readouterr().out.splitlines()) == len(rows)


@pytest.mark.slow
def test_recorded_walks_are_found_the_same_by_both_ledgers(tmp_path):
    found, _ = compared(Store(tmp_path, TRACES), opener([TRACES]), protocol_commits())
    assert_decides_what_is_walked_and_nothing_else(found)


def assert_decides_what_is_walked_and_nothing_else(found):
    """Each number can be computed from the walks that come with the project."""
    claims = {claim.id: claim for claim in CLAIMS}
    planned = {(c.id, name) for c in CLAIMS if not c.tested_on for name in c.subjects}
    rows = [(finding.id, finding.subject) for finding in found]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= planned
    for finding in found:
        whole = not any("nothing is decided before the last" in note for note in finding.notes)
        assert whole or finding.verdict == "inconclusive", finding
        assert finding.estimate is None or math.isfinite(finding.estimate)
        assert (
            finding.seeds
            <= finding.seeds_planned
            == len(SUBJECTS[finding.subject].planned_seeds("overnight"))
        )
        assert (finding.kind == "primary") == (finding.subject in claims[finding.id].primary)
    found += findings_without_walks()
    table = ledger_table(found)
    assert table.count("\n") == len({finding.id for finding in found}) + 1
    assert json.loads(json.dumps(as_objects(found), allow_nan=False))


def test_the_second_ledger_imports_nothing_of_the_first():
    source = (Path(__file__).parent / "independent_ledger.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"h5py", "numpy"}
