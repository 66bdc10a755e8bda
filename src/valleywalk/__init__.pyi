from . import (
    analysis,
    evaluation,
    figures,
    huggingface,
    lightning,
    measures,
    probes,
    sinks,
    trace,
)
from .machine import DeviceError
from .report import report
from .stream import open_stream
from .trace import TraceError, open_trace, save
from .walks.datasets import Dataset, DatasetError
from .walks.experiment import Experiment
from .walks.parallel import compute
from .walks.provenance import provenance
from .walks.resources import Resources
from .walks.store import Store
from .walks.walk import WalkError, walk
from .watch import watch

__version__: str
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
    "evaluation",
    "figures",
    "huggingface",
    "lightning",
    "measures",
    "open_stream",
    "open_trace",
    "probes",
    "provenance",
    "report",
    "save",
    "sinks",
    "trace",
    "walk",
    "watch",
]
