"""The `valleywalk` command."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import ValidationError
from tyro.conf import Positional, arg

from .allowed import in_words
from .extras import require
from .files import check_new_folder, check_output, write
from .folders import checkout, datasets_folder
from .paper.scales import DECIDING, SCALES, BookScale, Scale
from .show import in_json, list_items, show, where_it_is
from .tail import tail
from .walks.catalogue import DATASETS
from .walks.experiment import Experiment
from .walks.resources import Resources

# Of a line where the terminal does not say its own.
WIDTH = 120

# To get walks that others recorded.
FETCH = (
    "`valleywalk fetch{} --address PLACE` gets those that the project has recorded; its README "
    "says where they are"
)

# Its fields are flags of the command.
T = TypeVar("T")
Flags = Annotated[T, arg(name="")]


def figure(
    name: Positional[str],
    scale: Scale = "quick",
    output: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Draw a figure of the paper into a file, walking first what has no trace yet.

    Args:
        name: fig1, fig2, …; see `valleywalk list`.
        scale: smoke (seconds), quick (minutes), overnight (hours, real data), full (the paper's
            size, some items only) or paper (GPU).
        output: File to write; its suffix says the kind. Default: NAME.png.
        overwrite: Replace a file that is there.
        quiet: Show no progress.
        resources: What walks are computed with.
    """
    from .figures import kind_of_picture
    from .paper.items import item_named
    from .walks.parallel import compute
    from .walks.store import Store

    item = item_named(name, "figure")
    output = output or Path(f"{name}.png")
    check_output(output, overwrite=overwrite)
    kind = kind_of_picture(output)
    page = item.at(scale, **({"device": resources.device} if item.experiments(scale) else {}))
    store = Store()
    if not store.recorded.is_dir() and not all(map(store.find, page.experiments)):
        way = FETCH.format(f" {name} --scale {scale}")
        print(f"no recorded walks are here; {way}", file=sys.stderr)
    compute(page.experiments, store, resources, progress=not quiet)
    traces = page.get_traces()
    picture = BytesIO()
    page.draw(traces).savefig(picture, format=kind, dpi=200)
    write(output, picture.getvalue())
    print(f"{item.label}. {item.title}\n{page.provenance(traces)}\n{output}")


