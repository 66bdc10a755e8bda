"""The `valleywalk` command."""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import ValidationError
from tyro.conf import Positional, arg

from . import analysis, book, claims, cost, datasets, recorded
from .cost import duration
from .datasets import DatasetError
from .experiment import TRAINING_IMAGES, Experiment, unknown_names
from .folders import datasets_folder
from .paper import ITEMS, PAGES, SCALES, Scale
from .store import Store, walk_into
from .trace import TraceError, provenance
from .walk import WalkError


def list_items() -> None:
    """List every figure and table: notebook, cost at each scale, recorded traces."""
    store = Store()
    header = f"{'item':11} {'notebook':20}" + "".join(f"{scale:>10}" for scale in SCALES)
    print(f"{header}  traces        title")
    for item in ITEMS.values():
        costs, there = "", []
        for scale in SCALES:
            experiments = item.experiments(scale)
            costs += f"{duration(sum(map(cost.seconds, experiments))):>10}"
            if all(store.find(experiment) for experiment in experiments):
                there.append(scale)
        kept = (" ".join(there) or "none") if experiments else "not needed"
        print(f"{item.label:11} {item.notebook:20}{costs}  {kept:12}  {item.title}")
    print(
        "\nTimes are estimates for one process here, from forward passes timed just now;\n"
        "figures of one walk share it."
    )


def figure(
    name: Positional[str],
    scale: Scale = "quick",
    output: Path | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    restart: bool = False,
) -> None:
    """Draw a figure of the paper into a file, walking first what has no trace yet.

    Args:
        name: fig1, fig2, …; see `valleywalk list`.
        scale: smoke (seconds), quick (minutes), overnight (hours, real data) or paper (GPU).
        output: File to write, its suffix says the kind; default NAME.png.
        device: auto, cpu, cuda, cuda:1.
        scheduler: Address of a Dask scheduler whose workers walk; default this machine.
        restart: Start walks over that were interrupted, rather than going on.
    """
    problem = unknown_names({name}, set(PAGES), "figure")
    if problem:
        raise ValueError(problem)
    item = PAGES[name]
    output = output or Path(f"{name}.png")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} to write {output.name} into")
    page = item.page(scale, **({"device": device} if item.experiments(scale) else {}))
    Store().compute(page.experiments, device=device, scheduler=scheduler, restart=restart)
    traces = page.get_traces()
    page.draw(traces).savefig(output, dpi=200)
    print(f"{item.label}. {item.title}\n{page.provenance(traces)}\n{output}")


def walk(
    experiment: Annotated[Experiment, arg(name="")],
    output: Path | None = None,
    device: str = "auto",
    recompute: bool = False,
    restart: bool = False,
) -> None:
    """Walk any experiment, keep its trace, print what was seen.

    Args:
        experiment: What to do.
        output: Keep the trace in this file; default the store's folder, named by its hash.
        device: auto, cpu, cuda, cuda:1.
        recompute: Walk even if the store has the trace already, and replace that.
        restart: Start over a walk that was interrupted, rather than going on.
    """
    if output is not None:
        if not output.parent.is_dir():
            raise ValueError(f"there is no folder {output.parent} to write {output.name} into")
        trace = walk_into(output, experiment, device=device, restart=restart)
    else:
        store = Store()
        trace = store.get(experiment, device=device, recompute=recompute, restart=restart)
        output = store.find(experiment)
    loss = trace["loss"].values if "loss" in trace else None
    if loss is not None and analysis.measured(loss).any():
        seen = loss[analysis.measured(loss)]
        print(
            f"{len(seen)} segments measured: loss {seen[0, 0]:.4f} to {seen[-1, -1]:.4f}, mean "
            f"height {analysis.height(seen).mean():.3g}, {analysis.barriers(seen).sum()} barriers"
        )
    print(f"distance {trace['distance'].values[-1]:.4g}\n{provenance(trace)}\n{output}")


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
        for known in TRAINING_IMAGES:
            place = datasets.PLACES.get(known)
            if place is None:
                state = "ready: shipped with installed packages"
            elif (datasets_folder() / place).exists():
                state = f"ready: in {place}"
            else:
                state = f"not there: fetch it with `valleywalk data {known} --download`"
            print(f"{known:14} {state}")
        print(f"{'folder:PATH':14} train/<class>/* and val, validation or test")
        return
    loaded = datasets.load(name, download=download)
    size = loaded.image_size
    print(
        f"{loaded.description}\n{len(loaded.train_labels)} training and "
        f"{len(loaded.validation_labels)} validation images, {loaded.channels}×{size}×{size}, "
        f"{len(loaded.classes)} classes, hash {loaded.hash}"
    )


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
    processes: int | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    restart: bool = False,
    repository: str | None = None,
) -> None:
    """Build the book: walk what is missing, execute all notebooks, render the pages.

    Args:
        scale: recorded (each page from the best recorded walks), smoke (seconds), quick (minutes),
            overnight (hours, real data) or paper (GPU).
        strict: Take warnings as errors.
        processes: Walks and notebooks at a time; default one a core.
        device: auto, cpu, cuda, cuda:1.
        scheduler: Address of a Dask scheduler whose workers walk; default this machine.
        restart: Start walks over that were interrupted, rather than going on.
        repository: Address of the project's repository, for links to source, issues, Binder, Colab.
    """
    front = book.build(
        scale,
        strict=strict,
        processes=processes,
        device=device,
        scheduler=scheduler,
        restart=restart,
        repository=repository,
    )
    print(f"The book is ready: {front}")


def ledger(
    scale: Scale | None = None,
    json: bool = False,
    compute: bool = False,
    device: str = "auto",
    scheduler: str | None = None,
) -> None:
    """Print the claims of the paper, each with our number, its interval and a verdict.

    Args:
        scale: smoke, quick, overnight or paper; default all for which traces are there.
        json: For programs: a list of objects.
        compute: Walk first what the scale's ledger needs and is not there (quick: an hour or more).
        device: auto, cpu, cuda, cuda:1.
        scheduler: Address of a Dask scheduler whose workers walk; default this machine.
    """
    if compute:
        if scale is None:
            raise ValueError("name the scale to compute, as in: valleywalk claims --scale quick")
        Store().compute(claims.all_experiments(scale), device=device, scheduler=scheduler)
    found = [f for each in (SCALES if scale is None else (scale,)) for f in claims.findings(each)]
    if json:
        print(dumps(claims.as_objects(found), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for f in found:
        ends = "" if f.interval is None else f" [{f.interval[0]:.3g}, {f.interval[1]:.3g}]"
        print(f"{f.verdict:14} {f.claim}")
        print(f"{'':14} {f.statistic}: {f.estimate:.3g}{ends}; paper: {f.paper}")
        print(f"{'':14} {f.model}, {f.dataset}, {f.scale}, seeds: {f.seeds}; {f.id}, {f.page}\n")
    print(
        f"{len(found)} findings. Intervals hold together at {claims.LEDGER_CONFIDENCE:.0%} "
        f"(Bonferroni over {claims.CLAIM_COUNT})."
    )


COMMANDS: dict[str, Any] = {
    "list": list_items,
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
