"""The exercises of a notebook: as they stand there, and as boxes at the end of its pages."""

from collections.abc import Sequence

from nbformat import NotebookNode

# What a cell with the tag `exercise` begins with.
TITLE = "## Exercise\n\n"


def tagged(notebook: NotebookNode, *tags: str) -> list[NotebookNode]:
    """Cells with one of the tags, in order."""
    return [cell for cell in notebook.cells if {*tags} & {*cell.metadata.get("tags", [])}]


def exercises_of(notebook: NotebookNode) -> list[str]:
    """The exercises of a notebook in order, without their titles.

    Parameters
    ----------
    notebook : NotebookNode
        Cells with the tag `exercise` are its exercises.
    """
    return [cell.source.removeprefix(TITLE) for cell in tagged(notebook, "exercise")]


def boxes(notebook: str, asked: Sequence[str], *, named: bool) -> str:
    """A section with a box for each exercise, and a link to its answer.

    Parameters
    ----------
    notebook : str
        Stem of the notebook's file.
    asked : sequence of str
        Its exercises.
    named : bool
        Whether the boxes have the names to which the answers lead back. Of the pages that share a
        notebook only one can have them.
    """
    parts = ["## Exercises"]
    for number, text in enumerate(asked, 1):
        name = f":name: exercise-{notebook}-{number}\n" if named else ""
        parts.append(
            f":::{{admonition}} Exercise\n:class: exercise\n{name}{text}\n\n"
            f"{{ref}}`Answer <answer-{notebook}-{number}>`\n:::"
        )
    return "\n\n".join(parts)