def walk(
    experiment: Flags[Experiment],
    output: Path | None = None,
    device: str = "auto",
    recompute: bool = False,
    restart: bool = False,
    keep_state: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Walk any experiment, keep its trace, print what was seen.

    A walk that is another one with more epochs goes on from that one's kept state or checkpoint,
    if there is one beside its trace.

    Args:
        experiment: What to do.
        output: Keep the trace in this file; default: in the store's folder, named by its hash.
        device: auto, cpu, cuda, cuda:1.
        recompute: Walk even if the store has the trace already, and replace that.
        restart: Start at the first step, rather than going on from what was walked before.
        keep_state: Keep the state of the end beside the trace, so that the walk can be extended.
        overwrite: Replace the output if it is there.
        quiet: Show no progress.
    """
    from .report import report
    from .walks.provenance import provenance
    from .walks.store import Store, check_outputs, only_one, walk_into

    if output is not None:
        check_outputs(output, keep_state=keep_state, overwrite=overwrite)
        with only_one(output):
            trace = walk_into(
                output,
                experiment,
                device=device,
                restart=restart,
                keep_state=keep_state,
                progress=not quiet,
            )
    else:
        store = Store()
        trace = store.get(
            experiment,
            device=device,
            recompute=recompute,
            restart=restart,
            keep_state=keep_state,
            progress=not quiet,
        )
        output = store.cached(experiment) if recompute else store.find(experiment)
    print(f"{report(trace)}\n{provenance(trace)}\n{output}")


def data(name: Positional[str | None] = None, download: bool = False, json: bool = False) -> None:
    """List the data sets and where they are, or load one, or fetch it.

    Args:
        name: Data set; default: list all.
        download: Fetch what is missing.
        json: For programs: an object.
    """
    if name is None:
        if download:
            raise ValueError(
                "name the data set to download, as in: valleywalk data mnist --download"
            )
        there = {known.name: where_it_is(known) for known in DATASETS.values()}
        if json:
            print(in_json({"folder": str(datasets_folder()), "datasets": there}))
            return
        print(f"downloaded files are looked for in {datasets_folder()}")
        for known, where in there.items():
            print(f"{known:14} {where}")
        print(f"{'folder:PATH':14} train/<class>/* and val, validation or test")
        return
    from .walks.datasets import load

    loaded = load(name, download=download)
    size = loaded.image_size
    if json:
        told = {"description": loaded.description, "classes": len(loaded.classes)}
        told |= {"training_images": len(loaded.train_labels)}
        told |= {"validation_images": len(loaded.validation_labels)}
        told |= {"channels": loaded.channels, "image_size": size, "hash": loaded.hash}
        print(in_json(told))
        return
    print(
        f"{loaded.description}\n{len(loaded.train_labels)} training and "
        f"{len(loaded.validation_labels)} validation images, {loaded.channels}×{size}×{size}, "
        f"{len(loaded.classes)} classes, hash {loaded.hash}"
    )


def fetch(
    names: Positional[tuple[str, ...]] = (),
    scale: Scale | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> None:
    """Fetch recorded walks, so that they are not walked here: of some items, or all there are.

    Args:
        names: fig1, fig2, …; see `valleywalk list`. Default: all items, and the ledger.
        scale: Only those of this scale; default: all.
        address: A folder with recorded traces, such as data/traces of the project's repository, or
            its https address; default $VALLEYWALK_RECORDED.
        quiet: Show no progress.
    """
    from .paper.items import item_named
    from .walks.fetch import fetch as fetch_from
    from .walks.store import Store

    address = address or os.environ.get("VALLEYWALK_RECORDED")
    if address is None:
        raise ValueError(
            "say where recorded walks are kept, by --address or VALLEYWALK_RECORDED: a folder or "
            "an https address, such as that of data/traces in the project's repository"
        )
    wanted = None
    if names or scale:
        from .paper.protocol import commands

        scales = SCALES if scale is None else (scale,)
        if names:
            items = [item_named(name, "item") for name in names]
            walks = [item.experiments(s) for item in items for s in scales if s in item.scales]
        else:
            walks = [list(commands(s)) for s in scales]
        wanted = {walk.hash for each in walks for walk in each}
    store = Store()
    new = fetch_from(address, store.recorded, wanted, progress=not quiet)
    there = ""
    if wanted is not None:
        known = sum((store.recorded / f"{each}.nc").is_file() for each in wanted)
        there = f", which has {known} of the {len(wanted)} asked for"
    print(f"{len(new)} more walks in {store.recorded}{there}")


def write_notebooks(folder: Positional[Path] = Path("notebooks")) -> None:
    """Write the notebooks, one per figure family or table, into a folder.

    Args:
        folder: Where to; new, or empty.
    """
    from importlib.resources import files

    check_new_folder(folder)
    root = checkout()
    source = files("valleywalk.notebooks") if root is None else root / "notebooks"
    for notebook in source.iterdir():
        if notebook.name.endswith(".ipynb"):
            write(folder / notebook.name, notebook.read_bytes())
    example = shlex.quote(str(folder / "fig2_sgd_walk.ipynb"))
    print(f"The notebooks are ready: papermill {example} out.ipynb")


def record(scale: Scale | None = None) -> None:
    """Keep walks that were computed here with the recorded ones, and write their index.

    Walks that were not made from a committed tree are named and left out.

    Args:
        scale: Those of the pages and the ledger at this scale; default all.
    """
    from .book import recorded
    from .walks.store import Store

    store = Store()
    found = recorded.record(SCALES if scale is None else (scale,), store)
    print(f"{len(found.new)} more walks recorded in {store.recorded}")
    if found.refused:
        lines = [f"{store.folder / f'{name}.nc'} ({why})" for name, why in found.refused.items()]
        raise ValueError(
            f"{len(lines)} not recorded, since their traces are damaged, or do not say by which "
            "code they were made:\n"
            + "\n".join(lines)
            + "\nCommit all changes, delete these files, and walk again "
            "from a checkout without changes"
        )


def bind(
    scale: BookScale = "recorded",
    strict: bool = False,
    repository: str | None = None,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Build the book: walk what is missing, execute all notebooks, render the pages.

    Args:
        scale: recorded (each page from the best recorded walks), smoke (seconds), quick (minutes),
            overnight (hours, real data), full (some pages) or paper (GPU).
        strict: Take warnings as errors.
        repository: Address of the project's repository, for links to source, issues, Binder, Colab.
        resources: What walks and notebooks are computed with.
    """
    require("book")
    from .book.build import build

    front = build(scale, strict=strict, repository=repository, **vars(resources))
    print(f"The book is ready: {front}")


def clean(traces: bool = False, checkpoints: bool = False, yes: bool = False) -> None:
    """Show what killed processes left, and delete it with --yes; finished and begun walks are kept.

    Args:
        traces: Also finished walks: traces, kept states. Recorded ones are never deleted.
        checkpoints: Also walks that were begun and could go on.
        yes: Delete what is shown.
    """
    from .walks.leftover import removable
    from .walks.store import Store

    store = Store()
    found = removable(store, traces=traces, checkpoints=checkpoints)
    for each in found:
        print(f"{each.size / 1e6:10.3f} MB  {each.path}  ({each.what})")
    if yes:
        for each in found:
            each.path.unlink(missing_ok=True)
    done = "deleted" if yes else "to delete with --yes"
    print(f"{len(found)} files {done}, {sum(each.size for each in found) / 1e6:.3f} MB")
    print(
        f"kept in {store.folder}: {len(list(store.folder.glob('*.nc')))} traces (--traces), "
        f"{len(list(store.folder.glob('*.checkpoint')))} begun walks (--checkpoints)"
    )


def course_pack(folder: Positional[Path] = Path("course-pack")) -> None:
    """Write what a lecturer needs: notebooks to be graded, slides, answers, syllabus, walks.

    Needs nbgrader: pip install 'valleywalk[course]'.

    Args:
        folder: Where to; new, or empty.
    """
    require("course")
    from .book import course

    course.write(folder)
    print(f"The course is ready: {folder / 'README.md'}")


def ledger(
    scale: Scale | None = None,
    details: bool = False,
    protocol: bool = False,
    json: bool = False,
    compute: bool = False,
    quiet: bool = False,
    *,
    resources: Flags[Resources] = Resources(),
) -> None:
    """Print the claims of the paper by verdict, each with our number, its interval and its seeds.

    Args:
        scale: smoke, quick, overnight or paper; default overnight and paper, which decide.
        details: Two lines per claim, with its test, what its seeds could have seen, and notes.
        protocol: Print instead what was fixed before any walk: statistics, ranges, seeds.
        json: For programs: a list of objects.
        quiet: Show no progress.
        compute: First walk what the scale's ledger needs and is not there yet (quick: hours).
        resources: What walks are computed with.
    """
    from .paper import terminal
    from .paper.ledger import findings, findings_without_walks
    from .paper.ledger_text import as_objects
    from .paper.measured import progress as measuring
    from .paper.protocol import all_experiments
    from .paper.protocol import protocol as planned

    if protocol:
        plan = planned()
        print(in_json(plan) if json else "\n".join(terminal.protocol_lines(plan)))
        return
    if compute:
        if scale is None:
            raise ValueError("name the scale to compute, as in: valleywalk claims --scale quick")
        from .walks.parallel import compute as compute_walks
        from .walks.store import Store

        compute_walks(all_experiments(scale), Store(), resources, progress=not quiet, in_order=True)
    with measuring(shown=not quiet):
        found = findings_without_walks()
        found += [f for each in (DECIDING if scale is None else (scale,)) for f in findings(each)]
    if json:
        print(in_json(as_objects(found)))
        return
    if all(finding.scale is None for finding in found):
        print(f"no walk that the claims need is here; {FETCH.format('')}\n", file=sys.stderr)
    if details:
        lines, end = terminal.detailed_lines(found), terminal.HOW
    else:
        terminal_there = sys.stdout.isatty()
        width = shutil.get_terminal_size((WIDTH, 24)).columns if terminal_there else None
        colour = terminal_there and not os.environ.get("NO_COLOR")
        lines = terminal.ledger_lines(found, width=width, colour=colour)
        end = "A star marks a primary row; --details: tests, power, notes."
    print("\n".join([*lines, "", terminal.summary(found), end]))


COMMANDS: dict[str, Any] = {
    "list": list_items,
    "show": show,
    "claims": ledger,
    "figure": figure,
    "walk": walk,
    "tail": tail,
    "data": data,
    "fetch": fetch,
    "notebooks": write_notebooks,
    "record": record,
    "book": bind,
    "course": course_pack,
    "clean": clean,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    description = (
        "Watch an optimizer walk: the reproducible companion to 'A Walk with SGD'. "
        "--version says which this is."
    )
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="valleywalk", description=description, args=arguments
        )
    except ValidationError as error:
        details = "; ".join(
            ": ".join(filter(None, (".".join(map(str, problem["loc"])), in_words(problem))))
            for problem in error.errors()
        )
        sys.exit(f"valleywalk: {details}")
    except BrokenPipeError:
        raise  # Of standard output, where nobody reads on: nothing to complain of.
    # Of a data set, a trace, a walk, a device, a book, a cluster, an extra: all are of these kinds.
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        sys.exit(f"valleywalk: {error}")
