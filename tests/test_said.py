"""What the pages say of their walks: every number is the walk's, and the wording follows it."""

import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from valleywalk import Store, analysis, measures
from valleywalk.book import prose
from valleywalk.book.prose import in_words, said, typed_numbers
from valleywalk.folders import checkout
from valleywalk.paper import spectral
from valleywalk.paper.barriers import BarriersByEpoch, BarrierTable
from valleywalk.paper.claim import SUBJECTS, Evidence, Walked
from valleywalk.paper.factors import Factors
from valleywalk.paper.heights import HeightTable
from valleywalk.paper.items import CLAIMS, ITEMS
from valleywalk.paper.protocol import pages_of
from valleywalk.paper.quadratic import Quadratic
from valleywalk.paper.schedules import Schedules
from valleywalk.paper.twin import GIVEN
from valleywalk.paper.walks import GradientDescentWalk, StochasticWalk
from valleywalk.seeds import Share, mean_of_seeds
from valleywalk.statistics import Interval
from valleywalk.trace import assemble

ALPHA = np.linspace(0, 1, 11)
BY_ID = {claim.id: claim for claim in CLAIMS}
TEMPLATES = sorted((checkout() / "src" / "valleywalk" / "paper" / "said").glob("*.md.j2"))
SHORT = {
    "appd": {"steps": 10, "digits": 20, "models": ["mlp"]},
}


# Numbers in words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "total", "words"),
    [
        (0, 40, "none of 40 steps"),
        (1, 40, "one of 40 steps"),
        (3, 39, "3 of 39 steps"),
        (40, 40, "each of 40 steps"),
        (1, 1, "the one step"),
        (0, 1, "no step of one"),
        (0, 0, "no step"),
        (1200, 12000, "1,200 of 12,000 steps"),
    ],
)
def test_a_count_of_a_total(count, total, words):
    assert prose.out_of(count, total, "step") == words


def test_counts_lists_and_numbers():
    assert [prose.plural(n, "step") for n in (0, 1, 2)] == ["no steps", "one step", "2 steps"]
    assert prose.listed([1]) == "1"
    assert prose.listed([1, 10, 25]) == "1, 10 and 25"
    assert prose.listed([]) == "none"
    assert prose.numbered([1], "epoch") == "epoch 1"
    assert prose.numbered([1, 10], "epoch") == "epochs 1 and 10"
    assert prose.number(Interval(0.0625, 0.05, 0.07)) == "0.0625 [0.05, 0.07]"
    assert [prose.number(n) for n in (0.06251, 12345, 12345.6)] == ["0.0625", "12,345", "12,300"]
    assert [prose.number(n) for n in (None, math.nan)] == ["not measured"] * 2
    assert prose.number(0.126, ".0%") == "13%"
    assert prose.number(-0.001, ".2f") == "0.00"
    assert prose.sentence("no step") == "No step"


def test_what_the_paper_prints_stands_in_brackets_with_its_source():
    assert prose.printed("about 1.4 (Section 3.1)") == "(the paper: about 1.4, Section 3.1)"
    assert prose.printed("7") == "(the paper: 7)"
    assert prose.printed(None) == ""


@pytest.mark.parametrize(
    ("ends", "side"),
    [
        ((0.1, 0.2), "above"),
        ((-0.2, -0.1), "below"),
        ((-0.1, 0.1), "around"),
        ((math.nan, math.nan), "unknown"),
    ],
)
def test_where_an_interval_lies(ends, side):
    assert prose.side(Interval(0.0, *ends)) == side


def test_a_paragraph_and_a_bullet_are_one_line_each():
    text = "\n\nOne\n  two , three .\n\n- first ( x )\n  more\n- second\n\n\nlast\n"
    assert prose.tidy(text) == "One two, three.\n\n- first (x) more\n- second\n\nlast\n"


# No number is typed -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_number_of_its_own(path):
    assert typed_numbers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_no_reason_has_a_number_of_ours(claim):
    for reason in claim.reasons.values():
        assert typed_numbers(reason) == []
        assert reason.startswith("Likeliest reason: ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the share falls from 0.09 to 0.01", ["0.09", "0.01"]),
        ("94 % of the loss goes", ["94"]),
        ("nine of ten segments sag", ["nine", "ten"]),
        ("Two thirds, twice as far", ["Two", "thirds", "twice"]),
        ("after half of the walk", ["half"]),
        ("{{ steps }} of 40 steps", ["40"]),
        ("{% if steps > 3 %}in 3 steps{% endif %}", ["3"]),
        ("{{ 'in three steps' if steps else '' }}", ["three"]),
        ("{{ 0.0625 }}", ["0.0625"]),
        ("{{ 4 }}", ["4"]),
        ("{% set height = 0.5 %}{{ height }}", ["0.5"]),
        ("(the paper: 0.0625)", ["0.0625"]),  # without its source
        ("{{ x }} (the paper: 5, Table 1), here 7", ["7"]),
        ("the cosine is −0.25", ["−0.25"]),
    ],
)
def test_a_typed_number_is_found(text, found):
    assert sorted(typed_numbers(text)) == sorted(found)


