"""Folders of images: train/<class>/* and val, validation or test."""

import hashlib
import os
import stat
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...files import atomic_path
from ...folders import datasets_folder
from .dataset import COLOUR_MEAN, COLOUR_STD, ArraysError, Dataset, DatasetError, read_arrays

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
VALIDATION_FOLDERS = ("val", "validation", "test")
ANNOTATIONS = "val_annotations.txt"
# Nanoseconds in which a file can change again without its times saying so, and more.
RECENT = 2_000_000_000
# Where an image lies, and its label.
Labelled = tuple[Path, int]


def load_folder(
    root: Path,
    name: str,
    image_size: int | None = None,
    classes: int | None = None,
    each: tuple[int, int] | None = None,
) -> Dataset:
    """Read train/<class>/* and val, validation or test; decoded images are cached in one file.

    The validation folder has class folders too, or Tiny-ImageNet's layout: images/* and
    val_annotations.txt. The cache is found by names, sizes and times of all files.

    Parameters
    ----------
    root : Path
    name : str
    image_size, classes : int, optional
    each : tuple of int, optional
        Training and validation images that each class must have.

    Raises
    ------
    DatasetError
        It is no such folder, or other images are in it than are said to be.
    """
    names, train_files, validation_files = _listing(root, classes)
    if each is not None:
        for files, count, split in zip(
            (train_files, validation_files), each, ("training", "validation"), strict=True
        ):
            found = Counter(label for _, label in files)
            wrong = next((label for label in range(len(names)) if found[label] != count), None)
            if wrong is not None:
                raise DatasetError(
                    f"data set {name!r} has {found[wrong]} {split} images of class "
                    f"{names[wrong]!r} where {count} are expected; delete {root} and fetch it "
                    f"again, or use it as 'folder:{root}'"
                )
    return Dataset(
        name=name,
        description=f"{root.name}: {len(names)} classes, {len(train_files)} training images",
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=tuple(names),
        **decoded(root, name, train_files, validation_files, image_size),
    )


def files_of(root: Path, classes: int | None = None) -> str:
    """16 hexadecimal digits that change when one of a folder's image files does."""
    _, train_files, validation_files = _listing(root, classes)
    return _digest(_signature(root, train_files + validation_files))


# Files --------------------------------------------------------------------------------------------

# Of a file: path below the folder, label, size, time of change, and what tells it from all others.
Signature = list[tuple[Path, tuple[str | int, ...]]]


def _signature(root: Path, files: Sequence[Labelled]) -> Signature:
    found: Signature = []
    for file, label in files:
        try:
            status = file.stat()
        except OSError as error:
            raise DatasetError(
                f"{file} is a link to {os.readlink(file)}, where no file is; mend or remove it"
                if file.is_symlink()
                else f"{file} cannot be read ({error})"
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{file} is no file; remove it")
        # A file can be replaced by one of its size, and be given its time; not that of the change.
        # A link can be led to another file of that time; not to one of the same number.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        own = (status.st_size, *times, status.st_dev, status.st_ino)
        found.append((file, (str(file.relative_to(root)), label, *own)))
    return found


def _digest(signature: Signature, more: str = "") -> str:
    """16 hexadecimal digits; what changed a moment ago can change again unseen, and is read."""
    digest, now = hashlib.sha256(more.encode()), time.time_ns()
    for file, own in signature:
        digest.update(repr(own).encode())
        if now - int(own[4]) < RECENT:
            digest.update(hashlib.sha256(_bytes(file)).digest())
    return digest.hexdigest()[:16]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error})") from error


def _images_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        where = Path(place)
        linked = next((where / name for name in folders if (where / name).is_symlink()), None)
        if linked is not None:
            raise DatasetError(
                f"{linked} is a link to a folder, which is followed only where it is a class; put "
                "its images there, or remove it"
            )
        found += [where / name for name in files if _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename} cannot be read ({error.strerror})") from error


# Classes ------------------------------------------------------------------------------------------


