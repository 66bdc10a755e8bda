"""Every reader, on files in the original layout that the tests write."""

import dataclasses
import gzip
import hashlib
import pickle
import re
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from valleywalk.folders import datasets_folder
from valleywalk.torchvision_compat import torchvision
from valleywalk.walks.catalogue import DATASETS
from valleywalk.walks.datasets import READERS, DatasetError, downloaded, embedded, folder, load


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


# Embedded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "train", "validation"),
    [
        ("photos", (3, 32, 32), 5000, 1000),
        ("photos64", (3, 64, 64), 5000, 1000),
        ("mnist5k", (1, 28, 28), 4000, 1000),
    ],
)
def test_embedded_data_sets(name, shape, train, validation):
    data = load(name)
    assert data.name == name
    assert data.train_images.shape == (train, *shape)
    assert data.validation_images.shape == (validation, *shape)
    assert data.train_images.dtype == torch.uint8
    for labels in (data.train_labels, data.validation_labels):
        assert set(labels.tolist()) == set(range(10))
    # Any first part is balanced enough to train on.
    assert torch.bincount(data.train_labels[:500]).min() > 25
    assert data.hash == load(name).hash


def test_golden_pixels():
    assert load("photos").hash == "2f3a080ae2d6fa50"
    assert load("mnist5k").hash == "4e84212e8acc630c"


def test_photos_validation_crops_share_no_pixel_with_training_crops(monkeypatch):
    """Each pixel of a marked photograph says its column: the two splits never meet."""
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (120, 200, 3))
    monkeypatch.setattr(embedded, "_photographs", lambda: {"a": columns, "b": columns})
    data = embedded.photos.__wrapped__(32, 50, 20)
    assert data.train_images.max() < 150 <= data.validation_images.min()


def test_mnist5k_splits_are_disjoint():
    data = load("mnist5k")
    train = {image.numpy().tobytes() for image in data.train_images}
    assert len(train) == 4000
    assert not train & {image.numpy().tobytes() for image in data.validation_images}


def test_normalise():
    data = load("photos")
    out = data.normalise(data.train_images[:2])
    expected = (data.train_images[:2].double() / 255 - torch.tensor(data.mean).view(1, 3, 1, 1)) / (
        torch.tensor(data.std).view(1, 3, 1, 1)
    )
    assert out.dtype == torch.float32
    assert torch.allclose(out.double(), expected, atol=1e-5)


def test_first_images():
    data = load("mnist5k")
    assert torch.equal(data.first(10).train_labels, data.train_labels[:10])
    assert data.first(None) is data
    with pytest.raises(DatasetError, match="choose at most 4000"):
        data.first(4001)


# MNIST and CIFAR-10 ------------------------------------------------------------------------------


def write_mnist(folder, random, counts=(60, 10), size=28):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in zip(("train", "t10k"), counts, strict=True):
        pixels = random.integers(0, 256, (count, size, size), dtype=np.uint8)
        header = struct.pack(">IIII", 2051, count, size, size)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, count) + labels.tobytes()
        )
    return raw


def test_mnist_splits(tmp_path, random):
    raw = write_mnist(tmp_path, random)
    data = downloaded.mnist(tmp_path, False, (60, 10))
    pixels = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    pixels = pixels.reshape(60, 1, 28, 28)
    assert (data.train_images.numpy() == pixels[:45]).all()
    assert (data.validation_images.numpy() == pixels[50:]).all()
    assert data.train_labels.tolist() == [i % 10 for i in range(45)]


def test_mnist_of_another_size_is_refused(tmp_path, random):
    write_mnist(tmp_path, random)
    with pytest.raises(DatasetError, match="has 60 images where 60000 are expected"):
        load("mnist", folder=tmp_path)


def test_truncated_mnist(tmp_path, random):
    raw = write_mnist(tmp_path, random)
    file = raw / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="damaged"):
        downloaded.mnist(tmp_path, False, (60, 10))


def test_packed_mnist_is_unpacked_if_intact(tmp_path, random, monkeypatch):
    raw = write_mnist(tmp_path, random)
    resources = []
    for file in sorted(raw.iterdir()):
        packed = gzip.compress(file.read_bytes())
        (raw / f"{file.name}.gz").write_bytes(packed)
        resources.append((f"{file.name}.gz", hashlib.md5(packed).hexdigest()))
        file.unlink()
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    assert len(downloaded.mnist(tmp_path, False, (60, 10)).train_labels) == 45
    for file in raw.glob("*ubyte"):
        file.unlink()
    broken = raw / resources[0][0]
    broken.write_bytes(broken.read_bytes()[:-5])
    with pytest.raises(DatasetError, match="wrong MD5"):
        downloaded.mnist(tmp_path, False, (60, 10))


