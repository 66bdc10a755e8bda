"""Recorded walks from where they are kept: a folder, or an address on the web."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from ..files import write
from .progress import bar

# Names the recorded traces with their SHA-256, as `sha256sum` writes and checks it.
CHECKSUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (([0-9a-f]{16})\.nc)")
SECONDS = 60


def checksums(folder: Path) -> str:
    """The checksums of the traces in a folder, a line each.

    Parameters
    ----------
    folder : Path
    """
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.glob("*.nc"))
    )


def fetch(
    address: str, folder: Path, wanted: Container[str] | None = None, *, progress: bool = True
) -> list[Path]:
    """Copy recorded traces that are not here yet, each checked by its SHA-256.

    Parameters
    ----------
    address : str
        A folder with traces and their `SHA256SUMS`, or the https address of one.
    folder : Path
        Where they are kept.
    wanted : container of str, optional
        Hashes of experiments; default all.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Path
        What is new.

    Raises
    ------
    ValueError
        The address is neither a folder nor https, has no traces, or sends others than it names.
    OSError
        It does not answer; or a trace cannot be written.
    """
    if "://" in address and not address.startswith("https://"):
        raise ValueError(f"{address} is neither a folder nor an address that begins with https://")
    lines = _read(address, CHECKSUMS).decode(errors="replace").splitlines()
    named = [found.groups() for line in lines if (found := LINE.fullmatch(line))]
    if not named or len(named) < len(lines):
        raise ValueError(f"{address} has no recorded traces: its {CHECKSUMS} does not name any")
    missing = [
        (checksum, name)
        for checksum, name, experiment in named
        if (wanted is None or experiment in wanted) and not (folder / name).is_file()
    ]
    new = []
    for checksum, name in bar(iterable=missing, desc="traces", disable=not progress):
        content = _read(address, name)
        if hashlib.sha256(content).hexdigest() != checksum:
            raise ValueError(f"{address}/{name} is damaged: it has another checksum than is named")
        write(folder / name, content)
        new.append(folder / name)
    return new


def _read(address: str, name: str) -> bytes:
    if not address.startswith("https://"):
        try:
            return (Path(address).expanduser() / name).read_bytes()
        except OSError as error:
            raise OSError(f"{address} has no {name} ({error.strerror or error})") from error
    whole = f"{address.rstrip('/')}/{name}"
    try:
        with urlopen(whole, timeout=SECONDS) as answer:
            content: bytes = answer.read()
    except (URLError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise OSError(f"{whole} cannot be fetched ({why})") from error
    return content
