"""What each form does, against its equation written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from madem.device import Cell, draw, drift, load, program, pulse, read
from madem.device.forms import (
    ExponentialStep,
    Flicker,
    LinearStep,
    LogDrift,
    LogNormal,
    Polynomial,
    Relaxation,
    SoftBounds,
    Table,
    Telegraph,
)
from madem.errors import InputError
from madem.randomness import stream

MANY = (100_000,)


def walk(cell: Cell, start: float, ups: list[bool]) -> list[float]:
    """Conductances of one cell after each pulse, uS."""
    static, draws = draw(cell, (1,), stream(0, "cell")), stream(0, "pulse")
    g, seen = torch.tensor([start], dtype=torch.float64), []
    for up in ups:
        g = pulse(cell, g, torch.tensor([up]), static, draws)
        seen.append(1e6 * float(g))
    return seen


def test_a_linear_step_of_slope_one_is_soft_bounds(ideal_cell: Cell) -> None:
    ups = [True] * 60 + [False] * 60
    linear = replace(ideal_cell, response=LinearStep(1.0, 1.0), low=10e-6)
    soft = replace(ideal_cell, response=SoftBounds(), low=10e-6)
    assert walk(linear, 40e-6, ups) == pytest.approx(walk(soft, 40e-6, ups), rel=1e-6)


def test_constant_steps_stop_at_hard_bounds(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, response=LinearStep(), low=10e-6, pulse_step=50e-6)
    assert walk(cell, 20e-6, [True, True, True, False, False, False]) == pytest.approx(
        [70, 120, 150, 100, 50, 10], rel=1e-6
    )


def test_exponential_steps_follow_the_published_equation(ideal_cell: Cell) -> None:
    form = ExponentialStep(-1.18445, -0.081404, 5.0, 4.0, centre=75e-6)
    cell = replace(ideal_cell, response=form, high=100e-6, low=50e-6, pulse_step=0.03375e-6)
    w, expected = 0.0, []  # the kit's recursion in weights, one unit 25 uS
    for up in [True] * 300 + [False] * 300:
        z = 2 * w / 2.0 * -0.5 - 0.5
        if up:
            w += 0.00135 * max(1 + 1.18445 * math.exp(5.0 * z), 0)
        else:
            w -= 0.00135 * max(1 + 0.081404 * math.exp(4.0 * -z), 0)
        w = min(max(w, -1.0), 1.0)
        expected.append(75 + 25 * w)
    assert walk(cell, 75e-6, [True] * 300 + [False] * 300) == pytest.approx(expected, rel=1e-6)


def test_a_table_interpolates(ideal_cell: Cell) -> None:
    at, up, down = (0.0, 0.2, 1.0), (1.0, 0.9, 0.1), (0.2, 0.5, 2.0)
    g = torch.linspace(0, 1, 41, dtype=torch.float64)
    zero, one = torch.zeros_like(g), torch.ones_like(g)
    form = Table(at, up, down)
    rise, fall = form.change(g, one > 0, zero, one), form.change(g, zero > 0, zero, one)
    np.testing.assert_allclose(rise, np.interp(g, at, up), rtol=1e-12)
    np.testing.assert_allclose(fall, -np.interp(g, at, down), rtol=1e-12)


def test_up_and_down_differ_by_what_is_stated(ideal_cell: Cell) -> None:
    for uneven in (0.3, -0.3):
        cell = replace(ideal_cell, up_down=uneven, up_down_spread=0.05)
        static = draw(cell, MANY, stream(0, "cells"))
        difference = (static.step - static.down) / cell.pulse_step
        assert float(difference.mean()) == pytest.approx(uneven, abs=2e-3)
        assert float(difference.std()) == pytest.approx(0.1, rel=0.02)
        assert float((static.step.maximum(static.down) / cell.pulse_step).mean()) > 0.99


def test_jitter_does_not_shrink_with_the_step(ideal_cell: Cell) -> None:
    up, top = torch.ones(MANY, dtype=torch.bool), torch.full(MANY, 0.99 * ideal_cell.high)
    for cycle, jitter, expected in ((0.5, 0.0, 0.01 * 0.5), (0.0, 0.5, 0.5), (0.5, 0.5, 0.505)):
        cell = replace(ideal_cell, pulse_cycle=cycle, pulse_jitter=jitter, pulse_step=1e-9)
        moved = pulse(cell, top.double(), up, draw(cell, MANY, stream(0, "c")), stream(0, "p"))
        assert float((moved - top).std()) / 1e-9 == pytest.approx(expected, rel=0.02)


def test_log_normal_spread() -> None:
    factor = LogNormal().factors(0.8, MANY, stream(0, "f")).log()
    assert float(factor.mean()) == pytest.approx(0, abs=0.01)
    assert float(factor.std()) == pytest.approx(0.8, rel=0.01)


def test_telegraph_noise_has_two_levels_and_no_bias() -> None:
    g = torch.full(MANY, 50e-6)
    cell = replace(load("ideal"), noise=Telegraph(0.1, 0.25))
    seen = read(cell, g, stream(0, "read"))
    assert len(seen.unique()) == 2
    assert float(seen.mean()) == pytest.approx(50e-6, rel=1e-3)
    assert float((seen < 50e-6).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(seen.max() - seen.min()) == pytest.approx(5e-6, rel=1e-3)


def test_flicker_noise_grows_with_the_logarithm_of_time() -> None:
    noise = Flicker(constant=1e-6, decade=0.0, onset=1e-3)
    cell, g = replace(load("ideal"), noise=noise), torch.full(MANY, 50e-6)
    assert torch.equal(read(cell, g, stream(0, "read")), g)
    for t in (1.0, 1e4):
        expected = 1e-6 * math.sqrt(math.log((t + 1e-3) / 2e-3))
        assert float(read(cell, g, stream(0, "r"), t).std()) == pytest.approx(expected, rel=0.02)


def test_drift_follows_the_same_cells_and_spares_stuck_ones() -> None:
    form = LogDrift(mean=-1e-6, rate=0.2e-6, offset=0.0)
    cell = replace(load("ideal"), retention=form, stuck_fraction=0.1)
    g, static = torch.full(MANY, 50e-6), draw(cell, MANY, stream(0, "cells"))
    early, late = (drift(cell, g, t, static, stream(0, "drift")) - g for t in (10.0, 100.0))
    torch.testing.assert_close(late, 2 * early, atol=1e-10, rtol=1e-3)
    assert not early[static.stuck].any()
    assert torch.equal(drift(cell, g, 0.5, static, stream(0, "d")), g)


def test_relaxation_between_and_beyond_its_times() -> None:
    form = Relaxation(1e-5, (1.0, 100.0), (1e-6, 0.0, 1e-6, 2e-6))
    g = torch.tensor([1e-5])
    for t, expected in ((0.1, 1.0), (1.0, 1.0), (10.0, 2.0), (100.0, 3.0), (1e6, 3.0)):
        assert 1e6 * float(form.sigma(g, t)) == pytest.approx(expected, rel=1e-5)
    moved = form.shift(g.expand(MANY), 100.0, stream(0, "t"))
    assert 1e6 * float(torch.as_tensor(moved).std()) == pytest.approx(math.sqrt(8), rel=0.02)


def test_stuck_cells_lie_where_the_preset_says() -> None:
    cell = load("array-om")
    level = draw(cell, MANY, stream(0, "cells")).level
    assert 74.75e-6 <= float(level.min()) < 74.76e-6
    assert 75.24e-6 < float(level.max()) <= 75.25e-6


def test_bounds_of_cells_keep_their_order() -> None:
    for name in ("array-om", "array-hfo2", "hfo2-exponential"):
        static = draw(load(name), MANY, stream(0, name))
        assert bool((static.high > static.low).all())
        assert float(static.low.min()) >= 0


def test_programming_cannot_pass_the_cells_own_bounds(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, low=10e-6)
    static = draw(cell, (2,), stream(0, "cells"))
    reached = program(cell, torch.tensor([0.0, 1.0]), static, stream(0, "program"))
    torch.testing.assert_close(reached, torch.tensor([10e-6, 150e-6]), rtol=1e-6, atol=0)


def test_impossible_forms_are_refused() -> None:
    with pytest.raises(InputError, match="at must be two or more rising places"):
        Table((0.0, 0.0), (1.0, 1.0), (1.0, 1.0))
    with pytest.raises(InputError, match="up and down must have 2 values like at"):
        Table((0.0, 1.0), (1.0,), (1.0, 1.0))
    with pytest.raises(InputError, match="depth must be from 0 to 100 percent"):
        Telegraph(1.5, 0.5)
    with pytest.raises(InputError, match="slope_up must be at most 1"):
        LinearStep(slope_up=1.5)
    with pytest.raises(InputError, match="linear must be finite"):
        Polynomial(float("nan"))
    with pytest.raises(InputError, match="times must be two or more rising times"):
        Relaxation(1e-6, (2.0, 1.0), (1e-6, 1e-6))
    with pytest.raises(InputError, match="coefficients must be as many for each of 2 times"):
        Relaxation(1e-6, (1.0, 2.0), (1e-6, 1e-6, 1e-6))
    with pytest.raises(InputError, match="the range is empty"):
        replace(load("ideal"), low=200e-6)
    with pytest.raises(InputError, match="up_down must be between -1 and 1"):
        replace(load("ideal"), up_down=1.0)
