"""The `valleywalk` command."""

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence, Set
from json import dumps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import tyro
import xarray as xr
from pydantic import ValidationError
from tyro.conf import Positional, arg

from . import analysis, measures
from .book import build as book
from .book import recorded
from .folders import datasets_folder
from .machine import choose_device, cores, device_name
from .names import unknown_names
from .paper.claim import FEWEST_SEEDS, LEDGER_CONFIDENCE, range_in_words
from .paper.items import ITEMS, OF_THE_PAPER, Item, in_words
from .paper.ledger import CLAIM_COUNT, all_experiments, as_objects, findings
from .paper.ledger import protocol as plan
from .paper.scales import SCALES, Scale
from .trace import TraceError
from .walks import cost, datasets
from .walks.catalogue import DATASETS, DatasetInfo, dataset_info
from .walks.cost import duration
from .walks.datasets import DatasetError
from .walks.experiment import Experiment
from .walks.parallel import compute as compute_walks
from .walks.provenance import provenance
from .walks.resources import Resources
from .walks.store import Store, walk_into
from .walks.walk import WalkError

# Its fields are flags of the command.
T = TypeVar("T")
Flags = Annotated[T, arg(name="")]
# Of a walk.
STATES = ("recorded", "cached", "begun", "to walk")


def list_items() -> None:
    """List every figure and table: notebook, time at each scale on this machine, traces there."""
    store = Store()
    header = f"{'item':11} {'notebook':20}" + "".join(f"{scale:>10}" for scale in SCALES)
    print(f"{header}  traces        title")
    for item in OF_THE_PAPER.values():
        times, there = "", []
        for scale in SCALES:
            experiments = item.experiments(scale)
            times += f"{duration(sum(map(cost.seconds, experiments))):>10}"
            if all(store.find(experiment) for experiment in experiments):
                there.append(scale)
        kept = (" ".join(there) or "none") if experiments else "not needed"
        print(f"{item.label:11} {item.page.notebook:20}{times}  {kept:12}  {item.title}")
    print(
        f"\nTimes are estimates for one process here, {device_name(choose_device('auto'))}, from "
        "forward passes timed just now;\nfigures of one walk share it. More about one: valleywalk "
        "show fig2 --scale overnight"
    )


def show(name: Positional[str], scale: Scale = "quick", device: str = "auto") -> None:
    """Show what an item walks at a scale, what that costs here, and what is there already.

    Args:
        name: fig1, fig2, …; see `valleywalk list`.
        scale: smoke (seconds), quick (minutes), overnight (hours, real data) or paper (GPU).
        device: Where it would be walked: auto, cpu, cuda, cuda:1.
    """
    item, store = _item(name, "item"), Store()
    experiments = item.experiments(scale)
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
    _row("time", f"{_time(experiments, device)} ({device_name(choose_device(device))})")
    if len(missing) < len(experiments):
        _row("", f"still to walk: {_time(missing, device) if missing else 'nothing'}")
    passes = [cost.passes(experiment) for experiment in experiments]
    parts = {
        "training": sum(p.training for p in passes),
        "along segments": sum(p.segments for p in passes),
        "at ends of epochs": sum(p.epochs for p in passes),
        "for curvature": sum(p.curvature for p in passes),
    }
    told = ", ".join(f"{_many(number)} {what}" for what, number in parts.items() if number)
    _row("passes", f"{_many(sum(parts.values()))} images forward, or as much work: {told}")
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
        _row("data", f"{name}: {_where(dataset_info(name))}")


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


def _show_walks(experiments: Sequence[Experiment], store: Store, device: str) -> None:
    """What the walks have in common, and each with what it has for itself."""
    values = {
        name: [getattr(experiment, name) for experiment in experiments]
        for name in Experiment.model_fields
    }
    same = {name for name, each in values.items() if each.count(each[0]) == len(each)}
    _row("settings", _fields(experiments[0], same))
    print()
    for experiment in experiments:
        own = _fields(experiment, Experiment.model_fields.keys() - same)
        words = own if len(experiments) > 1 else in_words(experiment)
        took = duration(cost.seconds(experiment, device))
        print(f"{experiment.hash}  {_state(experiment, store):8}{took:>9}  {words}")


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


