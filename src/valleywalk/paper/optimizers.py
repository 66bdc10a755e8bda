"""Beyond the paper: five optimizers side by side, with and without normalisation (Section 6)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from .. import analysis, figures
from ..markdown import plain
from ..statistics import CONFIDENCE, Interval
from ..walks.progress import bar
from ..walks.store import Store
from . import optimizer_questions as questions
from .claim import ALPHA, Verdict
from .optimizer_settings import (
    Configuration,
    Normalisation,
    OptimizerName,
    Problem,
    Run,
    chosen_rate,
    run_of,
)
from .page import Each, Page, PositiveFloat, PositiveInt, markdown_table
from .scales import FIRST_SEEDS, Scale

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# On what, and with how many seeds, at each scale; quick needs no download.
SETTINGS: Mapping[Scale, Mapping[str, Any]] = {
    "smoke": {
        "problems": ["digits"],
        "seeds": 3,
        "steps": 4,
        "batch_size": 10,
        "evaluation_examples": 20,
    },
    "quick": {"problems": ["digits", "text"], "seeds": 3},
    "overnight": {"problems": ["digits", "cifar9k", "text"], "seeds": 10},
}
EVERYWHERE: Mapping[str, Any] = {
    "normalisations": ["none", "batch", "layer"],
    "optimizers": ["SGD", "momentum", "Adam", "AdamW", "Muon"],
}
# As they are printed.
NORMALISATIONS: Mapping[Normalisation, str] = {
    "none": "no normalisation",
    "batch": "batch norm",
    "layer": "layer norm",
}
NETWORKS: Mapping[Problem, str] = {
    "digits": "an MLP of 100 and 70 units on mnist5k",
    "cifar9k": "three convolutions of 16, 32 and 32 channels on cifar9k",
    "text": "a transformer of two blocks on the letters of scikit-learn's description of its "
    "breast-cancer data",
}
SIGNS: Mapping[Verdict, str] = {"supported": "●", "contradicted": "✕", "inconclusive": "○"}
# Of each panel: the label, and whether its numbers are of many sizes.
DESCRIBED_AS: Mapping[str, tuple[str, bool]] = {
    "bounces": ("segments with a\nminimum inside", False),
    "floor": (r"floor at $\alpha^*$", False),
    "height": ("height above\nthe floor", True),
    "gain": ("first-order\ngain", True),
    "penalty": ("curvature\npenalty", True),
    "crosses": ("steps that cross\na barrier", False),
    "loss": ("loss at\nthe end", True),
}
# Those of the picture, which stands on one screen; the table has all.
DRAWN = ("bounces", "floor", "height", "loss")


class Optimizers(Page):
    """Parameters of the notebook `optimizers`; None stands for the scale's, or for all."""

    scale: Scale = "quick"
    problems: Each[Problem] | None = None
    normalisations: Each[Normalisation] | None = None
    optimizers: Each[OptimizerName] | None = None
    learning_rates: Each[PositiveFloat] | None = None
    steps: Annotated[int, Field(ge=2, le=100_000)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=1000)] | None = None
    evaluation_examples: Annotated[int, Field(ge=2, le=2000)] | None = None
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    seeds: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0)] | None = None

    notebook: ClassVar[str] = "optimizers"
    subject: ClassVar[str] = "optimizers on small problems"
    alternative_text: ClassVar[str] = (
        "A column a problem, a row a quantity; in each panel a dot and its interval over seeds for "
        "each optimizer, with no normalisation, batch norm and layer norm beside each other."
    )

    @classmethod
    def scales_of(cls, chosen: Mapping[str, Any]) -> tuple[Scale, ...]:
        return tuple(SETTINGS)

    @classmethod
    def parameters_at(cls, scale: Scale, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return {"scale": scale, **chosen}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scale not in SETTINGS:
            raise ValueError(
                f"there are no runs of this page at the {self.scale} scale; use "
                f"{', '.join(SETTINGS)}"
            )
        names = dict.fromkeys(self.chosen["optimizers"])
        if self.learning_rates is not None and len(self.learning_rates) != len(names):
            raise ValueError(
                f"there are {len(self.learning_rates)} learning rates for {len(names)} optimizers; "
                "give one for each of them, or leave learning_rates out"
            )
        if not self.configurations:
            raise ValueError(
                "the transformer of text has no batch norm; use none or layer, or another problem"
            )
        examples, batch = (
            self.chosen.get(name, Run.model_fields[name].default)
            for name in ("evaluation_examples", "batch_size")
        )
        if "batch" in self.chosen["normalisations"] and examples % batch == 1:
            raise ValueError(
                f"of {examples} evaluation examples in batches of {batch} one is left alone, of "
                "which batch norm has no variance; choose another number"
            )
        return self

    @property
    def shown_scale(self) -> Scale:
        return self.scale

    @property
    def chosen(self) -> dict[str, Any]:
        """What the scale and the parameters say."""
        return {**EVERYWHERE, **SETTINGS[self.scale], **self.given}

    @property
    def configurations(self) -> list[Configuration]:
        """What is compared, in a fixed order."""
        names = ("problems", "normalisations", "optimizers")
        problems, normalisations, optimizers = (dict.fromkeys(self.chosen[name]) for name in names)
        every = (
            Configuration(problem, normalisation, optimizer)
            for problem in problems
            for normalisation in normalisations
            for optimizer in optimizers
        )
        return [each for each in every if each.possible]

    @property
    def runs(self) -> list[Run]:
        """The runs of each configuration, a seed after the other."""
        chosen = self.chosen
        first = chosen.get("seed", FIRST_SEEDS.get(self.scale, 0))
        own = dict(
            zip(dict.fromkeys(chosen["optimizers"]), self.learning_rates or (), strict=False)
        )
        fields = {name: value for name, value in chosen.items() if name in Run.model_fields}
        return [
            Run(
                **fields
                | each._asdict()
                | {
                    "learning_rate": own.get(each.optimizer) or chosen_rate(each),
                    "seed": seed,
                }
            )
            for each in self.configurations
            for seed in range(first, first + chosen["seeds"])
        ]

    def is_there(self, store: Store) -> bool:
        return self._all_recorded is not None

    @property
    def _all_recorded(self) -> list[xr.Dataset] | None:
        """The recorded traces; None where they are not all there."""
        from .optimizer_runs import recorded

        runs = self.runs
        there = recorded(runs)
        return [*there.values()] if len(there) == len(runs) else None

    def get_traces(self) -> list[xr.Dataset]:
        """The trace of each run, recorded or run now."""
        from .optimizer_runs import recorded, train

        runs = self.runs
        there = recorded(runs)
        shown = bar(iterable=runs, desc="runs", disable=len(there) == len(runs))
        return [there[run] if run in there else train(run) for run in shown]

    @property
    def scope(self) -> str:
        chosen = self.chosen
        configurations = self.configurations
        return (
            f"{len(configurations)} configurations of "
            f"{', '.join(dict.fromkeys(each.optimizer for each in configurations))} on "
            f"{', '.join(dict.fromkeys(each.problem for each in configurations))}, "
            f"{chosen['seeds']} seed{'s' * (chosen['seeds'] > 1)} each"
        )

    @property
    def made_on(self) -> str | None:
        traces = self._all_recorded
        return None if traces is None else plain(_made_on(traces))

    # What they show ------------------------------------------------------------------------------

    def draw(self, traces: list[xr.Dataset]) -> Figure:
        """A panel for each quantity and problem: intervals over seeds."""
        import matplotlib.pyplot as plt
        import seaborn as sns

        rows = self.numbers(traces)["rows"]
        problems, optimizers = (
            list(dict.fromkeys(row[name] for row in rows)) for name in ("problem", "optimizer")
        )
        shown = [name for name in NORMALISATIONS if name in {row["normalisation"] for row in rows}]
        with figures.style():
            figure, axes = plt.subplots(
                len(DRAWN),
                len(problems),
                figsize=(1.6 + 2.6 * len(problems), 6.5),
                sharex=True,
                sharey="row",
                squeeze=False,
                layout="constrained",
            )
            for of_row, name in zip(axes, DRAWN, strict=True):
                label, many_sizes = DESCRIBED_AS[name]
                for axis, problem in zip(of_row, problems, strict=True):
                    for place, normalisation in enumerate(shown):
                        own = {
                            optimizers.index(row["optimizer"]): row["described"][name]
                            for row in rows
                            if (row["problem"], row["normalisation"]) == (problem, normalisation)
                            and row["described"][name]
                        }
                        if own:
                            figures.intervals(
                                [*own.values()],
                                np.array([*own]) + 0.2 * (place - (len(shown) - 1) / 2),
                                axes=axis,
                                colour=figures.PALETTE[place],
                                label=NORMALISATIONS[normalisation],
                            )
                axis = of_row[0]
                axis.set_ylabel(label)
                # An interval may reach below zero.
                if many_sizes and axis.dataLim.ymin > 0:
                    figures.logarithmic(axis)
            for axis, problem in zip(axes[0], problems, strict=True):
                axis.set_title(problem)
                axis.axhline(questions.bounces.above, color="0.5", linewidth=0.8)
                axis.set_ylim(-0.05, 1.05)
            for share, word in ((0.75, "bounces"), (0.25, "slides")):
                beside = {"transform": axis.transAxes, "rotation": 90, "va": "center"}
                axis.text(1.02, share, word, fontsize="small", **beside)
            axes[-1, 0].set_xticks(range(len(optimizers)), optimizers)
            for axis in axes[-1]:
                axis.tick_params(axis="x", rotation=30)
            handles = {
                label: handle
                for axis in axes[0]
                for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
            }
            figure.legend(
                handles.values(), handles, loc="outside upper center", ncols=3, frameon=False
            )
            figure.align_ylabels(list(axes[:, 0]))
            sns.despine(figure)
        return figure

    def draw_walks(self, traces: list[xr.Dataset]) -> Figure:
        """The first seed of each optimizer on the first problem and normalisation, step by step."""
        runs = [run_of(trace) for trace in traces]
        first = runs[0].model_dump(include={"problem", "normalisation", "seed"})
        own = {
            run.optimizer: trace
            for run, trace in zip(runs, traces, strict=True)
            if run.model_dump(include={*first}) == first
        }
        return figures.side_by_side([*own.values()], [*own])

    def numbers(self, traces: list[xr.Dataset]) -> dict[str, Any]:
        """Of each configuration, and of all."""
        made = [run_of(trace) for trace in traces]
        runs = {
            (run.configuration, run.seed): trace for run, trace in zip(made, traces, strict=True)
        }
        rates = {run.configuration: run.learning_rate for run in made}
        found = questions.answers(questions.asked([*rates]), runs)
        rows = []
        for own, rate in rates.items():
            described = {
                claim.id: seen.interval() if seen else None
                for claim in questions.DESCRIBED
                for seen in [questions.evidence(claim, [own], runs)]
            }
            rows.append(_named(own) | {"rate": rate, "described": described})
        finite = [trace for trace in traces if _finite(trace)]
        whole = [row for row in rows if None not in row["described"].values()]
        for row in whole:
            gain, penalty = (row["described"][name].estimate for name in ("gain", "penalty"))
            row["penalty_share"] = penalty / gain
        return {
            "runs": len(traces),
            "seeds": len({run.seed for run in made}),
            "steps": made[0].steps,
            "late_from": int(questions.EARLY * made[0].steps),
            "questions": len(found),
            "ranges": {claim.id: claim.range_in_words for claim in questions.ASKED},
            # An adjusted p-value must not depend on what is looked at together.
            "fixed_before": len(found) == protocol()["family"]
            and all(trace.attrs.get("protocol") == protocol_hash() for trace in traces),
            "rows": rows,
            "whole": whole,
            "answers": [
                _named(answer.question.of[0])
                | {
                    "claim": answer.question.claim.id,
                    "verdict": answer.verdict,
                    "interval": answer.interval,
                }
                for answer in found
            ],
            "barriers": int(sum(analysis.barriers(each["loss"].values).sum() for each in finite)),
            "all_steps": sum(each.sizes["iteration"] for each in finite),
            "diverged": [_named(own) for (own, _), each in runs.items() if not _finite(each)],
        }

    def table(self, traces: list[xr.Dataset]) -> str:
        """What each configuration does, and what was asked of it; of each problem by itself."""
        numbers = self.numbers(traces)
        cells = {
            (each["problem"], _configured(each), each["claim"]): _signed(each)
            for each in numbers["answers"]
        }
        labels = [label.replace("\n", " ") for label, _ in DESCRIBED_AS.values()]
        sentences = [claim.sentence.removesuffix(".") for claim in questions.ASKED]
        described, asked = [], []
        for problem, rows in groupby(numbers["rows"], key=itemgetter("problem")):
            of_problem = {_configured(row): row for row in rows}
            caption = f"\n*{problem}*: {NETWORKS[problem]}.\n"
            shown = [
                [own, f"{row['rate']:g}", *(_shown(*each) for each in row["described"].items())]
                for own, row in of_problem.items()
            ]
            described += [caption, markdown_table(["", "rate", *labels], shown)]
            answers = [
                [own, *(cells.get((problem, own, claim.id), "") for claim in questions.ASKED)]
                for own in of_problem
            ]
            asked += [f"\n*{problem}*:\n", markdown_table(["", *sentences], answers)]
        signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
        legend = [
            f"- *{claim.sentence}* {claim.statistic[0].upper()}{claim.statistic[1:]}: "
            f"{claim.range_in_words}."
            for claim in questions.ASKED
        ]
        return "\n".join(
            [
                *described,
                f"\nMeans over {numbers['seeds']} seeds, without runs that diverged, with their "
                f"{CONFIDENCE:.0%} intervals; of height and loss those of the logarithm.\n",
                *asked,
                f"\n{signs}; adjusted by Holm for {numbers['questions']} questions.\n",
                *legend,
            ]
        )

    def provenance(self, traces: list[xr.Dataset]) -> str:
        run = run_of(traces[0])
        problems = dict.fromkeys(run_of(trace).problem for trace in traces)
        commits = ", ".join(dict.fromkeys(trace.attrs["git_commit"] for trace in traces))
        torch = json.loads(traces[0].attrs["versions"])["torch"]
        return (
            f"{'; '.join(NETWORKS[problem] for problem in problems)}; {run.steps} steps of batch "
            f"{run.batch_size}, loss on {run.evaluation_examples} examples, at few points of a "
            f"segment (tolerance {run.tolerance:g}); {_made_on(traces)}; torch {torch}, "
            f"valleywalk ({commits})"
        )


def _finite(trace: xr.Dataset) -> bool:
    return bool(np.isfinite(trace["loss"].values).all())


def _named(configuration: Configuration) -> dict[str, Any]:
    return {
        "problem": configuration.problem,
        "normalisation": configuration.normalisation,
        "with": NORMALISATIONS[configuration.normalisation],
        "optimizer": configuration.optimizer,
    }


def _configured(row: Mapping[str, Any]) -> str:
    return f"{row['optimizer']}, {row['with']}"


def _shown(name: str, interval: Interval | None) -> str:
    if interval is None:
        return "no number"
    if name in ("bounces", "crosses") and not np.isnan(interval.low):
        return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    return str(interval)


def _signed(answer: Mapping[str, Any]) -> str:
    return (
        f"{SIGNS[answer['verdict']]}\N{NO-BREAK SPACE}{_shown(answer['claim'], answer['interval'])}"
    )


def _made_on(traces: Sequence[xr.Dataset]) -> str:
    devices = dict.fromkeys(trace.attrs["device"] for trace in traces)
    days = sorted({trace.attrs["started"][:10] for trace in traces})
    return (
        f"{', '.join(devices)}, {len(traces)} run{'s' * (len(traces) > 1)}, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}"
    )


@cache
def protocol() -> dict[str, Any]:
    """All that is fixed before any run that decides; ready for JSON.

    Returns
    -------
    dict
        questions (statistic, quantity, range), family (how many are asked in all; their p-values
        are adjusted by Holm), alpha (below which one decides), settings (of all runs), seeds,
        rates (of each configuration).
    """
    page = Optimizers(scale="overnight")
    told = ("id", "sentence", "statistic", "quantity")
    rates = {run.configuration: run.learning_rate for run in page.runs}
    common = set(Run.model_fields) - {*Configuration._fields, "learning_rate", "seed"}
    return {
        "questions": [
            {name: getattr(claim, name) for name in told} | {"holds": claim.range_in_words}
            for claim in questions.ASKED
        ],
        "family": len([*questions.asked(page.configurations)]),
        "alpha": ALPHA,
        "settings": page.runs[0].model_dump(include=common),
        "seeds": sorted({run.seed for run in page.runs}),
        "rates": [{**own._asdict(), "learning_rate": rate} for own, rate in rates.items()],
    }


def protocol_hash() -> str:
    """What the protocol is known by in the files of recorded runs."""
    text = json.dumps(protocol(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
