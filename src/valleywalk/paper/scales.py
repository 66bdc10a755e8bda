"""What all pages share: the scales, what is walked on at each, and the sizes of the networks there.

Of two settings of one thing that stands which comes later: the scale's own here, gradient descent's
where a page walks by it, the page's; in each of these tables what holds for every network, for the
network, for the data set; and last what was given as a parameter.
"""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from ..allowed import unknown_names
from ..walks.catalogue import DATASETS, NETWORKS, network_info
from ..walks.experiment import Experiment, ModelName

# Seconds for tests; minutes on data that need no download; hours on real data sets, on a CPU; the
# paper's network, images and batches, of some pages alone, measured on fewer images; the paper's
# own setting, on a GPU.
Scale = Literal["smoke", "quick", "overnight", "full", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
# That of a book; recorded: each page from the best recorded walks.
BookScale = Scale | Literal["recorded"]
# Walks of the full scale have one seed: they are described, not judged (see the book's protocol).
JUDGED: tuple[Scale, ...] = tuple(scale for scale in SCALES if scale != "full")
# Scales whose ledger the book shows; the others' seeds are a reader's own.
DECIDING: tuple[Scale, ...] = ("overnight", "paper")
# Networks of the full scale, and the paper's data set on which they walk there.
FULL_SIZE: dict[ModelName, str] = {"vgg11": "cifar10", "resnet56": "cifar10"}

# At each scale, what is walked on in place of a data set of the paper: at two of them, where no
# download is wanted, what its entry in the catalogue names.
EMBEDDED = {name: found.stand_in for name, found in DATASETS.items() if found.stand_in}
STAND_IN: dict[Scale, dict[str, str]] = {
    "smoke": EMBEDDED,
    "quick": EMBEDDED,
    "overnight": {"cifar10": "cifar9k"},
    "full": {"cifar10": "cifar10-jpeg"},
    "paper": {},
}
# ResNet-56 is deep: each of its images costs ten times what one of VGG-11's costs.
SMALLER = {("resnet56", "photos"): "photos16"}

# Where walks count only if they began after the protocol was committed (see the book's page).
BY_PROTOCOL: tuple[Scale, ...] = ("overnight",)
# Where seeds are counted from; elsewhere from 0. Seeds 0 to 9 were walked before the protocol, and
# what is decided is decided by others.
FIRST_SEEDS: dict[Scale, int] = {"overnight": 10}

# Scale → "every", a network or a data set → experiment fields, and what only pages know.
Settings = dict[Scale, dict[str, dict[str, Any]]]
EVERY = "every"
# No experiment fields: the length of the window that a figure shows, the epochs at whose start one
# walk opens such windows (and where they are fewer at another learning rate than 0.1), whether it
# opens that of the first epoch, too, whether the whole epoch is measured, and whether a page shows
# a walk of Tables 1 and 2.
OF_PAGES = {
    "iterations",
    "epochs_shown",
    "epochs_at_other_rates",
    "first_too",
    "whole_epoch",
    "of_the_tables",
}

SETTINGS: Settings = {
    "smoke": {
        EVERY: {
            "training_images": 40,
            "batch_size": 20,
            "evaluation_batch_size": 20,
            "iterations": 3,
            "epochs_shown": (1, 2),
        },
        "mlp": {
            "width": 0.1,
            "training_images": 180,
            "evaluation_batch_size": 100,
            "iterations": 4,
        },
        "vgg11": {"width": 0.0625, "epochs_shown": (1, 2, 3)},
        "resnet56": {
            "width": 0.0625,
            "training_images": 20,
            "batch_size": 10,
            "evaluation_batch_size": 10,
            "iterations": 2,
        },
    },
    "quick": {
        EVERY: {"iterations": 40, "epochs_shown": (1, 2, 10, 25)},
        "mlp": {"evaluation_images": 2000},
        "vgg11": {
            "width": 0.125,
            "training_images": 1000,
            "evaluation_images": 200,
            "epochs_shown": (*range(1, 41), 100),
        },
        "resnet56": {
            "width": 0.25,
            "training_images": 400,
            "evaluation_images": 200,
            "iterations": 24,
            "epochs_shown": (1, 2, 10, 25, 100),
        },
        "photos64": {"training_images": 300},
    },
    # The scale of the verdicts: what is settled here is settled by the protocol.
    "overnight": {
        EVERY: {
            "iterations": 40,
            "epochs_shown": (2, 25, 100),
            "evaluation_images": 1000,
            "tolerance": 0.02,
            "seed": FIRST_SEEDS["overnight"],
        },
        "mlp": {"epochs_shown": (2,)},
        "vgg11": {"width": 0.25},
        "resnet56": {"width": 0.25},
        # The paper's subset is not defined.
        "tiny-imagenet": {"classes": 20, "training_images": 10_000},
    },
    "full": {
        EVERY: {
            "evaluation_images": 1000,
            "tolerance": 0.02,
            "evaluate_every": 1,
            "sampled_iterations": 40,
            "iterations": 40,
            "epochs_shown": (1, 10),
            "first_too": True,
        },
        # That at 0.1 was extended, that at 0.05 was not.
        "vgg11": {"epochs_shown": (1, 2, 10, 25), "epochs_at_other_rates": (1, 10)},
        "cifar10-jpeg": {"augmentation": True},
        "cifar10": {"augmentation": True},
    },
    "paper": {
        EVERY: {"iterations": 40, "epochs_shown": (2, 25, 100)},
        "mlp": {"epochs_shown": (1, 2)},
        "cifar10": {"augmentation": True},
        "cifar10-jpeg": {"augmentation": True},
        # The paper's subset of Tiny-ImageNet is not defined; these are 10,000 images.
        "tiny-imagenet": {"classes": 20, "training_images": 10_000},
    },
}

# Full-batch gradient descent. Its batch size is the chunk that batch norm sees: the authors'
# 5,000 of 45,000 images, or as near to nine chunks as the scale allows. Its loss is measured on
# all images, in batches of the evaluation plan, which are the authors' 100 where the chunks are
# large; augmentation would make the full gradient random.
GRADIENT_DESCENT: Settings = {
    "smoke": {"mlp": {"evaluation_batch_size": 20}},
    "quick": {
        EVERY: {"evaluation_images": None},
        "mlp": {"batch_size": 445, "evaluation_batch_size": 445},
    },
    "overnight": {
        EVERY: {"evaluation_images": None},
        "mlp": {"batch_size": 5000},
        "vgg11": {"training_images": 2250, "batch_size": 250, "evaluation_batch_size": 250},
        "resnet56": {"training_images": 900},
        "tiny-imagenet": {
            "training_images": 900,
            "batch_size": 100,
            "evaluation_batch_size": 100,
        },
    },
    "paper": {EVERY: {"batch_size": 5000, "augmentation": False}},
}


def check(settings: Settings, own: Iterable[str], owner: str) -> None:
    """Refuse settings that nobody would look at.

    Parameters
    ----------
    settings : mapping
    own : iterable of str
        Names that the owner knows beside those of an experiment and those of all pages.
    owner : str
        Whose they are, for the error.

    Raises
    ------
    ValueError
        Names the unknown setting, scale, network or data set, and what is allowed.
    """
    known = {*Experiment.model_fields, *OF_PAGES, *own}
    problem = unknown_names(set(settings), SCALES, "scale")
    for scale, of_scale in settings.items():
        walked = unknown_names(set(of_scale), {EVERY, *NETWORKS, *DATASETS}, "network or data set")
        problem = problem or (walked and f"{scale}: {walked}")
        for key, values in of_scale.items():
            unknown = unknown_names(set(values), known, "setting")
            problem = problem or (unknown and f"{scale}, {key}: {unknown}")
    if problem:
        raise ValueError(f"settings of {owner}: {problem}")


check(SETTINGS, (), "all pages")
check(GRADIENT_DESCENT, (), "gradient descent")


def settings_of(
    scale: Scale, model: ModelName, dataset: str, tables: Iterable[Settings]
) -> dict[str, Any]:
    """What this module's table and others say of a network on a data set; the later ones win."""
    found: dict[str, Any] = {"batch_size": 100, "evaluation_batch_size": 100}
    for table in (SETTINGS, *tables):
        for key in (EVERY, model, dataset):
            found |= table.get(scale, {}).get(key, {})
    return found


def default_dataset(model: ModelName, scale: Scale) -> str:
    """The paper's data set for a network, or what stands in for it at a scale."""
    return dataset_at(scale, model, network_info(model).dataset)


def dataset_at(scale: Scale, model: ModelName, dataset: str) -> str:
    """What a network walks on at a scale in place of the paper's data set, or that itself."""
    found = STAND_IN[scale].get(dataset, dataset)
    return SMALLER.get((model, found), found)


def original_dataset(model: ModelName, dataset: str) -> str:
    """The paper's data set that one stands in for, or its own name."""
    paper = [name for name, info in DATASETS.items() if info.of_the_paper]
    return next(
        (name for name in paper for scale in SCALES if dataset_at(scale, model, name) == dataset),
        dataset,
    )
