"""How a network comes to rest."""

from madem.solver.sweep import Rest, Sweep

__all__ = ["Rest", "Sweep"]