@pytest.fixture
def cifar10(tmp_path, random, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    reader = torchvision.datasets.CIFAR10

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(count):
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": [i % 10 for i in range(count)]}

    lists = [write(f"data_batch_{i}", batch(10)) for i in range(1, 6)]
    monkeypatch.setattr(reader, "train_list", lists)
    monkeypatch.setattr(reader, "test_list", [write("test_batch", batch(10))])
    name, md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    meta = {"filename": name, "key": "label_names", "md5": md5}
    monkeypatch.setattr(reader, "meta", meta)
    return tmp_path


def test_cifar10_splits(cifar10):
    data = downloaded.cifar10(cifar10, False, 50)
    pixels = np.concatenate(
        [
            pickle.loads((cifar10 / "cifar-10-batches-py" / f"data_batch_{i}").read_bytes())["data"]
            for i in range(1, 6)
        ]
    ).reshape(50, 3, 32, 32)
    assert (data.train_images.numpy() == pixels[:45]).all()
    assert (data.validation_images.numpy() == pixels[45:]).all()
    assert data.classes == tuple("abcdefghij")


def test_truncated_cifar10_is_never_unpickled(cifar10):
    file = cifar10 / "cifar-10-batches-py" / "data_batch_3"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DatasetError, match="--download"):
        downloaded.cifar10(cifar10, False, 50)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("mnist", "mnist5k"), ("cifar10", "photos"), ("tiny-imagenet", "photos64")],
)
def test_a_missing_data_set_says_how_to_get_it(tmp_path, name, instead):
    with pytest.raises(DatasetError) as caught:
        load(name, folder=tmp_path)
    for part in (f"valleywalk data {name} --download", str(tmp_path), repr(instead)):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unknown_name():
    with pytest.raises(DatasetError, match="did you mean 'cifar10'"):
        load("cifar-10")


# Folders -----------------------------------------------------------------------------------------


def write_folder(root, random, size=8, train=6, validation=2, classes=("cat", "dog")):
    for split, count in (("train", train), ("val", validation)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i:03}.png")
    return root


def test_folder(tmp_path, random):
    root = write_folder(tmp_path, random)
    data = load(f"folder:{root}")
    assert data.classes == ("cat", "dog")
    assert data.train_images.shape == (12, 3, 8, 8)
    assert sorted(data.train_labels.tolist()) == [0] * 6 + [1] * 6
    assert data.train_labels.tolist() != [0] * 6 + [1] * 6, "shuffled, so that a part is balanced"
    assert data.validation_labels.tolist() == [0, 0, 1, 1]
    pixels = np.asarray(Image.open(root / "val" / "dog" / "001.png")).transpose(2, 0, 1)
    assert (data.validation_images[3].numpy() == pixels).all()


def test_decoded_images_are_cached_until_a_file_changes(tmp_path, random, monkeypatch):
    monkeypatch.setattr(folder, "RECENT", 0)
    root = write_folder(tmp_path, random)
    first = load(f"folder:{root}")
    decode = folder._decode
    monkeypatch.setattr(folder, "_decode", lambda *a: pytest.fail("decoded again"))
    assert load(f"folder:{root}").hash == first.hash
    monkeypatch.setattr(folder, "_decode", decode)
    Image.new("RGB", (8, 8), "red").save(root / "train" / "cat" / "000.png")
    assert load(f"folder:{root}").hash != first.hash


def test_a_damaged_cache_is_made_again(tmp_path, random):
    root = write_folder(tmp_path, random)
    first = load(f"folder:{root}")
    (cache,) = (datasets_folder() / "decoded").iterdir()
    cache.write_bytes(cache.read_bytes()[:100])
    assert load(f"folder:{root}").hash == first.hash


def test_grey_images_become_rgb(tmp_path, random):
    root = write_folder(tmp_path, random)
    Image.new("L", (8, 8), 77).save(root / "val" / "cat" / "000.png")
    assert (load(f"folder:{root}").validation_images[0] == 77).all()


def test_sizes_that_differ(tmp_path, random):
    root = write_folder(tmp_path, random)
    Image.new("RGB", (10, 6)).save(root / "val" / "cat" / "000.png")
    with pytest.raises(DatasetError, match="set image_size"):
        load(f"folder:{root}")
    assert load(f"folder:{root}", image_size=6).train_images.shape == (12, 3, 6, 6)


def test_truncated_image(tmp_path, random):
    root = write_folder(tmp_path, random)
    file = root / "train" / "dog" / "002.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"dog/002\.png is not a readable image"):
        load(f"folder:{root}")
    assert not (datasets_folder() / "decoded").exists()


