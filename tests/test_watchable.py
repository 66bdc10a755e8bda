"""What a watch cannot look at, or can although it might not seem so, with torch's own classes."""

import copy

import numpy as np
import pytest
import torch
from distributed_models import group_of_one, network, overlapping, sharded
from torch import nn

from valleywalk import watch

cross_entropy = nn.functional.cross_entropy
INPUTS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
DATA = (INPUTS, torch.arange(12) % 3)
PARTS = "each process holds a part of it, and none can measure a loss alone; watch the same"


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    if not torch.distributed.is_available():
        pytest.skip("needs torch.distributed")
    with group_of_one(tmp_path_factory.mktemp("group")):
        yield


def watched(model, optimizer, steps=3, **options):
    """Three steps under watch, against the same ones without."""
    watcher = watch(model, optimizer, cross_entropy, DATA, points=2, **options)
    with watcher:
        train(model, optimizer, steps)
    return watcher.trace


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(DATA[0]), DATA[1]).backward()
        optimizer.step()


def assert_it_walks(trace, model):
    """Each segment begins where the one before ends, and the last one ends at the model."""
    loss = trace["loss"].values
    assert (loss[1:, 0] == loss[:-1, -1]).all()
    assert len(np.unique(loss)) == 7
    with torch.no_grad():
        assert loss[-1, -1] == pytest.approx(
            cross_entropy(model(DATA[0]), DATA[1]).item(), rel=1e-6
        )
    assert np.isfinite(trace["cosine"].values[1:]).all()


# Refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("FSDP", "flattened by FullyShardedDataParallel"),
        ("FSDP, original parameters", "flattened by FullyShardedDataParallel"),
        ("FSDP, original parameters, the inside", "flattened by FullyShardedDataParallel"),
        ("fully_shard", "'0.weight' is a DTensor, as fully_shard"),
        ("tensor parallel", "'2.weight' is a DTensor"),
    ],
)
def test_sharded_parameters(group, way, said):
    model = sharded(way)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"{said}.*: {PARTS}"):
        watch(model, optimizer, cross_entropy, DATA)


def test_parameters_without_values():
    model = network().to("meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"'0\.weight' is on the meta device, without values"):
        watch(model, optimizer, cross_entropy, DATA)
    model.to_empty(device="cpu")
    model.load_state_dict(network().state_dict())
    assert_it_walks(watched(model, torch.optim.SGD(model.parameters(), lr=0.1)), model)


def test_torchs_optimizers_in_backward(group):
    from torch.distributed.optim import _apply_optimizer_in_backward, _get_in_backward_optimizers

    model = network()
    _apply_optimizer_in_backward(torch.optim.SGD, model.parameters(), {"lr": 0.1})
    with pytest.raises(ValueError, match=r"has an optimizer that steps within backward.*let back"):
        watch(model, _get_in_backward_optimizers(model), cross_entropy, DATA)


def hooked(model):
    """An optimizer a parameter, that steps as soon as the gradient is there and frees it."""
    optimizers = {}

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in reversed(list(model.parameters())):
        optimizers[parameter] = torch.optim.SGD([parameter], lr=0.1)
        parameter.register_post_accumulate_grad_hook(step)
    return list(optimizers.values())


def test_somebody_s_optimizers_in_backward():
    """What cannot be known before is said at the first step."""
    model = network()
    optimizers = hooked(model)
    with (
        watch(model, optimizers, cross_entropy, DATA) as watcher,
        pytest.raises(RuntimeError, match="the optimizer steps within backward, where a parameter"),
    ):
        cross_entropy(model(DATA[0]), DATA[1]).backward()
    assert not watcher.seen


def test_an_optimizer_that_overlaps_with_backward(group):
    model = network()
    with pytest.raises(ValueError, match=r"overlap_with_ddp=True steps within .*_ddp=False"):
        watch(model, overlapping(model), cross_entropy, DATA)


def test_an_optimizer_of_copies():
    """As of master weights in float32 for a model in half precision."""
    model = network().bfloat16()
    master = [nn.Parameter(p.detach().float()) for p in model.parameters()]
    with pytest.raises(ValueError, match="made of its own parameters and not of copies"):
        watch(model, torch.optim.SGD(master, lr=0.1), cross_entropy, DATA)


def test_an_optimizer_that_is_given_other_parameters_meanwhile():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    with watch(model, optimizer, cross_entropy, DATA) as watcher:
        train(model, optimizer, 1)
        others = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
        optimizer.param_groups[0]["params"] = others
        with pytest.raises(ValueError, match="holds none of the model's trainable parameters"):
            train(model, optimizer, 1)
    assert watcher.trace.sizes["iteration"] == 1


def test_optimizers_that_step_in_another_order():
    model = network()
    first, second = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0], model[2]))
    with watch(model, [first, second], cross_entropy, DATA) as watcher:
        cross_entropy(model(DATA[0]), DATA[1]).backward()
        for _ in range(2):
            first.step()
            second.step()
        with pytest.raises(RuntimeError, match="has stepped before the first one; give the optim"):
            second.step()
    assert watcher.trace.sizes["iteration"] == 2


def test_a_scaler_for_several_optimizers():
    """It may skip one's step and not the other's."""
    model = network()
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[0], model[2])]
    with pytest.raises(ValueError, match="there are 2 optimizers and a scaler"):
        watch(model, optimizers, cross_entropy, DATA, scaler=torch.amp.GradScaler("cpu"))


# Watched ------------------------------------------------------------------------------------------


class Replacing(torch.optim.Optimizer):
    """Puts new values in place of the old ones, rather than writing into them."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.data = parameter.data - 0.1 * parameter.grad


def zero(model):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: Replacing(model.parameters()),
        lambda model: torch.optim.Adam(model.parameters(), fused=True),
        zero,
    ],
    ids=["replaces the values", "fused", "ZeroRedundancyOptimizer"],
)
def test_what_looks_alike_and_can_be_watched(group, make):
    model, twin = network(), network()
    assert_it_walks(watched(model, make(model)), model)
    train(twin, make(twin))
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_parameters_that_are_added_to_the_optimizer_meanwhile():
    """As where layers are unfrozen one after the other; all of them have been walking since."""
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    with watch(model, optimizer, cross_entropy, DATA, points=2) as watcher:
        train(model, optimizer, 1)
        optimizer.add_param_group({"params": list(model[0].parameters())})
        train(model, optimizer, 2)
    assert_it_walks(watcher.trace, model)


def test_values_that_are_loaded_as_other_parameters():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values = copy.deepcopy(model.state_dict())
    with watch(model, optimizer, cross_entropy, DATA) as watcher:
        train(model, optimizer, 1)
        model.load_state_dict(values, assign=True)
        with pytest.raises(RuntimeError, match="parameters are others than when the watch began"):
            train(model, optimizer, 1)
    assert watcher.trace.sizes["iteration"] == 1
