"""Any training loop: what it trains is bit for bit the same with and without a watch."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk import analysis, open_stream, watch
from valleywalk.callback import Watching
from valleywalk.evaluation import Evaluator

cross_entropy = nn.functional.cross_entropy


class Momentum(torch.optim.Optimizer):
    """Somebody's own optimizer: the sign of a running mean."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 0.1)
                parameter.sub_(mean.sign(), alpha=group["lr"])


def groups(model):
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "lr": 1e-2}]
    )


OPTIMIZERS = {
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda m: torch.optim.Adam(m.parameters()),
    "groups": groups,
    "own": lambda m: Momentum(m.parameters()),
    "foreach": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, foreach=True),
}


def plain_loop(model, optimizer, images, watching):
    inputs, targets = images
    with watching(optimizer):
        for step in range(5):
            chosen = slice(8 * step, 8 * step + 8)
            optimizer.zero_grad()
            cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()


def accumulating(model, optimizer, images, watching):
    """Two batches a step, clipped, with a schedule."""
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    with watching(optimizer):
        for step in range(5):
            optimizer.zero_grad()
            for inputs, targets in zip(images[0].split(20), images[1].split(20), strict=True):
                (cross_entropy(model(inputs), targets) / 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1 * (step + 1))
            optimizer.step()
            schedule.step()


def with_closure(model, optimizer, images, watching):
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(images[0]), images[1])
        loss.backward()
        return loss

    with watching(optimizer):
        for _ in range(5):
            optimizer.step(closure)


def two_optimizers(model, optimizer, images, watching):
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    rest = [p for part in model[1:] for p in part.parameters()]
    second = torch.optim.Adam(rest)
    with watching([first, second]):
        for _ in range(5):
            cross_entropy(model(images[0]), images[1]).backward()
            first.step()
            second.step()
            first.zero_grad()
            second.zero_grad()


LOOPS = {f"{name}": (plain_loop, make) for name, make in OPTIMIZERS.items()} | {
    "accumulating": (accumulating, OPTIMIZERS["momentum"]),
    "closure": (with_closure, OPTIMIZERS["momentum"]),
    "two optimizers": (two_optimizers, OPTIMIZERS["momentum"]),
}


class NoWatch:
    """In place of a watch."""

    def __init__(self, optimizer):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize(("loop", "make"), LOOPS.values(), ids=LOOPS)
def test_a_loop_is_not_disturbed(network, images, loop, make):
    network.insert(3, nn.Dropout(0.5))
    twin = copy.deepcopy(network)
    seen = []

    def watching(optimizer):
        seen.append(watch(network, optimizer, cross_entropy, images, batch_size=16, points=4))
        return seen[-1]

    torch.manual_seed(1)
    loop(network, make(network), images, watching)
    random = torch.get_rng_state()
    torch.manual_seed(1)
    loop(twin, make(twin), images, NoWatch)
    assert torch.equal(random, torch.get_rng_state())
    state, expected = network.state_dict(), twin.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    trace = seen[0].trace
    assert len(trace["iteration"]) == 5
    assert np.isfinite(trace["loss"]).all()
    assert (trace["loss"].values[1:, 0] == trace["loss"].values[:-1, -1]).all()