@pytest.mark.parametrize(
    "text",
    [
        "VGG-11 and ResNet-56 on CIFAR-10, Table 1, Figure 28, Section 3.1, Equation 7, footnote 1",
        "{ref}`Figure 2 <fig2>` and {doc}`tab2`",
        "at $2/\\eta$, above 2/η, below 1/λ, quadratic in 1 − p, near −1",
        "{{ height | number('.2g') }} {% if steps > 3 %}high{% endif %} (the paper: 0.06, Table 2)",
        "one of them; Cohen et al. 2021; seldom, often, weighted",
        '{% include "_walk.md.j2" %}',
        "{# a comment may say 3 #}",
    ],
)
def test_what_may_be_typed(text):
    assert typed_numbers(text) == []


def test_pages_in_print_say_nothing_of_our_walks():
    """They say what the paper shows and what to look for; a notebook says the rest."""
    for path in (checkout() / "book" / "figures").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
        assert headings == ["What the paper shows", "What to look for"], path.name
        for scale in ("smoke", "quick", "overnight", "full"):
            assert not re.search(rf"{scale}\W+scale", text), path.name


# Every page ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """An item's page at the smoke scale and its traces, each walked once."""
    folder, made = str(tmp_path_factory.mktemp("traces")), {}

    def of(name):
        if name not in made:
            item = ITEMS[name]
            more = {"traces": folder} if "traces" in item.page.model_fields else {}
            page = item.at("smoke", **more, **SHORT.get(name, {}))
            traces = [page.store.get(e, device="cpu", progress=False) for e in page.experiments]
            made[name] = page, (traces * 2 if name == "twin" else traces or page.get_traces())
        return made[name]

    return of


@pytest.mark.parametrize("name", ITEMS)
def test_every_item_says_something(name, smoke):
    page, traces = smoke(name)
    text = said(page, traces)
    assert len(text) > 200
    for sign in ("{{", "{%", "nan", "None", "  ", " ,", " .", "Interval", "undefined"):
        assert sign not in text, text
    setting = ITEMS[name].setting("smoke").split("; ")[0]
    assert setting in text or name in {"fig28", "twin", "optimizers", *SHORT}


def test_a_name_that_a_page_does_not_give_is_named_with_the_page():
    with pytest.raises(prose.ProseError, match=r"Quadratic, in paper/said/fig28.*'off' is undef"):
        in_words(Quadratic(), {})


def test_a_template_that_is_not_there_is_named():
    class Unsaid(Quadratic):
        notebook = "nowhere"

    with pytest.raises(prose.ProseError, match=r"Unsaid, in paper/said/nowhere.md.j2"):
        said(Unsaid(), [])


# Walks --------------------------------------------------------------------------------------------


def segment(end=0.0, bump=0.0, sag=0.0):
    """From 1 to 1 + end, with a bump of that height or a sag of that depth in the middle."""
    return 1 + end * ALPHA + 4 * ALPHA * (1 - ALPHA) * (bump - sag)


def walk_of(segments, cosines, in_epoch=1, error=None, **attributes):
    """A trace with these segments and cosines, the first NaN where there is none."""
    records = []
    for i, (loss, cosine) in enumerate(zip(segments, cosines, strict=True)):
        record = {"loss": loss, "distance": 0.1 * (i + 1), "learning_rate": 0.1}
        record["cosine"] = math.nan if cosine is None else cosine
        if error is not None:
            record |= {"barrier_error": error, "loss_error": 0.0, "measured": ALPHA >= 0}
        records.append(record)
    images = () if error is None else [5] * 10
    known = {"steps_in_epoch": in_epoch, "training_images": 100, "parameters": 10}
    return assemble(records, ALPHA, attributes=known | attributes, batch_images=images)


def test_a_walk_that_turns():
    segments = [segment(-0.2), segment(-0.1), segment(sag=0.2), segment(bump=0.3)]
    page = GradientDescentWalk(iterations=4)
    text = said(page, [walk_of(segments, [None, 0.5, -0.2, -0.4], error=0.001)])
    assert "4 steps of full-batch gradient descent at learning rate 0.1, from iteration 0" in text
    assert "*A minimum inside*: in one of 4 segments, first at iteration 2 (the paper: a" in text
    assert "below zero in 2 of 3 steps, in each from iteration 2 to the end of the window" in text
    assert "on average -0.0333 over the last 3 steps (the paper: near −1 after about 20, Fi" in text
    assert "it rises in 2 of 3 steps (the paper: falls monotonically, Figure 1), while the" in text
    assert "crossed in one of 4 steps. The images resolve the one barrier. By the captions'" in text
    assert "in 3 of 4 steps" in text, "a fall along the whole segment counts by the captions"
    assert "at the end of the window: 0.4 (the paper: about 1.4, Section 3.1)." in text
    assert "Edge of stability" not in text
    assert "An epoch has" not in text


