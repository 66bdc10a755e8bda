"""The code that a page of the book shows, run as it stands, and what it prints put under it."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from ..markdown import fenced

# Python, and what the page says that it prints, where it says so.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<shown>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


def run(code: str, page: str, names: dict[str, Any]) -> str:
    """What a block prints, run in the project's folder with the names of those before it.

    Parameters
    ----------
    code : str
    page : str
        Whose it is, for the traceback.
    names : dict
        Its globals; what it defines is put there.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page, "exec"), names)
    return printed.getvalue()


def with_output(text: str, page: str, folder: Path) -> str:
    """A page in Markdown, under each block what it prints where the page does not say it.

    Parameters
    ----------
    text : str
    page : str
        Its name.
    folder : Path
        Where the code is run: it opens recorded walks by their path there.
    """
    names: dict[str, Any] = {}

    def fill(block: re.Match[str]) -> str:
        printed = run(block["code"], page, names)
        shown = block["shown"] or not printed
        return block[0] if shown else f"{block[0]}\n{fenced(printed, 'text')}\n"

    with contextlib.chdir(folder):
        return BLOCK.sub(fill, text)
