"""What a trace was made by, and the line under a figure that says so."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..folders import checkout
from ..trace import TraceError
from .experiment import Experiment

if TYPE_CHECKING:
    import xarray as xr

# What is fixed before the walks that decide; `valleywalk claims --protocol --json` wrote it.
PROTOCOL = "data/protocol.json"

# Attributes of a trace that `watch` made, beside those of each trace.
SAID_BY_A_WATCH = ("cosine_of", "device", "started", "wall_seconds")


def protocol_commit() -> str:
    """The last commit that changed the protocol, read now; unknown where there is none."""
    return next(iter(protocol_commits() or ()), "unknown")


def protocol_commits() -> list[str] | None:
    """The commits that changed the protocol, the last one first; None where git does not say.

    A shallow clone knows none of them: there every file seems to be of its first commit.
    """
    root = checkout()
    if root is None:
        return None
    try:
        shallow = _git(root, "rev-parse", "--is-shallow-repository") == "true"
        found = _git(root, "log", "--abbrev=12", "--format=%h", "--", PROTOCOL).split()
    except (OSError, subprocess.SubprocessError):
        return None
    return None if shallow or not found else found


def _git(root: Path, *words: str) -> str:
    asked = ["git", "-C", str(root), *words]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def unfit_commits(trace: xr.Dataset) -> list[str]:
    """Those of a trace's commits that name no code: of a tree with changes, or not known."""
    commits = str(trace.attrs["git_commit"]).split(", ")
    return [name for name in commits if name in ("", "unknown") or name.endswith("-dirty")]


def experiment_of(trace: xr.Dataset) -> Experiment:
    """The experiment a trace was made by.

    Raises
    ------
    TraceError
        It does not say it, or says one that there cannot be.
    """
    text = trace.attrs.get("experiment")
    if text is None:
        raise TraceError("the trace says no experiment: it is not of one of valleywalk's own walks")
    try:
        return Experiment.model_validate_json(text)
    except ValidationError as error:
        raise TraceError(f"the trace's experiment cannot be read: {error}") from error