def _listing(root: Path, limit: int | None) -> tuple[list[str], list[Labelled], list[Labelled]]:
    """Class names, and (file, label) of the training and of the validation split."""
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; give folder:PATH of an existing folder")
    train = root / "train"
    if not train.is_dir():
        raise DatasetError(
            f"{root} is no image folder: it has no folder 'train'. Expected train/<class>/* and "
            f"one of {', '.join(VALIDATION_FOLDERS)} with the same classes"
        )
    every = _classes(root)
    if limit is not None and limit > len(every):
        raise DatasetError(
            f"classes is {limit}, but {train} has {len(every)}; choose at most {len(every)}, or "
            "put the others there"
        )
    classes = every[:limit]
    train_files = _in_class_folders(train, classes)
    validation = next((root / n for n in VALIDATION_FOLDERS if (root / n).is_dir()), None)
    if validation is None:
        raise DatasetError(
            f"{root} has no validation images: none of the folders "
            f"{', '.join(VALIDATION_FOLDERS)} is there"
        )
    if (validation / ANNOTATIONS).is_file():
        validation_files = _annotated(validation, classes, every)
    else:
        unknown = [name for name in _folders_in(validation) if name not in every]
        if unknown:
            raise DatasetError(f"{validation} has a class {unknown[0]!r} that {train} has not")
        validation_files = _in_class_folders(validation, classes)
    # So that the labels say how many classes there are.
    empty = sorted(set(range(len(classes))) - {label for _, label in train_files})
    if empty:
        raise DatasetError(
            f"{train / classes[empty[0]]} has no training images "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}); remove it if it is no class"
        )
    if not validation_files:
        raise DatasetError(f"{root} has no validation images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    # Files come sorted by class: a fixed shuffle makes any first part of them balanced.
    order = np.random.RandomState(0).permutation(len(train_files))
    return classes, [train_files[i] for i in order], validation_files


def _classes(root: Path) -> list[str]:
    """All classes: in the order of wnids.txt where there is one, else of their names."""
    train, order = root / "train", root / "wnids.txt"
    there = _folders_in(train)
    if len(there) < 2:
        raise DatasetError(f"{train} has {len(there)} class folder(s); at least 2 are needed")
    if not order.is_file():
        return there
    listed = [name for line in _lines(order) if (name := line.strip())]
    name, times = Counter(listed).most_common(1)[0] if listed else ("", 0)
    if times > 1:
        raise DatasetError(f"{order} lists class {name!r} {times} times; list each once")
    for one, other, what in (
        (listed, there, f"{order} lists class {{}}, which {train} has not"),
        (there, listed, f"{train} has a class {{}} that {order} does not list"),
    ):
        lacking = [name for name in one if name not in set(other)]
        if lacking:
            raise DatasetError(
                f"{what.format(repr(lacking[0]))} ({len(lacking)} such); both must have the same "
                "classes"
            )
    return listed


def _folders_in(folder: Path) -> list[str]:
    """Names of the folders in it; what lies beside them must be no image."""
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read ({error})") from error
    stray = next((path for path in there if _is_image(path.name) and not path.is_dir()), None)
    if stray is not None:
        raise DatasetError(f"{stray} lies in no class folder; put it into one, or remove it")
    return [path.name for path in there if path.is_dir()]


def _in_class_folders(folder: Path, classes: Sequence[str]) -> list[Labelled]:
    return [
        (file, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for file in _images_below(folder / name)
    ]


def _annotated(validation: Path, classes: Sequence[str], every: Sequence[str]) -> list[Labelled]:
    """Images as Tiny-ImageNet lists them, those of the classes that are taken."""
    annotations = validation / ANNOTATIONS
    number = {name: label for label, name in enumerate(classes)}
    known, found = set(every), {}
    there = set(_images_below(validation))
    for line in filter(str.strip, _lines(annotations)):
        name, label = [*line.split("\t"), "", ""][:2]
        if not name or label not in known:
            raise DatasetError(
                f"{annotations} has a line without a file and a class of train: {line[:80]!r}"
            )
        # It must not lead out of the folder.
        if Path(name).name != name:
            raise DatasetError(f"{annotations} lists {name!r}, which is no name of a file alone")
        file = validation / "images" / name
        if file not in there:
            raise DatasetError(f"{file} is listed in {annotations} but is not there")
        if file in found:
            raise DatasetError(f"{annotations} lists {name!r} twice; list each file once")
        found[file] = label
    left = sorted(there - set(found))
    if left:
        raise DatasetError(
            f"{left[0]} is not listed in {annotations} ({len(left)} such); list or remove it"
        )
    return [(file, number[label]) for file, label in found.items() if label in number]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} cannot be read as text ({error})") from error


# Pixels -------------------------------------------------------------------------------------------


def decoded(
    root: Path,
    name: str,
    train_files: list[Labelled],
    validation_files: list[Labelled],
    size: int | None,
) -> dict[str, Tensor]:
    """Images and labels of both splits, from the cache or decoded now and cached."""
    splits = {"train": train_files, "validation": validation_files}
    signature = _signature(root, train_files + validation_files)
    # Says what is cached, so that nothing else is taken for it.
    digest = _digest(signature, f"images, size {size}")
    cache = datasets_folder() / "decoded" / f"{digest}.npz"
    side = size or _side(train_files[0][0])
    images = None
    if cache.is_file():
        shapes = {split: (len(files), 3, side, side) for split, files in splits.items()}
        with suppress(ArraysError):
            images = read_arrays(cache, shapes)
    if images is None:
        images = {split: _room(len(files), side, root) for split, files in splits.items()}
        for split, files in splits.items():
            _decode(files, images[split], size is not None, f"{name}, {split}")
        if _signature(root, train_files + validation_files) != signature:
            raise DatasetError(f"files of {root} were changed while they were read; try again")
        with atomic_path(cache) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **images)
    return {
        kind: tensor
        for split, files in splits.items()
        for kind, tensor in (
            (f"{split}_images", torch.from_numpy(images[split])),
            (f"{split}_labels", torch.tensor([label for _, label in files])),
        )
    }


