"""The ledger: each verdict on traces whose answer is known, and how often it is wrong."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from made import SAID
from scipy import stats

from valleywalk import Store
from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper import ledger_text
from valleywalk.paper.claim import SUBJECTS, Claim, Evidence
from valleywalk.paper.items import CLAIMS, ITEMS
from valleywalk.paper.ledger import FAMILY, VERDICTS, findings, findings_without_walks
from valleywalk.paper.ledger_text import (
    as_objects,
    by_verdict,
    ledger_table,
    numbers_of,
    page_claims,
    under_protocol,
)
from valleywalk.paper.protocol import (
    ORDER,
    all_experiments,
    groups,
    pages_of,
    protocol,
    walks_of,
)
from valleywalk.paper.scales import FIRST_SEEDS
from valleywalk.paper.walks import GradientDescentWalk, StochasticTwin, StochasticWalk
from valleywalk.seeds import Share, holm
from valleywalk.trace import assemble, open_trace, save
from valleywalk.walks import provenance as made_by

ALPHA = np.linspace(0, 1, 11)
BY_ID = {claim.id: claim for claim in CLAIMS}


def test_claims_are_complete():
    assert len(BY_ID) == len(CLAIMS)
    assert {claim.number for claim in CLAIMS} == set(range(1, 19))
    for claim in CLAIMS:
        assert claim.item in ITEMS
        assert claim.above < claim.below
        assert set(claim.primary) <= {"vgg11"}, "the network of the main text"
        assert not (claim.primary and claim.tested_on)
        assert all(premise.__doc__ for premise in claim.premises)
        assert re.search("ection|ootnote|arXiv", claim.source)


def a_claim(**about):
    """One that says nothing in particular."""
    texts = dict.fromkeys(("id", "sentence", "source", "statistic", "paper"), "made up")
    rest = {"number": 1, "item": "fig1", "pages": (), "measure": lambda: 0.0, "above": 1.0}
    return Claim(**texts | rest | about)


NARROW, WIDE = np.array([-0.1, -0.05, 0.0, 0.05, 0.1]), np.array([-4.0, -2, 0, 2, 4])


@pytest.mark.parametrize(
    ("values", "about", "verdict"),
    [
        (1.5 + NARROW, {}, "supported"),
        (0.5 + NARROW, {}, "contradicted"),
        (1.5 + WIDE, {}, "inconclusive"),
        (1.5 + NARROW, {"below": 2.0}, "supported"),
        (2.5 + NARROW, {"below": 2.0}, "contradicted"),
        (1.95 + NARROW, {"below": 2.0}, "inconclusive"),
        (1.05 + NARROW, {"below": 2.0}, "inconclusive"),
        # That two things differ: outside a margin, not between its ends.
        (2.5 + NARROW, {"below": 2.0, "outside": True}, "supported"),
        (0.5 + NARROW, {"below": 2.0, "outside": True}, "supported"),
        (1.5 + NARROW, {"below": 2.0, "outside": True}, "contradicted"),
        (1.5 + WIDE, {"below": 2.0, "outside": True}, "inconclusive"),
        # Two seeds, and seeds that all say the same, decide nothing.
        ([1.5, 1.51], {}, "inconclusive"),
        ([1.5] * 5, {}, "inconclusive"),
        ([1.5] * 5, {"quantity": "exact"}, "supported"),
        ([1.5, 0.5, 1.5], {"quantity": "exact", "above": 0.0, "below": 1.0}, "contradicted"),
    ],
)
def test_verdicts(values, about, verdict):
    evidence = Evidence(a_claim(**about), list(values))
    assert evidence.verdict(evidence.p_value) == verdict


@pytest.mark.parametrize("values", [1.2 + NARROW, 0.97 + NARROW, 1.9 + NARROW, [1.0, 1.4, 1.9]])
def test_a_p_value_is_that_of_student_s_test_against_the_end_that_decides(values):
    evidence = Evidence(a_claim(below=2.0), list(values))
    ends = (1.0, 2.0) if np.mean(values) > 1 else (1.0,)
    expected = max(stats.ttest_1samp(values, end).pvalue for end in ends)
    assert evidence.p_value == pytest.approx(expected, rel=1e-6)


def test_no_effect_is_an_interval_wholly_inside_a_margin():
    """Two one-sided tests: a narrow effect near 0 supports, a wide interval about 0 does not."""
    claim = BY_ID["learning-rate-leaves-cosine"]
    assert (claim.above, claim.below) == (-0.02, 0.02)
    for values, verdict in (
        (0.05 * NARROW, "supported"),
        (0.01 * WIDE, "inconclusive"),
        (-0.06 + 0.05 * NARROW, "contradicted"),
    ):
        evidence = Evidence(claim, list(values))
        low, high = evidence.interval()[1:]
        assert evidence.verdict(evidence.p_value) == verdict
        assert (verdict == "supported") == (low > -0.02 and high < 0.02)


def test_a_whole_ledger_is_wrong_as_seldom_as_it_says():
    """Primary rows whose statistic lies exactly on its border: any verdict is a wrong one."""
    random = np.random.default_rng(0)
    claim, wrong = a_claim(above=0.0), 0
    for _ in range(200):
        drawn = random.standard_normal((FAMILY, 5))
        evidence = [Evidence(claim, list(values)) for values in drawn]
        p_values = [each.p_value for each in evidence]
        if min(p_values) > 0.01:  # Statsmodels is slow, and adjusting makes none smaller.
            continue
        adjusted = holm(p_values, FAMILY)
        verdicts = {e.verdict(p) for e, p in zip(evidence, adjusted, strict=True)}
        wrong += verdicts != {"inconclusive"}
    # 5 % of 200 ledgers are 10; a binomial count above 21 has a chance below one in a thousand.
    assert 1 <= wrong <= 21


def test_a_ratio_is_averaged_in_logarithms():
    evidence = Evidence(BY_ID["noise-travels-far"], [8, 10, 12.5, 10, 10])
    interval = evidence.interval()
    assert interval.estimate == pytest.approx(10)
    assert interval.low * interval.high == pytest.approx(100)


def test_a_correlation_s_interval_stays_inside():
    found = Evidence(BY_ID["sharpness-and-accuracy"], [-0.97, 0.2, -0.9]).interval()
    assert -1 < found.low < found.estimate < found.high < 1
    z = np.arctanh([-0.97, 0.2, -0.9])
    assert found.estimate == pytest.approx(math.tanh(z.mean()))


def test_a_share_that_never_changes_is_not_certain():
    few = BY_ID["few-barriers"]
    never, always = (Evidence(few, [Share(times, 400)] * 5) for times in (0, 400))
    assert never.interval().low == 0
    assert 0.03 < never.interval().high < 0.06
    assert never.verdict(never.p_value) == "supported"
    assert always.verdict(always.p_value) == "contradicted"
    fewer = Evidence(few, [Share(0, 40)] * 3)
    assert fewer.verdict(fewer.p_value) == "inconclusive"
    assert fewer.power() == (None, 5), "three seeds of which none says it could not decide"
    for seeds, verdict in ((4, "inconclusive"), (5, "supported")):
        more = Evidence(few, [Share(0, 40)] * seeds)
        assert more.verdict(more.p_value) == verdict


def test_what_could_have_been_seen_and_what_it_would_take():
    # A deviation of 1 over 34 seeds: half of it is seen with 80 % power, by the tables.
    values = np.random.default_rng(0).standard_normal(34)
    values = 1.5 + (values - values.mean()) / values.std(ddof=1)
    seen, needed = Evidence(a_claim(above=1.0), list(values)).power()
    assert seen == pytest.approx(1.495, abs=0.001)
    assert needed == 34
    # A ratio's by its logarithm, and below the end where the estimate is.
    ratio = a_claim(above=math.e, quantity="ratio")
    seen, needed = Evidence(ratio, list(np.exp(values - 1))).power()
    assert math.log(seen) == pytest.approx(1 - 0.495, abs=0.001)
    assert needed == 34
    # Cohen's h of 0.2 takes 196 independent steps; a walk counts as 20 of them at most. The exact
    # test is a little stricter.
    end = math.sin(math.asin(0.5**0.5) - 0.1) ** 2
    share = Evidence(a_claim(above=end, quantity="share"), [Share(10**6, 2 * 10**6)] * 5)
    assert 10 <= share.power()[1] <= 11
    # Walks that differ tell less by the confidence of the family.
    apart = Evidence(
        a_claim(above=0.2, quantity="share"), [Share(n, 40) for n in (8, 30, 12, 28) * 3]
    )
    assert apart.power(0.005)[0] > apart.power(0.05)[0] > 0.2
    # No verdict rests on fewer than three seeds.
    assert Evidence(a_claim(above=1.0), [9.0, 9.1, 9.2]).power()[1] == 3
    assert Evidence(a_claim(above=1.0), [9.0, 9.1]).power() == (None, 3)
    # Inside a range nothing beyond its other end could have been seen.
    wide = [-0.04, 0.045, -0.03, 0.03, 0.0, 0.001]
    assert Evidence(a_claim(above=-0.02, below=0.02), wide).power()[0] is None
    assert Evidence(a_claim(), [1.5] * 5).power() == (None, None)
    assert Evidence(a_claim(), [1 + 1e-6, 2.0, 0.0, 3.0, -1.0]).power()[1] is None


@pytest.mark.parametrize("middle", [0.001, 0.006, -0.01])
def test_inside_a_margin_both_ends_must_be_told(middle):
    """Power by simulation: at the number that could have been seen, and with the seeds needed."""
    random = np.random.default_rng(3)
    claim = BY_ID["learning-rate-leaves-cosine"]
    values = random.standard_normal(10)
    values = middle + 0.012 * (values - values.mean()) / values.std(ddof=1)
    seen, needed = Evidence(claim, list(values)).power()

    def supported(mean, seeds):
        drawn = mean + 0.012 * random.standard_normal((4000, seeds))
        half = stats.t.ppf(0.975, seeds - 1) * drawn.std(axis=1, ddof=1) / seeds**0.5
        return np.mean((drawn.mean(1) - half > -0.02) & (drawn.mean(1) + half < 0.02))

    # Four standard errors of a simulated share.
    assert supported(seen, 10) == pytest.approx(0.8, abs=0.026)
    assert supported(middle, needed) > 0.8 - 0.026
    assert supported(middle, needed - 1) < 0.8 + 0.026
    assert math.copysign(1, seen) == math.copysign(1, middle)


def experiments_of(claim, scale, subject, seed):
    """The walks that one seed of a claim needs."""
    pages = pages_of(claim, scale, SUBJECTS[subject], seed, {})
    return [experiment for walks in walks_of(claim, pages) for experiment in walks]


def test_the_seeds_of_the_ledger_share_no_walk():
    for claim in CLAIMS:
        for model in claim.subjects:
            walks = [experiments_of(claim, "quick", model, seed) for seed in range(3)]
            assert all({e.seed for e in own} <= {seed} for seed, own in enumerate(walks))


def walk_trace(experiment, cosine, floor, scale=1.0):
    """A walk with the given cosine, a valley floor, and a distance that grows by `scale`."""
    records = []
    for step, (angle, bottom) in enumerate(zip(cosine, floor, strict=True)):
        loss = bottom + 4 * (ALPHA - 0.5) ** 2
        records.append({"loss": loss, "cosine": angle, "distance": scale * (step + 1)})
    attributes = SAID | {
        "experiment": experiment.model_dump_json(),
        "experiment_hash": experiment.hash,
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
    found = by_id(findings("quick", store=store, seeds=5))
    for name in ("sgd-floor", "gd-cosine", "sgd-cosine", "distance"):
        assert found[name].verdict == "supported", name
        assert found[name].kind == ("primary" if name == "sgd-floor" else "exploratory")
    for name in ("gd-floor", "sgd-floor", "gd-cosine", "sgd-cosine", "distance"):
        assert found[name].seeds == 5
        assert (found[name].scale, found[name].dataset) == ("quick", "photos")
    assert found["distance"].estimate == pytest.approx(1.5, abs=0.05)
    assert found["gd-cosine"].estimate == pytest.approx(-0.95, abs=0.01)
    assert found["gd-floor"].estimate == 0


def test_the_opposite_picture_is_not(store):
    swapped = [
        Claim(**vars(BY_ID[name]) | {"pages": BY_ID[name].pages[::-1]})
        for name in ("sgd-cosine", "distance")
    ]
    found = by_id(findings("quick", store=store, seeds=5, claims=swapped))
    assert {finding.verdict for finding in found.values()} == {"contradicted"}


def made(store, values, **about):
    """What is found where seeds 0, 1, 2 … give these values."""
    numbers = iter(values)
    claim = a_claim(id="made-up", pages=(StochasticWalk,), measure=lambda _: next(numbers), **about)
    (found,) = findings("quick", store=store, seeds=5, claims=[claim], subjects=[SUBJECTS["vgg11"]])
    return found


def test_a_row_of_the_family_is_adjusted_for_all_of_it(store):
    found = by_id(findings("quick", store=store, seeds=5))
    primary = [finding for finding in found.values() if finding.kind == "primary"]
    # Only one of the family is there; the others count as 1, so that it is Bonferroni's.
    assert [finding.id for finding in primary] == ["sgd-floor"]
    (floor,) = primary
    assert floor.adjusted_p_value == pytest.approx(FAMILY * floor.p_value)
    assert floor.family_confidence == 1 - 0.05 / FAMILY
    assert floor.family_interval[0] < floor.interval[0]
    assert floor.interval[1] < floor.family_interval[1]
    assert found["gd-cosine"].adjusted_p_value is None
    # The same where it is looked at with others, or alone.
    alone = findings("quick", store=store, seeds=5, claims=[BY_ID["sgd-floor"]])
    assert by_id(alone)["sgd-floor"] == floor
    other = findings("quick", store=store, seeds=5, claims=[BY_ID["gd-cosine"]])
    assert by_id(other)["gd-cosine"] == found["gd-cosine"]


def test_adjustment_decides_what_is_primary(store):
    """A p-value of 0.02 or so: enough where it stands alone, not in the family."""
    values = [1.1, 1.9, 1.5, 1.2, 2.1]
    assert 0.05 / FAMILY < stats.ttest_1samp(values, 1.0).pvalue < 0.05
    assert made(store, values).verdict == "supported"
    assert made(store, values, primary=("vgg11",)).verdict == "inconclusive"


def test_walks_of_one_s_own_are_not_of_the_family(store):
    claim = BY_ID["sgd-floor"]
    for seed in range(5):
        (own,) = StochasticWalk.for_seed("quick", "vgg11", seed, {"width": 0.5}).experiments
        (planned,) = StochasticWalk.for_seed("quick", "vgg11", seed, {}).experiments
        trace = open_trace(store.folder / f"{planned.hash}.nc")
        trace.attrs |= {"experiment": own.model_dump_json(), "experiment_hash": own.hash}
        save(trace, store.folder / f"{own.hash}.nc")
    kinds = {
        width: findings("quick", store=store, seeds=5, claims=[claim], given={"width": width})[
            0
        ].kind
        for width in (0.125, 0.5)
    }
    assert kinds == {0.125: "primary", 0.5: "exploratory"}


def test_where_a_premise_is_absent_in_half_of_the_seeds_nothing_is_decided(store):
    def happens_in(seeds):
        def premise(walked):
            """Something happens."""
            return "" if walked.page.seed in seeds else "it did not"

        return (premise,)

    values = [1.1, 1.2, 1.3, 9.9, 9.9]
    found = made(store, values, premises=happens_in({0, 1}))
    assert (found.verdict, found.seeds) == ("premise absent", 5)
    assert found.notes == (
        "premise not met in 3 of 5 seeds: something happens (there: it did not in 3 seeds)",
    )
    assert found.p_value is None
    # Seeds without it are left out where most have it.
    found = made(store, [1.5, 1.6, 1.7], premises=happens_in({0, 1, 2}))
    assert (found.verdict, found.seeds) == ("supported", 3)
    assert found.estimate == pytest.approx(1.6)
    assert "premise not met in 2 of 5 seeds" in numbers_of(found)
    assert made(store, values, premises=happens_in(range(5))).notes == ()


def test_where_half_of_the_seeds_have_no_usable_number_nothing_is_decided(store):
    """What is left is no sample: a number may be lacking because the claim is wrong."""
    values = [2.0, -1.0, 2.1, math.inf, 1.9]
    assert made(store, values, quantity="ratio").verdict == "supported"
    found = made(store, [*values[:4], -1.0], quantity="ratio")
    assert (found.verdict, found.p_value, found.seeds) == ("inconclusive", None, 2)
    assert found.notes[-1].startswith("half of the seeds or more have no usable number")


def test_a_finding_names_its_walks_and_what_is_written_beside_it_is_about_the_protocol_s(store):
    texts = {"cautions": {"vgg11": "caution: made up"}, "reasons": {"vgg11": "made up"}}
    found = made(store, 0.5 + NARROW, **texts)
    assert found.verdict == "contradicted"
    page = StochasticWalk.for_seed("quick", "vgg11", 0, {})
    assert len(found.walks) == 5
    assert page.experiments[0].hash == found.walks[0]
    # There is no protocol at this scale.
    assert (found.protocol_commits, found.reason, found.notes) == ((), "", ())


def test_a_seed_that_cannot_be_used_is_named_and_stops_nothing(store):
    found = made(store, [2.0, 0.0, 2.1, math.nan, 1.9], quantity="ratio")
    assert found.seeds == 3
    assert found.estimate == pytest.approx(2, abs=0.01)
    assert found.notes == ("seed 1 not usable: 0 is no ratio", "seed 3 not usable: no number")
    found = made(store, [math.nan] * 5)
    assert (found.verdict, found.estimate, found.seeds) == ("inconclusive", None, 0)
    assert found.notes == ("seed 0, seed 1, seed 2, seed 3, seed 4 not usable: no number",)
    assert json.dumps(as_objects([found]), allow_nan=False)


def test_seeds_that_all_say_the_same_decide_nothing(store):
    found = made(store, [1.5] * 5)
    assert (found.verdict, found.interval, found.p_value) == ("inconclusive", None, None)
    assert found.notes == ("no interval: all its seeds say the same",)


def test_numbers_are_never_without_a_name(store):
    found = by_id(findings("quick", store=store, seeds=5))
    floor, cosine = numbers_of(found["sgd-floor"]), numbers_of(found["gd-cosine"])
    for text in (floor, cosine):
        assert re.search(r"^-?0\.\d+, 95% \[", text)
        assert "p = " in text or "p below " in text
        assert "could have seen" in text
        assert "seeds needed" in text
    assert re.search(r"family-wise 99\.\d% \[.*adjusted 0\.", floor)
    assert "family-wise" not in cosine
    assert "adjusted" not in cosine
    assert "5 of 5 seeds" in ledger_table([found["gd-cosine"]])
    order = [VERDICTS.index(finding.verdict) for finding in by_verdict(found.values())]
    assert order == sorted(order)


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
    found = by_id(findings("quick", store=store, seeds=5))
    assert found["gd-cosine"].seeds == 5
    assert found["distance"].seeds == 1


def test_the_ledger_s_walks_are_those_of_its_claims_each_once():
    experiments = all_experiments("quick", seeds=2)
    assert len({experiment.hash for experiment in experiments}) == len(experiments)
    needed = {
        experiment.hash
        for claim in CLAIMS
        for model in claim.subjects
        for seed in (0, 1)
        for experiment in experiments_of(claim, "quick", model, seed)
    }
    assert {experiment.hash for experiment in experiments} == needed


def test_what_needs_no_walk_is_always_there():
    found = {finding.id: finding for finding in findings_without_walks()}
    assert set(found) == {"hessian-is-covariance", "quadratic-contraction"}
    assert found["quadratic-contraction"].verdict == "supported"
    assert found["quadratic-contraction"].estimate < 1e-12
    assert found["hessian-is-covariance"].verdict == "contradicted"
    # Once, not at each scale.
    assert {finding.scale for finding in found.values()} == {None}
    assert not {finding.id for finding in findings("smoke")} & set(found)


def test_a_page_shows_its_own_claims(store, monkeypatch):
    page = GradientDescentWalk(scale="quick", traces=str(store.folder))
    shown = page_claims(page)
    assert "The valley floor of gradient descent falls monotonically." in shown
    assert "5 of 10 seeds walked: nothing is decided before the last" in shown
    assert "**supported**" not in shown
    five = dataclasses.replace(SUBJECTS["vgg11"], seeds=5)
    monkeypatch.setitem(SUBJECTS, "vgg11", five)
    shown = page_claims(page)
    assert "**supported**" in shown
    other = GradientDescentWalk(scale="quick", traces=str(store.folder), learning_rate=0.2)
    assert "not there yet" in page_claims(other)


def test_the_command_prints_the_ledger_in_detail_and_json(capsys):
    main(["claims", "--scale", "smoke", "--details"])
    text = capsys.readouterr().out
    assert "Gradient descent on a quadratic contracts" in text
    assert re.search(r"\d+ findings: \d+ supported, \d+ contradicted, ", text)
    lines = text.split("\n\n")[0].splitlines()
    assert len(lines) % 2 == 0, "two lines a finding"
    assert all(line.startswith(VERDICTS) for line in lines[::2])
    assert "Decided at p < 0.05" in text
    main(["claims", "--scale", "smoke", "--json"])
    objects = json.loads(capsys.readouterr().out)
    assert sum(each["id"] == "quadratic-contraction" for each in objects) == 1
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
        "kind",
        "p_value",
        "adjusted_p_value",
        "family_interval",
        "could_have_seen",
        "seeds_needed",
        "notes",
    ]
    assert all(name in each for each in objects for name in needed)
    assert all(each["verdict"] in VERDICTS for each in objects)


def test_a_smoke_ledger_from_real_walks():
    """Every claim can be computed from the walks it asks for."""
    store = Store()
    own = [claim for claim in CLAIMS if "mlp" in claim.subjects and not claim.tested_on]
    needed = {
        experiment.hash: experiment
        for claim in own
        for experiment in experiments_of(claim, "smoke", "mlp", 0)
    }
    for experiment in needed.values():
        store.get(experiment, progress=False)
    found = {f.id for f in findings("smoke", claims=own, subjects=[SUBJECTS["mlp"]], seeds=1)}
    assert found == {claim.id for claim in own}


def test_the_protocol_is_printed_without_any_walk(capsys):
    main(["claims", "--protocol", "--json"])
    planned = json.loads(capsys.readouterr().out)
    rows = {row["id"]: row for row in planned["claims"]}
    assert list(rows) == [claim.id for claim in CLAIMS]
    few = rows["few-barriers"]
    assert (few["needed"], few["subjects"]) == ([None, 0.06], ["vgg11", "resnet56", "mlp"])
    assert (few["statistic"], few["primary"]) == ("share of steps that cross a barrier", ["vgg11"])
    assert rows["small-barriers"]["premises"] == ["SGD crosses a barrier"]
    assert planned["seeds"]["mlp"] == [*range(10, 20)]
    assert planned["seeds"]["vgg11 on tiny-imagenet"] == [*range(10, 15)]
    main(["claims", "--protocol"])
    text = capsys.readouterr().out
    assert all(claim.sentence in text for claim in CLAIMS)
    assert "share of steps that cross a barrier: below 0.06" in text


def test_the_protocol_in_the_file_is_that_of_the_code():
    """To change it: `valleywalk claims --protocol --json > data/protocol.json`, and say why."""
    kept = json.loads((checkout() / made_by.PROTOCOL).read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(protocol()))


def test_the_order_has_each_walk_that_a_claim_needs_once():
    asked = {
        (subject, page)
        for claim in CLAIMS
        if not claim.tested_on
        for subject in claim.subjects
        for page in claim.pages
    }
    ordered = [(subject, page) for subject, pages in ORDER for page in pages]
    assert set(ordered) == asked
    assert len(ordered) == len(asked)
    hashes = [walk.hash for walk in all_experiments("overnight")]
    assert len(set(hashes)) == len(hashes)
    assert set(hashes) == {
        walk.hash
        for _, pages in groups("overnight")
        for by_seed in pages.values()
        for walks in by_seed.values()
        for walk in walks
    }


def test_what_decides_was_not_walked_before():
    """The seeds of the protocol are others than those of the recorded walks before it."""
    walks = all_experiments("overnight")
    assert min(walk.seed for walk in walks) == FIRST_SEEDS["overnight"] == 10
    assert all(walk.seed >= 10 for walk in ITEMS["fig4"].experiments("overnight"))


def test_walks_from_before_the_protocol_do_not_count(tmp_path, monkeypatch):
    store = Store(tmp_path)
    subject = SUBJECTS["vgg11 on tiny-imagenet"]
    seeds = subject.planned_seeds("overnight")
    random = np.random.default_rng(0)
    for seed in seeds:
        page = StochasticWalk.for_seed("overnight", "vgg11", seed, subject.given("overnight"))
        (experiment,) = page.experiments
        floor = np.linspace(2, 1, 40) + random.standard_normal(40)
        trace = walk_trace(experiment, np.full(40, -0.1), floor)
        save(trace.assign_attrs(protocol_commit="abc"), store.folder / f"{experiment.hash}.nc")
    claims = [BY_ID["sgd-floor"]]

    def found_after(commits):
        monkeypatch.setattr("valleywalk.paper.ledger.protocol_commits", lambda: commits)
        return findings("overnight", store=store, claims=claims, subjects=[subject])

    (counted,) = found_after(["def", "abc"])
    assert (counted.seeds, counted.verdict) == (5, "supported")
    assert counted.protocol_commits == ("abc",)
    assert under_protocol([counted]).endswith("began after the protocol (commits abc).")
    assert found_after(["def"]) == []
    (counted,) = found_after(None)
    assert counted.seeds == 5, "nothing is known where git does not say"
    assert "was not checked" in under_protocol([counted])
    first = store.folder / f"{experiment.hash}.nc"
    save(open_trace(first).assign_attrs(protocol_commit="unknown"), first)
    (counted,) = found_after(["abc"])
    assert (counted.seeds, counted.verdict) == (4, "inconclusive")
    assert "seed 14 walked before the protocol" in counted.notes
    assert "4 of 5 seeds walked: nothing is decided before the last" in counted.notes


def test_sgd_is_compared_on_the_images_of_gradient_descent():
    for name, subject in SUBJECTS.items():
        given = subject.given("overnight")
        gd, sgd = (
            page.for_seed("overnight", subject.model, 10, given).experiments[0]
            for page in (GradientDescentWalk, StochasticTwin)
        )
        assert gd.training_images == sgd.training_images, name
        assert (gd.width, gd.dataset, gd.classes) == (sgd.width, sgd.dataset, sgd.classes)
        assert (gd.update, sgd.update) == ("gd", "sgd")


@pytest.mark.parametrize("name", ITEMS)
def test_a_page_s_claims_are_judged_by_the_walks_of_the_protocol(name):
    # Whatever else the page shows: a later epoch, the edge of stability.
    page = ITEMS[name].at("overnight")
    for claim in ledger_text.claims_of(page):
        for subject in ledger_text._subjects_of(page) or map(SUBJECTS.get, claim.subjects):
            for seed in subject.planned_seeds("overnight")[:2]:
                shown, planned = (
                    [
                        each.experiments
                        for each in pages_of(claim, "overnight", subject, seed, given)
                    ]
                    for given in (page.given, {})
                )
                assert claim.tested_on or shown == planned, (claim.id, subject.name)