def _many(number: float) -> str:
    """A large number in words."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:.0f}"


def _size(number: float) -> str:
    """Bytes in words."""
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.0f} kB"


def _item(name: str, kind: str) -> Item:
    problem = unknown_names({name}, ITEMS, kind)
    if problem:
        raise ValueError(problem)
    return ITEMS[name]


def figure(
    name: Positional[str],
    scale: Scale = "quick",
    output: Path | None = None,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Draw a figure of the paper into a file, walking first what has no trace yet.

    Args:
        name: fig1, fig2, …; see `valleywalk list`.
        scale: smoke (seconds), quick (minutes), overnight (hours, real data) or paper (GPU).
        output: File to write, its suffix says the kind; default NAME.png.
        resources: What walks are computed with.
    """
    item = _item(name, "figure")
    output = output or Path(f"{name}.png")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} to write {output.name} into")
    page = item.at(scale, **({"device": resources.device} if item.experiments(scale) else {}))
    compute_walks(page.experiments, Store(), resources)
    traces = page.get_traces()
    page.draw(traces).savefig(output, dpi=200)
    print(f"{item.label}. {item.title}\n{page.provenance(traces)}\n{output}")


def walk(
    experiment: Flags[Experiment],
    output: Path | None = None,
    device: str = "auto",
    recompute: bool = False,
    restart: bool = False,
    keep_state: bool = False,
) -> None:
    """Walk any experiment, keep its trace, print what was seen.

    A walk that is another one with more epochs goes on from that one's kept state or checkpoint,
    if there is one beside its trace.

    Args:
        experiment: What to do.
        output: Keep the trace in this file; default the store's folder, named by its hash.
        device: auto, cpu, cuda, cuda:1.
        recompute: Walk even if the store has the trace already, and replace that.
        restart: Start at the first step, rather than going on from what was walked before.
        keep_state: Keep the state of the end beside the trace, so that the walk can be extended.
    """
    if output is not None:
        if not output.parent.is_dir():
            raise ValueError(f"there is no folder {output.parent} to write {output.name} into")
        trace = walk_into(output, experiment, device=device, restart=restart, keep_state=keep_state)
    else:
        store = Store()
        trace = store.get(
            experiment,
            device=device,
            recompute=recompute,
            restart=restart,
            keep_state=keep_state,
        )
        output = store.find(experiment)
    if "loss" in trace and analysis.measured(trace["loss"].values).any():
        print(_seen(measures.measured_steps(trace)))
    print(f"distance {trace['distance'].values[-1]:.4g}\n{provenance(trace)}\n{output}")


def _seen(steps: xr.Dataset) -> str:
    """What was seen along the measured segments of a walk, in a line."""
    loss = steps["loss"].values
    height, signs = measures.window_height(steps), measures.barrier_signs(steps)
    error = "" if np.isnan(height.error) else f" (standard error of the images {height.error:.1g})"
    open_ = int((signs == 0).sum())
    return (
        f"{len(loss)} segments measured: loss {loss[0, 0]:.4f} to {loss[-1, -1]:.4f}, mean height "
        f"{height.value:.3g}{error}, {analysis.barriers(loss).sum()} barriers"
        + (f"; in {open_} of the steps the images leave open if there is one" if open_ else "")
    )


def data(name: Positional[str | None] = None, download: bool = False) -> None:
    """List the data sets and where they are, or load one, or fetch it.

    Args:
        name: Data set; default: list all.
        download: Fetch what is missing.
    """
    if name is None:
        if download:
            raise ValueError("name the data set to download, as in: valleywalk data mnist")
        print(f"downloaded files are looked for in {datasets_folder()}")
        for known in DATASETS.values():
            print(f"{known.name:14} {_where(known)}")
        print(f"{'folder:PATH':14} train/<class>/* and val, validation or test")
        return
    loaded = datasets.load(name, download=download)
    size = loaded.image_size
    print(
        f"{loaded.description}\n{len(loaded.train_labels)} training and "
        f"{len(loaded.validation_labels)} validation images, {loaded.channels}×{size}×{size}, "
        f"{len(loaded.classes)} classes, hash {loaded.hash}"
    )


