import dataclasses
from functools import cache

import nbformat
import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from valleywalk import Experiment, Store
from valleywalk.folders import checkout
from valleywalk.measures import hovering
from valleywalk.paper import full_size
from valleywalk.paper.barriers import BarriersByEpoch, BarrierTable
from valleywalk.paper.edge import share_in_words
from valleywalk.paper.factors import Factors
from valleywalk.paper.heights import HeightTable
from valleywalk.paper.isotropic import IsotropicNoise
from valleywalk.paper.items import ITEMS, OF_THE_PAPER
from valleywalk.paper.page import ModelPage
from valleywalk.paper.scales import JUDGED, settings_of
from valleywalk.paper.schedules import Schedules
from valleywalk.paper.spectral import SpectralNorm
from valleywalk.paper.walks import GradientDescentWalk, StochasticWalk, WalkPage
from valleywalk.trace import assemble
from valleywalk.walks import cost
from valleywalk.walks.datasets import load
from valleywalk.walks.walk import walk

WALKS = [item for item in OF_THE_PAPER.values() if issubclass(item.page, WalkPage)]


def test_every_figure_and_table_of_the_paper_is_listed():
    expected = [f"fig{n}" for n in range(1, 29)] + ["tab1", "tab2", "appd"]
    assert list(OF_THE_PAPER) == expected


def test_the_walk_figures_are_those_of_the_issue():
    assert [item.name for item in WALKS] == ["fig1", "fig2", *(f"fig{n}" for n in range(9, 22))]


@pytest.mark.parametrize("scale", JUDGED)
@pytest.mark.parametrize("item", WALKS, ids=lambda item: item.name)
def test_each_walk_measures_its_window(item, scale):
    experiment, *edge = item.experiments(scale)
    assert len(edge) == (item.name in ("fig1", "fig17"))
    assert experiment.update == ("gd" if item.page.notebook == "fig1_gd_walk" else "sgd")
    assert experiment.model == item.chosen["model"]
    assert item.chosen.get("epoch", 1) in experiment.probed_epochs
    assert cost.work(experiment) > 0


@pytest.mark.parametrize("item", WALKS, ids=lambda item: item.name)
def test_paper_scale_is_the_paper_s_setting(item):
    experiment = item.experiments("paper")[0]
    assert experiment.width == 1
    assert experiment.dataset == item.chosen["dataset"]
    assert experiment.learning_rate == 0.1
    assert experiment.points == 10
    assert experiment.probed_iterations == 40
    assert experiment.batch_norm == "train"
    assert experiment.evaluation_images is None
    if experiment.update == "sgd":
        assert experiment.batch_size == 100
        assert experiment.augmentation == (experiment.dataset == "cifar10")
    else:
        assert experiment.batch_size == 5000
        assert not experiment.augmentation
    assert experiment.training_images == (10_000 if experiment.dataset == "tiny-imagenet" else None)


@pytest.mark.parametrize("scale", JUDGED)
@pytest.mark.parametrize(("name", "rate"), [("fig3", 0.1), ("fig7", 0.3)])
def test_spectral_walks(name, rate, scale):
    experiment, *edge = OF_THE_PAPER[name].experiments(scale)
    assert len(edge) == (name == "fig3")
    assert experiment.learning_rate == (rate if scale != "smoke" else 0.1)
    if scale == "overnight":
        table = "tab1" if name == "fig3" else "tab2"
        assert experiment in OF_THE_PAPER[table].experiments(scale), "the tables' walk"
    else:
        assert experiment.probed_epochs == ()
    assert experiment.curvature_every >= 1
    assert experiment.epochs % experiment.curvature_every == 0
    assert experiment.batch_norm == "train"
    assert experiment.batch_size == (100 if scale != "smoke" else experiment.batch_size)
    if scale == "paper":
        assert (experiment.epochs, experiment.curvature_images) == (100, 25_000)
        assert experiment.augmentation


