"""The head of a page: what was walked for it, on what, and what came of it, a line each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr

from ..machine import device_name
from ..markdown import plain
from ..paper.claim import SUBJECTS
from ..paper.items import Item
from ..paper.ledger import VERDICTS, Finding
from ..paper.ledger_text import claims_of, findings_of
from ..paper.page import Page, named
from ..paper.scales import DECIDING, JUDGED, Scale, original_dataset
from ..walks import cost
from ..walks.catalogue import DATASETS, network_info
from ..walks.experiment import Experiment
from ..walks.provenance import experiment_of

# Shares of the paper's width that have a word.
WIDTHS = {0.5: "half", 0.25: "a quarter", 0.125: "an eighth", 0.1: "a tenth", 0.0625: "a sixteenth"}
# More claims of one verdict are counted, not named.
NAMED = 2


def head(item: Item, scale: Scale, run: Mapping[str, Any]) -> str:
    """The lines on top of an item's page, as a box in Markdown.

    Parameters
    ----------
    item : Item
    scale : str
        At which it is shown; all its walks are there.
    run : mapping
        papermill's notes of the notebook that was executed: start_time, duration.

    Raises
    ------
    ValueError
        The trace of a walk is not there.
    """
    page = item.at(scale)
    title = f"Scale: *{scale}*, see {{doc}}`the scales </reading>`; settings: at the page's end"
    if page.experiments:
        walked, made = scope(page, item.at("paper")), made_on(_traces(page))
    else:
        if "scale" not in item.parameters(scale):
            title = "Scale: none, the same at {doc}`all scales </reading>`"
        walked = page.scope
        time = f"{cost.duration(run['duration'])}, {run['start_time'][:10]}"
        bound = f"{device_name(torch.device('cpu'))}, as the page was bound: {time}"
        made = page.made_on or bound
    return (
        f":::{{admonition}} {title}\n:class: note page-head\n- **Scope:** {walked}\n"
        f"- **Made on:** {made}\n- **Verdict:** {verdict(page)} ({{doc}}`ledger </index>`)\n:::"
    )


def _traces(page: Page) -> list[xr.Dataset]:
    traces = {experiment: page.store.open(experiment) for experiment in page.experiments}
    missing = [experiment.hash for experiment, trace in traces.items() if trace is None]
    if missing:
        raise ValueError(f"no trace is there of {', '.join(missing)}; execute the page's notebook")
    return [trace for trace in traces.values() if trace is not None]


# Scope --------------------------------------------------------------------------------------------


def scope(page: Page, original: Page) -> str:
    """What is walked and measured for a page, and where the scale "paper" differs.

    Parameters
    ----------
    page : Page
    original : Page
        The same at the paper's scale.

    Returns
    -------
    str
        Numbers that differ from walk to walk are given from the smallest to the largest.
    """
    extra = page.beyond_the_paper
    ours = [experiment for experiment in page.experiments if experiment not in extra]
    theirs = [each for each in original.experiments if each not in original.beyond_the_paper]
    seeds = sorted({experiment.seed for experiment in ours})
    images, measured = _images(ours), _measured(ours, theirs)
    augmented = any(experiment.augmentation for experiment in ours)
    parts = [_networks(ours), *_in_words(images), *["augmented"] * augmented, *measured]
    parts.append(f"seed{'s' * (len(seeds) > 1)} {_numbers(seeds)}")
    absent = sorted({each.model for each in theirs} - {each.model for each in ours})
    different = [f"also {network_info(model).title}" for model in absent]
    if any(experiment.width != 1 for experiment in ours):
        different.append("full width")
    other = {data: count for data, count in _images(theirs).items() if images.get(data) != count}
    different += _in_words(other)
    if not augmented and any(experiment.augmentation for experiment in theirs):
        different.append("augmented")
    different += [text for text in _measured(theirs, theirs) if text not in measured]
    # Where the paper is silent that scale is our choice.
    there = f"the scale *paper*: {', '.join(different)}" if different else "as at the scale *paper*"
    said = [", ".join(parts), there]
    if extra:
        said.append(
            f"beyond the paper, {_numbers(map(cost.all_steps, extra))} steps of gradient descent "
            f"on {_numbers(map(cost.training_images, extra))} images"
        )
    return "; ".join(said)


def _networks(experiments: Sequence[Experiment]) -> str:
    """Networks, those of one width together."""
    widths: dict[str, set[float]] = {}
    for experiment in experiments:
        widths.setdefault(network_info(experiment.model).title, set()).add(experiment.width)
    together: dict[str, list[str]] = {}
    for title, own in widths.items():
        words = " and ".join(WIDTHS.get(width, f"{width:g}") for width in sorted(own))
        together.setdefault("" if own == {1} else words, []).append(title)
    full = together.pop("", [])
    narrow = [f"{' and '.join(titles)} at {words}" for words, titles in together.items()]
    texts = [f"{', '.join(narrow)} of the width"] if narrow else []
    return ", ".join([*texts, *full])


def _images(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Data sets, and how many training images of each."""
    counts: dict[str, list[int]] = {}
    for experiment in experiments:
        original = original_dataset(experiment.model, experiment.dataset)
        known = original == experiment.dataset and original in DATASETS
        data = DATASETS[original].title if known else named(experiment.dataset)
        if experiment.classes is not None:
            data = f"{experiment.classes} classes of {data}"
        counts.setdefault(data, []).append(cost.training_images(experiment))
    return {data: _numbers(numbers) for data, numbers in counts.items()}


