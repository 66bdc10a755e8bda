"""Which images a walk is on: the same wherever they lie, others where they were replaced."""

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from valleywalk import (
    DatasetError,
    Experiment,
    Resources,
    Store,
    TraceError,
    compute,
    open_trace,
    save,
    walk,
)
from valleywalk.cli import main
from valleywalk.folders import datasets_folder
from valleywalk.paper.claim import SUBJECTS
from valleywalk.paper.items import CLAIMS
from valleywalk.paper.ledger import findings
from valleywalk.paper.walks import GradientDescentWalk
from valleywalk.walks import cost
from valleywalk.walks import provenance as made_by
from valleywalk.walks.catalogue import DATASETS, dataset_info
from valleywalk.walks.datasets import load
from valleywalk.walks.identity import identified
from valleywalk.walks.provenance import experiment_of, provenance

FIELDS = {
    "model": "mlp",
    "width": 0.05,
    "batch_size": 10,
    "evaluation_batch_size": 10,
    "probed_iterations": 1,
}
HASH = "0123456789abcdef"


def write_images(root, seed=0, count=20, size=4, folders=("train/a", "train/b", "val/a", "val/b")):
    """Files whose size and time say nothing of their pixels."""
    random = np.random.default_rng(seed)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = root / folder / f"{number}.bmp"
            pixels = random.integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            os.utime(path, (1e9, 1e9))
    return root


def on(root, **fields):
    return Experiment(**FIELDS, dataset=f"folder:{root}", **fields)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache", tmp_path / "recorded")


@pytest.fixture
def no_walk(monkeypatch):
    """From now on nothing may be walked."""

    def switch_off():
        walked = "valleywalk.walks.walk.walk"
        monkeypatch.setattr(walked, lambda *a, **k: pytest.fail("walked"))

    return switch_off


# What an experiment is ---------------------------------------------------------------------------


def test_the_hash_of_the_images_stands_for_all_that_they_say():
    text = f'{{"data_hash":"{HASH}","model":"mlp","revision":1}}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    same = [
        Experiment(model="mlp", dataset="folder", data_hash=HASH),
        Experiment(model="mlp", dataset="folder:/here", data_hash=HASH),
        Experiment(model="mlp", dataset="folder:/there", data_hash=HASH, image_size=8, classes=3),
    ]
    assert {experiment.hash for experiment in same} == {expected}
    assert len(set(same)) == 1
    other = Experiment(model="mlp", dataset="folder", data_hash=HASH[::-1])
    assert other != same[0]
    assert other.hash != expected


def test_the_pixels_and_labels_are_hashed(tmp_path):
    """By hand, from the files."""
    root = write_images(tmp_path / "pictures", count=3)
    files = [(file, i) for i, c in enumerate("ab") for file in sorted(root.glob(f"train/{c}/*"))]
    files = [files[i] for i in np.random.RandomState(0).permutation(6)]
    validation = [(file, i) for i, c in enumerate("ab") for file in sorted(root.glob(f"val/{c}/*"))]
    digest = hashlib.sha256()
    for part in (files, validation):
        pixels = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file, _ in part])
        digest.update(b"(6, 3, 4, 4)" + pixels.tobytes())
        digest.update(b"(6,)" + np.array([label for _, label in part]).tobytes())
    found = identified(Experiment(model="mlp", dataset=f"folder:{root}"))
    assert (found.data_hash, found.image_size, found.classes) == (digest.hexdigest()[:16], 4, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "folder"}, "needs a path, as in folder:/data/my-images, or data_hash"),
        ({"dataset": "mnist", "data_hash": HASH}, "'mnist' is known by its name"),
        ({"dataset": "folder:a", "data_hash": "no hash"}, "data_hash"),
    ],
)
def test_impossible_identities_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(model="mlp", **fields)


def test_what_is_not_read_has_no_hash():
    with pytest.raises(ValueError, match="not read yet"):
        Experiment(model="mlp", dataset="folder:somewhere").hash  # noqa: B018


def test_which_classes_and_what_size_is_part_of_it(tmp_path):
    root = write_images(tmp_path, folders=[f"{s}/{c}" for s in ("train", "val") for c in "abc"])
    asked = [{}, {"classes": 2}, {"image_size": 2}]
    assert len({identified(on(root, **fields)).hash for fields in asked}) == 3
    assert identified(on(root, classes=3, image_size=4)) == identified(on(root))


