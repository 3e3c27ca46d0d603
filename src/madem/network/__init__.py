"""Physics: the energy of a network, its layers, couplings and costs."""

from madem.network.costs import Cost, CrossEntropy, Logistic
from madem.network.couplings import Coupling, Dense, dense_contrast, with_bias
from madem.network.laws import Box, Free, Law, Readout
from madem.network.network import Layer, Network, Problem

__all__ = [
    "Box",
    "Cost",
    "Coupling",
    "CrossEntropy",
    "Dense",
    "Free",
    "Law",
    "Layer",
    "Logistic",
    "Network",
    "Problem",
    "Readout",
    "dense_contrast",
    "with_bias",
]
