"""What surrounds a measurement does not reach it, and the measurement reaches nothing."""

import copy
import math
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk import watch
from valleywalk.evaluation import Evaluator
from valleywalk.machine import exact_float32
from valleywalk.optimizers import stepping, writes_into_gradients
from valleywalk.probes.curvature import Curvature, hessian_vector_product
from valleywalk.probes.noise_structure import NoiseAlignment
from valleywalk.surroundings import random_states

pytestmark = pytest.mark.core

cross_entropy = nn.functional.cross_entropy
INPUTS = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(24) % 3
DATA = (INPUTS, TARGETS)


def network():
    with random_states(seed=0):
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.5, **options)


def train(model, optimizer, steps=4, loss=cross_entropy):
    for step in range(steps):
        batch = slice(6 * step, 6 * step + 6)
        optimizer.zero_grad()
        loss(model(INPUTS[batch]), TARGETS[batch]).backward()
        optimizer.step()


def watched(model, optimizer, steps=4, loss=cross_entropy, data=DATA, **options):
    with watch(model, optimizer, loss, data, points=4, **options) as watcher:
        train(model, optimizer, steps, loss)
    return watcher.trace


def same_training(make, loss=lambda: cross_entropy, data=DATA):
    """The parameters at the end, with a watch and without one."""
    ends = []
    for with_watch in (True, False):
        with random_states(seed=1):
            model, own = make(), loss()
            if with_watch:
                watched(model, sgd(model), loss=own, data=data)
            else:
                train(model, sgd(model), loss=own)
            ends.append([parameter.detach() for parameter in model.parameters()])
    return all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# Precision ----------------------------------------------------------------------------------------


def test_a_step_within_autocast_is_measured_along_its_segment():
    models = network(), network()
    plain, cast = (watch(each, sgd(each), cross_entropy, DATA, points=4) for each in models)
    for watcher, model, inside in ((plain, models[0], False), (cast, models[1], True)):
        (optimizer,) = watcher.optimizers
        with watcher:
            for _ in range(3):
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=True):
                    cross_entropy(model(INPUTS), TARGETS).backward()
                    if inside:
                        optimizer.step()
                if not inside:
                    optimizer.step()
    np.testing.assert_array_equal(cast.trace["loss"], plain.trace["loss"])
    assert len(np.unique(cast.trace["loss"][0])) == 5, "a curve, not one number"


def test_a_loss_under_autocast_is_that_in_float32():
    evaluate = Evaluator(network(), cross_entropy, [DATA])
    nothing = [torch.zeros_like(parameter) for parameter in evaluate.model.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        assert evaluate(nothing) == pytest.approx(math.log(3), rel=1e-6)
        assert torch.is_autocast_enabled("cpu")


def test_no_precision_of_the_user_is_left_on_inside():
    mkldnn, cudnn = torch.backends.mkldnn, torch.backends.cudnn
    backends = (mkldnn.matmul, mkldnn.conv, mkldnn.rnn, cudnn.conv, cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert mkldnn.matmul.fp32_precision == "bf16"
        with exact_float32():
            assert {backend.fp32_precision for backend in backends} == {"ieee"}
        assert mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(precision)
        mkldnn.matmul.fp32_precision = before[0]
    assert [backend.fp32_precision for backend in backends] == before


@pytest.mark.parametrize("allowed", [False, True])
def test_a_model_may_set_flags_of_cudnn(allowed):
    """As a recurrent one does, which is to be differentiated twice, and many a loss by CTC."""
    cudnn = torch.backends.cudnn

    class Flagged(nn.Linear):
        def forward(self, inputs):
            with cudnn.flags(enabled=False):
                return super().forward(inputs)

    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = allowed
        parts = cudnn, cudnn.conv, cudnn.rnn
        settings = [part.fp32_precision for part in parts]
        assert same_training(lambda: Flagged(5, 3))
        assert cudnn.allow_tf32 == allowed
        assert [part.fp32_precision for part in parts] == settings
        cudnn.conv.fp32_precision = "tf32"
        cudnn.rnn.fp32_precision = "ieee"
        with exact_float32():
            assert cudnn.conv.fp32_precision == "ieee"
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("tf32", "ieee")
    finally:
        cudnn.allow_tf32 = before


# Random states ------------------------------------------------------------------------------------


class Drawing(nn.Module):
    """Leaves a layer out by chance, whatever its mode."""

    def __init__(self, draw):
        super().__init__()
        self.layer, self.draw = network(), draw

    def forward(self, inputs):
        return self.layer(inputs) * (2.0 if self.draw() < 0.5 else 1.0)


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(()).item()])
def test_what_a_forward_pass_draws_moves_no_training(draw):
    assert same_training(lambda: Drawing(draw))
    evaluate = Evaluator(Drawing(draw), cross_entropy, [DATA] * 8)
    assert len({evaluate() for _ in range(5)}) == 1, "a frozen plan draws the same"


