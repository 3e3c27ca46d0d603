"""Presets against the statistics that their sources state, and against the analog kit itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.devices import KIT, Row, beside_kit, rows

from madem.device import load, names, preset, without
from madem.device.cell import SWITCHES

CURVES = json.loads(Path(__file__).with_name("kit_curves.json").read_text())
"""What benchmarks/kit_curves.py wrote, with aihwkit 1.1.0 and torch 2.10.0."""

ROWS = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.preset}: {row.statistic}" for row in ROWS])
def test_simulated_cells_have_the_statistic_of_the_source(row: Row) -> None:
    assert abs(row.simulated - row.stated) < 4 * row.error + 1e-6 * abs(row.stated)
    if "sigma" in row.statistic:
        assert row.error < 0.01 * row.stated  # else the line above would hold anything


def test_every_preset_of_the_sources_is_shipped() -> None:
    stated = {row.preset for row in ROWS}
    assert stated | {"ideal"} == set(names())


@pytest.mark.parametrize("name", KIT)
def test_pulse_responses_are_those_of_the_analog_kit(name: str) -> None:
    found = beside_kit(name, CURVES[name])
    assert found["plain"] < 1e-5  # weights of order one, float32
    assert found["mean_errors"] < 4.5
    assert found["sd"] < 0.05


def test_the_ideal_device_is_ideal() -> None:
    cell = load("ideal")
    assert without(cell, SWITCHES) == cell
    assert (preset("ideal").dac_bits, preset("ideal").adc_bits) == (0, 0)
