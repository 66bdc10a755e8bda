"""What a watch must know of an optimizer, and of the scaler that may skip its steps."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Optimizers of torch that decay the parameters beside the step; others say so in their groups.
DECOUPLED = (torch.optim.Adafactor, torch.optim.AdamW, torch.optim.Muon)


def stepping(optimizer: Optimizer) -> Optimizer:
    """The optimizer inside of what Accelerate or Lightning wraps around it."""
    while isinstance(inside := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inside
    return optimizer


def stepping_optimizers(given: Any) -> list[Optimizer]:
    """One optimizer or several, without what is wrapped around them.

    Raises
    ------
    ValueError
        One is no optimizer.
    """
    found = [stepping(each) for each in (given if isinstance(given, Sequence) else [given])]
    if not all(isinstance(each, Optimizer) for each in found):
        raise ValueError(
            f"optimizer is {given!r:.60}; give a torch.optim.Optimizer, or a list of them"
        )
    return found


def weight_decays(optimizers: Sequence[Optimizer]) -> dict[Tensor, float]:
    """What the optimizers multiply θ with and add to the gradient of each parameter."""
    decays: dict[Tensor, float] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, DECOUPLED))
            if decoupled or getattr(optimizer, "decoupled_weight_decay", False):
                continue
            decay = float(group.get("weight_decay", 0.0))
            # Who maximizes goes up the gradient, and decays all the same.
            signed = -decay if group.get("maximize") else decay
            decays |= dict.fromkeys(group["params"], signed)
    return decays


class MarkSkipped:
    """While it is there, a step of an optimizer that a gradient scaler skips is recorded so."""

    def __init__(
        self,
        scaler: torch.amp.GradScaler,
        watched: Optimizer,
        iteration: Callable[[], int],
        keep: Callable[[dict[str, Any]], None],
    ):
        self.scaler, step = scaler, scaler.step

        def marked(optimizer: Optimizer, *args: Any, **kwargs: Any) -> float | None:
            before = iteration()
            result = step(optimizer, *args, **kwargs)
            # It may scale other losses as well, for other networks.
            if stepping(optimizer) is watched and iteration() == before:
                keep({"skipped": 1.0})
            return result

        scaler.step = marked  # type: ignore[method-assign]

    def remove(self) -> None:
        """Let the scaler step as its class has it."""
        del self.scaler.step
