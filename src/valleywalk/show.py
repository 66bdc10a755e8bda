"""What an item walks, what that costs here, and what is there already."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tyro.conf import Positional

from .folders import data_folder, datasets_folder
from .machine import cores
from .paper.scales import SCALES, Scale
from .walks import cost
from .walks.catalogue import DatasetInfo, dataset_info
from .walks.cost import duration, many
from .walks.experiment import Experiment
from .walks.networks import device_named, remembered

if TYPE_CHECKING:
    from .paper.items import Item
    from .walks.store import Store

# Of a walk.
STATES = ("recorded", "cached", "begun", "to walk")


def in_json(content: Any) -> str:
    """JSON that any encoding of the terminal can hold."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower()
    ascii_alone = not encoding.startswith("utf")
    return dumps(content, indent=1, ensure_ascii=ascii_alone, allow_nan=False)


def times_kept() -> Path:
    """The file in which it is kept how quick this machine is."""
    return data_folder() / "cache" / "networks.json"


@dataclass(frozen=True)
class Listed:
    """An item, what it costs here, and what is there."""

    name: str
    label: str
    title: str
    notebook: str
    walks: bool
    """Whether anything is walked for it."""
    seconds: dict[str, float]
    """By scale, for one process."""
    traces: Sequence[str]
    """Scales of which all walks are there."""


def listed(store: Store) -> list[Listed]:
    """Every item."""
    from .paper.items import ITEMS

    found = []
    for item in ITEMS.values():
        by_scale = {scale: item.experiments(scale) for scale in SCALES if scale in item.scales}
        there = [scale for scale, walks in by_scale.items() if all(map(store.find, walks))]
        found.append(
            Listed(
                name=item.name,
                label=item.label,
                title=item.title,
                notebook=item.page.notebook,
                walks=any(by_scale.values()),
                seconds={scale: sum(map(cost.seconds, walks)) for scale, walks in by_scale.items()},
                traces=there,
            )
        )
    return found


def list_items(anew: bool = False, json: bool = False) -> None:
    """List every item: its name, notebook, time at each scale on this machine, traces there.

    Items are the paper's figures and tables, and what else the book makes from walks.

    Args:
        anew: Time the networks again, rather than go by the last timing.
        json: For programs: a list of objects.
    """
    from .walks.store import Store

    with remembered(times_kept(), anew=anew) as day:
        items, device = listed(Store()), device_named("auto")
    if json:
        print(in_json([asdict(item) for item in items]))
        return
    header = f"{'item':18} {'notebook':20}" + "".join(f"{scale:>10}" for scale in SCALES)
    print(f"{header}  traces        title")
    for item in items:
        times = "".join(
            f"{duration(item.seconds[scale]) if scale in item.seconds else '–':>10}"
            for scale in SCALES
        )
        kept = (" ".join(item.traces) or "none") if item.walks else "not needed"
        print(f"{item.name:18} {item.notebook:20}{times}  {kept:12}  {item.title}")
    print(
        f"\nTimes are estimates for one process here, {device}, from forward passes timed on "
        f"{day};\nfigures of one walk share it. More about one: valleywalk show fig2 --scale "
        "overnight"
    )


def show(
    name: Positional[str], scale: Scale = "quick", device: str = "auto", json: bool = False
) -> None:
    """Show what an item walks at a scale, what that costs here, and what is there already.

    Args:
        name: fig1, fig2, …; see `valleywalk list`.
        scale: smoke (seconds), quick (minutes), overnight (hours, real data), full (the paper's
            size, some items only) or paper (GPU).
        device: Where it would be walked: auto, cpu, cuda, cuda:1.
        json: For programs: an object.
    """
    from .paper.items import item_named
    from .walks.store import Store

    item = item_named(name, "item")
    experiments = item.experiments(scale)
    with remembered(times_kept()):
        if json:
            settings, walks = planned(experiments, Store(), device) if experiments else ("", [])
            about = {"name": item.name, "label": item.label, "title": item.title, "scale": scale}
            about |= {"setting": item.setting(scale), "notebook": item.page.notebook}
            about |= {"papermill": item.papermill(scale), "settings": settings}
            print(in_json(about | {"walks": [walk._asdict() for walk in walks]}))
            return
        _show(item, scale, experiments, Store(), device)


def _show(
    item: Item, scale: Scale, experiments: Sequence[Experiment], store: Store, device: str
) -> None:
    print(f"{item.label}. {item.title}\n{scale}: {item.setting(scale)}\n")
    if experiments:
        _show_cost(experiments, store, device)
    _row("notebook", f"notebooks/{item.page.notebook}.ipynb")
    chosen = f" --scale {scale}" if "scale" in item.parameters(scale) else ""
    # Not wrapped, to be copied.
    print(f"{'run':10}valleywalk figure {item.name}{chosen}\n{'':10}{item.papermill(scale)}")
    if experiments:
        _show_walks(experiments, store, device)


