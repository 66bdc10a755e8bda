"""What to do: a frozen, validated description of one walk. Its content hash is its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ..allowed import FEWEST_INTERVALS, MOST_INTERVALS, unknown_names
from .catalogue import (
    DATASETS,
    FOLDER_NAME,
    FOLDER_PREFIX,
    NETWORKS,
    dataset_info,
    is_folder,
    network_info,
)

if TYPE_CHECKING:
    import numpy as np

# Raised whenever the same fields, or another default, would give other numbers, so that older
# traces are not mistaken for these.
REVISION = 1

# Fields that cannot be larger than the number of training images.
SIZES = ("batch_size", "switch_batch_size", "evaluation_batch_size", "evaluation_images")

# What the hash of a folder's images stands for.
SAID_BY_IMAGES = ("dataset", "image_size", "classes")

# On which the noise of the loss is measured.
REDRAWN_PLANS = 5

# Sets the random numbers that draw steps apart from all others.
DRAWN_STEPS = 13

# Far beyond what anyone walks, and little enough for all that is seen to stay in memory.
MOST_EPOCHS, MOST_STEPS, MOST_LOSSES = 1_000_000, 10_000_000, 100_000_000

PositiveInt = Annotated[int, Field(ge=1)]
Points = Annotated[int, Field(ge=FEWEST_INTERVALS, le=MOST_INTERVALS)]
UpdateName = Literal["sgd", "gd"]
Convention = Literal["text", "code"]
BatchNormMode = Literal["train", "eval"]
Schedule = Literal["constant", "stepwise", "clr", "trapezoid"]
NoiseMeasure = Literal["variance", "deviation"]
NoiseEstimate = Literal["maximum", "cross-fitted"]


def _known_network(name: str) -> str:
    return network_info(name).name


ModelName = Annotated[str, AfterValidator(_known_network)]


class Strict(BaseModel):
    """Frozen fields; an unknown name is refused with its nearest match and all allowed names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, values: Any) -> Any:
        if isinstance(values, dict):
            problem = unknown_names(values, cls.model_fields, "parameter")
            if problem:
                raise ValueError(problem)
        return values


@dataclass(frozen=True)
class Phase:
    """How an epoch is walked."""

    update: UpdateName
    learning_rate: float
    batch_size: int
    noise_factor: float

    def steps(self, images: int) -> int:
        """One for gd; for sgd the number of full batches (an incomplete last one is left out)."""
        return 1 if self.update == "gd" else images // self.batch_size