def _in_words(images: Mapping[str, str]) -> list[str]:
    return [
        f"{count} {'of' if number else 'images of'} {data}"
        for number, (data, count) in enumerate(images.items())
    ]


def _measured(experiments: Sequence[Experiment], original: Sequence[Experiment]) -> list[str]:
    """How far is walked, and what is measured of that which the paper's own walks measure."""
    texts = []
    probes = any(cost.measured_segments(experiment) for experiment in original)
    if probes:
        probed = [each for each in experiments if cost.measured_segments(each)]
        texts.append(f"{_steps(probed)} measured on {_evaluated(probed)}")
    else:
        epochs = {experiment.epochs for experiment in experiments}
        steps = f"{_numbers(map(cost.all_steps, experiments))} steps"
        texts.append(f"{_numbers(epochs)} epochs" if len(epochs) == 1 else steps)
    if any(experiment.curvature_every for experiment in original):
        curved = [each for each in experiments if each.curvature_every]
        every = _numbers(each.curvature_every for each in curved)
        images = _numbers(each.curvature_images or cost.evaluation_images(each) for each in curved)
        when = "every epoch" if every == "1" else f"every {every} epochs"
        texts.append(f"curvature {when} on {images} images")
    elif not probes:
        judged = [each for each in experiments if each.evaluate_every]
        texts += [f"loss on {_evaluated(judged)}"] * bool(judged)
    return texts


