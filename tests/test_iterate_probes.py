"""Probes of where the model stands, on a loop of one's own."""

import copy

import numpy as np
import pytest
import torch
from conftest import Landscape
from torch import nn

from valleywalk import watch
from valleywalk.evaluation import Evaluator, cross_entropy
from valleywalk.probes.accuracy import LossAndAccuracy, LossNoise
from valleywalk.probes.curvature import Curvature, PowerIteration, extremes
from valleywalk.probes.noise_structure import NoiseAlignment

EIGENVALUES = [7.0, 2.0, 0.5, -1.5]


def quadratic():
    """A model whose loss is ½ θᵀAθ, A of these eigenvalues."""
    generator = torch.Generator().manual_seed(3)
    basis, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.tensor(EIGENVALUES, dtype=torch.float64)) @ basis.T
    return Landscape([1.0, -1.0, 0.5, 2.0]), lambda output, target: output @ matrix @ output / 2


def test_curvature_along_a_watch_is_the_known_eigenvalue_of_a_quadratic():
    model, loss = quadratic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data, probes = (torch.zeros(3, 1), torch.zeros(3)), [Curvature(), PowerIteration()]
    with watch(model, optimizer, loss, data, iterate_probes=probes[:1], every=5) as watcher:
        for _ in range(12):
            optimizer.zero_grad()
            loss(model.theta, None).backward()
            optimizer.step()
    trace = watcher.trace
    for name, value in (("hessian_max", 7.0), ("hessian_min", -1.5)):
        assert trace[name].dims == ("iteration",)
        assert trace[name].attrs["units"] == "nat"
        seen = trace[name].values
        assert np.flatnonzero(~np.isnan(seen)).tolist() == [0, 5, 10]
        assert seen[::5] == pytest.approx(value, rel=1e-3)
    assert (trace["hessian_residual"].values[::5] <= 1e-3).all()
    power = probes[1](watcher.evaluate)
    assert power["hessian_max"] == pytest.approx(7.0, rel=1e-3)


@pytest.fixture
def dropping(network):
    """The small network with a layer of dropout."""
    return nn.Sequential(*network[:4], nn.Dropout(0.3), network[4])


