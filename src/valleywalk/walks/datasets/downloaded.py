"""Data sets whose files are downloaded, or put below the data sets' folder."""

import hashlib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ...files import atomic_path
from ..catalogue import DATASETS
from .dataset import (
    COLOUR_MEAN,
    COLOUR_STD,
    ArraysError,
    Dataset,
    DatasetError,
    check_hash,
    read_arrays,
)
from .folder import decoded, load_folder

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
TINY_IMAGENET_URL = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
# cifar9k: which images of CIFAR-10's training files, in their order, and how many of the test
# file's first.
CIFAR9K_TRAINING = (
    (0, 4000),
    (10_000, 11_017),
    (20_000, 21_017),
    (30_000, 31_017),
    (40_000, 41_017),
)
CIFAR9K_VALIDATION = 1017
CIFAR9K_ARRAYS = {
    "train_images": (8068, 3, 32, 32),
    "train_labels": (8068,),
    "validation_images": (1017, 3, 32, 32),
    "validation_labels": (1017,),
}
# cifar10-jpeg: training files of each class.
CIFAR10_JPEG_CLASS = 5_000


def _path_of(name: str, folder: Path) -> Path:
    """Where a data set lies below the data sets' folder."""
    return folder / (DATASETS[name].file or "")


def _unusable(name: str, where: Path, cause: Exception | None = None) -> DatasetError:
    state = f"is not in {where}"
    if where.exists():
        state = f"in {where} is incomplete or damaged; delete that folder first"
    reason = f" ({cause})" if cause is not None else ""
    return DatasetError(
        f"data set {name!r} {state}{reason}. Fetch it with `valleywalk data {name} --download`, or "
        f"put the original files there, or use the embedded data set "
        f"{DATASETS[name].stand_in!r} instead."
    )


def _open_torchvision(name: str, folder: Path, download: bool) -> tuple[Any, Any]:
    """Training and test part of a torchvision data set, with our own words when that fails."""
    from ...torchvision_compat import torchvision

    reader = {"mnist": torchvision.datasets.MNIST, "cifar10": torchvision.datasets.CIFAR10}[name]
    try:
        return tuple(reader(folder, train=train, download=download) for train in (True, False))
    except (
        *(RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError),
        # torchvision asserts what it expects of a file's first bytes.
        *(AssertionError, OverflowError, MemoryError),
    ) as error:
        where = _path_of(name, folder)
        cause = error if download or where.exists() else None
        raise _unusable(name, where, cause) from error


def _check_count(name: str, found: int, expected: int, folder: Path) -> None:
    if found != expected:
        raise DatasetError(
            f"data set {name!r} in {folder} has {found} images where {expected} are expected; "
            f"delete its files and fetch them again"
        )


