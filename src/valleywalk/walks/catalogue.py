"""Facts of the networks and data sets, one entry each, by name. Imports no torch.

A network of your own is an entry in `NETWORKS` and a builder in `models.BUILDERS`; a data set an
entry in `DATASETS` and a reader in `datasets.READERS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..allowed import unknown_names

# A folder of images, by its path or, where the path is not told, by the hash of its images.
FOLDER_NAME = "folder"
FOLDER_PREFIX = f"{FOLDER_NAME}:"


@dataclass(frozen=True)
class NetworkInfo:
    """A network, at width 1.

    Attributes
    ----------
    name : str
        As an experiment says it.
    title : str
        As pages print it.
    dataset : str
        Data set on which the paper walks it most.
    """

    name: str
    title: str
    dataset: str


@dataclass(frozen=True)
class DatasetInfo:
    """A data set, after its split.

    Attributes
    ----------
    name : str
        As an experiment says it.
    title : str
        As pages print it.
    image_size : int
        Side in pixels.
    training_images, validation_images : int or None
        None: as many as the classes have that are taken (see `by_class`).
    channels, classes : int
    file : str or None
        Where it lies below the data sets' folder. None: it is embedded, that is, it comes with
        installed packages.
    needs : tuple of str
        Patterns of what lies in that folder where it is all there.
    download : bool
        Whether it can be fetched.
    stand_in : str or None
        The embedded data set to use where this one is not there.
    of_the_paper : bool
        Whether the paper walks on it.
    hash : str or None
        Hash of its pixels and labels (`Dataset.hash`). None: not known, or see `hashes`.
    each : tuple of int or None
        Training and validation images of a class, where classes can be left out.
    hashes : mapping of int → str
        Number of classes that are taken → hash of their pixels and labels, where it is known.
    """

    name: str
    title: str
    image_size: int
    training_images: int | None
    validation_images: int | None
    channels: int = 3
    classes: int = 10
    file: str | None = None
    needs: tuple[str, ...] = ()
    download: bool = True
    stand_in: str | None = None
    of_the_paper: bool = False
    hash: str | None = None
    each: tuple[int, int] | None = None
    hashes: Mapping[int, str] = field(default_factory=dict)

    def known_hash(self, classes: int | None = None) -> str | None:
        """Hash of the pixels and labels of so many classes, None: all; None where not known."""
        return self.hashes.get(classes or self.classes, self.hash)

    def lacks(self, folder: Path) -> str | None:
        """The first of what it needs that is not in a folder; None: all is there."""
        return next((part for part in self.needs if not any(folder.glob(part))), None)

    @property
    def by_class(self) -> bool:
        """Whether only the first so many classes can be taken."""
        return self.training_images is None


NETWORKS: dict[str, NetworkInfo] = {
    network.name: network
    for network in (
        NetworkInfo("mlp", "MLP", "mnist"),
        NetworkInfo("vgg11", "VGG-11", "cifar10"),
        NetworkInfo("resnet56", "ResNet-56", "cifar10"),
    )
}

DATASETS: dict[str, DatasetInfo] = {
    dataset.name: dataset
    for dataset in (
        DatasetInfo("photos", "crops of photographs", 32, 5_000, 1_000, hash="2f3a080ae2d6fa50"),
        DatasetInfo(
            "photos16", "crops of photographs, 16×16", 16, 5_000, 1_000, hash="2d46f8a9003084b9"
        ),
        DatasetInfo(
            "photos64", "crops of photographs, 64×64", 64, 5_000, 1_000, hash="dc2b1c02a36c68b5"
        ),
        DatasetInfo(
            "mnist5k",
            "5,000 digits of MNIST",
            28,
            4_000,
            1_000,
            channels=1,
            hash="4e84212e8acc630c",
        ),
        DatasetInfo(
            "mnist",
            "MNIST",
            28,
            45_000,
            10_000,
            channels=1,
            file="MNIST",
            needs=tuple(
                f"raw/{split}-{kind}-ubyte*"
                for split in ("train", "t10k")
                for kind in ("images-idx3", "labels-idx1")
            ),
            stand_in="mnist5k",
            of_the_paper=True,
            hash="2c21c91a81cdf0e1",
        ),
        DatasetInfo(
            "cifar10",
            "CIFAR-10",
            32,
            45_000,
            5_000,
            file="cifar-10-batches-py",
            needs=("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
            stand_in="photos",
            of_the_paper=True,
        ),
        DatasetInfo(
            "cifar9k",
            "9,085 images of CIFAR-10",
            32,
            8_068,
            1_017,
            file="cifar9k.npz",
            stand_in="photos",
            hash="8ae0e72f397b35d0",
        ),
        # Nobody offers it under a known checksum.
        DatasetInfo(
            "cifar10-jpeg",
            "CIFAR-10 (JPEG)",
            32,
            45_000,
            5_000,
            file="cifar10-jpeg",
            needs=("train/*/0000.jpg", "train/*/4999.jpg"),
            download=False,
            stand_in="photos",
            hash="12ad5da3248196ad",
        ),
        DatasetInfo(
            "tiny-imagenet",
            "Tiny-ImageNet",
            64,
            None,
            None,
            classes=200,
            file="tiny-imagenet-200",
            needs=("wnids.txt", "train/*", "val/val_annotations.txt", "val/images"),
            stand_in="photos64",
            of_the_paper=True,
            each=(500, 50),
            hashes={20: "b0976daa3a5eca4b"},
        ),
    )
}

# What is taken for a folder of images until its files are read: that it is like Tiny-ImageNet.
FOLDER = DatasetInfo("folder:PATH", "a folder of images", 64, None, None, classes=200)


def network_info(name: str) -> NetworkInfo:
    """The entry of a network.

    Raises
    ------
    ValueError
        There is none of that name; says the nearest one, and all.
    """
    if problem := unknown_names({name}, NETWORKS, "network"):
        raise ValueError(problem)
    return NETWORKS[name]


def is_folder(name: str) -> bool:
    """Whether a data set's name says a folder of images, with its path or without."""
    return name == FOLDER_NAME or name.startswith(FOLDER_PREFIX)


def dataset_info(name: str) -> DatasetInfo:
    """The entry of a data set, or for folder:PATH what a folder is taken for.

    Raises
    ------
    ValueError
        There is none of that name; says the nearest one, and all.
    """
    if is_folder(name):
        return FOLDER
    if problem := unknown_names({name}, DATASETS, "data set"):
        raise ValueError(f"{problem}, or folder:PATH for your own images")
    return DATASETS[name]
