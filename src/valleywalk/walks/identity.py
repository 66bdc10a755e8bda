"""Which images an experiment is on: the hash of their pixels, wherever they lie."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..folders import datasets_folder
from ..trace import REMEDY, TraceError, open_trace, read_trace
from .catalogue import FOLDER_PREFIX, dataset_info
from .experiment import Experiment
from .provenance import experiment_of

if TYPE_CHECKING:
    import xarray as xr

    from .datasets import Dataset


def identified(experiment: Experiment) -> Experiment:
    """The experiment with the hash of its images, which are read if they lie in a folder.

    An experiment on a named data set, or whose hash is given, comes back as it is: then the images
    need not be there. Within a process a folder is read once, unless a file of it changes.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    Experiment
        With `data_hash`, and with the images' size and the number of classes as they were found.

    Raises
    ------
    DatasetError
        The folder is not there, or is no folder of images.

    Examples
    --------
    >>> from valleywalk import Experiment
    >>> from valleywalk.walks.identity import identified
    >>> experiment = Experiment(model="mlp", dataset="mnist5k")
    >>> identified(experiment) is experiment
    True
    """
    if not experiment.unread:
        return experiment
    from .datasets import folder_files

    name, size, classes = experiment.dataset, experiment.image_size, experiment.classes
    return experiment.with_images(**_found(name, size, classes, folder_files(name, classes)))


@lru_cache(maxsize=64)
def _found(name: str, image_size: int | None, classes: int | None, files: str) -> dict[str, Any]:
    """What a folder's images say of an experiment; `files` changes when one of its files does."""
    from .datasets import load

    return _said_by(load(name, image_size=image_size, classes=classes))


def _said_by(dataset: Dataset) -> dict[str, Any]:
    return {
        "counted": (len(dataset.train_labels), len(dataset.validation_labels)),
        "data_hash": dataset.hash,
        "image_size": dataset.image_size,
        "classes": len(dataset.classes),
    }


def on_images(experiment: Experiment, dataset: Dataset) -> Experiment:
    """The experiment with the hash of these images, without their path.

    Parameters
    ----------
    experiment : Experiment
    dataset : Dataset
        All of it, before `training_images` takes a part.

    Raises
    ------
    DatasetError
        The experiment names other images by its `data_hash`.
    """
    if experiment.unread:
        experiment = experiment.with_images(**_said_by(dataset))
    elif experiment.data_hash not in (None, dataset.hash):
        from .datasets import DatasetError

        raise DatasetError(
            f"{experiment.dataset!r} holds other images than the experiment is on: their hash is "
            f"{dataset.hash}, not {experiment.data_hash}; ask again, without data_hash, for a walk "
            "on the images that are there now"
        )
    return experiment.without_path


def open_own(path: Path, experiment: Experiment) -> xr.Dataset:
    """The trace of an experiment from its file, if it was made on the experiment's images.

    Parameters
    ----------
    path : Path
    experiment : Experiment

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TraceError
        The file is damaged, of another version or experiment, or was made on other images than the
        catalogue knows the data set by or, where it knows none, than lie there now. Of an older
        trace that was made on a part of them this cannot be said.
    """
    trace = open_trace(path, experiment.hash)
    if wrong := _other_walk(trace, experiment):
        raise TraceError(f"{path} {wrong}; {REMEDY}")
    return trace


def read_own(content: bytes, name: str, experiment: Experiment) -> xr.Dataset:
    """The trace of an experiment from what would become its file, checked as by `open_own`."""
    trace = read_trace(content, name, experiment.hash)
    if wrong := _other_walk(trace, experiment):
        raise TraceError(f"{name} {wrong}")
    return trace


def _other_walk(trace: xr.Dataset, experiment: Experiment) -> str | None:
    """What a trace is of, where that is not the experiment."""
    if experiment_of(trace).hash != experiment.hash:
        return "says the hash of one experiment and the settings of another"
    info = dataset_info(experiment.dataset)
    known = experiment.data_hash or info.known_hash(experiment.classes)
    if known is None and info.file is not None and info.by_class:
        known = _hash_there(experiment.dataset, info.file, experiment.classes)
    found = trace.attrs.get("whole_dataset_hash")
    if found is None and trace.attrs.get("training_images", 0) == info.training_images:
        found = trace.attrs.get("dataset_hash")
    if None not in (known, found) and found != known:
        return (
            f"was made on other images: their hash is {found}, that of "
            f"{experiment.without_path.dataset!r} is {known}"
        )
    return None


def _hash_there(name: str, file: str, classes: int | None) -> str | None:
    """Hash of a named data set's images, which the catalogue does not know; None: not all there."""
    from .datasets import DatasetError, folder_files

    try:
        files = folder_files(f"{FOLDER_PREFIX}{datasets_folder() / file}", classes)
        return str(_found(name, None, classes, files)["data_hash"])
    except DatasetError:
        return None