def _steps(experiments: Sequence[Experiment]) -> str:
    """How many steps are measured: of all, or of an epoch where some epochs are left out."""
    measured, there, touched = [], [], []
    for experiment in experiments:
        steps_in_epoch = cost.steps_in_epoch(experiment)
        steps = experiment.probed_steps(steps_in_epoch)
        of_epochs = Counter((steps // steps_in_epoch).tolist())
        touched.append(len(of_epochs))
        if len(of_epochs) == experiment.epochs:
            measured.append(len(steps))
            there.append(experiment.epochs * steps_in_epoch)
        else:
            measured += of_epochs.values()
            there += [steps_in_epoch] * len(of_epochs)
    epochs = [experiment.epochs for experiment in experiments]
    whole, everywhere = measured == there, touched == epochs
    if everywhere and whole:
        return f"all {_numbers(there)} steps"
    counted = "every step" if whole else f"{_of(measured, there)} steps"
    return counted if everywhere else f"{counted} in {_of(touched, epochs)} epochs"


def _of(counts: Iterable[int], there: Iterable[int]) -> str:
    """Some of so many; how many there are is left out where it differs."""
    known = sorted(set(there))
    return _numbers(counts) + (f" of {known[0]:,}" if len(known) == 1 else "")


def _evaluated(experiments: Sequence[Experiment]) -> str:
    """On how many images losses are measured."""
    images = [cost.evaluation_images(experiment) for experiment in experiments]
    everything = images == [cost.training_images(experiment) for experiment in experiments]
    return "all images" if everything else f"{_numbers(images)} images"


def _numbers(numbers: Iterable[int]) -> str:
    """One number, or the smallest and the largest."""
    found = sorted(set(numbers))
    return " to ".join(f"{number:,}" for number in dict.fromkeys((found[0], found[-1])))


# Made on ------------------------------------------------------------------------------------------


def made_on(traces: Sequence[xr.Dataset]) -> str:
    """Hardware, time, forward passes and days of the walks of some traces.

    Parameters
    ----------
    traces : sequence of xarray.Dataset
        At least one.
    """
    devices = dict.fromkeys(plain(trace.attrs["device"]) for trace in traces)
    seconds = sum(float(trace.attrs["wall_seconds"]) for trace in traces)
    passes = [cost.passes(experiment_of(trace)) for trace in traces]
    total = sum(each.total for each in passes)
    measuring = f"{1 - sum(each.training for each in passes) / total:.0%}"
    share = "" if measuring == "0%" else f" ({measuring} to measure)"
    days = sorted({plain(trace.attrs["started"][:10]) for trace in traces})
    return (
        f"{', '.join(devices)}, {len(traces)} walk{'s' * (len(traces) > 1)}, "
        f"{cost.duration(seconds)}, about {cost.many(total)} forward passes{share}, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}"
    )


# Verdict ------------------------------------------------------------------------------------------


def verdict(page: Page) -> str:
    """What walks that decide say of the claims that a page bears on."""
    if not claims_of(page):
        return "no claim rests on this page"
    found = [one for one in findings_of(page) if one.scale is None or one.scale in DECIDING]
    described = "" if page.shown_scale in JUDGED else "described here, not judged; elsewhere "
    if not found:
        return f"{described}the walks that decide are not there yet"
    told = {each: [one for one in found if one.verdict == each] for each in VERDICTS}
    return described + "; ".join(f"{each}: {_claims(own)}" for each, own in told.items() if own)


def _claims(found: Sequence[Finding]) -> str:
    """Claims of one verdict: a few are named, the primary ones before all; others are counted."""
    texts = []
    for kind in ("primary", "exploratory"):
        own = [one for one in found if one.kind == kind]
        if len(own) <= NAMED and (kind == "primary" or own == list(found)):
            mark = " (primary)" if kind == "primary" else ""
            alike: dict[str, list[str]] = {}
            for one in own:
                alike.setdefault(one.claim.rstrip("."), []).append(SUBJECTS[one.subject].title)
            for words, titles in alike.items():
                networks = list(dict.fromkeys(titles))
                more = f" in {len(titles)} rows" if len(titles) > 1 else ""
                more += f" ({', '.join(networks)})" if len(networks) > 1 else ""
                texts.append(f"“{words}”{more}{mark}")
        elif own:
            texts.append(f"{len(own)} {kind}")
    partly = [one for one in found if one.seeds_walked < one.seeds_planned]
    return ", ".join(texts) + (f" ({_seeds(partly)})" if partly else "")


def _seeds(found: Sequence[Finding]) -> str:
    """The fewest and the most seeds of those that are planned."""
    counts = sorted((one.seeds_walked, one.seeds_planned) for one in found)
    (fewest, first), (most, last) = counts[0], counts[-1]
    if fewest == most or first == last:
        planned = _numbers(one.seeds_planned for one in found)
        return f"{_numbers((fewest, most))} of {planned} seeds"
    return f"{fewest} of {first} to {most} of {last} seeds"