def test_a_class_without_images_is_refused(tmp_path):
    root = write_images(tmp_path)
    (root / "train" / "c").mkdir()
    with pytest.raises(DatasetError, match="train/c has no training images"):
        identified(on(root))


def test_the_images_of_a_folder_are_counted_for_its_cost(tmp_path, store, monkeypatch, capsys):
    """Also in the processes that walk; how many they are is no part of what the experiment is."""
    root = write_images(tmp_path, count=30)
    guessed = Experiment(**FIELDS, dataset="folder", data_hash=identified(on(root)).data_hash)
    assert guessed.counted is None
    for experiment in (identified(on(root)), pickle.loads(pickle.dumps(identified(on(root))))):
        assert experiment.counted == (60, 60)
        assert (cost.training_images(experiment), cost.validation_images(experiment)) == (60, 60)
        assert cost.all_steps(experiment) == 6
        assert (experiment, experiment.hash) == (guessed, guessed.hash)
        assert cost.trace_bytes(experiment) < cost.trace_bytes(guessed)
    # A second for each image's forward pass, so that the time is said.
    monkeypatch.setattr(cost, "SLOWEST", 1.0)
    monkeypatch.setattr(cost, "image_seconds", lambda *network: 1.0)
    trace = store.get(on(root))
    seconds = cost.passes(identified(on(root))).total
    assert capsys.readouterr().err.startswith(f"1 walk, about {cost.duration(seconds)} in 1 ")
    assert len(trace["iteration"]) == 6
    assert "counted" not in trace.attrs["experiment"]


# Traces of folders -------------------------------------------------------------------------------


def test_the_same_images_elsewhere_are_the_same_walk(tmp_path, store, no_walk):
    root = write_images(tmp_path / "here")
    trace = store.get(on(root), progress=False)
    assert store.find(on(root)) == store.folder / f"{trace.experiment_hash}.nc"
    shutil.move(root, tmp_path / "there")
    no_walk()
    compute([on(tmp_path / "there")], store)
    assert store.get(on(tmp_path / "there")).identical(trace)
    with pytest.raises(DatasetError, match="there is no folder"):
        store.get(on(root))


def test_replaced_images_are_another_walk(tmp_path, store):
    """Also where the new files have the names, sizes and times of the old ones."""
    root = write_images(tmp_path / "pictures")
    before = store.get(on(root), progress=False)
    listed = [(path.stat().st_size, path.stat().st_mtime) for path in sorted(root.rglob("*.bmp"))]
    write_images(root, seed=1)
    assert listed == [
        (path.stat().st_size, path.stat().st_mtime) for path in sorted(root.rglob("*.bmp"))
    ]
    assert store.find(on(root)) is None
    after = store.get(on(root), progress=False)
    assert after.dataset_hash == load(f"folder:{root}").hash != before.dataset_hash
    assert after.experiment_hash != before.experiment_hash
    write_images(root)
    assert store.get(on(root), progress=False).identical(before), "those that were there first"


def test_the_path_is_kept_nowhere(tmp_path, store, capsys):
    root = write_images(tmp_path / "a-secret-place" / "pictures")
    store.get(on(root, epochs=2), keep_state=True, progress=False)

    def stop():
        raise KeyboardInterrupt

    # Stopped at once, with a checkpoint.
    with pytest.raises(KeyboardInterrupt):
        walk(
            on(root, epochs=3),
            progress=_after(2, stop),
            checkpoint=store.folder / "x.checkpoint",
            checkpoint_seconds=0,
        )
    kept = [path for path in store.folder.iterdir() if path.is_file()]
    assert {path.suffix for path in kept} == {".nc", ".state", ".checkpoint"}
    for path in kept:
        assert b"a-secret-place" not in path.read_bytes(), path
    trace = store.open(on(root, epochs=2))
    assert experiment_of(trace) == identified(on(root, epochs=2))
    assert "a-secret-place" not in provenance(trace) + provenance(trace, trace) + repr(trace.attrs)
    assert trace.attrs["dataset_description"].startswith("pictures: 2 classes")


def test_walks_made_by_several_versions_name_each_of_them():
    one = walk(Experiment(**FIELDS, dataset="mnist5k", training_images=60), progress=False)
    older = json.dumps(json.loads(one.attrs["versions"]) | {"torch": "2.9.0"})
    other = one.assign_attrs(versions=older)
    torch_version = json.loads(one.attrs["versions"])["torch"]
    assert f"; torch {torch_version}, 2.9.0, valleywalk " in provenance(one, other)
    assert f"; torch {torch_version}, valleywalk " in provenance(one, one)