def test_folders_that_are_none(tmp_path, random):
    with pytest.raises(DatasetError, match="there is no folder"):
        load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(DatasetError, match="no folder 'train'"):
        load(f"folder:{tmp_path}")
    (tmp_path / "train" / "one").mkdir(parents=True)
    with pytest.raises(DatasetError, match="at least 2"):
        load(f"folder:{tmp_path}")
    (tmp_path / "train" / "two").mkdir()
    with pytest.raises(DatasetError, match="no validation images"):
        load(f"folder:{tmp_path}")
    (tmp_path / "test" / "three").mkdir(parents=True)
    with pytest.raises(DatasetError, match="'three'"):
        load(f"folder:{tmp_path}")
    (tmp_path / "test" / "three").rmdir()
    with pytest.raises(DatasetError, match="no training images"):
        load(f"folder:{tmp_path}")


@pytest.fixture
def tiny_imagenet(tmp_path, random, monkeypatch):
    """Three classes in place of 200, of four and one images."""
    small = dataclasses.replace(DATASETS["tiny-imagenet"], classes=3, each=(4, 1))
    monkeypatch.setitem(DATASETS, "tiny-imagenet", small)
    root = tmp_path / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    for wnid in wnids:
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(4):
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
    (root / "val" / "images").mkdir(parents=True)
    rows = []
    for i, wnid in enumerate(["n02", "n03", "n01"]):
        Image.new("L", (64, 64), 50 * i).save(root / "val" / "images" / f"val_{i}.JPEG")
        rows.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("\n".join(wnids))
    return tmp_path


def test_tiny_imagenet_layout(tiny_imagenet):
    data = load("tiny-imagenet", folder=tiny_imagenet)
    assert data.classes == ("n03", "n01", "n02")
    assert data.train_images.shape == (12, 3, 64, 64)
    assert data.validation_labels.tolist() == [2, 0, 1]
    assert data.validation_images[:, 0, 0, 0].tolist() == pytest.approx([0, 50, 100], abs=2)


def test_first_classes_of_tiny_imagenet(tiny_imagenet):
    data = load("tiny-imagenet", classes=2, folder=tiny_imagenet)
    assert data.classes == ("n03", "n01")
    assert len(data.train_labels) == 8
    assert data.validation_labels.tolist() == [0, 1]
    with pytest.raises(DatasetError, match="has 3"):
        load("tiny-imagenet", classes=4, folder=tiny_imagenet)


def test_annotations_that_do_not_fit(tiny_imagenet):
    file = tiny_imagenet / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    text = file.read_text()
    file.write_text(text + "val_9.JPEG\tn01\n")
    with pytest.raises(DatasetError, match=r"val_9\.JPEG is listed"):
        load("tiny-imagenet", folder=tiny_imagenet)
    file.write_text(text + "val_9.JPEG\tn99\n")
    with pytest.raises(DatasetError, match="without a file and a class"):
        load("tiny-imagenet", folder=tiny_imagenet)


@pytest.mark.parametrize("remove", ["train/n02", "train/n02/images/n02_3.JPEG", "val", "wnids.txt"])
def test_a_part_of_tiny_imagenet_is_not_the_whole(tiny_imagenet, remove):
    root = tiny_imagenet / "tiny-imagenet-200"
    if (root / remove).is_dir():
        shutil.rmtree(root / remove)
    else:
        (root / remove).unlink()
    with pytest.raises(DatasetError):
        load("tiny-imagenet", folder=tiny_imagenet)


def test_some_classes_of_tiny_imagenet_are_not_all_of_them(tiny_imagenet, monkeypatch):
    more = dataclasses.replace(DATASETS["tiny-imagenet"], classes=4)
    monkeypatch.setitem(DATASETS, "tiny-imagenet", more)
    with pytest.raises(DatasetError, match=r"classes is 4, but .* has 3; choose at most 3"):
        load("tiny-imagenet", folder=tiny_imagenet)
    asked = load("tiny-imagenet", classes=3, folder=tiny_imagenet)
    hashes = {3: asked.hash[::-1]}
    monkeypatch.setitem(DATASETS, "tiny-imagenet", dataclasses.replace(more, hashes=hashes))
    with pytest.raises(DatasetError, match=f"not the images.*{asked.hash}, not {hashes[3]}"):
        load("tiny-imagenet", classes=3, folder=tiny_imagenet)
    assert len(load("tiny-imagenet", classes=2, folder=tiny_imagenet).classes) == 2


def take_for(name, refusal, monkeypatch):
    """From now on the images that were refused are the data set's."""
    found = re.search("labels is ([0-9a-f]{16})", str(refusal)).group(1)
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], hash=found))


@pytest.fixture
def all_of_cifar10(monkeypatch):
    """CIFAR-10's files as torchvision reads them, the first pixels of an image being its number."""

    def opened(count):
        data = np.zeros((count, 32, 32, 3), np.uint8)
        data[:, 0, 0, 0] = np.arange(count) // 256
        data[:, 0, 0, 1] = np.arange(count) % 256
        return SimpleNamespace(data=data, targets=[i % 10 for i in range(count)])

    def files(*given):
        return opened(50_000), opened(10_000)

    monkeypatch.setattr(downloaded, "_open_torchvision", files)


