"""What the package does that is installed without extras; run so by .ci/packages."""

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

import valleywalk
from valleywalk import seeds, statistics
from valleywalk.__main__ import main
from valleywalk.probes.curvature import Curvature

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
inputs, targets = torch.randn(60, 3), torch.randint(2, (60,))
loss, optimizer = nn.functional.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.5)
probes = [Curvature()]
with valleywalk.watch(
    model, optimizer, loss, (inputs, targets), tolerance=0.02, iterate_probes=probes, every=5
) as watcher:
    for _ in range(20):
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "walk.nc"
    valleywalk.save(watcher.trace, path)
    trace = valleywalk.open_trace(path)
    valleywalk.figures.walk(trace).savefig(path.with_suffix(".png"))
assert "20 steps, 20 segments measured" in str(watcher.report())
assert (files(valleywalk) / "py.typed").is_file(), "the marker of PEP 561: others check types by it"
assert valleywalk.measures.window_height(trace).interval().estimate > 0
assert statistics.proportion(3, 40).low < statistics.mean_of_steps(trace["distance"].values).high
assert seeds.mean_of_seeds([1.0, 2.0, 2.5]).estimate > 1

for name in ("walk", "Experiment", "Store"):
    try:
        said = str(getattr(valleywalk, name))
    except ModuleNotFoundError as error:
        said = str(error)
    assert "pip install 'valleywalk[paper]'" in said, said

sys.argv = ["valleywalk", "list"]
try:
    main()
except SystemExit as error:
    print(error)