def _where(dataset: DatasetInfo) -> str:
    """Where a data set is, or how to come by it."""
    if dataset.file is None:
        return "ready: shipped with installed packages"
    if (datasets_folder() / dataset.file).exists():
        return f"ready: in {dataset.file}"
    if not dataset.download:
        return f"not there: it has no download; put its files into {dataset.file}"
    return f"not there: fetch it with `valleywalk data {dataset.name} --download`"


def record(scale: Scale | None = None) -> None:
    """Keep walks that were computed here with the recorded ones, and write their index.

    Args:
        scale: Those of the pages and the ledger at this scale; default all.
    """
    store = Store()
    new = recorded.record(SCALES if scale is None else (scale,), store)
    print(f"{len(new)} more walks recorded in {store.recorded}")


def bind(
    scale: book.BookScale = "recorded",
    strict: bool = False,
    repository: str | None = None,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Build the book: walk what is missing, execute all notebooks, render the pages.

    Args:
        scale: recorded (each page from the best recorded walks), smoke (seconds), quick (minutes),
            overnight (hours, real data) or paper (GPU).
        strict: Take warnings as errors.
        repository: Address of the project's repository, for links to source, issues, Binder, Colab.
        resources: What walks and notebooks are computed with.
    """
    front = book.build(scale, strict=strict, repository=repository, **vars(resources))
    print(f"The book is ready: {front}")


def ledger(
    scale: Scale | None = None,
    protocol: bool = False,
    json: bool = False,
    compute: bool = False,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Print the claims of the paper, each with our number, its interval and a verdict.

    Args:
        scale: smoke, quick, overnight or paper; default all for which traces are there.
        protocol: Print instead what was fixed before any walk: statistics, ranges, seeds.
        json: For programs: a list of objects.
        compute: Walk first what the scale's ledger needs and is not there (quick: an hour or more).
        resources: What walks are computed with.
    """
    if protocol:
        _print_protocol(json)
        return
    if compute:
        if scale is None:
            raise ValueError("name the scale to compute, as in: valleywalk claims --scale quick")
        compute_walks(all_experiments(scale), Store(), resources)
    found = [f for each in (SCALES if scale is None else (scale,)) for f in findings(each)]
    if json:
        print(dumps(as_objects(found), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for f in found:
        ends = "" if f.interval is None else f" [{f.interval[0]:.3g}, {f.interval[1]:.3g}]"
        print(f"{f.verdict:14} {f.claim}")
        print(f"{'':14} {f.statistic}: {f.estimate:.3g}{ends}; paper: {f.paper}")
        print(f"{'':14} {f.model}, {f.dataset}, {f.scale}, seeds: {f.seeds}; {f.id}, {f.page}\n")
    print(
        f"{len(found)} findings. Intervals hold together at {LEDGER_CONFIDENCE:.0%} "
        f"(Bonferroni over {CLAIM_COUNT})."
    )


def _print_protocol(json: bool) -> None:
    rows = plan()
    if json:
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        where = ", ".join(row["networks"] or row["tested_on"])
        print(f"{row['number']:2}  {row['sentence']} ({row['source']})")
        print(f"    {row['statistic']}: {range_in_words(row['needed'])}; paper: {row['paper']}")
        print(f"    {where}; {row['id']}, {row['item']}\n")
    print(
        f"{len(rows)} claims, seeds {rows[0]['seeds'][0]} to {rows[0]['seeds'][-1]}, no verdict "
        f"from fewer than {FEWEST_SEEDS}; {CLAIM_COUNT} intervals hold together at "
        f"{LEDGER_CONFIDENCE:.0%}."
    )


COMMANDS: dict[str, Any] = {
    "list": list_items,
    "show": show,
    "claims": ledger,
    "figure": figure,
    "walk": walk,
    "data": data,
    "record": record,
    "book": bind,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    description = "Watch an optimizer walk: the reproducible companion to 'A Walk with SGD'."
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="valleywalk", description=description, args=arguments
        )
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, problem['loc']))} {problem['msg']}".strip()
            for problem in error.errors()
        )
        sys.exit(f"valleywalk: {details}")
    except (
        ValueError,
        DatasetError,
        TraceError,
        WalkError,
        book.BookError,
        OSError,
        RuntimeError,
    ) as error:
        sys.exit(f"valleywalk: {error}")
    except KeyboardInterrupt:
        sys.exit("valleywalk: interrupted")