@pytest.mark.parametrize("where", ["loader", "sampler"])
def test_a_loader_that_shuffles_by_its_own_generator_goes_on_where_it_was(where):
    def drawn(measure):
        generator = torch.Generator().manual_seed(3)
        images = torch.utils.data.TensorDataset(*DATA)
        if where == "loader":
            options = {"shuffle": True, "generator": generator}
        else:
            options = {"sampler": torch.utils.data.RandomSampler(images, generator=generator)}
        loader = torch.utils.data.DataLoader(images, batch_size=6, **options)
        if measure:
            model = network()
            watch(model, sgd(model), cross_entropy, loader)
        return torch.cat([targets for _, targets in loader])

    assert torch.equal(drawn(True), drawn(False))


def test_no_accelerator_but_the_model_s_own_is_seeded(monkeypatch):
    def seeded(*_):
        raise AssertionError("an accelerator on which nothing is measured")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    monkeypatch.setattr(torch.mps, "manual_seed", seeded)
    assert Evaluator(network(), cross_entropy, [DATA])() > 0


# Losses and buffers -------------------------------------------------------------------------------


class Centred(nn.Module):
    """A loss that keeps a running mean of the outputs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))

    def forward(self, output, target):
        self.centre.lerp_(output.detach().mean(0), 0.5)
        return cross_entropy(output - self.centre, target)


class Weighted(nn.Module):
    """A loss with a parameter of its own, which the training moves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, output, target):
        return cross_entropy(output, target) * self.weight.exp() + self.weight**2


def test_a_loss_with_a_buffer_trains_the_same():
    assert same_training(network, Centred)


def test_a_loss_that_has_moved_is_measured_anew():
    model, loss, fresh = network(), Weighted(), []
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.5)
    with watch(model, optimizer, loss, DATA, points=2) as watcher:
        for _ in range(4):
            optimizer.zero_grad()
            loss(model(INPUTS), TARGETS).backward()
            before = [parameter.detach().clone() for parameter in model.parameters()]
            optimizer.step()
            fresh.append(Evaluator(model, loss, [DATA])(before))
    np.testing.assert_allclose(watcher.trace["loss"][:, 0], fresh, rtol=1e-6)