class Experiment(Strict):
    """One walk: model, data, update rule, and what is measured on the way.

    Instances are immutable. Two experiments are the same if and only if their `hash` is the same,
    in any process and any version of Python. A walk on a folder of images is named by the images,
    not by where they lie: by `data_hash`, which `identity.identified` reads.

    Raises
    ------
    pydantic.ValidationError
        (a `ValueError`) naming the field, what was given and what is allowed.
    """

    model: ModelName = Field(description=f"Network: {', '.join(NETWORKS)}.")
    """Network: a name in the catalogue."""
    dataset: str = Field(description=f"{', '.join(DATASETS)}, or folder:PATH.")
    """Data set: a name in the catalogue, or folder:PATH; folder, with `data_hash`, where the path
    is not told."""
    data_hash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    """Hash of the pixels and labels of a folder, as they are cut and chosen; it stands for path,
    image_size and classes in what the experiment is. None: they are not read yet."""
    update: UpdateName = "sgd"
    """sgd: one mini-batch a step. gd: the mean gradient of all training images a step."""
    learning_rate: float = Field(0.1, gt=0)
    """Step size η of θ_{t+1} = θ_t − η g_t (paper, Eq. 1)."""
    batch_size: PositiveInt = 100
    """Images batch norm sees at a time: the mini-batch of sgd, the chunk of gd."""
    schedule: Schedule = "constant"
    """How the step size changes over the walk, `learning_rate` being its largest value."""
    noise_factor: float = Field(0.0, ge=0)
    """Isotropic Gaussian noise added to each full gradient (paper, Section 4), as a factor of the
    largest per-parameter variance of the gradient at initialisation; gd only."""
    noise_measure: NoiseMeasure = "variance"
    """What noise_factor times that variance is: the noise's variance (the paper's text) or its
    standard deviation (the authors' code)."""
    noise_estimate: NoiseEstimate = "maximum"
    """How that largest variance is estimated. maximum: the largest of all parameters' estimates
    from the evaluation plan's batches, which is too large where these are few. cross-fitted: plans
    are drawn anew, and the parameter is chosen on some of them and estimated on the others."""
    switch_epoch: PositiveInt | None = None
    """Epoch after which the walk goes on in another way (paper, footnote 7); None: never."""
    switch_update: UpdateName | None = None
    """Update from then on, without isotropic noise; None: as before, noise included."""
    switch_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Step size from then on; None: as before."""
    switch_batch_size: PositiveInt | None = None
    """Batch size from then on; None: as before."""
    weight_decay: float = Field(1e-4, ge=0)
    """Coefficient of ½‖θ‖² in the trained objective; part of the gradient whose cosine is taken."""
    augmentation: bool = False
    """Random crop (padding 4) and horizontal flip of the training images."""
    convention: Convention = "text"
    """text: as the paper says. code: as the authors' released code does (see the book)."""
    width: float = Field(1.0, gt=0, le=4)
    """Factor on every layer's number of channels or units; 1 is the paper's network."""
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Side in pixels to which the images of a folder are cut; None: their own size."""
    classes: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """Use only this many classes of a folder or of tiny-imagenet, the first ones; None: all."""
    training_images: PositiveInt | None = None
    """Use only this many training images, the first ones; None: all."""
    evaluation_images: PositiveInt | None = None
    """Images of the training set on which the segment's loss is measured; None: all."""
    evaluation_batch_size: PositiveInt = 100
    """Images batch norm sees at a time when the loss is measured."""
    batch_norm: BatchNormMode = "train"
    """Mode of batch norm when the segment's loss is measured (paper, footnote 6: train)."""
    points: Points = 10
    """Intervals into which a segment is cut: its loss is given at points + 1 values of α."""
    tolerance: float = Field(0.0, ge=0, lt=1)
    """0: the loss is measured at each of them. Else at a few, the others read off a polynomial,
    mostly within this share of the segment's range; 0.02 takes some four measurements."""
    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] = 1
    """Length of the walk. One epoch of gd is one step."""
    probed_epochs: tuple[PositiveInt, ...] | None = None
    """Epochs, counted from 1, from whose start on segments are measured; None: all."""
    probed_iterations: PositiveInt | None = None
    """Segments measured from the start of each probed epoch on; None: to the end of the epoch, or
    none where steps are drawn (sampled_iterations)."""
    sampled_iterations: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Segments measured at steps drawn at random in each probed epoch, two from each of equal
    stretches of it: a sample of the whole epoch. None: no sample."""
    whole_every: int = Field(0, ge=0)
    """Of the segments measured in a probed epoch, the first and then every n-th is measured at
    every point whatever the tolerance: a sample that few points can be held against; 0: none. Of
    gd, whose epochs have one step, that is every segment."""
    evaluate_every: int = Field(1, ge=0)
    """Measure training and validation loss and accuracy every so many epochs; 0: never."""
    curvature_every: int = Field(0, ge=0)
    """Measure both ends of the Hessian's spectrum every so many epochs; 0: never."""
    curvature_images: PositiveInt | None = None
    """Images of the evaluation plan, whole batches, on which that is measured; None: all."""
    noise_structure: bool = False
    """With each curvature, measure how the noise of the plan's mini-batches lies along it."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of initialisation, order of images, augmentation and evaluation plan."""
    _counted: tuple[int, int] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _possible(self) -> Experiment:
        folder = is_folder(self.dataset)
        if self.dataset == FOLDER_PREFIX:
            raise ValueError("dataset 'folder:' needs a path, as in folder:/data/my-images")
        if self.dataset == FOLDER_NAME and self.data_hash is None:
            raise ValueError(
                "dataset 'folder' needs a path, as in folder:/data/my-images, or data_hash, the "
                "hash of images on which a trace was made"
            )
        if self.data_hash is not None and not folder:
            raise ValueError(
                f"data_hash applies to folder:PATH only; {self.dataset!r} is known by its name"
            )
        info = dataset_info(self.dataset)
        if self.image_size is not None and not folder:
            raise ValueError(
                f"image_size applies to folder:PATH only; {self.dataset!r} has a size of its own"
            )
        if self.classes is not None and not info.by_class:
            which = " and ".join(known.name for known in DATASETS.values() if known.by_class)
            raise ValueError(
                f"classes applies to folder:PATH and {which} only; it was given for "
                f"{self.dataset!r}"
            )
        available = self.training_images
        known = info.training_images
        if known is not None:
            if available is not None and available > known:
                raise ValueError(
                    f"training_images is {available}, but {self.dataset!r} has {known}; "
                    f"choose at most {known}, or None for all"
                )
            available = available or known
        if available is not None:
            for name in SIZES:
                value = getattr(self, name)
                if value is not None and value > available:
                    raise ValueError(
                        f"{name} is {value}, but there are only {available} training images; "
                        f"choose at most {available}"
                    )
        if self.batch_norm == "train" and self.evaluation_batch_size < 2:
            raise ValueError(
                "evaluation_batch_size is 1, but batch norm in train mode needs at least 2 images; "
                "raise it, or set batch_norm='eval'"
            )
        if self.batch_norm == "train" and self.evaluation_images == 1:
            raise ValueError(
                "evaluation_images is 1, but batch norm in train mode needs at least 2 images; "
                "raise it, or set batch_norm='eval'"
            )
        for name in ("batch_size", "switch_batch_size"):
            if getattr(self, name) == 1:
                raise ValueError(f"{name} is 1, but batch norm needs at least 2 images in a batch")
        late = [epoch for epoch in self.probed_epochs or () if epoch > self.epochs]
        if late:
            raise ValueError(
                f"probed_epochs names epoch {late[0]}, but the walk has {self.epochs}; "
                f"raise epochs to {max(late)}"
            )
        if self.noise_factor and self.update != "gd":
            raise ValueError(
                f"noise_factor is {self.noise_factor:g} with update 'sgd'; isotropic noise is "
                "added to the full gradient only: set update='gd'"
            )
        if self.sampled_iterations is not None:
            self._check_sample(available)
        if available is not None:
            self.check_images(available)
        if self.tolerance and self.convention == "code":
            raise ValueError(
                f"tolerance is {self.tolerance:g} with convention 'code', which measures each "
                "point of a segment on a plan of its own: there is no curve to read others off; "
                "leave tolerance out"
            )
        if self.whole_every and not self.tolerance:
            raise ValueError("whole_every needs a tolerance; without one all points are measured")
        if self.curvature_every > self.epochs:
            raise ValueError(
                f"curvature_every is {self.curvature_every}, but the walk has {self.epochs} epochs "
                f"and would end before any curvature is measured; choose at most {self.epochs}"
            )
        if self.noise_structure and not self.curvature_every:
            raise ValueError("noise_structure is measured with curvature: set curvature_every")
        if self.noise_structure and self.convention == "code":
            raise ValueError(
                "noise_structure is measured along eigenvectors, which convention 'code' does not "
                "search for; use convention 'text'"
            )
        self._check_switch()
        return self

    def _check_sample(self, available: int | None) -> None:
        if self.update == "gd":
            raise ValueError(
                "an epoch of gd is one step, of which nothing can be drawn; leave "
                "sampled_iterations out"
            )
        # The images of a folder are not counted yet here.
        if available is not None:
            from ..analysis import stretches

            stretches(self.phase(1).steps(available), self.sampled_iterations or 0)

    def check_images(self, images: int) -> None:
        """Refuse what is impossible with so many training images.

        Parameters
        ----------
        images : int
            Those of a folder are not counted before they are read.

        Raises
        ------
        ValueError
            More steps than `MOST_STEPS`, or more losses along segments than `MOST_LOSSES`; or fewer
            batches of the evaluation plan than the gradient's variance or its structure takes.
        """
        self._check_length(images)
        self._check_batches(self.evaluation_images or images)

    def _check_length(self, images: int) -> None:
        in_epoch = max(self.phase(epoch).steps(images) for epoch in (1, self.epochs))
        steps = self.epochs * in_epoch
        if steps > MOST_STEPS:
            raise ValueError(
                f"{self.epochs} epochs of {in_epoch} steps are {steps:,} steps, but a walk has "
                f"{MOST_STEPS:,} at most; choose fewer epochs, or larger batches"
            )
        of_epoch = self._window(in_epoch) + (self.sampled_iterations or 0)
        segments = min(steps, len(self._all_probed_epochs) * of_epoch)
        losses = segments * (self.points + 1)
        if losses > MOST_LOSSES:
            raise ValueError(
                f"{segments:,} segments of {self.points + 1} losses are {losses:,} losses, but a "
                f"walk keeps {MOST_LOSSES:,} at most; choose fewer points, probed_epochs, "
                "probed_iterations or sampled_iterations"
            )

    def _check_batches(self, images: int) -> None:
        from ..analysis import DIRECTIONS

        size, batches = self.evaluation_batch_size, self.evaluation_batches(images)
        if self.noise_factor and batches < 2:
            raise ValueError(
                f"{images} images in batches of {size} are one batch, but the gradient's variance, "
                "which gives the noise its size, needs two or more; lower evaluation_batch_size"
            )
        if self.curvature_images is not None:
            batches = min(batches, max(1, self.curvature_images // size))
        if self.noise_structure and batches < DIRECTIONS + 2:
            raise ValueError(
                f"noise_structure needs {DIRECTIONS + 2} or more batches for the noise's top "
                f"{DIRECTIONS} directions, and these are {batches}; raise evaluation_images and "
                f"curvature_images, or lower evaluation_batch_size (now {size})"
            )

    def evaluation_batches(self, images: int) -> int:
        """Batches of an evaluation plan of so many images; a last image alone joins those before.

        Parameters
        ----------
        images : int
        """
        return max(1, -(-(images - 1) // self.evaluation_batch_size))

    def _check_switch(self) -> None:
        changed = (self.switch_update, self.switch_learning_rate, self.switch_batch_size)
        if self.switch_epoch is None:
            if any(value is not None for value in changed):
                raise ValueError("a change in mid-walk needs switch_epoch, after which it holds")
            return
        if all(value is None for value in changed):
            raise ValueError(
                "switch_epoch is given, but no change: set switch_update, switch_learning_rate or "
                "switch_batch_size"
            )
        if self.switch_epoch >= self.epochs:
            raise ValueError(
                f"switch_epoch is {self.switch_epoch}, but the walk has {self.epochs} epochs; "
                f"choose at most {self.epochs - 1}"
            )
        if self.schedule != "constant":
            raise ValueError(f"schedule {self.schedule!r} cannot be switched; use 'constant'")
        if self.probed_epochs != ():
            raise ValueError("a walk that switches measures no segments: set probed_epochs=()")

    def phase(self, epoch: int) -> Phase:
        """How an epoch, counted from 1, is walked."""
        if self.switch_epoch is None or epoch <= self.switch_epoch:
            return Phase(self.update, self.learning_rate, self.batch_size, self.noise_factor)
        return Phase(
            self.switch_update or self.update,
            self.switch_learning_rate or self.learning_rate,
            self.switch_batch_size or self.batch_size,
            0.0 if self.switch_update else self.noise_factor,
        )

    @property
    def unread(self) -> bool:
        """Whether its images lie in a folder and are not read yet."""
        return self.dataset.startswith(FOLDER_PREFIX) and self.data_hash is None

    @property
    def counted(self) -> tuple[int, int] | None:
        """Training and validation images of its folder; None: not counted, or no folder."""
        return self._counted

    def with_images(self, counted: tuple[int, int], **said: Any) -> Experiment:
        """The same experiment with what the images of its folder say of it.

        Parameters
        ----------
        counted : (int, int)
            How many are for training and for validation; no part of what the experiment is.
        **said
            Fields with their values.
        """
        found = self.model_copy(update=said)
        found._counted = counted
        return found

    @property
    def without_path(self) -> Experiment:
        """The same experiment, not saying where its images lie; for what is kept."""
        return self if self.data_hash is None else self.model_copy(update={"dataset": FOLDER_NAME})

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name this experiment.

        Raises
        ------
        ValueError
            The images of its folder are not read yet.
        """
        if self.unread:
            raise ValueError(
                f"what the walk is on {self.dataset!r} depends on its images, which are not read "
                "yet; walks.identity.identified(experiment) reads them"
            )
        # Defaults are left out, so that a new field with a default renames no older experiment.
        content = self.model_dump(mode="json", exclude_defaults=True)
        if self.data_hash is not None:
            content = {k: v for k, v in content.items() if k not in SAID_BY_IMAGES}
        content |= {"revision": REVISION}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def _content(self) -> tuple[Any, ...]:
        """What makes two experiments the same."""
        left_out = SAID_BY_IMAGES if self.data_hash is not None else ()
        return tuple(
            getattr(self, name) for name in type(self).model_fields if name not in left_out
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def extends(self, other: Experiment) -> bool:
        """Whether this is the other walk with more epochs, so that it can go on from its end.

        All fields but `epochs` and `probed_epochs` are the same, and of the other's epochs the same
        ones are probed. A schedule over the whole walk, or a switch, rules that out; so does a
        window of the other that its end cuts off.
        """
        if self.epochs <= other.epochs or self.schedule != "constant" or self.switch_epoch:
            return False
        length = {"epochs": other.epochs, "probed_epochs": other.probed_epochs}
        probed = {epoch for epoch in self._all_probed_epochs if epoch <= other.epochs}
        if self.model_copy(update=length) != other or probed != set(other._all_probed_epochs):
            return False
        images = self.training_images or dataset_info(self.dataset).training_images
        # The images of a folder are not counted yet here: one step an epoch is the least.
        steps = self.phase(1).steps(images) if images else 1
        left = (other.epochs - max(probed, default=1) + 1) * steps
        return not probed or (self.probed_iterations or 0) <= left

    def probed_steps(self, steps_in_epoch: int) -> np.ndarray:
        """Iterations, counted from 0, whose segments are measured.

        Parameters
        ----------
        steps_in_epoch : int

        Returns
        -------
        ndarray of int, shape (segments,)
            In ascending order, each once. A window may reach into the next epochs, not beyond the
            walk.
        """
        import numpy as np

        length = self._window(steps_in_epoch)
        measured = np.zeros(self.epochs * steps_in_epoch, dtype=bool)
        for epoch in self._all_probed_epochs:
            first = (epoch - 1) * steps_in_epoch
            measured[first : first + length] = True
        measured[list(self.drawn_steps(steps_in_epoch))] = True
        return np.flatnonzero(measured)

    def _window(self, steps_in_epoch: int) -> int:
        """Segments measured one after the other from the start of a probed epoch on."""
        if self.probed_iterations is not None:
            return self.probed_iterations
        return 0 if self.sampled_iterations else steps_in_epoch

    def drawn_steps(self, steps_in_epoch: int) -> dict[int, int]:
        """Iterations, counted from 0, that are drawn, each with its stretch of its epoch."""
        if self.sampled_iterations is None:
            return {}
        import numpy as np

        from ..analysis import draw_steps

        drawn: dict[int, int] = {}
        for epoch in self._all_probed_epochs:
            seed = np.random.SeedSequence([self.seed, epoch, DRAWN_STEPS])
            of_epoch = draw_steps(steps_in_epoch, self.sampled_iterations, seed)
            first = (epoch - 1) * steps_in_epoch
            drawn |= {first + step: stretch for step, stretch in of_epoch.items()}
        return drawn

    def whole_steps(self, steps_in_epoch: int) -> frozenset[int]:
        """Iterations, counted from 0, whose segments are measured at every point by plan."""
        steps = self.probed_steps(steps_in_epoch)
        if not self.tolerance:
            return frozenset(steps.tolist())
        if not self.whole_every:
            return frozenset()
        import numpy as np

        epochs = steps // steps_in_epoch
        chosen = [steps[epochs == epoch][:: self.whole_every] for epoch in np.unique(epochs)]
        return frozenset(np.concatenate(chosen).tolist()) if chosen else frozenset()

    @property
    def _all_probed_epochs(self) -> Sequence[int]:
        return range(1, self.epochs + 1) if self.probed_epochs is None else self.probed_epochs

    def probes(self, iteration: int, steps_in_epoch: int) -> bool:
        """Whether the segment of an iteration, counted from 0, is measured."""
        return iteration in _probed_steps(self, steps_in_epoch)


@lru_cache(maxsize=8)
def _probed_steps(experiment: Experiment, steps_in_epoch: int) -> frozenset[int]:
    """Asked at each step of a walk."""
    return frozenset(experiment.probed_steps(steps_in_epoch).tolist())