def test_a_walk_that_never_turns():
    segments = [segment(-0.1 * (i + 1)) for i in range(12)]
    text = said(GradientDescentWalk(iterations=12), [walk_of(segments, [None, *[0.5] * 11])])
    assert "in none of 12 segments" in text
    assert "of the last 10" not in text.split("Cosine")[0]
    assert "never below zero" in text
    assert "it rises in none of 11 steps" in text
    assert "crossed in none of 12 steps. By the captions'" in text
    assert "Where the floor lies inside" not in text


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (range(1, 12), "In each of the last 10: by the end of the window most segments sag."),
        (range(2, 9), "In 7 of the last 10: by the end of the window most segments sag."),
        ((5,), "In 1 of the last 10: by the end of the window some segments sag."),
        ((0,), "In none of the last 10: by the end of the window no segment sags."),
        (range(12), "in each of 12 segments, first at iteration 0. - *Cosine"),
    ],
)
def test_whether_segments_sag_by_the_end(inside, words):
    segments = [segment(sag=0.2) if i in inside else segment(-0.1) for i in range(12)]
    text = said(StochasticWalk(iterations=12), [walk_of(segments, [-0.1] * 12, 12)])
    assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("cosines", "words"),
    [
        ([None, -0.1, -0.2], "below zero in each of 2 steps (the paper"),
        ([None, -0.1, 0.2], "below zero in one of 2 steps, but not in the last one (the paper"),
    ],
)
def test_when_a_cosine_is_negative(cosines, words):
    assert words in said(GradientDescentWalk(iterations=3), [walk_of([segment(-0.1)] * 3, cosines)])


def test_one_step_has_no_cosine_and_its_floor_no_step():
    text = said(GradientDescentWalk(iterations=1), [walk_of([segment(bump=0.1)], [None])])
    assert "there is none in so short a window." in text
    assert "it rises in no step (the paper" in text
    assert "crossed in the one step. Whether the images resolve them was not measured." in text


def test_a_window_in_a_later_epoch_says_when_it_begins():
    segments = [segment(-0.1)] * 6
    page = StochasticWalk(epoch=2, iterations=4)
    text = said(page, [walk_of(segments, [0.1] * 6, in_epoch=2)])
    assert "from iteration 2 on. Epoch 2 begins after 2 steps, in the paper after 450." in text
    assert "An epoch has 2 steps here, in the paper 450: the window spans 2 epochs." in text
    text = said(
        StochasticWalk(epoch=2, iterations=4, dataset="photos64"),
        [walk_of(segments, [0.1] * 6, in_epoch=2)],
    )
    assert "An epoch has 2 steps here: the window spans 2 epochs." in text


def test_a_height_with_and_without_the_error_of_its_images(smoke):
    page, traces = smoke("fig2")
    numbers = page.numbers(traces)
    with_error = in_words(page, numbers | {"height": Interval(0.05, 0.04, 0.06)})
    assert "0.05 [0.04, 0.06] on average (the paper: 0.0625, mean of the epoch" in with_error
    assert "In brackets: the 95 % interval for the error due to the images." in with_error
    without = in_words(page, numbers | {"height": Interval(0.05, math.nan, math.nan)})
    assert "0.05 on average" in without
    assert "In brackets" not in without


def test_the_edge_of_stability(smoke):
    page, traces = smoke("fig1")
    numbers = page.numbers(traces)
    edge = numbers["edge"] | {"fitted": 0.1, "end": 0.5, "loss_at_the_end": 0.02}
    for more, words in (
        ({"highest": math.nan, "measurements": 0}, "was not measured before its training loss"),
        ({"highest": 0.7, "measurements": 0}, "eigenvalue is at most 0.7 times that."),
        (
            {"highest": 1.5, "measurements": 4, "level": 1.2, "spread": 0.3},
            "on average 1.2 times 2/η (4 measurements, standard deviation 0.3), at most 1.5 times.",
        ),
        (
            {"highest": 1.5, "measurements": 1, "level": 1.5, "spread": math.nan},
            "on average 1.5 times 2/η (one measurement), at most 1.5 times.",
        ),
        (
            {"highest": 1.5, "measurements": 1, "level": 1.5, "fits": True, "from_above": False},
            "reaches 2/η. From then on, until its training loss falls below 0.1, its largest",
        ),
        (
            {"highest": 1.5, "measurements": 1, "level": 1.5, "fits": False, "from_above": True},
            "begins above 2/η. From then on, to the end of the walk, its largest",
        ),
    ):
        text = " ".join(in_words(page, numbers | {"edge": edge | more}).split())
        assert words in text
        assert "the eigenvalue is 0.5 times 2/η, at a training loss of 0.02." in text
    steep = in_words(page, numbers | {"sharpness": 30.0, "two_over_rate": 20.0})
    assert (
        "*Curvature along the step*, mean over the last steps: 30, above 2/η, which is 20" in steep
    )
    older = in_words(page, numbers | {"sharpness": None})
    assert "Curvature along the step" not in older