@pytest.mark.parametrize("scale", JUDGED)
@pytest.mark.parametrize("model", ["mlp", "vgg11", "resnet56"])
def test_the_walk_to_the_edge_descends_the_loss_whose_curvature_it_measures(model, scale):
    page = GradientDescentWalk(model=model, scale=scale, edge_of_stability=True, seed=2, width=0.5)
    edge = page.experiments[1]
    assert (edge.update, edge.seed, edge.width, edge.model) == ("gd", 2, 0.5, model)
    assert edge.batch_size == edge.evaluation_batch_size
    assert edge.evaluation_images is None
    assert edge.curvature_images is None
    assert edge.epochs % edge.curvature_every == 0


def to_the_edge(shares, losses, every=10):
    """A walk of gradient descent, measured each so many steps; shares of 2/η, which is 20."""
    epochs = {every * (1 + i): {"hessian_max": 20 * share} for i, share in enumerate(shares)}
    count = every * len(shares)
    # The loss before a step, held until the next measurement; the first is that of the start.
    before = np.repeat([2.3, *losses], every)[:count]
    steps = [{"learning_rate": 0.1, "minibatch_loss": loss} for loss in before]
    return assemble(steps, np.linspace(0, 1, 11), epochs, count)


HIGH = [2.0, 1.8, 1.5, 1.2, 0.9, 0.6, 0.4, 0.2]


def test_a_walk_that_hovers_at_the_edge():
    found = hovering(to_the_edge([0.3, 0.8, 1.1, 1.3, 0.9, 1.1, 0.9, 1.2], HIGH))
    assert found.measurements == 6
    assert found.level == pytest.approx(np.mean([1.1, 1.3, 0.9, 1.1, 0.9, 1.2]))
    assert found.spread == pytest.approx(np.std([1.1, 1.3, 0.9, 1.1, 0.9, 1.2], ddof=1))
    assert found.farthest == pytest.approx(1.1), "of means of 1.1 and 1.07"
    assert found.highest == pytest.approx(1.3)


def test_what_follows_when_the_images_are_fitted_does_not_count():
    shares, losses = [0.8, 1.1, 1.0, 1.0, 1.1, 0.1, 0.05, 1.2], [*HIGH[:5], 0.09, 0.02, 0.3]
    found = hovering(to_the_edge(shares, losses))
    assert (found.measurements, found.farthest) == (4, pytest.approx(1.05))
    assert hovering(to_the_edge(shares, losses), fitted=0.01).measurements == 7
    late = to_the_edge([0.2, 0.5, 0.4, 1.2, 1.3, 1.0, 1.0, 1.1], [1.0, 0.08, *[0.01] * 6])
    assert hovering(late).measurements == 0
    assert hovering(late).highest == pytest.approx(0.2)
    assert hovering(late.drop_vars("minibatch_loss")).measurements == 5


@pytest.mark.parametrize(
    "shares",
    [
        [3.0, 2.4, 1.8, 1.3, 0.9, 0.6, 0.4, 0.2],  # begins above
        [0.5, 2.0, 1.6, 1.3, 0.8, 0.5, 0.3, 0.2],  # mean of its stretch 0.96
        [0.2, 0.4, 0.8, 1.1, 1.6, 2.2, 3.0, 4.0],  # rises
    ],
)
def test_a_walk_that_passes_the_edge_does_not_hover(shares):
    found = hovering(to_the_edge(shares, HIGH)).farthest
    assert not 0.8 < found < 1.25


def test_a_walk_that_begins_above_and_comes_back_to_hover():
    found = hovering(to_the_edge([3.0, 1.5, 0.6, 1.1, 0.9, 1.0, 1.1, 1.0], HIGH))
    assert (found.measurements, found.farthest) == (5, pytest.approx(1.05))


