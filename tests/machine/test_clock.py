"""Noise in time: chips against cells that are followed one by one, closed forms, the ledger."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from madem.device import load, without
from madem.device.cell import SWITCHES
from madem.device.fluctuation import Bands, OneOverF, TwoLevel, noise_floor
from madem.errors import InputError
from madem.experiments.config.machines import ChipConfig
from madem.experiments.train.config import TrainConfig
from madem.ledger import load_prices
from madem.machine import SignedPair, Simulated, verified
from madem.machine.clock import Clock, Times
from madem.network import Current, Dense, Free, Layer, Network, Readout
from madem.randomness import stream
from madem.solver import Sweep, Timed
from madem.training import Trainer, prices_of, timeline

CHIPS, UNIT, SIGMA = 4000, 100e-6, 4e-6
TIMES = Times(1e-9, (1e-8, 1e-8), (3e-7, 3e-8), 1e-6, {"verified write": 1e-6})
SPECTRA: dict[str, Bands] = {
    "flicker": OneOverF(1.0, 1e8).bands,
    "fast flicker": OneOverF(1e5, 1e9).bands,
    "slow telegraph": TwoLevel(3e4).bands,
    "fast telegraph": TwoLevel(1e6).bands,
}
LAGS = (0.0, 1e-8 + 3e-7, 1e-8 + 3e-7 + 1e-8 + 3e-8)
"""When the phases of a sample that is nudged twice see the cells, s after the first."""


def chips(network: Network, bands: Bands, count: int = CHIPS, volts: float = 0.2) -> Simulated:
    """Chips of equal weights, ideal but for read noise in time."""
    cell = without(load("taox-1t1m"), SWITCHES)
    cell = replace(cell, read_sigma=SIGMA, read_voltage=volts)
    stores = [
        SignedPair(
            cell, 0.3 * torch.randn(shape, generator=stream(0, "w", i)).expand(count, *shape), UNIT,
            20e-6, stream(0, i, "cells"), stream(0, i, "writes"), verified,
        )
        for i, shape in enumerate(network.shapes)
    ]  # fmt: skip
    noise = stream(0, "noise")
    clock = Clock(bands, TIMES, stores, noise, (count,))
    return Simulated(network, Sweep(), stores, noise=noise, clock=clock)


ONE = Network(6, (Layer(3, Free()),))
X = torch.rand(6, generator=stream(0, "x"))
DRIVEN = torch.cat([X, torch.ones(1)])


def phases(machine: Simulated, samples: int = 1) -> Tensor:
    """What the outputs read in the free and two nudged phases, ``(3, chips, samples, outputs)``."""
    x = X.expand(CHIPS, samples, 6)
    free = machine.settle(x)
    nudge = Current(0.0, torch.zeros(CHIPS, samples, 3))
    return torch.stack(
        [free.states[1], *(p.states[1] for p in machine.settle_each(free, [nudge] * 2))]
    )


def cell_by_cell(bands: Bands) -> Tensor:
    """The same, from every cell followed to the nanosecond, and every line's own noise."""
    draws = stream(0, "slow")
    seen = bands.seen(TIMES.tau)
    state, found, before = seen.begin((CHIPS, 3, 7), draws), [], 0.0
    for now in LAGS:
        state = seen.after(state, torch.tensor(now - before, dtype=torch.float64), draws)
        before = now
        cells = 2**0.5 * SIGMA / UNIT * seen.value(state)
        found.append((cells @ DRIVEN)[:, None])
    read = torch.stack(found)
    return read + line_noise() * torch.randn(read.shape, generator=draws)


def line_noise(volts: float = 0.2) -> Tensor:
    """Thermal and shot noise of each output's line in the units of states."""
    weight = 0.3 * torch.randn(3, 7, generator=stream(0, "w", 0))
    conductance = 2 * 20e-6 * 7 + UNIT * weight.abs().sum(1)
    return noise_floor(conductance, volts, TIMES.tau) / UNIT


def covariances(read: Tensor) -> Tensor:
    """Over chips, of the phases with each other, ``(outputs, phases, phases)``."""
    off = read[:, :, 0] - read[:, :, 0].mean(1, keepdim=True)
    return torch.einsum("pco,qco->opq", off, off) / (CHIPS - 1)


@pytest.mark.parametrize("kind", SPECTRA)
def test_phases_see_cells_as_if_they_were_followed_one_by_one(kind: str) -> None:
    bands = SPECTRA[kind]
    ours, slow = (covariances(read) for read in (phases(chips(ONE, bands)), cell_by_cell(bands)))
    squares, seen = float(DRIVEN.square().sum()), bands.seen(TIMES.tau)
    size = 2 * (SIGMA / UNIT) ** 2 * squares
    lags = [[size * seen.correlation(a - b) for a in LAGS] for b in LAGS]
    theory = torch.tensor(lags) + torch.eye(3) * line_noise().square()[:, None, None]
    error = size * (2 / CHIPS) ** 0.5
    torch.testing.assert_close(ours, theory, rtol=0, atol=4.5 * error)
    torch.testing.assert_close(slow, theory, rtol=0, atol=4.5 * error)