def _room(count: int, side: int, root: Path) -> np.ndarray:
    try:
        return np.empty((count, 3, side, side), np.uint8)
    except (MemoryError, ValueError, OverflowError) as error:
        size = f"{count * 3 * side**2 / 1e9:.0f} GB"
        raise DatasetError(
            f"{count} images of {root} at {side}×{side} pixels take {size}, more than this machine "
            "has; choose a smaller image_size, or fewer classes"
        ) from error


def _side(file: Path) -> int:
    """Width of an image in pixels."""
    with _opened(file) as image:
        return image.width


def _decode(files: list[Labelled], target: np.ndarray, cut: bool, what: str) -> None:
    """Read images as RGB, shape (images, 3, size, size); a grey image is repeated over channels.

    Parameters
    ----------
    files : list of (Path, int)
    target : ndarray of uint8
        Where to.
    cut : bool
        Whether what has another size is resized and cut, rather than refused.
    what : str
        For the progress bar.
    """
    from PIL import Image, ImageOps
    from tqdm import tqdm

    side = target.shape[-1]
    for index, (file, _) in enumerate(tqdm(files, desc=f"decoding {what}", unit="image", delay=2)):
        with _opened(file) as opened:
            if not cut and opened.size != (side, side):
                raise DatasetError(
                    f"{file} is {opened.width}×{opened.height} pixels where {side}×{side} are "
                    "expected; set image_size to cut all images to squares of one size"
                )
            image = _as_rgb(opened)
        if image.size != (side, side):
            image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
        target[index] = np.asarray(image).transpose(2, 0, 1)


@contextmanager
def _opened(file: Path) -> Iterator["Image"]:
    """An image file; whatever is wrong with it is said with its name."""
    from PIL import Image

    try:
        # No other formats, whatever the file is called: some are read by programs of others.
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except DatasetError:
        raise
    except (
        *(OSError, ValueError, SyntaxError, LookupError, OverflowError, MemoryError),
        *(TypeError, struct.error, Image.DecompressionBombError),
    ) as error:
        raise DatasetError(f"{file} is not a readable image ({error})") from error


def _as_rgb(image: "Image") -> "Image":
    """Eight bits a channel; of sixteen the upper eight, which Pillow keeps of colours, too."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; convert it to 8 bits a channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    return image.convert("RGB")
