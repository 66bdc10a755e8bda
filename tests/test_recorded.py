"""Recorded walks: what is kept, and the index that says what each is."""

import json
import re

import h5py
import numpy as np
import pytest
import xarray as xr

from valleywalk import Experiment, Store, TraceError, open_trace, report, save
from valleywalk.book import recorded
from valleywalk.book.build import scale_of
from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper.items import ITEMS
from valleywalk.walks.catalogue import DATASETS
from valleywalk.walks.datasets import load
from valleywalk.walks.provenance import unfit_commits

TRACES = checkout() / "data" / "traces"


def test_what_the_pages_need_is_recorded_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path))
    store = Store()
    (needed,) = ITEMS["fig18"].experiments("smoke")
    other = Experiment(**needed.model_dump() | {"seed": 77})
    for experiment in (needed, other):
        store.get(experiment, progress=False)
    say_commits(store, needed, "0123456789ab")
    assert scale_of(ITEMS["fig18"], "recorded", store) == "quick", "nothing is recorded at all"
    main(["record", "--scale", "smoke"])
    assert "1 more walks recorded" in capsys.readouterr().out
    assert [path.stem for path in store.recorded.glob("*.nc")] == [needed.hash]
    assert store.find(needed) == store.recorded / f"{needed.hash}.nc"
    text = (store.recorded / "README.md").read_text(encoding="utf-8")
    assert f"| `valleywalk figure fig18 --scale smoke` | `{needed.hash}` | MLP at width 0.1" in text
    assert recorded.record(("smoke",), store).new == [], "once"


def say_commits(store, experiment, commits):
    path = store.find(experiment)
    save(open_trace(path).assign_attrs(git_commit=commits), path)


@pytest.mark.parametrize(
    ("commits", "named"),
    [
        ("aaa-dirty", "aaa-dirty"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("aaa, bbb-dirty, ccc", "bbb-dirty"),
        ("aaa, unknown, bbb-dirty", "unknown, bbb-dirty"),
    ],
)
def test_a_walk_that_says_no_code_is_refused_and_the_others_kept(
    tmp_path, monkeypatch, capsys, commits, named
):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path))
    store = Store()
    experiments = {
        experiment.hash: experiment
        for item in ("fig18", "fig19")
        for experiment in ITEMS[item].experiments("smoke")
    }
    refused, *others = experiments.values()
    assert others
    for experiment in experiments.values():
        store.get(experiment, progress=False)
        say_commits(store, experiment, "aaa, bbb")
    say_commits(store, refused, commits)
    with pytest.raises(SystemExit) as caught:
        main(["record", "--scale", "smoke"])
    said = str(caught.value)
    assert f"{refused.hash}.nc (MLP at width" in said
    assert f"made at commit {named})" in said
    assert "walk again from a checkout without changes" in said
    assert f"{len(others)} more walks recorded" in capsys.readouterr().out
    assert {path.stem for path in store.recorded.glob("*.nc")} == {e.hash for e in others}
    assert refused.hash not in (store.recorded / "README.md").read_text(encoding="utf-8")


def test_a_damaged_recorded_trace_is_replaced_and_a_damaged_new_one_refused(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path))
    store = Store()
    first, second, *_ = ITEMS["fig18"].experiments("smoke") + ITEMS["fig19"].experiments("smoke")
    good = {}
    for experiment in (first, second):
        store.get(experiment, progress=False)
        say_commits(store, experiment, "0123456789ab")
        good[experiment] = store.find(experiment).read_bytes()
    assert len(recorded.record(("smoke",), store).new) == 2
    # Such as of a copy that was cut off.
    kept = store.recorded / f"{first.hash}.nc"
    kept.write_bytes(good[first][:1000])
    with pytest.raises(TraceError, match="is damaged"):
        store.get(first)
    assert recorded.record(("smoke",), store).new == [kept]
    assert kept.read_bytes() == good[first]
    kept.unlink()
    (store.recorded / f"{second.hash}.nc").unlink()
    (store.folder / f"{first.hash}.nc").write_bytes(good[first][:1000])
    with pytest.raises(SystemExit, match=rf"(?s)1 not recorded, .*{first.hash}.*it is damaged"):
        main(["record", "--scale", "smoke"])
    assert "1 more walks recorded" in capsys.readouterr().out
    assert [path.stem for path in store.recorded.glob("*.nc")] == [second.hash]


