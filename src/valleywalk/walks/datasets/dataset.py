"""A data set in memory, and what its readers share."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..catalogue import dataset_info

# Of CIFAR-10, for colour images at large.
COLOUR_MEAN, COLOUR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


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
        # See `models.memory_format`: the network's first layer says what follows.
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
        return replace(
            self,
            train_images=self.train_images[:training_images],
            train_labels=self.train_labels[:training_images],
        )


def check_hash(dataset: Dataset, folder: Path) -> None:
    """Refuse a named data set whose images are not those that the catalogue knows it by.

    Parameters
    ----------
    dataset : Dataset
    folder : Path
        The data sets' folder.

    Raises
    ------
    DatasetError
        Says both hashes and what to do.
    """
    info = dataset_info(dataset.name)
    known = info.known_hash(len(dataset.classes))
    if known in (None, dataset.hash):
        return
    if info.file is None:
        advice = (
            "The installed packages hold or decode them in another way: install the versions in "
            "constraints.txt"
        )
    elif info.download and not info.by_class:
        advice = f"Delete {folder / info.file} and fetch it again"
    else:
        root = folder / info.file
        advice = (
            f"The files in {root} are others, or the JPEG library decodes them in another way: "
            f"put the original files there, or use it as 'folder:{root}'"
        )
    raise DatasetError(
        f"these are not the images of data set {dataset.name!r}: the hash of their pixels and "
        f"labels is {dataset.hash}, not {known}. {advice}."
    )


class ArraysError(ValueError):
    """A file of arrays is damaged, or holds others than are expected."""


def read_arrays(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of bytes from an .npz file.

    Parameters
    ----------
    path : Path
    expected : mapping of str → tuple of int
        Shape of each.

    Raises
    ------
    ArraysError
        Says what is wrong. Nothing is unpacked that is not of the expected type and shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = sorted(f"{name}.npy" for name in expected)
            if sorted(archive.namelist()) != wanted:
                raise ArraysError(f"it holds {', '.join(archive.namelist()) or 'nothing'}")
            return {name: _read_array(archive, name, shape) for name, shape in expected.items()}
    except ArraysError:
        raise
    except (
        *(OSError, EOFError, ValueError, RuntimeError, MemoryError, LookupError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise ArraysError(f"it is damaged: {error}") from error


def _read_array(archive: zipfile.ZipFile, name: str, expected: tuple[int, ...]) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        np.lib.format.read_magic(stream)
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    if shape != expected or kind != np.uint8:
        raise ArraysError(f"{name} is {kind} of shape {shape}, not uint8 of shape {expected}")
    with archive.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
