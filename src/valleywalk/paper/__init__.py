"""The paper: each figure and table, its notebook, its walks at each scale, its printed numbers."""

from .conventions import Conventions
from .factors import Factors
from .isotropic import IsotropicNoise
from .items import ITEMS, NOTEBOOKS, PAGES, Item
from .ledger import page_claims
from .optimizers import Optimizers
from .quadratic import Quadratic
from .scales import FAMILIES, SCALES, SETTINGS, STAND_IN, ModelPage, Page, Scale
from .schedules import Schedules
from .spectral import SpectralNorm
from .structure import NoiseStructure
from .tables import BarriersByEpoch, BarrierTable, HeightTable
from .twin import Twin
from .walks import GradientDescentWalk, StochasticWalk

__all__ = [
    "FAMILIES",
    "ITEMS",
    "NOTEBOOKS",
    "PAGES",
    "SCALES",
    "SETTINGS",
    "STAND_IN",
    "BarrierTable",
    "BarriersByEpoch",
    "Conventions",
    "Factors",
    "GradientDescentWalk",
    "HeightTable",
    "IsotropicNoise",
    "Item",
    "ModelPage",
    "NoiseStructure",
    "Optimizers",
    "Page",
    "Quadratic",
    "Scale",
    "Schedules",
    "SpectralNorm",
    "StochasticWalk",
    "Twin",
    "page_claims",
]
