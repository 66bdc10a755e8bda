"""Make anew what the page on optimizers keeps: `python -m valleywalk.paper.optimizer_record WHAT`.

In this order, each committed before the next: `rates` looks for the learning rates, `protocol`
writes down what is asked, by what it is decided and what is run, `runs` runs it. A file of runs
that is there is left as it is; delete it to run it again.
"""

import csv
import json
import sys
from io import StringIO
from pathlib import Path

from tqdm import tqdm

from ..files import write
from ..trace import environment
from .optimizer_runs import keep, path_of, recorded_folder, search, train
from .optimizer_settings import RATES, Configuration, Run, Tried
from .optimizers import Optimizers, protocol, protocol_hash


def rates() -> None:
    """Search the learning rate of each configuration, and keep all that was tried."""
    found = [
        tried
        for configuration in tqdm(Optimizers(scale="overnight").configurations, desc="rates")
        for tried in search(configuration)
    ]
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*Configuration._fields, *Tried._fields[1:]])
    for own, rate, seed, loss in found:
        table.writerow([*own, f"{rate:g}", seed, f"{loss:.6g}"])
    write(Path(__file__).with_name(RATES), text.getvalue().encode())


def write_protocol() -> None:
    """Write down what is fixed before the runs."""
    text = json.dumps(protocol(), indent=1, ensure_ascii=False)
    write(recorded_folder() / "protocol.json", f"{text}\n".encode())


def runs() -> None:
    """Run what the protocol says, a file a problem and normalisation.

    Raises
    ------
    ValueError
        There are changes that are not committed, so that no commit would name the code.
    """
    commit = environment()["git_commit"]
    if commit == "unknown" or commit.endswith("-dirty"):
        raise ValueError(f"the code is at commit {commit}; commit it first, in a checkout")
    cells: dict[Path, list[Run]] = {}
    for run in Optimizers(scale="overnight").runs:
        cells.setdefault(path_of(run.problem, run.normalisation), []).append(run)
    for path, of_cell in cells.items():
        if not path.is_file():
            traces = [train(run) for run in tqdm(of_cell, desc=path.stem)]
            keep(traces, path, protocol=protocol_hash())


STEPS = {"rates": rates, "protocol": write_protocol, "runs": runs}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        sys.exit(f"say which of {', '.join(STEPS)}")
    STEPS[sys.argv[1]]()
