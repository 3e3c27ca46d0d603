"""madem: memristor activity-difference energy minimization."""

from importlib.metadata import version

__version__ = version("madem")
