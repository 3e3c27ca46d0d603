"""Presets against the statistics that their sources state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from madem.device import Cell, draw, load, names, preset, program, pulse, read, without
from madem.errors import InputError
from madem.randomness import stream

SHAPE = (200_000,)


def test_taox_programming_error_is_the_published_one(cell: Cell) -> None:
    static = draw(cell, SHAPE, stream(0, "cells"))
    target = torch.full(SHAPE, 75e-6)
    error = (program(cell, target, static, stream(0, "write")) - target)[~static.stuck]
    assert float(error.mean()) == pytest.approx(0.108e-6, abs=4 * 3.894e-6 / SHAPE[0] ** 0.5)
    assert float(error.std()) == pytest.approx(3.894e-6, rel=0.01)


def test_stuck_cells(cell: Cell) -> None:
    static = draw(cell, SHAPE, stream(0, "cells"))
    assert float(static.stuck.float().mean()) == pytest.approx(cell.stuck_fraction, rel=0.1)
    twice = [program(cell, torch.full(SHAPE, g), static, stream(0, str(g))) for g in (1e-5, 1e-4)]
    assert bool((twice[0] == twice[1])[static.stuck].all())
    assert not bool((twice[0] == twice[1])[~static.stuck].any())


def test_targets_beyond_the_range_end_at_the_bound(ideal_cell: Cell) -> None:
    static = draw(ideal_cell, (3,), stream(0, "cells"))
    reached = program(ideal_cell, torch.tensor([-1e-5, 5e-5, 1.0]), static, stream(0, "write"))
    torch.testing.assert_close(
        reached, torch.tensor([0.0, 5e-5, ideal_cell.high]), rtol=1e-6, atol=0
    )


def test_read_noise(cell: Cell) -> None:
    seen = read(cell, torch.full(SHAPE, 5e-5), stream(0, "read"))
    assert float(seen.std()) == pytest.approx(cell.read_sigma, rel=0.02)
    assert float(seen.mean()) == pytest.approx(5e-5, abs=4 * cell.read_sigma / SHAPE[0] ** 0.5)


def test_pulses_follow_soft_bounds(ideal_cell: Cell) -> None:
    static = draw(ideal_cell, (1,), stream(0, "cells"))
    g, steps = torch.zeros(1), 200
    for _ in range(steps):
        g = pulse(ideal_cell, g, torch.tensor([True]), static, stream(0, "pulse"))
    ratio = 1 - ideal_cell.pulse_step / ideal_cell.high  # closed form of the recursion
    assert float(g) == pytest.approx(ideal_cell.high * (1 - ratio**steps), rel=1e-4)


def test_switches(cell: Cell) -> None:
    off = without(cell, ["programming_error"])
    assert (off.error_mean, off.error_sigma) == (0, 0)
    assert off.stuck_fraction == cell.stuck_fraction
    with pytest.raises(InputError, match="did you mean 'read_noise'"):
        without(cell, ["red_noise"])


def test_a_cell_with_impossible_numbers_is_refused(cell: Cell) -> None:
    with pytest.raises(InputError, match="read_sigma must be zero or positive, but is -1"):
        replace(cell, read_sigma=-1.0)
    with pytest.raises(InputError, match="high must be positive, but is 0"):
        replace(cell, high=0.0)
    with pytest.raises(InputError, match="error_sigma must be finite, but is nan"):
        replace(cell, error_sigma=float("nan"))


def test_every_number_of_every_preset_has_a_source() -> None:
    for name in names():
        for entry in preset(name).entries.values():
            assert entry["value"]
            assert entry["source"]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_bad_presets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown preset 'taox': did you mean 'taox-1t1m'"):
        load("taox")
    with pytest.raises(InputError, match="no such file"):
        load(str(tmp_path / "none.yaml"))
    shipped = Path("src/madem/device/presets/taox-1t1m.yaml").read_text()
    file = tmp_path / "mine.yaml"
    with pytest.raises(InputError, match="unknown key 'hihg': did you mean 'high'"):
        load(write(file, shipped.replace("  high:", "  hihg:")))
    with pytest.raises(InputError, match="high: '150' needs a unit compatible with siemens"):
        load(write(file, shipped.replace("150 uS\n", "150\n")))
    with pytest.raises(InputError, match="read_voltage: '0.2 A' needs a unit"):
        load(write(file, shipped.replace("0.2 V\n", "0.2 A\n")))
    with pytest.raises(InputError, match="tolerance has no source"):
        load(
            write(
                file,
                shipped.replace('    source: "He et al. 2026: program-and-verify tolerance"\n', ""),
            )
        )
    with pytest.raises(InputError, match="not YAML"):
        load(write(file, "a: [1"))
