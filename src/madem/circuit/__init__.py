"""Circuits: any network as elements between nodes, its operating point, SPICE, and time."""

from madem.circuit.build import (
    Built,
    Crossbar,
    Terminals,
    Timing,
    array,
    hopfield,
    pairs,
    resistive,
)
from madem.circuit.elements import (
    Amplifier,
    Capacitor,
    Circuit,
    Current,
    Diode,
    Element,
    Neuron,
    Resistor,
    Sinh,
    Source,
    Table,
)
from madem.circuit.newton import Operating, sensitivity, solve, system_of
from madem.circuit.spice import Verified, netlist, verify, waveforms
from madem.circuit.transient import Switching, Transient, settling_times, transient

__all__ = [
    "Amplifier",
    "Built",
    "Capacitor",
    "Circuit",
    "Crossbar",
    "Current",
    "Diode",
    "Element",
    "Neuron",
    "Operating",
    "Resistor",
    "Sinh",
    "Source",
    "Switching",
    "Table",
    "Terminals",
    "Timing",
    "Transient",
    "Verified",
    "array",
    "hopfield",
    "netlist",
    "pairs",
    "resistive",
    "sensitivity",
    "settling_times",
    "solve",
    "system_of",
    "transient",
    "verify",
    "waveforms",
]
