"""How the contrast of two settlings becomes learning."""

from madem.learn.estimators import Centred, Estimator, Gradient, Machine, OneSided
from madem.learn.rules import Accumulate, Descent
from madem.learn.yardsticks import backpropagate, settled_cost, unrolled_gradient

__all__ = [
    "Accumulate",
    "Centred",
    "Descent",
    "Estimator",
    "Gradient",
    "Machine",
    "OneSided",
    "backpropagate",
    "settled_cost",
    "unrolled_gradient",
]
