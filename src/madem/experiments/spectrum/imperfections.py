"""What is not ideal about chips: every imperfection by its name, at four severities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from madem.device import SWITCHES, Cell, load, preset, without
from madem.device.fluctuation import White
from madem.machine import Periphery, Spread, Train, verified
from madem.machine.sampling import sampling_noise
from madem.network import Wires
from madem.solver import Sweep
from madem.training import Cells, OnChips

DEVICE = "taox-1t1m"
SETTLES = Sweep(1e-3, 30)
"""How chips come to rest, and what models of them do."""

MOST_PULSES = 20
"""Pulses of a train at most, where learning writes by pulses (ours)."""


@dataclass(frozen=True)
class Imperfection:
    """One way in which chips differ from ideal: ``levels`` of severity in ``unit``, and what for.

    The levels are ours: from what a good chip has to what none should have.
    """

    title: str
    unit: str
    levels: tuple[float, float, float, float]


ALL = "together"
SPREADS, OFFSETS = "relative sd", "sd, state at most 1"
TABLE: dict[str, Imperfection] = {
    "gain": Imperfection("gain of the lines", SPREADS, (0.05, 0.1, 0.2, 0.4)),
    "offset": Imperfection(
        "offset of neurons and of what is seen of them", OFFSETS, (0.05, 0.1, 0.2, 0.4)),
    "stuck": Imperfection("stuck cells", "share of cells", (0.01, 0.03, 0.1, 0.3)),
    "programming": Imperfection("programming noise", "uS", (2.0, 4.0, 8.0, 16.0)),
    "pulses": Imperfection(
        "asymmetric open-loop pulses", "down / up lacks", (0.1, 0.3, 0.6, 0.9)),
    "read-noise": Imperfection("read noise", "uS", (0.5, 1.0, 2.0, 4.0)),
    "flicker": Imperfection("read noise, 1/f", "uS", (0.5, 1.0, 2.0, 4.0)),
    "mismatch": Imperfection(
        "transposed read unlike the forward one", SPREADS, (0.1, 0.3, 0.6, 1.0)),
    "converters": Imperfection("coarse converters", "bits", (8.0, 6.0, 4.0, 3.0)),
    "wires": Imperfection("wire resistance", "ohm a segment", (0.5, 2.0, 5.0, 10.0)),
    ALL: Imperfection("all together", "level", (1.0, 2.0, 3.0, 4.0)),
}  # fmt: skip
"""Every imperfection by its name; the last is all of the others at one level, noise being white."""


def ideal_cell() -> Cell:
    """Return the device without any of its non-idealities."""
    return without(load(DEVICE), SWITCHES)


def severities(name: str | None, level: int) -> dict[str, float]:
    """Return how severe each imperfection is under ``name`` at ``level`` (from 0).

    >>> severities("stuck", 1), severities(None, 0), severities("together", 2)["converters"]
    ({'stuck': 0.03}, {}, 4.0)
    """
    every = {each: one.levels[level] for each, one in TABLE.items() if each != ALL}
    own = {each: value for each, value in every.items() if name == each}
    return {k: v for k, v in every.items() if k != "flicker"} if name == ALL else own


def chips_with(
    severe: Mapping[str, float],
    chips: int,
    base: float,
    units: tuple[float, ...],
    sampled: bool = False,
) -> OnChips:
    """Return the making of chips, ideal but for what is ``severe``.

    ``base`` and ``units`` are those of ``Cells``. What is static depends on seed and shape alone:
    every rule meets the same chips, and a chip keeps its draw from one severity to the next.
    Converters, if any, convert displacements where these are ``sampled``, and then outputs in a
    range that is measured; nudges are then rounded at random.
    """
    amount = {name: severe.get(name, 0.0) for name in TABLE}
    cell = replace(
        ideal_cell(), stuck_fraction=amount["stuck"], error_sigma=1e-6 * amount["programming"],
        read_sigma=1e-6 * (amount["read-noise"] or amount["flicker"]),
    )  # fmt: skip
    offset = amount["offset"]
    spread = Spread(amount["gain"], 0.0, offset, 0.0, offset, amount["mismatch"])
    bits = int(amount["converters"]) or None
    periphery = Periphery(bits, bits, 10.0)
    if sampled and bits:
        noise = sampling_noise(1e-12) / cell.read_voltage
        periphery = replace(
            periphery, output_range="measured", contrast="sampled", hold_noise=noise,
            rounding="random",
        )  # fmt: skip
    wires = Wires(*[severe["wires"]] * 4) if "wires" in severe else None
    cells = Cells(cell, base, units, max(2, len(units)), wires=wires)
    writing = Train(MOST_PULSES, asymmetry=severe["pulses"]) if "pulses" in severe else verified
    spectrum = preset(DEVICE).spectrum if "flicker" in severe else White()
    return OnChips(chips, cells, periphery, writing, SETTLES, spread, spectrum=spectrum)
