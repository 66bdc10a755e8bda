"""Facts that hold for whatever experiments, segments and traces there are."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made import SAID
from pydantic import ValidationError

from valleywalk import Experiment, Store, TraceError, analysis, open_trace, save
from valleywalk.trace import assemble, sealed
from valleywalk.walks.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from valleywalk.walks.datasets import DatasetError, load
from valleywalk.walks.datasets.downloaded import mnist
from valleywalk.walks.provenance import experiment_of

# Experiments --------------------------------------------------------------------------------------

# Folders of images: two of them hold the same.
HASHES = {"folder:a b": "0" * 16, "folder:c": "0" * 16, "folder:d": "1" * 16}
FIELDS = {
    "model": st.sampled_from(["mlp", "vgg11", "resnet56"]),
    "dataset": st.sampled_from(
        ["mnist", "mnist5k", "photos", "cifar10", "cifar9k", "cifar10-jpeg", *HASHES]
    ),
    "update": st.sampled_from(["sgd", "gd"]),
    "learning_rate": st.floats(0, 10, exclude_min=True),
    "batch_size": st.integers(1, 6000),
    "schedule": st.sampled_from(["constant", "stepwise", "clr", "trapezoid"]),
    "noise_factor": st.floats(0, 1),
    "switch_epoch": st.none() | st.integers(1, 9),
    "switch_learning_rate": st.none() | st.floats(0.001, 1),
    "switch_batch_size": st.none() | st.integers(1, 600),
    "weight_decay": st.floats(0, 1),
    "width": st.floats(0, 4, exclude_min=True),
    "training_images": st.none() | st.integers(1, 6000),
    "evaluation_images": st.none() | st.integers(1, 6000),
    "epochs": st.integers(1, 10),
    "probed_epochs": st.none() | st.lists(st.integers(1, 12), max_size=4).map(tuple),
    "probed_iterations": st.none() | st.integers(1, 50),
    "points": st.integers(1, 40),
    "seed": st.integers(0, 2**63 - 1),
}
CHOICES = st.fixed_dictionaries(
    {name: FIELDS[name] for name in ("model", "dataset")},
    optional={name: values for name, values in FIELDS.items() if name not in ("model", "dataset")},
)


def experiment_from(choices):
    try:
        return Experiment(**choices, data_hash=HASHES.get(choices["dataset"]))
    except ValidationError:
        assume(False)


@given(CHOICES)
def test_an_experiment_comes_back_from_json_as_the_same(choices):
    experiment = experiment_from(choices)
    again = Experiment.model_validate_json(experiment.model_dump_json())
    assert again == experiment
    assert again.hash == experiment.hash
    assert len(experiment.hash) == 16
    assert set(experiment.hash) <= set("0123456789abcdef"), "a name that leads out of no folder"


@given(CHOICES, CHOICES)
def test_two_experiments_are_the_same_if_and_only_if_their_hashes_are(one, other):
    first, second = experiment_from(one), experiment_from(one | other)
    assert (first.hash == second.hash) == (first == second)


@given(CHOICES, st.integers(1, 300))
def test_what_is_probed_lies_in_the_walk(choices, steps):
    experiment = experiment_from(choices)
    total = steps * experiment.epochs
    probed = [t for t in range(total) if experiment.probes(t, steps)]
    if experiment.probed_epochs == ():
        assert probed == []
    elif experiment.probed_epochs is None:
        each = min(steps, experiment.probed_iterations or steps)
        assert len(probed) == experiment.epochs * each
    else:
        starts = {(epoch - 1) * steps for epoch in experiment.probed_epochs}
        assert starts <= set(probed)
    for epoch in range(1, experiment.epochs + 1):
        phase = experiment.phase(epoch)
        assert phase.learning_rate > 0
        assert phase.steps(6000) >= (phase.batch_size <= 6000)


@given(st.text(), st.text())
def test_unknown_names_are_refused_whatever_they_are(name, value):
    assume(name not in Experiment.model_fields)
    with pytest.raises(ValidationError, match="unknown parameter"):
        Experiment(model="mlp", dataset="mnist", **{name: value})


# Analysis -----------------------------------------------------------------------------------------

SEGMENTS = arrays(
    float,
    st.tuples(st.integers(1, 6), st.integers(3, 12)),
    elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 6)),
)


@given(SEGMENTS, st.floats(0.01, 100), st.floats(-100, 100))
def test_heights_scale_with_the_loss_and_do_not_see_its_zero(loss, factor, offset):
    changed = loss * factor + offset
    tolerance = 1e-9 * (1 + np.abs(changed).max())
    for measure in (analysis.height, analysis.barrier_height):
        assert np.allclose(measure(changed), measure(loss) * factor, rtol=1e-9, atol=tolerance)
    assert np.allclose(analysis.floor(changed), analysis.floor(loss) * factor + offset)


@given(SEGMENTS)
def test_a_segment_walked_backwards_has_the_same_height_and_barriers(loss):
    backwards = loss[:, ::-1]
    assert (analysis.height(backwards) == analysis.height(loss)).all()
    assert (analysis.has_interior_minimum(backwards) == analysis.has_interior_minimum(loss)).all()
    for definition in ("both", "either"):
        assert (
            analysis.barriers(backwards, definition) == analysis.barriers(loss, definition)
        ).all()


@given(SEGMENTS, st.integers(0, 6))
def test_segments_do_not_see_each_other(together, border):
    one, other = together[:border], together[border:]
    for measure in (analysis.floor, analysis.height, analysis.is_convex, analysis.barriers):
        apart = np.concatenate([measure(one), measure(other)])
        assert (measure(together) == apart).all()


@given(SEGMENTS)
def test_a_convex_segment_crosses_no_barrier(loss):
    convex = analysis.is_convex(loss)
    assert not (convex & analysis.barriers(loss, threshold=1e-9)).any()
    assert (analysis.barrier_height(loss, "either") >= analysis.barrier_height(loss)).all()
    # Each interior minimum lies on the floor.
    assert (analysis.height(loss)[analysis.has_interior_minimum(loss)] > 0).all()


# The store ----------------------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=25)
@given(
    st.lists(st.dictionaries(st.sampled_from(["cosine", "distance", "own"]), NUMBERS), max_size=5),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
)
def test_any_trace_comes_back_as_it_was(tmp_path_factory, records, note):
    path = tmp_path_factory.mktemp("traces") / "trace.nc"
    trace = assemble(records, np.linspace(0, 1, 3), attributes={"note": note})
    save(trace, path)
    assert open_trace(path).identical(trace)


@settings(max_examples=25)
@given(CHOICES)
def test_the_store_finds_what_is_there_and_nothing_else(tmp_path_factory, choices):
    experiment = experiment_from(choices)
    store = Store(tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("recorded"))
    assert store.find(experiment) is None
    attributes = SAID | {
        "experiment": experiment.model_dump_json(),
        "experiment_hash": experiment.hash,
    }
    path = store.folder / f"{experiment.hash}.nc"
    steps = [{"cosine": 0.5, "distance": 1.0}]
    save(assemble(steps, np.linspace(0, 1, 3), attributes=attributes), path)
    assert store.find(experiment) == path
    assert experiment_of(store.get(experiment)) == experiment
    other = experiment.model_copy(update={"seed": experiment.seed ^ 1})
    assert store.find(other) is None
    path.rename(store.folder / f"{other.hash}.nc")
    with pytest.raises(TraceError, match=f"holds experiment {experiment.hash}, not {other.hash}"):
        store.get(other)


# Damaged and hostile files ------------------------------------------------------------------------

DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.binary(max_size=0)),
    st.tuples(st.just("over"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1)),
    st.tuples(st.just("into"), st.floats(0, 1), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("all"), st.just(0.0), st.binary(max_size=300)),
)


def damaged(content, damage):
    how, where, put = damage
    at = int(where * len(content))
    return {
        "cut": content[:at],
        "over": content[:at] + put + content[at + len(put) :],
        "into": content[:at] + put + content[at:],
        "all": put,
    }[how]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    save(assemble([{"cosine": 0.5}], np.linspace(0, 1, 3)), folder / "trace.nc")
    import torch

    tensors = {"weights": torch.arange(6.0)}
    save_checkpoint(folder / "walk.checkpoint", tensors, {"step": 3}, {"torch": "1"})
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@given(damage=DAMAGE)
def test_a_damaged_trace_is_refused_and_left_alone(good, tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("bad") / "trace.nc"
    whole = (good / "trace.nc").read_bytes()
    path.write_bytes(damaged(whole, damage))
    assume(path.read_bytes() != whole)
    before = contents(path.parent)
    with pytest.raises(TraceError, match="its checksum does not fit"):
        open_trace(path)
    assert contents(path.parent) == before


@settings(max_examples=40)
@given(content=st.binary(max_size=400))
def test_a_sealed_file_that_is_no_trace_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bad") / "trace.nc"
    path.write_bytes(sealed(content))
    with pytest.raises(TraceError, match="is no trace of valleywalk"):
        open_trace(path)


def test_a_netcdf_file_of_others_is_refused(tmp_path):
    path = tmp_path / "trace.nc"
    xr.Dataset({"x": ("t", [1.0])}).to_netcdf(path, engine="h5netcdf")
    path.write_bytes(sealed(path.read_bytes()))
    with pytest.raises(TraceError, match="is no trace of valleywalk"):
        open_trace(path)


@given(damage=DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_left_alone(good, tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("bad") / "walk.checkpoint"
    whole = (good / "walk.checkpoint").read_bytes()
    path.write_bytes(damaged(whole, damage))
    assume(path.read_bytes() != whole)
    before = contents(path.parent)
    with pytest.raises(CheckpointError, match="is damaged, or no checkpoint of valleywalk"):
        load_checkpoint(path, {"torch": "1"})
    assert contents(path.parent) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
)


@given(JSON | st.fixed_dictionaries({"model": JSON, "dataset": JSON}))
def test_any_json_is_an_experiment_or_refused(content):
    try:
        text = json.dumps(content)
        experiment = Experiment.model_validate_json(text)
    except ValidationError:
        return
    assert experiment.dataset.startswith("folder:") or experiment.dataset in text


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An image folder, a picture of each kind in it."""
    from PIL import Image

    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for suffix in ("png", "jpg", "bmp", "gif", "webp", "ppm"):
                image = Image.fromarray(random.integers(0, 255, (8, 8, 3)).astype(np.uint8))
                image.save(root / split / name / f"0.{suffix}")
    return root


