"""The walks at the paper's own size: which there are, and what they say of each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from .. import measures
from ..markdown import plain
from ..walks.catalogue import network_info
from ..walks.cost import duration, passes
from ..walks.experiment import Experiment, ModelName
from ..walks.store import Store
from .items import ITEMS
from .page import markdown_table

EPOCHS, EXTENDED_TO, LAST_EPOCH = 10, 25, 100
DRAWN = 40
# What a command says of a walk; all else is as it is by default.
SAID = (
    "model",
    "dataset",
    "augmentation",
    "learning_rate",
    "epochs",
    "evaluation_images",
    "tolerance",
    "probed_epochs",
    "probed_iterations",
    "sampled_iterations",
)
# Network, learning rate, epochs in which segments are measured, how many at the start of each and
# how many drawn ones; None and None: all.
PLANNED: Mapping[str, tuple[ModelName, float, tuple[int, ...], int | None, int | None]] = {
    "A": ("vgg11", 0.1, (1, 2, 10), DRAWN, DRAWN),
    "B": ("vgg11", 0.05, (1, 10), None, DRAWN),
    "C": ("vgg11", 0.1, (1, 10), None, None),
    "D": ("resnet56", 0.3, (1, 10), None, DRAWN),
    "E": ("resnet56", 0.15, (1, 10), None, DRAWN),
    "F": ("resnet56", 0.1, (1, 10), None, None),
}


# Those that need walks of their own, and what makes them ones on the same images.
ON_JPEG = {"dataset": "cifar10-jpeg"}
FIGURES: Mapping[str, Mapping[str, Any]] = {
    "fig1": {**ON_JPEG, "edge_of_stability": False},
    "fig9": ON_JPEG,
    "fig11": ON_JPEG,
}


def planned(letter: str, epochs: int = EPOCHS) -> Experiment:
    """A walk of the protocol, to the epoch that was planned or to which it is extended.

    Parameters
    ----------
    letter : {"A", "B", "C", "D", "E", "F"}
    epochs : int

    Examples
    --------
    >>> from valleywalk.paper.full_size import planned
    >>> planned("C", 25).probed_epochs
    (1, 10, 25)
    """
    model, rate, probed, at_start, drawn = PLANNED[letter]
    fields = {
        "model": model,
        "dataset": "cifar10-jpeg",
        "augmentation": True,
        "learning_rate": rate,
        "epochs": epochs,
        "evaluation_images": 1000,
        "tolerance": 0.02,
        "probed_epochs": probed if epochs == EPOCHS else (*probed, epochs),
        "probed_iterations": at_start,
        "sampled_iterations": drawn,
    }
    return Experiment.model_validate(fields)


def walks() -> dict[str, Experiment]:
    """All walks of the protocol at the paper's size by their letters, A to F, A25 to F25."""
    return {letter: planned(letter) for letter in PLANNED} | {
        f"{letter}{EXTENDED_TO}": planned(letter, EXTENDED_TO) for letter in PLANNED
    }


def command(walk: Experiment) -> str:
    """The command that makes a walk, and keeps its end so that it can be extended.

    Parameters
    ----------
    walk : Experiment

    Examples
    --------
    >>> from valleywalk.paper.full_size import command, planned
    >>> command(planned("F")).split()[-4:]
    ['0.02', '--probed-epochs', '1', '10']
    """
    words = ["valleywalk walk --keep-state"]
    for name in SAID:
        value = getattr(walk, name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None:
            several = value if isinstance(value, tuple) else (value,)
            words += [
                option,
                *(f"{each:g}" if isinstance(each, float) else str(each) for each in several),
            ]
    return " ".join(words)


def there(store: Store) -> str:
    """Which of them are there, and on what they were walked; Markdown.

    Parameters
    ----------
    store : Store
    """
    rows = []
    for letter, walk in walks().items():
        walked = ["not yet", ""]
        if store.find(walk) is not None:
            of_trace = store.get(walk).attrs
            walked = [plain(of_trace["device"]), duration(float(of_trace["wall_seconds"]))]
        network = f"{network_info(walk.model).title}, {walk.learning_rate:g}"
        cost = f"{passes(walk).total / 1e6:.2g}"
        rows.append([letter, f"`{walk.hash}`", network, str(walk.epochs), cost, *walked])
    header = ["walk", "hash", "network, rate", "epochs", "million images forward", "walked on"]
    return markdown_table([*header, "took"], rows)


def left(store: Store) -> str:
    """What of the paper is not walked at its own size, with commands and what they cost; Markdown.

    Parameters
    ----------
    store : Store
    """
    of_tables = walks() | {f"{each}100": planned(each, LAST_EPOCH) for each in PLANNED}
    asked = [(letter, walk, command(walk)) for letter, walk in of_tables.items()]
    for name, more in FIGURES.items():
        item = ITEMS[name]
        (walk,) = item.experiments("paper", **more)
        asked.append((item.label, walk, item.papermill("paper", **more)))
    lines = [
        f"# {what}: {passes(walk).total / 1e6:.2g} million\n{words}"
        for what, walk, words in asked
        if store.find(walk) is None
    ]
    return "\n".join(["```text", *lines, "```\n"])


def drawn_steps(store: Store) -> str:
    """Mean heights over all steps of an epoch beside the intervals from drawn ones; Markdown.

    Parameters
    ----------
    store : Store
    """
    known = walks()
    if store.find(known["C25"]) is None:
        return "Walk C25 is not there yet."
    whole = store.get(known["C25"])
    rows = []
    for epoch in known["C25"].probed_epochs or ():
        mean = measures.count_steps(whole, epoch, None)["height"].value
        cells = [str(epoch), f"{mean:.4g}"]
        for letter in ("A", "A25"):
            cells += _drawn(store, known[letter], epoch, mean)
        rows.append(cells)
    drawn = f"{DRAWN} drawn ones"
    header = ["epoch", "all steps, C25", f"{drawn}, A", "in it", f"{drawn}, A25", "in it"]
    text = markdown_table(header, rows)
    if store.find(known["A25"]) is None:
        return text
    ends = {store.get(known[letter]).attrs["final_state_hash"] for letter in ("A25", "C25")}
    same = "in one state, to the last bit" if len(ends) == 1 else "in different states"
    return f"{text}\n\nA25 and C25 end {same}."


def _drawn(store: Store, walk: Experiment, epoch: int, mean: float) -> Sequence[str]:
    if epoch not in (walk.probed_epochs or ()) or store.find(walk) is None:
        return ["", ""]
    height = measures.count_steps(store.get(walk), epoch, DRAWN)["height"]
    interval = height.interval(positive=True)
    return [str(interval), "yes" if interval.low <= mean <= interval.high else "no"]
