"""The one place where torchvision is imported.

A torchvision wheel from PyPI beside a CPU-only torch build of the same version fails at import,
because its compiled operators cannot be loaded and their names are then missing. Data sets need
none of these operators, so their schemas are declared and the import is tried again. Beside a
matching build the first import succeeds and nothing else happens.
"""

import sys

import torch

_MISSING = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator, schema in _MISSING.items():
        torch.library.define(f"torchvision::{operator}", schema)
    import torchvision

__all__ = ["torchvision"]
