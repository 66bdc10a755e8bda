"""What a watch must know of an optimizer, and of the scaler that may skip its steps."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Optimizers of torch that decay the parameters beside the step; others say so in their groups.
DECOUPLED = (torch.optim.Adafactor, torch.optim.AdamW, torch.optim.Muon)


def stepping(optimizer: Optimizer) -> Optimizer:
    """The optimizer inside of what Accelerate or Lightning wraps around it.

    One that holds another and has hooks of its own, such as Lookahead, steps by itself.
    """
    while isinstance(inside := getattr(optimizer, "optimizer", None), Optimizer):
        hooks = getattr(optimizer, "_optimizer_step_pre_hooks", None)
        if hooks is not None and hooks is not inside._optimizer_step_pre_hooks:
            break
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


def writes_into_gradients(optimizer: Optimizer) -> bool:
    """Whether a step may leave something else in `grad` than the gradient.

    Of torch's optimizers, SGD with Nesterov's momentum does so if it steps all parameters at once,
    which is its default on accelerators.
    """
    return isinstance(optimizer, torch.optim.SGD) and any(
        group.get("nesterov")
        and not group.get("fused")
        and (
            group.get("foreach")
            or (group.get("foreach") is None and any(not p.is_cpu for p in group["params"]))
        )
        for group in optimizer.param_groups
    )


def skipped_inside(optimizers: Sequence[Optimizer]) -> bool:
    """Whether a scaler let a fused optimizer find that its gradients overflow: it has not moved."""
    found = [getattr(optimizer, "found_inf", None) for optimizer in optimizers]
    return any(isinstance(each, Tensor) and bool(each.item()) for each in found)


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
        # That of another watch, if it has one.
        self.before, self.there = vars(scaler).get("step"), True

        def marked(optimizer: Optimizer, *args: Any, **kwargs: Any) -> float | None:
            before = iteration()
            result = step(optimizer, *args, **kwargs)
            # It may scale other losses as well, for other networks.
            if self.there and stepping(optimizer) is watched and iteration() == before:
                keep({"skipped": 1.0})
            return result

        self.marked = scaler.step = marked  # type: ignore[method-assign]

    def remove(self) -> None:
        """Let the scaler step as it did before."""
        self.there = False
        if vars(self.scaler).get("step") is not self.marked:
            return  # Another watch has begun since, and passes it on.
        if self.before is None:
            del self.scaler.step
        else:
            self.scaler.step = self.before  # type: ignore[method-assign]
