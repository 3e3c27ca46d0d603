"""What one memristor does, and the presets that say it with sources."""

from madem.device.cell import SWITCHES, Cell, Static, draw, drift, program, pulse, read, without
from madem.device.presets import Preset, load, names, preset

__all__ = [
    "SWITCHES",
    "Cell",
    "Preset",
    "Static",
    "draw",
    "drift",
    "load",
    "names",
    "preset",
    "program",
    "pulse",
    "read",
    "without",
]