# Spectral norm ------------------------------------------------------------------------------------


def test_the_spectral_norm_falls_or_rises(smoke):
    page, traces = smoke("fig3")
    numbers = page.numbers(traces)
    assert "cannot be told from so few measurements" in in_words(page, numbers)
    assert "No rank correlation" in in_words(page, numbers)
    more = {"falls": 0.5, "rises": 1.25, "correlation": -0.75, "together": 9}
    text = in_words(page, numbers | more | {"above": 3, "measurements": 9, "not_converged": 2})
    assert "over the middle of what was measured is 0.5 times that over the beginning" in text
    assert "over the end it is 1.25 times that over the middle" in text
    assert "above it in 3 of 9 measurements" in text
    assert "; 2 of 9 measurements had not converged (drawn hollow)." in text
    assert "over 9 epochs is -0.75; the paper calls the link mild." in text
    assert "While the images are being fitted" not in text
    fitting = {"epoch": 20, "first": 23.5, "last": 48.75}
    text = in_words(page, numbers | more | {"fitting": fitting, "edge": None})
    assert "(until epoch 20 the training loss is 0.1 or more) it rises, from 23.5 to 48.8." in text
    assert "Edge of stability" not in text
    falling = in_words(page, numbers | {"fitting": fitting | {"last": 3.0}})
    assert "it falls, from 23.5 to 3." in falling


def test_what_the_norm_does_while_images_are_fitted():
    def fitting(losses):
        norms = [20.0, 30.0, 50.0, 4.0]
        rows = zip(norms, losses, strict=True)
        epochs = {
            5 * (1 + i): {"hessian_max": norm, "train_loss": loss}
            for i, (norm, loss) in enumerate(rows)
        }
        steps = [{"loss": [1.0, 1.0]}]
        return spectral.while_fitting(assemble(steps, [0, 1], epochs=epochs, epoch_count=20))

    assert fitting([1.0, 0.4, 0.11, 0.09]) == {"epoch": 15, "first": 20.0, "last": 50.0}
    assert fitting([1.0, 0.4, 0.09, 0.5]) == {"epoch": 10, "first": 20.0, "last": 30.0}
    assert fitting([1.0, 0.09, 0.01, 0.0]) is None, "one measurement says nothing"
    assert fitting([1.0, 0.4, 0.3, 0.2]) is None, "not fitted"


def test_the_caution_about_the_spectral_norm_is_true_of_each_recorded_walk(tmp_path):
    store = Store(tmp_path / "cache", checkout() / "data" / "traces")
    (claim,) = (each for each in CLAIMS if each.id == "sharpness-falls")
    subject = SUBJECTS["vgg11"]
    assert "while the images are being fitted the norm rises" in claim.cautions[subject.name]
    for seed in subject.planned_seeds("overnight"):
        (page,) = pages_of(claim, "overnight", subject, seed, {})
        trace = store.get(page.experiments[0])
        fitting = spectral.while_fitting(trace)
        last = trace["hessian_max"].dropna("epoch")[-1]
        assert last < fitting["first"] < fitting["last"], "it falls after it has risen"


def of_recorded_walks(identity, subject, tmp_path):
    """Each seed's page and traces, as a claim is measured on them."""
    store = Store(tmp_path / "cache", checkout() / "data" / "traces")
    claim, about = BY_ID[identity], SUBJECTS[subject]
    for seed in about.planned_seeds("overnight"):
        (page,) = pages_of(claim, "overnight", about, seed, {})
        yield Walked(page, [store.get(walk) for walk in page.experiments])