class Scaled(nn.Module):
    """A number by which the training scales the network's outputs, or the loss."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, 1.0

    def forward(self, *inputs):
        return self.inner(*inputs) * self.scale


@pytest.mark.parametrize("which", ["network", "part of the network", "loss"])
def test_a_number_that_the_training_changes_is_seen(which):
    part, loss, losses = Scaled(network()), Scaled(nn.CrossEntropyLoss()), []
    model = part if which == "network" else nn.Sequential(part)
    changed = loss if which == "loss" else part
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watch(model, optimizer, loss, DATA, points=2) as watcher:
        for _ in range(3):
            changed.scale *= 2
            losses.append(float(watcher.evaluate()))
            optimizer.zero_grad()
            loss(model(INPUTS), TARGETS).backward()
            optimizer.step()
    np.testing.assert_allclose(watcher.trace["loss"][:, 0], losses, rtol=1e-6)


def test_a_frozen_parameter_that_is_written_to_through_data_is_seen():
    model, fresh = network(), []
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    with watch(model, optimizer, cross_entropy, DATA, points=2) as watcher:
        for _ in range(4):
            train(model, optimizer, steps=1)
            model[0].weight.data.mul_(0.9)
            before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
            fresh.append(Evaluator(model, cross_entropy, [DATA])(before))
    loss = watcher.trace["loss"].values
    np.testing.assert_allclose(loss[1:, 0], fresh[:-1], rtol=1e-6)
    assert (loss[1:, 0] != loss[:-1, -1]).all()


def test_a_frozen_parameter_of_eight_bits_is_no_hindrance():
    class Coarse(nn.Module):
        def __init__(self):
            super().__init__()
            weight = torch.randn(5, 5).to(torch.float8_e4m3fn)
            self.weight = nn.Parameter(weight, requires_grad=False)
            self.head = nn.Linear(5, 3)

        def forward(self, inputs):
            return self.head(inputs @ self.weight.float())

    assert same_training(Coarse)


def test_a_backward_pass_that_is_yet_to_come_finds_its_buffers():
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 5)
            self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1, 0]))
            self.register_buffer("ones", torch.ones(1).expand(5))

        def forward(self, inputs):
            return self.layer(inputs) * self.mask * self.ones

    model = nn.Sequential(Body(), nn.Linear(5, 3))
    head, body = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[1], model[0]))
    with watch(model, head, cross_entropy, DATA, points=2):
        features = model[0](INPUTS)
        cross_entropy(model[1](features.detach()), TARGETS).backward()
        head.step()
        features.square().mean().backward()
        body.step()


# Hooks on gradients -------------------------------------------------------------------------------


def clip(gradient):
    return gradient.clamp(-0.01, 0.01)


@pytest.mark.parametrize("where", ["parameter", "module", "module, before", "shared parameter"])
def test_a_hessian_knows_nothing_of_hooks_on_gradients(where):
    """Nor do they learn of it: of a backward pass of the training they are called once."""
    model, called = network(), []
    if where == "shared parameter":
        model = nn.Sequential(model[0], model[1], nn.Linear(8, 8), nn.Linear(8, 8))
        model[3].weight = model[2].weight
    batches = list(zip(INPUTS.split(6), TARGETS.split(6), strict=True))
    evaluate = Evaluator(model, cross_entropy, batches)

    def seen():
        return [probe(evaluate) for probe in (Curvature(), NoiseAlignment(directions=1))]

    plain = seen()

    def on_a_module(module, gradients, *_):
        called.append(module)
        return tuple(map(clip, gradients))

    if "parameter" in where:
        handle = model[2].weight.register_hook(lambda g: called.append(g) or clip(g))
    elif where == "module":
        handle = model[2].register_full_backward_hook(on_a_module)
    else:
        handle = model[2].register_full_backward_pre_hook(on_a_module)
    assert seen() == plain
    assert not called
    cross_entropy(model(INPUTS), TARGETS).backward()
    assert len(called) == 1
    handle.remove()
    evaluate()
    cross_entropy(model(INPUTS), TARGETS).backward()
    assert len(called) == 1, "it is gone"


# Optimizers ---------------------------------------------------------------------------------------


def test_the_cosine_is_that_of_the_gradients_where_a_step_writes_into_them():
    traces = []
    for foreach in (False, True):
        model = network()
        optimizer = sgd(model, momentum=0.9, nesterov=True, foreach=foreach)
        assert writes_into_gradients(optimizer) == foreach
        traces.append(watched(model, optimizer))
    for name in ("cosine", "loss"):
        np.testing.assert_allclose(*(trace[name].values for trace in traces), rtol=1e-5)
    model = network()
    optimizer = sgd(model, momentum=0.9, nesterov=True, foreach=True)
    with (
        watch(model, optimizer, cross_entropy, DATA),
        pytest.raises(RuntimeError, match="foreach=False"),
    ):
        optimizer.step(lambda: cross_entropy(model(INPUTS), TARGETS))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_skips_is_marked_for_a_fused_optimizer_too(fused):
    model = network()
    optimizer = sgd(model, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with watch(model, optimizer, cross_entropy, DATA, points=2, scaler=scaler) as watcher:
        for factor in (1, 1, math.inf, 1):
            optimizer.zero_grad()
            scaler.scale(cross_entropy(model(INPUTS), TARGETS) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
    assert watcher.trace["skipped"].values.tolist() == [0, 0, 1, 0]
    length = watcher.trace["step_length"].values
    assert np.isnan(length).tolist() == [False, False, True, False]
    assert np.isfinite(watcher.trace["cosine"].values).tolist() == [False, True, False, True]


@pytest.mark.parametrize("first_out", [0, 1])
def test_two_watches_share_a_scaler(first_out):
    model = network()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=2.0)
    watchers = [
        watch(model, optimizer, cross_entropy, data, points=2, scaler=scaler)
        for data in (DATA, (INPUTS[:12], TARGETS[:12]))
    ]

    def step(factor):
        optimizer.zero_grad()
        scaler.scale(cross_entropy(model(INPUTS), TARGETS) * factor).backward()
        scaler.step(optimizer)
        scaler.update()

    for watcher in watchers:
        watcher.__enter__()
    step(1)
    step(math.inf)
    watchers[first_out].__exit__(None, None, None)
    step(math.inf)
    watchers[1 - first_out].__exit__(None, None, None)
    step(math.inf)
    skipped = [watcher.trace["skipped"].values.tolist() for watcher in watchers]
    assert skipped[first_out] == [0, 1]
    assert skipped[1 - first_out] == [0, 1, 1]


class Lookahead(torch.optim.Optimizer):
    """Goes back halfway after each other step of the optimizer that it holds."""

    def __init__(self, inside):
        self.optimizer = inside
        super().__init__([*inside.param_groups[0]["params"]], {})
        self.slow = [p.detach().clone() for p in self.param_groups[0]["params"]]
        self.steps = 0

    def step(self, closure=None):
        self.optimizer.step()
        self.steps += 1
        if self.steps % 2 == 0:
            for slow, fast in zip(self.slow, self.param_groups[0]["params"], strict=True):
                slow.lerp_(fast.detach(), 0.5)
                fast.data.copy_(slow)


def test_an_optimizer_that_holds_another_is_watched_to_the_end_of_its_step():
    model = network()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Lookahead(sgd(model))
    assert stepping(optimizer) is optimizer
    distances = []
    with watch(model, optimizer, cross_entropy, DATA, points=2) as watcher:
        for _ in range(4):
            train(model, optimizer, steps=1)
            squares = [
                ((p.detach() - s) ** 2).sum()
                for p, s in zip(model.parameters(), start, strict=True)
            ]
            distances.append(math.sqrt(sum(squares)))
    np.testing.assert_allclose(watcher.trace["distance"], distances, rtol=1e-5)


# Curvature, and what is compiled or synchronised --------------------------------------------------


def test_a_hessian_of_attention():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, inputs):
            return self.out(self.layer(inputs).mean(1))

    with random_states(seed=0):
        model = Attention()
    data = (torch.randn(6, 7, 4, generator=torch.Generator().manual_seed(1)), TARGETS[:6])
    evaluate = Evaluator(model, cross_entropy, [data])
    parameters = [*model.parameters()]
    along = [torch.ones_like(parameter) for parameter in parameters]
    found = hessian_vector_product(evaluate, along)
    # By finite differences of the gradient, in float64.
    exact = copy.deepcopy(model).double()

    def gradient(shift):
        moved = copy.deepcopy(exact)
        with torch.no_grad():
            for parameter in moved.parameters():
                parameter.add_(shift)
        loss = cross_entropy(moved(data[0].double()), data[1])
        return torch.autograd.grad(loss, [*moved.parameters()])

    pairs = zip(found, gradient(1e-5), gradient(-1e-5), strict=True)
    for product, up, down in pairs:
        torch.testing.assert_close(product.double(), (up - down) / 2e-5, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("what", ["whole", "in place", "a part"])
def test_a_compiled_network_is_measured_as_it_is(what):
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph

    class Whole(nn.Module):  # Torch compiles no `forward` of its own in place.
        def __init__(self):
            super().__init__()
            self.layer, self.last = network(), nn.Identity()

        def forward(self, inputs):
            return self.last(self.layer(inputs).tanh())

    model = Whole()
    given = model
    if what == "whole":
        given = torch.compile(model, backend=backend)
    elif what == "in place":
        model.compile(backend=backend)
    else:
        model.layer = torch.compile(model.layer, backend=backend)
    before = Evaluator(Whole(), cross_entropy, [DATA])()
    assert Evaluator(model, cross_entropy, [DATA])() == before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watch(given, sgd(model), cross_entropy, DATA, iterate_probes=[Curvature()])
        found = Curvature()(Evaluator(model, cross_entropy, [DATA]))
    assert compiled == [], "nothing is compiled for a measurement"
    assert found["hessian_max"] > 0
    given(INPUTS)
    assert compiled, "and the training goes on compiled"


def test_synchronised_batch_norm_is_measured_by_this_process_alone():
    # Torch's own refuses to run on a CPU; and it would wait for processes that do not measure.
    with random_states(seed=0):
        alone = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(alone))
    losses = [Evaluator(model, cross_entropy, [DATA])() for model in (alone, synchronised)]
    assert losses[0] == losses[1]
    assert "forward" not in vars(synchronised[1])


def test_complex_parameters_are_refused():
    model = nn.Linear(3, 2, dtype=torch.complex64)
    with pytest.raises(ValueError, match="parameter 'weight' is complex, and distances"):
        watch(model, sgd(model), cross_entropy, DATA)


def test_any_seed_of_an_experiment_can_be_set():
    with random_states(seed=2**63 - 1):
        first = torch.rand(3)
    with random_states(seed=2**63 - 1):
        assert torch.equal(torch.rand(3), first)
