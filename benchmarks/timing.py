"""Times that can be compared on a machine whose speed drifts: rounds of all, medians, ratios."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def seconds(work: Callable[[], object], device: torch.device | None = None) -> float:
    """How long a call takes, its work on a GPU included."""
    synchronize = torch.cuda.synchronize if device and device.type == "cuda" else lambda: None
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Median seconds of each candidate over `rounds` of one call each, after one to warm up."""
    for work in candidates.values():
        work()
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, work in candidates.items():
            times[name].append(seconds(work, device))
    return {name: median(of_name) for name, of_name in times.items()}