@pytest.mark.parametrize("kind", SPECTRA)
def test_slow_noise_cancels_in_centred_differences(kind: str) -> None:
    """``2 sigma^2 |x|^2 (R(0) - R(lag))``, and twice the floor."""
    bands = SPECTRA[kind]
    read = phases(chips(ONE, bands))
    seen, squares = bands.seen(TIMES.tau), float(DRIVEN.square().sum())
    for first, second in ((1, 2), (0, 1)):
        lag = LAGS[second] - LAGS[first]
        left = 2 * (SIGMA / UNIT) ** 2 * squares * (seen.correlation(0) - seen.correlation(lag))
        wanted = 2 * (left + line_noise().square())
        found = (read[second] - read[first])[:, 0].var(0)
        torch.testing.assert_close(found, wanted, rtol=4.5 * (2 / CHIPS) ** 0.5, atol=0)


CUT = Times(1e-9, (2e-9, 1e-9), (6e-9, 5e-9), 1e-6, {})
"""Phases that end before rest, close to each other."""


def followed(bands: Bands, white: float, count: int = 20000, step: float = 0.01) -> Tensor:
    """What one pole shows of noise at the ends of three cut phases, in small steps of time."""
    draws, found = stream(0, "small steps"), []
    times = torch.tensor(bands.times)[:, None] / CUT.tau
    sizes = torch.tensor(bands.shares).sqrt()
    state = torch.randn(len(times), count, generator=draws)

    def later(state: Tensor, poles: float) -> Tensor:
        new = torch.randn(state.shape, generator=draws)
        return (-poles / times).exp() * state + (-torch.expm1(-2 * poles / times)).sqrt() * new

    for phase in range(3):
        shown, length = torch.zeros(count), CUT.settles[phase > 0] / CUT.tau
        for _ in range(round(length / step)):
            now = later(state, step)
            mean, state = sizes @ (state + now) / 2, now
            kick = white * (-math.expm1(-2 * step)) ** 0.5
            shown = math.exp(-step) * shown - math.expm1(-step) * mean
            shown = shown + kick * torch.randn(count, generator=draws)
        found.append(shown)
        state = later(state, CUT.follows[phase > 0] / CUT.tau)
    return torch.stack(found)


@pytest.mark.parametrize("cells", [True, False])
def test_phases_that_end_early_show_what_has_arrived_by_then(cells: bool) -> None:
    """Of a trap as fast as a neuron, one that two phases see, and of thermal and shot noise."""
    bands = Bands((1e-9, 2e-8), (0.6, 0.4))
    machine = chips(ONE, bands)
    machine.clock = Clock(bands, CUT, machine.stores, machine.noise, (CHIPS,))
    machine.solver = Timed(free=2.0, nudged=1.0)
    if not cells:
        machine.stores[0].fluctuate(0.0)  # type: ignore[attr-defined]
    size = 2**0.5 * SIGMA / UNIT * float(DRIVEN.norm()) * cells
    white = float(line_noise()[0])
    read = phases(machine)[:, :, 0, 0]
    if cells:
        wanted = followed(bands, white / size) * size
    else:
        wanted = followed(Bands((1.0,), (0.0,)), white)
    found, theirs = torch.cov(read), torch.cov(wanted)
    error = float(theirs.max()) * (2 / CHIPS + 2 / 20000) ** 0.5
    torch.testing.assert_close(found, theirs, rtol=0, atol=4.5 * error)


def test_samples_of_a_batch_share_what_is_slow_and_not_how_it_changes() -> None:
    """Of cells followed one by one, samples far apart share neither, those close together both."""
    bands = SPECTRA["flicker"]
    read = phases(chips(ONE, bands), samples=2)
    off = read - read.mean(1, keepdim=True)
    size = 2 * (SIGMA / UNIT) ** 2 * float(DRIVEN.square().sum())
    slow = bands.seen(TIMES.tau).split(TIMES.sample)[0]
    shared = (off[0, :, 0] * off[0, :, 1]).mean()
    assert float(shared) == pytest.approx(size * slow.correlation(0), rel=0.06)
    moved = off[2] - off[1]
    both = (moved[:, 0] * moved[:, 1]).mean() / moved.square().mean()
    assert float(both) == pytest.approx(0.0, abs=0.04)


