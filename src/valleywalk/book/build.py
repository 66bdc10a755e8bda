"""Execute the notebooks and bind them into the book."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import quote

import nbformat
import papermill
import yaml
from nbformat import NotebookNode
from tqdm import tqdm

from ..files import check_writable
from ..folders import checkout
from ..machine import cores
from ..markdown import fenced, with_minus, without_marks
from ..paper import full_size
from ..paper.claim import ALPHA, FEWEST_SEEDS, SUBJECTS
from ..paper.items import ITEMS, Item
from ..paper.ledger import Finding, findings, findings_without_walks
from ..paper.ledger_text import counts, ledger_table
from ..paper.scales import DECIDING, BookScale, Scale
from ..seeds import LIKENESS, POWER
from ..trace import environment
from ..walks.parallel import compute
from ..walks.resources import Resources
from ..walks.store import Store, only_one
from . import answers, explorer, lab, play, verdict
from .exercises import boxes, exercises_of, tagged
from .head import head
from .prose import SENTENCES

# A recorded book shows each page at the first of these of which all walks are there.
NEAREST_FIRST: tuple[Scale, ...] = ("paper", "full", "overnight", "quick")
# A kernel warns at each start that it talks over TCP, and calls it an error that it is interrupted
# when its notebook is done. What goes wrong in a cell, or ends the kernel, is raised here.
KERNEL_ARGUMENTS = ["--log-level=50"]
REPOSITORY = re.compile(r"https://[\w.-]+/[\w.-]+/[\w.-]+")


class BookError(RuntimeError):
    """The book could not be built."""


def build(
    scale: BookScale = "recorded",
    *,
    folder: Path | None = None,
    strict: bool = False,
    processes: int | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    restart: bool = False,
    repository: str | None = None,
) -> Path:
    """Walk what is missing, execute the notebook of each item, and render the pages.

    Parameters
    ----------
    scale : {"recorded", "smoke", "quick", "overnight", "full", "paper"}
        recorded: each page at the scale nearest to the paper's of which all walks are there; what
        has none is walked at the quick scale. The same where an item has no walks at the scale.
    folder : Path, optional
        Where it is kept; default `build/book` of the checkout. It is built beside this folder, so
        that the book before stays until there is a new one.
    strict : bool
        Take warnings as errors.
    processes : int, optional
        Walks and notebooks at a time; default: one per core.
    device : str
        Where to walk.
    scheduler : str, optional
        Address of a Dask scheduler whose workers walk.
    restart : bool
        Start walks over that were interrupted, rather than going on.
    repository : str, optional
        Address of the project's repository, https://HOST/OWNER/NAME, for links to its source, to
        its issues, and, on GitHub, to Binder and Colab. Default: no such links.

    Returns
    -------
    Path
        The front page, `index.html`.

    Raises
    ------
    BookError
        Not a checkout; no such repository; the folder is of something else; a notebook failed
        (named); the rendering failed.
    OSError
        The folder cannot be written to, or another process builds the book there; found out before
        anything is walked.
    """
    if repository is not None and not REPOSITORY.fullmatch(repository):
        raise BookError(f"repository is {repository!r}; give https://HOST/OWNER/NAME")
    root = checkout()
    if root is None:
        raise BookError("the book is built from a checkout of the project, not from a package")
    given = folder is not None
    folder = folder or root / "build" / "book"
    building = folder.with_name(f"{folder.name}-building")
    # In the checkout's own place lies a book, or what an interruption left of one.
    for each in (folder, building) if given else ():
        if os.path.lexists(each) and not (each / "_toc.yml").is_file():
            raise BookError(f"{each} is there and is no book; move it away, or build elsewhere")
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
    with only_one(folder):
        resources = Resources(device, processes, scheduler, restart)
        _build(root, building, scale, resources, strict=strict, repository=repository)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    return folder / "_build" / "html" / "index.html"


def _build(
    root: Path,
    folder: Path,
    scale: BookScale,
    resources: Resources,
    *,
    strict: bool,
    repository: str | None,
) -> None:
    store = Store()
    scales = {name: scale_of(item, scale, store) for name, item in ITEMS.items()}
    experiments = [
        experiment for name, item in ITEMS.items() for experiment in item.experiments(scales[name])
    ]
    compute(experiments, store, resources)
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(root / "book", folder)
    (folder / "figures").mkdir(exist_ok=True)
    found = {scale: findings(scale) for scale in DECIDING}
    front = folder / "index.md"
    front.write_text(with_constants(front.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "verdict.md").write_text(verdict.front(found[DECIDING[0]]), encoding="utf-8")
    (folder / "ledger.md").write_text(ledger(found), encoding="utf-8")
    for subject in SUBJECTS:
        table = folder / "networks" / f"{subject.replace(' on ', '-')}-pages.md"
        table.write_text(verdict.pages(found[DECIDING[0]], subject), encoding="utf-8")
    (folder / "progress.md").write_text(verdict.progress(store), encoding="utf-8")
    beside = verdict.beside_the_paper(store)
    (folder / "beside-the-paper.md").write_text(beside, encoding="utf-8")
    (folder / "full-size.md").write_text(full_size.there(store), encoding="utf-8")
    (folder / "full-size-left.md").write_text(full_size.left(store), encoding="utf-8")
    (folder / "drawn-steps.md").write_text(full_size.drawn_steps(store), encoding="utf-8")
    (folder / "lab.md").write_text(lab.page(), encoding="utf-8")
    answers_page = folder / "chapters" / "answers.md"
    text = answers.with_output(answers_page.read_text(encoding="utf-8"), answers_page.name, root)
    answers_page.write_text(text, encoding="utf-8")
    (folder / "explorer-data.html").write_text(explorer.data(scales, store), encoding="utf-8")
    two_plans = explorer.two_plans(scales, store)
    (folder / "two-plans-data.html").write_text(two_plans, encoding="utf-8")
    plans_beside = explorer.plans_beside(store)
    (folder / "two-plans-beside.md").write_text(plans_beside, encoding="utf-8")
    (folder / "play-data.html").write_text(play.data(), encoding="utf-8")
    if repository is not None:
        _link(folder / "_config.yml", repository)
    _execute_all(root, folder / "figures", scales, resources.processes, repository)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(folder), "-n"]
    if strict:
        command += ["-W", "--keep-going"]
    if _render(command):
        raise BookError(f"jupyter-book failed; its messages are above. Its sources are in {folder}")


def _render(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode


def scale_of(item: Item, scale: BookScale, store: Store) -> Scale:
    """The scale at which an item is shown."""
    if scale != "recorded" and scale in item.scales:
        return scale
    for nearest in NEAREST_FIRST:
        if nearest in item.scales and item.at(nearest).is_there(store):
            return nearest
    return "quick"


def with_constants(front: str) -> str:
    """The front page, saying by which constants a verdict is reached."""
    return SENTENCES.from_string(front).render(
        alpha=ALPHA,
        by_chance=round(1 / ALPHA),
        likeness=LIKENESS,
        most_steps=round(1 / LIKENESS),
        power=f"{POWER:.0%}".replace("%", " %"),
        fewest_seeds=FEWEST_SEEDS,
        figures=sum(name.startswith("fig") for name in ITEMS),
    )


def ledger(found: Mapping[Scale, list[Finding]]) -> str:
    """The claims ledger in Markdown, a table a scale, from what was found there."""
    tables = {f"At the {scale} scale": of_scale for scale, of_scale in found.items() if of_scale}
    parts = [] if tables else ["No walk is there yet."]
    for title, of_title in (tables | {"Without a walk": findings_without_walks()}).items():
        parts.append(f"### {title}: {counts(of_title)}\n\n{ledger_table(of_title)}")
    return with_minus("\n\n".join(parts)) + "\n"


def _execute_all(
    root: Path,
    target: Path,
    scales: Mapping[str, Scale],
    processes: int | None,
    repository: str | None,
) -> None:
    workers = processes or cores()
    failed = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        tasks = {
            pool.submit(execute_page, root, target, ITEMS[name], scale, repository): ITEMS[name]
            for name, scale in scales.items()
        }
        for task in tqdm(as_completed(tasks), total=len(tasks), desc="notebooks", unit="page"):
            if (error := task.exception()) is not None:
                failed.append(f"{tasks[task].label}: {error}")
    if failed:
        raise BookError(f"{len(failed)} notebooks failed:\n" + "\n".join(failed))


def execute_page(
    root: Path, target: Path, item: Item, scale: Scale, repository: str | None = None
) -> None:
    """Execute an item's notebook into `target/<item>.ipynb`, with the item's own prose on top.

    A notebook that failed is not left there.
    """
    page = target / f"{item.name}.ipynb"
    prose = page.with_suffix(".md")
    try:
        papermill.execute_notebook(
            root / "notebooks" / f"{item.page.notebook}.ipynb",
            page,
            parameters=item.parameters(scale),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=KERNEL_ARGUMENTS,
            cwd=root,
        )
        notebook = nbformat.read(page, as_version=4)
        run = _ways_to_run(item, scale, repository)
        notebook = bind_page(notebook, item, scale, prose.read_text(encoding="utf-8"), run)
        nbformat.write(notebook, page)
    except BaseException:
        page.unlink(missing_ok=True)
        raise
    prose.unlink()


def _link(config: Path, repository: str) -> None:
    """Switch the theme's links to the repository on."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings["repository"] = {"url": repository, "path_to_book": "book", "branch": "main"}
    for button in ("repository", "issues", "edit_page"):
        settings["html"][f"use_{button}_button"] = True
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _ways_to_run(item: Item, scale: Scale, repository: str | None) -> str:
    """How a reader runs the page's notebook."""
    path = f"notebooks/{item.page.notebook}.ipynb"
    text = f"## Run it\n\n    {item.papermill(scale)}\n"
    if repository is None:
        return text
    text += f"\n[Source of the notebook]({repository}/blob/main/{path})"
    if repository.startswith("https://github.com/"):
        name = repository.removeprefix("https://github.com/")
        binder = f"https://mybinder.org/v2/gh/{name}/main?labpath={quote(path, safe='')}"
        colab = f"https://colab.research.google.com/github/{name}/blob/main/{path}"
        text += (
            f" · [open in Binder]({binder}) · [open in Colab]({colab}), where the first cell must "
            f"be `%pip install 'valleywalk[notebooks] @ git+{repository}'`"
        )
    return f"{text}\n"