def provenance(*traces: xr.Dataset) -> str:
    """One line that says what traces are and how they were made, for under a figure.

    Several traces: what they have in common, and the values of what differs. A trace of `watch`
    knows no settings; of such ones each has a line.
    """
    if any("experiment" not in trace.attrs for trace in traces):
        return "; ".join(dict.fromkeys(_provenance_of_a_watch(trace) for trace in traces))
    if len(traces) > 1:
        return _common_provenance(traces)
    (trace,) = traces
    attributes = trace.attrs
    experiment = experiment_of(trace)
    versions = json.loads(attributes["versions"])
    batch_norm = f"batch norm in {experiment.batch_norm} mode"
    batches = f"batches of {experiment.evaluation_batch_size}"
    if experiment.tolerance:
        batches += f", at few points of a segment (tolerance {experiment.tolerance:g})"
    if experiment.sampled_iterations:
        batches += f", at {experiment.sampled_iterations} steps drawn in an epoch"
    curvature = ""
    if experiment.curvature_every:
        images = attributes["evaluation_images"]
        if experiment.curvature_images is not None:
            # Whole batches of the plan, at least one.
            size = experiment.evaluation_batch_size
            images = min(images, max(size, experiment.curvature_images // size * size))
        curvature = f"curvature on {images} of them each {experiment.curvature_every} epochs; "
    protocol = attributes.get("protocol_commit", "unknown")
    commits = attributes["git_commit"] + (f"; protocol {protocol}" if protocol != "unknown" else "")
    seconds = float(attributes["wall_seconds"])
    duration = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
    return (
        f"{attributes['dataset_description']}; trained on {attributes['training_images']} images, "
        f"loss measured on {attributes['evaluation_images']} of them in {batches}, "
        f"{batch_norm}; {curvature}"
        f"{experiment.model} at width {experiment.width:g} "
        f"({attributes['parameters']:,} parameters); {experiment.update} with learning rate "
        f"{experiment.learning_rate:g}, batch size {experiment.batch_size}, weight decay "
        f"{experiment.weight_decay:g}, {'with' if experiment.augmentation else 'no'} augmentation"
        f"{_changes(experiment)}; "
        f"convention {experiment.convention}; seed {experiment.seed}; "
        f"{attributes['device']}, {duration}, {attributes['started'][:10]}; "
        f"torch {versions['torch']}, valleywalk {versions['valleywalk']} "
        f"({commits}); experiment {attributes['experiment_hash']}, "
        f"plan {attributes['plan_hash']}, data {attributes['dataset_hash']}"
    )


def _changes(experiment: Experiment) -> str:
    """What the walk has of schedule, isotropic noise and a change in mid-walk."""
    said = ""
    if experiment.schedule != "constant":
        said += f", schedule {experiment.schedule}"
    if experiment.noise_factor:
        said += (
            f", isotropic noise whose {experiment.noise_measure} is {experiment.noise_factor:g} "
            f"times the largest gradient variance ({experiment.noise_estimate})"
        )
    if experiment.switch_epoch is not None:
        later = experiment.phase(experiment.switch_epoch + 1)
        said += (
            f"; after epoch {experiment.switch_epoch} {later.update} with learning rate "
            f"{later.learning_rate:g}, batch size {later.batch_size}, "
            f"{'with' if later.noise_factor else 'no'} noise"
        )
    return said


def _provenance_of_a_watch(trace: xr.Dataset) -> str:
    """What a watch around a training loop knows of it; of that loop it knows no settings."""
    attributes = trace.attrs
    lacking = [name for name in SAID_BY_A_WATCH if name not in attributes]
    if lacking:
        raise TraceError(f"the trace does not say how it was made: it has no {lacking[0]}")
    versions = json.loads(attributes["versions"])
    images = int(trace["batch_images"].sum()) if "batch_images" in trace else 0
    return (
        f"a training loop watched for {trace.sizes['iteration']} steps; loss measured on {images} "
        f"examples in {trace.sizes.get('batch', 0)} batches; cosine of the "
        f"{attributes['cosine_of']}; {attributes['device']}, "
        f"{float(attributes['wall_seconds']):.0f} s, {attributes['started'][:10]}; torch "
        f"{versions['torch']}, valleywalk {versions['valleywalk']} ({attributes['git_commit']})"
    )


def _common_provenance(traces: Sequence[xr.Dataset]) -> str:
    experiments = [experiment_of(trace) for trace in traces]
    values: dict[str, dict[str, None]] = {}
    for name in Experiment.model_fields:
        shown = {str(getattr(experiment, name)): None for experiment in experiments}
        if set(shown) != {"None"}:
            values[name] = shown
    same = [f"{name} {next(iter(v))}" for name, v in values.items() if len(v) == 1]
    differ = [f"{name} ({', '.join(v)})" for name, v in values.items() if len(v) > 1]

    def all_of(name: str) -> str:
        return ", ".join(dict.fromkeys(str(trace.attrs[name]) for trace in traces))

    versions = [json.loads(trace.attrs["versions"]) for trace in traces]

    def versions_of(package: str) -> str:
        return ", ".join(dict.fromkeys(of_one[package] for of_one in versions))

    seconds = sum(float(trace.attrs["wall_seconds"]) for trace in traces)
    days = sorted({trace.attrs["started"][:10] for trace in traces})
    return (
        f"{all_of('dataset_description')}; {len(traces)} walks that differ in {', '.join(differ)} "
        f"and have in common {', '.join(same)}; {all_of('device')}, {seconds:.0f} s in all, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}; torch {versions_of('torch')}, "
        f"valleywalk {versions_of('valleywalk')} ({all_of('git_commit')}); experiments "
        f"{all_of('experiment_hash')}"
    )