def test_a_walk_that_never_comes_near_the_edge():
    found = hovering(to_the_edge([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], HIGH))
    assert found.measurements == 0
    assert np.isnan([found.level, found.spread, found.farthest]).all()
    assert found.highest == pytest.approx(0.8)
    what, number = share_in_words(to_the_edge([0.1, 0.2], HIGH[:2]))
    assert what.endswith("no crossing; at most")
    assert number == "0.2"
    short = hovering(to_the_edge([0.5, 1.1, 1.0, 1.0], HIGH[:4]))
    assert (short.measurements, np.isnan(short.farthest)) == (3, True)
    assert share_in_words(to_the_edge([0.5, 1.1], HIGH[:2]))[1] == "1.1"
    assert share_in_words(to_the_edge([0.5, 1.1, 0.9], HIGH[:3]))[1] == "1, 0.14, too few"
    fitted = to_the_edge([1.1, 1.2], [0.01, 0.01])
    assert share_in_words(fitted)[1] == "not measured"


def test_the_quadratic_needs_no_walk():
    item = OF_THE_PAPER["fig28"]
    assert item.experiments("quick") == []
    page = item.at("quick")
    assert len(page.draw(page.get_traces()).axes) == 1
    assert "float64" in page.provenance([])


def test_later_epochs_of_a_network_come_from_one_walk():
    for scale in ("quick", "paper"):
        for group in (("fig11", "fig12", "fig13"), ("fig14", "fig15", "fig16")):
            assert len({OF_THE_PAPER[name].experiments(scale)[0].hash for name in group}) == 1


def test_a_single_parameter_can_be_overridden():
    (base,) = StochasticWalk().experiments
    for name, value in {
        "dataset": "cifar10",
        "width": 0.5,
        "learning_rate": 0.3,
        "batch_size": 50,
        "training_images": 500,
        "evaluation_images": 150,
        "points": 4,
        "seed": 3,
        "convention": "code",
    }.items():
        (changed,) = StochasticWalk(**{name: value}).experiments
        different = {k for k, v in changed if v != getattr(base, k)}
        assert name in different
        assert different <= {name, "epochs", "evaluate_every"}
        assert getattr(changed, name) == value


@pytest.mark.parametrize("page", [StochasticWalk, SpectralNorm])
def test_the_code_s_reading_measures_every_point(page):
    """Points on plans of their own lie on no curve; a polynomial would smooth barriers away."""
    for convention, points in (("text", 0.02), ("code", 0.0)):
        (walk,) = page(scale="overnight", convention=convention).experiments
        assert walk.tolerance == points
        assert not (walk.whole_every and convention == "code")