def _after(steps, act):
    left = [steps]

    def step():
        left[0] -= 1
        if not left[0]:
            act()

    return step


def test_a_longer_walk_goes_on_from_a_shorter_one_elsewhere(tmp_path, store, capsys):
    store.get(on(write_images(tmp_path / "here")), keep_state=True, progress=False)
    longer = on(write_images(tmp_path / "there"), epochs=2)
    trace = store.get(longer)
    assert "goes on from" in capsys.readouterr().err
    assert trace.final_state_hash == walk(longer, progress=False).final_state_hash


def test_without_its_images_a_trace_opens_but_nothing_is_walked(tmp_path, store):
    root = write_images(tmp_path / "pictures")
    trace = store.get(on(root), progress=False)
    shutil.rmtree(root)
    for where in ("folder", f"folder:{root}"):
        known = Experiment(**FIELDS, dataset=where, data_hash=trace.whole_dataset_hash)
        assert store.get(known, progress=False).identical(trace)
    known = experiment_of(trace)
    with pytest.raises(DatasetError, match=r"known by their hash alone.* say where they lie"):
        store.get(known.model_copy(update={"seed": 1}), progress=False)


def test_a_walk_on_other_images_than_those_asked_for_is_refused(tmp_path, store):
    root = write_images(tmp_path / "pictures")
    asked = on(root, data_hash=HASH)
    found = identified(on(root)).data_hash
    with pytest.raises(DatasetError, match=f"holds other images.*{found}, not {HASH}"):
        store.get(asked, progress=False)
    assert store.find(asked) is None


def test_walks_in_processes_and_by_command_find_the_same_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path / "data"))
    roots = [write_images(tmp_path / name) for name in ("here", "there")]
    compute([on(root) for root in roots], Store(), Resources(processes=1), progress=False)
    (kept,) = Store().folder.glob("*.nc")
    asked = [f"--{name.replace('_', '-')}={value}" for name, value in FIELDS.items()]
    main(["walk", *asked, "--dataset", f"folder:{roots[1]}"])
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(kept)
    assert str(tmp_path) not in out.replace(str(kept), "")


def test_a_page_on_a_folder_of_images(tmp_path, monkeypatch):
    """It finds its walk again where the images were moved to, and its claims say no path."""
    root = write_images(tmp_path / "here", count=40)
    fields = {"scale": "smoke", "model": "mlp", "training_images": 60}
    before = GradientDescentWalk(**fields, dataset=f"folder:{root}").get_traces()
    moved = f"folder:{shutil.move(root, tmp_path / 'there')}"
    monkeypatch.setattr("valleywalk.walks.walk.walk", lambda *a, **k: pytest.fail("walked"))
    page = GradientDescentWalk(**fields, dataset=moved)
    assert [trace.experiment_hash for trace in page.get_traces()] == [
        trace.experiment_hash for trace in before
    ]
    claims = [claim for claim in CLAIMS if claim.pages == (GradientDescentWalk,)]
    found = findings("smoke", subjects=[SUBJECTS["mlp"]], seeds=1, claims=claims, given=page.given)
    assert {finding.dataset for finding in found} == {"folder"}


# Named data sets ---------------------------------------------------------------------------------


@pytest.fixture
def another_hash(monkeypatch):
    info = dataclasses.replace(DATASETS["mnist5k"], hash=HASH)
    monkeypatch.setitem(DATASETS, "mnist5k", info)


def test_other_images_under_a_known_name_are_refused(another_hash):
    with pytest.raises(DatasetError, match=f"not the images.*'mnist5k'.*, not {HASH}.*constraints"):
        load("mnist5k")


def test_hashes_in_the_catalogue():
    """Of all but what depends on the classes, and CIFAR-10, whose original files were not there."""
    unknown = {name for name, info in DATASETS.items() if info.hash is None}
    assert unknown == {"cifar10", "tiny-imagenet"}
    for name, info in DATASETS.items():
        if info.file is None:
            assert load(name).hash == info.hash


