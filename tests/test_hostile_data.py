"""Folders of images that were made to be misread: each is read as it is, or refused by name."""

import io
import os
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from valleywalk.folders import datasets_folder
from valleywalk.show import where_it_is
from valleywalk.walks.catalogue import DATASETS
from valleywalk.walks.datasets import DatasetError, folder, folder_files, load
from valleywalk.walks.datasets.dataset import ArraysError, read_arrays

RANDOM = np.random.default_rng(0)


def write(path, size=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 255, (size, size, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes of two images, and one of each for validation, in class folders."""
    root = tmp_path / "pictures"
    for name in "ab":
        write(root / "train" / name / "0.png")
        write(root / "train" / name / "1.png")
        write(root / "val" / name / "0.png")
    return root


@pytest.fixture
def listed(root):
    """The same, its validation images listed as in Tiny-ImageNet."""
    for name in "ab":
        (root / "val" / "images").mkdir(exist_ok=True)
        (root / "val" / name / "0.png").rename(root / "val" / "images" / f"{name}.png")
        (root / "val" / name).rmdir()
    annotate(root, "a.png\ta\nb.png\tb\n")
    (root / "wnids.txt").write_text("b\na\n")
    return root


def annotate(root, text):
    (root / "val" / "val_annotations.txt").write_bytes(text.encode(errors="surrogateescape"))


def test_it_is_read_as_it_is_listed(listed):
    assert load(f"folder:{listed}").classes == ("b", "a")
    assert load(f"folder:{listed}").validation_labels.tolist() == [1, 0]
    annotate(listed, "\ufeffb.png\tb\t0\t0\r\n\r\na.png\ta\r\n")
    assert load(f"folder:{listed}").validation_labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("b\na\nb\n", "lists class 'b' 2 times"),
        ("b\na\na\na\n", "lists class 'a' 3 times"),
        ("b\na\nc\n", "lists class 'c', which"),
        ("b\n", "has a class 'a' that"),
        ("", "has a class 'a' that"),
        ("../train/b\na\n", "lists class '../train/b', which"),
        ("b a\n", "lists class 'b a', which"),
        ("b\na\n\udcff\n", "cannot be read as text"),
    ],
)
def test_an_order_of_classes_that_is_none(listed, text, said):
    (listed / "wnids.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match=said):
        load(f"folder:{listed}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png\ta\nb.png\tb\n/outside.png\ta\n", "'/outside.png', which is no name of a file"),
        ("a.png\ta\nb.png\tb\n../../outside.png\ta\n", "'../../outside.png', which is no name"),
        ("a.png\ta\nb.png\tb\n..\ta\n", r"'\.\.', which is no|is listed"),
        ("a.png\ta\nb.png\tb\n.\ta\n", "'.', which is no name"),
        ("a.png\ta\nb.png\tb\nx/../a.png\ta\n", "'x/../a.png', which is no name"),
        ("a.png\ta\nb.png\tb\na.png\tb\n", "lists 'a.png' twice"),
        ("a.png\ta\n", "b.png is not listed in"),
        ("a.png\ta\nb.png\tb\nc.png\tb\n", "c.png is listed in .* but is not there"),
        ("a.png\ta\nb.png\tc\n", "without a file and a class"),
        ("a.png\ta\nb.png\n", "without a file and a class"),
        ("a.png a\nb.png b\n", "without a file and a class"),
        ("\ta\nb.png\tb\n", "without a file and a class"),
        ("a.png\ta\nb.png\tb\n\udcff\n", "cannot be read as text"),
        ("a.png\ta\nb.png\tb\na.png\0\tb\n", r"a\.png.* is listed in .* but is not there"),
    ],
)
def test_annotations_that_lead_elsewhere_or_do_not_fit(listed, text, said):
    write(listed.parent / "outside.png")
    annotate(listed, text)
    with pytest.raises(DatasetError, match=said):
        load(f"folder:{listed}")
    assert not datasets_folder().exists(), "nothing was decoded"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda r: (r / "train/a/2.png").symlink_to(r / "gone.png"), "is a link to .*gone.png, wh"),
        (lambda r: (r / "val/a/2.png").symlink_to("2.png"), "is a link to 2.png, where no file is"),
        (lambda r: os.mkfifo(r / "train/a/2.png"), "2.png is no file"),
        (lambda r: (r / "train/a/more").symlink_to(r / "train/b"), "more is a link to a folder"),
        (lambda r: (r / "train/a/loop").symlink_to(r / "train/a"), "loop is a link to a folder"),
        (lambda r: write(r / "train/2.png"), "train/2.png lies in no class folder"),
        (lambda r: write(r / "val/2.png"), "val/2.png lies in no class folder"),
        (lambda r: write(r / "val/A/0.png"), "has a class 'A' that"),
        (lambda r: (r / "train/a/2.png").write_bytes(b""), "2.png is not a readable image"),
        (lambda r: Image.new("F", (4, 4)).save(r / "train/a/2.png", "TIFF"), "not a readable"),
        (lambda r: Image.new("RGB", (4, 4)).save(r / "train/a/2.png", "TIFF"), "not a readable"),
        (lambda r: (r / "train/a/2.ppm").write_bytes(b"Pf 4 4 -1.0\n" + bytes(64)), "8 bits a ch"),
        (lambda r: write(r / "train/a/2.png", 5), "pixels where .* are expected; set image_size"),
        (lambda r: (r / "train/a/0.PNG").mkdir(), None),
        (lambda r: (r / "train/a/note.txt").touch(), None),
    ],
)
def test_what_lies_in_a_folder(root, make, said):
    make(root)
    if said is None:
        assert len(load(f"folder:{root}").train_labels) == 4
        return
    with pytest.raises(DatasetError, match=said):
        load(f"folder:{root}")
    assert not datasets_folder().exists()


def test_a_folder_that_cannot_be_read_is_not_left_out(root, monkeypatch):
    def scandir(path):
        if os.fspath(path).endswith("train/b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listing(path)

    listing = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DatasetError, match="train/b cannot be read"):
        load(f"folder:{root}")


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png(width, height, rows, depth=16, colour=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_sixteen_bits_become_eight(root):
    """The upper eight, of grey as of colours, whichever way they are written."""
    grey = (np.arange(16).reshape(4, 4) * 4096 + 255).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in grey)
    (root / "val/a/0.png").write_bytes(png(4, 4, raw))
    (root / "val/a/1.ppm").write_bytes(b"P5 4 4 65535\n" + grey.tobytes())
    colours = np.repeat(grey[..., None], 3, axis=2).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in colours)
    (root / "val/a/2.png").write_bytes(png(4, 4, raw, colour=2))
    images = load(f"folder:{root}").validation_images[:3]
    assert (images.numpy() == (grey // 256)[None, None]).all()


@pytest.mark.parametrize("size", [200_000, 10**9, 10**15])
def test_images_that_no_memory_holds_are_refused_at_once(root, size):
    with pytest.raises(DatasetError, match="GB, more than this machine has; choose a smaller"):
        load(f"folder:{root}", image_size=size)


def test_a_picture_that_unpacks_to_gigabytes_is_refused(root):
    for path in root.rglob("*.png"):
        path.write_bytes(png(60_000, 60_000, bytes(10), depth=8))
    with pytest.raises(DatasetError, match=r"is not a readable image .*decompression bomb"):
        load(f"folder:{root}")


# What changed -------------------------------------------------------------------------------------


def swap_links(root):
    (root / "train/a/0.png").unlink()
    (root / "train/a/0.png").symlink_to(root.parent / "two.bmp")


def write_in_place(root):
    """The file's size and time stay; the pixels, and in the very next moment, do not."""
    path = root / "train/a/0.bmp"
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-5, 2)
        stream.write(b"#####")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(root):
    path = root / "train/a/0.bmp"
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-5] + b"#####")
    times = path.stat()
    other.replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def to_another_class(root):
    (root / "train/a/1.png").rename(root / "train/b/2.png")


