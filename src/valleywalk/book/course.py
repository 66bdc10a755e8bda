"""What a lecturer needs for a course, in one folder: notebooks, slides, answers, recorded walks."""

import os
import re
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import nbformat
import yaml
from jinja2 import Environment, FileSystemLoader
from tqdm import tqdm

from ..files import check_new_folder
from ..folders import checkout
from ..paper.items import ITEMS
from ..paper.page import markdown_table
from ..paper.scales import Scale
from ..trace import open_trace
from ..walks.store import Store
from . import answers, lab
from .build import BookError
from .exercises import exercises_of
from .recorded import description

if TYPE_CHECKING:
    from nbgrader.apps import NbGraderAPI

    from .handout import Book

# Sections of the page for a course that stand in files of their own, too.
PACK, BEFORE = "The pack for lecturers", "Prerequisites"
# In the page of answers, the link to what is answered.
EXERCISE = re.compile(r"\{ref\}`The exercise <exercise-(\w+)-(\d+)>`")
# The walks that each notebook opens.
ASSIGNMENTS: dict[str, tuple[str, ...]] = {
    "quadratic": (),
    "descent": ("fig1",),
    "roles": ("fig4",),
    "barriers": ("text_against_code",),
    "curvature": ("fig3",),
}
OPENED_AT: Scale = "quick"
# Recorded walks to work on without a GPU; those of the notebooks come on top.
HOMEWORK: tuple[tuple[str, Scale], ...] = (
    ("fig1", "overnight"),
    ("fig2", "quick"),
    ("fig2", "full"),
    ("fig3", "overnight"),
    ("fig5", "quick"),
    ("fig9", "quick"),
    ("fig17", "quick"),
    ("fig18", "paper"),
)
NBGRADER = '''"""Settings of nbgrader, which is run in this folder."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "valleywalk"
# The first cell imports torch.
c.ExecutePreprocessor.timeout = 300
'''
WALKS = """# Recorded walks

Unpack the archive where you work. A page opens its walks from there, draws them and returns their
numbers:

    from valleywalk.paper.items import ITEMS

    page = ITEMS["fig1"].at("quick", traces="traces")
    traces = page.get_traces()
    page.draw(traces)

`valleywalk.open_trace("traces/NAME.nc")` opens a single file as an `xarray.Dataset`.
"""
STUDENTS = """# For students

Each folder in `notebooks/` is an assignment: a notebook with blanks, and the walks that it opens.
Install what they need, open the notebook in its own folder, and fill each blank. The cell after a
blank tests your answer. Hand in the notebook under its own name.

    pip install 'valleywalk[notebooks]' jupyterlab
    jupyter lab

Where pip finds no valleywalk, ask your lecturer for its repository:
`pip install 'valleywalk[notebooks] @ git+https://github.com/OWNER/NAME' jupyterlab`.

`homework.zip` has more recorded walks, for work without a GPU. Its README says what each one is.
"""


def write(folder: Path) -> None:
    """Write the pack for lecturers.

    Parameters
    ----------
    folder : Path
        New, or empty.

    Raises
    ------
    BookError
        Not a checkout.
    ValueError
        The folder is not empty, or is no folder.
    OSError
        Nothing can be written there.
    """
    root = checkout()
    if root is None:
        raise BookError("the course is made from a checkout of the project, not from a package")
    new = not folder.is_dir()
    check_new_folder(folder)
    from .handout import Book

    store, book = Store(recorded=root / "data" / "traces"), Book(root / "book")
    folder.mkdir(parents=True, exist_ok=True)
    # In a folder of its own, so that what fails half-way leaves nothing that looks whole.
    with _gone_if_empty(folder, new), TemporaryDirectory(dir=folder, prefix=".course-") as work:
        made = Path(work)
        for part in ("students", "instructors", "slides"):
            (made / part).mkdir(parents=True)
        _notebooks(root, made, store)
        _homework(made / "students" / "homework.zip", store)
        _slides(root, made / "slides", book, store)
        _texts(root, made, book)
        for path in made.iterdir():
            path.replace(folder / path.name)


@contextmanager
def _gone_if_empty(folder: Path, new: bool) -> Iterator[None]:
    """Remove a folder that was made in vain."""
    try:
        yield
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _notebooks(root: Path, folder: Path, store: Store) -> None:
    """The notebooks with answers for instructors; nbgrader makes the students' from them."""
    instructors = folder / "instructors"
    (instructors / "nbgrader_config.py").write_text(NBGRADER, encoding="utf-8")
    for name, items in ASSIGNMENTS.items():
        source = instructors / "source" / name
        source.mkdir(parents=True)
        shutil.copyfile(root / "book" / "course" / f"{name}.ipynb", source / f"{name}.ipynb")
        for path in walks_of([(item, OPENED_AT) for item in items], store):
            (source / "traces").mkdir(exist_ok=True)
            shutil.copyfile(path, source / "traces" / path.name)
    with grader(instructors) as api:
        for name in tqdm(ASSIGNMENTS, desc="notebooks", unit="notebook"):
            made = api.generate_assignment(name)
            if not made["success"]:
                raise BookError(f"nbgrader could not make {name}: {made['error']}\n{made['log']}")
    (instructors / "release").replace(folder / "students" / "notebooks")