def test_a_trace_of_other_images_is_refused(store, monkeypatch):
    part = Experiment(**FIELDS, dataset="mnist5k", training_images=20)
    whole = Experiment(**FIELDS, dataset="mnist5k", probed_epochs=(), evaluate_every=0)
    for experiment in (part, whole):
        trace = store.get(experiment, progress=False)
        assert trace.whole_dataset_hash == dataset_info("mnist5k").hash
    assert trace.dataset_hash == trace.whole_dataset_hash

    def keep(experiment, **attributes):
        """With attributes other than it has; None: as traces were before."""
        path = store.find(experiment)
        attrs = {**open_trace(path).attrs, **attributes}
        changed = open_trace(path).drop_attrs()
        changed.attrs = {name: value for name, value in attrs.items() if value is not None}
        save(changed, path)

    keep(part, whole_dataset_hash=HASH)
    with pytest.raises(TraceError, match=f"other images: their hash is {HASH}, that of 'mnist5k'"):
        store.get(part)
    keep(part, whole_dataset_hash=None)
    assert store.open(part).training_images == 20, "an older one of a part opens"
    keep(whole, whole_dataset_hash=None)
    assert store.open(whole).training_images == 4000, "an older one of all is checked"
    keep(whole, dataset_hash=HASH)
    with pytest.raises(TraceError, match="other images"):
        store.open(whole)


def test_replaced_images_of_a_named_data_set_without_a_known_hash_are_noticed(store, monkeypatch):
    """As the first classes of Tiny-ImageNet, but for those whose hash the catalogue knows."""
    small = dataclasses.replace(DATASETS["tiny-imagenet"], classes=2, each=(20, 20), needs=())
    monkeypatch.setitem(DATASETS, "tiny-imagenet", dataclasses.replace(small, image_size=4))
    root = write_images(datasets_folder() / small.file)
    (root / "wnids.txt").write_text("a\nb\n")
    experiment = Experiment(**FIELDS, dataset="tiny-imagenet")
    trace = store.get(experiment, progress=False)
    assert store.get(experiment).identical(trace)
    write_images(root, seed=1)
    there = load("tiny-imagenet").hash
    with pytest.raises(TraceError, match=f"other images.*{trace.whole_dataset_hash}.*{there}"):
        store.get(experiment)
    assert store.get(experiment, recompute=True, progress=False).whole_dataset_hash == there
    shutil.rmtree(root)
    assert store.get(experiment).whole_dataset_hash == there, "nothing to compare it with"


# Commits -----------------------------------------------------------------------------------------


def test_the_protocols_commit(tmp_path, monkeypatch):
    def git(*words):
        own = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *own, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(made_by, "checkout", lambda: tmp_path)
    assert made_by.protocol_commit() == "unknown", "no repository"
    git("init")
    (tmp_path / "data").mkdir()
    commits = []
    for name in ("other", made_by.PROTOCOL, "other", made_by.PROTOCOL, "other"):
        with (tmp_path / name).open("a") as stream:
            stream.write("more\n")
        git("add", "-A")
        git("commit", "-m", name)
        commits.append((git("rev-parse", "--short=12", "HEAD"), made_by.protocol_commit()))
    (_, none), (first, same), (_, later), (second, at_once), (_, last) = commits
    assert (none, same, later, at_once, last) == ("unknown", first, first, second, second)
    assert made_by.protocol_commits() == [second, first]
    shallow = tmp_path / "shallow"
    git("clone", "--depth", "1", f"file://{tmp_path}", str(shallow))
    monkeypatch.setattr(made_by, "checkout", lambda: shallow)
    assert made_by.protocol_commits() is None, "a shallow clone knows no history"
    monkeypatch.setattr(made_by, "checkout", lambda: None)
    assert made_by.protocol_commit() == "unknown"
    assert made_by.protocol_commits() is None


def test_a_walk_keeps_the_protocols_commit_of_its_begin(tmp_path, monkeypatch):
    module = sys.modules["valleywalk.walks.walk"]
    experiment = Experiment(**FIELDS, dataset="mnist5k", training_images=60)
    file = tmp_path / "c"

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "protocol_commit", lambda: "aaa")
    assert "; protocol aaa)" in provenance(walk(experiment, progress=False))
    with pytest.raises(KeyboardInterrupt):
        walk(experiment, progress=_after(3, stop), checkpoint=file, checkpoint_seconds=0)
    monkeypatch.setattr(module, "protocol_commit", lambda: "bbb")
    assert walk(experiment, progress=False, checkpoint=file).protocol_commit == "aaa"
    assert walk(experiment, progress=False).protocol_commit == "bbb"