def to_the_other_split(root):
    (root / "train/a/1.png").rename(root / "val/a/1.png")


def swap_splits(root):
    (root / "train/a/1.png").rename(root / "t")
    (root / "val/a/0.png").rename(root / "train/a/1.png")
    (root / "t").rename(root / "val/a/0.png")


def swap_classes(root):
    for before, after in (("a", "t"), ("b", "a"), ("t", "b")):
        (root / "train" / before).rename(root / "train" / after)


def lead_elsewhere(root):
    """A class that is a link to a folder."""
    (root / "train/b").rename(root / "other")
    (root / "train/b").symlink_to(root / "other")
    write(root / "other/0.png")


@pytest.mark.parametrize(
    "change",
    [
        *(swap_links, write_in_place, replace, to_another_class, to_the_other_split),
        *(swap_splits, swap_classes, lead_elsewhere),
    ],
)
@pytest.mark.parametrize("clock_stands", [False, True])
def test_what_changed_has_another_hash(root, change, clock_stands, monkeypatch):
    """Also where the clock that files are stamped by does not move on in between."""
    write(root / "train/a/0.bmp")
    write(root.parent / "one.bmp")
    write(root.parent / "two.bmp")
    (root / "train/a/0.png").unlink()
    (root / "train/a/0.png").symlink_to(root.parent / "one.bmp")
    if clock_stands:
        status = os.stat

        class Stands:
            def __init__(self, real):
                self.real = real

            def __getattr__(self, name):
                moment = name in ("st_mtime_ns", "st_ctime_ns")
                return self.now if moment else getattr(self.real, name)

        monkeypatch.setattr(Stands, "now", folder.time.time_ns(), raising=False)
        monkeypatch.setattr(folder.Path, "stat", lambda self, **k: Stands(status(self, **k)))
    else:
        monkeypatch.setattr(folder, "RECENT", 0)
    files, before = folder_files(f"folder:{root}"), load(f"folder:{root}").hash
    if clock_stands:
        monkeypatch.setattr(folder.Path, "stat", lambda self, **k: status(self, **k))
    change(root)
    if clock_stands:
        monkeypatch.setattr(folder.Path, "stat", lambda self, **k: Stands(status(self, **k)))
    assert folder_files(f"folder:{root}") != files
    assert load(f"folder:{root}").hash != before


