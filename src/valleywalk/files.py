"""Writing a file so that it is there whole or not at all, and what must never be written over."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The names that `_temporary` gives, so that what a killed process left is known from other files.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


def _temporary(target: Path) -> Path:
    """A new empty file beside a target."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    return Path(name)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder; rename it to the target on success.

    After an exception the target is as it was before and the temporary file is gone.

    Raises
    ------
    OSError
        The target cannot be written, such as on a full disk; named, with what to do.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(target)
        try:
            yield temporary
            # Some disks are found to be full only here. A rename may reach the disk before what
            # is renamed does.
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            # mkstemp makes files private; a trace is meant to be shared like any other file.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        kept = "; the one before is kept" if target.is_file() else ""
        raise type(error)(
            f"{target} cannot be written ({error.strerror or error}){kept}; make room there, or "
            "choose another folder"
        ) from error


def write(target: Path, content: bytes) -> None:
    """Write a file, whole or not at all, as `atomic_path` does."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def check_new_folder(folder: Path) -> None:
    """Refuse, before any work, a folder to write that is not to be mixed with what is there.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ValueError
        Something is there that is no empty folder.
    """
    if any(folder.iterdir()) if folder.is_dir() else os.path.lexists(folder):
        raise ValueError(f"{folder} is there already; name a new folder, or an empty one")


def check_output(
    target: Path, *, overwrite: bool = False, remedy: str = "give --overwrite"
) -> None:
    """Refuse, before any work, a file that could or should not be written after it.

    Parameters
    ----------
    target : Path
    overwrite : bool
        Let a file that is there be replaced. What is no plain file never is.
    remedy : str
        What to do about a file that is there, beside naming another one.

    Raises
    ------
    ValueError
        There is no such folder, or something is there already.
    OSError
        Nothing can be written there, as on a read-only disk.
    """
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} to write {target.name} into")
    if target.is_symlink():
        raise ValueError(
            f"{target} is a link to {target.readlink()}; name that file itself, or another one"
        )
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name a file, in it or elsewhere")
    if target.exists():
        if not target.is_file():
            raise ValueError(f"{target} is a device or a pipe, not a plain file; name another one")
        if not overwrite:
            raise ValueError(f"{target} is there already; name another file, or {remedy}")
        if not os.access(target, os.W_OK):
            raise ValueError(f"{target} is protected from being written; name another file")
    try:
        check_writable(target)
    except OSError as error:
        raise type(error)(
            f"{target} cannot be written ({error.strerror or error}); choose another folder"
        ) from error


def check_writable(target: Path) -> None:
    """Try whether a file of this name can be made; nothing stays.

    Raises
    ------
    OSError
        It cannot.
    """
    _temporary(target).unlink()


def leftovers(folder: Path, of: str = "*") -> list[Path]:
    """Temporary files of processes that were killed, or that write now.

    Parameters
    ----------
    folder : Path
    of : str
        Pattern of the names of the files that they would have become.
    """
    return [
        path
        for path in sorted(folder.glob(f".{of}.part"))
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