@settings(max_examples=60)
@given(damage=DAMAGE, suffix=st.sampled_from(["png", "jpg", "bmp", "gif", "webp", "ppm"]))
def test_a_damaged_picture_is_read_or_refused_by_name(
    pictures, tmp_path_factory, monkeypatch_module, damage, suffix
):
    """Some damage leaves a picture; none breaks the reader or writes beside its cache."""
    monkeypatch_module.setenv("VALLEYWALK_DATA", str(tmp_path_factory.mktemp("data")))
    path = pictures / "train" / "a" / f"0.{suffix}"
    whole = path.read_bytes()
    try:
        path.write_bytes(damaged(whole, damage))
        before = contents(pictures)
        said = str(path)
        try:
            loaded = load(f"folder:{pictures}", image_size=8)
            assert loaded.train_images.shape[1:] == (3, 8, 8)
        except DatasetError as error:
            said = str(error)
        assert str(path) in said
        assert contents(pictures) == before
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The files of a very small MNIST."""
    folder = tmp_path_factory.mktemp("digits") / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count in (("train", 12), ("t10k", 2)):
        images, labels = bytes(range(count)) * 784, bytes(n % 10 for n in range(count))
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images)
        header = np.array([0x801, count], ">i4").tobytes()
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(header + labels)
    return folder


@given(damage=DAMAGE, name=st.sampled_from(["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]))
def test_damaged_digits_are_read_or_refused(digits, damage, name):
    whole = (digits / name).read_bytes()
    try:
        (digits / name).write_bytes(damaged(whole, damage))
        before = contents(digits)
        try:
            loaded = mnist(digits.parents[1], False, counts=(12, 2))
            assert loaded.train_images.shape == (9, 1, 28, 28)
            said = "mnist"
        except DatasetError as error:
            said = str(error)
        assert "mnist" in said
        assert contents(digits) == before
    finally:
        (digits / name).write_bytes(whole)


class Bomb:
    """Unpickling it leaves a file: then somebody's code was run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_pickle_is_executed_whichever_file_it_hides_in(tmp_path, monkeypatch):
    import pickle

    import torch

    trap = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(trap))
    data = tmp_path / "data"
    monkeypatch.setenv("VALLEYWALK_DATA", str(data))
    files = [
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
        "MNIST/raw/train-images-idx3-ubyte",
        "MNIST/raw/train-labels-idx1-ubyte",
        "MNIST/raw/t10k-images-idx3-ubyte",
        "MNIST/raw/t10k-labels-idx1-ubyte",
    ]
    for name in files:
        (data / "datasets" / name).parent.mkdir(parents=True, exist_ok=True)
        (data / "datasets" / name).write_bytes(bomb)
    np.savez(data / "datasets" / "cifar9k.npz", train_images=np.array([Bomb(trap)], dtype=object))
    for name in ("cifar10", "mnist", "cifar9k"):
        with pytest.raises(DatasetError):
            load(name)
    torch.save({"weights": Bomb(trap)}, tmp_path / "walk.checkpoint")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "walk.checkpoint", {})
    (tmp_path / "trace.nc").write_bytes(sealed(bomb))
    with pytest.raises(TraceError):
        open_trace(tmp_path / "trace.nc")
    assert not trap.exists()
    pickle.loads(bomb)
    assert trap.exists(), "the trap works"