def mnist(folder: Path, download: bool, counts: tuple[int, int] = (60_000, 10_000)) -> Dataset:
    """MNIST: first three quarters of the training file train, last sixth validates."""
    _unpack_mnist(folder / "MNIST" / "raw")
    train, test = _open_torchvision("mnist", folder, download)
    for part, count in zip((train, test), counts, strict=True):
        _check_count("mnist", len(part.data), count, folder)
    images, labels = train.data.unsqueeze(1), train.targets
    count = counts[0]
    return Dataset(
        name="mnist",
        description="MNIST, images 0 to 44,999 for training and 50,000 to 59,999 for validation",
        train_images=images[: count * 3 // 4],
        train_labels=labels[: count * 3 // 4],
        validation_images=images[count * 5 // 6 :],
        validation_labels=labels[count * 5 // 6 :],
        mean=(0.5,),
        std=(1.0,),
        classes=tuple("0123456789"),
    )


def _unpack_mnist(raw: Path) -> None:
    """Unpack the original .gz files where torchvision looks only for the unpacked ones."""
    from ...torchvision_compat import torchvision

    utils = torchvision.datasets.utils
    for name, md5 in torchvision.datasets.MNIST.resources:
        packed = raw / name
        if packed.is_file() and not packed.with_suffix("").is_file():
            if not utils.check_integrity(packed, md5):
                raise DatasetError(f"{packed} is damaged (wrong MD5); fetch it again")
            utils.extract_archive(packed, raw)


def cifar10(folder: Path, download: bool, count: int = 50_000) -> Dataset:
    """CIFAR-10: first nine tenths of the training files train, the last tenth validates."""
    train, _ = _open_torchvision("cifar10", folder, download)
    _check_count("cifar10", len(train.data), count, folder)
    images = torch.from_numpy(np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)))
    labels = torch.tensor(train.targets)
    border = count * 9 // 10
    return Dataset(
        name="cifar10",
        description="CIFAR-10, images 0 to 44,999 for training and 45,000 to 49,999 for validation",
        train_images=images[:border],
        train_labels=labels[:border],
        validation_images=images[border:],
        validation_labels=labels[border:],
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=tuple(train.classes),
    )


def cifar9k(folder: Path, download: bool) -> Dataset:
    """9,085 images of CIFAR-10, from a file of their own or picked from the original files."""
    path = _path_of("cifar9k", folder)
    if path.exists():
        try:
            return _as_cifar9k(read_arrays(path, CIFAR9K_ARRAYS))
        except ArraysError as error:
            raise DatasetError(f"{path} is not cifar9k ({error}); delete it") from error
    train, test = _open_torchvision("cifar10", folder, download)
    chosen = np.concatenate([np.arange(*part) for part in CIFAR9K_TRAINING])
    arrays = {
        "train_images": train.data[chosen].transpose(0, 3, 1, 2),
        "train_labels": np.array(train.targets, np.uint8)[chosen],
        "validation_images": test.data[:CIFAR9K_VALIDATION].transpose(0, 3, 1, 2),
        "validation_labels": np.array(test.targets[:CIFAR9K_VALIDATION], np.uint8),
    }
    loaded = _as_cifar9k(arrays)
    # Nothing is kept of other images.
    check_hash(loaded, folder)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return loaded


def _as_cifar9k(arrays: dict[str, np.ndarray]) -> Dataset:
    tensors = {key: torch.from_numpy(np.ascontiguousarray(each)) for key, each in arrays.items()}
    return Dataset(
        name="cifar9k",
        description=(
            "9,085 images of CIFAR-10: 8,068 of its training images, the first 1,017 of its test "
            "images for validation"
        ),
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"].long(),
        validation_images=tensors["validation_images"],
        validation_labels=tensors["validation_labels"].long(),
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=CIFAR10_CLASSES,
    )


def cifar10_jpeg(folder: Path) -> Dataset:
    """CIFAR-10 as recompressed JPEG: first nine tenths of each class train, the last validates."""
    root = _path_of("cifar10-jpeg", folder)
    count, border = CIFAR10_JPEG_CLASS, CIFAR10_JPEG_CLASS * 9 // 10
    train: list[tuple[Path, int]] = []
    validation: list[tuple[Path, int]] = []
    for label, name in enumerate(CIFAR10_CLASSES):
        files = [(root / "train" / name / f"{i:04}.jpg", label) for i in range(count)]
        train += files[:border]
        validation += files[border:]
    missing = next((file for file, _ in train + validation if not file.is_file()), None)
    if missing is not None:
        raise DatasetError(
            f"data set 'cifar10-jpeg' needs {missing}, which is not there. It has no download. "
            f"Expected in {root} are train/<class>/0000.jpg to {count - 1:04}.jpg of the classes "
            f"{', '.join(CIFAR10_CLASSES)}. Put them there, or use 'cifar10' or the embedded data "
            f"set {DATASETS['cifar10-jpeg'].stand_in!r} instead."
        )
    # Files come sorted by class: a fixed shuffle makes any first part of them balanced.
    train = [train[i] for i in np.random.RandomState(0).permutation(len(train))]
    return Dataset(
        name="cifar10-jpeg",
        description=(
            "CIFAR-10 (JPEG), its pixels recompressed as JPEG: the first 4,500 training images of "
            "each class for training, the last 500 for validation"
        ),
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=CIFAR10_CLASSES,
        **decoded(root, "cifar10-jpeg", train, validation, None),
    )


def tiny_imagenet(folder: Path, download: bool, classes: int | None) -> Dataset:
    """Tiny-ImageNet, or its first classes: its own two splits."""
    info, root = DATASETS["tiny-imagenet"], _path_of("tiny-imagenet", folder)
    if not root.exists():
        if not download:
            raise _unusable("tiny-imagenet", root)
        try:
            _fetch_tiny_imagenet(folder, root)
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise _unusable("tiny-imagenet", root, error) from error
    lacking = info.lacks(root)
    if lacking is not None:
        raise _unusable("tiny-imagenet", root, FileNotFoundError(f"there is no {lacking}"))
    return load_folder(root, "tiny-imagenet", None, classes or info.classes, info.each)


def _fetch_tiny_imagenet(folder: Path, root: Path) -> None:
    """Fetch the archive, and unpack it if it is the known one: whole or not at all."""
    from ...torchvision_compat import torchvision

    utils = torchvision.datasets.utils
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".tiny-imagenet-") as work:
        utils.download_url(TINY_IMAGENET_URL, work, "archive.zip")
        archive = Path(work) / "archive.zip"
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != TINY_IMAGENET_SHA256:
            raise RuntimeError(
                f"what came from {TINY_IMAGENET_URL} is another file: its SHA-256 is {found}, not "
                f"{TINY_IMAGENET_SHA256}"
            )
        utils.extract_archive(archive, work)
        # Another process may have been faster.
        if not root.exists():
            (Path(work) / root.name).rename(root)
