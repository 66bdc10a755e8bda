"""Watch an optimizer walk through a loss landscape: the companion to *A Walk with SGD*."""

from . import analysis, figures, measures
from .datasets import Dataset, DatasetError
from .experiment import Experiment
from .machine import DeviceError
from .store import Store
from .trace import TraceError, open_trace, provenance, save
from .walk import WalkError, walk
from .watch import watch

__all__ = [
    "Dataset",
    "DatasetError",
    "DeviceError",
    "Experiment",
    "Store",
    "TraceError",
    "WalkError",
    "analysis",
    "figures",
    "measures",
    "open_trace",
    "provenance",
    "save",
    "walk",
    "watch",
]
__version__ = "0.1.0"