def test_an_archive_that_is_not_the_known_one_is_not_unpacked(tmp_path, monkeypatch):
    """Its checksum is looked at first, so that no name in it can lead out of the folder."""
    import zipfile

    from valleywalk.torchvision_compat import torchvision

    archive = tmp_path / "hostile.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../outside", "out of the folder")
        opened.writestr("tiny-imagenet-200/train/a/0.png", "no image")

    def fetch(url, root, filename):
        assert url.startswith("https://")
        (Path(root) / filename).write_bytes(archive.read_bytes())

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fetch)
    folder = tmp_path / "datasets"
    with pytest.raises(DatasetError, match=r"another file: its SHA-256 is [0-9a-f]{64}, not 61"):
        load("tiny-imagenet", folder=folder, download=True)
    assert not (tmp_path / "outside").exists()
    assert list(folder.iterdir()) == []


def test_the_known_archive_is_unpacked_whole(tmp_path, monkeypatch):
    import zipfile

    from valleywalk.torchvision_compat import torchvision
    from valleywalk.walks.datasets import downloaded

    def fetch(url, root, filename):
        with zipfile.ZipFile(Path(root) / filename, "w") as opened:
            opened.writestr("tiny-imagenet-200/wnids.txt", "n01")
        content = (Path(root) / filename).read_bytes()
        known = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(downloaded, "TINY_IMAGENET_SHA256", known)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fetch)
    with pytest.raises(DatasetError, match="there is no train"):
        load("tiny-imagenet", folder=tmp_path, download=True)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-imagenet-200"]
    assert (tmp_path / "tiny-imagenet-200" / "wnids.txt").read_text() == "n01"