def bind_page(
    notebook: NotebookNode, item: Item, scale: Scale, prose: str, ways_to_run: str
) -> NotebookNode:
    """Put an executed notebook into the order of a page, with the item's title, head and prose.

    First the figure, then its head, what the run shows and the numbers, what the paper shows, how
    to read it; last how to run it, how the page was made, and the exercises. All code stays in the
    notebook and in the order in which it runs.

    Parameters
    ----------
    notebook : NotebookNode
        Executed. Tags of its cells say what they are: `setup` (how the page is made, shown at its
        end), `figure`, `said`, `exercise`.
    item : Item
    scale : str
    prose, ways_to_run : str
        Markdown.
    """
    title = f"({item.name})=\n# {item.label}. {item.title}"
    notebook.cells[0] = nbformat.v4.new_markdown_cell(title)
    caption = f"{item.label} at the {scale} scale: {item.setting(scale)}."
    (said,) = tagged(notebook, "said")
    (figure,) = tagged(notebook, "figure")
    figure.metadata["mystnb"] = {
        "figure": {"name": f"{item.name}-figure", "caption": caption},
        "image": {
            "alt": f"{without_marks(caption)} {item.page.alternative_text} "
            f"{first_finding(_markdown_of(said))}",
            "classes": "page-figure",
        },
    }
    making = tagged(notebook, "setup", "injected-parameters")
    made = _how_it_was_made(notebook, making)
    for cell in making:
        cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
    shown = nbformat.v4.new_markdown_cell(head(item, scale, notebook.metadata["papermill"]))
    notebook.cells.insert(notebook.cells.index(figure) + 1, shown)
    after = next(
        position
        for position, cell in enumerate(notebook.cells)
        if cell.source.startswith(("## How to read the figure", "## By hand", "## Claims"))
    )
    notebook.cells.insert(after, nbformat.v4.new_markdown_cell(prose))
    # Of the pages of one notebook the first has the names of its exercises.
    first = next(other for other in ITEMS.values() if other.page is item.page)
    asked = boxes(item.page.notebook, exercises_of(notebook), named=item.name == first.name)
    exercises = tagged(notebook, "exercise")
    notebook.cells = [cell for cell in notebook.cells if cell not in exercises]
    notebook.cells += [nbformat.v4.new_markdown_cell(text) for text in (ways_to_run, made, asked)]
    return notebook


