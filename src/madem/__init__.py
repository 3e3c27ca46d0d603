"""madem: memristor activity-difference energy minimization.

The names used most are offered here, each imported when it is first asked for: see
``__init__.pyi``.

>>> import madem
>>> madem.Sweep.__module__
'madem.solver.solvers'
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("madem")