def test_an_epoch_of_one_s_own():
    (experiment,) = StochasticWalk(epoch=50, iterations=15).experiments
    assert experiment.probed_epochs == (50,)
    assert experiment.probed_iterations == 15
    assert experiment.epochs == 51  # ten steps an epoch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "did you mean 'epoch'"),
        ({"scale": "huge"}, "'smoke', 'quick', 'overnight', 'full' or 'paper'"),
        ({"batch_size": "many"}, "integer"),
        ({"points": 1}, "greater than or equal to 2"),
        ({"iterations": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValidationError, match=message):
        StochasticWalk(**change)


def pages_of(entries):
    return [entry["file"] for entry in entries]


def test_figures_are_grouped_by_network_and_data():
    toc = yaml.safe_load((checkout() / "book" / "_toc.yml").read_text())
    (part,) = (part for part in toc["parts"] if part["caption"] == "Figures of the paper")
    networks = {
        "networks/vgg11": ("vgg11", "cifar10"),
        "networks/resnet56": ("resnet56", "cifar10"),
        "networks/mlp": ("mlp", "mnist"),
        "networks/vgg11-tiny-imagenet": ("vgg11", "tiny-imagenet"),
    }
    assert pages_of(part["chapters"]) == [*networks, "figures/fig28"]
    for chapter in part["chapters"][:-1]:
        for page in pages_of(chapter["sections"]):
            walked = ITEMS[page.removeprefix("figures/")].experiments("paper")
            assert {(e.model, e.dataset) for e in walked} == {networks[chapter["file"]]}, page


def test_every_item_has_its_page_and_prose():
    root = checkout()
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    groups = {
        chapter["file"]: pages_of(chapter["sections"])
        for chapter in chapters
        if "sections" in chapter
    }
    single = [page for page in pages_of(chapters) if page.startswith("figures/")]
    figures = [f"figures/{name}" for name in ITEMS]
    assert sorted(sum(groups.values(), single)) == sorted(figures)
    for pages in (*groups.values(), single):
        assert pages == [page for page in figures if page in pages], "in the paper's order"
    for item in ITEMS.values():
        prose = (root / "book" / "figures" / f"{item.name}.md").read_text()
        assert "## What the paper shows" in prose
        assert "## What to look for" in prose
        assert "## What our run shows" not in prose, "the notebook says it"
        assert (root / "notebooks" / f"{item.page.notebook}.ipynb").is_file()


def test_every_notebook_serves_an_item():
    files = {path.stem for path in (checkout() / "notebooks").glob("*.ipynb")}
    assert {item.page.notebook for item in ITEMS.values()} == files


@pytest.mark.parametrize("scale", JUDGED)
@pytest.mark.parametrize("item", ITEMS.values(), ids=lambda item: item.name)
def test_every_item_has_experiments_at_every_scale(item, scale):
    if scale not in item.scales:
        assert item.name == "optimizers"
        return
    experiments = item.experiments(scale)
    assert len({experiment.hash for experiment in experiments}) == len(experiments)
    assert (experiments == []) == (item.name in ("fig28", "optimizers"))
    assert all(cost.work(experiment) > 0 for experiment in experiments)
    if scale == "paper":
        assert all(experiment.width == 1 for experiment in experiments)
        assert all(e.dataset in ("mnist", "cifar10", "tiny-imagenet") for e in experiments)


def test_experiments_that_several_items_need_are_the_same():
    def hashes(*names):
        return [{e.hash for e in OF_THE_PAPER[name].experiments("quick")} for name in names]

    figure14, figure8, table1, table2 = hashes("fig14", "fig8", "tab1", "tab2")
    assert figure14 == figure8
    assert figure8 < table1
    assert figure8 < table2
    shared = {e.hash for e in ITEMS["text_against_code"].experiments("quick")}
    for name in ("fig1", "fig2", "fig3"):
        assert OF_THE_PAPER[name].experiments("quick")[0].hash in shared


def test_the_grid_of_factors():
    page = Factors(learning_rates=[0.05, 0.1], batch_sizes=[50, 100], iterations=30, seeds=2)
    walks = {(e.learning_rate, e.batch_size, e.seed) for e in page.experiments}
    assert walks == {(*pair, s) for pair in ((0.1, 50), (0.1, 100), (0.05, 100)) for s in (0, 1)}
    for experiment in page.experiments:
        assert experiment.epochs * (1000 // experiment.batch_size) >= 30


def test_the_walks_of_isotropic_noise():
    walks = IsotropicNoise(noise_factors=[0.2, 0.3], epochs=10, switch_learning_rate=0.02).walks
    assert [walk.factor for walk in walks] == [0, 0, 0.3, 0.2, 0.3, 0.3, 0.3]
    assert [walk.experiment.update for walk in walks] == ["gd", "sgd", *["gd"] * 5]
    left = [walk.experiment for walk in walks[-3:]]
    assert [w.switch_epoch for w in left] == [5, 5, 5]
    assert [w.phase(6).noise_factor for w in left] == [0.3, 0, 0]
    assert [w.phase(6).learning_rate for w in left] == [0.02, 0.1, 0.1]
    assert [w.phase(6).update for w in left] == ["gd", "gd", "sgd"]
    paper = IsotropicNoise(scale="paper", model="vgg11").walks
    assert {walk.experiment.batch_size for walk in paper} == {5000, 100}
    assert paper[-1].experiment.phase(2000).batch_size == 100


def test_each_schedule_has_the_same_grid_and_budget():
    experiments = Schedules(learning_rates=[0.1, 0.2], seeds=2).experiments
    assert len(experiments) == 4 * 2 * 2
    by_schedule = {}
    for experiment in experiments:
        rest = experiment.model_dump(exclude={"schedule"})
        by_schedule.setdefault(experiment.schedule, []).append(rest)
    assert len(by_schedule) == 4
    assert all(rest == by_schedule["constant"] for rest in by_schedule.values())


def test_tables_at_the_paper_s_scale_count_whole_epochs():
    for experiment in BarrierTable(scale="paper").experiments:
        assert experiment.probed_iterations is None
        assert {1, 10, 25} <= set(experiment.probed_epochs)
        assert (100 in experiment.probed_epochs) == (experiment.model != "mlp")
    (figure8,) = BarriersByEpoch(scale="paper").experiments
    assert set(range(1, 41)) <= set(figure8.probed_epochs)
    rates = [(e.model, e.learning_rate) for e in HeightTable(scale="paper").experiments]
    assert rates == [("vgg11", 0.1), ("vgg11", 0.05), ("resnet56", 0.3), ("resnet56", 0.15)]


@pytest.mark.parametrize("page", [StochasticWalk, GradientDescentWalk])
@pytest.mark.parametrize("name", ["batch_size", "evaluation_images"])
def test_a_size_that_was_given_is_refused_and_not_cut_down(page, name):
    with pytest.raises(ValidationError, match=f"{name} is 2000, but there are only 500"):
        _ = page(training_images=500, **{name: 2000}).experiments
    # The table's own values are.
    (experiment,) = page(training_images=50).experiments
    assert experiment.batch_size == 50


def test_a_page_s_own_parameters_are_checked():
    for page, change, message in (
        (Factors, {"batch_sizes": [0]}, "greater than or equal to 1"),
        (IsotropicNoise, {"noise_measure": "varience"}, "'variance' or 'deviation'"),
        (IsotropicNoise, {"noise_factors": []}, "at least 1 item"),
        (Schedules, {"learning_rates": [-1]}, "greater than 0"),
        (BarrierTable, {"models": ["vgg"]}, "did you mean 'vgg11'"),
        (SpectralNorm, {"curvature": 3}, "did you mean 'curvature_every'"),
    ):
        with pytest.raises(ValidationError, match=message):
            page(**change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quick": {"mlp": {"epoch_shown": (1,)}}}, "quick, mlp: .*did you mean 'epochs_shown'"),
        ({"quick": {"every": {"learning_rates": (0.1,)}}}, "unknown setting 'learning_rates'"),
        ({"quik": {}}, "unknown scale 'quik' .did you mean 'quick'"),
        ({"quick": {"mnist6k": {}}}, "quick: unknown network or data set 'mnist6k'"),
    ],
)
def test_a_setting_nobody_looks_at_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=f"settings of Misspelt: .*{message}"):
        type("Misspelt", (ModelPage,), {"settings": settings})