def test_cifar9k_is_picked_from_cifar10(all_of_cifar10, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="not the images of data set 'cifar9k'") as caught:
        load("cifar9k", folder=tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is kept of other images"
    take_for("cifar9k", caught.value, monkeypatch)
    loaded = load("cifar9k", folder=tmp_path)
    assert len(loaded.train_labels) == DATASETS["cifar9k"].training_images
    number = loaded.train_images[:, 0, 0, 0].long() * 256 + loaded.train_images[:, 1, 0, 0]
    assert number[[0, 3999, 4000, 5016, 5017, 8067]].tolist() == [
        *(0, 3999, 10_000, 11_016, 20_000, 41_016)
    ]
    assert (number % 10 == loaded.train_labels).all()
    assert loaded.validation_labels.tolist() == [i % 10 for i in range(1017)]

    def no_files(*given):
        raise AssertionError("read from its own file now")

    monkeypatch.setattr(downloaded, "_open_torchvision", no_files)
    assert load("cifar9k", folder=tmp_path).hash == loaded.hash
    np.savez(tmp_path / "cifar9k.npz", train_images=loaded.train_images.numpy())
    with pytest.raises(DatasetError, match=r"cifar9k.npz is not cifar9k \(.*; delete it"):
        load("cifar9k", folder=tmp_path)


@pytest.fixture
def cifar10_jpeg(tmp_path, random, monkeypatch):
    """Ten images a class in place of 5,000, their names counted up from 0."""
    monkeypatch.setattr(downloaded, "CIFAR10_JPEG_CLASS", 10)
    for name in downloaded.CIFAR10_CLASSES:
        folder = tmp_path / "cifar10-jpeg" / "train" / name
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:04}.jpg")
    with pytest.raises(DatasetError, match="not the images of data set") as caught:
        load("cifar10-jpeg", folder=tmp_path)
    take_for("cifar10-jpeg", caught.value, monkeypatch)
    return tmp_path


def test_cifar10_jpeg_splits(cifar10_jpeg, monkeypatch):
    data = load("cifar10-jpeg", folder=cifar10_jpeg)
    assert data.classes == downloaded.CIFAR10_CLASSES
    assert "recompressed as JPEG" in data.description
    assert data.train_images.shape == (90, 3, 32, 32)
    order = np.random.RandomState(0).permutation(90)
    assert data.train_labels.tolist() == [i // 9 for i in order]
    assert data.validation_labels.tolist() == list(range(10))

    def decoded(name, number):
        file = cifar10_jpeg / "cifar10-jpeg" / "train" / name / f"{number:04}.jpg"
        return np.asarray(Image.open(file)).transpose(2, 0, 1)

    for place in (0, 50, 89):
        label, number = divmod(int(order[place]), 9)
        expected = decoded(data.classes[label], number)
        assert (data.train_images[place].numpy() == expected).all()
    # Of each class the last tenth validates.
    assert (data.validation_images[2].numpy() == decoded("bird", 9)).all()
    monkeypatch.setattr(folder, "_decode", lambda *a: pytest.fail("decoded again"))
    assert load("cifar10-jpeg", folder=cifar10_jpeg).hash == data.hash


def test_other_pixels_are_not_cifar10_jpeg(cifar10_jpeg):
    root = cifar10_jpeg / "cifar10-jpeg"
    Image.new("RGB", (32, 32), "red").save(root / "train" / "frog" / "0003.jpg")
    with pytest.raises(DatasetError, match=f"other.*as 'folder:{root}'"):
        load("cifar10-jpeg", folder=cifar10_jpeg)


@pytest.mark.parametrize("download", [False, True])
def test_cifar10_jpeg_has_no_download(cifar10_jpeg, download):
    lost = cifar10_jpeg / "cifar10-jpeg" / "train" / "deer" / "0007.jpg"
    lost.unlink()
    with pytest.raises(DatasetError) as caught:
        load("cifar10-jpeg", folder=cifar10_jpeg, download=download)
    for part in (str(lost), "no download", "train/<class>/0000.jpg to 0009.jpg", "'cifar10'"):
        assert part in str(caught.value)
    assert "--download" not in str(caught.value)


def test_labels_out_of_range(monkeypatch, tmp_path):
    good = load("mnist5k")
    labels = good.train_labels.clone()
    labels[7] = 10
    damaged = dataclasses.replace(good, train_labels=labels)
    monkeypatch.setitem(READERS, "mnist5k", lambda: damaged)
    with pytest.raises(DatasetError, match="labels from 0 to 10, but 10 classes"):
        load("mnist5k")
