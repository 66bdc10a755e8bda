"""What every page is: parameters → walks → traces → figure, table and claims."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from ..markdown import plain
from ..walks.catalogue import DATASETS, dataset_info, network_info
from ..walks.experiment import SIZES, Experiment, ModelName, Strict
from ..walks.parallel import compute
from ..walks.provenance import provenance
from ..walks.resources import Resources
from ..walks.store import Store
from .scales import (
    FIRST_SEEDS,
    JUDGED,
    SCALES,
    Scale,
    Settings,
    check,
    dataset_at,
    default_dataset,
    original_dataset,
    settings_of,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]

T = TypeVar("T")


def _no_repeats(values: list[T]) -> list[T]:
    repeated = sorted({str(each) for each in values if values.count(each) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is named more than once; name each once")
    return values


# One or more, which are walked and counted each for itself.
Each = Annotated[list[T], Field(min_length=1), AfterValidator(_no_repeats)]


class Page(Strict):
    """The parameters of a notebook, and all that it shows.

    Unknown names and impossible values are refused before any work.
    """

    notebook: ClassVar[str]
    """Stem of the notebook's file."""
    subject: ClassVar[str]
    """What is shown, in a few words; of a page without walks."""
    alternative_text: ClassVar[str]
    """What the figure shows, for who cannot see it."""

    @classmethod
    def scales_of(cls, chosen: Mapping[str, Any]) -> tuple[Scale, ...]:
        """The scales that there are for an item of the paper."""
        return SCALES

    @classmethod
    def parameters_at(cls, scale: Scale, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The notebook's parameters for an item of the paper at a scale."""
        return dict(chosen)

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        """The page of one network and seed, as a claim needs it.

        Parameters
        ----------
        scale : str
        model : str
        seed : int
        given : mapping
            Parameters of one's own; those that the page does not know are left out.
        """
        return cls(**{name: value for name, value in given.items() if name in cls.model_fields})

    @classmethod
    def papermill(cls, parameters: Mapping[str, Any]) -> str:
        """The command that runs the notebook with these parameters."""
        words = {
            name: json.dumps(value) if isinstance(value, list) else str(value)
            for name, value in parameters.items()
        }
        chosen = "".join(f" -p {name} {shlex.quote(word)}" for name, word in words.items())
        return f"papermill notebooks/{cls.notebook}.ipynb out.ipynb{chosen}"

    @property
    def shown_scale(self) -> Scale:
        """Whose walks the page's claims rest on."""
        return "quick"

    @property
    def networks(self) -> list[ModelName] | None:
        """Networks that are shown; None: whichever a claim names."""
        return None

    @property
    def scope(self) -> str:
        """What is shown; of a page without walks."""
        return self.subject

    @property
    def made_on(self) -> str | None:
        """What recorded runs were made on; None: it is all computed when the page is made."""
        return None

    def is_there(self, store: Store) -> bool:
        """Whether all that it shows is recorded or cached, so that nothing has to be walked."""
        return bool(self.experiments) and all(map(store.find, self.experiments))

    @property
    def store(self) -> Store:
        """Where its traces are kept."""
        return Store()

    @property
    def given(self) -> dict[str, Any]:
        """The parameters that were set."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    @property
    def experiments(self) -> list[Experiment]:
        """The walks the page needs, in a fixed order."""
        return []

    @property
    def beyond_the_paper(self) -> list[Experiment]:
        """Those of them that show what the paper has nothing of."""
        return []

    def get_traces(self) -> list[xr.Dataset]:
        """The traces that the page shows."""
        return []

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """The figure, from the page's traces."""
        raise NotImplementedError

    def table(self, traces: list[xr.Dataset]) -> str:
        """The page's numbers, as a table in Markdown."""
        raise NotImplementedError

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """The page's numbers by name, as the sentences of `said/NOTEBOOK.md.j2` ask for them."""
        raise NotImplementedError

    def provenance(self, traces: list[xr.Dataset]) -> str:
        """What the page was made from."""
        raise NotImplementedError


class WalksPage(Page):
    """A page of walks; None stands for the value of the scale's settings."""

    scale: Scale = "quick"
    device: str = "auto"
    traces: str | None = None
    scheduler: str | None = None

    settings: ClassVar[Settings] = {}
    """What the page changes of a scale."""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        check(cls.settings, cls.model_fields, cls.__name__)

    @model_validator(mode="after")
    def _at_a_scale_that_there_is(self) -> Self:
        scales = self.scales_of(self.given)
        if self.scale not in scales:
            raise ValueError(
                f"there are no walks of this page at the {self.scale} scale; use "
                f"{', '.join(scales)}"
            )
        return self

    @classmethod
    def scales_of(cls, chosen: Mapping[str, Any]) -> tuple[Scale, ...]:
        """All at which walks are judged; a page that can be walked at full size says so."""
        return JUDGED

    @classmethod
    def parameters_at(cls, scale: Scale, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The scale, and what was chosen, on the data set that stands in for the paper's."""
        found = {"scale": scale, **chosen}
        if "dataset" in chosen:
            found["dataset"] = dataset_at(scale, chosen["model"], chosen["dataset"])
        return found

    @property
    def shown_scale(self) -> Scale:
        return self.scale

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
        return provenance(*traces)

    @property
    def first_seed(self) -> int:
        """The page's own seed, or the first of its scale."""
        given = self.given.get("seed")
        return FIRST_SEEDS.get(self.scale, 0) if given is None else given

    @property
    def tables(self) -> Iterable[Settings]:
        """What changes the scale's settings, in this order."""
        return (self.settings,)

    def fields_of(self, model: ModelName, dataset: str | None = None) -> dict[str, Any]:
        """What the page's settings and parameters say of a network: see `paper.scales`.

        Returns
        -------
        dict
            Experiment fields, and what only the page knows, such as the length of a window.
        """
        dataset = dataset or default_dataset(model, self.scale)
        fields = settings_of(self.scale, model, dataset, self.tables)
        known = Experiment.model_fields.keys() | fields.keys()
        given = {name: value for name, value in self.given.items() if name in known}
        if given.get("convention") == "code":
            # It measures each point of a segment on a plan of its own.
            fields |= {"tolerance": 0.0, "whole_every": 0}
        found = fields | given | {"model": model, "dataset": dataset}
        available = images_for(found)
        # The settings' sizes are bounded by the images there are; one that was given is taken as
        # it is, and refused by Experiment where it is too large.
        bounded = {
            name: min(fields[name], available)
            for name in (*SIZES, "curvature_images")
            if fields.get(name) is not None and name not in given
        }
        return found | bounded


class ModelPage(WalksPage):
    """A page of one network on one data set."""

    model: ModelName = "vgg11"
    dataset: str | None = None
    width: PositiveFloat | None = None
    training_images: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0)] | None = None

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        # One seed a page, so that the ledger's seeds share no walk.
        own = {"scale": scale, "model": model, "seed": seed, "seeds": 1}
        return super().for_seed(scale, model, seed, {**given, **own})

    @property
    def networks(self) -> list[ModelName]:
        return [self.model]

    @property
    def fields(self) -> dict[str, Any]:
        """What settings and parameters say of this page's network and data set."""
        return self.fields_of(self.model, self.dataset)


