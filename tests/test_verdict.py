"""What opens the book: a picture, a grid and sentences that say what was found, and no more."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.lines import Line2D

from valleywalk import Store
from valleywalk.book import verdict
from valleywalk.folders import checkout
from valleywalk.paper.claim import SUBJECTS
from valleywalk.paper.items import CLAIMS, ITEMS
from valleywalk.paper.ledger import FAMILY, Finding
from valleywalk.paper.protocol import ORDER, all_experiments

BY_ID = {claim.id: claim for claim in CLAIMS}
SVG = "{http://www.w3.org/2000/svg}"


def finding(identity, subject="vgg11", **about):
    """A row of the ledger that says this, with all seeds."""
    claim = BY_ID[identity]
    primary = subject in claim.primary
    fields = {
        "id": identity,
        "claim": claim.sentence,
        "source": claim.source,
        "statistic": claim.statistic,
        "kind": "primary" if primary else "exploratory",
        "estimate": 0.7,
        "interval": (0.6, 0.8),
        "family_interval": (0.5, 0.9),
        "family_confidence": 0.995,
        "needed": claim.needed,
        "holds": claim.range_in_words,
        "paper": claim.paper,
        "verdict": "supported",
        "p_value": 0.001,
        "adjusted_p_value": 0.01 if primary else None,
        "could_have_seen": None,
        "seeds": 10,
        "seeds_walked": 10,
        "seeds_planned": 10,
        "seeds_needed": None,
        "notes": (),
        "walks": (),
        "protocol_commits": (),
        "printed": claim.printed.get(subject),
        "subject": subject,
        "model": SUBJECTS[subject].model,
        "dataset": "cifar9k",
        "scale": "overnight",
        "page": claim.item,
        "reason": "",
    }
    return Finding(**fields | about)


FOUND = [
    finding("interior-minimum", "mlp", verdict="contradicted", estimate=0.2, interval=(0.1, 0.3)),
    finding("interior-minimum"),
    finding("few-barriers", verdict="inconclusive", estimate=0.01, interval=None, seeds_walked=3),
    finding("gd-cosine", verdict="premise absent", estimate=-0.2, interval=(-0.3, -0.1)),
    finding("distance", verdict="contradicted", estimate=0.9, interval=(0.8, 0.95)),
    finding("ratio-is-not-all-accuracy", verdict="inconclusive", estimate=None, interval=None),
]


def test_the_picture_has_a_mark_a_row_that_leads_to_its_page():
    svg = ElementTree.fromstring(verdict.forest(FOUND, "made-up"))
    links = [link.get("{http://www.w3.org/1999/xlink}href") for link in svg.iter(f"{SVG}a")]
    # A mark and a line of text each; one row has no number, and so no mark.
    for page, count in (("fig8", 4), ("tab1", 2), ("fig1", 2), ("fig2", 2), ("tab2", 1)):
        assert links.count(f"figures/{page}.html") == count, page
    text = " ".join("".join(each.itertext()) for each in svg.iter(f"{SVG}text"))
    for claim in {f.claim for f in FOUND}:
        assert claim in text
    assert "✕ contradicted: 0.2 [0.1, 0.3]" in text
    assert "○ inconclusive: 0.01, 3/10 seeds" in text
    assert "– premise absent: −0.2 [−0.3, −0.1]" in text
    assert "○ inconclusive: no number" in text
    said = svg.get("aria-label")
    assert "VGG-11: supported, 0.7 [0.6, 0.8]" in said
    assert "MLP: contradicted, 0.2 [0.1, 0.3]" in said


def test_the_picture_is_the_same_each_time():
    assert verdict.forest(FOUND, "made-up") == verdict.forest(FOUND[::-1], "made-up")
    assert verdict.forest([], "made-up") == ""


@pytest.mark.parametrize(
    ("identity", "about", "low", "high"),
    [
        # Range above 0.5, interval 0.6 to 0.8; a tenth of 0.3 beside it.
        ("noise-hinders-optimisation", {"kind": "exploratory"}, -0.08, 0.88),
        # The family-wise one is drawn where the row is primary.
        ("noise-hinders-optimisation", {}, -0.09, 0.99),
        # The paper's −1, and the end of the range at −0.8.
        ("gd-cosine", {"estimate": -0.2, "interval": (-0.3, -0.1)}, -1.09, -0.01),
        # A ratio in logarithms: from 0.5 to 2, and the paper's 1.7 / 1.4.
        ("distance", {"interval": (0.5, 2.0)}, 0.5 / 4**0.1, 2 * 4**0.1),
        # A share never goes far beyond 0 or 1.
        ("few-barriers", {"estimate": 0.0, "interval": (0.0, 1.0)}, -0.02, 1.02),
    ],
)
def test_a_row_spans_its_numbers_its_range_and_the_paper(identity, about, low, high):
    rows = [finding(identity, **about)]
    assert verdict._limits(BY_ID[identity], rows) == pytest.approx((low, high))


def test_what_is_drawn_of_a_row_is_what_was_found():
    rows = [
        finding("gd-cosine", estimate=-0.5, interval=(-0.6, -0.4)),
        finding("interior-minimum", family_interval=(0.3, 0.95)),
    ]
    figure = verdict._drawn({row.id: [row] for row in rows})
    cosine, minima = figure.axes
    (thin, thick), mark = (sorted(minima.lines[:2], key=Line2D.get_linewidth), minima.lines[2])
    assert list(thin.get_xdata()) == [0.3, 0.95]
    assert list(thick.get_xdata()) == [0.6, 0.8]
    assert list(mark.get_xdata()) == [0.7]
    assert minima.patches[0].get_x() == 0.5, "shaded from the end of the range on"
    assert minima.patches[0].get_x() + minima.patches[0].get_width() == minima.get_xlim()[1]
    # What is exploratory has one interval; the paper's own number is a diamond.
    (thick, mark, paper) = cosine.lines
    assert list(thick.get_xdata()) == [-0.6, -0.4]
    assert (list(paper.get_xdata()), paper.get_marker()) == ([-1], "D")
    assert cosine.patches[0].get_x() + cosine.patches[0].get_width() == pytest.approx(-0.8)


def test_the_grid_says_each_verdict_by_sign_and_word():
    lines = verdict.grid(FOUND).splitlines()
    assert lines[0] == "| claim | VGG-11 | ResNet-56 | MLP | VGG-11, Tiny-ImageNet |"
    assert lines[2] == (
        "| **For most of training the loss has an interior minimum between two iterates of SGD.** "
        "| [●\N{NO-BREAK SPACE}supported](figures/fig8.ipynb) |  "
        "| [✕\N{NO-BREAK SPACE}contradicted](figures/fig8.ipynb) |  |"
    )
    assert len(lines) == 2 + len({f.id for f in FOUND})
    assert "| [–\N{NO-BREAK SPACE}premise absent](figures/fig1.ipynb) |" in "\n".join(lines)


def test_two_claims_in_the_same_words_stand_with_their_statistics():
    pair = [finding(f"ratio-is-not-all-{what}") for what in ("accuracy", "loss")]
    accuracy, loss = verdict.grid(pair).splitlines()[2:]
    assert accuracy.startswith(
        "| Walks of equal ratio of learning rate to batch size differ (valid"
    )
    assert loss.startswith("| Walks of equal ratio of learning rate to batch size differ (train")


def test_a_network_s_pages_stand_with_the_verdicts_that_rest_on_them():
    shown = {}
    for subject in SUBJECTS:
        lines = verdict.pages(FOUND, subject).splitlines()[4:]
        cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
        shown[subject] = {
            page.replace("\N{NO-BREAK SPACE}", " "): (title, verdicts)
            for page, title, verdicts in cells
        }
    own = shown["vgg11"]
    title, verdicts = own["{ref}`Figure 1 <fig1>`"]
    assert title == "The walk of full-batch gradient descent"
    assert verdicts.startswith("– premise absent: Under gradient descent the cosine")
    assert own["{ref}`Figure 16 <fig16>`"] == ("The walk of SGD in epoch 100", "")
    barriers = "○ inconclusive: **SGD crosses almost no barriers.**"
    assert own["{ref}`Table 1 <tab1>`"] == ("Barriers crossed in an epoch", barriers)
    # One page for two networks.
    page, claim = "{ref}`Figure 8 <fig8>`", "For most of training the loss has"
    assert own[page][1].startswith(f"● supported: **{claim}")
    assert shown["mlp"][page][1].startswith(f"✕ contradicted: {claim}")
    # Ten figures and two tables; nine figures; five, that one and two of its own; three.
    assert [len(pages) for pages in shown.values()] == [12, 9, 8, 3]
    tiny = [f"{{ref}}`Figure {number} <fig{number}>`" for number in (20, 21, 24)]
    assert list(shown["vgg11 on tiny-imagenet"]) == tiny


SAID_OF_THE_NORM = BY_ID["sharpness-falls"].cautions["vgg11"].removeprefix("caution: ")


def test_the_sentences_count_what_was_found():
    text = verdict.summary(FOUND)
    assert f"- **1 of {FAMILY} holds:**\n  - For most of training" in text
    sags = "*Share of segments with an interior minimum, of those measured*: 0.7 [0.6, 0.8]"
    assert f"{sags}; the claim holds if it is above 0.5. Caution: the measured epochs" in text
    assert f"- **1 of {FAMILY} is not decided:**\n  - SGD crosses almost no barriers." in text
    assert f"- **{FAMILY - 2} of {FAMILY} are not walked yet.**" in text
    assert "do not hold" not in text, "what is contradicted is not primary"
    assert "Of the 6 rows of the scale *overnight*" in text
    assert "1 supported, 2 contradicted, 2 inconclusive, 1 premise absent; still waiting" in text
    assert "undecided until then: 1 of them." in text
    whole = [
        finding(claim.id, verdict="contradicted", estimate=math.pi)
        for claim in CLAIMS
        if claim.primary
    ]
    assert f"- **{FAMILY} of {FAMILY} do not hold:**" in verdict.summary(whole)
    falls = verdict.summary([finding("sharpness-falls")])
    assert falls.split("\n")[1].endswith("below 1. Caution: " + SAID_OF_THE_NORM + ".")
    assert "not walked" not in verdict.summary(whole)
    assert verdict.summary(whole).endswith("; none still waits for seeds.")


def test_progress_counts_each_walk_once(tmp_path):
    store = Store(tmp_path / "cache", tmp_path / "recorded")
    rows = [line.split(" | ") for line in verdict.progress(store).splitlines()[2:]]
    assert len(rows) == len(ORDER)
    first = "Figure 2, Figure 14, Figure 15, Figure 16; Figure 4"
    assert rows[0][:2] == ["| VGG-11", first]
    assert rows[1][1].startswith("as in Figure 8; Table 2; Figure 18"), "no figure of the MLP's"
    assert rows[5][1].startswith("SGD at a tenth of the paper's learning rate (Section 6); ")
    assert all(row[2].startswith("0 of ") for row in rows)
    planned = sum(int(row[2].removeprefix("0 of ").rstrip(" |")) for row in rows)
    walks = all_experiments("overnight")
    assert planned == len(walks)
    store.folder.mkdir()
    (store.folder / f"{walks[0].hash}.nc").touch()
    assert f"{first} | 1 of 70 |" in verdict.progress(store)


def test_the_front_page_has_primary_rows_first_and_says_where_there_are_none():
    text = verdict.front(FOUND)
    first, others = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert "interior minimum" in first
    assert "interior minimum" not in others
    assert "travels farther" in others
    assert verdict.front([]) == "No walk that decides has been made yet.\n"


def test_the_paper_s_tables_stand_beside_the_walks_at_its_own_size(tmp_path):
    recorded = Store(tmp_path / "cache", checkout() / "data" / "traces")
    rows = [row.strip("| ").split(" | ") for row in verdict.beside_the_paper(recorded).splitlines()]
    cells = {tuple(row[:3]): row[3:] for row in rows[2:]}
    assert cells["VGG-11", "0.1", "25"][0] == "0.0104"
    assert cells["VGG-11", "0.1", "25"][2] == "5"
    # By hand, from the drawn steps of the walk.
    (trace,) = (recorded.get(e) for e in ITEMS["fig15"].experiments("full"))
    loss = trace["loss"].values[24 * 450 : 25 * 450]
    drawn = loss[~np.isnan(trace["stretch"].values[24 * 450 : 25 * 450])]
    height = ((drawn[:, 0] + drawn[:, -1]) / 2 - drawn.min(axis=1)).mean()
    assert len(drawn) == 40
    assert float(cells["VGG-11", "0.1", "25"][1].split()[0]) == pytest.approx(height, rel=5e-3)
    assert cells["ResNet-56", "0.1", "10"] == ["", "", "0", "0 of 450"]
    nowhere = Store(tmp_path / "cache", tmp_path / "recorded")
    assert verdict.beside_the_paper(nowhere) == "They are not all there yet.\n"