def test_recorded_walks_say_which_code_made_them():
    unfit = {}
    for path in TRACES.glob("*.nc"):
        with h5py.File(path) as opened:
            commits = np.ravel(opened.attrs["git_commit"])[0]
        unfit[path.name] = unfit_commits(xr.Dataset(attrs={"git_commit": commits}))
    assert len(unfit) > 150
    assert not any(unfit.values()), {name: said for name, said in unfit.items() if said}


def test_recorded_walks_are_on_the_images_of_the_catalogue():
    """Those on embedded images by the images; those on all of a data set by its entry."""
    checked = 0
    for path in TRACES.glob("*.nc"):
        with h5py.File(path) as opened:
            attributes = {name: np.ravel(value)[0] for name, value in opened.attrs.items()}
        info = DATASETS[json.loads(attributes["experiment"])["dataset"]]
        count, found = int(attributes["training_images"]), attributes["dataset_hash"]
        if info.file is None:
            assert found == load(info.name).first(count).hash, path.name
        elif info.hash and count == info.training_images:
            assert found == info.hash, path.name
        else:
            continue
        checked += 1
    assert checked > 150


def test_the_scale_of_a_page_is_the_nearest_that_is_recorded(tmp_path):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    item = ITEMS["fig2"]
    store.recorded.mkdir()
    for scale in ("quick", "overnight", "paper"):
        (experiment,) = item.experiments(scale)
        (store.recorded / f"{experiment.hash}.nc").touch()
        assert scale_of(item, "recorded", store) == scale
    assert scale_of(item, "smoke", store) == "smoke", "as asked for"
    assert scale_of(ITEMS["fig28"], "recorded", store) == "quick"


def test_the_index_lists_the_recorded_walks():
    text = (TRACES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `[^`]+` \| `([0-9a-f]{16})` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in TRACES.glob("*.nc"))
    assert "valleywalk walk, with" not in text, "each belongs to a page or to the ledger"


def test_recorded_walks_stay_small():
    assert sum(path.stat().st_size for path in TRACES.glob("*.nc")) < 60e6


def test_what_each_making_of_the_book_walks_again_needs_no_download(tmp_path):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    store.recorded.mkdir()
    for scale, shown in (("overnight", "quick"), ("smoke", "quick"), ("quick", "quick")):
        (experiment,) = ITEMS["twin"].experiments(scale)
        (store.recorded / f"{experiment.hash}.nc").touch()
        assert scale_of(ITEMS["twin"], "recorded", store) == shown
        assert ITEMS["twin"].at(scale).is_there(store) == (scale != "overnight")


def test_every_page_has_recorded_walks():
    """So that the book is there minutes after cloning: at its own scale and at the verdicts'."""
    store = Store(TRACES.parent / "no-cache", TRACES)
    lacking = set()
    for item in ITEMS.values():
        # The twin is walked again at each making of the book, and therefore at a smaller scale.
        judged = "quick" if item.name == "twin" else "overnight"
        for scale in {judged, scale_of(item, "recorded", store)}:
            if not all(store.find(experiment) for experiment in item.experiments(scale)):
                lacking.add((item.name, scale))
    assert not lacking


def test_a_recorded_walk_in_words():
    """VGG-11 under SGD comes to bounce within its first forty steps, well above the floor."""
    found = report(open_trace(TRACES / "36a5ac25e3637d48.nc"))
    text = " ".join(found.seen)
    assert "44 steps, 40 segments measured" in text
    assert "It bounces in the second half: 20 of 20 segments have their lowest point inside" in text
    assert "Successive gradients point against each other" in text
    low, high = re.search(
        r"above the floor 0\.0529 \[(\S+), (\S+)\] over the images", text
    ).groups()
    assert 0.05 < float(low) < float(high) < 0.056
    assert "The floor falls" in text
    assert "The steps are not gradient descent on the measured loss" in text
    assert [idea[:39] for idea in found.to_try] == ["The images leave 1 of 40 barriers open:"]
