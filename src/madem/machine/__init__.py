"""The only thing with memory: machines that settle, contrast and write."""

from madem.machine.periphery import Converter, Periphery
from madem.machine.placement import Placement, lay_out, place
from madem.machine.simulated import Settled, Simulated
from madem.machine.stores import Exact, SignedPair, Store, Written, single_pulse, verified

__all__ = [
    "Converter",
    "Exact",
    "Periphery",
    "Placement",
    "Settled",
    "SignedPair",
    "Simulated",
    "Store",
    "Written",
    "lay_out",
    "place",
    "single_pulse",
    "verified",
]