@contextmanager
def grader(folder: Path) -> Iterator["NbGraderAPI"]:
    """nbgrader in a folder that `write` has filled."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    config = Config()
    config.CourseDirectory.root = str(folder.resolve())
    config.CourseDirectory.course_id = "valleywalk"
    config.ExecutePreprocessor.timeout = 300
    path = os.environ.get("PATH", "")
    # nbgrader runs alembic by its name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield NbGraderAPI(config=config)
    finally:
        os.environ["PATH"] = path


def walks_of(items: list[tuple[str, Scale]], store: Store) -> list[Path]:
    """Files of the recorded walks of items at scales, each once.

    Raises
    ------
    BookError
        One is not recorded.
    """
    found: dict[Path, None] = {}
    for name, scale in items:
        for experiment in ITEMS[name].experiments(scale):
            path = store.find(experiment)
            if path is None:
                raise BookError(f"a walk of {name} at the {scale} scale is not recorded")
            found[path] = None
    return list(found)


def _homework(archive: Path, store: Store) -> None:
    opened = [(item, OPENED_AT) for items in ASSIGNMENTS.values() for item in items]
    wanted = list(dict.fromkeys([*opened, *HOMEWORK]))
    uses: dict[Path, list[str]] = {}
    for name, scale in wanted:
        for path in walks_of([(name, scale)], store):
            uses.setdefault(path, []).append(f"`{name}` at `{scale}`")
    rows = []
    for path, used in uses.items():
        words, seed, made_on, seconds, day, *_ = description(open_trace(path))
        rows.append([f"`{path.name}`", ", ".join(used), words, seed, made_on, seconds, day])
    header = ["file", "page", "walk", "seed", "made on", "seconds", "day"]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("traces/README.md", f"{WALKS}\n{markdown_table(header, rows)}\n")
        for path in uses:
            packed.write(path, f"traces/{path.name}")


def _slides(root: Path, folder: Path, book: "Book", store: Store) -> None:
    from .slides import slides

    template = _templates(root).get_template("slides.html.j2")
    for number, chapter in enumerate(tqdm(chapters(root), desc="slides", unit="chapter"), 1):
        shown = slides(chapter, book, store, template)
        path = folder / f"{number:02}-{chapter.stem}.html"
        path.write_text(shown, encoding="utf-8")


def chapters(root: Path) -> list[Path]:
    """Those with exercises, in the order of the table of contents."""
    contents = yaml.safe_load((root / "book" / "_toc.yml").read_text(encoding="utf-8"))
    named = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    paths = [root / "book" / f"{name}.md" for name in named if name.startswith("chapters/")]
    return [path for path in paths if ":class: goals" in path.read_text(encoding="utf-8")]


def _texts(root: Path, folder: Path, book: "Book") -> None:
    """Answers and the page for a course; what the folders are."""
    from .handout import Handout, sections

    pages = root / "book" / "chapters"
    course = (pages / "course.md").read_text(encoding="utf-8")
    told = dict(sections(course))
    (folder / "README.md").write_text(
        f"# A walk with SGD: pack for lecturers\n{Handout(book).plain(told[PACK])}",
        encoding="utf-8",
    )
    (folder / "students" / "README.md").write_text(
        f"{STUDENTS}\n## Before you start\n{Handout(book).plain(told[BEFORE])}", encoding="utf-8"
    )
    answered = (pages / "answers.md").read_text(encoding="utf-8")
    texts = {
        "answers": answers.with_output(with_questions(answered, root), "answers.md", root),
        "course": course.replace("```{include} ../lab.md\n```\n", lab.page()),
    }
    template = _templates(root).get_template("page.html.j2")
    for name, text in texts.items():
        handout, title = Handout(book), text.removeprefix("# ").split("\n")[0]
        parts = [handout.html(part) for part in re.split("^(?=## )", text, flags=re.MULTILINE)]
        page = template.render(title=title, body="\n".join(parts))
        (folder / "instructors" / f"{name}.html").write_text(page, encoding="utf-8")


def with_questions(answered: str, root: Path) -> str:
    """The page of answers, where each link to an exercise has become its question."""
    asked_in = {page for page, _ in EXERCISE.findall(answered)}
    questions = {page: _questions(page, root) for page in asked_in}
    return EXERCISE.sub(lambda link: questions[link[1]][int(link[2]) - 1], answered)


def _questions(page: str, root: Path) -> list[str]:
    """The exercises of a notebook or a chapter."""
    from .handout import questions_of

    notebook = root / "notebooks" / f"{page}.ipynb"
    if notebook.exists():
        return exercises_of(nbformat.read(notebook, as_version=4))
    return questions_of((root / "book" / "chapters" / f"{page}.md").read_text(encoding="utf-8"))


def _templates(root: Path) -> Environment:
    return Environment(loader=FileSystemLoader(root / "book" / "course"), autoescape=False)
