"""Bad input: each row of the chapter's tables is typed, and must say what the row says."""

import re
import shlex
import time
from pathlib import Path

import distributed_models
import h5py
import numpy as np
import pytest
import torch
from made import SAID
from PIL import Image
from torch import nn

import valleywalk
from valleywalk import analysis, save, sinks
from valleywalk.cli import main
from valleywalk.folders import checkout, datasets_folder
from valleywalk.paper.barriers import BarrierTable
from valleywalk.paper.optimizers import Optimizers
from valleywalk.paper.walks import StochasticWalk
from valleywalk.probes.curvature import Curvature
from valleywalk.probes.noise_structure import NoiseAlignment
from valleywalk.trace import assemble, sealed

TEXT = (checkout() / "book" / "refused.md").read_text(encoding="utf-8")
ROWS = [
    (given.replace("\\|", "|"), said)
    for given, said in re.findall(r"^\| `(.+?)` \| (.+) \|$", TEXT, flags=re.MULTILINE)
]


def write_images(root, *folders, count=2, size=8):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{number}.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the rows name in it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "a-file").write_text("no trace, no checkpoint, no folder")
    write_images(here / "one-class", "train/a", "val/a")
    write_images(here / "no-validation", "train/a", "train/b")
    for name in ("pictures", "damaged", "sizes"):
        write_images(here / name, "train/a", "train/b", "val/a", "val/b")
    damaged = here / "damaged" / "train" / "a" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    write_images(here / "sizes", "train/c", size=9)
    for name in ("class-twice", "class-lost", "dangling", "linked", "stray"):
        write_images(here / name, "train/a", "train/b", "val/a", "val/b")
    (here / "class-twice" / "wnids.txt").write_text("a\nb\na\n")
    (here / "class-lost" / "wnids.txt").write_text("a\nb\nc\n")
    (here / "dangling" / "train" / "a" / "2.png").symlink_to("gone.png")
    (here / "linked" / "train" / "a" / "more").symlink_to(here / "linked" / "train" / "b")
    write_images(here / "stray", "train/", count=1)
    part = datasets_folder() / "tiny-imagenet-200"
    for root, listed in (
        (here / "outside", ["../../a-file\ta"]),
        (here / "unlisted", []),
        (part, []),
    ):
        write_images(root, "train/a", "train/b", "val/images")
        rows = "\n".join(["0.png\ta", *listed])
        (root / "val" / "val_annotations.txt").write_text(rows)
        (root / "wnids.txt").write_text("a\nb\n")
    (part / "val" / "val_annotations.txt").write_text("0.png\ta\n1.png\tb\n")
    (datasets_folder() / "cifar9k.npz").write_text("no arrays")
    of_another_loop = assemble([{"cosine": 0.5}], [0, 0.5, 1])
    save(of_another_loop, here / "of-another-loop.nc")
    save(of_another_loop.assign_attrs(versions="{}"), here / "without-versions.nc")
    experiment = {"experiment": "{}", "experiment_hash": "0" * 16}
    save(of_another_loop.assign_attrs(SAID | experiment), here / "without-distance.nc")
    with h5py.File(here / "huge.nc", "w") as file:
        file.create_dataset("loss", (20_000_000_000,), "f8", chunks=(1000,), compression="gzip")
    huge = here / "huge.nc"
    huge.write_bytes(sealed(huge.read_bytes()))
    return here


def names(folder):
    model = nn.Linear(5, 3)
    given = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss": nn.functional.cross_entropy,
        "evaluation_data": (torch.ones(4, 5), torch.arange(4) % 3),
    }

    def of_a_group(make):
        with distributed_models.group_of_one(folder):
            return dict(zip(("model", "optimizer"), make(), strict=True))

    def sharded(way):
        model = distributed_models.sharded(way)
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    def in_backward():
        from torch.distributed.optim import (
            _apply_optimizer_in_backward,
            _get_in_backward_optimizers,
        )

        model = distributed_models.network()
        _apply_optimizer_in_backward(torch.optim.SGD, model.parameters(), {"lr": 0.1})
        return model, _get_in_backward_optimizers(model)

    def overlapping():
        model = distributed_models.network()
        return model, distributed_models.overlapping(model)

    ways = {
        "sharded": lambda way: of_a_group(lambda: sharded(way)),
        "in_backward": lambda: of_a_group(in_backward),
        "overlapping": lambda: of_a_group(overlapping),
    }
    everything = {name: getattr(valleywalk, name) for name in valleywalk.__all__}
    pages = {
        "StochasticWalk": StochasticWalk,
        "BarrierTable": BarrierTable,
        "Optimizers": Optimizers,
    }
    probes = {"Curvature": Curvature, "NoiseAlignment": NoiseAlignment}
    more = {"analysis": analysis, "sinks": sinks, "np": np, "torch": torch, "nn": nn, "Path": Path}
    return everything | pages | probes | more | ways | {"given": given}


def test_there_are_rows():
    assert len(ROWS) >= 50


@pytest.mark.parametrize(("given", "said"), ROWS, ids=[given for given, _ in ROWS])
def test_a_row(given, said, place, tmp_path, capsys):
    before = sorted(path for path in place.rglob("*"))
    began = time.monotonic()
    if given.startswith("valleywalk "):
        with pytest.raises(SystemExit) as caught:
            main(shlex.split(given)[1:])
        message = " ".join(f"{caught.value} {capsys.readouterr().err}".replace("│", " ").split())
        assert "Traceback" not in message
    else:
        with pytest.raises((ValueError, TypeError, OSError, RuntimeError)) as caught:
            eval(given, names(tmp_path))
        message = str(caught.value)
    assert said in message
    assert time.monotonic() - began < 30, "said at once"
    assert sorted(path for path in place.rglob("*")) == before, "nothing was written"