def test_a_link_to_another_file_of_the_same_size_and_times(root, monkeypatch):
    for name in ("one", "two"):
        write(root.parent / f"{name}.bmp")
    (root / "train/a/0.png").unlink()
    (root / "train/a/0.png").symlink_to(root.parent / "one.bmp")
    status = os.stat

    def long_ago(path, **options):
        real = status(path, **options)
        names = ("st_mode", "st_size", "st_dev", "st_ino")
        times = {"st_mtime_ns": 10**18, "st_ctime_ns": 10**18}
        return SimpleNamespace(**{name: getattr(real, name) for name in names}, **times)

    monkeypatch.setattr(folder.Path, "stat", long_ago)
    before = folder_files(f"folder:{root}")
    assert folder_files(f"folder:{root}") == before
    swap_links(root)
    assert folder_files(f"folder:{root}") != before


def test_what_changes_while_it_is_read_is_refused(root, monkeypatch):
    decode = folder._decode

    def slow(files, *rest):
        decode(files, *rest)
        write(root / "train/a/0.png")

    monkeypatch.setattr(folder, "_decode", slow)
    with pytest.raises(DatasetError, match="were changed while they were read"):
        load(f"folder:{root}")
    assert not list(datasets_folder().glob("decoded/*"))


def test_read_by_many_at_once(root):
    """Each decodes, and puts its cache in place of another's."""
    with ThreadPoolExecutor(4) as pool:
        hashes = {each.hash for each in pool.map(lambda _: load(f"folder:{root}"), range(8))}
    assert hashes == {load(f"folder:{root}").hash}
    assert len(list((datasets_folder() / "decoded").iterdir())) == 1


