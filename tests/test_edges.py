"""The probe at its edges: state that moves by itself, precision, layers that are frozen."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk import watch
from valleywalk.evaluation import Evaluator
from valleywalk.probes import Step, norm
from valleywalk.probes.cosine import Cosine
from valleywalk.probes.distance import Distance
from valleywalk.probes.interpolation import Interpolation
from valleywalk.walks.checkpoint import load_checkpoint, save_checkpoint

cross_entropy = nn.functional.cross_entropy


@pytest.fixture
def data():
    """24 examples of 5 numbers, of 3 classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=generator), torch.arange(24) % 3


def step_on(model, optimizer, data, batch=slice(None)):
    optimizer.zero_grad()
    cross_entropy(model(data[0][batch]), data[1][batch]).backward()
    optimizer.step()


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


# The loss at the beginning of a segment -----------------------------------------------------------


class Scaled(nn.Module):
    """Divides by a running scale, which training moves; counts its calls in a new tensor each."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(5, 3), nn.Dropout(0.2)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", None)

    def forward(self, inputs):
        self.calls = self.calls + 1
        self.seen = inputs.mean() if self.seen is None else self.seen + inputs.mean()
        if not hasattr(self, "first"):
            self.register_buffer("first", inputs[0].clone())
        if self.training:
            self.scale.lerp_(inputs.std() * self.calls, 0.1)
        return self.linear(self.dropout(inputs + self.first + self.seen)) / self.scale


def moving(kind):
    """A network whose forward pass in training moves a buffer on which its loss depends."""
    torch.manual_seed(0)
    if kind == "old spectral norm":
        return nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 3))
    if kind == "spectral norm":
        layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 8))
        return nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 3))
    return Scaled()


KINDS = ["old spectral norm", "spectral norm", "running scale"]


class Again:
    """Measures each segment once more, by a probe that knows of none before."""

    def __init__(self):
        self.losses = []

    def __call__(self, step):
        self.losses.append(Interpolation(2)(step)["loss"])
        return {}


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_is_taken_over_only_if_the_buffers_are_the_same(kind, data):
    model, again = moving(kind), Again()
    optimizer = sgd(model)
    with watch(model, optimizer, cross_entropy, data, points=2, probes=[again]) as watcher:
        for _ in range(4):
            step_on(model, optimizer, data)
    loss = watcher.trace["loss"].values
    assert (loss == np.array(again.losses)).all()
    assert (loss[1:, 0] != loss[:-1, -1]).all(), "the buffers have moved in between"


def counting():
    """Cross-entropy, and the list of its calls."""
    calls = []

    def loss(output, target):
        calls.append(len(target))
        return cross_entropy(output, target)

    return loss, calls


def passes(network, images, change=lambda network, step: None, **options):
    """How many batches are measured in four steps of three points, all images in a batch."""
    optimizer = sgd(network)
    loss, calls = counting()
    watcher = watch(network, optimizer, loss, images, points=3, batch_size=40, **options)
    calls.clear()
    with watcher:
        for step in range(4):
            change(network, step)
            step_on(network, optimizer, images)
    return len(calls)


@pytest.mark.parametrize("batch_norm", ["as trained", "train"])
def test_running_statistics_cost_no_pass_where_they_do_not_count(network, images, batch_norm):
    assert passes(network, images, batch_norm=batch_norm) == 4 * 3 + 1


def test_running_statistics_cost_a_pass_where_they_do_count(network, images):
    assert passes(network, images, batch_norm="eval") == 4 * (3 + 1)


def test_a_layer_that_is_frozen_between_two_steps_is_measured_anew(network, images):
    again, losses = Again(), []

    def freeze(network, step):
        if step == 2:
            network[1].eval()

    assert passes(copy.deepcopy(network), images, freeze, batch_norm="train") == 4 * 3 + 1
    assert passes(copy.deepcopy(network), images, freeze) == 4 * 3 + 2
    optimizer = sgd(network)
    with watch(network, optimizer, cross_entropy, images, points=2, probes=[again]) as watcher:
        for step in range(4):
            freeze(network, step)
            step_on(network, optimizer, images)
            losses.append(watcher.seen[-1]["loss"])
    assert (np.array(losses) == np.array(again.losses)).all()
    assert losses[2][0] != losses[1][-1]
    assert losses[3][0] == losses[2][-1]


def test_frozen_parameters_that_are_written_to_are_measured_anew(network, images):
    """As a teacher is that follows its pupil."""
    network[0].requires_grad_(False)

    def write(network, step):
        if step == 2:
            with torch.no_grad():
                network[0].weight.mul_(1.1)

    assert passes(network, images, write) == 4 * 3 + 2


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("kind", [*KINDS, "channels last"])
def test_a_watch_goes_on_from_its_checkpoint_with_the_same_bits(
    kind, data, network, images, tmp_path
):
    if kind == "channels last":
        model, data = network.to(memory_format=torch.channels_last), images
        twin = copy.deepcopy(model)
    else:
        model, twin = moving(kind), moving(kind)
        model(data[0]), twin(data[0])
    optimizer = sgd(model)
    whole = watch(model, optimizer, cross_entropy, data, points=2)
    resumed = watch(twin, sgd(twin), cross_entropy, data, points=2)
    with whole, resumed:
        for step in range(5):
            if step == 3:
                save_checkpoint(tmp_path / "c", *whole.state(), {})
                twin.load_state_dict(model.state_dict())
                resumed.restore(*load_checkpoint(tmp_path / "c", {}))
            if step >= 3:
                torch.manual_seed(step)
                step_on(twin, resumed.optimizers[0], data)
            torch.manual_seed(step)
            step_on(model, optimizer, data)
    for name in ("loss", "cosine", "distance", "parameter_norm"):
        assert np.array_equal(resumed.trace[name], whole.trace[name], equal_nan=True), name


# Buffers that a forward pass puts others in the place of ------------------------------------------


@pytest.mark.parametrize("dropout_masks", [0, 1])
def test_buffers_that_are_assigned_anew_are_put_back(data, dropout_masks):
    model = moving("running scale")
    twin = copy.deepcopy(model)
    optimizer, plain = sgd(model), sgd(twin)
    with watch(model, optimizer, cross_entropy, data, dropout_masks=dropout_masks, points=2):
        torch.manual_seed(1)
        for step in range(3):
            step_on(model, optimizer, data, slice(8 * step, 8 * step + 8))
    torch.manual_seed(1)
    for step in range(3):
        step_on(twin, plain, data, slice(8 * step, 8 * step + 8))
    state, expected = model.state_dict(), twin.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert model.calls == 3


@pytest.mark.filterwarnings("ignore:.*jit.script.*deprecated")
def test_buffers_of_a_scripted_model_are_put_back(data):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, inputs):
            self.calls = self.calls + 1
            return self.linear(inputs)

    scripted = torch.jit.script(Counts())
    optimizer = sgd(scripted)
    with watch(scripted, optimizer, cross_entropy, data, points=2):
        for _ in range(3):
            step_on(scripted, optimizer, data)
    assert scripted.calls == 3


# Batches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray, dict])
def test_a_loader_that_uses_its_memory_again_is_measured_rightly(data, kind):
    class Loader:
        def __iter__(self):
            inputs, targets = torch.empty(8, 5), torch.empty(8, dtype=torch.int64)
            for first in range(0, 24, 8):
                inputs.copy_(data[0][first : first + 8])
                targets.copy_(data[1][first : first + 8])
                if kind is dict:
                    yield {"input": inputs, "targets": targets}
                else:
                    yield (inputs.numpy() if kind is np.ndarray else inputs), targets

    class Model(nn.Linear):
        def forward(self, input, targets=None):
            return super().forward(torch.as_tensor(input))

    def loss(output, target):
        return cross_entropy(output, target["targets"] if kind is dict else target)

    model = Model(5, 3)
    watcher = watch(model, sgd(model), loss, Loader())
    expected = cross_entropy(model(data[0]), data[1]).item()
    assert watcher.evaluate() == pytest.approx(expected, rel=1e-6)


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_each_batch_is_tried_at_entry(data, mode):
    """A model that stands in eval mode is tried as it will be once it is trained."""
    inputs, targets = data[0][:17], data[1][:17]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, targets), batch_size=8
    )
    model = normed().train(mode == "train")
    with pytest.raises(ValueError, match=r"loss of batch 3 of evaluation_data.*drop_last=True"):
        watch(model, sgd(model), cross_entropy, loader)
    watch(model, sgd(model), cross_entropy, loader, batch_norm="eval")
    bad = [(inputs, targets), (inputs, targets + 7)]
    with pytest.raises(ValueError, match=r"batch 2 of evaluation_data .*out of bounds.*look at"):
        watch(model, sgd(model), cross_entropy, bad)
    bad = [(inputs, targets), (inputs * torch.inf, targets)]
    with pytest.raises(ValueError, match="batch 2 of evaluation_data is nan; look at its inputs"):
        watch(model, sgd(model), cross_entropy, bad)
    assert model.training == (mode == "train")


# Gradients and precision --------------------------------------------------------------------------


def test_sparse_gradients_are_seen_as_the_dense_ones_they_stand_for():
    def walked(sparse):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(11, 4, sparse=sparse), nn.Flatten(), nn.Linear(12, 3))
        tokens = torch.randint(0, 11, (24, 3))
        optimizer = sgd(model)
        with watch(model, optimizer, cross_entropy, (tokens, torch.arange(24) % 3)) as watcher:
            for step in range(3):
                step_on(model, optimizer, (tokens, torch.arange(24) % 3), slice(step, step + 9))
        return watcher.trace

    sparse, dense = walked(True), walked(False)
    for name in ("loss", "cosine", "distance", "parameter_norm"):
        assert np.allclose(sparse[name], dense[name], rtol=1e-6, equal_nan=True), name


def vectors(dtype, layout=torch.contiguous_format, scale=1.0):
    """Three parameter vectors of tensors short, long and four-dimensional; and as float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (600, 500), (70, 16, 5, 5), (8, 4, 3, 3), (20,)]
    drawn = [
        [
            (scale * (1 + torch.randn(shape, generator=generator))).to(
                dtype, memory_format=layout if len(shape) == 4 else torch.preserve_format
            )
            for shape in shapes
        ]
        for _ in range(3)
    ]
    return drawn, [np.concatenate([t.double().numpy().ravel() for t in v]) for v in drawn]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_norm_cosine_and_distance_in_each_precision(dtype, layout):
    """A square of float16 is beyond its range, a sum of bfloat16 has two digits."""
    given, (start, after, other) = vectors(dtype, layout, scale=300.0)
    close = 1e-12 if dtype == torch.float64 else 1e-5
    assert norm(given[1]) == pytest.approx(np.linalg.norm(after), rel=close)
    seen = Distance()(Step(0, given[0], None, given[1], given[0], None))
    assert seen["parameter_norm"] == pytest.approx(np.linalg.norm(after), rel=close)
    assert seen["distance"] == pytest.approx(np.linalg.norm(after - start), rel=close)
    probe = Cosine()
    for gradient in (given[1], given[2]):
        cosine = probe(Step(0, given[0], None, given[1], gradient, None))["cosine"]
    expected = after @ other / np.linalg.norm(after) / np.linalg.norm(other)
    assert cosine == pytest.approx(expected, rel=close)


