"""The recorded walks that come with the project: keep more of them, and say what each one is."""

from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from ..files import write
from ..markdown import plain
from ..paper.items import in_words
from ..paper.page import markdown_table
from ..paper.protocol import commands
from ..paper.scales import SCALES, Scale
from ..trace import TraceError, open_trace
from ..walks.experiment import Experiment
from ..walks.fetch import CHECKSUMS, checksums
from ..walks.identity import open_own, read_own
from ..walks.provenance import experiment_of, unfit_commits
from ..walks.store import Store

INDEX = "README.md"
INTRODUCTION = """# Recorded walks

One netCDF file per walk, named by the hash of its experiment. The experiment is in its attributes,
with the device, the versions and the hash of the data. To make one again, delete it and run its
command: the trace is then put into `data/cache/`. *Distance* is that from the initialisation at the
walk's end, *state* the hash of the parameters there. On a CPU with the same vector instructions
both come out the same; the book's page on reproducibility says how far they differ on another.
`valleywalk record` writes this table.
"""


@dataclass
class Recorded:
    """What became of the walks that were computed here.

    Attributes
    ----------
    new : list of Path
        The files that are recorded now and were not before.
    refused : dict of str → str
        Hash of a walk that is not recorded, and why.
    """

    new: list[Path] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def record(scales: tuple[Scale, ...] = SCALES, store: Store | None = None) -> Recorded:
    """Keep walks that were computed here with the recorded ones, and write their index.

    A walk is refused whose trace is damaged, or does not say by which code it was made: one of its
    commits is not known, or is of a tree with changes that were not committed. A recorded trace
    that is damaged is replaced by a good one from here.

    Parameters
    ----------
    scales : tuple of {"smoke", "quick", "overnight", "full", "paper"}
        Walks of the pages and of the ledger at these scales are kept.
    store : Store, optional

    Returns
    -------
    Recorded
        The files that are new, and what was refused.

    Raises
    ------
    OSError
        A file cannot be written; what was there before still is.
    TraceError
        A recorded trace is damaged, and there is none to replace it.
    """
    store = store or Store()
    store.recorded.mkdir(parents=True, exist_ok=True)
    found = Recorded()
    for scale in scales:
        for experiment in commands(scale):
            computed = store.folder / f"{experiment.hash}.nc"
            kept = store.recorded / computed.name
            if computed.is_file() and not _is_good(kept, experiment):
                content = computed.read_bytes()
                if why := _unfit(content, experiment):
                    words = f"{in_words(experiment)}, seed {experiment.seed}"
                    found.refused[experiment.hash] = f"{words}: {why}"
                    continue
                write(kept, content)
                found.new.append(kept)
    write(store.recorded / INDEX, index(store).encode())
    write(store.recorded / CHECKSUMS, checksums(store.recorded).encode())
    return found


def _is_good(path: Path, experiment: Experiment) -> bool:
    try:
        open_own(path, experiment)
    except (FileNotFoundError, TraceError):
        return False
    return True


def _unfit(content: bytes, experiment: Experiment) -> str | None:
    """Why a trace is not to be recorded."""
    try:
        unfit = unfit_commits(read_own(content, "it", experiment))
    except TraceError as error:
        return str(error)
    return f"made at commit {', '.join(name or 'unknown' for name in unfit)}" if unfit else None


def index(store: Store) -> str:
    """What each recorded walk is, on what it was made, and the command that makes it again."""
    by_hash: dict[str, str] = {}
    for scale in SCALES:
        for experiment, command in commands(scale).items():
            by_hash.setdefault(experiment.hash, command)
    rows = []
    for path in sorted(store.recorded.glob("*.nc")):
        trace = open_trace(path)
        command = by_hash.get(path.stem, "valleywalk walk, with its experiment's fields")
        rows.append((command, path.stem, *description(trace)))
    # Walks of one command together.
    cells = [[f"`{command}`", f"`{name}`", *rest] for command, name, *rest in sorted(rows)]
    header = ["command", "file", "walk", "seed", "made on", "seconds", "day", "distance", "state"]
    return f"{INTRODUCTION}\n{markdown_table(header, cells)}\n"


def description(trace: xr.Dataset) -> list[str]:
    """A recorded walk: in words, seed, machine, seconds, day, distance, state at the end.

    Each is Markdown.
    """
    experiment, attributes = experiment_of(trace), trace.attrs
    seconds = f"{float(attributes['wall_seconds']):.0f}"
    return [
        in_words(experiment),
        str(experiment.seed),
        plain(attributes["device"]),
        seconds,
        plain(attributes["started"][:10]),
        f"{float(trace['distance'][-1]):.6g}",
        f"`{attributes['final_state_hash']}`",
    ]
