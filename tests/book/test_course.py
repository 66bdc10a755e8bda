"""The pack for lecturers: what is in it, and that nbgrader grades its notebooks."""

import os
import re
import shutil
import sys
import zipfile

import matplotlib.pyplot as plt
import nbformat
import pytest
from filelock import FileLock
from jinja2 import Template

pytest.importorskip("nbgrader", reason="needs the extra: course")

from valleywalk import Store, open_trace
from valleywalk.book import course
from valleywalk.book.answers import BLOCK
from valleywalk.book.handout import Book
from valleywalk.book.lab import STATIONS
from valleywalk.book.slides import slides
from valleywalk.cli import main
from valleywalk.folders import checkout
from valleywalk.paper.items import ITEMS

ROOT = checkout()
CHAPTERS = [path.stem for path in course.chapters(ROOT)]


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """The whole pack, made once by the command, whichever of pytest's workers comes first."""
    together = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        together = together.parent
    folder = together / "course-pack"
    with FileLock(together / "course-pack.lock"):
        if not folder.exists():
            main(["course", str(folder)])
    return folder


def cells(path, kind):
    return [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get(kind)
    ]


@pytest.mark.parametrize("name", course.ASSIGNMENTS)
def test_students_have_blanks_and_instructors_answers(pack, name):
    given = pack / "students" / "notebooks" / name / f"{name}.ipynb"
    source = pack / "instructors" / "source" / name / f"{name}.ipynb"
    blanks, answered = cells(given, "solution"), cells(source, "solution")
    assert len(blanks) == len(answered) == len(cells(given, "grade")) >= 4
    for blank, answer in zip(blanks, answered, strict=True):
        assert "# YOUR CODE HERE\n    raise NotImplementedError()" in blank.source
        body = answer.source.split("### BEGIN SOLUTION\n")[1].split("    ### END")[0]
        assert body.strip()
        assert body not in given.read_text(encoding="utf-8")
    for graded, whole in zip(cells(given, "grade"), cells(source, "grade"), strict=True):
        visible, hidden = whole.source.split("### BEGIN HIDDEN TESTS\n")
        assert graded.source.strip() == visible.strip()
        assert "assert" in visible
        assert "assert" in hidden


def grade(pack, name, student, change=lambda source: source):
    """Points that nbgrader gives for the notebook with answers, changed by `change`."""
    instructors = pack / "instructors"
    folder = instructors / "submitted" / student / name
    shutil.copytree(pack / "students" / "notebooks" / name, folder)
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    answered = cells(instructors / "source" / name / f"{name}.ipynb", "solution")
    blanks = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    for blank, answer in zip(blanks, answered, strict=True):
        blank.source = change(answer.source) if change else blank.source
    nbformat.write(notebook, folder / f"{name}.ipynb")
    with course.grader(instructors) as api:
        graded = api.autograde(name, student)
        assert graded["success"], graded["log"]
        (found,) = (each for each in api.get_submissions(name) if each["student"] == student)
    return found["score"], found["max_score"]


@pytest.mark.slow
def test_nbgrader_gives_points_for_right_answers_and_for_no_others(pack):
    """In one test, since two graders at a time lock their records."""
    for name in course.ASSIGNMENTS:
        score, most = grade(pack, name, "right")
        assert (
            score == most == 2 * len(cells(ROOT / "book" / "course" / f"{name}.ipynb", "grade"))
        ), name
    assert grade(pack, "quadratic", "blank", change=None) == (0, 10)

    def forget_marginal(source):
        return source.replace('return "marginal"', 'return "divergent"')

    # Which only a hidden test finds.
    assert grade(pack, "quadratic", "wrong", forget_marginal) == (8, 10)


def test_the_students_part_has_no_answer(pack):
    answers = (ROOT / "book" / "chapters" / "answers.md").read_text(encoding="utf-8")
    lines = {
        line.strip()
        for block in BLOCK.finditer(answers)
        for line in block["code"].splitlines()
        if "print(" in line
    }
    files = [path for path in (pack / "students").rglob("*") if path.suffix in (".ipynb", ".md")]
    for path in [*files, *(pack / "slides").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert not [line for line in lines if line in text], path
    shown = (pack / "instructors" / "answers.html").read_text(encoding="utf-8")
    assert "same walk True" in shown, "with its output"
    assert "How often does it show a barrier" in shown, "with its question"
    assert "The exercise" not in shown


def test_instructors_have_the_page_for_a_course(pack):
    text = (pack / "instructors" / "course.html").read_text(encoding="utf-8")
    for title in ("Prerequisites", "Syllabus", "One session", "Three sessions", "Six sessions"):
        assert title in text
    for station in STATIONS:
        assert station.title in text
    assert "{doc}" not in text
    assert "```" not in text


def test_the_homework_says_what_each_walk_is(pack, tmp_path):
    with zipfile.ZipFile(pack / "students" / "homework.zip") as archive:
        archive.extractall(tmp_path)
    walks = sorted((tmp_path / "traces").glob("*.nc"))
    assert len(walks) >= 20
    assert sum(path.stat().st_size for path in walks) < 4e6
    told = (tmp_path / "traces" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in told.splitlines() if line.startswith("| `")]
    assert sorted(row.split("`")[1] for row in rows) == [path.name for path in walks]
    for row in rows:
        trace = open_trace(tmp_path / "traces" / row.split("`")[1])
        assert trace.attrs["device"] in row
        assert trace.attrs["started"][:10] in row
    # Every page that is named finds all its walks there.
    for name, scale in set(re.findall(r"`(\w+)` at `(\w+)`", told)):
        page = ITEMS[name].at(scale, traces=str(tmp_path / "traces"))
        assert all(page.store.open(walk) is not None for walk in page.experiments)


@pytest.mark.parametrize("name", CHAPTERS)
def test_slides_have_goals_figures_questions_and_need_nothing_else(pack, name):
    (path,) = (pack / "slides").glob(f"*-{name}.html")
    text = path.read_text(encoding="utf-8")
    chapter = (ROOT / "book" / "chapters" / f"{name}.md").read_text(encoding="utf-8")
    assert f"<title>{chapter[2:].splitlines()[0]}" in text.replace("&#39;", "'")
    assert "After this chapter you can" in text
    assert text.count("<h1>Exercise") == chapter.count("} Exercise\n")
    assert "<h1>To discuss" in text
    assert text.count("<img ") == chapter.count("% Figure: ") >= 1
    assert text.count('class="formula"') >= chapter.count("```{math}")
    for reference in re.findall(r'(?:src|href)="([^"]{,200})', text):
        assert reference.startswith("data:"), reference
    for raw in ("{ref}", "{doc}", "{eq}", "{cite", "{term}", ":::", "% On", "$"):
        assert raw not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL), raw