class Tied(nn.Module):
    """Predicts the next of 11 tokens; the same matrix reads and writes them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 6)
        self.inner = nn.Linear(6, 6)
        self.output = nn.Linear(6, 11, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens, mask):
        return self.output(torch.tanh(self.inner(self.embedding(tokens) * mask[..., None])))


def test_dict_batches_and_tied_weights():
    """As Hugging Face has them: the batch is the model's arguments and the loss's target."""
    model = Tied()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 11, (24, 5), generator=generator)
    batches = [{"tokens": t, "mask": torch.ones(8, 5)} for t in tokens.split(8)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def loss(output, batch):
        return cross_entropy(output[:, :-1].flatten(0, 1), batch["tokens"][:, 1:].flatten())

    with watch(model, optimizer, loss, batches) as watcher:
        for batch in batches * 3:
            optimizer.zero_grad()
            loss(model(**batch), batch).backward()
            optimizer.step()
    assert len(watcher.parameters) == 3, "the shared matrix counts once"
    trace = watcher.trace
    assert trace["loss"].values[-1, -1] < trace["loss"].values[0, 0]
    with torch.no_grad():
        expected = np.mean([loss(model(**batch), batch).item() for batch in batches])
    assert trace["loss"].values[-1, -1] == pytest.approx(expected, rel=1e-6)


def test_inputs_of_several_parts():
    model = nn.Bilinear(3, 4, 2)
    parts = (torch.randn(6, 3), torch.randn(6, 4))
    targets = torch.randint(0, 2, (6,))
    evaluate = Evaluator(model, cross_entropy, [(parts, targets)])
    assert evaluate() == pytest.approx(cross_entropy(model(*parts), targets).item())


@pytest.mark.parametrize(
    ("steps", "measured"),
    [
        (2, [0, 2, 4]),
        (range(1, 3), [1, 2]),
        ({0, 4}, [0, 4]),
        (lambda iteration: iteration == 3, [3]),
        (None, [0, 1, 2, 3, 4]),
    ],
)
def test_which_steps_are_measured(network, images, steps, measured):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watcher = watch(network, optimizer, cross_entropy, images, steps=steps)
    plain_loop(network, optimizer, images, lambda _: watcher)
    assert np.flatnonzero(analysis.measured(watcher.trace["loss"].values)).tolist() == measured


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1.5}, "steps is 1.5; give a number, a range or set, or a function"),
        ({"evaluation_data": [(1, 2, 3)]}, "3 parts; give"),
    ],
)
def test_bad_choices_are_refused_at_entry(network, images, change, message):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    given = {"loss": cross_entropy, "evaluation_data": images} | change
    with pytest.raises(ValueError, match=message):
        watch(network, optimizer, **given)


def test_steps_that_a_gradient_scaler_skips_are_marked(network, images):
    twin = copy.deepcopy(network)

    def loop(model, watched):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        watcher = watch(model, optimizer, cross_entropy, images, scaler=scaler)
        with watcher if watched else NoWatch(None):
            for step in range(5):
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    loss = cross_entropy(model(images[0]), images[1])
                # An overflow, as float16 has them.
                scaler.scale(loss * (float("inf") if step == 2 else 1)).backward()
                scaler.step(optimizer)
                scaler.update()
        assert scaler.step.__func__ is torch.amp.GradScaler.step
        return watcher

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = loop(network, True).trace
        loop(twin, False)
    assert trace["skipped"].values.tolist() == [0, 0, 1, 0, 0]
    assert np.isnan(trace["distance"].values).tolist() == [False, False, True, False, False]
    assert np.isfinite(trace["loss"].values[[0, 1, 3, 4]]).all()
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_scaler_of_two_networks_of_which_one_is_watched(network, images):
    """As a generator's beside a discriminator's; the step of the other one is not skipped."""
    networks = (network, copy.deepcopy(network))
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in networks]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with watch(network, optimizers[0], cross_entropy, images, points=2, scaler=scaler) as watcher:
        for factor in (1, float("inf"), 1):
            for model, optimizer in zip(networks, optimizers, strict=True):
                optimizer.zero_grad()
                scaler.scale(cross_entropy(model(images[0]), images[1]) * factor).backward()
                scaler.step(optimizer)
            scaler.update()
    assert watcher.trace["skipped"].values.tolist() == [0, 1, 0]


def test_a_second_training_with_a_gradient_scaler(network, images):
    """Its watch ends the first one's again, which has ended already."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    watching = Watching(cross_entropy, images, points=2)
    for steps in (2, 1):
        watching.begin(network, optimizer, scaler)
        for _ in range(steps):
            scaler.scale(cross_entropy(network(images[0]), images[1])).backward()
            scaler.step(optimizer)
            scaler.update()
        watching.end()
        watching.end()
        assert watching.trace["skipped"].values.tolist() == [0] * steps
    assert scaler.step.__func__ is torch.amp.GradScaler.step


def test_a_compiled_model_is_measured_without_compiling(network, images):
    compiled = torch.compile(network, backend="eager")
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    watcher = watch(compiled, optimizer, cross_entropy, images)
    assert watcher.evaluate.model is network
    plain_loop(compiled, optimizer, images, lambda _: watcher)
    assert np.isfinite(watcher.trace["loss"]).all()


def test_parameters_that_are_replaced_are_said(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watcher = watch(network, optimizer, cross_entropy, images)

    def replacing(_):
        network[0].weight = nn.Parameter(network[0].weight.detach().clone())
        return watcher

    with pytest.raises(RuntimeError, match="others than when the watch began"):
        plain_loop(network, optimizer, images, replacing)


def test_a_probe_of_one_s_own(network, images):
    class Sparsity:
        """Share of the parameters that a step leaves where they were."""

        def __call__(self, step):
            same = sum(int((a == b).sum()) for a, b in zip(step.before, step.after, strict=True))
            return {"sparsity": same / sum(a.numel() for a in step.after)}

    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    watcher = watch(network, optimizer, cross_entropy, images, probes=[Sparsity()])
    plain_loop(network, optimizer, images, lambda _: watcher)
    assert watcher.trace["sparsity"].values.tolist() == [1.0] * 5


def one_rank(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    inputs, targets = torch.randn(40, 6), torch.randint(0, 3, (40,))
    model = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    into = {"stream": f"{folder}/walk.jsonl", "sinks": [lambda *given: told.append(given)]}
    with watch(model, optimizer, cross_entropy, (inputs, targets), **into) as watcher:
        for step in range(4):
            mine = slice(10 * step + 5 * rank, 10 * step + 5 * rank + 5)
            optimizer.zero_grad()
            cross_entropy(model(inputs[mine]), targets[mine]).backward()
            optimizer.step()
    assert len(watcher.seen) == len(told) == (0 if rank else 4)
    if not rank:
        watcher.trace.to_netcdf(f"{folder}/trace.nc", engine="h5netcdf")
    torch.save([p.detach() for p in network.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_of_several_ranks_the_first_records(tmp_path):
    torch.multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=2)
    import xarray as xr

    with xr.open_dataset(tmp_path / "trace.nc", engine="h5netcdf") as trace:
        assert np.isfinite(trace["loss"]).all()
        assert open_stream(tmp_path / "walk.jsonl")["loss"].identical(trace["loss"].load())
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