def test_later_settings_win():
    """Of the scale, of gradient descent, of the page; for every network, the network, the data."""
    of_scale = {"quick": {"every": {"points": 2}, "mlp": {"points": 3}}}
    of_data = {"quick": {"mnist5k": {"points": 4}, "mlp": {"points": 5}}}
    page = {"quick": {"every": {"points": 6}}}
    for tables, points in (
        ((), None),
        ((of_scale,), 3),
        ((of_scale, of_data), 4),
        ((of_scale, of_data, page), 6),
    ):
        assert settings_of("quick", "mlp", "mnist5k", tables).get("points") == points
    assert StochasticWalk(model="mlp", points=7).experiments[0].points == 7


def test_pages_of_the_full_scale_show_the_walks_of_the_protocol():
    known = full_size.walks()
    for item, letters in {
        "fig2": ["A25"],
        "fig14": ["A25"],
        "fig15": ["A25"],
        "fig10": ["F"],
        "tab2": ["A25", "B", "D", "E"],
        "tab1": ["C25", "F"],
    }.items():
        walked = [e.hash for e in ITEMS[item].experiments("full")]
        assert walked == [known[letter].hash for letter in letters]
    asked = HeightTable(scale="full", models=["vgg11"], epochs_shown=[3])
    assert [e.probed_epochs for e in asked.experiments] == [(3,), (3,)]
    asked = StochasticWalk(scale="full", model="resnet56", dataset="cifar10-jpeg", iterations=600)
    assert asked.experiments[0].probed_iterations == asked.length == 600
    with pytest.raises(ValidationError, match="no walks of this page at the full scale; use smoke"):
        Factors(scale="full")
    assert "full" not in ITEMS["fig16"].scales


