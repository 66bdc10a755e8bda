"""Walks that go on from the end of a shorter one: which file they go on from."""

from pathlib import Path

from .checkpoint import CheckpointError, peek
from .experiment import Experiment


def longest_shorter(experiment: Experiment, folder: Path) -> Path | None:
    """Of the kept states and checkpoints in a folder, the furthest that an experiment extends."""
    found: list[tuple[tuple[int, int], Path]] = []
    for path in (*folder.glob("*.state"), *folder.glob("*.checkpoint")):
        try:
            begun_by(experiment, path)
            found.append((position_of(path), path))
        except (ValueError, KeyError, TypeError, OSError):
            # Of another walk, of an older format, without a header, or deleted just now.
            continue
    return max(found)[1] if found else None


def position_of(path: Path) -> tuple[int, int]:
    """Epoch, counted from 1, and step, from 0, with which a kept state or checkpoint goes on."""
    epoch, step = peek(path)["position"]
    return epoch, step


def begun_by(experiment: Experiment, path: Path) -> Experiment:
    """The experiment of a kept state or checkpoint, if the one that is given extends it.

    Raises
    ------
    CheckpointError
        It cannot be read, or is of a walk that is not extended.
    """
    try:
        begun = Experiment.model_validate(peek(path)["experiment"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no state of a walk that can be extended ({error}); delete it, "
            "or start over with --restart"
        ) from error
    if not experiment.extends(begun):
        raise CheckpointError(
            f"{path} is of walk {begun.hash}, which {experiment.hash} does not extend; only its "
            "epochs may be more, and probed_epochs the same up to there"
        )
    return begun
