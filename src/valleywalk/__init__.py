"""Watch an optimizer walk through a loss landscape: the companion to *A Walk with SGD*."""

from . import analysis, figures, measures
from .machine import DeviceError
from .trace import TraceError, open_trace, save
from .walks.datasets import Dataset, DatasetError
from .walks.experiment import Experiment
from .walks.parallel import compute
from .walks.provenance import provenance
from .walks.resources import Resources
from .walks.store import Store
from .walks.walk import WalkError, walk
from .watch import watch

__all__ = [
    "Dataset",
    "DatasetError",
    "DeviceError",
    "Experiment",
    "Resources",
    "Store",
    "TraceError",
    "WalkError",
    "analysis",
    "compute",
    "figures",
    "measures",
    "open_trace",
    "provenance",
    "save",
    "walk",
    "watch",
]
__version__ = "0.1.0"
