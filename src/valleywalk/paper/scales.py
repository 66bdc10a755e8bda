"""What each page walks at each scale; any value can be overridden."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import xarray as xr
from matplotlib.figure import Figure
from pydantic import Field

from ..walks.catalogue import NETWORKS, dataset_info
from ..walks.experiment import SIZES, Experiment, ModelName, Strict
from ..walks.parallel import compute
from ..walks.provenance import provenance
from ..walks.resources import Resources
from ..walks.store import Store

# Seconds for tests; minutes on data that need no download; hours on real data sets, on a CPU; the
# paper's own setting, on a GPU.
Scale = Literal["smoke", "quick", "overnight", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Family = Literal[
    "gd", "first", "edge", "spectral", "factors", "isotropic", "schedules", "tables", "structure"
]
Table = dict[str, dict[str, Any]]

TITLES = {name: network.title for name, network in NETWORKS.items()}

# What stands in for the paper's data sets where no download is wanted.
EMBEDDED: dict[tuple[ModelName, str], str] = {
    ("mlp", "mnist"): "mnist5k",
    ("vgg11", "cifar10"): "photos",
    # ResNet-56 is deep: each of its images costs ten times what one of VGG-11's costs.
    ("resnet56", "cifar10"): "photos16",
    ("vgg11", "tiny-imagenet"): "photos64",
}
# At each scale, for a network and the paper's data set: what it walks on instead, if not on that.
STAND_IN: dict[Scale, dict[tuple[ModelName, str], str]] = {
    "smoke": EMBEDDED,
    "quick": EMBEDDED,
    "overnight": {("vgg11", "cifar10"): "cifar9k", ("resnet56", "cifar10"): "cifar9k"},
    "paper": {},
}

# A scale is this table and nothing else: experiment fields by scale, then by model or by data set;
# the data set's win. Two names are no experiment fields: "iterations" is the length of the window
# that a figure shows, "epochs_shown" are the epochs at whose start one walk opens such windows.
SETTINGS: dict[Scale, Table] = {
    "smoke": {
        "mlp": {
            "width": 0.1,
            "training_images": 180,
            "batch_size": 20,
            "iterations": 4,
            "epochs_shown": (1, 2),
        },
        "vgg11": {
            "width": 0.0625,
            "training_images": 40,
            "batch_size": 20,
            "evaluation_batch_size": 20,
            "iterations": 3,
            "epochs_shown": (1, 2, 3),
        },
        "resnet56": {
            "width": 0.0625,
            "training_images": 20,
            "batch_size": 10,
            "evaluation_batch_size": 10,
            "iterations": 2,
            "epochs_shown": (1, 2),
        },
    },
    "quick": {
        "mlp": {"iterations": 40, "evaluation_images": 2000, "epochs_shown": (1, 2, 10, 25)},
        "vgg11": {
            "width": 0.125,
            "training_images": 1000,
            "evaluation_images": 200,
            "iterations": 40,
            "epochs_shown": (*range(1, 41), 100),
        },
        "resnet56": {
            "width": 0.25,
            "training_images": 400,
            "evaluation_images": 200,
            "iterations": 24,
            "epochs_shown": (1, 2, 10, 25, 100),
        },
        "photos64": {"training_images": 300, "evaluation_images": 200},
    },
    "overnight": {
        "mlp": {"iterations": 40, "epochs_shown": (1, 2)},
        "vgg11": {
            "width": 0.25,
            "evaluation_images": 400,
            "iterations": 40,
            "epochs_shown": (*range(1, 41), 100),
        },
        "resnet56": {
            "width": 0.25,
            "training_images": 1000,
            "evaluation_images": 200,
            "iterations": 24,
            "epochs_shown": (1, 2, 10, 25, 100),
        },
        "tiny-imagenet": {"width": 0.25, "classes": 20, "training_images": 1000},
    },
    "paper": {
        "mlp": {"iterations": 40, "epochs_shown": (1, 2)},
        "vgg11": {"iterations": 40, "epochs_shown": (2, 25, 100)},
        "resnet56": {"iterations": 40, "epochs_shown": (2, 25, 100)},
        "cifar10": {"augmentation": True},
        # The paper's subset of Tiny-ImageNet is not defined; these are 10,000 images.
        "tiny-imagenet": {"classes": 20, "training_images": 10_000},
    },
}

# What some families of pages change of it.
FAMILIES: dict[Family, dict[Scale, Table]] = {
    # Full-batch gradient descent. Its batch size is the chunk that batch norm sees: the authors'
    # 5,000 of 45,000 images, or as near to nine chunks as the scale allows. Its loss is measured
    # on all images, in the same chunks; augmentation would make the full gradient random.
    "gd": {
        "smoke": {"mlp": {"batch_size": 20, "evaluation_batch_size": 20}},
        "quick": {
            "mlp": {"batch_size": 445, "evaluation_batch_size": 445, "evaluation_images": None},
            "vgg11": {"evaluation_images": None},
            "resnet56": {"evaluation_images": None},
            "photos64": {"evaluation_images": None},
        },
        "overnight": {
            "mlp": {"batch_size": 5000},
            "vgg11": {
                "training_images": 2250,
                "batch_size": 250,
                "evaluation_batch_size": 250,
                "evaluation_images": None,
            },
            "resnet56": {"training_images": 900, "evaluation_images": None},
            "tiny-imagenet": {
                "training_images": 900,
                "batch_size": 100,
                "evaluation_batch_size": 100,
            },
        },
        "paper": {
            "mlp": {"batch_size": 5000},
            "vgg11": {"batch_size": 5000},
            "resnet56": {"batch_size": 5000},
            "cifar10": {"augmentation": False},
            "tiny-imagenet": {"batch_size": 5000},
        },
    },
    # Figures 1, 2, 9, 10, 17, 18, 20 and 21: the first steps, few enough for a wider network. A
    # narrow one bounces later on CIFAR-10: at an eighth of the width not within forty steps.
    "first": {
        "smoke": {},
        "quick": {},
        "overnight": {"vgg11": {"width": 0.5}, "tiny-imagenet": {"width": 0.25}},
        "paper": {},
    },
    # Gradient descent for long enough to come to the edge of stability, and the curvature of the
    # very loss it descends: on all its images, which are therefore few. It ends before they are all
    # fitted, since then the curvature of cross-entropy goes to zero wherever the walk stands.
    "edge": {
        "smoke": {
            name: {
                "epochs": 4,
                "curvature_every": 2,
                "training_images": 20,
                "batch_size": 10,
                "evaluation_batch_size": 10,
            }
            for name in NETWORKS
        },
        "quick": {
            name: {
                "epochs": epochs,
                "curvature_every": epochs // 10,
                "training_images": images,
                "batch_size": 100,
                "evaluation_batch_size": 100,
                "evaluation_images": None,
            }
            for name, epochs, images in (
                ("mlp", 300, 300),
                ("vgg11", 100, 300),
                ("resnet56", 100, 100),
            )
        },
        "overnight": {
            name: {
                "epochs": epochs,
                "curvature_every": epochs // 15,
                "training_images": images,
                "batch_size": images,
                "evaluation_batch_size": images,
                "evaluation_images": None,
            }
            for name, epochs, images in (
                ("mlp", 300, 1000),
                ("vgg11", 75, 500),
                ("resnet56", 75, 100),
            )
        },
        "paper": {
            name: {
                "epochs": 1000,
                "curvature_every": 20,
                "training_images": 5000,
                "batch_size": 5000,
                "evaluation_batch_size": 5000,
            }
            for name in NETWORKS
        },
    },
    # Figures 3 and 7. Figure 7 has another learning rate than all other figures of ResNet-56.
    "spectral": {
        "smoke": {
            "mlp": {"epochs": 2, "curvature_every": 1, "curvature_images": 20},
            "vgg11": {"epochs": 2, "curvature_every": 1, "curvature_images": 20},
            "resnet56": {"epochs": 1, "curvature_every": 1, "curvature_images": 10},
        },
        "quick": {
            "mlp": {"epochs": 20, "curvature_every": 2, "curvature_images": 500},
            "vgg11": {"epochs": 40, "curvature_every": 8, "curvature_images": 200},
            "resnet56": {
                "learning_rate": 0.3,
                "epochs": 40,
                "curvature_every": 8,
                "curvature_images": 200,
            },
        },
        "overnight": {
            "mlp": {"epochs": 40, "curvature_every": 4, "curvature_images": 1000},
            "vgg11": {"epochs": 40, "curvature_every": 4, "curvature_images": 400},
            "resnet56": {
                "learning_rate": 0.3,
                "epochs": 40,
                "curvature_every": 8,
                "curvature_images": 200,
            },
        },
        "paper": {
            "mlp": {"epochs": 40, "curvature_every": 1, "curvature_images": 25_000},
            "vgg11": {"epochs": 100, "curvature_every": 1, "curvature_images": 25_000},
            "resnet56": {
                "learning_rate": 0.3,
                "epochs": 100,
                "curvature_every": 1,
                "curvature_images": 25_000,
            },
        },
    },
    # Figures 4 and 22 to 24. The paper does not print its grid.
    "factors": {
        "smoke": {
            name: {
                "learning_rates": (0.05, 0.1),
                "batch_sizes": (10, 20),
                "batch_size": 10,
                "iterations": 4,
                "seeds": 2,
            }
            for name in NETWORKS
        },
        "quick": {
            name: {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (25, 50, 100, 200),
                "iterations": iterations,
                "seeds": 3,
            }
            for name, iterations in (
                ("mlp", 200),
                ("vgg11", 100),
                ("resnet56", 60),
                ("photos64", 60),
            )
        },
        "overnight": {
            # The paper's own epoch for the MLP.
            "mlp": {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (50, 100, 200, 400),
                "iterations": 4500,
                "seeds": 3,
            },
            **{
                name: {
                    "learning_rates": (0.05, 0.1, 0.2),
                    "batch_sizes": (25, 50, 100, 200),
                    "iterations": iterations,
                    "seeds": 3,
                }
                for name, iterations in (("vgg11", 400), ("resnet56", 60), ("tiny-imagenet", 60))
            },
        },
        "paper": {
            name: {
                "learning_rates": (0.05, 0.1, 0.2),
                "batch_sizes": (50, 100, 200, 400),
                "iterations": 4500,
                "seeds": 3,
            }
            for name in NETWORKS
        },
    },
    # Figures 5, 25 and 26. SGD has the batch size of `sgd_batch_size`; after `switch_epoch` the
    # noisiest walk goes on in the three ways of footnote 7.
    "isotropic": {
        "smoke": {
            "mlp": {"epochs": 4, "sgd_batch_size": 20},
            "vgg11": {"epochs": 4, "sgd_batch_size": 20},
            "resnet56": {"epochs": 2, "sgd_batch_size": 10},
        },
        "quick": {
            "mlp": {
                "epochs": 80,
                "training_images": 1000,
                "batch_size": 100,
                "evaluation_batch_size": 100,
            },
            "vgg11": {"epochs": 80, "training_images": 300},
            "resnet56": {"epochs": 40, "training_images": 200},
        },
        "overnight": {
            "mlp": {
                "epochs": 200,
                "training_images": 5000,
                "batch_size": 500,
                "evaluation_batch_size": 500,
            },
            "vgg11": {"epochs": 200, "training_images": 500},
            "resnet56": {"epochs": 80, "training_images": 200},
        },
        "paper": {
            "mlp": {"epochs": 2000},
            "vgg11": {"epochs": 2000},
            "resnet56": {"epochs": 2000},
        },
    },
    # Figures 6 and 27: each schedule with each of the rates and seeds.
    "schedules": {
        "smoke": {
            name: {"epochs": 2, "learning_rates": (0.05, 0.1), "seeds": 2} for name in NETWORKS
        },
        "quick": {
            "mlp": {"epochs": 10, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3},
            "vgg11": {"epochs": 12, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3},
            "resnet56": {"epochs": 12, "learning_rates": (0.1, 0.3), "seeds": 3},
        },
        "overnight": {
            "mlp": {"epochs": 10, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3},
            "vgg11": {
                "epochs": 12,
                "training_images": 4000,
                "learning_rates": (0.03, 0.1, 0.3),
                "seeds": 3,
            },
            "resnet56": {
                "epochs": 12,
                "training_images": 500,
                "learning_rates": (0.1, 0.3),
                "seeds": 3,
            },
        },
        "paper": {
            name: {"epochs": 100, "learning_rates": (0.03, 0.1, 0.3), "seeds": 3}
            for name in NETWORKS
        },
    },
    # Tables 1 and 2 and Figure 8: at the paper's scale whole epochs, otherwise the same walks as
    # in the walk figures.
    "tables": {
        "smoke": {},
        "quick": {},
        # Whole epochs of the MLP as in the paper, their loss on fewer images.
        "overnight": {
            "mlp": {"iterations": None, "epochs_shown": (1, 10, 25), "evaluation_images": 2000},
        },
        "paper": {
            "mlp": {"iterations": None, "epochs_shown": (1, 10, 25)},
            "vgg11": {"iterations": None, "epochs_shown": (*range(1, 41), 100)},
            "resnet56": {"iterations": None, "epochs_shown": (1, 10, 25, 100)},
        },
    },
    # Appendix D: the gradients of many small batches, since their number bounds the covariance's
    # rank.
    "structure": {
        "smoke": {
            name: {
                "epochs": 1,
                "training_images": 40,
                "evaluation_images": 40,
                "evaluation_batch_size": 5,
                "curvature_every": 1,
                "curvature_images": 30,
            }
            for name in NETWORKS
        },
        "quick": {
            name: {
                "epochs": epochs,
                "evaluation_batch_size": 20,
                "curvature_every": every,
                "curvature_images": 120,
            }
            for name, epochs, every in (("mlp", 6, 2), ("vgg11", 24, 8), ("resnet56", 24, 24))
        },
        "overnight": {
            name: {
                "epochs": epochs,
                "evaluation_batch_size": 20,
                "curvature_every": every,
                "curvature_images": 120,
            }
            for name, epochs, every in (("mlp", 6, 2), ("vgg11", 12, 4), ("resnet56", 24, 24))
        },
        "paper": {
            name: {
                "epochs": 100,
                "evaluation_batch_size": 100,
                "curvature_every": 10,
                "curvature_images": 25_000,
            }
            for name in NETWORKS
        },
    },
}


class Page(Strict):
    """What all notebooks have in common: parameters → experiments → traces → figure and table.

    None stands for the value of the scale's table. Unknown names and impossible values are refused
    before any work.
    """

    scale: Scale = "quick"
    device: str = "auto"
    traces: str | None = None
    scheduler: str | None = None

    subject: ClassVar[str] = "walks"
    alternative_text: ClassVar[str]

    @property
    def experiments(self) -> list[Experiment]:
        """The walks the page needs, in a fixed order."""
        raise NotImplementedError

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The figure, from the traces of `experiments`."""
        raise NotImplementedError

    def table(self, traces: list[xr.Dataset]) -> str:
        """The page's numbers, as a table in Markdown."""
        raise NotImplementedError

    @property
    def store(self) -> Store:
        """The store of traces in the folder `traces`, or the default one."""
        return Store(Path(self.traces).expanduser() if self.traces else None)

    def get_traces(self) -> list[xr.Dataset]:
        """The trace of each experiment; walked now, in parallel, if there is none yet."""
        experiments = self.experiments
        if len(experiments) > 1 or self.scheduler:
            compute(experiments, self.store, Resources(self.device, scheduler=self.scheduler))
        return [self.store.get(experiment, device=self.device) for experiment in experiments]

    def provenance(self, traces: list[xr.Dataset]) -> str:
        """What the page was made from."""
        return provenance(*traces)

    def available(self, dataset: str, fields: dict[str, Any]) -> int:
        """Training images there will be."""
        # A folder's images are not counted yet here: then the batches are as asked for.
        return fields.get("training_images") or dataset_info(dataset).training_images or 45_000

    def fields_of(self, model: ModelName, dataset: str | None, *families: Family) -> dict[str, Any]:
        """Experiment fields of this scale's tables, overridden by what was given one by one."""
        dataset = dataset or default_dataset(model, self.scale)
        fields: dict[str, Any] = {"batch_size": 100, "evaluation_batch_size": 100}
        for table in (SETTINGS, *(FAMILIES[family] for family in families)):
            of_scale = table[self.scale]
            fields |= of_scale.get(model, {}) | of_scale.get(dataset, {})
        given = self.model_dump(exclude_none=True, exclude_unset=True)
        known = Experiment.model_fields.keys() | fields.keys()
        given = {name: value for name, value in given.items() if name in known}
        available = self.available(dataset, fields | given)
        # The tables' sizes are bounded by the images there are; one that was given is taken as it
        # is, and refused by Experiment where it is too large.
        fields |= {
            name: min(fields[name], available)
            for name in (*SIZES, "curvature_images")
            if fields.get(name) is not None
        }
        return fields | given | {"model": model, "dataset": dataset}


