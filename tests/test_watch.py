"""What the probes see, on landscapes whose values are known, and that they disturb nothing."""

import copy
import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from valleywalk import analysis, open_stream, open_trace, provenance, save, watch
from valleywalk.evaluation import BatchMeans
from valleywalk.probes import Step
from valleywalk.probes.cosine import Cosine
from valleywalk.probes.distance import Distance
from valleywalk.probes.interpolation import Interpolation

pytestmark = pytest.mark.core


def parabola(k):
    return lambda theta: 0.5 * k * (theta**2).sum()


def test_bounce_on_a_parabola(landscape):
    k, rate, start = 5.0, 0.25, 1.6  # ηk = 1.25, so the floor is at α = 1 / 1.25 = 0.8
    model, trace = landscape(parabola(k), [start], rate, steps=6)
    factor = 1 - rate * k
    at = start * factor ** np.arange(7)
    assert model.theta.item() == pytest.approx(at[-1])
    along = (1 - trace.alpha.values) * at[:-1, None] + trace.alpha.values * at[1:, None]
    assert trace.loss.values == pytest.approx(0.5 * k * along**2)
    assert analysis.floor_alpha(trace.loss, trace.alpha) == pytest.approx(0.8)
    assert analysis.floor(trace.loss) == pytest.approx(0.0, abs=1e-15)
    length = np.abs(np.diff(at))
    assert analysis.height(trace.loss) == pytest.approx(0.25 * k * length**2 * (0.8**2 + 0.2**2))
    assert analysis.barriers(trace.loss).sum() == 0
    assert analysis.has_interior_minimum(trace.loss).all()
    assert np.isnan(trace.cosine[0])
    assert trace.cosine.values[1:] == pytest.approx(-1.0)
    assert trace.distance.values == pytest.approx(np.abs(at[1:] - start))
    assert trace.parameter_norm.values == pytest.approx(np.abs(at[1:]))
    assert trace.learning_rate.values == pytest.approx(rate)


def test_overdamped_descent_keeps_its_direction(landscape):
    _, trace = landscape(parabola(2.0), [1.0], 0.1, steps=4)
    assert trace.cosine.values[1:] == pytest.approx(1.0)
    assert not analysis.has_interior_minimum(trace.loss).any()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.4, 1.9, 2.1])
def test_gd_on_a_quadratic_contracts_by_its_rate(landscape, rate):
    curvatures = torch.tensor([1.0, 0.3, 0.05], dtype=torch.float64)
    model, _ = landscape(lambda t: 0.5 * (curvatures * t**2).sum(), [1.0, 1.0, 1.0], rate, steps=20)
    expected = np.abs(1 - rate * curvatures.numpy()) ** 20
    assert model.theta.detach().abs().numpy() == pytest.approx(expected)


def test_double_well_is_one_barrier_of_known_height(landscape):
    def double_well(theta):
        return ((theta**2 - 1) ** 2).sum()

    # The gradient at −1.2 is −2.112: this rate jumps to +1.2, over the top at 0.
    _, trace = landscape(double_well, [-1.2], 2.4 / 2.112, steps=1)
    for definition in ("both", "either"):
        assert analysis.barriers(trace.loss, definition).sum() == 1
        height = analysis.barrier_height(trace.loss, definition)[0]
        assert height == pytest.approx(1 - (1.44 - 1) ** 2)


def train(model, optimizer, images, steps=5, batch=8, each=lambda: None):
    inputs, targets = images
    for step in range(steps):
        chosen = slice(step * batch % 40, step * batch % 40 + batch)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
        each()