@pytest.mark.slow
def test_the_caution_about_minima_inside_is_true_of_each_recorded_walk(tmp_path):
    caution, averages = BY_ID["interior-minimum"].cautions["vgg11"], []
    assert "most segments of the whole training have none" in caution
    for walked in of_recorded_walks("interior-minimum", "vgg11", tmp_path):
        steps = measures.measured_steps(walked.trace)
        epoch = steps["iteration"].values // walked.trace.attrs["steps_in_epoch"] + 1
        inside = analysis.has_interior_minimum(steps["loss"].values)
        shares = {each: inside[epoch == each].mean() for each in np.unique(epoch)}
        assert shares[100] <= 0.1, "hardly any at last"
        assert np.mean(np.array(list(shares)) <= 50) > 0.5, "most in the first half"
        averages.append(np.interp(np.arange(1, 101), list(shares), list(shares.values())).mean())
    assert mean_of_seeds(averages).high < 0.5


@pytest.mark.slow
def test_the_caution_about_mixed_epochs_is_true_of_the_recorded_walks(tmp_path):
    claim = BY_ID["learning-rate-sets-height"]
    assert "in every seed, it is smaller than required" in claim.cautions["vgg11"]
    bounce, ratios, left_out = {}, {}, []
    for walked in of_recorded_walks("learning-rate-sets-height", "vgg11", tmp_path):
        heights = walked.page.heights(list(walked.traces))
        for trace in walked.traces:
            for epoch in (1, 10, 25, 100):
                losses = measures.counted_steps(trace, epoch, None)["loss"].values
                inside = analysis.has_interior_minimum(losses).mean()
                bounce.setdefault(epoch, []).append(inside > 0.5)
        by = heights.pivot(index="epoch", columns="rate", values="height")
        for epoch, row in by.iterrows():
            ratios.setdefault(epoch, []).append(row[0.1].value / row[0.05].value)
        left_out.append(
            sum(math.isnan(each.value) for each in heights["height inside"])  # In some epoch.
        )
    (bouncing,) = (epoch for epoch, so in bounce.items() if all(so))
    assert max(ratios[bouncing]) < claim.above
    assert len(set(left_out)) > 1, "seeds differ in the epochs that count"


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["vgg11", "resnet56", "mlp"])
def test_the_caution_about_convexity_is_true_of_the_recorded_walks(subject, tmp_path):
    assert "many segments are left out" in BY_ID["convex-segments"].cautions[subject]
    signs = [
        measures.convexity_signs(measures.whole_steps(walked.trace))
        for walked in of_recorded_walks("convex-segments", subject, tmp_path)
    ]
    assert np.mean(np.concatenate(signs) == 0) > 1 / 3


def test_the_caution_about_the_floor_of_gradient_descent():
    claim = BY_ID["gd-floor"]
    for name in claim.cautions:
        seeds = SUBJECTS[name].planned_seeds("overnight")
        never = Evidence(claim, [Share(0, 39)] * len(seeds))
        assert never.verdict(never.p_value) == "inconclusive"
    enough = Evidence(claim, [Share(0, 39)] * SUBJECTS["vgg11"].seeds)
    assert enough.verdict(enough.p_value) == "supported"


@pytest.mark.slow
def test_the_caution_about_the_rate_of_the_mlp_is_true_of_the_recorded_walks(tmp_path):
    claim = BY_ID["learning-rate-leaves-cosine"]
    assert "no less than the batch size does" in claim.cautions["mlp"]
    both = [
        [BY_ID[name].measure(walked) for name in (claim.id, "batch-size-moves-cosine")]
        for walked in of_recorded_walks(claim.id, "mlp", tmp_path)
    ]
    rate, batch = np.abs(np.mean(both, axis=0))
    assert batch <= rate < claim.below / 2


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_no_caution_has_a_number_of_ours(claim):
    for caution in claim.cautions.values():
        assert typed_numbers(caution) == []
        assert caution.startswith("caution: ")


# Batch size and learning rate ---------------------------------------------------------------------


def factors_of(slope, seeds=3, **page):
    """A cosine with that slope over each doubling of the batch size; the rate moves nothing."""
    page = Factors(batch_sizes=[50, 100, 200], iterations=40, seeds=seeds, **page)
    traces = []
    for experiment in page.experiments:
        random = np.random.default_rng([experiment.seed, experiment.batch_size])
        cosine = slope * np.log2(experiment.batch_size / 50) + 0.01 * random.standard_normal(40)
        records = [{"cosine": c, "distance": float(i)} for i, c in enumerate(cosine)]
        attributes = {"experiment": experiment.model_dump_json()}
        traces.append(assemble(records, ALPHA, attributes=attributes))
    return page, traces


