"""The only thing with memory: machines that settle, contrast and write."""

from madem.machine.arrays import Digitised, Lines, Lopsided
from madem.machine.asked import Asked
from madem.machine.base import Machine, Observed
from madem.machine.circuit import CircuitMachine
from madem.machine.fastslow import FastSlow
from madem.machine.periphery import Converter, Partial, Periphery, Spread, draw_lines
from madem.machine.piped import Piped
from madem.machine.placement import Placement, lay_on, lay_out, place
from madem.machine.settled import Settled
from madem.machine.simulated import Simulated
from madem.machine.stores import Exact, SignedPair, Store, cells_of
from madem.machine.wired import Wired
from madem.machine.writing import (
    Disturbed,
    Enduring,
    Train,
    Writing,
    Written,
    single_pulse,
    verified,
)

__all__ = [
    "Asked",
    "CircuitMachine",
    "Converter",
    "Digitised",
    "Disturbed",
    "Enduring",
    "Exact",
    "FastSlow",
    "Lines",
    "Lopsided",
    "Machine",
    "Observed",
    "Partial",
    "Periphery",
    "Piped",
    "Placement",
    "Settled",
    "SignedPair",
    "Simulated",
    "Spread",
    "Store",
    "Train",
    "Wired",
    "Writing",
    "Written",
    "cells_of",
    "draw_lines",
    "lay_on",
    "lay_out",
    "place",
    "single_pulse",
    "verified",
]
