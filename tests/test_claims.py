"""The ledger: each verdict on traces whose answer is known, and how often it is wrong."""

import json
import math

import numpy as np
import pytest

from valleywalk import Store
from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper.claim import Claim, judge, verdict_of
from valleywalk.paper.items import CLAIMS, ITEMS
from valleywalk.paper.ledger import (
    CLAIM_COUNT,
    all_experiments,
    as_objects,
    experiments_of,
    findings,
    ledger_table,
    page_claims,
)
from valleywalk.paper.walks import GradientDescentWalk, StochasticWalk
from valleywalk.statistics import Interval
from valleywalk.trace import assemble, save

ALPHA = np.linspace(0, 1, 11)
BY_ID = {claim.id: claim for claim in CLAIMS}


def test_claims_are_complete():
    assert len(BY_ID) == len(CLAIMS)
    assert {claim.number for claim in CLAIMS} == set(range(1, 18))
    for claim in CLAIMS:
        assert claim.item in ITEMS
        assert claim.above < claim.below
        assert "ection" in claim.source or "ootnote" in claim.source


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((1.5, 1.2, 1.8), "supported"),
        ((0.5, 0.2, 0.8), "not supported"),
        ((2.5, 2.2, 2.8), "not supported"),
        ((1.1, 0.9, 1.3), "inconclusive"),
        ((1.5, 0.0, 3.0), "inconclusive"),
        ((1.5, math.nan, math.nan), "inconclusive"),
        # An end on the border lies neither inside nor, for certain, on the other side.
        ((1.5, 1.0, 1.8), "inconclusive"),
        ((1.5, 1.2, 2.0), "inconclusive"),
        ((0.5, 0.2, 1.0), "not supported"),
        ((2.5, 2.0, 2.8), "not supported"),
    ],
)
def test_verdicts_from_intervals(interval, verdict):
    assert verdict_of(Interval(*interval), 1.0, 2.0, seeds=3) == verdict
    assert verdict_of(Interval(*interval), 1.0, 2.0, seeds=2) == "inconclusive"


def test_a_whole_ledger_is_wrong_as_seldom_as_it_says():
    """54 claims whose statistic lies exactly on its border: any verdict is a wrong one."""
    random = np.random.default_rng(0)
    claim = Claim(
        **dict.fromkeys(("id", "sentence", "source", "statistic", "paper", "item"), ""),
        number=1,
        above=0.0,
        pages=(),
        measure=lambda: 0.0,
    )
    wrong = 0
    for _ in range(300):
        drawn = random.standard_normal((CLAIM_COUNT, 5))
        verdicts = {judge(claim, values, CLAIM_COUNT)[1] for values in drawn}
        wrong += verdicts != {"inconclusive"}
    # 5 % of 300 ledgers are 15; a binomial count above 28 has a chance below one in a thousand.
    assert 3 <= wrong <= 28


def test_a_clear_effect_is_found_with_five_seeds():
    values = 1 + 0.05 * np.random.default_rng(1).standard_normal(5)
    assert judge(BY_ID["sgd-cosine"], values, CLAIM_COUNT)[1] == "supported"
    assert judge(BY_ID["few-barriers"], values, CLAIM_COUNT)[1] == "not supported"


def test_a_share_that_never_changes_is_not_certain():
    interval, verdict = judge(BY_ID["few-barriers"], [0.0] * 5, CLAIM_COUNT)
    assert interval.low == 0, "a share cannot leave 0 … 1"
    assert 0 < interval.high < 0.06
    assert verdict == "supported"
    interval, verdict = judge(BY_ID["few-barriers"], [1.0] * 5, CLAIM_COUNT)
    assert interval.low > 0.06
    assert interval.high == 1
    assert judge(BY_ID["few-barriers"], [0.0] * 3, CLAIM_COUNT)[1] == "inconclusive"


def test_a_ratio_is_averaged_in_logarithms():
    interval, verdict = judge(BY_ID["noise-travels-far"], [8, 10, 12.5, 10, 10], 54)
    assert interval.estimate == pytest.approx(10)
    assert interval.low * interval.high == pytest.approx(100)
    assert verdict == "supported"


def test_the_seeds_of_the_ledger_share_no_walk():
    for claim in CLAIMS:
        for model in claim.models:
            walks = [experiments_of(claim, "quick", model, seed) for seed in range(3)]
            assert all({e.seed for e in own} <= {seed} for seed, own in enumerate(walks))


def walk_trace(experiment, cosine, floor, scale=1.0):
    """A walk with the given cosine, a valley floor, and a distance that grows by `scale`."""
    records = []
    for step, (angle, bottom) in enumerate(zip(cosine, floor, strict=True)):
        loss = bottom + 4 * (ALPHA - 0.5) ** 2
        records.append({"loss": loss, "cosine": angle, "distance": scale * (step + 1)})
    attributes = {
        "experiment": experiment.model_dump_json(),
        "experiment_hash": experiment.hash,
        "steps_in_epoch": 1,
    }
    return assemble(records, ALPHA, attributes=attributes)


@pytest.fixture
def store(tmp_path):
    """GD that bounces on a falling floor, SGD that wanders on a rough one, for five seeds."""
    store = Store(tmp_path / "cache")
    random = np.random.default_rng(0)
    for seed in range(5):
        for kind, cosine, rough, scale in (
            (GradientDescentWalk, -0.95, 0.0, 1.0),
            (StochasticWalk, -0.1, 1.0, 1.5),
        ):
            page = kind.for_seed("quick", "vgg11", seed, {})
            (experiment,) = page.experiments
            jitter = 0.01 * random.standard_normal(40)
            floor = np.linspace(2, 1, 40) + rough * random.standard_normal(40)
            trace = walk_trace(experiment, cosine + jitter, floor, scale + jitter[0])
            save(trace, store.folder / f"{experiment.hash}.nc")
    return store