def test_what_a_doubling_does():
    page, traces = factors_of(-0.1, learning_rates=[0.05, 0.1])
    text, numbers = said(page, traces), page.numbers(traces)
    effect = numbers["batch_size"]["cosine"]["effect"]
    assert f"Each doubling changes it by {effect} (more negative; the interval leaves zero" in text
    assert "*Batch sizes* 50, 100 and 200: the mean cosine" in text
    assert "40 steps, 3 seeds." in text
    assert "changes it by 0 (without an interval: too few seeds, or all alike)" in text, "distance"
    page, traces = factors_of(0.1, learning_rates=[0.05, 0.1])
    assert "(less negative; the interval leaves zero out)" in said(page, traces)
    page, traces = factors_of(0.0, learning_rates=[0.05, 0.1])
    numbers = page.numbers(traces)
    numbers["batch_size"]["cosine"]["effect"] = Interval(0.01, -0.1, 0.12)
    assert "by 0.01 [-0.1, 0.12] (the interval holds zero)" in in_words(page, numbers)


def test_one_value_or_one_seed_tells_no_slope():
    page, traces = factors_of(-0.1, seeds=1, learning_rates=[0.1])
    text = said(page, traces)
    assert "changes it by an amount that a single value cannot tell." in text
    assert "(without an interval: too few seeds, or all alike)" in text
    assert "40 steps, one seed." in text


# Isotropic noise ----------------------------------------------------------------------------------


def test_what_noise_does(smoke):
    page, traces = smoke("fig5")
    numbers = page.numbers(traces)
    more = {"higher_loss": 2, "lower_accuracy": 0, "stays": 0.9, "stuck": 0.8}
    text = in_words(page, numbers | more | {"variance": 0.25, "variance_error": 0.03})
    assert "It is higher with noise than without in each of 2 noisy walks." in text
    assert "It is lower with noise in none of 2 noisy walks." in text
    assert "0.9 if the walk goes on with its noise" in text
    assert "if more than 0.8 is left then, and is stuck." in text
    assert "0.25, with a standard error of 0.03; the variances" in text
    for label, left in numbers["leaving"].items():
        assert f'{left:.3g} with "{label}"' in text
    text = in_words(page, numbers | {"stays": 0.5, "stuck": 0.8, "variance_error": None})
    assert "and is not stuck" in text
    assert "by this measure" not in text
    assert "standard error" not in text
    for quiet, said_so in ((0.85, True), (0.75, False)):
        text = in_words(page, numbers | {"stays": 0.9, "stuck": 0.8, "without_noise": quiet})
        assert f"keeps {quiet} of its own loss" in text
        assert ("by this measure it is stuck, too" in text) is said_so
    quiet = next(t for w, t in zip(page.walks, traces, strict=True) if w.role == "gd")
    switch = page.walks[-1].experiment.switch_epoch
    loss = quiet["train_loss"].dropna("epoch")
    left = float(loss[-1] / loss.sel(epoch=slice(1, switch))[-1])
    assert numbers["without_noise"] == pytest.approx(left)
    assert "noise × 0.1" in text


# Schedules ----------------------------------------------------------------------------------------


def test_which_schedule_ends_higher():
    page = Schedules(learning_rates=[0.1, 0.2], seeds=3, epochs=2)
    traces = []
    for experiment in page.experiments:
        random = np.random.default_rng([experiment.seed, len(experiment.schedule)])
        accuracy = 0.8 + 0.001 * random.standard_normal() - 0.1 * (experiment.learning_rate == 0.1)
        accuracy += {"stepwise": -0.05, "trapezoid": 0.01}.get(experiment.schedule, 0)
        epochs = {2: {"train_loss": 1 - accuracy, "validation_accuracy": accuracy}}
        records = [{"learning_rate": experiment.learning_rate}] * 6
        attributes = {"experiment": experiment.model_dump_json()}
        traces.append(assemble(records, ALPHA, epochs, 2, attributes))
    text, numbers = said(page, traces), page.numbers(traces)
    assert "*Tuned*, trapezoid ends with the highest mean validation accuracy, 0.8" in text
    assert "and it also ends with the lowest mean training loss" in text
    assert "trapezoid ends higher, and the interval leaves zero out." in text
    numbers["differences"][0]["validation_accuracy"] = Interval(-0.1, -0.2, -0.01)
    numbers["differences"][1]["validation_accuracy"] = Interval(0.1, -0.2, 0.4)
    numbers["differences"][2]["validation_accuracy"] = Interval(0.0, math.nan, math.nan)
    numbers["lowest"] = numbers["tuned"][0]
    text = in_words(page, numbers)
    assert "-0.1 [-0.2, -0.01]; clr ends higher, and the interval leaves zero out." in text
    assert "0.1 [-0.2, 0.4]; no difference can be told, since the interval holds zero." in text
    assert "0; without an interval: too few seeds, or all alike." in text
    assert "and constant ends with the lowest mean training loss" in text


# Barriers -----------------------------------------------------------------------------------------