def train(model, images, labels, steps, probes=(), state=None, seed=5):
    """Adam on random batches under watch; gives the watch, and the random state at the end."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(seed)
    np.random.seed(seed)
    data = [(images[:10], labels[:10]), (images[10:20], labels[10:20])]
    watcher = watch(
        model,
        optimizer,
        cross_entropy,
        data,
        points=2,
        iterate_probes=probes,
        every=range(1, 90, 2),
    )
    with watcher:
        for _ in range(steps):
            chosen = torch.randperm(len(images))[:10]
            optimizer.zero_grad()
            cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return watcher


def all_probes(images, labels):
    few = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)]
    plans = [few, few[::-1], [(images[::2], labels[::2])]]
    return [
        Curvature(few[:2]),
        NoiseAlignment(few, directions=2),
        LossAndAccuracy("train"),
        LossAndAccuracy("validation", few, batch_norm="eval"),
        LossNoise(plans),
    ]


def test_they_never_disturb_the_walk(dropping, images):
    plain, probed = dropping, copy.deepcopy(dropping)
    without = train(plain, *images, 6)
    random = torch.get_rng_state(), np.random.get_state()[1].tolist()
    within = train(probed, *images, 6, all_probes(*images))
    assert torch.equal(random[0], torch.get_rng_state())
    assert random[1] == np.random.get_state()[1].tolist()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, probed.state_dict()[name]), name
    for one, other in zip(plain.parameters(), probed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    modes = [[module.training for module in model.modules()] for model in (plain, probed)]
    assert modes[0] == modes[1]
    seen = within.trace
    for name, values in without.trace.items():
        assert values.identical(seen[name])
    for name in ("hessian_max", "noise_overlap", "train_loss", "validation_accuracy", "loss_noise"):
        assert np.isnan(seen[name].values).tolist() == [True, False] * 3


def test_what_they_see_is_what_is_measured_by_hand(network, images):
    evaluate = Evaluator(network, cross_entropy, [images])
    halves = [(images[0][:20], images[1][:20]), (images[0][20:], images[1][20:])]
    losses = [Evaluator(network, cross_entropy, [half])() for half in halves]
    seen = LossNoise([[half] for half in halves])(evaluate)["loss_noise"]
    assert seen == pytest.approx(np.std(losses, ddof=1))
    assert evaluate.on(halves)() == pytest.approx(np.mean(losses))
    assert evaluate.on(halves).batch_norm == "train"
    network.eval()
    with torch.no_grad():
        output = network(images[0])
    seen = LossAndAccuracy("validation", batch_norm="eval")(evaluate)
    assert seen["validation_loss"] == pytest.approx(float(cross_entropy(output, images[1])))
    share = (output.argmax(dim=1) == images[1]).double().mean()
    assert seen["validation_accuracy"] == pytest.approx(float(share))


def test_each_search_begins_where_the_last_one_ended(network, images):
    evaluate, probe = Evaluator(network, cross_entropy, [images]), Curvature()
    first = probe(evaluate)
    known = probe.state()["eigenvectors"]
    assert known.shape == (2, sum(p.numel() for p in network.parameters()))
    again = extremes(evaluate, start=known.numpy())
    assert again.products < extremes(evaluate).products
    assert probe(evaluate)["hessian_max"] == again.largest
    other = Curvature()
    other.restore(Curvature().state())
    assert other(evaluate) == first


def test_a_resumed_watch_sees_the_same_to_the_last_bit(network, images):
    """Stopped in its midst: model, optimizer and random state are kept as one keeps them."""
    whole = train(copy.deepcopy(network), *images, 9, [Curvature()]).trace

    def begin(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        data = [(images[0][i : i + 10], images[1][i : i + 10]) for i in (0, 10)]
        options = {"iterate_probes": [Curvature()], "every": range(1, 90, 2), "points": 2}
        return optimizer, watch(model, optimizer, cross_entropy, data, **options)

    def go(model, optimizer, steps):
        for _ in range(steps):
            chosen = torch.randperm(40)[:10]
            optimizer.zero_grad()
            cross_entropy(model(images[0][chosen]), images[1][chosen]).backward()
            optimizer.step()

    first = copy.deepcopy(network)
    optimizer, watcher = begin(first)
    torch.manual_seed(5)
    with watcher:
        go(first, optimizer, 4)
    tensors, values = copy.deepcopy(watcher.state())
    assert tensors["iterate_probe.0.eigenvectors"].shape[0] == 2
    kept = copy.deepcopy((first.state_dict(), optimizer.state_dict())), torch.get_rng_state()
    second = copy.deepcopy(network)
    optimizer, watcher = begin(second)
    with watcher:
        second.load_state_dict(kept[0][0])
        optimizer.load_state_dict(kept[0][1])
        torch.set_rng_state(kept[1])
        watcher.restore(tensors, values)
        go(second, optimizer, 5)
    assert watcher.trace.drop_attrs().identical(whole.drop_attrs())


def test_a_training_that_diverges_goes_on_with_its_probes(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    probes = [Curvature(), NoiseAlignment(directions=1)]
    batches = list(zip(images[0].split(8), images[1].split(8), strict=True))
    with watch(network, optimizer, cross_entropy, batches, iterate_probes=probes) as watcher:
        for rate in (0.1, 1e30, 0.1):
            optimizer.zero_grad()
            cross_entropy(network(images[0]), images[1]).backward()
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    for name in ("hessian_max", "hessian_min", "hessian_residual", "noise_overlap"):
        assert np.isfinite(watcher.trace[name].values).tolist() == [True, False, False], name


def test_every_is_checked_by_name(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="every is 0; measure every so many steps"):
        watch(network, optimizer, cross_entropy, images, iterate_probes=[Curvature()], every=0)
