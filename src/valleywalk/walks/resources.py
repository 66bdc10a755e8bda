"""Where walks are computed, and by how many processes."""

from dataclasses import dataclass

from ..machine import cores


@dataclass(frozen=True)
class Resources:
    """What walks are computed with.

    Raises
    ------
    ValueError
        Processes below 1.
    """

    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    processes: int | None = None
    """Walks and notebooks at a time; default: one per core."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers walk; default this machine."""
    restart: bool = False
    """Start interrupted walks over, rather than going on with them."""

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise ValueError(
                f"processes is {self.processes}; give 1 or more, or leave it out for one per core"
            )

    def workers(self, tasks: int) -> int:
        """Processes that so many tasks are shared among."""
        return max(1, min(tasks, self.processes or cores()))