def test_figure_8_says_how_many_barriers_are_crossed():
    page = BarriersByEpoch(epochs_shown=[1, 2, 3], training_images=100)
    segments = [segment(end=-0.1), segment(bump=0.1), segment(sag=0.1)]
    trace = walk_of(segments, [0.0] * 3, error=0.001)
    text = said(page, [trace])
    assert "crossed in one of 3 steps, a share of 33.33%, in one of 3 epochs" in text
    assert "The highest, in epoch 2, is 0.1 high, 9.09% of the loss there" in text
    assert "*What the images resolve*: the one barrier. They leave none of 3 steps open." in text
    assert "*Captions' definition*, higher than either end: 2 of 3 steps." in text
    assert "*Convex segments*: not measured in these walks." in text
    text = said(page, [walk_of([segment(-0.1)] * 3, [0.0] * 3)])
    assert "crossed in none of 3 steps" in text
    assert "The highest" not in text
    assert "*What the images resolve*: not measured in these walks." in text


def test_table_1_says_so_beside_the_paper_s_counts():
    page = BarrierTable(models=["vgg11"], epochs_shown=[1, 25], training_images=100)
    none = [segment(-0.1)] * 25
    text = said(page, [walk_of(none, [0.0] * 25, error=0.001)])
    assert "in epochs 1 and 25 a barrier is crossed in none of 26 steps. The intervals" in text
    assert "The paper counts 0 and 5 in 450 steps of epochs 1 and 25; its share lies in" in text
    assert "The images resolve no barriers and leave none of 26 steps open." in text
    assert "The highest barrier" not in text
    text = said(page, [walk_of([segment(bump=0.1), *none[1:]], [0.0] * 25)])
    assert "crossed in one of 26 steps, by epoch 1 and 0." in text
    assert (
        "The highest barrier is 0.1 high, 9.09% of the loss there. What the images resolve" in text
    )
    assert "What the images resolve was not measured." in text
    page = BarrierTable(models=["vgg11"], epochs_shown=[2], training_images=100)
    assert "The paper prints no count for these epochs." in said(page, [walk_of(none, [0.0] * 25)])


# Heights ------------------------------------------------------------------------------------------


def heights_of(page, depths, steps):
    """A walk a rate; the sags of an epoch have that depth."""
    random = np.random.default_rng(0)
    traces = []
    for experiment, by_epoch in zip(page.experiments, depths, strict=True):
        sags = np.repeat(by_epoch, steps) * (1 + 0.1 * random.standard_normal(steps * 2))
        attributes = {"experiment": experiment.model_dump_json()}
        walk = walk_of([segment(sag=s) for s in sags], [0.0] * len(sags), steps, **attributes)
        traces.append(walk)
    return traces


def test_table_2_says_how_the_heights_compare():
    page = HeightTable(models=["vgg11"], epochs_shown=[1, 2], training_images=100)
    traces = heights_of(page, [(0.3, 0.2), (0.1, 0.15)], 40)
    text, first = said(page, traces), page.heights(traces)["interval"][0]
    assert f"*VGG-11, learning rate 0.1*: in epochs 1 and 2 the mean height is {first}" in text
    assert "; the paper prints 0.0625." in text
    assert "From epoch to epoch it falls each time." in text
    assert "From epoch to epoch it never falls." in text
    assert "in the paper 6.1." in text
    assert "the first rate has the larger height in each of 2 comparisons" in text
    assert "above one in each of 2 comparisons and below one in none of 2 comparisons." in text
    assert "The interval contains the paper's ratio in no comparison of one." in text
    text = said(page, heights_of(page, [(0.1, 0.1), (0.2, 0.3)], 40))
    assert "larger height in none of 2 comparisons" in text
    assert "above one in none of 2 comparisons and below one in each of 2 comparisons" in text


def test_too_few_steps_have_no_interval(smoke):
    page, traces = smoke("tab2")
    assert "No ratio has an interval: there are too few steps." in said(page, traces)


# The others ---------------------------------------------------------------------------------------


