"""The page on which a network trains: its mathematics against PyTorch; the page in a browser."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from valleywalk import analysis
from valleywalk.book import play
from valleywalk.folders import checkout

PHONE = {"width": 390, "height": 844}
BOOK = checkout() / "book"
SCRIPTS = ("chart.js", "play_network.js", "play.js")
ALPHA = np.arange(11) / 10
SHOWN = 40
DATA = json.loads(re.search(r">(.*)</script>", play.data())[1])
COUNT = len(DATA["labels"])


@pytest.fixture
def visit(open_page, tmp_path):
    """Open a page that holds the network and its charts alone, from the source tree."""
    scripts = "".join(f'<script src="{(BOOK / "_static" / s).as_uri()}"></script>' for s in SCRIPTS)
    style = f'<link rel="stylesheet" href="{(BOOK / "_static" / "walk.css").as_uri()}">'
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{style}'
    body = (BOOK / "play.html").read_text(encoding="utf-8") + play.data()
    page = tmp_path / "play.html"
    page.write_text(f"<!doctype html>{head}{scripts}{body}", encoding="utf-8")
    tabs = []

    def opened(**options):
        tabs.append(open_page(page, **options))
        return tabs[-1]

    yield opened
    for tab in tabs:
        assert tab.complaints == []


# The network, against PyTorch in float64 ---------------------------------------------------------


def uniforms(seed, stream):
    """sfc32, written anew: see PractRand, or O'Neill's page on it."""
    mask = 0xFFFFFFFF
    a, b, c, counter = seed, stream, 0, 1
    drawn = 0
    while True:
        out = (a + b + counter) & mask
        counter = (counter + 1) & mask
        a, b = b ^ (b >> 9), (c + (c << 3)) & mask
        c = (((c << 21) | (c >> 11)) + out) & mask
        if drawn >= 12:
            yield out / 2**32
        drawn += 1


def normals(uniform, count):
    pairs = [(next(uniform), next(uniform)) for _ in range(count)]
    return np.array([math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in pairs])


def images():
    return torch.tensor([[int(pixel, 17) / 16 for pixel in image] for image in DATA["images"]]).to(
        torch.float64
    )


LABELS = torch.tensor(DATA["labels"])


def network(weights):
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    vector_to_parameters(torch.as_tensor(weights, dtype=torch.float64), model.parameters())
    return model


def losses(weights):
    """The loss of each image."""
    with torch.no_grad():
        return nn.functional.cross_entropy(network(weights)(images()), LABELS, reduction="none")


def vector_to_gradients(vector, parameters):
    parts = vector.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad.copy_(part.view_as(parameter))


def initial(seed):
    uniform = uniforms(seed, 0)
    hidden, output = normals(uniform, 32 * 64) / 8, normals(uniform, 10 * 32) / math.sqrt(32)
    return np.concatenate([hidden, np.zeros(32), output, np.zeros(10)])


def in_page(tab, expression, *given):
    decoded = "network.decode(valleywalk.content('play-data'))"
    return tab.evaluate(
        f"(given) => {{ const network = valleywalkNetwork, data = {decoded};"
        " const plain = (value) => JSON.parse(JSON.stringify(value, (_, each) =>"
        " ArrayBuffer.isView(each) ? [...each] : each));"
        f" return plain(({expression})(...given)); }}",
        list(given),
    )


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-14)


def test_the_images_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.testing.assert_array_equal(images() * 16, digits.data[:COUNT])
    np.testing.assert_array_equal(LABELS, digits.target[:COUNT])
    assert np.bincount(LABELS).min() > COUNT / 20, "all digits are there"


@pytest.mark.parametrize(("seed", "stream"), [(1, 0), (1, 3), (9999, 2)])
def test_the_generator_is_sfc32(visit, seed, stream):
    drawn = in_page(
        visit(),
        "(...s) => { const next = network.uniforms(...s); return Array.from({length: 200}, next) }",
        seed,
        stream,
    )
    generator = uniforms(seed, stream)
    assert drawn == [next(generator) for _ in range(200)]


def test_initialisation_loss_and_gradient_are_pytorch_s(visit):
    tab = visit()
    weights = in_page(tab, "(seed) => network.initial(seed)", 5)
    same(weights, initial(5))
    # Biases, too, and weights large enough that the tanh saturates for some.
    weights = np.random.default_rng(0).normal(size=len(weights)) / 3
    batch = [3, 250, 17, 17, 0]
    found = in_page(tab, "(w, batch) => network.gradient(w, data, batch)", weights.tolist(), batch)
    model = network(weights)
    loss = nn.functional.cross_entropy(model(images()[batch]), LABELS[batch])
    loss.backward()
    same(found["loss"], loss.item())
    same(found["gradient"], parameters_to_vector([p.grad for p in model.parameters()]))


def test_the_losses_along_a_segment_are_pytorch_s(visit):
    random = np.random.default_rng(1)
    start, end = (random.normal(size=2410) * scale for scale in (0.2, 0.5))
    found = in_page(
        visit(),
        "(from, to) => network.segment(Float64Array.from(from), Float64Array.from(to), data)",
        start.tolist(),
        end.tolist(),
    )
    same(found, [losses((1 - alpha) * start + alpha * end) for alpha in ALPHA])


@pytest.mark.parametrize("noise", [0, 0.05])
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("batch_size", [64, COUNT])
def test_a_walk_is_pytorch_s(visit, noise, momentum, batch_size):
    seed, steps, rate = 3, 6, 0.2
    settings = {
        "learningRate": rate,
        "batchSize": batch_size,
        "noise": noise,
        "momentum": momentum,
    }
    walked = in_page(
        visit(),
        "(seed, settings, steps) => { const walk = network.walk(data, seed);"
        " return Array.from({length: steps},"
        " () => ({...walk.step(settings), weights: walk.weights()})) }",
        seed,
        settings,
        steps,
    )
    batches, noises, plan = (uniforms(seed, stream) for stream in (1, 2, 3))
    model = network(initial(seed))
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum)
    order, left, before, end = list(range(COUNT)), [], None, None
    for found in walked:
        start = parameters_to_vector(parameters).detach().numpy().copy()
        if len(left) < batch_size:
            for i in range(COUNT - 1, 0, -1):
                j = int(next(batches) * (i + 1))
                order[i], order[j] = order[j], order[i]
            left = list(order)
        batch, left = left[:batch_size], left[batch_size:]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images()[batch]), LABELS[batch]).backward()
        if noise:
            drawn = noise * torch.from_numpy(normals(noises, len(start)))
            gradient = parameters_to_vector([p.grad for p in parameters]) + drawn
            vector_to_gradients(gradient, parameters)
        gradient = parameters_to_vector([p.grad for p in parameters])
        optimizer.step()
        weights = parameters_to_vector(parameters).detach().numpy()
        same(found["weights"], weights)
        same(found["distance"], np.linalg.norm(weights - initial(seed)))
        if before is None:
            assert found["cosine"] is None
        else:
            same(found["cosine"], torch.cosine_similarity(before, gradient, dim=0))
        before = gradient
        each = [losses((1 - alpha) * start + alpha * weights) for alpha in ALPHA]
        same(found["loss"]["frozen"], [of_point.mean() for of_point in each])
        # As many images, drawn with replacement; where a segment begins, as the last one ended.
        redrawn = [
            of_point[[int(next(plan) * COUNT) for _ in range(COUNT)]].mean() for of_point in each
        ]
        redrawn[0] = redrawn[0] if end is None else end
        end = redrawn[-1]
        same(found["loss"]["redrawn"], redrawn)


def test_floor_height_and_barrier_are_those_of_the_library(visit):
    segments = np.random.default_rng(2).normal(size=(60, 11)).cumsum(axis=1)
    found = in_page(visit(), "(rows) => rows.map(network.measure)", segments.tolist())
    measured = {name: [each[name] for each in found] for name in found[0]}
    same(ALPHA[measured["lowest"]], analysis.floor_alpha(segments, ALPHA))
    same(measured["height"], analysis.height(segments))
    np.testing.assert_array_equal(measured["barrier"], analysis.barriers(segments))
    np.testing.assert_array_equal(measured["inside"], analysis.has_interior_minimum(segments))
    assert 0 < sum(measured["barrier"]) < 60


# The page ----------------------------------------------------------------------------------------

SAID = re.compile(
    r"Step (?P<step>\d+): loss (?P<start>\S+) to (?P<end>\S+), floor (?P<floor>\S+) at α = "
    r"(?P<alpha>\S+), height (?P<height>.+?), (?P<barrier>a|no) barrier; cosine (?P<cosine>.+?), "
    r"distance (?P<distance>.+?)\. Barriers so far: (?P<barriers>\d+) in (?P<steps>\d+) steps?\."
)


def number(text):
    """A number as the page has it; None where there is none."""
    if text == "none":
        return None
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    return float(text.translate(digits).replace(" × 10", "e"))


def read(text):
    found = SAID.fullmatch(text).groupdict()
    return {k: v == "a" if k == "barrier" else number(v) for k, v in found.items()}


def said(tab):
    return read(tab.locator("[data-part=said]").inner_text())


def press(tab, name):
    tab.get_by_role("button", name=name, exact=True).click()


def part(tab, name):
    return tab.locator(f"[data-part={name}]")


def walked(tab, preset, seed=1):
    """What is said of each step of a preset, one by one, and the summary of all."""
    part(tab, "seed").fill(str(seed))
    press(tab, preset)
    at_once = said(tab)
    assert at_once["steps"] == SHOWN, "whoever asked for less motion has all steps at once"
    press(tab, "Reset")
    steps = tab.evaluate(
        "(steps) => Array.from({length: steps}, () => {"
        " document.querySelector('[data-part=step]').click();"
        " return document.querySelector('[data-part=said]').textContent; })",
        SHOWN,
    )
    found = {key: [read(text)[key] for text in steps] for key in SAID.groupindex}
    assert {key: values[-1] for key, values in found.items()} == at_once
    found["inside"] = [0 < alpha < 1 for alpha in found["alpha"]]
    found["mean cosine"] = np.mean(found["cosine"][1:])
    found["mean height"] = np.mean(found["height"])
    found["watch"] = part(tab, "watch").inner_text()
    summary = part(tab, "summary").inner_text()
    for name in ("cosine", "height"):
        shown = number(re.search(rf"mean {name} (.+?),", summary)[1])
        assert shown == pytest.approx(found[f"mean {name}"], rel=0.006, abs=1e-4)
    assert (
        f"floor inside in {sum(found['inside'])}, a barrier in {sum(found['barrier'])} " in summary
    )
    return found


@pytest.fixture
def calm(visit):
    return visit(reduced_motion="reduce")


SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_slide_turn_and_bounce_do_what_they_say(calm, seed):
    slide, turn, bounce = (walked(calm, name, seed) for name in ("Slide", "Turn", "Bounce"))
    assert "falls all the way" in slide["watch"]
    assert min(slide["cosine"][1:]) > 0.8, "the same way"
    assert set(slide["alpha"]) == {1}
    # It slides until a floor lies inside; then the next cosine is negative; later it slides again.
    first = turn["inside"].index(True)
    assert first >= 1
    assert min(turn["cosine"][1 : first + 1]) > 0
    for walk in (turn, bounce):
        following = zip(walk["cosine"][1:], walk["inside"][:-1], strict=True)
        follows = [cosine for cosine, inside in following if inside]
        assert follows
        assert max(follows) < 0, "a floor inside turns the next gradient"
    assert min(turn["cosine"][-3:]) > 0
    assert not any(turn["inside"][-3:])
    assert sum(c < 0 for c in bounce["cosine"][1:]) > SHOWN / 2
    assert min(bounce["cosine"][1:]) < -0.85
    assert bounce["mean height"] > 1.5 * turn["mean height"] > 1.5 * slide["mean height"]
    assert np.sum(np.diff(bounce["floor"]) > 0) <= 1, "the floor keeps falling"


@pytest.mark.parametrize("seed", SEEDS)
def test_two_knobs_have_two_roles(calm, seed):
    base, batch, rate = (
        walked(calm, name, seed) for name in ("Two roles", "Larger batch", "Half the rate")
    )
    by_batch, by_rate = (walk["mean cosine"] - base["mean cosine"] for walk in (batch, rate))
    assert by_batch > 0.2
    assert abs(by_rate) < by_batch / 2
    assert batch["mean height"] == pytest.approx(base["mean height"], rel=0.1)
    assert rate["mean height"] < 0.7 * base["mean height"]
    before = part(calm, "before").inner_text()
    assert before.startswith("The walk before: SGD, batches of 16, rate 0.1. Last 40 steps: ")


@pytest.mark.parametrize("seed", SEEDS)
def test_isotropic_noise_goes_far_and_mini_batch_noise_does_not(calm, seed):
    slide, isotropic, batches = (
        walked(calm, name, seed) for name in ("Slide", "Isotropic noise", "Mini-batch noise")
    )
    assert abs(isotropic["mean cosine"]) < 0.05
    assert isotropic["distance"][-1] > 4 * slide["distance"][-1]
    assert isotropic["end"][-1] > 1.1 * slide["end"][-1]
    assert batches["distance"][-1] == pytest.approx(slide["distance"][-1], rel=0.05)
    assert batches["mean cosine"] < 0.5 * slide["mean cosine"]


@pytest.mark.parametrize("seed", SEEDS)
def test_barriers_come_with_the_re_drawn_plan(calm, seed):
    frozen, redrawn = (walked(calm, name, seed) for name in ("Frozen plan", "Re-drawn plan"))
    assert frozen["barriers"][-1] == 0
    assert redrawn["barriers"][-1] > SHOWN / 2
    for same_in_both in ("cosine", "distance"):
        assert frozen[same_in_both] == redrawn[same_in_both]
    drawn = calm.locator("[data-part=loss] .walk-barrier")
    assert drawn.count() == redrawn["barriers"][-1] == sum(redrawn["barrier"])
    # The choice shows the steps that were made, measured the other way.
    calm.locator("input[value=frozen]").check()
    assert said(calm) == {key: frozen[key][-1] for key in SAID.groupindex}
    assert drawn.count() == 0
    calm.locator("input[value=redrawn]").check()
    assert said(calm)["barriers"] == redrawn["barriers"][-1]


def test_each_preset_is_tested():
    source = (BOOK / "_static" / "play.js").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    names = re.findall(r'^ +name: "(.+?)"', source, re.MULTILINE)
    names += re.findall(r'\{ name: "(.+?)"', source)
    assert len(names) == 10
    for name in names:
        assert f'"{name}"' in tests


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_page_says_to_try_is_so(visit, seed):
    """Walks of several parts: settings and steps; of the last forty steps of each, the means."""
    tab = visit()

    def means(*parts):
        usual = {"learningRate": 0.2, "batchSize": COUNT, "noise": 0, "momentum": 0}
        found = in_page(
            tab,
            "(seed, parts) => { const walk = network.walk(data, seed);"
            " return parts.map(([settings, steps]) =>"
            " Array.from({length: steps}, () => walk.step(settings))) }",
            seed,
            [(usual | settings, steps) for settings, steps in parts],
        )
        means = []
        for steps in found:
            loss = np.array([step["loss"]["frozen"] for step in steps])
            means.append(
                {
                    "cosine": np.mean(
                        [step["cosine"] for step in steps[-SHOWN:] if step["cosine"]]
                    ),
                    "height": analysis.height(loss)[-SHOWN:].mean(),
                    "inside": analysis.has_interior_minimum(loss).sum(),
                    "barriers": analysis.barriers(loss).sum(),
                    "distance": steps[-1]["distance"],
                }
            )
        return means

    # Two roles: once the digits are fitted, the batch size moves the height, too.
    early, late = (
        [means(({"batchSize": size}, steps))[0]["height"] for size in (16, 64)]
        for steps in (SHOWN, 5 * SHOWN)
    )
    assert early[0] < 1.1 * early[1]
    assert late[0] > 2 * late[1]
    # Noise: without it the cosine comes back, but not the distance.
    noisy, quiet = means(
        ({"learningRate": 0.4, "noise": 0.2}, SHOWN), ({"learningRate": 0.4}, SHOWN)
    )
    assert quiet["cosine"] > 0.9 > 0.1 > noisy["cosine"]
    assert quiet["distance"] > 0.95 * noisy["distance"]
    # Momentum: the rate of "Bounce" bounces less, a larger one bounces.
    without, with_momentum, larger = (
        means(({"learningRate": rate, "momentum": momentum}, SHOWN))[0]["inside"]
        for rate, momentum in ((1.4, 0), (1.4, 0.5), (3, 0.5))
    )
    assert with_momentum < without / 2 < larger
    # A barrier on the frozen plan.
    assert means(({"learningRate": 5, "batchSize": 1}, 2 * SHOWN))[0]["barriers"] > 0


def test_the_same_seed_gives_the_same_walk_and_another_another(calm):
    part(calm, "noise").fill("0.1")
    walks = []
    for seed in (1, 2, 1):
        part(calm, "seed").fill(str(seed))
        press(calm, "40 steps")
        walks.append([part(calm, "said").inner_text(), part(calm, "distance").inner_html()])
        press(calm, "Reset")
        assert f"At the initialisation of seed {seed}." in part(calm, "said").inner_text()
    assert walks[0] == walks[2]
    assert walks[0] != walks[1]


def test_it_works_by_keyboard(calm):
    part(calm, "step").focus()
    calm.keyboard.press("Enter")
    first = said(calm)
    assert (first["step"], first["cosine"]) == (0, None)
    calm.keyboard.press("Space")
    assert said(calm)["step"] == 1
    before = part(calm, "learningRate").locator("xpath=following-sibling::output").inner_text()
    part(calm, "learningRate").focus()
    calm.keyboard.press("End")
    after = part(calm, "learningRate").locator("xpath=following-sibling::output").inner_text()
    assert (before, after) == ("0.2", "10")
    assert part(calm, "learningRate").get_attribute("aria-valuetext") == "10"
    part(calm, "step").focus()
    calm.keyboard.press("Enter")
    assert said(calm)["distance"] > 5 * first["distance"], "the rate counts from then on"
    assert "rate 10." in part(calm, "summary").inner_text()
    calm.locator("input[value=sgd]").focus()
    calm.keyboard.press("ArrowDown")
    assert part(calm, "batchSize").is_disabled(), "gradient descent takes all"
    part(calm, "reset").focus()
    calm.keyboard.press("Enter")
    assert part(calm, "said").inner_text().startswith("At the initialisation")


def test_it_works_by_touch_and_fits_a_phone(visit):
    tab = visit(viewport=PHONE, has_touch=True, reduced_motion="reduce")
    tab.get_by_role("button", name="Re-drawn plan", exact=True).tap()
    assert said(tab)["steps"] == SHOWN
    part(tab, "step").tap()
    assert said(tab)["step"] == SHOWN
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    batch_size = part(tab, "batchSize")
    assert not batch_size.is_visible(), "the charts are near the buttons"
    tab.get_by_text("Knobs").tap()
    batch_size.tap(position={"x": 3, "y": 8})
    assert batch_size.input_value() == "0"
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    # A place between two steps belongs to the segment there, and to the nearer point of a line: the
    # cosine stands where its step begins, the distance where it ends.
    place = 11.7
    for name, step in (("loss", 11), ("cosine", 12), ("distance", 11)):
        chart = part(tab, name).locator("svg")
        across = 58 + (place - 1) / SHOWN * (chart.bounding_box()["width"] - 70)
        chart.tap(position={"x": across, "y": 60})
        tip = part(tab, name).locator(".walk-tip").inner_text()
        assert tip.replace(",", " ").split()[:2] == ["step", str(step)]
        assert name in tip


def test_the_last_forty_steps_are_drawn(calm):
    press(calm, "Frozen plan")
    press(calm, "40 steps")
    assert said(calm)["steps"] == 2 * SHOWN
    for name in ("loss", "cosine", "distance"):
        chart = part(calm, name)
        ticks = chart.locator(".walk-tick[text-anchor=middle]").all_text_contents()
        assert [ticks[0], ticks[-1]] == [str(SHOWN), str(2 * SHOWN)]
        points = chart.locator(".walk-line").get_attribute("d").count(",")
        assert points == (SHOWN * 11 if name == "loss" else SHOWN)


def test_it_plays_at_the_chosen_speed_and_a_preset_stops(visit):
    tab = visit()
    part(tab, "speed").fill("30")
    press(tab, "Play")
    tab.wait_for_function("/^Step [2-9]/.test(document.querySelector('[role=status]').textContent)")
    assert part(tab, "said").get_attribute("aria-live") == "off"
    press(tab, "Pause")
    assert part(tab, "said").get_attribute("aria-live") == "polite"
    stopped = said(tab)["step"]
    tab.wait_for_timeout(300)
    assert said(tab)["step"] == stopped
    press(tab, "Slide")
    tab.wait_for_function(
        "document.querySelector('[data-part=play]').textContent === 'Play'", timeout=20_000
    )
    assert said(tab)["steps"] == SHOWN


def test_a_step_costs_a_few_times_the_arithmetic_of_its_segment(calm):
    # In turn, and the median of many: the machine may be slow, and have other things to do.
    press(calm, "Slide")
    ratio = calm.evaluate(
        """([images, tanhs, products]) => {
        const pixels = new Float64Array(64).fill(0.5);
        const timed = (work) => {
            const start = performance.now();
            work();
            return performance.now() - start;
        };
        const step = () => {
            document.querySelector('[data-part=step]').click();
            document.body.offsetHeight;
        };
        const arithmetic = () => {
            let sum = 0;
            for (let k = 0; k < tanhs * images; k++) sum += Math.tanh(k / (tanhs * images));
            for (let k = 0; k < products * images; k++) sum += pixels[k % 64] * pixels[63 - k % 64];
            return sum;
        };
        const pairs = Array.from({length: 60}, () => timed(step) / timed(arithmetic));
        return pairs.sort((one, other) => one - other)[30];
        }""",
        # For each image: what 32 units receive at both ends; 32 tanh and 10 outputs at 11 points.
        [COUNT, 11 * 32, 2 * 64 * 32 + 11 * 32 * 10],
    )
    # With the drawing it is 2.7 times, on a busy machine too; each evaluation more adds 1.3.
    assert 0 < ratio < 5