# Caches -------------------------------------------------------------------------------------------


def header(shape, kind="|u1"):
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)


GOOD = header((2, 3)) + bytes(6)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"a": GOOD},
        {"a": GOOD, "b": GOOD, "c": GOOD},
        {"a": GOOD, "b": header((10**12, 3))},
        {"a": GOOD, "b": header((10**30,))},
        {"a": GOOD, "b": header((2, 3)) + bytes(5)},
        {"a": GOOD, "b": header((3, 2)) + bytes(6)},
        {"a": GOOD, "b": header((2, 3), "<i8") + bytes(48)},
        {"a": GOOD, "b": header((2, 3), "|O") + bytes(48)},
        {"a": GOOD, "b": b"\x93NUMPY\x09\x00" + bytes(100)},
        {"a": GOOD, "b": header("x" * 40)},
        {"a": GOOD, "b": b""},
    ],
)
def test_other_arrays_are_refused(tmp_path, members):
    archive(tmp_path / "x.npz", **members)
    with pytest.raises(ArraysError):
        read_arrays(tmp_path / "x.npz", {"a": (2, 3), "b": (2, 3)})


def test_any_single_damage_to_arrays_is_seen(tmp_path):
    path, wanted = tmp_path / "x.npz", {"a": (2, 3), "b": (200, 3)}
    archive(path, a=GOOD, b=header((200, 3)) + RANDOM.bytes(600))
    whole = path.read_bytes()
    good = {name: array.tobytes() for name, array in read_arrays(path, wanted).items()}
    for place in range(0, len(whole), 3):
        for damaged in (
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :],
            whole[:place],
        ):
            path.write_bytes(damaged)
            try:
                found = read_arrays(path, wanted)
            except ArraysError:
                continue
            assert {name: array.tobytes() for name, array in found.items()} == good


def test_a_cache_with_other_arrays_is_made_again(root):
    first = load(f"folder:{root}")
    (cache,) = (datasets_folder() / "decoded").iterdir()
    for arrays in (
        {"train": first.train_images.numpy()},
        {"train": first.train_images.numpy()[:2], "validation": first.validation_images.numpy()},
        {"train": np.zeros(4), "validation": np.zeros(2)},
        {"train_images": np.zeros((4, 3, 4, 4), np.uint8)},
    ):
        np.savez(cache, **arrays)
        assert load(f"folder:{root}").hash == first.hash


def test_a_damaged_cifar9k_is_named(tmp_path):
    path = tmp_path / "cifar9k.npz"
    packed = io.BytesIO()
    np.savez_compressed(packed, train_images=RANDOM.integers(0, 9, 10_000, np.uint8))
    content = bytearray(packed.getvalue())
    content[300:310] = bytes(10)
    for damaged in (b"", b"no archive", bytes(content), packed.getvalue()):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"cifar9k\.npz is not cifar9k \(it .*; delete it"):
            load("cifar9k", folder=tmp_path)
        assert path.read_bytes() == damaged


# What is there ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar9k", "cifar10-jpeg", "tiny-imagenet"])
def test_what_is_empty_is_not_ready(name):
    info, place = DATASETS[name], datasets_folder() / DATASETS[name].file
    assert where_it_is(info).startswith("not there")
    place.parent.mkdir(parents=True)
    place.mkdir() if info.needs else place.touch()
    assert where_it_is(info).startswith("incomplete")
    with pytest.raises(DatasetError):
        load(name)


def test_some_classes_are_said_to_be_some():
    place = datasets_folder() / "tiny-imagenet-200"
    for name in ("train/n01", "train/n02", "val/images"):
        (place / name).mkdir(parents=True)
    for name in ("wnids.txt", "val/val_annotations.txt"):
        (place / name).touch()
    assert where_it_is(DATASETS["tiny-imagenet"]).startswith("in part: 2 of 200 classes")
