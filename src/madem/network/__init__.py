"""Physics: the energy of a network, its layers, couplings and costs."""

from madem.network.amplifiers import Amplified, Amplifier
from madem.network.competition import Softmax, Thresholds
from madem.network.costs import Cost, CrossEntropy, Logistic, SquaredError
from madem.network.couplings import Coupling, Custom, Matrix, Move
from madem.network.diodes import Shockley, Table
from madem.network.joints import Conv, Dense, Energy, Joint, Recurrent, Skip
from madem.network.laws import Box, Free, Halves, Law, Readout, Tanh, diodes
from madem.network.network import Layer, Network
from madem.network.nudges import Current, Hold, Nudge, Spring
from madem.network.pooling import Average, Maximum
from madem.network.problem import Problem
from madem.network.resistive import Resistive, ResistiveConv
from madem.network.resistors import Resistors
from madem.network.wires import Wires

__all__ = [
    "Amplified",
    "Amplifier",
    "Average",
    "Box",
    "Conv",
    "Cost",
    "Coupling",
    "CrossEntropy",
    "Current",
    "Custom",
    "Dense",
    "Energy",
    "Free",
    "Halves",
    "Hold",
    "Joint",
    "Law",
    "Layer",
    "Logistic",
    "Matrix",
    "Maximum",
    "Move",
    "Network",
    "Nudge",
    "Problem",
    "Readout",
    "Recurrent",
    "Resistive",
    "ResistiveConv",
    "Resistors",
    "Shockley",
    "Skip",
    "Softmax",
    "Spring",
    "SquaredError",
    "Table",
    "Tanh",
    "Thresholds",
    "Wires",
    "diodes",
]
