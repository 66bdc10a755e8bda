"""Where data sets and traces are kept."""

import os
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def checkout() -> Path | None:
    """The project's own folder when run from a checkout, None when installed as a package."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else None


def data_folder() -> Path:
    """`$VALLEYWALK_DATA`, else `data/` of the checkout, else the user's data folder."""
    chosen = os.environ.get("VALLEYWALK_DATA")
    if chosen:
        return Path(chosen).expanduser()
    root = checkout()
    if root:
        return root / "data"
    import platformdirs

    return Path(platformdirs.user_data_dir("valleywalk"))


def datasets_folder() -> Path:
    """Where downloaded image files are looked for and decoded ones are cached."""
    return data_folder() / "datasets"
