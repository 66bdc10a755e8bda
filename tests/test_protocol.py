"""The walks that the protocol names: its commands parse, and are those of its table."""

import re

import pytest

from valleywalk import Experiment, Store
from valleywalk.cli import main
from valleywalk.folders import checkout

TEXT = (checkout() / "book" / "protocol.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\w) \| `([0-9a-f]{16})` \|", TEXT, flags=re.MULTILINE))
COMMANDS = dict(re.findall(r"^    # (\w)\n    valleywalk (.+)$", TEXT, flags=re.MULTILINE))
COMMON = {
    "dataset": "cifar10-jpeg",
    "augmentation": True,
    "batch_size": 100,
    "seed": 0,
    "evaluation_images": 1000,
    "evaluation_batch_size": 100,
    "tolerance": 0.02,
    "evaluate_every": 1,
    "width": 1,
    "epochs": 10,
}


class AskedForError(Exception):
    """Stands for the walk."""


@pytest.fixture
def asked_for(monkeypatch):
    """Gives the experiment that a command line would walk."""

    def get(store, experiment, *, keep_state, **options):
        assert keep_state
        raise AskedForError(experiment)

    monkeypatch.setattr(Store, "get", get)

    def run(command):
        with pytest.raises(AskedForError) as caught:
            main(command.split())
        return caught.value.args[0]

    return run


def test_each_walk_has_a_command():
    assert list(ROWS) == list(COMMANDS) == list("ABCDEF")


@pytest.mark.parametrize("walk", COMMANDS)
def test_a_command_is_the_walk_of_the_table_and_can_be_extended(walk, asked_for):
    command = COMMANDS[walk]
    experiment = asked_for(command)
    assert experiment == Experiment(**experiment.model_dump() | COMMON)
    assert experiment.hash == ROWS[walk]
    longer = command.replace("--epochs 10", "--epochs 25")
    longer = re.sub("(--probed-epochs [0-9 ]*10)", r"\1 25", longer)
    extended = asked_for(longer)
    assert (extended.epochs, extended.probed_epochs[-1]) == (25, 25)
    assert extended.extends(experiment)
