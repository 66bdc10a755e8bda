"""Names → in-memory uint8 images, labels and normalisation. Nothing is fetched unless asked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...folders import datasets_folder
from ..catalogue import FOLDER_NAME, FOLDER_PREFIX, dataset_info
from .dataset import Dataset, DatasetError, check_hash
from .downloaded import cifar9k, cifar10, cifar10_jpeg, mnist, tiny_imagenet
from .embedded import mnist5k, photos
from .folder import files_of, load_folder

__all__ = ["READERS", "Dataset", "DatasetError", "folder_files", "load"]

# One a data set of the catalogue, whose entry says what it is given: the data sets' folder where
# it has files, whether to download them where they can be, how many classes where that is free.
READERS: dict[str, Callable[..., Dataset]] = {
    "photos": partial(photos, 32),
    "photos16": partial(photos, 16),
    "photos64": partial(photos, 64),
    "mnist5k": mnist5k,
    "mnist": mnist,
    "cifar10": cifar10,
    "cifar9k": cifar9k,
    "cifar10-jpeg": cifar10_jpeg,
    "tiny-imagenet": tiny_imagenet,
}


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
        One of the catalogue's: photos, photos16, photos64, mnist5k (shipped with installed
        packages); mnist, cifar10, cifar9k, tiny-imagenet (files in `folder`, or fetched with
        `download`); cifar10-jpeg (files in `folder`; it has no download). Or folder:PATH.
    image_size : int, optional
        Side to which the images of a folder are resized and cut; default: their own size.
    classes : int, optional
        Only this many classes of a folder or of tiny-imagenet, the first ones; default: all.
    folder : Path, optional
        Where image files are looked for; default `valleywalk.folders.datasets_folder()`.
    download : bool
        Fetch what is missing. Never done otherwise.

    Raises
    ------
    DatasetError
        Unknown name; files missing (says where to put them, how to fetch them, and which embedded
        set to use instead); files damaged; other images than the catalogue knows it by.
    """
    folder = Path(folder) if folder is not None else datasets_folder()
    loaded = _load(name, image_size, classes, folder, download)
    for labels in (loaded.train_labels, loaded.validation_labels):
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(loaded.classes):
            raise DatasetError(
                f"data set {name!r} has labels from {int(labels.min())} to {int(labels.max())}, "
                f"but {len(loaded.classes)} classes; its files are damaged: fetch them again"
            )
    if name in READERS:
        check_hash(loaded, folder)
    return loaded


def folder_files(name: str, classes: int | None = None) -> str:
    """16 hexadecimal digits that change when a file of folder:PATH does; none of them is read.

    Raises
    ------
    DatasetError
        It is no folder of images.
    """
    return files_of(_root(name), classes)


def _root(name: str) -> Path:
    return Path(name.removeprefix(FOLDER_PREFIX)).expanduser()


def _load(
    name: str, image_size: int | None, classes: int | None, folder: Path, download: bool
) -> Dataset:
    if name == FOLDER_NAME:
        raise DatasetError(
            "images that are known by their hash alone cannot be loaded: say where they lie, as in "
            "folder:/data/my-images"
        )
    if name.startswith(FOLDER_PREFIX):
        return load_folder(_root(name), FOLDER_NAME, image_size, classes)
    try:
        info = dataset_info(name)
    except ValueError as error:
        raise DatasetError(str(error)) from None
    given: dict[str, Any] = {}
    if info.file is not None:
        given["folder"] = folder
        given |= {"download": download} if info.download else {}
        given |= {"classes": classes} if info.by_class else {}
    return READERS[name](**given)
