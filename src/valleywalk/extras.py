"""Packages that only some parts need, and the extras of valleywalk that bring them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

# By extra, the names by which its packages are imported. One extra may bring others: see
# pyproject.toml.
PACKAGES: Mapping[str, Sequence[str]] = {
    "paper": (
        "filelock",
        "mlxtend",
        "pandas",
        "PIL",
        "platformdirs",
        "pydantic",
        "safetensors",
        "skimage",
        "sklearn",
        "statsmodels",
        "torchvision",
        "tqdm",
        "tyro",
    ),
    "notebooks": ("ipykernel", "jinja2", "papermill"),
    "book": (
        "jupyter_book",
        "numpydoc",
        "sphinx_book_theme",
        "sphinx_tippy",
        "yaml",
    ),
    "course": ("latex2mathml", "markdown_it", "mdit_py_plugins", "nbgrader", "pybtex"),
    "cluster": ("distributed",),
}


def require(extra: str) -> None:
    """Say by name what is missing of an extra, and how to install it; nothing is imported.

    Parameters
    ----------
    extra : str

    Raises
    ------
    ModuleNotFoundError
        Some of its packages are not installed.

    Examples
    --------
    >>> from valleywalk.extras import require
    >>> require("paper")
    """
    missing = [name for name in PACKAGES[extra] if find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise ModuleNotFoundError(
            f"{', '.join(missing)} {are} missing; install what this needs with: "
            f"pip install 'valleywalk[{extra}]'",
            name=missing[0],
        )
