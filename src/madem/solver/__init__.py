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
from madem.solver.timed import Timed
from madem.solver.wires import Reading, drops, effective, read, turned

__all__ = [
    "Anderson",
    "Flow",
    "Newton",
    "OverRelaxed",
    "Reading",
    "Rest",
    "Solver",
    "Sweep",
    "Synchronous",
    "Timed",
    "conjugate_gradients",
    "drops",
    "effective",
    "read",
    "turned",
]
