"""What is known of networks and data sets by name, and what one more of each takes."""

import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import valleywalk
from valleywalk import Dataset, DatasetError, Experiment, Store, walk
from valleywalk.cli import main
from valleywalk.paper import ledger_text
from valleywalk.paper.items import ITEMS
from valleywalk.paper.page import WalksPage
from valleywalk.walks import cost, models, networks
from valleywalk.walks.catalogue import DATASETS, NETWORKS, DatasetInfo, NetworkInfo, dataset_info
from valleywalk.walks.datasets import READERS, load

# The package itself imports torch: it is stood in for by an empty one.
WITHOUT_TORCH = """
import sys, types
package = sys.modules["valleywalk"] = types.ModuleType("valleywalk")
package.__path__ = [sys.argv[1]]
from valleywalk.walks import catalogue, experiment
print(len(catalogue.DATASETS), "torch" in sys.modules)
"""


def test_the_catalogue_and_experiments_need_no_torch():
    command = [sys.executable, "-c", WITHOUT_TORCH, str(Path(valleywalk.__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(DATASETS)} False\n"


def test_each_record_has_its_builder_or_reader():
    assert NETWORKS.keys() == models.BUILDERS.keys()
    assert DATASETS.keys() == READERS.keys()
    assert {network.dataset for network in NETWORKS.values()} <= DATASETS.keys()
    for name, info in DATASETS.items():
        assert info.name == name
        assert (info.stand_in is None) == (info.file is None)
        assert info.stand_in is None or DATASETS[info.stand_in].file is None


@pytest.mark.parametrize("name", ["photos", "photos16", "photos64", "mnist5k"])
def test_records_of_embedded_data_sets_say_what_is_in_them(name):
    info, data = DATASETS[name], load(name)
    found = (data.channels, data.image_size, len(data.classes))
    assert found == (info.channels, info.image_size, info.classes)
    counts = (len(data.train_labels), len(data.validation_labels))
    assert counts == (info.training_images, info.validation_images)


def test_unknown_names_are_said_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown network 'vgg12' .did you mean 'vgg11'"):
        Experiment(model="vgg12", dataset="photos")
    with pytest.raises(ValueError, match=r"did you mean 'photos'.*or folder:PATH"):
        dataset_info("photo")
    assert dataset_info("folder:/somewhere").by_class


def linear(channels, image_size, classes, width=1.0):
    return nn.Sequential(
        nn.Flatten(),
        nn.BatchNorm1d(channels * image_size**2),
        nn.Linear(channels * image_size**2, classes),
    )


def stripes(folder):
    """Two classes: stripes across and stripes down, from the seeds in a file."""
    path = folder / "stripes.txt"
    if not path.is_file():
        raise DatasetError(f"there is no {path}")
    seeds = [int(line) for line in path.read_text().split()]
    parts = []
    for seed, count in zip(seeds, (60, 20), strict=True):
        random = np.random.default_rng(seed)
        labels = np.arange(count) % 2
        images = random.integers(0, 100, (count, 1, 4, 4), dtype=np.uint8)
        images[labels == 0, :, ::2] += 100
        images[labels == 1, :, :, ::2] += 100
        parts.append((torch.from_numpy(images), torch.from_numpy(labels)))
    (images, labels), (validation_images, validation_labels) = parts
    return Dataset(
        name="stripes",
        description="Stripes",
        train_images=images,
        train_labels=labels,
        validation_images=validation_images,
        validation_labels=validation_labels,
        mean=(0.5,),
        std=(0.5,),
        classes=("across", "down"),
    )


@pytest.fixture
def one_more_of_each(monkeypatch, own_data_folder):
    """A fourth network and another data set: a record and a builder, a record and a reader."""
    monkeypatch.setitem(NETWORKS, "linear", NetworkInfo("linear", "Linear", "stripes"))
    monkeypatch.setitem(models.BUILDERS, "linear", linear)
    info = DatasetInfo(
        "stripes",
        "Stripes",
        image_size=4,
        training_images=60,
        validation_images=20,
        channels=1,
        classes=2,
        file="stripes.txt",
        download=False,
        stand_in="photos",
    )
    monkeypatch.setitem(DATASETS, "stripes", info)
    monkeypatch.setitem(READERS, "stripes", stripes)
    monkeypatch.setattr(networks, "_known", {})


def test_one_more_network_and_data_set_is_known_everywhere(one_more_of_each, tmp_path, capsys):
    folder = valleywalk.walks.datasets.datasets_folder()
    main(["data"])
    assert "stripes        not there: it has no download" in capsys.readouterr().out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stripes.txt").write_text("1 2")
    main(["data"])
    assert "stripes        ready: in stripes.txt" in capsys.readouterr().out
    main(["data", "stripes"])
    assert "60 training and 20 validation images, 1×4×4, 2 classes" in capsys.readouterr().out

    fields = {"model": "linear", "dataset": "stripes", "batch_size": 20, "points": 4}
    sizes = {"evaluation_batch_size": 30, "evaluation_images": 60}
    with pytest.raises(ValueError, match="'stripes' has 60"):
        Experiment(**fields, training_images=61)
    experiment = Experiment(**fields, **sizes, epochs=8)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment

    assert cost.shape(experiment) == (1, 4, 2)
    counted = cost.passes(experiment)
    assert counted.training == 3 * 8 * 60
    assert counted.epochs == 8 * (60 + 20) + 8 * 5 * 60
    assert cost.work(experiment) == counted.total * 16 * 2
    assert cost.seconds(experiment, "cpu") > 0
    assert cost.trace_bytes(experiment) > 0
    assert cost.checkpoint_bytes(experiment) > 0

    trace = walk(experiment, progress=False)
    assert trace["train_accuracy"][-1] > 0.9
    assert trace.attrs["dataset_description"] == "Stripes"
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    assert store.get(experiment, progress=False).final_state_hash == trace.final_state_hash

    asked = [f"--{name.replace('_', '-')}={value}" for name, value in (fields | sizes).items()]
    main(["walk", *asked, "--epochs", "8"])
    assert "24 segments measured" in capsys.readouterr().out


PAGES = sorted({item.page for item in ITEMS.values()}, key=lambda page: page.__name__)


@pytest.mark.parametrize("page", [page for page in PAGES if issubclass(page, WalksPage)])
def test_one_more_network_and_data_set_walks_through_every_figure_family(
    one_more_of_each, monkeypatch, page
):
    folder = valleywalk.walks.datasets.datasets_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stripes.txt").write_text("1 2")
    # Processes of their own would not know of the two.
    monkeypatch.setattr("valleywalk.paper.page.compute", lambda *given, **options: None)
    own = {"models": ["linear"]} if "models" in page.model_fields else {"model": "linear"}
    made = page(scale="smoke", **own)
    assert {experiment.dataset for experiment in made.experiments} == {"stripes"}
    traces = made.get_traces()
    plt.close(made.draw(traces))
    assert made.table(traces).startswith("| ")
    assert "stripes" in made.provenance(traces).lower()
    assert ledger_text.page_claims(made)
