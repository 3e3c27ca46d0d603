"""Imperfections: chips are as severely off as the table says, and in nothing else."""

from __future__ import annotations

import pytest

from madem.device import preset
from madem.device.fluctuation import White
from madem.experiments.spectrum.imperfections import ALL, TABLE, chips_with, ideal_cell, severities
from madem.machine import Periphery, Train, verified
from madem.network import Wires
from madem.training import OnChips


def seen(chips: OnChips) -> dict[str, object]:
    """Return all of chips that may not be ideal, with what it is."""
    cell, spread = chips.cells.cell, chips.spread
    return {
        "gain": spread.line_gain, "offset": (spread.neuron_offset, spread.sense_offset),
        "stuck": cell.stuck_fraction, "programming": cell.error_sigma, "pulses": chips.writing,
        "fluctuates": (cell.read_sigma, chips.spectrum), "mismatch": spread.mismatch,
        "converters": chips.periphery, "wires": chips.cells.wires,
    }  # fmt: skip


IDEAL: dict[str, object] = {
    "gain": 0.0, "offset": (0.0, 0.0), "stuck": 0.0, "programming": 0.0, "pulses": verified,
    "fluctuates": (0.0, White()), "mismatch": 0.0, "converters": Periphery(None, None, 10.0),
    "wires": None,
}  # fmt: skip
SEVERE: dict[str, dict[str, object]] = {
    "gain": {"gain": 0.2}, "offset": {"offset": (0.2, 0.2)}, "stuck": {"stuck": 0.1},
    "programming": {"programming": pytest.approx(8e-6)},
    "pulses": {"pulses": Train(20, asymmetry=0.6)},
    "read-noise": {"fluctuates": (pytest.approx(2e-6), White())},
    "flicker": {"fluctuates": (pytest.approx(2e-6), preset("taox-1t1m").spectrum)},
    "mismatch": {"mismatch": 0.6}, "converters": {"converters": Periphery(4, 4, 10.0)},
    "wires": {"wires": Wires(5.0, 5.0, 5.0, 5.0)},
}  # fmt: skip
"""The third level of every imperfection."""


@pytest.mark.parametrize("name", SEVERE)
def test_chips_are_off_in_what_is_severe_alone(name: str) -> None:
    chips = chips_with(severities(name, 2), 3, 20e-6, (1e-4,))
    assert seen(chips) == IDEAL | SEVERE[name]
    assert (chips.cells.base, chips.cells.units) == (20e-6, (1e-4,))


def test_all_together_is_every_other_one_and_its_noise_is_white() -> None:
    assert set(SEVERE) == set(TABLE) - {ALL}
    whole = {key: value for name, part in SEVERE.items() if name != "flicker"
             for key, value in part.items()}  # fmt: skip
    assert seen(chips_with(severities(ALL, 2), 3, 20e-6, (1e-4,))) == whole
    assert seen(chips_with({}, 3, 20e-6, (1e-4,))) == IDEAL
    assert ideal_cell().read_sigma == 0


def test_displacements_are_sampled_where_there_are_converters() -> None:
    around = chips_with(severities("converters", 0), 3, 20e-6, (1e-4,), sampled=True).periphery
    assert (around.adc_bits, around.contrast, around.output_range) == (8, "sampled", "measured")
    assert around.rounding == "random"
    assert around.hold_noise == pytest.approx(64.36e-6 / ideal_cell().read_voltage, rel=1e-3)
    exact = chips_with(severities("gain", 0), 3, 20e-6, (1e-4,), sampled=True).periphery
    assert exact == Periphery(None, None, 10.0)
