"""The code that the prose shows, run as it stands: it prints what the page says that it prints."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from valleywalk.book.answers import BLOCK, run, with_output
from valleywalk.book.exercises import exercises_of
from valleywalk.folders import checkout

BOOK = checkout() / "book"
ANSWERS = BOOK / "chapters" / "answers.md"
WITHOUT_EXERCISES = ("answers", "course", "explorer", "play")
CHAPTERS = sorted(
    path for path in (BOOK / "chapters").glob("*.md") if path.stem not in WITHOUT_EXERCISES
)
NOTEBOOKS = sorted((checkout() / "notebooks").glob("*.ipynb"))
ASKED = re.compile(r"^:::\{admonition\} Exercise\n.*?^:name: exercise-(\S+)$", re.M | re.S)


def run_all(path):
    """Run all blocks of a page in order, each against the output shown; gives their names."""
    names = {}
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        printed = run(block["code"], path.name, names)
        if block["shown"]:
            assert printed == block["shown"]
    return names


def test_your_own_training(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_all(BOOK / "training.md")
    assert len(names["trace"]["iteration"]) == 30
    assert len(names["figure"].axes) == 4
    assert 0 < names["watcher"].trace["turned"].mean() < 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "walk.csv", "walk.jsonl"}
    plt.close("all")


def test_start_in_five_minutes(tmp_path):
    """All commands of the page, one after the other; what takes minutes is only looked up."""
    commands = re.findall(r"^    (.*)$", (BOOK / "start.md").read_text(encoding="utf-8"), re.M)
    script = "set -e\n" + "\n".join(commands)
    for written, instead in {
        "git clone https://github.com/OWNER/NAME": f"git clone --quiet '{BOOK.parent}'",
        "make book": "make -n book\nmkdir -p build/book/_build/html\n"
        "echo a page > build/book/_build/html/index.html",
        "make .venv": "make -n .venv",
        "walk --model mlp": "walk --model mlp --training-images 200",
        "valleywalk book ": "valleywalk book --help ",
        ".venv/bin/": f"'{Path(sys.executable).parent}'/",
    }.items():
        assert written in script
        script = script.replace(written, instead)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "traces").symlink_to(BOOK.parent / "data" / "traces")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"VALLEYWALK_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "data" / "cache").exists(), "the first figure is of a recorded walk"
    made = tmp_path / "valleywalk"
    for picture in ("fig1.png", "own.png"):
        assert (made / picture).read_bytes().startswith(b"\x89PNG")
    with zipfile.ZipFile(made / "valleywalk-book.zip") as packed:
        assert "html/index.html" in packed.namelist()
    install = "uv pip install --python .venv/bin/python --constraint constraints.txt"
    assert install in done.stdout


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_shows_no_code_that_does_not_run(path):
    run_all(path)


def test_answers_run_and_print_what_they_say(monkeypatch):
    monkeypatch.chdir(checkout())
    run_all(ANSWERS)


def test_an_answer_that_says_no_output_is_given_it(tmp_path, monkeypatch):
    code = "```python\nprint(len(kept), open('walk').read())\n```\n"
    said = "```python\nkept = [1]\nprint('said')\n```\n\n```text\nsaid\n```\n"
    (tmp_path / "walk").write_text("seen")
    found = with_output(f"{said}\n{code}\nAfter.\n", "page.md", tmp_path)
    assert found == f"{said}\n{code}\n```text\n1 seen\n```\n\nAfter.\n"


def test_each_answer_prints_something():
    for answer in ANSWERS.read_text(encoding="utf-8").split("\n(answer-")[1:]:
        (block,) = BLOCK.finditer(answer)
        assert "print(" in block["code"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_exercises_and_answers_lead_to_each_other(path):
    text, answers = path.read_text(encoding="utf-8"), ANSWERS.read_text(encoding="utf-8")
    names = ASKED.findall(text)
    assert names == [f"{path.stem}-{number}" for number in range(1, len(names) + 1)]
    assert len(names) == text.count("} Exercise\n")
    assert names == re.findall(rf"^\(answer-({path.stem}-\d+)\)=$", answers, re.M)
    for name in names:
        assert f"{{ref}}`Answer <answer-{name}>`" in text
        assert f"{{ref}}`The exercise <exercise-{name}>`" in answers
    assert "dropdown" not in text, "no answer under its question"


def test_no_answer_types_what_a_recorded_walk_says():
    for answer in ANSWERS.read_text(encoding="utf-8").split("\n(answer-")[1:]:
        (block,) = BLOCK.finditer(answer)
        if "get_traces" in block["code"] or "store.open" in block["code"]:
            assert not block["shown"]
            assert not re.findall(r"\d+\.\d+", BLOCK.sub("", answer))


def names_of(notebook):
    asked = exercises_of(nbformat.read(notebook, as_version=4))
    return [f"{notebook.stem}-{number}" for number in range(1, len(asked) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_s_exercises_have_their_answers(path):
    answers = ANSWERS.read_text(encoding="utf-8")
    names = names_of(path)
    assert names, "an exercise for each notebook"
    assert names == re.findall(rf"^\(answer-({path.stem}-\d+)\)=$", answers, re.M)
    for name in names:
        assert f"(answer-{name})=\n### Exercise {name[-1]}\n\n" in answers
        assert answers.count(f"{{ref}}`The exercise <exercise-{name}>`") == 1


def test_no_answer_is_without_its_exercise():
    answered = re.findall(r"^\(answer-(\S+)-\d+\)=$", ANSWERS.read_text(encoding="utf-8"), re.M)
    assert set(answered) == {path.stem for path in CHAPTERS + NOTEBOOKS}


def test_a_course_has_each_notebook_s_exercises_in_one_session():
    text = (BOOK / "chapters" / "course.md").read_text(encoding="utf-8")
    three, six = text.split("\n## ")[3].split("**Six sessions**")
    of_notebooks = [name for path in NOTEBOOKS for name in names_of(path)]
    of_chapters = [name for path in CHAPTERS for name in ASKED.findall(path.read_text("utf-8"))]
    referred = re.findall(r"<exercise-([\w-]+)>`", six)
    assert sorted({*referred} - {*of_chapters}) == sorted(of_notebooks)
    assert len(referred) == len({*referred})
    assert {*re.findall(r"<exercise-([\w-]+)>`", three)} <= {*of_notebooks}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_what_a_course_needs(path):
    text = path.read_text(encoding="utf-8")
    assert text.count(":class: goals") == 1
    assert text.count("} Exercise\n") >= 1
    assert text.count("} To discuss\n") == 1
    assert len(re.findall(r"\{(?:ref|doc|eq|term)\}", text)) >= 2, "leads to other pages"