def test_a_gradient_may_lie_otherwise_in_memory_than_its_parameter():
    given, (_, after, other) = vectors(torch.float32)
    lying = [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in given[2]]
    probe = Cosine()
    for gradient in (given[1], lying):
        cosine = probe(Step(0, given[0], None, given[1], gradient, None))["cosine"]
    expected = after @ other / np.linalg.norm(after) / np.linalg.norm(other)
    assert cosine == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision(data, dtype):
    torch.manual_seed(0)
    model = nn.Linear(5, 3).to(dtype)
    with torch.no_grad():
        model.weight.fill_(300.0)
    optimizer = sgd(model)
    half = data[0].to(dtype), data[1]
    with watch(model, optimizer, cross_entropy, half) as watcher:
        for _ in range(3):
            step_on(model, optimizer, half)
    flat = np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])
    assert watcher.trace["parameter_norm"][-1] == pytest.approx(np.linalg.norm(flat), rel=1e-6)
    assert np.isfinite(watcher.trace["cosine"][1:]).all()


# Layers that are frozen ---------------------------------------------------------------------------


def test_batch_norm_is_measured_in_the_mode_in_which_it_stands(network, images):
    network.insert(3, nn.BatchNorm2d(6))
    network(images[0] * 3 + 1)  # running statistics that are not those of the images
    batches = [(images[0], images[1])]
    network[1].eval()
    modes = [module.training for module in network.modules()]
    measured = Evaluator(network, cross_entropy, batches, "as trained")()
    with torch.no_grad():
        expected = cross_entropy(copy.deepcopy(network)(images[0]), images[1]).item()
    assert measured == pytest.approx(expected, rel=1e-6)
    assert [module.training for module in network.modules()] == modes
    for mode in ("train", "eval"):
        assert Evaluator(network, cross_entropy, batches, mode)() != measured
    assert watch(network, sgd(network), cross_entropy, batches).evaluate() == measured


