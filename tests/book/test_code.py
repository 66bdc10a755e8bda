"""The code that the prose shows, run as it stands: it prints what the page says that it prints."""

import contextlib
import io
import re

import matplotlib.pyplot as plt
import pytest

from valleywalk.folders import checkout

BOOK = checkout() / "book"
CHAPTERS = sorted((BOOK / "chapters").glob("*.md"))
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)


def run(path):
    """Run all blocks of a page in order, each against the output shown; gives their names."""
    names = {}
    for code, shown in BLOCK.findall(path.read_text(encoding="utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, path.name, "exec"), names)
        if shown:
            assert printed.getvalue() == shown
    return names


def test_your_own_training(capsys):
    names = run(BOOK / "training.md")
    assert len(names["trace"]["iteration"]) == 30
    assert len(names["figure"].axes) == 3
    assert 0 < names["watcher"].trace["turned"].mean() < 1
    plt.close("all")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_exercises_have_solutions_that_run(path):
    text = path.read_text(encoding="utf-8")
    exercises, solutions = text.count("} Exercise\n"), text.count("} Solution\n")
    assert exercises == solutions == len([s for _, s in BLOCK.findall(text) if s])
    run(path)


@pytest.mark.parametrize(
    "path",
    [p for p in CHAPTERS if p.stem not in ("explorer", "course", "play")],
    ids=lambda path: path.stem,
)
def test_a_chapter_has_what_a_course_needs(path):
    text = path.read_text(encoding="utf-8")
    assert text.count(":class: goals") == 1
    assert text.count("} Exercise\n") >= 1
    assert text.count("} To discuss\n") == 1
    assert len(re.findall(r"\{(?:ref|doc|eq|term)\}", text)) >= 2, "leads to other pages"
