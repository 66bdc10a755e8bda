import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk.evaluation import EvaluationPlan, Evaluator
from valleywalk.machine import exact_float32

pytestmark = pytest.mark.core


def test_a_plan_holds_each_image_once_and_depends_on_all_it_is_drawn_from():
    plan = EvaluationPlan.draw(103, 10, seed=0)
    assert sorted(np.concatenate(plan.batches)) == list(range(103))
    assert plan.hash == EvaluationPlan.draw(103, 10, seed=0).hash
    others = [
        EvaluationPlan.draw(103, 10, seed=1),
        EvaluationPlan.draw(104, 10, seed=0),
        EvaluationPlan.draw(103, 11, seed=0),
        EvaluationPlan.draw(103, 10, seed=0, images=50),
    ]
    assert len({plan.hash, *(other.hash for other in others)}) == 5


def test_golden_plan():
    """The plan's numbers are part of every trace: they must not change unnoticed."""
    assert EvaluationPlan.draw(10, 4, seed=7).hash == "75bbf51c50ab114b"


def test_a_last_batch_of_one_image_joins_the_one_before():
    assert [len(b) for b in EvaluationPlan.draw(21, 10, seed=0).batches] == [10, 11]
    assert [len(b) for b in EvaluationPlan.draw(22, 10, seed=0).batches] == [10, 10, 2]


def test_a_redrawn_plan_has_the_same_images_in_other_batches():
    plan = EvaluationPlan.draw(100, 10, seed=0, images=50)
    again = plan.redrawn(1)
    assert again.hash != plan.hash
    assert sorted(np.concatenate(again.batches)) == sorted(np.concatenate(plan.batches))
    assert [len(b) for b in again.batches] == [len(b) for b in plan.batches]


def test_mean_over_batches_counts_images_not_batches():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    batches = [(torch.ones(3, 1), torch.zeros(3, 1)), (torch.full((1, 1), 5.0), torch.zeros(1, 1))]
    assert Evaluator(model, lambda o, t: o.mean(), batches)() == pytest.approx((3 * 1 + 5) / 4)


def test_batch_norm_mode_is_the_plan_s_and_statistics_stay(network, images):
    network(images[0])  # running statistics that are not those of the start
    inputs, targets = images
    loss = nn.functional.cross_entropy
    before = [b.clone() for b in network.buffers()]
    train = Evaluator(network, loss, [(inputs, targets)], "train")()
    frozen = Evaluator(network, loss, [(inputs, targets)], "eval")()
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))
    assert train != frozen
    network.eval()
    with torch.no_grad():
        assert frozen == pytest.approx(loss(network(inputs), targets).item(), rel=1e-7)


def test_dropout_is_off(images):
    torch.manual_seed(0)
    linear = nn.Linear(192, 4)
    batches = [images]
    dropped = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), linear)
    plain = nn.Sequential(nn.Flatten(), linear)
    loss = nn.functional.cross_entropy
    assert Evaluator(dropped, loss, batches)() == Evaluator(plain, loss, batches)()
    assert dropped[1].training


def test_exact_float32_is_put_back():
    before = torch.backends.cudnn.conv.fp32_precision
    with contextlib.suppress(ZeroDivisionError), exact_float32():
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        raise ZeroDivisionError
    assert torch.backends.cudnn.conv.fp32_precision == before
