"""How a network comes to rest."""

from madem.solver.relax import Rest
from madem.solver.solvers import (
    Anderson,
    Flow,
    Newton,
    OverRelaxed,
    Solver,
    Sweep,
    Synchronous,
    conjugate_gradients,
)

__all__ = [
    "Anderson",
    "Flow",
    "Newton",
    "OverRelaxed",
    "Rest",
    "Solver",
    "Sweep",
    "Synchronous",
    "conjugate_gradients",
]
