"""The ledger in a terminal: a line a row, as wide as the terminal, coloured only there."""

import dataclasses
import json
import re
import sys

import pytest

from valleywalk.cli import main
from valleywalk.paper.ledger import VERDICTS, findings_without_walks
from valleywalk.paper.terminal import ledger_lines

COLOUR = re.compile(r"\033\[(\d+)m")
LONG = "A larger batch acts as a smaller rate: the floor lies farther along the step than ever."


def finding(verdict, **changed):
    (some, *_) = findings_without_walks()
    about = {"claim": LONG, "id": "some-claim", "model": "vgg11", "dataset": "cifar9k"}
    about |= {"scale": "overnight", "estimate": -0.0884, "interval": (-0.1097, -0.0672)}
    about |= {"seeds_walked": 7, "kind": "exploratory", "verdict": verdict}
    return dataclasses.replace(some, **about | changed)


@pytest.fixture
def found():
    """A finding of each verdict, in the wrong order, and one more that is primary."""
    every = [finding(verdict) for verdict in reversed(VERDICTS)]
    return [
        *every,
        finding("inconclusive", kind="primary", estimate=None, interval=None, seeds_walked=0),
    ]


def test_a_line_says_verdict_claim_place_number_and_seeds():
    short = finding("supported", claim="Small.")
    (line,) = ledger_lines([short], width=120)
    assert line == ("supported  Small  VGG-11 on cifar9k  -0.088 [-0.110, -0.067]  7/10")
    (line,) = ledger_lines([finding("supported", claim="Small.", interval=None)], width=120)
    assert "  -0.088  7/10" in line


def test_an_interval_is_given_to_the_digits_that_it_bears():
    for estimate, interval, shown in (
        (10.21, (8.303, 12.56), "10.2 [8.3, 12.6]"),
        (0.000426, (0.0, 0.0387), "0.000 [0.000, 0.039]"),
        (-0.0008, (-0.0869, 0.0885), "0.00 [-0.09, 0.09]"),
        (1234.0, (900.0, 1600.0), "1234 [900, 1600]"),
        (1.0, (1.0, 1.0), "1.00 [1.00, 1.00]"),
    ):
        (line,) = ledger_lines(
            [finding("supported", estimate=estimate, interval=interval)], width=120
        )
        assert f"  {shown}  " in line


def test_what_is_primary_comes_first_of_its_verdict(found):
    lines = ledger_lines(found, width=120)
    starts = [re.split(r"  +", line)[0] for line in lines]
    assert starts == [
        "supported", "contradicted", "inconclusive*", "inconclusive", "premise absent"
    ]  # fmt: skip
    assert "no number" in lines[2]
    assert lines[2].endswith(" 0/10")


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(found, width):
    long = [dataclasses.replace(one, id="an-id-that-is-longer-than-what-is-left") for one in found]
    assert {len(line) for line in ledger_lines(long, width=width)} == {width}
    lines = ledger_lines(found, width=width)
    assert all(len(line) <= width for line in lines)
    assert all("VGG-11 on cifar9k" in line for line in lines)
    assert all("-0.088 [-0.110, -0.067]" in line for line in lines if "no number" not in line)
    coloured = ledger_lines(found, width=width, colour=True)
    assert [COLOUR.sub("", line) for line in coloured] == lines


def test_a_claim_is_cut_and_where_little_is_left_its_id_stands_for_it(found):
    assert all(
        "A larger batch acts as a smaller ra" in line for line in ledger_lines(found, width=120)
    )
    assert all("…" in line for line in ledger_lines(found, width=120))
    assert all(LONG.rstrip(".") in line for line in ledger_lines(found, width=200))
    assert all("  some-claim  " in line for line in ledger_lines(found, width=80))


def test_ids_stand_for_claims_that_would_look_alike_on_one_place(found):
    other = finding("supported", claim=f"{LONG} Much.", id="other-claim")
    shown = ledger_lines([*found, other], width=120)
    assert sum("  some-claim  " in line for line in shown) == len(found)
    assert sum("  other-claim  " in line for line in shown) == 1
    elsewhere = ledger_lines([*found, dataclasses.replace(other, dataset="mnist")], width=120)
    assert not any("-claim" in line for line in elsewhere)


def test_without_a_terminal_nothing_is_cut(found):
    other = finding("supported", model="a noisy quadratic in very many dimensions", scale=None)
    lines = ledger_lines([*found, other], width=None)
    assert all(LONG.rstrip(".") in line for line in lines)
    assert any("a noisy quadratic in very many dimensions on cifar9k" in line for line in lines)
    assert len({len(line) for line in lines}) == 1


def test_each_verdict_has_its_colour_and_its_word(found):
    lines = ledger_lines(found, width=100, colour=True)
    codes = [COLOUR.findall(line) for line in lines]
    assert codes == [[code, "0"] for code in ("32", "31", "33", "33", "90")]
    assert all(any(verdict in line for line in lines) for verdict in VERDICTS)


def test_findings_of_several_scales_say_their_own():
    both = [finding("supported"), finding("supported", scale="quick")]
    first, second = ledger_lines(both, width=160)
    assert "VGG-11 on cifar9k, overnight" in first
    assert "VGG-11 on cifar9k, quick" in second
    assert "overnight" not in ledger_lines(both[:1], width=160)[0]


def test_no_finding_is_no_line():
    assert ledger_lines([], width=80) == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_command_is_coloured_in_a_terminal_alone(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["claims", "--scale", "smoke"])
    piped = capsys.readouterr().out
    assert "\033" not in piped
    lines = piped.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["supported", "contradicted"]
    assert "…" not in piped
    assert "2 findings: 1 supported, 1 contradicted, 0 inconclusive, 0 premise absent." in piped
    assert "Decided at p" not in piped
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    main(["claims", "--scale", "smoke"])
    shown = capsys.readouterr().out
    assert COLOUR.findall(shown) == ["32", "0", "31", "0"]
    plain = COLOUR.sub("", shown)
    assert all(len(line) <= width for line in plain.split("\n\n")[0].splitlines())
    monkeypatch.setenv("NO_COLOR", "1")
    main(["claims", "--scale", "smoke"])
    assert capsys.readouterr().out == plain
    main(["claims", "--scale", "smoke", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 2
