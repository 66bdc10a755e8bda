"""Folders of images: train/<class>/* and val, validation or test."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...files import atomic_path
from ...folders import datasets_folder
from .dataset import COLOUR_MEAN, COLOUR_STD, Dataset, DatasetError, read_arrays

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm"}
VALIDATION_FOLDERS = ("val", "validation", "test")


def load_folder(
    root: Path, name: str, image_size: int | None = None, classes: int | None = None
) -> Dataset:
    """Read train/<class>/* and val, validation or test; decoded images are cached in one file.

    The validation folder has class folders too, or Tiny-ImageNet's layout: images/* and
    val_annotations.txt. The cache is found by names, sizes and times of all files.
    """
    names, train_files, validation_files = _listing(root, classes)
    return Dataset(
        name=name,
        description=f"{root.name}: {len(names)} classes, {len(train_files)} training images",
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=tuple(names),
        **decoded(root, name, train_files, validation_files, image_size),
    )


def files_of(root: Path, classes: int | None = None) -> str:
    """16 hexadecimal digits of the names, labels, sizes and times of a folder's image files."""
    _, train_files, validation_files = _listing(root, classes)
    return _digest(root, train_files + validation_files)


def _listing(
    root: Path, classes: int | None
) -> tuple[list[str], list[tuple[Path, int]], list[tuple[Path, int]]]:
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; give folder:PATH of an existing folder")
    return _folder_listing(root, classes)


def _digest(root: Path, files: list[tuple[Path, int]], more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for file, label in files:
        if not file.is_file():
            raise DatasetError(f"{file} is listed in val_annotations.txt but is not there")
        status = file.stat()
        # A file can be replaced by one of its size, and be given its time; not that of the change.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        digest.update(repr((str(file.relative_to(root)), label, status.st_size, times)).encode())
    return digest.hexdigest()[:16]


def decoded(
    root: Path,
    name: str,
    train_files: list[tuple[Path, int]],
    validation_files: list[tuple[Path, int]],
    size: int | None,
) -> dict[str, Tensor]:
    """Images and labels of both splits, from the cache or decoded now and cached."""
    digest = _digest(root, train_files + validation_files, str(size))
    cache = datasets_folder() / "decoded" / f"{digest}.npz"
    arrays = read_arrays(cache)
    if arrays is None:
        train = _decode(train_files, size, f"{name}, training")
        validation = _decode(validation_files, size, f"{name}, validation")
        if train.shape[1:] != validation.shape[1:]:
            raise DatasetError(
                f"training images of {root} are {train.shape[2]} pixels wide, validation images "
                f"{validation.shape[2]}; set image_size"
            )
        arrays = {
            "train_images": train,
            "train_labels": np.array([label for _, label in train_files]),
            "validation_images": validation,
            "validation_labels": np.array([label for _, label in validation_files]),
        }
        with atomic_path(cache) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    return {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}


def _images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)


def _folder_listing(
    root: Path, limit: int | None
) -> tuple[list[str], list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Class names, and (file, label) of the training and of the validation split.

    Classes come in the order of wnids.txt where there is one, else of their names.
    """
    train = root / "train"
    if not train.is_dir():
        raise DatasetError(
            f"{root} is no image folder: it has no folder 'train'. Expected train/<class>/* and "
            f"one of {', '.join(VALIDATION_FOLDERS)} with the same classes"
        )
    classes = sorted(p.name for p in train.iterdir() if p.is_dir())
    if len(classes) < 2:
        raise DatasetError(f"{train} has {len(classes)} class folder(s); at least 2 are needed")
    if limit is not None and limit > len(classes):
        raise DatasetError(f"classes is {limit}, but {train} has {len(classes)}")
    if (root / "wnids.txt").is_file():
        listed = (root / "wnids.txt").read_text().split()
        classes = [name for name in listed if name in set(classes)]
    every = set(classes)
    classes = classes[:limit]
    number = {name: label for label, name in enumerate(classes)}
    train_files = [(file, number[name]) for name in classes for file in _images_below(train / name)]
    validation = next((root / n for n in VALIDATION_FOLDERS if (root / n).is_dir()), None)
    if validation is None:
        raise DatasetError(
            f"{root} has no validation images: none of the folders "
            f"{', '.join(VALIDATION_FOLDERS)} is there"
        )
    annotations = validation / "val_annotations.txt"
    if annotations.is_file():
        rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line]
        if any(len(row) < 2 or row[1] not in every for row in rows):
            raise DatasetError(f"{annotations} has a line without a file and a class of {train}")
        validation_files = [
            (validation / "images" / name, number[label]) for name, label in rows if label in number
        ]
    else:
        unknown = [p.name for p in validation.iterdir() if p.is_dir() and p.name not in every]
        if unknown:
            raise DatasetError(f"{validation} has a class {unknown[0]!r} that {train} has not")
        validation_files = [
            (file, number[name]) for name in classes for file in _images_below(validation / name)
        ]
    # So that the labels say how many classes there are.
    empty = sorted(set(number.values()) - {label for _, label in train_files})
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


def _decode(files: list[tuple[Path, int]], size: int | None, what: str) -> np.ndarray:
    """Read images as RGB, shape (images, 3, size, size); a grey image is repeated over channels."""
    from PIL import Image, ImageOps
    from tqdm import tqdm

    images: list[np.ndarray] = []
    for file, _ in tqdm(files, desc=f"decoding {what}", unit="image", delay=2):
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{file} is not a readable image ({error})") from error
        if size is not None and image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        shape = (images[0].shape[1], images[0].shape[0]) if images else (image.width, image.width)
        if image.size != shape:
            raise DatasetError(
                f"{file} is {image.width}×{image.height} pixels where {shape[0]}×{shape[1]} are "
                "expected; set image_size to cut all images to squares of one size"
            )
        images.append(np.asarray(image))
    return np.stack(images).transpose(0, 3, 1, 2)