def test_cosine_and_distance_agree_with_numpy(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def flat(tensors):
        return np.concatenate([t.detach().numpy().ravel().astype(np.float64) for t in tensors])

    points, gradients = [flat(network.parameters())], []

    def keep():
        points.append(flat(network.parameters()))
        gradients.append(flat(p.grad for p in network.parameters()))

    with watch(network, optimizer, nn.functional.cross_entropy, images) as watcher:
        train(network, optimizer, images, each=keep)
    trace = watcher.trace
    for t, gradient in enumerate(gradients):
        assert trace.distance[t] == pytest.approx(
            np.linalg.norm(points[t + 1] - points[0]), rel=1e-5
        )
        assert trace.parameter_norm[t] == pytest.approx(np.linalg.norm(points[t + 1]), rel=1e-5)
        if t:
            before = gradients[t - 1]
            cosine = before @ gradient / np.linalg.norm(before) / np.linalg.norm(gradient)
            assert trace.cosine[t] == pytest.approx(cosine, rel=1e-4, abs=1e-6)


def test_loss_equals_a_plain_evaluation_on_the_same_plan(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watched = watch(network, optimizer, nn.functional.cross_entropy, images, batch_size=16)
    with watched as watcher:
        train(network, optimizer, images)
    plain = copy.deepcopy(network).train()
    total = sum(
        nn.functional.cross_entropy(plain(inputs), targets).item() * len(targets)
        for inputs, targets in watcher.evaluate.batches
    )
    assert watcher.trace.loss[-1, -1] == pytest.approx(total / 40, rel=1e-12)
    targets = torch.cat([targets for _, targets in watcher.evaluate.batches])
    assert sorted(targets) == sorted(images[1])
    assert targets.tolist() != images[1].tolist(), "the order is a random one"


def test_segments_join_exactly_and_measuring_again_gives_the_same_bits(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    remeasured = []

    class Again:
        def __call__(self, step):
            remeasured.append(Interpolation(10)(step)["loss"])
            return {}

    with watch(
        network, optimizer, nn.functional.cross_entropy, images, probes=[Again()]
    ) as watcher:
        train(network, optimizer, images)
    loss = watcher.trace.loss.values
    assert (loss[1:, 0] == loss[:-1, -1]).all()
    assert (np.array(remeasured) == loss).all()


def test_in_eval_mode_each_segment_is_measured_with_its_own_statistics(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-12)
    loss = nn.functional.cross_entropy
    with watch(network, optimizer, loss, images, batch_norm="eval") as watcher:
        train(network, optimizer, images)
    losses = watcher.trace.loss.values
    # The parameters stand still, only the running statistics move, from step to step.
    assert np.ptp(losses, axis=1).max() < 1e-6
    assert (np.abs(np.diff(losses[:, 0])) > 1e-6).all()


def test_a_step_that_begins_elsewhere_is_measured_where_it_begins(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def kick():
        with torch.no_grad():
            network[0].weight.mul_(1.5)

    with watch(network, optimizer, nn.functional.cross_entropy, images) as watcher:
        train(network, optimizer, images, steps=2, each=kick)
    loss = watcher.trace.loss.values
    assert loss[1, 0] != loss[0, -1]


@pytest.mark.parametrize("batch_norm", ["train", "eval"])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
def test_the_training_is_not_disturbed(network, images, batch_norm, kind):
    network.insert(3, nn.Dropout(0.5))
    frozen = copy.deepcopy(network)

    def run(model, watched):
        torch.manual_seed(1)
        optimizer = {
            "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1),
            "momentum": lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            "adam": lambda: torch.optim.Adam(model.parameters()),
        }[kind]()
        model[1].eval()  # a mixed mode that must survive
        if watched:
            loss = nn.functional.cross_entropy
            with watch(model, optimizer, loss, images, batch_norm=batch_norm):
                train(model, optimizer, images)
        else:
            train(model, optimizer, images)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        gradients = [p.grad.clone() for p in model.parameters()]
        modes = [module.training for module in model.modules()]
        return state, gradients, modes, torch.get_rng_state()

    seen, plain = run(network, True), run(frozen, False)
    assert all(torch.equal(seen[0][name], plain[0][name]) for name in plain[0])
    assert all(torch.equal(a, b) for a, b in zip(seen[1], plain[1], strict=True))
    assert seen[2] == plain[2]
    assert torch.equal(seen[3], plain[3])


def test_an_error_in_the_loop_leaves_model_and_trace(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watcher = watch(network, optimizer, nn.functional.cross_entropy, images)

    def stop():
        if watcher.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watcher:
        train(network, optimizer, images, each=stop)
    assert len(watcher.trace.iteration) == 3
    train(network, optimizer, images)
    assert len(watcher.trace.iteration) == 3, "no longer watched"


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_that_diverges_sees_no_warning_of_it(network, images, dtype, tolerance):
    """A warning that is an error would come out of `optimizer.step()`."""
    network, images = network.to(dtype), (images[0].to(dtype), images[1])
    optimizer = torch.optim.SGD(network.parameters(), lr=1e20)
    loss = nn.functional.cross_entropy
    with (
        np.errstate(all="raise"),
        watch(network, optimizer, loss, images, tolerance=tolerance) as watcher,
    ):
        train(network, optimizer, images)
    assert not (watcher.trace["loss"].values[1:, -1] < 1e30).any()


def test_an_error_in_the_measurement_puts_the_parameters_back(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def loss(output, target):
        if output.abs().max() == 0:
            raise RuntimeError("no loss today")
        return nn.functional.cross_entropy(output, target)

    before = [p.data_ptr() for p in network.parameters()]
    buffers = [b.clone() for b in network.buffers()]
    watcher = watch(network, optimizer, loss, images)
    with pytest.raises(RuntimeError, match="no loss today"):
        watcher.evaluate([torch.zeros_like(p) for p in network.parameters()])
    assert [p.data_ptr() for p in network.parameters()] == before
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))
    assert network.training


def test_a_watch_that_is_on_is_not_entered_again(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watcher = watch(network, optimizer, nn.functional.cross_entropy, images)
    with watcher:
        with pytest.raises(RuntimeError, match="on already"), watcher:
            pass
        train(network, optimizer, images, steps=2)
    assert watcher.iteration == 2
    train(network, optimizer, images)
    assert watcher.iteration == 2


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
@pytest.mark.parametrize("evaluations", range(1, 6))
def test_a_training_goes_on_after_a_measurement_that_was_interrupted(
    network, images, tolerance, evaluations
):
    """Wherever it is: the next segment begins with its own loss, and has no cosine."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    left = [1000]

    def loss(output, target):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(output, target)

    data, options = [(images[0][:8], images[1][:8])], {"points": 4, "tolerance": tolerance}
    watcher = watch(network, optimizer, loss, data, **options)
    with watcher:
        train(network, optimizer, images, steps=2)
    left[0] = evaluations
    with pytest.raises(KeyboardInterrupt), watcher:
        train(network, optimizer, images)
    here = watcher.evaluate()
    with watcher:
        train(network, optimizer, images, steps=2)
    trace = watcher.trace.isel(iteration=slice(-2, None))
    assert trace["loss"].values[0, 0] == here
    assert np.isnan(trace["cosine"].values).tolist() == [True, False]


def test_chosen_steps_and_frozen_parameters(network, images):
    network[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    loss = nn.functional.cross_entropy
    with watch(network, optimizer, loss, images, steps=lambda t: t % 2 == 0) as watcher:
        train(network, optimizer, images)
        watcher.note(minibatch_loss=0.25)
    trace = watcher.trace
    assert analysis.measured(trace.loss).tolist() == [True, False, True, False, True]
    assert np.isfinite(trace.distance).all()
    assert trace.minibatch_loss[-1] == 0.25


def test_batches_are_gone_through_once_and_kept(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(*images)
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    before = torch.get_rng_state()
    watcher = watch(network, optimizer, nn.functional.cross_entropy, loader)
    assert torch.equal(before, torch.get_rng_state()), "shuffled with random numbers of its own"
    assert watcher.evaluate() == watcher.evaluate()


def test_batches_that_are_augmented_take_no_random_number_of_the_training(network, images):
    """Whichever generator a data set's transforms draw from."""

    def augmented():
        yield images[0] * random.random() * np.random.rand() * torch.rand(1), images[1]

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed():
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    seed()
    expected = draw()
    seed()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watch(network, optimizer, nn.functional.cross_entropy, augmented())
    assert draw() == expected


def test_as_many_batches_are_read_as_there_are_said_to_be(network):
    """Of what has no length, a thousand."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy
    for batches, count in (([BATCH] * 1001, 1001), (itertools.repeat(BATCH, 1000), 1000)):
        assert len(watch(network, optimizer, loss, batches).evaluate.batches) == count


BATCH = (torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))


class Examples(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.zeros(3, 8, 8), 1


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return itertools.repeat(BATCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation_data": []}, "no batches"),
        ({"evaluation_data": (torch.zeros(3, 3, 8, 8), torch.zeros(2))}, "3 inputs and 2 targets"),
        ({"points": 0}, "points is 0"),
        ({"batch_norm": "frozen"}, "allowed are 'as trained', 'train' and 'eval'"),
        ({"model": nn.LazyLinear(3)}, "lazy"),
        ({"model": nn.ReLU()}, "no parameter"),
        ({"model": nn.Linear(2, 2)}, "holds none"),
        (
            {"evaluation_data": (torch.full((3, 3, 8, 8), torch.nan), torch.zeros(3).long())},
            "the loss of the first batch of evaluation_data is nan; look at its inputs",
        ),
        (
            {"evaluation_data": (torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 4]))},
            r"cannot be measured \(Target 4 is out of bounds",
        ),
        ({"evaluation_data": (torch.zeros(3, 5), torch.zeros(3).long())}, "cannot be measured"),
        (
            {"evaluation_data": Examples()},
            r"of type Examples; give .* batches, such as `DataLoader\(dataset, batch_size=100\)`",
        ),
        ({"evaluation_data": [(torch.zeros(3, 8, 8), 1)] * 3}, "has single examples"),
        ({"evaluation_data": [(torch.zeros(3, 8, 8), torch.tensor(1))] * 3}, "single examples"),
        ({"evaluation_data": [{"images": torch.tensor(1)}]}, "has single examples"),
        ({"evaluation_data": [{}]}, "the first batch of evaluation_data cannot be measured"),
        ({"evaluation_data": itertools.repeat(BATCH)}, "more than 1,000 batches and perhaps no"),
        (
            {"evaluation_data": torch.utils.data.DataLoader(Endless(), batch_size=None)},
            "more than 1,000 batches and perhaps no end; give fewer",
        ),
        (
            {"loss": lambda *given: nn.functional.cross_entropy(*given).item()},
            r"\(it is of type float; return a scalar tensor, without \.item\(\)\)",
        ),
    ],
)
def test_bad_input_is_refused_at_entry(network, images, change, message):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    given = {
        "model": network,
        "optimizer": optimizer,
        "loss": nn.functional.cross_entropy,
        "evaluation_data": images,
    }
    with pytest.raises(ValueError, match=message):
        watch(**(given | change))


def test_a_segment_has_as_many_points_as_asked_for(network, images):
    """Ten intervals by default; two are the least there can be."""
    loss = nn.functional.cross_entropy
    for options, count in (({}, 11), ({"points": 2}, 3)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with watch(network, optimizer, loss, images, **options) as watcher:
            train(network, optimizer, images)
        assert watcher.trace["loss"].shape == (5, count)
        assert np.allclose(watcher.trace["alpha"], np.linspace(0, 1, count))


class Measure:
    """Stands for an evaluator: the square of the first parameter, and where it was asked for."""

    def __init__(self):
        self.asked = []

    def surroundings(self):
        return []

    def losses(self, values):
        self.asked.append(float(values[0]))
        return BatchMeans(np.array([float(values[0]) ** 2]), np.array([1]))


def one_step(start, before, after, gradient, evaluate=None):
    """A step between these parameter vectors, each a list of tensors."""
    vectors = ([torch.tensor(part) for part in v] for v in (start, before, after, gradient))
    return Step(0, *vectors, evaluate)


def test_norms_go_over_all_tensors_of_the_parameters():
    start = [[0.0, 0.0], [0.0], [1.0]]
    after = [[1.0, 2.0], [4.0], [11.0]]
    seen = Distance()(one_step(start, start, after, start))
    assert seen["distance"] == pytest.approx((1 + 4 + 16 + 100) ** 0.5)
    assert seen["parameter_norm"] == pytest.approx((1 + 4 + 16 + 121) ** 0.5)


def test_a_cosine_goes_on_from_its_state():
    def step(*gradient):
        values = [[value] for value in gradient]
        return one_step(values, values, values, values)

    first, second = Cosine(), Cosine()
    second.restore(first.state())
    assert np.isnan(second(step(1.0, 0.0))["cosine"]), "nothing had been seen"
    second.restore(Cosine().state())
    assert np.isnan(second(step(1.0, 0.0))["cosine"])
    first(step(3.0, 4.0))
    second.restore(first.state())
    assert second(step(-3.0, 4.0))["cosine"] == pytest.approx(7 / 25)


def test_interpolation_goes_on_from_its_state():
    """The end of the last segment is known and not measured again; a fresh state knows none."""
    evaluate = Measure()

    def step(before, after):
        return one_step([[0.0]], [[before]], [[after]], [[0.0]], evaluate)

    assert Interpolation().alpha == pytest.approx(np.arange(11) / 10), "the paper's ten points"
    first, second = Interpolation(2), Interpolation(2)
    second.restore(first.state())
    assert second(step(1.0, 3.0))["loss"].tolist() == [1.0, 4.0, 9.0]
    assert evaluate.asked == [1.0, 2.0, 3.0]
    first.restore(second.state())
    evaluate.asked.clear()
    assert first(step(3.0, 5.0))["loss"].tolist() == [9.0, 16.0, 25.0]
    assert evaluate.asked == [4.0, 5.0]
    evaluate.asked.clear()
    assert first(step(4.0, 6.0))["loss"].tolist() == [16.0, 25.0, 36.0]
    assert evaluate.asked == [4.0, 5.0, 6.0], "it does not begin where the last one ended"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"loss": 0.5}, "'loss', a name that is taken; choose another, such as 'my_loss'"),
        ({"alpha": 0.5}, "a name that is taken"),
        ({"twice": 0.5}, "a name that is taken"),
        ({"mine": [0.5, 1.0]}, "give one number a step"),
        ({"mine": "much"}, "give one number a step"),
        (0.5, "give a mapping of names to numbers"),
    ],
)
def test_a_probe_replaces_nothing_and_gives_numbers(network, images, found, message):
    loss = nn.functional.cross_entropy
    for kind in ("probes", "iterate_probes"):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        given = {kind: [lambda at: {"twice": 1.0}, lambda at: found]}
        with (
            watch(network, optimizer, loss, images, **given) as watcher,
            pytest.raises(ValueError, match=message),
        ):
            train(network, optimizer, images)
        assert watcher.trace.sizes["iteration"] == 0, "no half of a step is kept"


def test_a_watch_that_is_entered_again_goes_on(network, images, tmp_path):
    """Its distance is from where it first began, whatever was stepped unwatched."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy
    start = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    watcher = watch(network, optimizer, loss, images, points=2, stream=tmp_path / "walk.jsonl")

    def step():
        optimizer.zero_grad()
        loss(network(images[0]), images[1]).backward()
        optimizer.step()

    with watcher:
        step()
    with watcher:
        step()
    step()
    with watcher:
        step()
    cosines = np.isfinite(watcher.trace["cosine"].values).tolist()
    assert cosines == [False, True, False], "two gradients with a step between them have none"
    moved = nn.utils.parameters_to_vector(network.parameters()) - start
    assert watcher.trace["distance"].values[2] == pytest.approx(moved.norm().item(), rel=1e-6)
    assert open_stream(tmp_path / "walk.jsonl").sizes == watcher.trace.sizes


def test_a_parameter_is_recorded_as_it_was_at_the_step(network, images):
    """Of one number: it goes on with the training, the trace must not."""
    scale = nn.Parameter(torch.tensor(1.0))
    network.register_parameter("scale", scale)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    seen = []
    probes = {
        "probes": [lambda step: {"after": next(p for p in step.after if not p.ndim)}],
        "iterate_probes": [lambda evaluate: {"here": evaluate.model.scale}],
    }
    loss = nn.functional.cross_entropy
    with watch(network, optimizer, loss, images, points=2, **probes) as watcher:
        for _ in range(3):
            optimizer.zero_grad()
            (loss(network(images[0]), images[1]) + scale).backward()
            optimizer.step()
            watcher.note(noted=scale.detach())
            seen.append(scale.item())
    assert len(set(seen)) == 3
    for name in ("after", "here", "noted"):
        assert watcher.trace[name].values.tolist() == seen


def test_what_is_noted_replaces_nothing(network, images):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watch(network, optimizer, nn.functional.cross_entropy, images) as watcher:
        train(network, optimizer, images)
    with pytest.raises(ValueError, match="note records 'cosine', a name that is taken"):
        watcher.note(cosine=1.0)
    watcher.note(temperature=np.float32(2.0))
    assert watcher.trace["temperature"][-1] == 2.0


def test_a_trace_of_a_watch_says_how_it_was_made(network, images, tmp_path):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy
    with watch(network, optimizer, loss, images, batch_size=16) as watcher:
        train(network, optimizer, images)
    line = provenance(watcher.trace)
    assert "watched for 5 steps" in line
    assert f"{len(images[1])} examples in {len(watcher.evaluate.batches)} batches" in line
    assert provenance(watcher.trace, watcher.trace).count("watched") >= 1
    path = f"{tmp_path}/trace.nc"
    save(watcher.trace, path)
    assert provenance(open_trace(path)).split(";")[0] == line.split(";")[0]


@pytest.mark.parametrize("steps", [np.int64(2), {0, 2, 4}, [0, 2, 4], range(0, 9, 2)])
def test_steps_are_chosen_as_one_likes(network, images, steps):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watch(network, optimizer, nn.functional.cross_entropy, images, steps=steps) as watcher:
        train(network, optimizer, images)
    assert analysis.measured(watcher.trace.loss).tolist() == [True, False, True, False, True]
