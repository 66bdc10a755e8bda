"""What the cells of every notebook call: check its parameters, show what its page says."""

import json
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import xarray as xr
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats
from pydantic import ValidationError

from .. import show
from ..allowed import in_words
from ..markdown import plain, with_minus
from ..paper.ledger_text import page_claims
from ..paper.page import Page, WalksPage, markdown_table
from ..paper.walks import StochasticWalk
from ..walks.cost import duration
from . import prose

Parameters = TypeVar("Parameters", bound=Page)

_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


class ParameterError(ValueError):
    """A notebook was given an unknown parameter, or values that are not allowed."""


def check(namespace: Mapping[str, Any], parameters: type[Parameters]) -> Parameters:
    """Validate a notebook's parameters, whoever set them; papermill alone only warns.

    The notebook's figures are drawn as SVG from then on.

    Parameters
    ----------
    namespace : mapping
        The notebook's `globals()`, before anything but parameters is defined.
    parameters : type
        Page, whose fields are what is allowed.

    Raises
    ------
    ParameterError
        Names each unknown name or bad value and what is allowed; also of values that do not fit
        together.
    """
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None})
    given = {
        name: _read(value)
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in _IPYTHON
        and not isinstance(value, ModuleType)
        and not callable(value)
    }
    try:
        page = parameters(**given)
        list(page.experiments)  # What does not fit together is found out only here.
        return page
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"][:1])
            got = f" (given: {problem['input']!r})" if where else ""
            lines.append(f"{where + ': ' if where else ''}{in_words(problem)}{got}")
        raise ParameterError("; ".join(lines)) from None


def _read(value: Any) -> Any:
    """A list, where papermill's command line gives one as text: [0.1, 0.2]."""
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return value


def planned(page: WalksPage) -> Markdown:
    """What the page walks, before it is walked: what is there already, and what each walk takes."""
    settings, walks = show.planned(page.experiments, page.store, page.device)
    # Of a single walk it is Markdown already.
    own = str if len(walks) == 1 else plain
    rows = [[f"`{w.hash}`", w.state, duration(w.seconds), own(w.own)] for w in walks]
    table = markdown_table(["experiment", "state", "time here, about", "what it is"], rows)
    return Markdown(f"*Settings of all:* {plain(settings)}.\n\n{table}")


def provenance_line(page: Page, traces: list[xr.Dataset]) -> Markdown:
    """The line under each figure that says what it was made from."""
    return Markdown(f"*Provenance.* {plain(page.provenance(traces))}.")


def said(page: Page, traces: list[xr.Dataset]) -> Markdown:
    """What the page's walks show, in sentences made from their numbers."""
    return Markdown(with_minus(prose.said(page, traces)))


def table(page: Page, traces: list[xr.Dataset]) -> Markdown:
    """The page's numbers."""
    return Markdown(with_minus(page.table(traces)))


def epochs(page: StochasticWalk, traces: list[xr.Dataset]) -> None:
    """The page's window beside those of other epochs, where its walk opens more than one."""
    if page.other_epochs:
        display(Markdown("**Beside the other epochs.** The same walk; all panels have equal axes."))
        display(page.draw_epochs(traces))
        plt.close()


def claims(page: Page) -> Markdown:
    """The claims of the paper that the page bears on."""
    return Markdown(with_minus(page_claims(page)))
