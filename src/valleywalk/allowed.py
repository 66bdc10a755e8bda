"""What is given, and what is allowed."""

import difflib
import operator
from collections.abc import Iterable, Mapping
from typing import Any

# Into which a segment is cut: with one it has no interior, in which barriers and floors lie.
FEWEST_INTERVALS, MOST_INTERVALS = 2, 1000


def unknown_names(given: Iterable[str], allowed: Iterable[str], kind: str) -> str | None:
    """Say which of the given names are unknown, with the nearest match and all allowed names."""
    allowed = set(allowed)
    unknown = sorted(set(given) - allowed)
    if not unknown:
        return None
    hints = [
        f"{name!r}"
        + "".join(
            f" (did you mean {near!r}?)" for near in difflib.get_close_matches(name, allowed, 1)
        )
        for name in unknown
    ]
    return f"unknown {kind} {', '.join(hints)}; allowed are {', '.join(sorted(allowed))}"


def in_words(problem: Mapping[str, Any]) -> str:
    """The message of one of pydantic's errors; of a ValueError of ours without pydantic's words."""
    return str(problem["msg"]).removeprefix("Value error, ")


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number within bounds.

    Parameters
    ----------
    name : str
        What the value is called where it was given.
    value : object
    least : int
    most : int, optional

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from valleywalk.allowed import check_whole
    >>> check_whole("points", 1, 2, 1000)
    Traceback (most recent call last):
        ...
    ValueError: points is 1; give a whole number from 2 to 1000
    """
    allowed = f"from {least} to {most}" if most is not None else f"of {least} or more"
    try:
        fits = least <= operator.index(value) and (most is None or value <= most)
    except TypeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} is {value!r}; give a whole number {allowed}")
