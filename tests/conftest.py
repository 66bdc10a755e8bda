import os
import shutil

# One thread a process: tests run in parallel, and busy threads of several processes starve
# each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import HealthCheck
from torch import nn

torch.set_num_threads(1)
# First calls import and compile; on a shared machine times say nothing about correctness. Of random
# experiments many are impossible.
hypothesis.settings.register_profile(
    "project",
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    # What CI says is the same twice; new examples are looked for where they can be looked into.
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("project")


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory, monkeypatch):
    """No test sees or changes the project's own traces and data sets."""
    monkeypatch.setenv("VALLEYWALK_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """Matplotlib warns of many, whichever tests drew them."""
    yield
    plt.close("all")


# A browser for the tests that need one; they are skipped where there is none.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium; on Debian: apt install it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Open a file with the network off; what it complains about or cannot load is collected."""
    contexts = []

    def opened(path, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.complaints = []
        tab.on("console", lambda m: m.type == "error" and tab.complaints.append(m.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("requestfailed", lambda request: tab.complaints.append(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_load_state("networkidle")
        return tab

    yield opened
    for context in contexts:
        context.close()


class Landscape(nn.Module):
    """A model whose output is its parameter vector, so that the loss can be any function of it."""

    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, inputs):
        return self.theta


@pytest.fixture
def landscape():
    """Walk `steps` exact gradient steps on `loss(theta)` under watch; gives model and trace."""
    from valleywalk import watch

    def run(loss, start, learning_rate, steps=1, points=10):
        model = Landscape(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        data = (torch.zeros(3, 1), torch.zeros(3))
        with watch(model, optimizer, lambda o, t: loss(o), data, points=points) as watcher:
            for _ in range(steps):
                optimizer.zero_grad()
                loss(model.theta).backward()
                optimizer.step()
        return model, watcher.trace

    return run


@pytest.fixture
def images():
    """40 random 3×8×8 images of 4 classes."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 3, 8, 8, generator=generator)
    return inputs, torch.randint(0, 4, (40,), generator=generator)


@pytest.fixture
def network():
    """A small convolutional network with batch norm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 64, 4),
    )