def _markdown_of(cell: NotebookNode) -> str:
    """What a cell shows as Markdown."""
    shown = (output.get("data", {}).get("text/markdown", "") for output in cell.outputs)
    return "\n\n".join(text for text in shown if text)


def _how_it_was_made(notebook: NotebookNode, cells: Iterable[NotebookNode]) -> str:
    """The code of some cells, and what they showed, folded."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    source = "\n\n".join(cell.source for cell in code)
    shown = "\n\n".join(filter(None, map(_markdown_of, code)))
    return (
        "## How this page was made\n\n::::{dropdown} Parameters, walks and provenance\n"
        f"{fenced(source, 'python')}\n\n{shown}\n\n{_executed(notebook)}\n::::"
    )


def first_finding(markdown: str) -> str:
    """The first two sentences of the first item in a text, without the marks of Markdown.

    Examples
    --------
    >>> from valleywalk.book.build import first_finding
    >>> first_finding("VGG-11.\\n\\n- *The floor* rises in 3 of\\n  39 steps.\\n- No more.")
    'The floor rises in 3 of 39 steps.'
    >>> first_finding("- The rate is 0.5. It holds (Section 3.1). More is not said.")
    'The rate is 0.5. It holds (Section 3.1).'
    """
    first = re.split(r"^- ", markdown, flags=re.MULTILINE)[1]
    return " ".join(re.split(r"(?<=\.) (?=[A-Z])", without_marks(first))[:2])


def _executed(notebook: NotebookNode) -> str:
    """When the notebook was executed, and by what; the walks' own day is in the provenance line."""
    run, made_by = notebook.metadata["papermill"], environment()
    versions = json.loads(made_by["versions"])
    return (
        f"*Executed* {run['start_time'][:16].replace('T', ' ')} UTC in {run['duration']:.0f} s; "
        f"papermill {run['version']}, valleywalk {versions['valleywalk']} "
        f"({made_by['git_commit']}), Python {versions['python']}, {made_by['platform']}."
    )
