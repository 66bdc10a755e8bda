"""Watch an optimizer walk through a loss landscape: the companion to *A Walk with SGD*.

What there is stands in `__init__.pyi`; each name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