def _show_cost(experiments: Sequence[Experiment], store: Store, device: str) -> None:
    """What is there, and what passes, time and disk the walks take."""
    found = [store.find(experiment) for experiment in experiments]
    missing = [e for e, path in zip(experiments, found, strict=True) if path is None]
    states = Counter(_state(experiment, store) for experiment in experiments)
    told = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    _row("there", f"{len(found) - len(missing)} of {len(found)} walks: {told}")
    _row("time", f"{_time(experiments, device)} ({device_named(device)})")
    if len(missing) < len(experiments):
        _row("", f"still to walk: {_time(missing, device) if missing else 'nothing'}")
    passes = [cost.passes(experiment) for experiment in experiments]
    parts = {
        "training": sum(p.training for p in passes),
        "along segments": sum(p.segments for p in passes),
        "at ends of epochs": sum(p.epochs for p in passes),
        "for curvature": sum(p.curvature for p in passes),
    }
    told = ", ".join(f"{many(number)} {what}" for what, number in parts.items() if number)
    _row("passes", f"{many(sum(parts.values()))} images forward, or as much work: {told}")
    segments = sum(map(cost.measured_segments, experiments))
    if segments:
        losses = sum(map(cost.losses, experiments))
        images = " or ".join(
            f"{n:,}" for n in sorted(set(map(cost.evaluation_images, experiments)))
        )
        _row("losses", f"{losses:,.0f} along {segments:,} segments, each on {images} images")
    sizes = [
        cost.trace_bytes(experiment) if path is None else path.stat().st_size
        for experiment, path in zip(experiments, found, strict=True)
    ]
    at_once = sorted(map(cost.checkpoint_bytes, experiments), reverse=True)[: cores()]
    _row("disk", f"{_size(sum(sizes))} of traces, {_size(sum(at_once))} of checkpoints on the way")
    for name in dict.fromkeys(experiment.dataset for experiment in experiments):
        _row("data", f"{name}: {where_it_is(dataset_info(name))}")


def _time(experiments: Sequence[Experiment], device: str) -> str:
    """How long walks take here, in one process and side by side."""
    times = [cost.seconds(experiment, device) for experiment in experiments]
    alone, processes = f"{duration(sum(times))} in one process", min(len(times), cores())
    if processes == 1:
        return alone
    together = cost.seconds_together(times, processes, device)
    return f"{alone}, {duration(together)} in {processes}"


def _state(experiment: Experiment, store: Store) -> str:
    """One of STATES."""
    path = store.find(experiment)
    if path is None:
        return "begun" if store.begun(experiment) else "to walk"
    return "recorded" if path.parent == store.recorded else "cached"


class Planned(NamedTuple):
    """A walk before it is walked."""

    hash: str
    """Of its experiment."""
    state: str
    """recorded, cached, begun, or to walk."""
    seconds: float
    """What it would take, an estimate."""
    own: str
    """What it has for itself; of a single walk, what it is."""


def planned(
    experiments: Sequence[Experiment], store: Store, device: str = "auto"
) -> tuple[str, list[Planned]]:
    """What is walked for these experiments.

    Parameters
    ----------
    experiments : sequence of Experiment
        One at least.
    store : Store
    device : str
        Where it would be walked.

    Returns
    -------
    settings : str
        What they have in common.
    walks : list of Planned
        One an experiment.
    """
    from .paper.items import in_words
    from .walks.identity import identified

    experiments = [identified(experiment) for experiment in experiments]
    values = {
        name: [getattr(experiment, name) for experiment in experiments]
        for name in Experiment.model_fields
    }
    same = {name for name, each in values.items() if each.count(each[0]) == len(each)}
    own = Experiment.model_fields.keys() - same
    walks = [
        Planned(
            experiment.hash,
            _state(experiment, store),
            cost.seconds(experiment, device),
            _fields(experiment, own) if len(experiments) > 1 else in_words(experiment),
        )
        for experiment in experiments
    ]
    return _fields(experiments[0], same), walks


def _show_walks(experiments: Sequence[Experiment], store: Store, device: str) -> None:
    """What the walks have in common, and each with what it has for itself."""
    settings, walks = planned(experiments, store, device)
    _row("settings", settings)
    print()
    for walk in walks:
        print(f"{walk.hash}  {walk.state:8}{duration(walk.seconds):>9}  {walk.own}")


def _fields(experiment: Experiment, names: Set[str]) -> str:
    """Some of its fields with their values, those that are not set left out."""
    chosen = {name: getattr(experiment, name) for name in Experiment.model_fields if name in names}
    return "; ".join(f"{name} {_value(v)}" for name, v in chosen.items() if v is not None)


def _row(name: str, text: str) -> None:
    """A name and, wrapped beside it, what it is."""
    first, rest = f"{name:10}", " " * 10
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    print(textwrap.fill(text, width, initial_indent=first, subsequent_indent=rest))


def _value(value: Any) -> str:
    """A field's value; of numbers that follow each other only the first and the last."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    runs: list[list[int]] = []
    for number in sorted(value):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ", ".join(shown) or "none"


def _size(number: float) -> str:
    """Bytes in words."""
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.0f} kB"


def where_it_is(dataset: DatasetInfo) -> str:
    """Where a data set is, or how to come by it."""
    if dataset.file is None:
        return "ready: shipped with installed packages"
    place = datasets_folder() / dataset.file
    lacking = dataset.lacks(place)
    way = f"fetch it with `valleywalk data {dataset.name} --download`"
    if not dataset.download:
        way = f"it has no download; put its files into {dataset.file}"
    if not place.exists():
        return f"not there: {way}"
    if lacking is not None or (place.is_file() and not place.stat().st_size):
        first = "remove it and " if dataset.download else ""
        return f"incomplete: {dataset.file} lacks {lacking or 'all content'}; {first}{way}"
    classes = len(list(place.glob("train/*/"))) if dataset.by_class else dataset.classes
    if classes < dataset.classes:
        return (
            f"in part: {classes} of {dataset.classes} classes in {dataset.file}; choose --classes"
        )
    return f"ready: in {dataset.file}"