def by_id(found):
    return {finding.id: finding for finding in found if finding.model == "vgg11"}


def test_the_paper_s_picture_is_supported(store):
    found = by_id(findings("quick", store=store))
    for name in ("sgd-floor", "gd-cosine", "sgd-cosine", "distance"):
        assert found[name].verdict == "supported", name
    for name in ("gd-floor", "sgd-floor", "gd-cosine", "sgd-cosine", "distance"):
        assert found[name].seeds == 5
        assert (found[name].scale, found[name].dataset) == ("quick", "photos")
    assert found["distance"].estimate == pytest.approx(1.5, abs=0.05)
    assert found["gd-cosine"].estimate == pytest.approx(-0.95, abs=0.01)
    assert found["gd-floor"].estimate == 0


def test_the_opposite_picture_is_not(store):
    swapped = [
        Claim(**vars(BY_ID[name]) | {"pages": BY_ID[name].pages[::-1]})
        for name in ("sgd-floor", "sgd-cosine", "distance")
    ]
    found = by_id(findings("quick", store=store, claims=swapped))
    assert {finding.verdict for finding in found.values()} == {"not supported"}


def test_fewer_seeds_decide_nothing(store):
    found = by_id(findings("quick", store=store, seeds=2))
    assert found["distance"].verdict == "inconclusive"
    found = by_id(findings("quick", store=store, seeds=1))
    assert found["distance"].interval is None


def test_a_claim_whose_walks_are_only_partly_there_is_left_out(store):
    for seed in range(5):
        (experiment,) = StochasticWalk.for_seed("quick", "vgg11", seed, {}).experiments
        if seed != 3:
            (store.folder / f"{experiment.hash}.nc").unlink()
    found = by_id(findings("quick", store=store))
    assert found["gd-cosine"].seeds == 5
    assert found["distance"].seeds == 1


def test_the_ledger_s_walks_are_those_of_its_claims_each_once():
    experiments = all_experiments("quick", seeds=2)
    assert len({experiment.hash for experiment in experiments}) == len(experiments)
    needed = {
        experiment.hash
        for claim in CLAIMS
        for model in claim.models
        for seed in (0, 1)
        for experiment in experiments_of(claim, "quick", model, seed)
    }
    assert {experiment.hash for experiment in experiments} == needed


def test_what_needs_no_walk_is_always_there():
    found = {finding.id: finding for finding in findings("smoke")}
    assert set(found) == {"hessian-is-covariance", "quadratic-contraction"}
    assert found["quadratic-contraction"].verdict == "supported"
    assert found["quadratic-contraction"].estimate < 1e-12
    assert found["hessian-is-covariance"].verdict == "not supported"


def test_a_page_shows_its_own_claims(store):
    shown = page_claims(GradientDescentWalk(scale="quick", traces=str(store.folder)))
    assert "The valley floor of gradient descent falls monotonically." in shown
    assert "**supported**" in shown
    other = GradientDescentWalk(scale="quick", traces=str(store.folder), learning_rate=0.2)
    assert "not there yet" in page_claims(other)


def test_the_command_prints_the_ledger_and_json(capsys):
    main(["claims", "--scale", "smoke"])
    text = capsys.readouterr().out
    assert "Gradient descent on a quadratic contracts" in text
    assert "2 findings." in text
    main(["claims", "--scale", "smoke", "--json"])
    objects = json.loads(capsys.readouterr().out)
    needed = [
        "id",
        "claim",
        "statistic",
        "interval",
        "paper",
        "verdict",
        "model",
        "dataset",
        "scale",
    ]
    assert all(name in each for each in objects for name in needed)
    assert objects[0]["verdict"] in ("supported", "not supported", "inconclusive")


def test_a_smoke_ledger_from_real_walks():
    """Every claim can be computed from the walks it asks for."""
    store = Store()
    own = [claim for claim in CLAIMS if "mlp" in claim.models]
    needed = {
        experiment.hash: experiment
        for claim in own
        for experiment in experiments_of(claim, "smoke", "mlp", 0)
    }
    for experiment in needed.values():
        store.get(experiment, progress=False)
    found = {f.id for f in findings("smoke", claims=own, models=["mlp"], seeds=1)}
    assert found == {claim.id for claim in own}


@pytest.mark.slow
def test_the_recorded_ledger_has_every_claim(tmp_path):
    """Each claim's number can be computed from the walks that come with the project."""
    store = Store(tmp_path, checkout() / "data" / "traces")
    found = findings("quick", store=store)
    assert {finding.id for finding in found} == {claim.id for claim in CLAIMS}
    assert len(found) == CLAIM_COUNT
    assert all(math.isfinite(finding.estimate) for finding in found)
    assert min(finding.seeds for finding in found if finding.page != "fig28") >= 4
    table = ledger_table(found)
    assert table.count("\n") == len(CLAIMS) + 1
    for verdict in ("supported", "not supported", "inconclusive"):
        assert f"**{verdict}**" in table
    assert len(json.loads(json.dumps(as_objects(found), allow_nan=False))) == CLAIM_COUNT


def test_the_protocol_is_printed_without_any_walk(capsys):
    main(["claims", "--protocol", "--json"])
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [claim.id for claim in CLAIMS]
    few = rows["few-barriers"]
    assert (few["needed"], few["networks"]) == ([None, 0.06], ["vgg11", "mlp"])
    assert (few["statistic"], few["seeds"]) == ("share of steps that cross a barrier", [*range(5)])
    main(["claims", "--protocol"])
    text = capsys.readouterr().out
    assert all(claim.sentence in text for claim in CLAIMS)
    assert "share of steps that cross a barrier: below 0.06" in text
