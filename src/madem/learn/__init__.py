"""How the contrast of two settlings becomes learning."""

from madem.learn.convert import equilibrium
from madem.learn.estimators import (
    Contrast,
    Estimator,
    Gradient,
    RandomSign,
    centred,
    contrastive,
    coupled,
    currents,
    holds,
    holomorphic,
    negative,
    positive,
    richardson,
    springs,
)
from madem.learn.module import Equilibrium
from madem.learn.rules import Accumulate, Adam, Descent, Momentum, Rule, Sparse
from madem.learn.strengths import Even, Measured, OutputMove, RelativeMove
from madem.learn.yardsticks import (
    Agreement,
    FiniteDifference,
    Implicit,
    Unrolled,
    agreements,
    compare,
    settled_cost,
)

__all__ = [
    "Accumulate",
    "Adam",
    "Agreement",
    "Contrast",
    "Descent",
    "Equilibrium",
    "Estimator",
    "Even",
    "FiniteDifference",
    "Gradient",
    "Implicit",
    "Measured",
    "Momentum",
    "OutputMove",
    "RandomSign",
    "RelativeMove",
    "Rule",
    "Sparse",
    "Unrolled",
    "agreements",
    "centred",
    "compare",
    "contrastive",
    "coupled",
    "currents",
    "equilibrium",
    "holds",
    "holomorphic",
    "negative",
    "positive",
    "richardson",
    "settled_cost",
    "springs",
]