def test_how_cells_change_within_samples_that_follow_one_another_is_independent() -> None:
    """The closed form of cells followed one by one: what is drawn for every sample of its own."""
    for bands in (SPECTRA["flicker"], SPECTRA["slow telegraph"]):
        lag, apart = TIMES.lag(2), TIMES.sample
        alone = 2 * (bands.correlation(0) - bands.correlation(lag))
        both = 2 * bands.correlation(apart) - sum(
            bands.correlation(apart + sign * lag) for sign in (1, -1)
        )
        assert abs(both / alone) < 0.01


def test_batches_are_as_far_apart_as_what_was_done_between_them() -> None:
    """Two batches with a write between them: cells correlate over the time that all of it took."""
    bands = TwoLevel(2e3).bands
    machine = chips(ONE, bands)
    first = phases(machine)[0][:, 0]
    machine.write([torch.zeros_like(p) for p in machine.parameters])
    machine.clock.now = machine.clock.now + 5e-5  # type: ignore[union-attr]
    lag = TIMES.sample - TIMES.contrast + 5e-5
    then = phases(machine)[0][:, 0]
    off, later = first - first.mean(0), then - then.mean(0)
    wanted = 2 * (SIGMA / UNIT) ** 2 * float(DRIVEN.square().sum()) * bands.correlation(lag)
    assert float((off * later).mean()) == pytest.approx(wanted, rel=0.09)  # 4.5 standard errors


def test_both_reads_of_an_array_see_the_same_cell() -> None:
    """A forward read ``n_j = sum dG_jc s_c`` and a transposed one ``m_c = sum dG_jc e_j``."""
    network = Network(
        2, (Layer(2, Free()), Layer(2, Readout())), (Dense((2,), 2), Dense((2,), 2, (1, 2)))
    )
    machine = chips(network, TwoLevel(1e3).bands, volts=1e3)  # no floor to speak of
    machine.stores[0].fluctuate(0.0)  # type: ignore[attr-defined]
    x = torch.tensor([1.0, -0.5]).expand(CHIPS, 1, 2)
    free = machine.settle(x)
    push = torch.tensor([1.0, 2.0])
    nudged = machine.settle(x, Current(1.0, push.expand(CHIPS, 1, 2)), free)
    forward = free.output[:, 0] - free.output[:, 0].mean(0)
    back = nudged.states[1][:, 0] - nudged.states[1][:, 0].mean(0)
    found = torch.einsum("ij,ic->jc", forward, back) / CHIPS
    hidden = free.states[1][0, 0]
    lag = TIMES.lag(1)
    size = 2 * (SIGMA / UNIT) ** 2 * TwoLevel(1e3).bands.correlation(lag)
    wanted = size * torch.outer(-push, hidden)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.08 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("signs", [(1.0, -1.0), (-0.5, -0.25)])
def test_noise_turns_with_the_drive_of_outputs(kind: str, signs: tuple[float, float]) -> None:
    """Of lines under ``a g`` and then ``b g``: ``2 s^2 |g|^2 ((a^2 + b^2) R(0) - 2 a b R(lag))``.

    What a cell keeps between opposite drives adds to a centred difference.
    """
    network = Network(
        1, (Layer(1, Free()), Layer(3, Readout())), (Dense((1,), 1), Dense((1,), 3, (1, 2)))
    )
    machine, bands = chips(network, SPECTRA[kind], volts=1e3), SPECTRA[kind]
    machine.stores[0].fluctuate(0.0)  # type: ignore[attr-defined]
    push = torch.tensor([1.0, -0.5, 0.3])
    x, (a, b) = torch.zeros(CHIPS, 1, 1), signs
    free = machine.settle(x)
    up, down = machine.settle_each(free, [Current(c, push.expand(CHIPS, 1, 3)) for c in signs])
    seen, size = bands.seen(TIMES.tau), 2 * (SIGMA / UNIT) ** 2 * float(push.square().sum())
    kept = 2 * a * b * seen.correlation(TIMES.lag(2))
    wanted = size * ((a * a + b * b) * seen.correlation(0) - kept)
    found = float((up.states[1] - down.states[1]).var())
    assert found == pytest.approx(wanted, rel=4.5 * (2 / CHIPS) ** 0.5)


CHIP: dict[str, Any] = {"kind": "chip", "chips": 3, "arrays": 4}


def config(spectrum: Any, **machine: Any) -> TrainConfig:
    return TrainConfig.of({
        "task": {"kind": "digits", "size": 8, "validation": 200, "train": 400},
        "network": {"kind": "hopfield", "hidden": [12], "readout": True, "gain": [0.5]},
        "estimator": {"kind": "centred", "beta": 0.5},
        "rule": {"kind": "accumulate", "threshold": "10 uS"},
        "writing": {"units": ["200 uS"]},
        "schedule": {"steps": 24, "rates": [0.3], "batch": 16, "looks": 3},
        "machine": CHIP | {"noise_in_time": spectrum} | machine,
    })  # fmt: skip