class NetworksPage(WalksPage):
    """A page of several networks, each on its own data set."""

    models: Each[ModelName] = Field(["vgg11", "resnet56", "mlp"])
    width: PositiveFloat | None = None
    training_images: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0)] | None = None

    @classmethod
    def for_seed(cls, scale: Scale, model: ModelName, seed: int, given: Mapping[str, Any]) -> Self:
        own = {"scale": scale, "models": [model], "seed": seed}
        return super().for_seed(scale, model, seed, {**given, **own})

    @property
    def networks(self) -> list[ModelName]:
        return self.models


def experiment(fields: Mapping[str, Any], **more: Any) -> Experiment:
    """The experiment in a page's fields, without what only the page knows."""
    known = {name: value for name, value in fields.items() if name in Experiment.model_fields}
    return Experiment(**{**known, **more})


def named(dataset: str) -> str:
    """A data set by the name that an experiment gives it; Markdown."""
    return f"`{dataset}`" if dataset in DATASETS else plain(dataset)


def setting_of(experiment: Experiment) -> str:
    """In a few words, what network walks on what data; Markdown."""
    original = original_dataset(experiment.model, experiment.dataset)
    data = DATASETS[original].title if original in DATASETS else plain(original)
    if original != experiment.dataset:
        data = f"{named(experiment.dataset)} in place of {data}"
    width = "" if experiment.width == 1 else f" at width {experiment.width:g}"
    count = experiment.training_images or dataset_info(experiment.dataset).training_images
    images = "all images" if count is None else f"{count:,} images"
    if experiment.classes is not None:
        data += f" ({experiment.classes} classes)"
    return f"{network_info(experiment.model).title}{width}, {images}, {data}"


def in_the_paper(experiment: Experiment, *models: str) -> bool:
    """Whether it is one of these networks, on CIFAR-10 or what stands in for it."""
    original = original_dataset(experiment.model, experiment.dataset)
    return experiment.model in models and original == "cifar10"


def images_for(fields: Mapping[str, Any]) -> int:
    """Training images that a walk of a page's fields will have."""
    known = fields.get("training_images") or dataset_info(fields["dataset"]).training_images
    # A folder's images are not counted yet here: then the batches are as asked for.
    return known or 45_000


def epochs_for(steps: int, fields: Mapping[str, Any], images: int) -> int:
    """Epochs in which a walk makes at least so many steps."""
    if fields.get("update") == "gd":
        return steps
    return -(-steps // max(1, images // fields["batch_size"]))


def markdown_table(header: list[str], rows: Iterable[list[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
