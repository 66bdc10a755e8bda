import pytest
import yaml
from pydantic import ValidationError

from valleywalk import cost, paper
from valleywalk.folders import checkout
from valleywalk.paper import ITEMS, SCALES, WalkParameters, walk_experiment

WALKS = [item for item in ITEMS.values() if item.notebook in ("fig1_gd_walk", "fig2_sgd_walk")]


def test_every_figure_and_table_of_the_paper_is_listed():
    expected = [f"fig{n}" for n in range(1, 29)] + ["tab1", "tab2", "appd"]
    assert list(ITEMS) == expected


def test_the_walk_figures_are_those_of_the_issue():
    assert [item.name for item in WALKS] == ["fig1", "fig2", *(f"fig{n}" for n in range(9, 22))]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("item", WALKS, ids=lambda item: item.name)
def test_each_walk_measures_its_window(item, scale):
    (experiment,) = item.experiments(scale)
    assert experiment.update == item.update
    assert experiment.model == item.model
    assert item.epoch in experiment.probed_epochs
    assert cost.work(experiment) > 0


@pytest.mark.parametrize("item", WALKS, ids=lambda item: item.name)
def test_paper_scale_is_the_paper_s_setting(item):
    (experiment,) = item.experiments("paper")
    assert experiment.width == 1
    assert experiment.dataset == item.dataset
    assert experiment.learning_rate == 0.1
    assert experiment.points == 10
    assert experiment.probed_iterations == 40
    assert experiment.batch_norm == "train"
    assert experiment.evaluation_images is None
    if item.update == "sgd":
        assert experiment.batch_size == 100
        assert experiment.augmentation == (item.dataset == "cifar10")
    else:
        assert experiment.batch_size == 5000
        assert not experiment.augmentation
    assert experiment.training_images == (10_000 if item.dataset == "tiny-imagenet" else None)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("name", "rate"), [("fig3", 0.1), ("fig7", 0.3)])
def test_spectral_walks(name, rate, scale):
    (experiment,) = ITEMS[name].experiments(scale)
    assert experiment.learning_rate == rate
    assert experiment.probed_epochs == ()
    assert experiment.curvature_every >= 1
    assert experiment.epochs % experiment.curvature_every == 0
    assert experiment.batch_norm == "train"
    assert experiment.batch_size == (100 if scale != "smoke" else experiment.batch_size)
    if scale == "paper":
        assert (experiment.epochs, experiment.curvature_images) == (100, 25_000)
        assert experiment.augmentation


def test_the_quadratic_needs_no_walk():
    item = ITEMS["fig28"]
    assert item.experiments("quick") == []
    figure, made_from = item.draw("quick")
    assert len(figure.axes) == 1
    assert "float64" in made_from


def test_later_epochs_of_a_network_come_from_one_walk():
    for scale in SCALES:
        for group in (("fig11", "fig12", "fig13"), ("fig14", "fig15", "fig16")):
            assert len({ITEMS[name].experiments(scale)[0].hash for name in group}) == 1


def test_a_single_parameter_can_be_overridden():
    base = walk_experiment("sgd", WalkParameters(scale="quick"))
    for name, value in {
        "dataset": "cifar10",
        "width": 0.5,
        "learning_rate": 0.3,
        "batch_size": 50,
        "training_images": 500,
        "evaluation_images": 200,
        "points": 4,
        "seed": 3,
        "convention": "code",
    }.items():
        changed = walk_experiment("sgd", WalkParameters(scale="quick", **{name: value}))
        different = {k for k, v in changed if v != getattr(base, k)}
        assert name in different
        assert different <= {name, "epochs", "evaluate_every"}
        assert getattr(changed, name) == value


def test_an_epoch_of_one_s_own():
    experiment = walk_experiment("sgd", WalkParameters(scale="quick", epoch=7, iterations=15))
    assert experiment.probed_epochs == (7,)
    assert experiment.probed_iterations == 15
    assert experiment.epochs == 8  # ten steps an epoch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "did you mean 'epoch'"),
        ({"scale": "huge"}, "'smoke', 'quick' or 'paper'"),
        ({"batch_size": "many"}, "integer"),
        ({"points": 1}, "greater than or equal to 2"),
        ({"iterations": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValidationError, match=message):
        WalkParameters(**change)


def test_multiply_adds_of_the_networks():
    """By hand: 784·500 + 500·350 + 350·10 for the perceptron; 9 k c per output pixel for VGG-11."""
    assert cost.forward_multiply_adds("mlp", 1, 28, 10, 1.0) == 784 * 500 + 500 * 350 + 3500
    layers = [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8)]
    layers += [(256, 512, 4), (512, 512, 4), (512, 512, 2), (512, 512, 2)]
    convolutions = sum(9 * a * b * side**2 for a, b, side in layers)
    total = convolutions + 2 * 512 * 512 + 5120
    assert cost.forward_multiply_adds("vgg11", 3, 32, 10, 1.0) == total


def test_cost_counts_steps_and_segments():
    experiment = paper.walk_experiment("gd", WalkParameters(model="mlp"))
    assert cost.forward_passes(experiment) == 40 * 4000 * 3 + 40 * 10 * 4000


def test_every_item_with_a_notebook_has_its_page_and_prose():
    root = checkout()
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text())
    pages = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    items = [item for item in ITEMS.values() if item.notebook]
    assert [p for p in pages if p.startswith("figures/")] == [f"figures/{i.name}" for i in items]
    for item in items:
        prose = (root / "book" / "figures" / f"{item.name}.md").read_text()
        assert "## What the paper shows" in prose
        assert "## What to look for" in prose
        assert "## What our run shows" in prose
        assert (root / "notebooks" / f"{item.notebook}.ipynb").is_file()