IN_TIME: dict[str, Any] = {
    "device": "device",
    "telegraph": {"kind": "telegraph", "corner": "10 kHz"},
}


@pytest.mark.parametrize("kind", IN_TIME)
def test_it_goes_on_bit_for_bit(kind: str) -> None:
    plan = config(IN_TIME[kind]).plan()
    whole, part = Trainer(plan), Trainer(plan)
    for _ in range(8):
        whole.advance()
    for _ in range(5):
        part.advance()
    held = part.state()
    again = Trainer(plan)
    again.advance()
    again.restore(held)
    for _ in range(3):
        again.advance()
    theirs, ours = whole.state()[0], again.state()[0]
    assert set(theirs) == set(ours)
    assert any("clock.slow" in name for name in ours)
    for name, tensor in theirs.items():
        assert torch.equal(tensor, ours[name]), name


def test_looking_leaves_no_trace() -> None:
    machine = Trainer(config("device").plan()).machine
    before = {name: tensor.clone() for name, tensor in machine.state().items()}
    machine.watched(stream(0, "look")).settle(torch.ones(3, 20, 64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in machine.state().items())


def test_time_passes_as_the_ledger_charges_it() -> None:
    trainer = Trainer(config("device").plan())
    assert isinstance(trainer.machine, Simulated)
    clock = trainer.machine.clock
    assert clock is not None
    for _ in range(6):
        trainer.advance()
    programmed = trainer.cells * load_prices()["verified write"].seconds
    charged = sum(float(row["seconds"]) for row in trainer.ledger.rows(load_prices()))
    assert float(clock.now.mean()) == pytest.approx(charged - programmed, rel=1e-9)


@pytest.mark.parametrize("phase", [{}, {"phase": "4 ns", "nudged_phase": "1 ns"}])
def test_phases_follow_one_another_as_in_the_timeline_of_a_sample(phase: dict[str, str]) -> None:
    plan = config("device", **phase).plan()
    trainer = Trainer(plan)
    assert isinstance(trainer.machine, Simulated)
    assert trainer.machine.clock is not None
    times = trainer.machine.clock.times
    spans = timeline(plan, trainer.machine, prices_of(plan, load_prices()))
    ends = [span.start + span.seconds for span in spans if "settles" in span.what]
    assert [b - a for a, b in pairwise(ends)] == pytest.approx([times.lag(1), times.lag(2)])
    assert spans[-1].start + spans[-1].seconds == pytest.approx(times.sample)


def test_by_default_there_is_no_clock_and_nothing_is_drawn_for_it() -> None:
    machine = Trainer(config("white").plan()).machine
    assert isinstance(machine, Simulated)
    assert machine.clock is None
    assert not any("clock" in name for name in machine.state())


def test_a_state_of_another_noise_is_refused() -> None:
    held = Trainer(config("device").plan()).machine.state()
    other = Trainer(config({"kind": "telegraph", "corner": "10 kHz"}).plan()).machine
    with pytest.raises(InputError, match="noise in time"):
        other.restore(held)


BAD: dict[str, tuple[Any, str]] = {
    "no unit": ({"kind": "telegraph", "corner": "10"}, "noise_in_time.corner: '10' needs a unit"),
    "another unit": (
        {"kind": "telegraph", "corner": "10 ns"}, "needs a unit compatible with hertz"),
    "below zero": (
        {"kind": "telegraph", "corner": "-10 kHz"}, "corner: must be positive, but is -10000"),
    "zero": ({"kind": "flicker", "low": "0 Hz", "high": "1 MHz"}, "low: must be positive"),
    "an empty band": (
        {"kind": "flicker", "low": "1 MHz", "high": "1 Hz"}, "low: must be below high"),
    "half a decade": (
        {"kind": "flicker", "low": "1 Hz", "high": "5 Hz"}, "below high, 5 Hz, by a decade"),
    "unknown": ("pink", "noise_in_time.* 'pink'.*allowed: device, flicker, telegraph, white"),
    "no corner": ("telegraph", "corner"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_noise_in_time_is_refused_in_a_line(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(InputError, match=message) as told:
        config(given)
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)


def test_a_device_states_its_own() -> None:
    made = ChipConfig.model_validate(
        {"kind": "chip", "noise_in_time": "device", "device": "cmo-hfox"}
    )
    built = made.build((1e-4,), verified, Sweep())
    assert built.spectrum == OneOverF(1.0, 5e5)
    assert math.isclose(built.spectrum.bands.correlation(0), 1)
