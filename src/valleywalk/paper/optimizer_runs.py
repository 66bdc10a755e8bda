"""Short runs of several optimizers on small problems, with and without normalisation, watched.

A run is named by its settings alone. Recorded ones lie in `optimizers/` of the data folder, a file
a problem and normalisation; what is not there is run when it is asked for. By what rule each
learning rate was chosen: see `search`.
"""

import json
import math
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from .. import measures
from ..folders import data_folder
from ..machine import device_name, reproducible
from ..surroundings import random_states
from ..trace import open_trace, save
from ..watch import watch
from .optimizer_networks import examples, network_of, optimizers_of
from .optimizer_settings import Configuration, Normalisation, OptimizerName, Problem, Run, Tried

# Raised whenever the same settings would give other numbers.
REVISION = 1

# Seeds of the search for learning rates; what is decided is decided by others.
SEARCH_SEEDS = (8, 9)
# Where the search begins, as a place on the grid … 0.01, 0.03, 0.1, 0.3, 1, 3 …: 0 is 1.
FIRST_PLACES: dict[OptimizerName, int] = {
    "SGD": -1,
    "momentum": -2,
    "Adam": -4,
    "AdamW": -4,
    "Muon": -4,
}
# What is kept of a watch, and what `measures.along_step` finds of each step.
KEPT = ("loss", "measured", "loss_error", "step_length", "cosine", "distance", "minibatch_loss")
ALONG_STEP = ("floor_position", "gain", "curvature_penalty")


# Runs ---------------------------------------------------------------------------------------------


def train(run: Run, measured: Container[int] | None = None) -> xr.Dataset:
    """Train in a plain loop, and watch.

    Runs of one seed begin at the same parameters and see the same batches, whatever the optimizer.

    Parameters
    ----------
    run : Run
    measured : container of int, optional
        Steps whose segment is measured; default all.

    Returns
    -------
    xarray.Dataset
        The trace, with what `measures.along_step` finds of each step; its attribute `run` holds
        the settings.
    """
    inputs, targets, data_hash = examples(run.problem)
    loss = nn.functional.cross_entropy
    with reproducible(threads=1), random_states(seed=run.seed):
        network = network_of(run.problem, run.normalisation)
        optimizers = optimizers_of(run.optimizer, network, run.learning_rate)
        order = np.random.default_rng(run.seed)
        chosen = torch.from_numpy(order.permutation(len(inputs))[: run.evaluation_examples])
        with watch(
            network,
            optimizers,
            loss,
            (inputs[chosen], targets[chosen]),
            tolerance=run.tolerance,
            steps=measured,
            batch_size=run.batch_size,
        ) as watcher:
            for _ in range(run.steps):
                batch = torch.from_numpy(order.integers(len(inputs), size=run.batch_size))
                for optimizer in optimizers:
                    optimizer.zero_grad()
                value = loss(network(inputs[batch]), targets[batch])
                value.backward()
                for optimizer in optimizers:
                    optimizer.step()
                watcher.note(minibatch_loss=value.item())
    trace = watcher.trace
    found = measures.along_step(trace)[list(ALONG_STEP)].reindex_like(trace["iteration"])
    told = {
        "run": run.model_dump_json(),
        "dataset_hash": data_hash,
        "device": device_name(torch.device("cpu")),
        "revision": REVISION,
    }
    own = trace[list(KEPT)].assign(found.data_vars)
    # Only barriers ask for more digits, of the losses.
    small = {
        name: own[name].astype(np.float32) for name in (*ALONG_STEP, "loss_error", "step_length")
    }
    return own.assign(small).assign_attrs(told)


# Learning rates -----------------------------------------------------------------------------------


def on_the_grid(place: int) -> float:
    """The grid … 0.1, 0.3, 1, 3, 10 …, in which 1 has the place 0."""
    return float(f"{1 + 2 * (place % 2)}e{place // 2}")


def search(configuration: Configuration) -> list[Tried]:
    """Look for a configuration's learning rate.

    The rule: that with the lowest loss after the last step, on the examples of the evaluation, mean
    over the seeds of the search; of all settings but the rate those of a run's defaults. Begun with
    the rate at the optimizer's first place on the grid and its two neighbours, the grid is widened
    until the best rate has a neighbour on either side. A run that diverges has an infinite loss.
    """
    first = FIRST_PLACES[configuration.optimizer]
    tried: dict[int, list[Tried]] = {}
    places = [first - 1, first, first + 1]
    while places:
        for place in places:
            rate = on_the_grid(place)
            losses = [(seed, _last_loss(configuration, rate, seed)) for seed in SEARCH_SEEDS]
            tried[place] = [Tried(configuration, rate, *found) for found in losses]
        best = min(tried, key=lambda place: sum(each.loss for each in tried[place]))
        places = [place for place in (best - 1, best + 1) if place not in tried]
    return [each for place in sorted(tried) for each in tried[place]]


def _last_loss(configuration: Configuration, rate: float, seed: int) -> float:
    run = Run(**configuration._asdict(), learning_rate=rate, seed=seed)
    loss = float(train(run, measured={run.steps - 1})["loss"].values[-1, -1])
    return loss if math.isfinite(loss) else math.inf


# Recorded runs ------------------------------------------------------------------------------------


def recorded_folder() -> Path:
    """Where recorded runs lie."""
    return data_folder() / "optimizers"


def path_of(problem: Problem, normalisation: Normalisation) -> Path:
    """The file of the recorded runs on a problem with a normalisation."""
    return recorded_folder() / f"{problem}-{normalisation}.nc"


def keep(traces: Sequence[xr.Dataset], path: Path, **attributes: str) -> None:
    """Write traces of `train` into one file, as a trace whose variable `run` tells them apart."""
    lengths = [trace.sizes["iteration"] for trace in traces]
    together = xr.concat(traces, "iteration", combine_attrs="drop_conflicts")
    together["iteration"] = np.arange(sum(lengths))
    together["run"] = ("iteration", np.repeat(np.arange(len(traces), dtype=np.int16), lengths))
    together.attrs |= attributes | {
        "runs": json.dumps([json.loads(trace.attrs["run"]) for trace in traces]),
        "started": traces[0].attrs["started"],
        "wall_seconds": sum(float(trace.attrs["wall_seconds"]) for trace in traces),
    }
    save(together, path)


def kept(path: Path) -> dict[Run, xr.Dataset]:
    """The runs of a file that `keep` wrote, each as `train` gave it; none where there is no file.

    Raises
    ------
    TraceError
        The file is damaged, or holds no trace.
    """
    if not path.is_file():
        return {}
    together = open_trace(path)
    if together.attrs.get("revision") != REVISION:
        return {}
    of_run = together["run"].values
    found = {}
    for number, settings in enumerate(json.loads(together.attrs.pop("runs"))):
        own = together.isel(iteration=np.flatnonzero(of_run == number)).drop_vars("run")
        own["iteration"] = np.arange(own.sizes["iteration"])
        run = Run(**settings)
        found[run] = own.assign_attrs(run=run.model_dump_json())
    return found


def recorded(runs: Iterable[Run]) -> dict[Run, xr.Dataset]:
    """Those of some runs that are recorded."""
    wanted = dict.fromkeys(runs)
    cells = dict.fromkeys((run.problem, run.normalisation) for run in wanted)
    there = {run: trace for cell in cells for run, trace in kept(path_of(*cell)).items()}
    return {run: there[run] for run in wanted if run in there}
