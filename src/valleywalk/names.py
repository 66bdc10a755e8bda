"""Names that are given, and names that are known."""

import difflib
from collections.abc import Iterable


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