# Weight decay -------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": (lambda groups: torch.optim.SGD(groups, lr=0.1), 1),
    "momentum": (lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9), 1),
    "adam": (lambda groups: torch.optim.Adam(groups, lr=0.1), 1),
    "ascent": (lambda groups: torch.optim.SGD(groups, lr=0.01, maximize=True), -1),
    "adamw": (lambda groups: torch.optim.AdamW(groups, lr=0.1), 0),
    "adafactor": (lambda groups: torch.optim.Adafactor(groups, lr=0.1), 0),
    "decoupled radam": (
        lambda groups: torch.optim.RAdam(groups, lr=0.1, decoupled_weight_decay=True),
        0,
    ),
}


@pytest.mark.parametrize(("make", "sign"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("asked", [True, False])
def test_the_cosine_is_with_weight_decay_where_that_is_asked_for(data, make, sign, asked):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    model.append(nn.Linear(3, 3))
    unused = nn.Parameter(torch.ones(2))
    model.register_parameter("unused", unused)
    decays = {0: 0.5, 1: 0.0, 2: 0.2}
    groups = [{"params": model[i].parameters(), "weight_decay": d} for i, d in decays.items()]
    groups.append({"params": [unused], "weight_decay": 0.9})
    optimizer = make(groups)
    of = {p: d for i, d in decays.items() for p in model[i].parameters()}
    expected, options = [], {"weight_decay": True} if asked else {}

    def direction():
        parts = [
            p.grad.double() + asked * sign * decay * p.detach().double() for p, decay in of.items()
        ]
        return np.concatenate([part.numpy().ravel() for part in parts])

    with watch(model, optimizer, cross_entropy, data, steps=3, **options) as watcher:
        for step in range(5):
            optimizer.zero_grad()
            batch = slice(4 * step, 4 * step + 4)
            cross_entropy(model(data[0][batch]), data[1][batch]).backward()
            expected.append(direction())
            optimizer.step()
    trace = watcher.trace
    for step in range(1, 5):
        last, now = expected[step - 1], expected[step]
        cosine = last @ now / np.linalg.norm(last) / np.linalg.norm(now)
        assert trace["cosine"][step] == pytest.approx(cosine, rel=1e-5, abs=1e-6)
    assert trace.attrs["cosine_of"] == "gradient" + asked * " with weight decay"


def test_an_optimizer_of_one_s_own_says_that_its_decay_is_decoupled(data):
    class Decoupled(torch.optim.SGD):
        decoupled_weight_decay = True

    def cosines(kind, asked):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = kind(model.parameters(), lr=0.1, weight_decay=0.3)
        with watch(model, optimizer, cross_entropy, data, weight_decay=asked) as watcher:
            for step in range(3):
                step_on(model, optimizer, data, slice(8 * step, 8 * step + 8))
        return watcher.trace["cosine"].values[1:]

    assert (cosines(Decoupled, True) == cosines(torch.optim.SGD, False)).all()
    assert (cosines(torch.optim.SGD, True) != cosines(torch.optim.SGD, False)).all()