def test_the_figure_of_a_slide_is_closed(tmp_path):
    chapter = tmp_path / "chapter.md"
    goals = ":::{admonition} Goals\n:class: goals\nTo see.\n:::\n"
    chapter.write_text(f"# A\n\n{goals}\n## B\n\n% On the slide:\n% Figure: fig28\n")
    before = plt.get_fignums()
    shown = slides(chapter, Book(ROOT / "book"), Store(), Template("{{ slides[2].body }}"))
    assert "<img alt=" in shown
    assert plt.get_fignums() == before


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["screen", "phone"])
def test_slides_turn_by_keys_offline_and_fit_the_screen(pack, open_page, size):
    viewport = dict(zip(("width", "height"), size, strict=True))
    for path in sorted((pack / "slides").iterdir()):
        tab = open_page(path, viewport=viewport)
        count = tab.locator("section").count()
        for number in range(1, count + 1):
            assert tab.locator("output").text_content() == f"{number} / {count}"
            assert tab.locator("section:visible").get_attribute("id") == f"{number}"
            beyond = tab.evaluate(
                "({scrollWidth, scrollHeight}) => "
                "[scrollWidth - innerWidth, scrollHeight - innerHeight]",
                tab.evaluate_handle("document.documentElement"),
            )
            assert beyond[0] <= 0, f"{path.name}, {number}: too wide"
            # On a phone one may scroll.
            assert beyond[1] <= 0 or size[0] < 500, f"{path.name}, {number}: too high"
            tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowLeft")
        assert tab.locator("output").text_content() == f"{count - 1} / {count}"
        assert not tab.locator("aside:visible").count()
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("n")
        assert tab.locator("aside:visible").count() == 1
        assert tab.complaints == []


def test_each_section_has_its_slide():
    for name in CHAPTERS:
        chapter = (ROOT / "book" / "chapters" / f"{name}.md").read_text(encoding="utf-8")
        assert chapter.count("\n## ") == chapter.count("\n\n% On the slide:\n% - ")


def test_the_readme_names_what_is_there(pack):
    text = (pack / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `([\w./]+)`", text, re.MULTILINE):
        assert (pack / name).exists()
    for name in course.ASSIGNMENTS:
        assert name in text
    assert "calculus" in (pack / "students" / "README.md").read_text(encoding="utf-8").lower()


def refused(folder):
    with pytest.raises(SystemExit) as caught:
        main(["course", str(folder)])
    return str(caught.value.code)


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine").write_text("kept")
    assert f"{tmp_path} is there already; name a new folder" in refused(tmp_path)
    assert f"{tmp_path / 'mine'} is there already" in refused(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(course, "_notebooks", fail)
    assert "disk full" in refused(tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("name", [".", "link", "new/folder"])
def test_a_folder_that_is_empty_is_filled(tmp_path, monkeypatch, name):
    for part in ("_notebooks", "_homework", "_slides", "_texts"):
        monkeypatch.setattr(course, part, lambda *a: None)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if name == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    main(["course", name])
    made = {path.name for path in (tmp_path / "here" / name).iterdir()}
    assert made == {"students", "instructors", "slides"}


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_link_to_nowhere_is_no_new_folder(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    assert f"{tmp_path / 'link'} is there already" in refused(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml", None)
    message = refused(tmp_path / "pack")
    assert "latex2mathml" in message
    assert "pip install 'valleywalk[course]'" in message
    assert list(tmp_path.iterdir()) == []


def test_a_walk_that_is_not_recorded_is_named(tmp_path):
    with pytest.raises(course.BookError, match="a walk of fig1 at the paper scale is not recorded"):
        course.walks_of([("fig1", "paper")], course.Store(recorded=tmp_path))