class ModelPage(Page):
    """Parameters of the notebooks that show one network on one data set."""

    model: ModelName = "vgg11"
    dataset: str | None = None
    width: PositiveFloat | None = None
    training_images: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    def fields(self, *families: Family) -> dict[str, Any]:
        """Experiment fields of this page's network and data set."""
        return self.fields_of(self.model, self.dataset, *families)


def default_dataset(model: ModelName, scale: Scale) -> str:
    """The paper's data set for a network, or what stands in for it at a scale."""
    return dataset_at(scale, model, NETWORKS[model].dataset)


def dataset_at(scale: Scale, model: ModelName, dataset: str) -> str:
    """What a network walks on at a scale in place of the paper's data set, or that itself."""
    return STAND_IN[scale].get((model, dataset), dataset)


def original_dataset(model: ModelName, dataset: str) -> str:
    """The paper's data set that one stands in for, or its own name."""
    for table in STAND_IN.values():
        for (network, original), stand_in in table.items():
            if (network, stand_in) == (model, dataset):
                return original
    return dataset


def epochs_for(steps: int, fields: dict[str, Any], images: int) -> int:
    """Epochs in which a walk makes at least so many steps."""
    if fields.get("update") == "gd":
        return steps
    return -(-steps // max(1, images // fields["batch_size"]))


def experiment_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Those that Experiment knows, without what belongs to the page."""
    return {name: value for name, value in fields.items() if name in Experiment.model_fields}


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