def test_the_hessian_and_the_covariance(smoke):
    page, traces = smoke("appd")
    numbers = page.numbers(traces)
    end = numbers["end"] | {"residual": 0.9, "covariance": 0.1, "fisher": 0.2}
    start = numbers["start"] | {"residual": 0.5, "covariance": 0.7, "fisher": 0.8}
    text = in_words(page, numbers | {"end": end, "start": start})
    assert "from 0.7 to 0.1 of the Hessian's, the residual's from 0.5 to 0.9." in text
    assert "At the end the residual is larger" in text
    assert "The argument overlooks" in text
    assert "by 0.8 of its norm at first and by 0.2 at the end: it comes nearer." in text
    text = in_words(page, numbers | {"end": start, "start": end})
    assert "At the end the covariance is larger" in text
    assert "The argument overlooks" not in text
    assert "it comes no nearer" in text
    (network,) = numbers["networks"][:1]
    network = network | {"noise_overlap": 0.25, "times_chance": 12345.0, "times": math.nan}
    text = in_words(page, numbers | {"networks": [network]})
    assert "overlap by 0.25, 12,000 times what chance would give; noise from shuffled" in text
    assert "noise from shuffled labels was not measured." in text
    text = in_words(page, numbers | {"networks": [network | {"times": 4.0}]})
    assert "and 4 times what noise from shuffled labels gives." in text


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1.6, "Slowest is λ = 0.2: each step leaves 0.68 of the error."),
        (2.0, "The run does not converge along λ = 1: it bounces for ever."),
        (2.5, "The run diverges, along λ = 1: each step makes the error 1.5 times as large."),
    ],
)
def test_the_quadratic(rate, words):
    text = said(Quadratic(learning_rate=rate), [])
    assert words in text
    assert "the learning rate 1.67" in text
    assert "no direction keeps more than 0.667 of its error" in text


def test_optimizers_side_by_side(smoke):
    page, traces = smoke("optimizers")
    numbers = page.numbers(traces)
    text = in_words(page, numbers)
    assert "15 configurations, 3 seeds each, 4 steps a run: 52 questions" in text
    assert "These are not the runs of this page's protocol, or not all of them." in text
    assert "Left open in each of 15 cases." in text
    assert "diverged" not in text
    twice = {"diverged": numbers["rows"][:2], "barriers": 2, "all_steps": 180}
    text = in_words(page, numbers | {"fixed_before": True} | twice)
    assert "were fixed before these runs." in text
    assert (
        "2 of 45 runs diverged and are left out: *digits* with no normalisation (SGD, momentum)."
    ) in text
    assert "All runs together cross 2 barriers in 180 steps." in text
    decided = [
        each | {"verdict": "supported" if each["optimizer"] == "Adam" else "contradicted"}
        for each in numbers["answers"]
    ]
    text = in_words(page, numbers | {"answers": decided})
    assert "SGD bounces in none of 3 cases and slides in 3; momentum bounces in" in text
    assert "Adam bounces in each of 3 cases and slides in none; AdamW bounces" in text
    assert (
        "Altogether they bounce in 3 of 15 cases: *digits* with batch norm (Adam), with layer norm "
        "(Adam), with no normalisation (Adam). They slide in 12 of 15 cases.\n" in text
    )
    lowest = min(row["described"]["loss"].estimate for row in numbers["rows"])
    assert f"the lowest mean: {lowest:.3f} (" in text


def test_text_and_code(smoke):
    page, traces = smoke("text_against_code")
    numbers = page.numbers(traces)
    both = type(numbers["distance"])
    text = in_words(page, numbers | {"distance": both(1.5, 6.0), "barriers": both(0.0, 9.0)})
    assert (
        "ends 1.5 from its start, with summed ones 6; the paper prints about 1.4, and the" in text
    )
    assert "cross no barriers on a frozen plan, and 9 barriers when each point" in text
    text = in_words(page, numbers | {"distance": both(9.0, 1.3)})
    assert "and the code is nearer" in text
    of_another = {"printed": {}, "printed_norms": {}, "setting_of_sgd": "another"}
    text = in_words(page, numbers | of_another)
    assert "the paper prints" not in text
    assert "; for SGD another." in text


def test_a_walk_and_its_twin(smoke):
    page, (kept, live) = smoke("twin")
    text = said(page, [kept, live])
    assert "*Training loss along the segments*: no difference." in text
    assert "*Parameters at the end*: the same to the last bit." in text
    moved = live.assign(loss=live["loss"] + 0.25).assign_attrs(final_state_hash="other")
    moved["loss"].attrs = kept["loss"].attrs
    text = said(page, [kept, moved])
    assert {"learning_rate", "loss"} <= {*kept.data_vars}
    count = len({*kept.data_vars} - GIVEN)
    assert f"{count - 1} of {count} variables" in text
    assert "a difference of at most 0.25, where the largest loss is" in text
    assert "not the same to the last bit" in text


# In the package -----------------------------------------------------------------------------------


def test_templates_are_those_of_the_notebooks_and_come_with_the_package():
    notebooks = {item.page.notebook for item in ITEMS.values()}
    own = {path.name.removesuffix(".md.j2") for path in TEMPLATES if path.name[0] != "_"}
    assert own == notebooks
    settings = tomllib.loads(Path(checkout() / "pyproject.toml").read_text(encoding="utf-8"))
    data = settings["tool"]["setuptools"]["package-data"]
    assert "said/*.md.j2" in data["valleywalk.paper"]