def test_rates_of_walks_that_end_in_different_epochs_are_compared_where_both_were(tmp_path):
    page = HeightTable(scale="full", models=["vgg11"], learning_rates=[0.05, 0.1])
    store = Store(tmp_path, checkout() / "data" / "traces")
    traces = [store.get(walk) for walk in page.experiments]
    compared = page.ratios(page.heights(traces))
    assert [each["epoch"] for each in compared] == [1, 10]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "vgg11", "resnet56"])
def test_paper_scale_walks_run(model):
    """Each kind of the paper's walks, shortened to a few images and steps, at full width."""
    kinds = {}
    for item in ITEMS.values():
        for experiment in item.experiments("paper") if "paper" in item.scales else ():
            if experiment.model == model:
                kinds.setdefault(
                    (item.page.notebook, experiment.update, experiment.schedule), experiment
                )
    assert len(kinds) >= 6
    walked = set()
    for experiment in kinds.values():
        short = _shortened(experiment)
        if short.hash in walked:
            continue
        walked.add(short.hash)
        trace = walk(short, progress=False, dataset=few_to_validate(short.dataset))
        assert trace.attrs["parameters"] in (573_060, 9_756_426, 855_578)
        assert trace["distance"].values[-1] > 0


@cache
def few_to_validate(name):
    known = load(name)
    images, labels = known.validation_images[:20], known.validation_labels[:20]
    return dataclasses.replace(known, validation_images=images, validation_labels=labels)


def _shortened(experiment: Experiment) -> Experiment:
    """The same kind of walk on 20 embedded images, two epochs long."""
    small = {
        "dataset": "mnist5k" if experiment.model == "mlp" else "photos",
        "classes": None,
        "training_images": 20,
        "evaluation_images": 20,
        "batch_size": 10,
        "evaluation_batch_size": 4 if experiment.noise_structure else 10,
        "epochs": 2,
        "evaluate_every": 2,
        "probed_epochs": () if experiment.probed_epochs == () else (1,),
        "probed_iterations": 1,
        "points": 2,
    }
    if experiment.curvature_every and experiment.model == "mlp":
        small |= {"curvature_every": 2, "curvature_images": 20}
    else:
        # A search of the spectrum at full width takes minutes, by the same code as that of the MLP.
        small |= {"curvature_every": 0, "noise_structure": False}
    if experiment.switch_epoch:
        small |= {"switch_epoch": 1}
        if experiment.switch_batch_size:
            small |= {"switch_batch_size": 5}
    return Experiment(**experiment.model_dump() | small)


@pytest.mark.parametrize("name", ITEMS)
def test_a_notebook_walks_what_its_item_does(name):
    """It gives each parameter, those that are not set at the values that stand in its cell."""
    item = ITEMS[name]
    notebook = nbformat.read(checkout() / "notebooks" / f"{item.page.notebook}.ipynb", 4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    values = {}
    exec(cell.source, values)
    for scale in item.scales:
        given = values | item.parameters(scale)
        page = item.page(**{n: given[n] for n in item.page.model_fields if n in given})
        assert page.experiments == item.experiments(scale), scale
