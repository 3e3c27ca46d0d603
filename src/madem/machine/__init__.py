"""The only thing with memory: machines that settle, contrast and write."""

from madem.machine.fastslow import FastSlow
from madem.machine.periphery import Converter, Lines, Lopsided, Periphery, Spread, draw_lines
from madem.machine.placement import Placement, lay_out, place
from madem.machine.simulated import Settled, Simulated
from madem.machine.stores import Exact, SignedPair, Store
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
    "Converter",
    "Disturbed",
    "Enduring",
    "Exact",
    "FastSlow",
    "Lines",
    "Lopsided",
    "Periphery",
    "Placement",
    "Settled",
    "SignedPair",
    "Simulated",
    "Spread",
    "Store",
    "Train",
    "Writing",
    "Written",
    "draw_lines",
    "lay_out",
    "place",
    "single_pulse",
    "verified",
]
